"""Figures of runs and comparisons; each function draws one and returns it. See :mod:`evenface.reporting.style`."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evenface.evaluation import metrics, probability_metrics
from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.comparison import Comparison
from evenface.evaluation.metric_registry import HEADLINE, label
from evenface.evaluation.predictions import Predictions
from evenface.reporting.style import GRID, INK, MARKERS, MUTED, SERIES, WIDTH, colour, panels, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONG_TAIL = 8
SIDES = ("train", "validation", "test")


def _legend(figure: "Figure", axis: "Axes") -> None:
    """Put the legend under the figure, where it covers nothing."""
    handles, names = axis.get_legend_handles_labels()
    if len(names) > 1:
        columns = max(1, min(len(names), int(60 / (max(map(len, names)) + 6))))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)


@styled
def class_counts(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> "Figure":
    """Draw how many samples of each class each side has, rarest on top; on a log scale where the tail is long."""
    from matplotlib.ticker import LogLocator, NullFormatter

    order = np.argsort(-np.asarray(next(iter(counts.values()))), kind="stable")
    known = np.array([n for side in counts.values() for n in side if n])
    figure, (axis,) = panels(height=0.9 + 0.27 * len(classes))
    for place, (side, values) in enumerate(counts.items()):
        shown = np.where(np.asarray(values) > 0, np.asarray(values, dtype=float), np.nan)[order]
        axis.plot(shown, range(len(classes)), MARKERS[place], color=colour(place), label=side, markersize=6)
    axis.set_yticks(range(len(classes)), [classes[i] for i in order])
    axis.set_ylim(-0.6, len(classes) - 0.4)
    long = len(known) > 0 and known.max() / known.min() > LONG_TAIL
    if long:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}" if value >= 1 else "")
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(left=0)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("samples (log scale)" if long else "samples")
    _legend(figure, axis)
    return figure


@styled
def confusion(runs: Sequence[Predictions]) -> "Figure":
    """Draw the confusion matrix: percent of each true class (shade, upper number) and count (lower number)."""
    from matplotlib.patches import Rectangle

    classes = runs[0].classes
    counts = np.mean([metrics.confusion_matrix(r.labels, r.predicted, len(classes)) for r in runs], axis=0)
    share = metrics.divide(counts, counts.sum(axis=1, keepdims=True))
    c = len(counts)
    figure, (axis,) = panels(height=WIDTH * 0.95)
    size = min(9.0, 60 / c)
    for row in range(c):
        for column in range(c):
            value = share[row, column]
            shade = 0.0 if math.isnan(value) else float(value)
            axis.add_patch(Rectangle((column, row), 1, 1, facecolor=SERIES[0], alpha=shade, linewidth=0))
            ink = "#ffffff" if shade > 0.75 else INK
            top = "–" if math.isnan(value) else f"{100 * value:.0f}"
            axis.text(column + 0.5, row + 0.42, top, ha="center", va="center", fontsize=size, color=ink)
            axis.text(
                column + 0.5,
                row + 0.75,
                f"{counts[row, column]:,.0f}",
                ha="center",
                va="center",
                fontsize=0.68 * size,
                color=ink if shade > 0.75 else MUTED,
            )
    for edge in range(c + 1):
        axis.plot([0, c], [edge, edge], color=GRID, linewidth=0.6)
        axis.plot([edge, edge], [0, c], color=GRID, linewidth=0.6)
    axis.grid(visible=False)
    axis.set(xlim=(0, c), ylim=(c, 0), aspect="equal", xlabel="predicted", ylabel="true")
    turn = 0 if max(map(len, classes)) * c < 40 else 40
    axis.set_xticks(
        np.arange(c) + 0.5, classes, rotation=turn, ha="right" if turn else "center", rotation_mode="anchor"
    )
    axis.set_yticks(np.arange(c) + 0.5, classes)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


@styled
def precision_recall(runs: Mapping[str, Predictions]) -> "Figure":
    """Draw precision against recall, a panel per class, a line per run; dashes mark the share of the class."""
    first = next(iter(runs.values()))
    columns = min(4, math.ceil(len(first.classes) / 2)) if len(first.classes) > 3 else len(first.classes)
    rows = math.ceil(len(first.classes) / columns)
    figure, axes = panels(rows, columns, height=0.6 + 5.0 / columns * rows, sharex=True, sharey=True)
    for k, (axis, name) in enumerate(zip(axes, first.classes, strict=False)):
        positive = first.labels == k
        for place, (run, predictions) in enumerate(runs.items()):
            score = predictions.probabilities[:, k]
            curve = probability_metrics.precision_recall_curve(predictions.labels == k, score)
            axis.step(curve.recall, curve.precision, where="pre", color=colour(place), label=run, linewidth=1.3)
        axis.axhline(positive.mean(), color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8)
        values = [
            float(probability_metrics.average_precision(r.labels == k, r.probabilities[:, k])) for r in runs.values()
        ]
        area = f" {values[0]:.2f}" if len(values) == 1 and not math.isnan(values[0]) else ""
        axis.set_title(f"{name}{area}", loc="left")
        axis.set(xlim=(0, 1), ylim=(0, 1.03), yticks=[0, 0.5, 1])
        axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    for axis in axes[len(first.classes) :]:
        axis.set_visible(False)
    for place, axis in enumerate(axes[: len(first.classes)]):
        if place >= columns * (rows - 1):
            axis.set_xlabel("recall")
        if place % columns == 0:
            axis.set_ylabel("precision")
    _legend(figure, axes[0])
    return figure


@styled
def recalls(
    methods: Mapping[str, Sequence[Estimate]],
    classes: Sequence[str],
    support: Sequence[int],
    rank: Sequence[int] | None = None,
) -> "Figure":
    """Draw each class's recall and interval, all methods side by side, the rarest class on top."""
    order = np.argsort(-np.asarray(support if rank is None else rank), kind="stable")
    step = 0.7 / max(1, len(methods))
    figure, (axis,) = panels(height=0.9 + len(classes) * max(0.3, 0.13 * len(methods) + 0.1))
    for place, (name, estimates) in enumerate(methods.items()):
        heights = np.arange(len(classes)) + (len(methods) - 1) * step / 2 - place * step
        _dots(axis, [estimates[i] for i in order], heights, place, name)
    axis.set_yticks(range(len(classes)), [f"{classes[i]} ({support[i]:,})" for i in order])
    axis.set(xlim=(0, 1), ylim=(-0.6, len(classes) - 0.4), xlabel="recall")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    _legend(figure, axis)
    return figure


