"""Figures of statistics; each function draws one and returns it. See :mod:`evenface.reporting.style`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evenface.reporting.style import GRID, INK, MARKERS, MUTED, SERIES, colour, panels, save, styled
from evenface.statistics.analysis import Analysis
from evenface.statistics.assumptions import ALPHA
from evenface.statistics.comparisons import Contrast
from evenface.statistics.designs import plural
from evenface.statistics.equivalence_tests import Equivalence
from evenface.statistics.power import POWER, smallest_effect, t_power, units_needed
from evenface.statistics.rank_tests import Ranks
from evenface.utils.files import atomic_write
from evenface.utils.tables import escape_csv_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COHEN = (0.2, 0.5, 0.8)
BELOW = ("negligible", "small", "medium")
ROW = 0.26


def _grouped(names: Iterable[str]) -> dict[str, list[int]]:
    """Return the indices of each name, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(name, []).append(place)
    return groups


def _stacked(counts: Sequence[int], sharex: bool) -> "tuple[Figure, list[Axes]]":
    """Make one panel above the other, as high as their rows ask for."""
    height = 0.75 + sum(ROW * n + 0.32 for n in counts)
    return panels(len(counts), 1, height=height, sharex=sharex, height_ratios=[n + 0.6 for n in counts])


def _rows(axis: "Axes", names: Sequence[str], title: str) -> None:
    axis.set_yticks(range(len(names)), list(names)[::-1])
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    if title:
        axis.set_title(title, loc="left")


def _named(contrast: Contrast | Equivalence) -> str:
    return f"{contrast.level} less {contrast.baseline}"


def _legend(figure: "Figure", axis: "Axes", columns: int, title: str = "") -> None:
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, title=title or None)


@styled
def differences(contrasts: Sequence[Contrast], margins: Mapping[str, float] | None = None) -> "Figure":
    """Draw differences with their intervals, a panel for each metric; filled marks are certain.

    Parameters
    ----------
    contrasts : sequence of Contrast
        What to draw; a metric's stand together.
    margins : mapping of str to float, optional
        Metric to the half-width of its zone of equivalence, drawn as a band.
    """
    groups = _grouped(contrast.metric for contrast in contrasts)
    figure, axes = _stacked([len(rows) for rows in groups.values()], sharex=False)
    for axis, (metric, rows) in zip(axes, groups.items(), strict=True):
        chosen = [contrasts[row] for row in rows]
        margin = (margins or {}).get(metric)
        if margin is not None:
            _band(axis, -margin, margin)
        axis.axvline(0, color=MUTED, linewidth=0.9)
        for height, contrast in enumerate(reversed(chosen)):
            d = contrast.difference
            fill = "full" if contrast.certain else "none"
            axis.hlines(height, d.low, d.high, color=SERIES[0], linewidth=1.6)
            axis.plot(d.value, height, "o", color=SERIES[0], markersize=5.5, fillstyle=fill, markerfacecoloralt="none")
        _rows(axis, [_named(contrast) for contrast in chosen], metric)
        _symmetric(axis)
    axes[-1].set_xlabel("difference")
    axes[0].plot([], [], "o", color=SERIES[0], label=f"p ≤ {ALPHA}, corrected")
    axes[0].plot([], [], "o", color=SERIES[0], fillstyle="none", label="not shown")
    _legend(figure, axes[0], 2)
    return figure


def _band(axis: "Axes", low: float, high: float) -> None:
    axis.axvspan(low, high, color=SERIES[2], alpha=0.13, linewidth=0, label="practically equivalent")
    for edge in (low, high):
        axis.axvline(edge, color=SERIES[2], linewidth=0.9, linestyle=(0, (3, 2)))


def _symmetric(axis: "Axes") -> None:
    """Put zero in the middle, and whole figures at the marks."""
    reach = max(map(abs, axis.get_xlim()))
    axis.set_xlim(-reach, reach)
    axis.locator_params(axis="x", nbins=5, min_n_ticks=3)
    axis.xaxis.set_major_formatter(
        lambda value, _place: f"{value:+g}".replace("-", "−") if abs(value) > 1e-9 * reach else "0"
    )


