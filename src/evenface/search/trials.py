"""A trial of a search, which of them is best, and when one is ended early. Pure functions, no torch, no optuna."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

State = Literal["complete", "pruned", "diverged"]
COMPANY = 4
"""Trials that must have come as far before one can be worse than their median."""


@dataclass(frozen=True)
class Trial:
    """A setting that was tried.

    Parameters
    ----------
    number : int
        From 0, in the order of proposal.
    settings : dict of str to float
        Value of each dotted key; ints where the key is a whole number.
    curve : tuple of float
        The monitored figure on validation data at each epoch's end.
    figure : float
        That of the weights that would be tested.
    state : {"complete", "pruned", "diverged"}
        Pruned: ended early, as worse than the median of the others. Diverged: without a figure, as its loss was not
        finite.
    """

    number: int
    settings: dict[str, float]
    curve: tuple[float, ...]
    figure: float
    state: State


def figure_of(curve: Sequence[float], *, larger: bool, last: bool) -> float:
    """Give the figure of the weights that would be tested: of the best epoch, or of the last one."""
    if last:
        return curve[-1]
    return _best(curve, larger)


def best_of(trials: Sequence[Trial], *, larger: bool) -> Trial | None:
    """Give the best trial that went to its end, the earlier of equals; none where there is none."""
    whole = [trial for trial in trials if trial.state == "complete"]
    return max(whole, key=lambda trial: (_score(trial.figure, larger), -trial.number), default=None)


def hopeless(curve: Sequence[float], others: Sequence[Sequence[float]], start: int, *, larger: bool) -> bool:
    """Whether a trial is to be ended: its best figure so far is worse than the median of the others' at this epoch.

    Parameters
    ----------
    curve : sequence of float
        Its figures so far.
    others : sequence of sequence of float
        Those of trials that were proposed before it, whatever became of them. One that ended earlier counts with the
        best that it had.
    start : int
        Epochs that every trial is given.
    larger : bool
        Whether larger figures are better.

    Notes
    -----
    As only earlier trials count, what becomes of a trial does not depend on how many follow, and the first one is
    never ended. The rule is that of Golovin et al., *Google Vizier*, KDD 2017, section 3.5.1, for best figures in
    place of running means.
    """
    reached = len(curve)
    if reached < max(1, start) or len(others) < COMPANY:
        return False
    median = float(np.median([_score(_best(other[:reached], larger), larger) for other in others]))
    return _score(_best(curve, larger), larger) < median


def _best(curve: Sequence[float], larger: bool) -> float:
    return max(curve, key=lambda figure: _score(figure, larger))


def _score(figure: float, larger: bool) -> float:
    """Give a number that is larger for better figures; what is no number is worst."""
    if math.isnan(figure):
        return -math.inf
    return figure if larger else -figure
