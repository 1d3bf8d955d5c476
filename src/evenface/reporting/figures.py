"""Figures of runs, comparisons, studies and statistics; each function draws one and returns it.

They share the style of :mod:`evenface.reporting.style`. Values with intervals, and differences, are all drawn by
:func:`intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evenface.evaluation import metrics, probability_metrics
from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.calibration import Calibration
from evenface.evaluation.comparison import Comparison, Difference
from evenface.evaluation.metric_registry import headline, label, limits
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.selective import risk_coverage
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions
from evenface.reporting.style import DASHES, GRID, INK, MUTED, SERIES, WIDTH, colour, legend, marker, panels, styled
from evenface.statistics.assumptions import ALPHA
from evenface.statistics.comparisons import Contrast, Equivalence
from evenface.statistics.designs import plural
from evenface.statistics.nonparametric_tests import Ranks
from evenface.statistics.power import POWER, smallest_effect, t_power, units_needed
from evenface.utils.extras import LazyModule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    pd = LazyModule("pandas")

LONG_TAIL = 8
"""Ratio of class counts above which their axis is logarithmic."""
SIDES = ("train", "validation", "test")
COHEN = (0.2, 0.5, 0.8)
BELOW = ("negligible", "small", "medium")
MOST_POINTS = 2000
"""Samples that a scatter plot shows."""
ROW_HEIGHT, SERIES_HEIGHT, MARGIN_HEIGHT, TITLE_HEIGHT, LEGEND_HEIGHT = 0.26, 0.14, 0.5, 0.32, 0.25
"""Inches of a row, of each of its series, of axis and label, of a panel's title, and of a line of the legend."""


def rarest_first(counts: Sequence[int]) -> list[int]:
    """Return the indices of classes by rising count; classes of equal count stay in their order.

    Examples
    --------
    >>> rarest_first([30, 5, 30, 2])
    [3, 1, 0, 2]
    """
    return [int(index) for index in np.argsort(np.asarray(counts), kind="stable")]


@dataclass(frozen=True)
class Mark:
    """A value with its interval in a row of a figure.

    ``series`` chooses colour and marker; marks that are not ``filled`` are hollow. ``runs`` are drawn as rings below
    it, ``printed`` as crosses.
    """

    row: str
    value: float
    low: float = math.nan
    high: float = math.nan
    series: int = 0
    filled: bool = True
    runs: tuple[float, ...] = ()
    printed: tuple[float, ...] = ()

    @classmethod
    def of(cls, row: str, estimate: Estimate | Difference, series: int = 0, **options: Any) -> Mark:
        """Return the mark of an estimate, or of a difference."""
        return cls(row, estimate.value, estimate.low, estimate.high, series, **options)


@styled
def intervals(
    groups: Mapping[str, Sequence[Mark]],
    series: Sequence[str] = (),
    *,
    xlabel: str = "",
    xlim: tuple[float, float] | None = None,
    zero: bool = False,
    sharex: bool = False,
    legend_title: str = "",
    label_loc: Literal["left", "center", "right"] = "center",
) -> Figure:
    """Draw values with intervals, a panel for each group, a row for each name, first on top.

    Parameters
    ----------
    groups : mapping of str to sequence of Mark
        Title of each panel to its marks; marks of one row are drawn beneath each other.
    series : sequence of str
        Names of the series for the legend.
    xlabel, xlim, legend_title, label_loc
        Label of the lowest axis, its limits, the title of the legend, the place of the label.
    zero : bool, default=False
        Whether to draw a line at zero.
    sharex : bool, default=False
        Whether panels share the horizontal axis.
    """
    printed = any(mark.printed for marks in groups.values() for mark in marks)
    has_legend = printed or sum(map(bool, series)) > 1
    figure, axes = _interval_panels(groups, sharex=sharex, legend_lines=has_legend * (1 + bool(legend_title)))
    for axis, (title, marks) in zip(axes, groups.items(), strict=True):
        if zero:
            axis.axvline(0, color=MUTED, linewidth=0.9)
        _draw_marks(axis, marks, title)
        axis.locator_params(axis="x", nbins=6)
    if xlim:
        axes[-1].set_xlim(*xlim)
    axes[-1].set_xlabel(xlabel, loc=label_loc)
    for index, name in enumerate(series):
        axes[0].plot([], [], marker(index), color=colour(index), label=name)
    if printed:
        axes[0].plot([], [], "x", color=MUTED, markersize=5, label="as printed")
    legend(figure, axes[0], title=legend_title, fewest=1 if printed else 2)
    return figure