def _dots(axis: "Axes", estimates: Sequence[Estimate], heights: np.ndarray, place: int, name: str) -> None:
    value, low, high = (np.array([getattr(e, part) for e in estimates]) for part in ("value", "low", "high"))
    axis.hlines(heights, low, high, color=colour(place), linewidth=1.4)
    marker = MARKERS[place % len(MARKERS)]
    axis.plot(value, heights, marker, color=colour(place), label=name, markersize=5, clip_on=False, zorder=3)


@styled
def overall(comparison: Comparison) -> "Figure":
    """Draw the main metrics of each method, with intervals and each seed as a small ring."""
    names = {name: label(name) for name in HEADLINE if name in comparison.methods[0].overall}
    methods = comparison.methods
    figure, axes = panels(len(names), 1, height=0.5 + len(names) * (0.36 + 0.2 * len(methods)), sharex=True)
    for axis, (key, title) in zip(axes, names.items(), strict=True):
        for place, method in enumerate(methods):
            height = np.array([len(methods) - 1.0 - place])
            if len(method.runs) > 1:
                rings = method.per_run[key]
                axis.plot(rings, [height[0] - 0.28] * len(rings), "o", color=MUTED, markersize=2.5, fillstyle="none")
            _dots(axis, [method.overall[key]], height, place, method.name)
        axis.set_yticks(range(len(methods)), [m.name for m in reversed(methods)])
        axis.set_ylim(-0.7, len(methods) - 0.4)
        axis.set_title(title, loc="left")
        axis.locator_params(axis="x", nbins=6)
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=False, axis="y")
    return figure


