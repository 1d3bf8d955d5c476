"""How a model does on groups of people, with intervals, where there are enough of them to say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from evenface.evaluation import metrics
from evenface.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Estimate,
    percentile,
    resample_sums,
    unit_matrices,
    units_of,
)
from evenface.evaluation.predictions import Predictions

PEOPLE_AT_LEAST = 10
"""People of a group below whom nothing is said of it: intervals of so few are too narrow, and it says who they are."""
SAMPLES_AT_LEAST = 100
"""The same where people are not known: samples, or clips."""


@dataclass(frozen=True)
class Subgroup:
    """What is known of one group.

    Parameters
    ----------
    name : str
        The group.
    samples, units : int
        How many samples, and how many people (clips, samples) these are of.
    accuracy, balanced_accuracy : Estimate or None
        With intervals over units; balanced over the classes that the group shows. None where there are too few.
    difference : Estimate or None
        Mean recall less that of everybody else, over the classes that both show. None where one of them has too few.
    absent : tuple of str
        Classes that the group does not show.
    """

    name: str
    samples: int
    units: int
    accuracy: Estimate | None = None
    balanced_accuracy: Estimate | None = None
    difference: Estimate | None = None
    absent: tuple[str, ...] = ()


def at_least(unit: str) -> int:
    """Say how many units a group must have; ``unit`` as in :class:`evenface.evaluation.intervals.Units`."""
    return PEOPLE_AT_LEAST if unit == "people" else SAMPLES_AT_LEAST


def subgroups(
    predictions: Predictions, groups: Sequence[object], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Subgroup]:
    """Judge each group by itself and against everybody else.

    Parameters
    ----------
    predictions : Predictions
        Of N samples.
    groups : sequence of N str or missing
        To which group each sample belongs; those of no known group are in none, and not among everybody else.
    seed, resamples : int
        Of the intervals, which resample people where they are known, else clips, else samples.

    Returns
    -------
    list of Subgroup
        Sorted by name. Groups of fewer than 10 people (100 samples, where people are not known) have no figures.
    """
    names = pd.Series(list(groups), dtype="string")
    known = names.notna().to_numpy(dtype=bool)
    found = []
    for name in sorted(names.dropna().unique()):
        own = (names == name).fillna(False).to_numpy(dtype=bool)
        found.append(_judge(str(name), predictions.take(own), predictions, known & ~own, seed, resamples))
    return found


def _judge(name: str, own: Predictions, whole: Predictions, others: np.ndarray, seed: int, resamples: int) -> Subgroup:
    units = units_of(own)
    judged = Subgroup(name, len(own), units.count)
    if units.count < at_least(units.name):
        return judged
    mine, drawn = _matrices(own, seed, resamples)
    estimates: dict[str, Any] = {
        key: Estimate(float(metrics.OVERALL[key](mine)), *map(float, percentile(metrics.OVERALL[key](drawn), LEVEL)))
        for key in ("accuracy", "balanced_accuracy")
    }
    absent = tuple(one for one, n in zip(own.classes, own.support, strict=True) if not n)
    difference = None
    if others.any():
        rest = whole.take(others)
        apart = units_of(rest)
        if apart.count >= at_least(apart.name):
            difference = _difference((mine, drawn), _matrices(rest, seed + 1, resamples))
    return replace(judged, difference=difference, absent=absent, **estimates)


def _matrices(given: Predictions, seed: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the confusion matrix, (C, C), and those of resampled units, (R, C, C)."""
    whole = metrics.confusion_matrix(given.labels, given.predicted, len(given.classes))
    return whole, resample_sums(unit_matrices(given, units_of(given)), resamples, seed)


def _difference(own: tuple[np.ndarray, np.ndarray], rest: tuple[np.ndarray, np.ndarray]) -> Estimate | None:
    """Compare mean recall over the classes that both sides show; none where there is no such class."""
    shared = (own[0].sum(axis=1) > 0) & (rest[0].sum(axis=1) > 0)
    if not shared.any():
        return None
    value, drawn = (_mean_recall(own[at], shared) - _mean_recall(rest[at], shared) for at in (0, 1))
    return Estimate(float(value), *map(float, percentile(drawn, LEVEL)))


def _mean_recall(matrices: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Average recall over the given classes, of those that a draw has; shape of ``matrices`` without its last two."""
    recall = metrics.recall(matrices)[..., shared]
    known = ~np.isnan(recall)
    return metrics.divide(np.where(known, recall, 0).sum(axis=-1), known.sum(axis=-1))
