"""Which tables a report holds: metrics, classes, confusion, differences and tests."""

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from evenface.evaluation.bootstrap import estimate
from evenface.evaluation.comparison import Comparison
from evenface.evaluation.formatting import UNITS, p_value
from evenface.evaluation.metric_registry import CLIP, HEADLINE, METRICS, label, lower_note
from evenface.reporting.tables import Cell, Table

Row = tuple[Cell, ...]

BY_CLIP = (*HEADLINE, "macro_precision", "macro_pd_pf_balance", "weighted_f1", "mcc", "log_loss")
"""Metrics of the table that sets samples beside clips."""


MEANS = (
    "Macro: mean over the classes present in the test data. Weighted: by their samples. PD, PF and PD/PF balance: "
    "probability of detection, of false alarm, and 1 minus the distance to the ideal of both. Accuracy one-vs-rest "
    "counts true negatives of other classes and is high by construction."
)


def overall_table(result: Mapping[str, Any]) -> Table:
    """Show all overall metrics of one run; ``result`` is what ``metrics_of`` gives."""
    rows = tuple((label(name), estimate(entry)) for name, entry in result["overall"].items())
    note = f"{MEANS} {lower_note(result['overall'])}"
    return Table("overall", "Over all classes", ("metric", f"value [{result['level']:.0%} interval]"), rows, note)


def levels_table(result: Mapping[str, Any]) -> Table:
    """Show how far predictions are from the true level; by sample, and by clip where there is such a result."""
    sides = {"by sample": result, **({"by clip": result["by_clip"]} if "by_clip" in result else {})}
    rows: tuple[Row, ...] = tuple(
        (label(key), *(estimate(side["levels"][key]) for side in sides.values())) for key in result["levels"]
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
        (label(key), *(estimate(side["overall"][key]) for side in (result, clips))) for key in BY_CLIP
    )
    note = f"{_over(result)} {lower_note(BY_CLIP)}"
    return Table("by-clip", "By sample and by clip", ("metric", "by sample", "by clip"), rows, note)


def class_table(result: Mapping[str, Any]) -> Table:
    """Show per-class metrics of one run."""
    keys = [key for key in next(iter(result["per_class"].values())) if key not in ("support", "recall")]
    rows = tuple(
        (name, entry["support"], estimate(entry["recall"]), *(estimate(entry[key]).value for key in keys))
        for name, entry in result["per_class"].items()
    )
    header = ("class", "samples", *map(label, ("recall", *keys)))
    return Table("per-class", "Each class against the rest", header, rows, lower_note(keys))


def detectors_table(result: Mapping[str, Any]) -> Table:
    """Show the one-vs-rest classifier of each class by itself; ``result`` has ``detectors``."""
    per_class, mean = result["detectors"]["per_class"], result["detectors"]["mean"]
    keys = tuple(next(iter(per_class.values())))
    rows: tuple[Row, ...] = tuple(
        (name, *(estimate(entry[key]) if key in entry else "–" for key in keys))
        for name, entry in (*per_class.items(), ("mean", mean))
    )
    note = (
        "A detector fires where its score is 0.5 or more; on a sample several may, or none. Its accuracy counts the "
        "samples of other classes on which it is silent, and is high for a rare class that is never found. "
    )
    header = ("class", *(label(key).removeprefix("detector ") for key in keys))
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


def _first(comparison: Comparison) -> list[str]:
    """Metrics that are set out first: the headline ones, those of levels, and those by clip."""
    keys = comparison.methods[0].overall
    return [key for key in keys if (own := key.removeprefix(CLIP)) in HEADLINE or METRICS[own].task != "classification"]


def methods_table(comparison: Comparison) -> Table:
    """Show the main metrics of each method; with several seeds also their standard deviation."""
    keys = [key for key in HEADLINE if key in comparison.methods[0].overall]
    return _methods(comparison, keys, "methods", "Methods")


def further_table(comparison: Comparison) -> Table | None:
    """Show the metrics of ordered classes and by clip; none where there are none."""
    keys = [key for key in _first(comparison) if key not in HEADLINE]
    return _methods(comparison, keys, "methods-further", "Methods, levels and clips") if keys else None


def _methods(comparison: Comparison, keys: Sequence[str], name: str, title: str) -> Table:
    several = any(len(method.runs) > 1 for method in comparison.methods)
    header = ["method"]
    rows = []
    if several:
        header.append("seeds")
    for key in keys:
        header += [label(key), f"sd of {label(key)}"] if several else [label(key)]
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
    """Show the difference of each method from the first in the main metrics, with the tests."""
    return _differences(comparison, _first(comparison), "differences", "Difference")


def all_pairs_table(comparison: Comparison) -> Table:
    """Show the difference of each method from the first in every metric, with the tests."""
    return _differences(comparison, list(comparison.pairs[0].overall), "differences-all", "Every metric: difference")


def _differences(comparison: Comparison, keys: Sequence[str], name: str, title: str) -> Table:
    several = len(comparison.pairs) > 1
    rows: tuple[Row, ...] = tuple(
        (*([pair.candidate] * several), label(key), d, p_value(d.p), p_value(d.p_holm))
        for pair in comparison.pairs
        for key, d in ((key, pair.overall[key]) for key in keys)
    )
    note = f"p: swap test over {comparison.unit}."
    if several:
        note += f" Holm: corrected over the {len(comparison.pairs)} differences of a metric."
    note += f" The {len(comparison.pairs[0].overall)} metrics are not corrected for."
    note = f"{note} {lower_note(keys)}".strip()
    header = (*(["method"] * several), "metric", f"difference [{comparison.level:.0%} interval]", "p", "p, Holm")
    return Table(name, f"{title} from {comparison.methods[0].name}", header, rows, note)


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


def metrics_table(comparison: Comparison) -> Table:
    """Show every metric of every method, as means over its runs."""
    keys = comparison.methods[0].overall
    rows: tuple[Row, ...] = tuple((label(key), *(method.overall[key] for method in comparison.methods)) for key in keys)
    header = ("metric", *(method.name for method in comparison.methods))
    return Table("metrics", "Every metric", header, rows, f"{MEANS} {lower_note(keys)}")