@styled
def effect_sizes(contrasts: Sequence[Contrast]) -> "Figure":
    """Draw Cohen's d with its interval (d_av of pairs, d_s of groups); bands: negligible, small and medium effects."""
    from matplotlib.patches import Patch

    groups = _grouped(contrast.metric for contrast in contrasts)
    figure, axes = _stacked([len(rows) for rows in groups.values()], sharex=True)
    kinds = sorted({contrast.size.kind for contrast in contrasts})
    for axis, (metric, rows) in zip(axes, groups.items(), strict=True):
        chosen = [contrasts[row] for row in rows]
        for bound in COHEN:
            axis.axvspan(-bound, bound, color=MUTED, alpha=0.13, linewidth=0)
        axis.axvline(0, color=MUTED, linewidth=0.9)
        for height, contrast in enumerate(reversed(chosen)):
            d, fill = contrast.size, "full" if contrast.certain else "none"
            axis.hlines(height, d.low, d.high, color=SERIES[0], linewidth=1.6)
            axis.plot(d.value, height, "o", color=SERIES[0], markersize=5.5, fillstyle=fill)
        _rows(axis, [_named(contrast) for contrast in chosen], metric)
        axis.grid(visible=False)
    axes[-1].set_xlim(*_reach(axes))
    axes[-1].set_xlabel(f"Cohen's {' or '.join(kinds)}; filled: p ≤ {ALPHA}, corrected")
    shades = [Patch(color=MUTED, alpha=1 - 0.87**n, linewidth=0) for n in (1, 2, 3)]
    said = [f"< {bound:g} {word}" for bound, word in zip(COHEN, BELOW, strict=True)][::-1]
    figure.legend(shades, said, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _reach(axes: Sequence["Axes"]) -> tuple[float, float]:
    reach = max(1.0, *(abs(edge) for axis in axes for edge in axis.get_xlim()))
    return -reach, reach


@styled
def equivalence(results: Sequence[Equivalence]) -> "Figure":
    """Draw differences against their margins: the test's interval thick, the wider one thin, the verdict beside."""
    groups = _grouped(result.metric for result in results)
    figure, axes = _stacked([len(rows) for rows in groups.values()], sharex=False)
    for axis, (metric, rows) in zip(axes, groups.items(), strict=True):
        chosen = [results[row] for row in rows]
        for low, high in sorted({(result.low, result.high) for result in chosen}):
            _band(axis, low, high)
        axis.axvline(0, color=MUTED, linewidth=0.9)
        for height, result in enumerate(reversed(chosen)):
            shade = SERIES[2] if result.equivalent else SERIES[1]
            axis.hlines(height, result.wide.low, result.wide.high, color=shade, linewidth=1.1)
            axis.hlines(height, result.interval.low, result.interval.high, color=shade, linewidth=3.6)
            axis.plot(result.interval.value, height, "o", color=shade, markersize=6, markeredgecolor="#ffffff")
            mark = {True: "equivalent", False: "not shown"}[result.equivalent] + (" *" if result.changes else "")
            axis.annotate(
                *(mark, (1.01, height)), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=shade
            )
        _rows(axis, [_named(result) for result in chosen], metric)
        _symmetric(axis)
    first = results[0]
    narrow, wide = f"{1 - 2 * first.alpha:.0%}", f"{1 - first.alpha:.0%}"
    changed = f"\n* by the {wide} interval: not shown" if any(result.changes for result in results) else ""
    axes[-1].set_xlabel(f"difference; thick: {narrow} interval (the test at {first.alpha:g}), thin: {wide}{changed}")
    return figure


@styled
def power_curves(
    effects: Sequence[float] = COHEN, *, count: int | None = None, unit: str = "unit", paired: bool = True
) -> "Figure":
    """Draw power against the number of units, a curve for each effect, and mark where each reaches 80 %.

    Parameters
    ----------
    effects : sequence of float
        Cohen's d.
    count : int, optional
        A number of units to mark, such as those of the study.
    unit : str
        What is repeated.
    paired : bool, default=True
        Whether of pairs.
    """
    needed = {d: units_needed(d, paired=paired).count for d in effects}
    last = max(*(int(1.25 * n) for n in needed.values()), 2 * (count or 2), 10)
    sizes = np.unique(np.geomspace(2, last, 160).astype(int))
    figure, (axis,) = panels(height=3.1)
    axis.axhline(POWER, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    for place, (d, n) in enumerate(needed.items()):
        curve = [t_power(d, int(size), paired=paired) for size in sizes]
        axis.plot(sizes, curve, color=colour(place), label=f"d = {d:g}: {n}")
        axis.plot(n, t_power(d, n, paired=paired), MARKERS[place % len(MARKERS)], color=colour(place), zorder=3)
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
    kind = "paired t test" if paired else "t test of two groups of so many"
    axis.set_xlabel(f"{plural(unit)} (log scale); {kind} at {ALPHA}")
    _legend(figure, axis, 3, f"{plural(unit)} needed for {POWER:.0%}")
    return figure


@styled
def class_heat(table: pd.DataFrame, *, low: float = 0.0, high: float = 1.0) -> "Figure":
    """Draw a value for each class (row) and metric or condition (column), as shade and number.

    Parameters
    ----------
    table : DataFrame
        Index: classes; columns: metrics; NaN where not defined.
    low, high : float
        Values of the lightest and the darkest shade.
    """
    from matplotlib.patches import Rectangle

    values = table.to_numpy(dtype=np.float64)
    rows, columns = values.shape
    figure, (axis,) = panels(height=0.55 + 0.34 * rows + 0.055 * max(len(str(name)) for name in table.columns))
    for i, j in np.ndindex(rows, columns):
        value = values[i, j]
        shade = 0.0 if np.isnan(value) else float(np.clip((value - low) / (high - low), 0, 1)) * 0.92
        axis.add_patch(Rectangle((j, i), 1, 1, facecolor=SERIES[0], alpha=shade, linewidth=0))
        text = "–" if np.isnan(value) else f"{value:.2f}"
        ink = "#ffffff" if shade > 0.75 else INK
        axis.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=8.5, color=ink)
    for i in range(rows + 1):
        axis.plot([0, columns], [i, i], color=GRID, linewidth=0.6)
    for j in range(columns + 1):
        axis.plot([j, j], [0, rows], color=GRID, linewidth=0.6)
    axis.grid(visible=False)
    axis.set(xlim=(0, columns), ylim=(rows, 0))
    longest = max(len(str(name)) for name in table.columns)
    turn = 0 if longest * columns < 58 else 35
    axis.xaxis.tick_top()
    side = "left" if turn else "center"
    axis.set_xticks(np.arange(columns) + 0.5, map(str, table.columns), rotation=turn, ha=side, rotation_mode="anchor")
    axis.set_yticks(np.arange(rows) + 0.5, map(str, table.index))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


@styled
def critical_difference(ranks: Ranks) -> "Figure":
    """Draw average ranks, best on top, with half a critical difference to either side: bars that overlap do not differ.

    References
    ----------
    Nemenyi, *Distribution-free multiple comparisons*, 1963. Demšar, JMLR 2006.
    """
    k, half = len(ranks.methods), ranks.critical / 2
    figure, (axis,) = panels(height=1.15 + ROW * k)
    best = ranks.average[0]
    for place, rank in enumerate(ranks.average):
        height, worse = k - 1 - place, rank - best >= ranks.critical
        shade, marker = (SERIES[1], MARKERS[1]) if worse else (SERIES[0], MARKERS[0])
        axis.hlines(height, rank - half, rank + half, color=shade, linewidth=1.6)
        axis.plot(rank, height, marker, color=shade, markersize=5.5)
    axis.axvspan(best - half, best + half, color=SERIES[0], alpha=0.1, linewidth=0)
    _rows(axis, [f"{name} {rank:.2f}" for name, rank in zip(ranks.methods, ranks.average, strict=True)], "")
    for place, label in enumerate(("not parted from the best", "worse than the best")):
        axis.plot([], [], MARKERS[place], color=SERIES[place], label=label)
    axis.set_xlabel(f"average rank of {k} (1 is best)")
    _legend(figure, axis, 2, f"critical difference {ranks.critical:.2f}")
    return figure


def save_analysis(analysis: Analysis, folder: Path) -> None:
    """Write the tables of an analysis as CSV and its figures as SVG into a folder."""
    contrasts = analysis.comparisons.contrasts
    figures = {"differences": differences(contrasts), "effects": effect_sizes(contrasts)}
    if analysis.equivalences:
        figures["equivalence"] = equivalence(analysis.equivalences)
    if analysis.ranks:
        figures["ranks"] = critical_difference(analysis.ranks)
    first = contrasts[0]
    if first.effects[0].kind == "d_z" and first.count == first.units and not first.overlap:
        figures["power"] = power_curves(count=first.units, unit=first.unit)
    for name, table in analysis.tables.items():
        with atomic_write(folder / f"{name}.csv") as temporary:
            escape_csv_table(table).to_csv(temporary, index=False)
    for name, figure in figures.items():
        save(figure, folder / f"{name}.svg")
