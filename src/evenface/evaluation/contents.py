"""Which tables a report holds: metrics, classes, confusion, differences and tests."""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import stdev
from typing import Any

from evenface.evaluation.comparison import COMPARED, Comparison
from evenface.evaluation.detectors import DETECTORS, EACH
from evenface.evaluation.formatting import UNITS, p_value
from evenface.evaluation.intervals import estimate
from evenface.evaluation.metrics import CLIP, lower_is_better
from evenface.evaluation.tables import Cell, Table

Row = tuple[Cell, ...]

BY_CLIP = (*COMPARED, "macro_precision", "macro_balance", "weighted_f1", "mcc", "log_loss")

NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_recall": "recall, macro",
    "macro_precision": "precision, macro",
    "macro_f1": "F1, macro",
    "macro_specificity": "specificity, macro",
    "macro_pd": "PD, macro",
    "macro_pf": "PF, macro",
    "macro_balance": "Balance, macro",
    "weighted_precision": "precision, weighted",
    "weighted_recall": "recall, weighted",
    "weighted_f1": "F1, weighted",
    "weighted_specificity": "specificity, weighted",
    "weighted_pd": "PD, weighted",
    "weighted_pf": "PF, weighted",
    "weighted_balance": "Balance, weighted",
    "macro_accuracy_one_vs_rest": "accuracy one-vs-rest, macro",
    "weighted_accuracy_one_vs_rest": "accuracy one-vs-rest, weighted",
    "mcc": "Matthews correlation",
    "kappa": "Cohen's kappa",
    "macro_average_precision": "average precision, macro",
    "macro_roc_auc": "ROC-AUC one-vs-rest, macro",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "mae": "mean absolute error (levels)",
    "qwk": "quadratic-weighted kappa",
    "icc": "ICC(3,1)",
    "expected_mae": "mean absolute error, continuous",
    "rmse": "root mean squared error (RMSE), continuous",
    "pearson": "Pearson correlation, continuous",
    "ccc": "concordance correlation (CCC), continuous",
    "icc_3_1": "ICC(3,1), continuous",
    "icc_2_1": "ICC(2,1), continuous",
    "recall": "recall (PD)",
    "precision": "precision",
    "f1": "F1",
    "specificity": "specificity",
    "pf": "PF",
    "balance": "Balance",
    "accuracy_one_vs_rest": "accuracy one-vs-rest",
    "average_precision": "average precision",
    "roc_auc": "ROC-AUC",
    "detector_accuracy": "accuracy of detectors",
    "detector_precision": "precision of detectors",
    "detector_recall": "recall of detectors",
    "detector_f1": "F1 of detectors",
    "detector_specificity": "specificity of detectors",
}


COMMON = {
    **dict.fromkeys(("acc", "uar", "war", "bal_acc", "auc", "auroc", "auprc", "average_precision", "map"), True),
    **dict.fromkeys(("pearson", "ccc", "pcc", "r2", "iou"), True),
    **dict.fromkeys(("loss", "cross_entropy", "nll", "error", "error_rate", "mse", "rmse", "eer", "fpr", "fnr"), False),
}
"""Usual column names of tables from elsewhere: whether higher is better."""


def name_of(key: str) -> str:
    """Name a metric as a reader does; one by clip says so."""
    if key.startswith(CLIP):
        return f"{NAMES[key.removeprefix(CLIP)]}, by clip"
    return f"{NAMES[key.removeprefix(EACH)]}, of each class" if key.startswith(EACH) else NAMES[key]


def words(metric: str) -> str:
    """Write a metric's name as a reader does."""
    if metric.startswith(CLIP):
        return f"{words(metric.removeprefix(CLIP))} by clip"
    known = {"mae": "MAE", "qwk": "quadratic kappa", "icc": "ICC(3,1)", "expected_mae": "MAE (continuous)"}
    known |= {"rmse": "RMSE (continuous)", "pearson": "Pearson (continuous)", "ccc": "CCC (continuous)"}
    known |= {"icc_3_1": "ICC(3,1) (continuous)", "icc_2_1": "ICC(2,1) (continuous)"}
    known |= {"mcc": "Matthews correlation", "ece": "calibration error"}
    known |= {f"{start}roc_auc": f"{start.replace('_', ' ')}ROC-AUC" for start in ("", "macro_")}
    capitals = {"f1": "F1", "pd": "PD", "pf": "PF"}
    return known.get(metric) or " ".join(capitals.get(word, word) for word in metric.split("_"))


