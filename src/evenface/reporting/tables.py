"""Tables of runs and comparisons, each as text, CSV, LaTeX and Markdown from the same cells."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

from evenface.evaluation.bootstrap import Estimate, estimate
from evenface.evaluation.comparison import Comparison, Difference
from evenface.evaluation.formatting import UNITS, number, p_value, signed_interval, with_interval
from evenface.evaluation.metric_registry import CLIP, HEADLINE, METRICS, headline, label, lower_note
from evenface.utils.files import atomic_write
from evenface.utils.tables import escape_csv_cell

Cell = str | int | float | Estimate | Difference
Row = tuple[Cell, ...]

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
}


@dataclass(frozen=True)
class Table:
    """Cells under a header; text, LaTeX and Markdown round them, CSV keeps every digit."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""

    @property
    def text_columns(self) -> list[bool]:
        """Whether each column holds text, which is left-aligned, or numbers."""
        columns = list(zip(*self.formatted, strict=True)) or [()] * len(self.header)
        return [any(cell[:1].isalpha() for cell in column) for column in columns]

    @property
    def formatted(self) -> list[list[str]]:
        """Every cell as text."""
        return [[format_cell(cell) for cell in row] for row in self.rows]

    def text(self) -> str:
        """Return the table as aligned columns of plain text."""
        lines = [list(self.header), *self.formatted]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        sides = ["<" if text else ">" for text in self.text_columns]
        return "\n".join(
            "  ".join(f"{c:{side}{w}}" for c, side, w in zip(line, sides, widths, strict=True)).rstrip()
            for line in lines
        )

    def csv(self) -> str:
        """Return the table as CSV; an estimate takes the columns value, low and high, undefined values are empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        parts = [_parts(column) for column in zip(*self.rows, strict=True)] if self.rows else [("",)] * len(self.header)
        header = [f"{name} {part}".strip() for name, names in zip(self.header, parts, strict=True) for part in names]
        writer.writerow([escape_csv_cell(name) for name in header])
        for row in self.rows:
            values = [v for cell, names in zip(row, parts, strict=True) for v in _values(cell, len(names))]
            writer.writerow([escape_csv_cell(v) if isinstance(v, str) else v for v in values])
        return out.getvalue()

    def latex(self) -> str:
        """Return a LaTeX table for the package booktabs."""
        columns = "".join("l" if text else "r" for text in self.text_columns)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(self.title)}}}",
            rf"\label{{tab:{self.name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escape_latex, self.header)) + r" \\",
            r"\midrule",
            *(" & ".join(map(escape_latex, row)) + r" \\" for row in self.formatted),
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\smallskip\footnotesize {escape_latex(self.note)}"] if self.note else []),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        """Return the table as Markdown with pipes."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(map(escape_markdown, cells)) + " |"

        rule = "|" + "|".join("---" if text else "---:" for text in self.text_columns) + "|"
        return "\n".join([line(self.header), rule, *map(line, self.formatted)])

    def save(self, folder: Path) -> None:
        """Write ``<name>.csv`` and ``<name>.tex`` into ``folder``."""
        for suffix, content in ((".csv", self.csv()), (".tex", self.latex())):
            with atomic_write(folder / f"{self.name}{suffix}") as temporary:
                temporary.write_text(content, encoding="utf-8")


def clear_tables(folder: Path) -> None:
    """Remove tables that :meth:`Table.save` wrote into a folder: pairs of files whose LaTeX label is their name."""
    for latex in folder.glob("*.tex"):
        csv_file = latex.with_suffix(".csv")
        if csv_file.is_file() and rf"\label{{tab:{latex.stem}}}" in latex.read_text(encoding="utf-8", errors="replace"):
            csv_file.unlink()
            latex.unlink()


def format_cell(cell: Cell) -> str:
    """Return a cell as text."""
    if isinstance(cell, Difference):
        return signed_interval(cell, digits=3)
    if isinstance(cell, Estimate):
        return with_interval(cell)
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else number(cell)