def _interval_panels(
    groups: Mapping[str, Sequence[Mark]], *, sharex: bool = False, legend_lines: int = 1
) -> tuple[Figure, list[Axes]]:
    """Create one panel above the other, each as high as its rows need."""
    heights = []
    for title, marks in groups.items():
        rows = _rows(marks)
        depth = max(map(len, rows.values()), default=1)
        heights.append(len(rows) * max(ROW_HEIGHT, SERIES_HEIGHT * depth + 0.1) + (TITLE_HEIGHT if title else 0))
    height = MARGIN_HEIGHT + LEGEND_HEIGHT * legend_lines + sum(heights)
    return panels(len(groups), 1, height=height, sharex=sharex, height_ratios=heights)


def _rows(marks: Sequence[Mark]) -> dict[str, list[Mark]]:
    """Group marks by row, in order of first appearance."""
    rows: dict[str, list[Mark]] = {}
    for mark in marks:
        rows.setdefault(mark.row, []).append(mark)
    return rows


def _draw_marks(axis: Axes, marks: Sequence[Mark], title: str = "") -> None:
    rows = _rows(marks)
    depth = max(map(len, rows.values()), default=1)
    step = 0.72 / depth
    for index, members in enumerate(rows.values()):
        for position, mark in enumerate(members):
            height = len(rows) - 1 - index + (len(members) - 1) * step / 2 - position * step
            shade, fill = colour(mark.series), "full" if mark.filled else "none"
            rings = [height - 0.28 * step] * len(mark.runs)
            axis.plot(mark.runs, rings, "o", color=MUTED, markersize=2.4, fillstyle="none", zorder=1)
            axis.hlines(height, mark.low, mark.high, color=shade, linewidth=1.5)
            axis.plot(
                *(mark.value, height, marker(mark.series)),
                color=shade,
                markersize=5,
                fillstyle=fill,
                clip_on=False,
                zorder=3,
            )
            axis.plot(mark.printed, [height] * len(mark.printed), "x", color=MUTED, markersize=5, zorder=4)
    _name_rows(axis, list(rows), title)


def _name_rows(axis: Axes, names: Sequence[str], title: str = "") -> None:
    axis.set_yticks(range(len(names)), list(names)[::-1])
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    if title:
        axis.set_title(title, loc="left")


# Runs and comparisons