def known_direction(column: str) -> bool | None:
    """Return whether higher values of a metric are better, from its name or label; None where the name is not known.

    Case, hyphens and blanks do not matter, nor does a split named before it, such as ``test_`` or ``val_``.

    Examples
    --------
    >>> known_direction("Balanced accuracy"), known_direction("val_log_loss"), known_direction("yield")
    (True, False, None)
    """
    plain = _plain(column)
    bare = re.sub(rf"^((test|val|valid|validation|train|training|{CLIP[:-1]}|{EACH[:-1]})_)+", "", plain)
    bare = bare.removesuffix("_by_clip")
    for name in (plain, bare):
        if name in COMMON:
            return COMMON[name]
        keys = {name} | {key for key, label in NAMES.items() if name in (_plain(label), _plain(words(key)))}
        if any(lower_is_better(key) for key in keys):
            return False
        if any(key in NAMES for key in keys):
            return True
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def lower_note(keys: Iterable[str]) -> str:
    """Say of which metrics less is better; empty where there are none."""
    named = [name_of(key) for key in keys if lower_is_better(key)]
    return f"Lower is better: {'; '.join(named)}." if named else ""


def overall_table(result: Mapping[str, Any]) -> Table:
    """Show all overall metrics of one run; ``result`` is what ``metrics_of`` gives."""
    rows = tuple((NAMES[name], estimate(entry)) for name, entry in result["overall"].items())
    note = (
        "Macro: mean over the classes present in the test data. Weighted: by their samples. PD, PF and Balance: "
        "probability of detection, of false alarm, and 1 minus the distance to the ideal of both. Accuracy one-vs-rest "
        "counts true negatives of other classes and is high by construction. " + lower_note(result["overall"])
    )
    return Table("overall", "Over all classes", ("metric", f"value [{result['level']:.0%} interval]"), rows, note)


def levels_table(result: Mapping[str, Any]) -> Table:
    """Show how far predictions are from the true level; by sample, and by clip where there is such a result."""
    sides = {"by sample": result, **({"by clip": result["by_clip"]} if "by_clip" in result else {})}
    rows: tuple[Row, ...] = tuple(
        (NAMES[key], *(estimate(side["levels"][key]) for side in sides.values())) for key in result["levels"]
    )
    note = (
        "Distances are in the values of the levels. Kappa weighs a confusion by the squared number of levels between. "
        "Continuous: of the method's output, or, where it has none, of the expected level of its probabilities. "
        "ICC(3,1): two-way mixed, single, consistency; ICC(2,1): two-way random, single, absolute agreement (Shrout "
        f"and Fleiss 1979); CCC: Lin 1989. {lower_note(result['levels'])}"
    )
    return Table("levels", "Distance from the true level", ("metric", *sides), rows, f"{note} {_over(result)}")


def _over(result: Mapping[str, Any]) -> str:
    """Say what brackets hold, and how many samples and clips there are."""
    clips = f" and {result['by_clip']['samples']:,} clips" if "by_clip" in result else ""
    return f"Over {result['samples']:,} samples{clips}; in brackets {result['level']:.0%} intervals."


def clips_table(result: Mapping[str, Any]) -> Table:
    """Show main metrics by sample and by clip; ``result`` has ``by_clip``."""
    clips = result["by_clip"]
    rows: tuple[Row, ...] = tuple(
        (NAMES[key], *(estimate(side["overall"][key]) for side in (result, clips))) for key in BY_CLIP
    )
    note = f"{_over(result)} {lower_note(BY_CLIP)}"
    return Table("by-clip", "By sample and by clip", ("metric", "by sample", "by clip"), rows, note)


def class_table(result: Mapping[str, Any]) -> Table:
    """Show per-class metrics of one run."""
    keys = (
        "recall",
        "precision",
        "f1",
        "specificity",
        "pf",
        "balance",
        "average_precision",
        "roc_auc",
        "accuracy_one_vs_rest",
    )
    rows = tuple(
        (name, entry["support"], estimate(entry["recall"]), *(estimate(entry[key]).value for key in keys[1:]))
        for name, entry in result["per_class"].items()
    )
    return Table("per-class", "Each class against the rest", ("class", "samples", *(NAMES[k] for k in keys)), rows)


def detectors_table(result: Mapping[str, Any]) -> Table:
    """Show what the detector of each class does by itself; ``result`` has ``detectors``."""
    found = result["detectors"]
    rows: tuple[Row, ...] = tuple(
        (name, *(estimate(entry[key]) for key in DETECTORS))
        for name, entry in (*found["per_class"].items(), ("mean", found["mean"]))
    )
    note = (
        "A detector fires where its score is 0.5 or more; on a sample several may, or none. Its accuracy counts the "
        "samples of other classes on which it is silent, and is high for a rare class that is never found. "
    )
    header = ("class", *(NAMES[key].removesuffix(" of detectors") for key in DETECTORS))
    return Table("detectors", "Each detector by itself, at a threshold of 0.5", header, rows, note + _over(result))


def confusion_table(result: Mapping[str, Any], name: str = "confusion", whose: str = "") -> Table:
    """Show counts by true (rows) and predicted class (columns)."""
    classes = tuple(result["per_class"])
    rows = tuple((c, *row) for c, row in zip(classes, result["confusion"], strict=True))
    title = "Confusion matrix, counts" + (f": {whose}" if whose else "")
    return Table(name, title, ("true \\ predicted", *classes), rows)