def untested(estimate: Estimate) -> Difference:
    """Return an estimate as a difference, which is written with its sign; it was not tested."""
    return Difference("", estimate.value, estimate.low, estimate.high, float("nan"), float("nan"))


def escape_latex(text: str) -> str:
    """Escape characters that LaTeX would interpret."""
    return "".join(LATEX.get(character, character) for character in text)


_MARKUP = re.compile(
    r"[`|~]"
    r"|\\(?=[!-/:-@\[-`{-~]|$)"  # before punctuation
    r"|(?<!\s)\*|\*(?!\s)"
    r"|(?<![^\W_])_|_(?![^\W_])"  # not between letters
    r"|<(?=[a-zA-Z/!?])"
    r"|&(?=#?\w+;)"
    r"|\](?=[(\[:])|(?<=\])\[|\[(?=\^)"  # links, references, footnotes; not intervals
    r"|^(?:[#>]|[+-](?=[ -]|$)|\[(?=[ xX]\]))"  # blocks and tasks
)
_NUMBERED = re.compile(r"^(\d{1,9})(?=[.)](?: |$))")


def escape_markdown(text: str) -> str:
    r"""Escape what Markdown or HTML would interpret, and join lines.

    Examples
    --------
    >>> print(escape_markdown("happy* [0.3, 0.4], p < 0.05"))
    happy\* [0.3, 0.4], p < 0.05
    """
    return _NUMBERED.sub(r"\1\\", _MARKUP.sub(r"\\\g<0>", " ".join(text.split())))


def _parts(column: tuple[Cell, ...]) -> tuple[str, ...]:
    return ("", "low", "high") if any(isinstance(cell, Estimate | Difference) for cell in column) else ("",)


def _values(cell: Cell, width: int) -> list[str | int | float]:
    values: list[Any] = [cell.value, cell.low, cell.high] if isinstance(cell, Estimate | Difference) else [cell]
    values += [""] * (width - len(values))
    return ["" if value != value else value for value in values]


BY_CLIP = (*HEADLINE, "macro_precision", "macro_pd_pf_balance", "weighted_f1", "mcc", "log_loss")
"""Metrics of the table by sample and by clip."""


MEANS = (
    "Macro: mean over the classes present in the test data. Weighted: by their samples. PD, PF and PD/PF balance: "
    "probability of detection, of false alarm, and 1 minus the distance to the ideal of both. Accuracy one-vs-rest "
    "counts true negatives of other classes and is high by construction."
)


def overall_table(result: Mapping[str, Any]) -> Table:
    """List all overall metrics of one run; ``result`` is what ``metrics_of`` returns."""
    rows = tuple((label(name), estimate(entry)) for name, entry in result["overall"].items())
    note = f"{MEANS} {lower_note(result['overall'])}"
    return Table("overall", "Over all classes", ("metric", f"value [{result['level']:.0%} interval]"), rows, note)


def levels_table(result: Mapping[str, Any]) -> Table:
    """List distances from the true level, by sample, and by clip where there is such a result."""
    sides = {"by sample": result, **({"by clip": result["by_clip"]} if "by_clip" in result else {})}
    rows: tuple[Row, ...] = tuple(
        (label(key), *(estimate(side["levels"][key]) for side in sides.values())) for key in result["levels"]
    )
    note = (
        "Distances are in units of the levels. Kappa has quadratic weights. "
        "Continuous: the method's output or, where it has none, the expected level under its probabilities. "
        "ICC(3,1): two-way mixed, single, consistency; ICC(2,1): two-way random, single, absolute agreement (Shrout "
        f"and Fleiss 1979); CCC: Lin 1989. {lower_note(result['levels'])}"
    )
    return Table("levels", "Distance from the true level", ("metric", *sides), rows, f"{note} {_over(result)}")


def _over(result: Mapping[str, Any]) -> str:
    """Return the numbers of samples and clips, and the level of the intervals."""
    clips = f" and {result['by_clip']['samples']:,} clips" if "by_clip" in result else ""
    return f"Over {result['samples']:,} samples{clips}; {result['level']:.0%} intervals in brackets."