@styled
def class_counts(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw the number of samples of each class in each split, rarest on top; on a log scale where the tail is long."""
    from matplotlib.ticker import LogLocator, NullFormatter

    order = rarest_first(next(iter(counts.values())))[::-1]
    known = np.array([n for side in counts.values() for n in side if n])
    figure, (axis,) = panels(height=0.9 + 0.27 * len(classes))
    for index, (side, values) in enumerate(counts.items()):
        positive = np.where(np.asarray(values) > 0, np.asarray(values, dtype=float), np.nan)[order]
        axis.plot(positive, range(len(classes)), marker(index), color=colour(index), label=side, markersize=6)
    _name_rows(axis, [classes[i] for i in order[::-1]])
    axis.grid(visible=True, axis="y")
    long = len(known) > 0 and known.max() / known.min() > LONG_TAIL
    if long:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda value, _index: f"{value:,.0f}" if value >= 1 else "")
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(left=0)
    axis.set_xlabel("samples (log scale)" if long else "samples")
    legend(figure, axis)
    return figure


@styled
def confusion(runs: Sequence[Predictions]) -> Figure:
    """Draw the confusion matrix: percent of each true class (shade, upper number) and count (lower number)."""
    classes = runs[0].classes
    counts = np.mean([metrics.confusion_matrix(r.labels, r.predicted, len(classes)) for r in runs], axis=0)
    share = metrics.divide(counts, counts.sum(axis=1, keepdims=True))
    c = len(counts)
    figure, (axis,) = panels(height=WIDTH * 0.95)
    size = min(9.0, 60 / c)
    for (row, column), shade, ink in _heatmap(axis, share):
        top = "–" if math.isnan(share[row, column]) else f"{100 * share[row, column]:.0f}"
        below: dict[str, Any] = {"ha": "center", "va": "center", "color": ink if shade > 0.75 else MUTED}
        axis.text(column + 0.5, row + 0.42, top, ha="center", va="center", fontsize=size, color=ink)
        axis.text(column + 0.5, row + 0.75, f"{counts[row, column]:,.0f}", fontsize=0.68 * size, **below)
    axis.set(aspect="equal", xlabel="predicted", ylabel="true")
    turn = 0 if max(map(len, classes)) * c < 40 else 40
    axis.set_xticks(
        np.arange(c) + 0.5, classes, rotation=turn, ha="right" if turn else "center", rotation_mode="anchor"
    )
    axis.set_yticks(np.arange(c) + 0.5, classes)
    return figure


def _heatmap(axis: Axes, shares: np.ndarray) -> list[tuple[tuple[int, int], float, str]]:
    """Shade cells by shares of 0 to 1, shape (rows, columns); return index, shade and text colour of each."""
    from matplotlib.patches import Rectangle

    rows, columns = shares.shape
    cells = []
    for row, column in np.ndindex(rows, columns):
        shade = 0.0 if math.isnan(shares[row, column]) else float(shares[row, column])
        axis.add_patch(Rectangle((column, row), 1, 1, facecolor=SERIES[0], alpha=shade, linewidth=0))
        cells.append(((row, column), shade, "#ffffff" if shade > 0.75 else INK))
    for edge in range(rows + 1):
        axis.plot([0, columns], [edge, edge], color=GRID, linewidth=0.6)
    for edge in range(columns + 1):
        axis.plot([edge, edge], [0, rows], color=GRID, linewidth=0.6)
    axis.grid(visible=False)
    axis.set(xlim=(0, columns), ylim=(rows, 0))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return cells


@styled
def precision_recall(runs: Mapping[str, AnyPredictions]) -> Figure:
    """Draw precision against recall, a panel per class or target, a line per run; dashed is the prevalence."""
    sides = {run: _binary(predictions) for run, predictions in runs.items()}
    names = list(next(iter(sides.values())))
    columns = min(4, math.ceil(len(names) / 2)) if len(names) > 3 else len(names)
    rows = math.ceil(len(names) / columns)
    figure, axes = panels(rows, columns, height=0.6 + 5.0 / columns * rows, sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=False):
        for index, (run, binary) in enumerate(sides.items()):
            curve = probability_metrics.precision_recall_curve(*binary[name])
            axis.step(curve.recall, curve.precision, where="pre", color=colour(index), label=run, linewidth=1.3)
        axis.axhline(next(iter(sides.values()))[name][0].mean(), color=MUTED, linestyle=DASHES, linewidth=0.8)
        values = [float(probability_metrics.average_precision(*binary[name])) for binary in sides.values()]
        area = f" {values[0]:.2f}" if len(values) == 1 and not math.isnan(values[0]) else ""
        axis.set_title(f"{name}{area}", loc="left")
        axis.set(xlim=(0, 1), ylim=(0, 1.03), yticks=[0, 0.5, 1])
        axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for index, axis in enumerate(axes[: len(names)]):
        if index >= columns * (rows - 1):
            axis.set_xlabel("recall")
        if index % columns == 0:
            axis.set_ylabel("precision")
    legend(figure, axes[0])
    return figure


def _binary(predictions: AnyPredictions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Map each class or target to which samples have it, and to its probability, where that is known."""
    if isinstance(predictions, TargetPredictions):
        columns = zip(predictions.names, predictions.known.T, predictions.targets.T, predictions.values.T, strict=True)
        return {name: (truth[known] > 0, score[known]) for name, known, truth, score in columns}
    columns_of = enumerate(predictions.classes)
    return {name: (predictions.labels == k, predictions.probabilities[:, k]) for k, name in columns_of}


@styled
def predicted_against_true(predictions: TargetPredictions) -> Figure:
    """Draw predicted against true values, a panel per target; the dashed line is perfect prediction."""
    count = len(predictions.names)
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure, axes = panels(rows, columns, height=0.5 + 5.4 / columns * rows)
    for index, (axis, name) in enumerate(zip(axes, predictions.names, strict=False)):
        known = np.flatnonzero(predictions.known[:, index])
        shown = known[np.linspace(0, len(known) - 1, min(MOST_POINTS, len(known))).astype(int)]
        truth, value = predictions.targets[shown, index], predictions.values[shown, index]
        ends = [min(truth.min(), value.min()), max(truth.max(), value.max())] if len(shown) else [0, 1]
        axis.plot(ends, ends, color=MUTED, linewidth=0.8, linestyle=DASHES)
        axis.plot(truth, value, "o", color=colour(0), markersize=2.5, alpha=0.35)
        axis.set_title(name, loc="left")
        axis.set_xlabel("true")
        if index % columns == 0:
            axis.set_ylabel("predicted")
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure


@styled
def target_reliability(runs: Mapping[str, TargetPredictions], bins: int = 10) -> Figure:
    """Draw how often a target is present by its probability, a panel per target; dashed is calibrated."""
    binaries = {name: _binary(predictions) for name, predictions in runs.items()}
    binary = next(iter(binaries.values()))
    columns = min(4, len(binary))
    rows = math.ceil(len(binary) / columns)
    figure, axes = panels(rows, columns, height=0.6 + 6.0 / columns * rows, sharex=True, sharey=True)
    for index, (axis, name) in enumerate(zip(axes, binary, strict=False)):
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DASHES)
        for place, (run, targets) in enumerate(binaries.items()):
            binned = probability_metrics.reliability(targets[name][1], targets[name][0], bins)
            axis.plot(binned.confidence, binned.accuracy, marker=marker(place), color=colour(place), label=run)
        axis.set_title(name, loc="left")
        axis.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if index >= columns * (rows - 1):
            axis.set_xlabel("probability")
        if index % columns == 0:
            axis.set_ylabel("share present")
    for axis in axes[len(binary) :]:
        axis.set_visible(False)
    if len(runs) > 1:
        legend(figure, axes[0])
    return figure


