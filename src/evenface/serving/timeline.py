"""A figure of what was said of each face, over time."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evenface.evaluation.style import GRID, SERIES, panels, save, styled
from evenface.serving.drawing import by_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12
"""Faces that are drawn, those with most rows."""


@styled
def timeline(tables: Iterable[pd.DataFrame], files: Sequence[str], classes: Sequence[str], path: Path) -> bool:
    """Draw probabilities over time, a panel for each face of each clip.

    Parameters
    ----------
    tables : iterable of DataFrame
        The table in pieces.
    files : sequence of str
        Whose faces are drawn, those without times left out; of all, the :data:`MOST` with most rows.
    classes : sequence of str
        Of the model. Beyond seven, those that are named least are drawn as one.
    path : Path
        ``.svg``, ``.pdf`` or ``.png``.

    Returns
    -------
    bool
        Whether there was a face with times; nothing is written where there was none.

    Raises
    ------
    InputError
        If the suffix is another one.
    """
    wanted = set(files)
    parts = []
    for name, rows in by_file(tables):
        if name in wanted:
            length = float(rows["until"].max())
            known = rows.dropna(subset=["time", f"p_{classes[0]}"])
            parts += [(name, length, part) for _, part in known.groupby("face")]
    if not parts:
        return False
    most = sorted(parts, key=lambda part: -len(part[2]))[:MOST]
    chosen = [part for part in parts if any(part is one for one in most)]
    means = pd.concat([rows for *_, rows in chosen])[[f"p_{name}" for name in classes]].mean()
    order = np.argsort(-means.to_numpy(), kind="stable")
    shown = sorted(order[: len(SERIES) - 1 if len(classes) > len(SERIES) else len(SERIES)].tolist())
    figure, axes = panels(len(chosen), 1, 0.9 + 1.15 * len(chosen))
    for axis, (name, length, rows) in zip(axes, chosen, strict=True):
        _panel(axis, rows, classes, shown, length)
        axis.set_title(f"{Path(name).name}, face {int(rows['face'].iloc[0])}", loc="left")
    axes[-1].set_xlabel("seconds")
    _legend(figure, axes[0])
    save(figure, path)
    return True


def _legend(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)


def _panel(axis: "Axes", rows: pd.DataFrame, classes: Sequence[str], shown: Sequence[int], length: float) -> None:
    """Stack the probabilities of a face in a clip of ``length`` seconds; where it was not seen there is nothing."""
    values = rows[[f"p_{name}" for name in classes]].to_numpy()
    begin, end = rows["time"].to_numpy(), rows["until"].to_numpy()
    step = float(np.median(np.diff(begin))) if len(rows) > 1 else 0.04
    # A row holds from its first frame to the next row's, or, of the last before a gap, to its own end.
    ends = np.append(np.where(np.diff(begin) > 1.5 * step, np.maximum(end, begin + step)[:-1], begin[1:]), 0.0)
    ends[-1] = max(end[-1], begin[-1] + step)
    base = np.zeros(len(rows))
    others = [c for c in range(len(classes)) if c not in shown]
    layers = [(classes[c], values[:, c], SERIES[i]) for i, c in enumerate(shown)]
    layers += [(f"{len(others)} others", values[:, others].sum(axis=1), GRID)] if others else []
    edges = np.stack([begin, ends], axis=1).ravel()
    breaks = np.repeat(np.append(np.diff(begin) > 1.5 * step, False), 2)
    breaks[::2] = False
    for label, part, shade in layers:
        low, high = np.repeat(base, 2), np.repeat(base + part, 2)
        x, low, high = (np.insert(one, np.flatnonzero(breaks) + 1, np.nan) for one in (edges, low, high))
        axis.fill_between(x, low, high, color=shade, linewidth=0, label=label)
        base = base + part
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.5, 1])
    axis.set_xlim(0, max(length, float(ends[-1])))