def clips_table(result: Mapping[str, Any]) -> Table:
    """List main metrics by sample and by clip; ``result`` has ``by_clip``."""
    clips = result["by_clip"]
    rows: tuple[Row, ...] = tuple(
        (label(key), *(estimate(side["overall"][key]) for side in (result, clips))) for key in BY_CLIP
    )
    note = f"{_over(result)} {lower_note(BY_CLIP)}"
    return Table("by-clip", "By sample and by clip", ("metric", "by sample", "by clip"), rows, note)


def class_table(result: Mapping[str, Any]) -> Table:
    """List the per-class metrics of one run."""
    keys = [key for key in next(iter(result["per_class"].values())) if key not in ("support", "recall")]
    rows = tuple(
        (name, entry["support"], estimate(entry["recall"]), *(estimate(entry[key]).value for key in keys))
        for name, entry in result["per_class"].items()
    )
    header = ("class", "samples", *map(label, ("recall", *keys)))
    return Table("per-class", "Per-class metrics, one class against the rest", header, rows, lower_note(keys))


def detectors_table(result: Mapping[str, Any]) -> Table:
    """List metrics of the one-vs-rest classifier of each class; ``result`` has ``detectors``."""
    per_class, mean = result["detectors"]["per_class"], result["detectors"]["mean"]
    keys = tuple(next(iter(per_class.values())))
    rows: tuple[Row, ...] = tuple(
        (name, *(estimate(entry[key]) if key in entry else "–" for key in keys))
        for name, entry in (*per_class.items(), ("mean", mean))
    )
    note = (
        "A classifier is positive at a score of 0.5 or more; several or none may be positive on a sample. Its accuracy "
        "counts true negatives, and is high for a rare class that is never predicted. "
    )
    header = ("class", *(label(key).removeprefix("detector ") for key in keys))
    return Table("detectors", "One-vs-rest classifiers at a threshold of 0.5", header, rows, note + _over(result))


def confusion_table(result: Mapping[str, Any], name: str = "confusion", method: str = "") -> Table:
    """List counts by true (rows) and predicted class (columns)."""
    classes = tuple(result["per_class"])
    rows = tuple((c, *row) for c, row in zip(classes, result["confusion"], strict=True))
    title = "Confusion matrix, counts" + (f": {method}" if method else "")
    return Table(name, title, ("true \\ predicted", *classes), rows)


def counts_table(counts: Mapping[str, Sequence[int]], classes: Sequence[str], kind: str = "class") -> Table:
    """List the samples of each class (or target, or stratum) in each split."""
    rows: list[Row] = [(name, *(int(values[i]) for values in counts.values())) for i, name in enumerate(classes)]
    if kind != "target":  # several targets may be present in one sample
        rows.append(("all", *(int(sum(values)) for values in counts.values())))
    return Table("class-counts", f"Samples per {kind}", (kind, *counts), tuple(rows))


def _first(comparison: Comparison) -> list[str]:
    """Return the metrics listed first: the headline ones, and of classes those of levels and those by clip."""
    keys = comparison.methods[0].overall
    first = _headline(comparison)
    if comparison.each != "recall":
        return [key for key in first if key in keys]
    return [key for key in keys if (own := key.removeprefix(CLIP)) in first or METRICS[own].task != "classification"]


def _headline(comparison: Comparison) -> tuple[str, ...]:
    return headline(comparison.methods[0].runs[0])


def methods_table(comparison: Comparison) -> Table:
    """List the main metrics of each method; with several seeds also their standard deviation."""
    keys = [key for key in _headline(comparison) if key in comparison.methods[0].overall]
    return _methods(comparison, keys, "methods", "Methods")


def further_table(comparison: Comparison) -> Table | None:
    """List the metrics of ordered classes and by clip; None where there are none."""
    keys = [key for key in _first(comparison) if key not in _headline(comparison)]
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
    """List the difference of each method from the first in the main metrics, with the tests."""
    return _differences(comparison, _first(comparison), "differences", "Difference")