def recalls(
    methods: Mapping[str, Sequence[Estimate]],
    classes: Sequence[str],
    support: Sequence[int],
    counts: Sequence[int] | None = None,
    metric: str = "recall",
) -> Figure:
    """Draw recall and interval of each class and method, the class with the fewest ``counts`` (or samples) on top.

    ``metric`` takes the place of recall, for example of targets.
    """
    marks = [
        Mark.of(f"{classes[i]} ({support[i]:,})", estimates[i], index)
        for i in rarest_first(support if counts is None else counts)
        for index, estimates in enumerate(methods.values())
    ]
    low, high = limits(metric)
    return intervals({"": marks}, list(methods), xlabel=label(metric), xlim=(max(low, -0.2), high))


def overall(comparison: Comparison) -> Figure:
    """Draw the main metrics of each method, with intervals and each seed as a small ring."""
    groups = {
        label(key): [
            Mark.of(method.name, method.overall[key], index, runs=method.per_run[key] if len(method.runs) > 1 else ())
            for index, method in enumerate(comparison.methods)
        ]
        for key in headline(comparison.methods[0].runs[0])
        if key in comparison.methods[0].overall
    }
    return intervals(groups, sharex=True)


def recall_differences(comparison: Comparison, counts: Sequence[int] | None = None) -> Figure:
    """Draw the difference in recall of each class from the baseline; filled marks are significant."""
    marks = [
        Mark.of(
            f"{comparison.classes[i]} ({comparison.support[i]:,})",
            pair.classes[i],
            index,
            filled=pair.classes[i].certain,
        )
        for i in rarest_first(comparison.support if counts is None else counts)
        for index, pair in enumerate(comparison.pairs, start=1)
    ]
    names = ("", *(pair.candidate for pair in comparison.pairs))
    xlabel = f"{label(comparison.each)} minus that of {comparison.methods[0].name}"
    return intervals({"": marks}, names, xlabel=xlabel, zero=True)