@styled
def differences(comparison: Comparison, rank: Sequence[int] | None = None) -> "Figure":
    """Draw each class's difference in recall from the baseline; filled marks are certain. ``rank`` as above."""
    order = np.argsort(-np.asarray(comparison.support if rank is None else rank), kind="stable")
    pairs, classes = comparison.pairs, comparison.classes
    step = 0.7 / len(pairs)
    figure, (axis,) = panels(height=1.0 + len(classes) * max(0.3, 0.13 * len(pairs) + 0.1))
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for place, pair in enumerate(pairs):
        chosen = [pair.classes[i] for i in order]
        heights = np.arange(len(classes)) + (len(pairs) - 1) * step / 2 - place * step
        shade, marker = colour(place + 1), MARKERS[(place + 1) % len(MARKERS)]
        axis.hlines(heights, [d.low for d in chosen], [d.high for d in chosen], color=shade, linewidth=1.4)
        axis.plot([], [], marker, color=shade, label=pair.candidate)
        for height, d in zip(heights, chosen, strict=True):
            fill = "full" if d.certain else "none"
            axis.plot(d.value, height, marker, color=shade, markersize=5, fillstyle=fill)
    axis.set_yticks(range(len(classes)), [f"{classes[i]} ({comparison.support[i]:,})" for i in order])
    axis.set(ylim=(-0.6, len(classes) - 0.4), xlabel=f"recall less that of {comparison.methods[0].name}")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    _legend(figure, axis)
    return figure


@styled
def training_curves(histories: Mapping[str, pd.DataFrame]) -> "Figure | None":
    """Draw what was logged per epoch: a panel per quantity, training dashed, validation solid, a colour per run."""
    quantities: dict[str, None] = {}
    for history in histories.values():
        for column in history.select_dtypes("number").columns:
            side, quantity = _quantity(str(column))
            if side and history[column].notna().any():
                quantities[quantity] = None
    if not quantities:
        return None
    columns = min(3, len(quantities))
    rows = math.ceil(len(quantities) / columns)
    figure, axes = panels(rows, columns, height=0.5 + 1.8 * rows)
    for axis, quantity in zip(axes, quantities, strict=False):
        for place, (run, history) in enumerate(histories.items()):
            x = history["epoch"] if "epoch" in history else pd.Series(range(1, len(history) + 1))
            named = f"validation_{quantity}" if f"validation_{quantity}" in history else f"train_{quantity}"
            for column in history.select_dtypes("number").columns:
                side, name = _quantity(str(column))
                if side and name == quantity:
                    label = side if len(histories) == 1 else run if column == named else None
                    line = (0, (3, 1.5)) if side == "train" else "solid"
                    axis.plot(x, history[column], color=colour(place), linestyle=line, label=label, linewidth=1.4)
        axis.set_title(quantity.replace("_", " "), loc="left")
        axis.set_xlabel("epoch")
    for axis in axes[len(quantities) :]:
        axis.set_visible(False)
    _legend(figure, max(axes, key=lambda axis: len(axis.get_legend_handles_labels()[1])))
    return figure


def _quantity(column: str) -> tuple[str, str]:
    side, _, name = column.partition("_")
    return (side, name) if side in SIDES and name else ("", column)


@styled
def reliability(runs: Mapping[str, Predictions], bins: int = 10) -> "Figure":
    """Draw accuracy against confidence in equal bins, and beneath it how many samples each bin holds."""
    figure, (top, bottom) = panels(2, 1, height=3.7, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    for place, (name, predictions) in enumerate(runs.items()):
        confidence = predictions.probabilities.max(axis=1)
        kept = probability_metrics.reliability(confidence, predictions.predicted == predictions.labels, bins)
        marker = MARKERS[place % len(MARKERS)]
        top.plot(kept.confidence, kept.accuracy, marker=marker, color=colour(place), label=name)
        bottom.stairs(kept.count / len(predictions), kept.edges, color=colour(place), linewidth=1.3)
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    bottom.set(xlabel="probability of the predicted class", ylabel="share", ylim=(0, None))
    _legend(figure, top)
    return figure