def all_pairs_table(comparison: Comparison) -> Table:
    """List the difference of each method from the first in every metric, with the tests."""
    return _differences(comparison, list(comparison.pairs[0].overall), "differences-all", "All metrics: difference")


def _differences(comparison: Comparison, keys: Sequence[str], name: str, title: str) -> Table:
    several = len(comparison.pairs) > 1
    rows: tuple[Row, ...] = tuple(
        (*([pair.candidate] * several), label(key), d, p_value(d.p), p_value(d.p_holm))
        for pair in comparison.pairs
        for key, d in ((key, pair.overall[key]) for key in keys)
    )
    note = f"p: paired permutation test over {comparison.unit}."
    if several:
        note += f" Holm: corrected over the {len(comparison.pairs)} differences of a metric."
    note += f" The {len(comparison.pairs[0].overall)} metrics are tested without correction."
    note = f"{note} {lower_note(keys)}".strip()
    header = (*(["method"] * several), "metric", f"difference [{comparison.level:.0%} interval]", "p", "p, Holm")
    return Table(name, f"{title} from {comparison.methods[0].name}", header, rows, note)


def mcnemar_table(comparison: Comparison) -> Table | None:
    """List McNemar's test of each pair of single runs; None where methods have several seeds."""
    rows = tuple(
        (pair.candidate, m.only_candidate, m.only_baseline, p_value(m.mid_p), p_value(m.exact))
        for pair, m in ((pair, pair.mcnemar) for pair in comparison.pairs)
        if m is not None
    )
    if not rows:
        return None
    note = "On accuracy. It assumes independent samples; p is not corrected for several methods." + (
        f" Samples of one {UNITS[comparison.unit]} are correlated, so p may be too small; the verdict does not use it."
        if comparison.unit != "samples"
        else ""
    )
    first = comparison.methods[0].name
    header = ("method", "correct only by it", f"correct only by {first}", "mid-p", "exact p")
    return Table("mcnemar", f"McNemar's test against {first}", header, rows, note)


def recall_table(comparison: Comparison) -> Table:
    """List the recall of each class, or the metric of each target, by each method."""
    rows: tuple[Row, ...] = tuple(
        (name, comparison.support[i], *(method.by_class[i] for method in comparison.methods))
        for i, name in enumerate(comparison.classes)
    )
    header = (_kind(comparison), "samples", *(method.name for method in comparison.methods))
    metric = label(comparison.each)
    return Table(comparison.each, f"{metric[0].upper()}{metric[1:]} per {_kind(comparison)}", header, rows)


def _kind(comparison: Comparison) -> str:
    return "class" if comparison.each == "recall" else "target"


def class_pairs_table(comparison: Comparison) -> Table:
    """List the difference in recall of each class, each method from the first."""
    several = len(comparison.pairs) > 1
    rows: tuple[Row, ...] = tuple(
        (*([pair.candidate] * several), d.name, d, p_value(d.p), p_value(d.p_holm))
        for pair in comparison.pairs
        for d in pair.classes
    )
    kinds = {"class": "classes", "target": "targets"}[_kind(comparison)]
    note = f"Holm: corrected for the {len(comparison.classes)} {kinds}{' of a method' * several}."
    metric = label(comparison.each)
    interval = f"{metric} [{comparison.level:.0%} interval]"
    header = (*(["method"] * several), _kind(comparison), interval, "p", "p, Holm")
    title = f"Difference in {metric} from {comparison.methods[0].name}"
    return Table(f"{comparison.each}-differences", title, header, rows, note)


def metrics_table(comparison: Comparison) -> Table:
    """List every metric of every method, as means over its runs."""
    keys = comparison.methods[0].overall
    rows: tuple[Row, ...] = tuple((label(key), *(method.overall[key] for method in comparison.methods)) for key in keys)
    header = ("metric", *(method.name for method in comparison.methods))
    return Table("metrics", "All metrics", header, rows, f"{MEANS} {lower_note(keys)}")