@styled
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure | None:
    """Draw what was logged per epoch, or return None where nothing was.

    A panel per quantity, training dashed, validation solid, a colour per run.
    """
    quantities: dict[str, None] = {}
    for history in histories.values():
        for column in history.select_dtypes("number").columns:
            side, quantity = _quantity(str(column))
            if side and history[column].notna().any():
                quantities[quantity] = None
    if not quantities:
        return None
    columns = min(2, len(quantities))  # more would cut the names of metrics off
    rows = math.ceil(len(quantities) / columns)
    figure, axes = panels(rows, columns, height=0.5 + 1.8 * rows)
    for axis, quantity in zip(axes, quantities, strict=False):
        for index, (run, history) in enumerate(histories.items()):
            x = history["epoch"] if "epoch" in history else pd.Series(range(1, len(history) + 1))
            labelled = f"validation_{quantity}" if f"validation_{quantity}" in history else f"train_{quantity}"
            for column in history.select_dtypes("number").columns:
                side, name = _quantity(str(column))
                if side and name == quantity:
                    line_label = side if len(histories) == 1 else run if column == labelled else None
                    line = (0, (3, 1.5)) if side == "train" else "solid"
                    axis.plot(
                        *(x, history[column]), color=colour(index), linestyle=line, label=line_label, linewidth=1.4
                    )
        axis.set_title(label(quantity), loc="left")
        axis.set_xlabel("epoch")
        axis.locator_params(axis="x", integer=True)
    for axis in axes[len(quantities) :]:
        axis.set_visible(False)
    legend(figure, max(axes, key=lambda axis: len(axis.get_legend_handles_labels()[1])))
    return figure


def _quantity(column: str) -> tuple[str, str]:
    side, _, name = column.partition("_")
    return (side, name) if side in SIDES and name else ("", column)


@styled
def reliability(runs: Mapping[str, Predictions], bins: int = 10) -> Figure:
    """Draw a reliability diagram with equal-width bins, and below it the share of samples in each bin."""
    figure, (top, bottom) = panels(2, 1, height=3.7, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DASHES)
    for index, (name, predictions) in enumerate(runs.items()):
        confidence = predictions.probabilities.max(axis=1)
        binned = probability_metrics.reliability(confidence, predictions.predicted == predictions.labels, bins)
        top.plot(binned.confidence, binned.accuracy, marker=marker(index), color=colour(index), label=name)
        bottom.stairs(binned.count / len(predictions), binned.edges, color=colour(index), linewidth=1.3)
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    bottom.set(xlabel="probability of the predicted class", ylabel="share", ylim=(0, None))
    legend(figure, top)
    return figure


@styled
def risk_coverage_figure(calibrated: Predictions, calibration: Calibration) -> Figure:
    """Draw the error rate of the most confident samples against their share, on validation and on test data."""
    correct = calibrated.predicted == calibrated.labels
    curves = {
        "validation": calibration.curve,
        "test": risk_coverage(calibrated.probabilities.max(axis=1), correct),
    }
    figure, (axis,) = panels(height=2.6)
    axis.axhline(curves["test"].risk[-1], color=MUTED, linestyle=DASHES, linewidth=0.8)
    for index, (name, curve) in enumerate(curves.items()):
        axis.plot(curve.coverage, curve.risk, color=colour(index), label=f"{name} (AURC {curve.area:.3f})")
    axis.set(xlim=(0, 1), ylim=(0, None), xlabel="coverage: share of samples answered", ylabel="risk: error rate")
    legend(figure, axis, columns=2)
    return figure


# Statistics


def _contrast_marks(contrasts: Sequence[Contrast], *, sizes: bool = False) -> dict[str, list[Mark]]:
    """Group contrasts by metric: their differences, or their effect sizes."""
    groups: dict[str, list[Mark]] = {}
    for contrast in contrasts:
        estimate = contrast.size if sizes else contrast.difference
        mark = Mark(_contrast_name(contrast), estimate.value, estimate.low, estimate.high, filled=contrast.certain)
        groups.setdefault(contrast.metric, []).append(mark)
    return groups


def _contrast_name(contrast: Contrast | Equivalence) -> str:
    return f"{contrast.level} − {contrast.baseline}"


@styled
def differences(contrasts: Sequence[Contrast], margins: Mapping[str, float] | None = None) -> Figure:
    """Draw differences with their intervals, a panel for each metric; filled marks are significant.

    Parameters
    ----------
    contrasts : sequence of Contrast
        Comparisons to draw, grouped by their metric.
    margins : mapping of str to float, optional
        Metric to its equivalence margin, drawn as a band of that half-width.
    """
    groups = _contrast_marks(contrasts)
    figure, axes = _interval_panels(groups)
    for axis, (metric, marks) in zip(axes, groups.items(), strict=True):
        margin = (margins or {}).get(metric)
        if margin is not None:
            _equivalence_band(axis, -margin, margin)
        axis.axvline(0, color=MUTED, linewidth=0.9)
        _draw_marks(axis, marks, metric)
        _centre_zero(axis)
    axes[-1].set_xlabel("difference")
    axes[0].plot([], [], "o", color=SERIES[0], label=f"p ≤ {ALPHA}, corrected")
    axes[0].plot([], [], "o", color=SERIES[0], fillstyle="none", label="not significant")
    legend(figure, axes[0], columns=2)
    return figure


