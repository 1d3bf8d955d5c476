"""Which tables a report holds: metrics, classes, confusion, differences and tests."""

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from evenface.evaluation.comparison import COMPARED, Comparison
from evenface.evaluation.intervals import estimate
from evenface.evaluation.tables import Cell, Table
from evenface.evaluation.wording import p_value

Row = tuple[Cell, ...]

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
    "mae": "mean absolute error, levels",
    "expected_mae": "mean absolute error of the expected level",
    "qwk": "quadratic-weighted kappa",
    "icc": "ICC(3,1)",
    "recall": "recall (PD)",
    "precision": "precision",
    "f1": "F1",
    "specificity": "specificity",
    "pf": "PF",
    "balance": "Balance",
    "accuracy_one_vs_rest": "accuracy one-vs-rest",
    "average_precision": "average precision",
    "roc_auc": "ROC-AUC",
}


def overall_table(result: Mapping[str, Any]) -> Table:
    """Show all overall metrics of one run; ``result`` is what ``metrics_of`` gives."""
    rows = tuple((NAMES[name], estimate(entry)) for name, entry in result["overall"].items())
    note = (
        "Macro: mean over the classes present in the test data. Weighted: by their samples. PD, PF and Balance: "
        "probability of detection, of false alarm, and 1 minus the distance to the ideal of both. Accuracy one-vs-rest "
        "counts true negatives of other classes and is high by construction."
    )
    return Table("overall", "Over all classes", ("metric", f"value [{result['level']:.0%} interval]"), rows, note)


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
    several = any(len(method.runs) > 1 for method in comparison.methods)
    header = ["method"]
    rows = []
    if several:
        header.append("seeds")
    for key in COMPARED:
        header += [NAMES[key], f"sd of {NAMES[key]}"] if several else [NAMES[key]]
    for method in comparison.methods:
        row: list[Cell] = [method.name, *([len(method.runs)] if several else [])]
        for key in COMPARED:
            row += [method.overall[key], _deviation(method.per_run[key])] if several else [method.overall[key]]
        rows.append(tuple(row))
    note = "sd: standard deviation over seeds." if several else ""
    return Table("methods", "Methods", tuple(header), tuple(rows), note)


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else float("nan")


def pairs_table(comparison: Comparison) -> Table:
    """Show the difference of each method from the first, with the tests."""
    several = len(comparison.pairs) > 1
    rows: tuple[Row, ...] = tuple(
        (*([pair.candidate] * several), NAMES[key], d, p_value(d.p), p_value(d.p_holm))
        for pair in comparison.pairs
        for key, d in pair.overall.items()
    )
    note = f"p: swap test over {comparison.unit}."
    if several:
        note += f" Holm: corrected for {len(comparison.pairs)} comparisons."
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
    note = "On accuracy. It takes samples as independent." + (
        " Samples of one person are not, so its p may be too small; the verdict does not use it."
        if comparison.unit == "people"
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