def counts_table(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Table:
    """Show the samples of each class on each side."""
    rows: list[Row] = [(name, *(int(values[i]) for values in counts.values())) for i, name in enumerate(classes)]
    rows.append(("all", *(int(sum(values)) for values in counts.values())))
    return Table("class-counts", "Samples per class", ("class", *counts), tuple(rows))


def methods_table(comparison: Comparison) -> Table:
    """Show the main metrics of each method; with several seeds also their standard deviation."""
    return _methods(comparison, COMPARED, "methods", "Methods")


def further_table(comparison: Comparison) -> Table | None:
    """Show what else was compared, of ordered classes and by clip; none where there is nothing else."""
    keys = [key for key in comparison.methods[0].overall if key not in COMPARED]
    return _methods(comparison, keys, "methods-further", "Methods, levels and clips") if keys else None


def _methods(comparison: Comparison, keys: Sequence[str], name: str, title: str) -> Table:
    several = any(len(method.runs) > 1 for method in comparison.methods)
    header = ["method"]
    rows = []
    if several:
        header.append("seeds")
    for key in keys:
        header += [name_of(key), f"sd of {name_of(key)}"] if several else [name_of(key)]
    for method in comparison.methods:
        row: list[Cell] = [method.name, *([len(method.runs)] if several else [])]
        for key in keys:
            row += [method.overall[key], _deviation(method.per_run[key])] if several else [method.overall[key]]
        rows.append(tuple(row))
    note = " ".join(filter(None, ["sd: standard deviation over seeds." if several else "", lower_note(keys)]))
    return Table(name, title, tuple(header), tuple(rows), note)


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else float("nan")


def pairs_table(comparison: Comparison) -> Table:
    """Show the difference of each method from the first, with the tests."""
    several = len(comparison.pairs) > 1
    rows: tuple[Row, ...] = tuple(
        (*([pair.candidate] * several), name_of(key), d, p_value(d.p), p_value(d.p_holm))
        for pair in comparison.pairs
        for key, d in pair.overall.items()
    )
    note = f"p: swap test over {comparison.unit}."
    if several:
        note += f" Holm: corrected over the {len(comparison.pairs)} differences of a metric."
    note += f" The {len(comparison.pairs[0].overall)} metrics are not corrected for."
    note = f"{note} {lower_note(comparison.methods[0].overall)}".strip()
    header = (*(["method"] * several), "metric", f"difference [{comparison.level:.0%} interval]", "p", "p, Holm")
    return Table("differences", f"Difference from {comparison.methods[0].name}", header, rows, note)


def mcnemar_table(comparison: Comparison) -> Table | None:
    """Show McNemar's test of each pair of single runs; none where methods have several seeds."""
    rows = tuple(
        (pair.candidate, m.only_candidate, m.only_baseline, p_value(m.mid_p), p_value(m.exact))
        for pair, m in ((pair, pair.mcnemar) for pair in comparison.pairs)
        if m is not None
    )
    if not rows:
        return None
    note = "On accuracy. It takes samples as independent; p is not corrected for several methods." + (
        f" Samples of one {UNITS[comparison.unit]} are not, so its p may be too small; the verdict does not use it."
        if comparison.unit != "samples"
        else ""
    )
    first = comparison.methods[0].name
    header = ("method", "only it is right", f"only {first} is right", "mid-p", "exact p")
    return Table("mcnemar", f"McNemar's test against {first}", header, rows, note)


def recall_table(comparison: Comparison) -> Table:
    """Show recall of each class by each method."""
    rows: tuple[Row, ...] = tuple(
        (name, comparison.support[i], *(method.recall[i] for method in comparison.methods))
        for i, name in enumerate(comparison.classes)
    )
    header = ("class", "samples", *(method.name for method in comparison.methods))
    return Table("recall", "Recall per class", header, rows)


def class_pairs_table(comparison: Comparison) -> Table:
    """Show the difference in recall of each class, each method from the first."""
    several = len(comparison.pairs) > 1
    rows: tuple[Row, ...] = tuple(
        (*([pair.candidate] * several), d.name, d, p_value(d.p), p_value(d.p_holm))
        for pair in comparison.pairs
        for d in pair.classes
    )
    note = f"Holm: corrected for the {len(comparison.classes)} classes{' of a method' * several}."
    header = (*(["method"] * several), "class", f"recall [{comparison.level:.0%} interval]", "p", "p, Holm")
    return Table("recall-differences", f"Difference in recall from {comparison.methods[0].name}", header, rows, note)


def metrics_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Show every overall metric of every method, as means over its runs.

    Parameters
    ----------
    results : mapping of str to sequence of dict
        Method to what ``metrics_of`` gives for each of its runs.
    """
    first = next(iter(results.values()))[0]
    keys = first["overall"]
    rows: tuple[Row, ...] = tuple(
        (NAMES[key], *(_mean([estimate(run["overall"][key]).value for run in runs]) for runs in results.values()))
        for key in keys
    )
    return Table("metrics", "Over all classes", ("metric", *results), rows, overall_table(first).note)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