def _equivalence_band(axis: Axes, low: float, high: float) -> None:
    axis.axvspan(low, high, color=SERIES[2], alpha=0.13, linewidth=0, label="practically equivalent")
    for edge in (low, high):
        axis.axvline(edge, color=SERIES[2], linewidth=0.9, linestyle=DASHES)


def _centre_zero(axis: Axes) -> None:
    """Put zero in the middle, with round numbers at the ticks."""
    reach = max(map(abs, axis.get_xlim()))
    axis.set_xlim(-reach, reach)
    axis.locator_params(axis="x", nbins=5, min_n_ticks=3)
    axis.xaxis.set_major_formatter(
        lambda value, _index: f"{value:+g}".replace("-", "−") if abs(value) > 1e-9 * reach else "0"
    )


@styled
def effect_sizes(contrasts: Sequence[Contrast]) -> Figure:
    """Draw Cohen's d with its interval (d_av of pairs, d_s of groups); bands: negligible, small and medium effects."""
    from matplotlib.patches import Patch

    groups = _contrast_marks(contrasts, sizes=True)
    figure, axes = _interval_panels(groups, sharex=True)
    for axis, (metric, marks) in zip(axes, groups.items(), strict=True):
        for bound in COHEN:
            axis.axvspan(-bound, bound, color=MUTED, alpha=0.13, linewidth=0)
        axis.axvline(0, color=MUTED, linewidth=0.9)
        _draw_marks(axis, marks, metric)
        axis.grid(visible=False)
    reach = max(1.0, *(abs(edge) for axis in axes for edge in axis.get_xlim()))
    axes[-1].set_xlim(-reach, reach)
    kinds = sorted({contrast.size.kind for contrast in contrasts})
    axes[-1].set_xlabel(f"Cohen's {' or '.join(kinds)}; filled: p ≤ {ALPHA}, corrected")
    shades = [Patch(color=MUTED, alpha=1 - 0.87**n, linewidth=0) for n in (1, 2, 3)]
    names = [f"< {bound:g} {word}" for bound, word in zip(COHEN, BELOW, strict=True)][::-1]
    figure.legend(shades, names, loc="outside lower center", ncols=3, frameon=False)
    return figure


@styled
def equivalence(results: Sequence[Equivalence]) -> Figure:
    """Draw differences against their margins: the test's interval thick, the wider one thin, the verdict beside."""
    groups: dict[str, list[Equivalence]] = {}
    for result in results:
        groups.setdefault(result.metric, []).append(result)
    marks = {metric: [Mark(_contrast_name(r), r.interval.value) for r in own] for metric, own in groups.items()}
    figure, axes = _interval_panels(marks)
    for axis, (metric, own) in zip(axes, groups.items(), strict=True):
        for low, high in sorted({(result.low, result.high) for result in own}):
            _equivalence_band(axis, low, high)
        axis.axvline(0, color=MUTED, linewidth=0.9)
        for height, result in enumerate(reversed(own)):
            shade = SERIES[2] if result.equivalent else SERIES[1]
            axis.hlines(height, result.wide.low, result.wide.high, color=shade, linewidth=1.1)
            axis.hlines(height, result.interval.low, result.interval.high, color=shade, linewidth=3.6)
            axis.plot(result.interval.value, height, "o", color=shade, markersize=6, markeredgecolor="#ffffff")
            verdict = ("equivalent" if result.equivalent else "not shown") + (" *" if result.changes else "")
            position = (1.01, height)
            axis.annotate(verdict, position, xycoords=("axes fraction", "data"), va="center", fontsize=8, color=shade)
        _name_rows(axis, [_contrast_name(result) for result in own], metric)
        _centre_zero(axis)
    first = results[0]
    narrow, wide = f"{1 - 2 * first.alpha:.0%}", f"{1 - first.alpha:.0%}"
    changed = f"\n* by the {wide} interval: not shown" if any(result.changes for result in results) else ""
    axes[-1].set_xlabel(f"difference; thick: {narrow} interval (the test at {first.alpha:g}), thin: {wide}{changed}")
    return figure


@styled
def power_curves(
    effects: Sequence[float] = COHEN, *, count: int | None = None, unit: str = "unit", paired: bool = True
) -> Figure:
    """Draw power against the number of units, a curve for each effect size, and mark where each reaches 80 %.

    Parameters
    ----------
    effects : sequence of float
        Cohen's d.
    count : int, optional
        A number of units to mark, such as those of the study.
    unit : str
        Name of the unit of replication.
    paired : bool, default=True
        Whether the test is paired.
    """
    needed = {d: units_needed(d, paired=paired).count for d in effects}
    last = max(*(int(1.25 * n) for n in needed.values()), 2 * (count or 2), 10)
    sizes = np.unique(np.geomspace(2, last, 160).astype(int))
    figure, (axis,) = panels(height=3.1)
    axis.axhline(POWER, color=MUTED, linewidth=0.9, linestyle=DASHES)
    for index, (d, n) in enumerate(needed.items()):
        curve = [t_power(d, int(size), paired=paired) for size in sizes]
        axis.plot(sizes, curve, color=colour(index), label=f"d = {d:g}: {n}")
        axis.plot(n, t_power(d, n, paired=paired), marker(index), color=colour(index), zorder=3)
    if count is not None:
        least = f"{count} here:\nonly d ≥ {smallest_effect(count, paired=paired).effect:.2f}"
        axis.axvline(count, color=INK, linewidth=0.9)
        axis.annotate(least, (count, 0.97), xytext=(4, 0), textcoords="offset points", fontsize=8, va="top")
    axis.set_xscale("log")
    ticks = [n for n in (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if n <= last]
    axis.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axis.set_xticks([], minor=True)
    axis.set(xlim=(2, last), ylim=(0, 1.02), ylabel="power")
    axis.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20 %", "40 %", "60 %", "80 %", "100 %"])
    test = "paired t test" if paired else "t test of two groups of this size"
    axis.set_xlabel(f"{plural(unit)} (log scale); {test} at {ALPHA}")
    legend(figure, axis, columns=3, title=f"{plural(unit)} needed for {POWER:.0%}")
    return figure


@styled
def class_heat(table: pd.DataFrame, *, low: float = 0.0, high: float = 1.0) -> Figure:
    """Draw a heat map with a value for each class (row) and metric or condition (column).

    Parameters
    ----------
    table : DataFrame
        Index: classes; columns: metrics; NaN where not defined.
    low, high : float
        Values of the lightest and the darkest shade.
    """
    values = table.to_numpy(dtype=np.float64)
    rows, columns = values.shape
    longest = max(len(str(name)) for name in table.columns)
    figure, (axis,) = panels(height=0.55 + 0.34 * rows + 0.055 * longest)
    for (row, column), _, ink in _heatmap(axis, np.clip((values - low) / (high - low), 0, 1) * 0.92):
        text = "–" if np.isnan(values[row, column]) else f"{values[row, column]:.2f}"
        axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8.5, color=ink)
    turn = 0 if longest * columns < 58 else 35
    axis.xaxis.tick_top()
    side = "left" if turn else "center"
    axis.set_xticks(np.arange(columns) + 0.5, map(str, table.columns), rotation=turn, ha=side, rotation_mode="anchor")
    axis.set_yticks(np.arange(rows) + 0.5, map(str, table.index))
    axis.tick_params(length=0)
    return figure


@styled
def critical_difference(ranks: Ranks) -> Figure:
    """Draw average ranks, best on top, with half a critical difference to either side: bars that overlap do not differ.

    References
    ----------
    Nemenyi, *Distribution-free multiple comparisons*, 1963. Demšar, JMLR 2006.
    """
    half, best = ranks.critical / 2, ranks.average[0]
    marks = [
        Mark(f"{name} {rank:.2f}", rank, rank - half, rank + half, series=int(rank - best >= ranks.critical))
        for name, rank in zip(ranks.methods, ranks.average, strict=True)
    ]
    figure, (axis,) = _interval_panels({"": marks})
    axis.axvspan(best - half, best + half, color=SERIES[0], alpha=0.1, linewidth=0)
    _draw_marks(axis, marks)
    for index, name in enumerate(("not different from the best", "worse than the best")):
        axis.plot([], [], marker(index), color=colour(index), label=name)
    axis.set_xlabel(f"average rank of {len(marks)} (1 is best)")
    legend(figure, axis, columns=2, title=f"critical difference {ranks.critical:.2f}")
    return figure
