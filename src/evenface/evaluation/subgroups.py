"""Metrics of groups of people, with intervals, where the groups are large enough."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, percentile, units_of
from evenface.evaluation.metric_registry import METRICS, reported
from evenface.evaluation.metrics import mean_over, recall
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import Measures

RECALL = METRICS["recall"]

PEOPLE_AT_LEAST = 10
"""People of a group below whom nothing is said of it: intervals of so few are too narrow, and it says who they are."""
SAMPLES_AT_LEAST = 100
"""The same where people are not known: samples, or clips."""


@dataclass(frozen=True)
class Subgroup:
    """Metrics of one group."""

    name: str
    samples: int
    units: int
    metrics: dict[str, Estimate] = field(default_factory=dict)
    difference: Estimate | None = None
    absent: tuple[str, ...] = ()


def at_least(unit: str) -> int:
    """Return how many units a group must have."""
    return PEOPLE_AT_LEAST if unit == "people" else SAMPLES_AT_LEAST


def subgroups(
    predictions: Predictions, groups: Sequence[object], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Subgroup]:
    """Compute every metric of each group, and compare its mean recall with everybody else's.

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
    measures = Measures(own, units, resamples, seed)
    estimates = {entry.name: measures.estimates(entry)[0] for entry in reported(own)}
    absent = tuple(label for label, n in zip(own.classes, own.support, strict=True) if not n)
    difference = None
    if others.any():
        rest = whole.take(others)
        apart = units_of(rest)
        if apart.count >= at_least(apart.name):
            difference = _difference(measures, Measures(rest, apart, resamples, seed + 1))
    return replace(judged, difference=difference, absent=absent, metrics=estimates)


def _difference(own: Measures, rest: Measures) -> Estimate | None:
    """Compare mean recall over the classes that both sides show; none where there is no such class."""
    shared = (own.confusion.sum(axis=1) > 0) & (rest.confusion.sum(axis=1) > 0)
    if not shared.any():
        return None
    value = _mean_recall(own.confusion, shared) - _mean_recall(rest.confusion, shared)
    drawn = _mean_recall(own.drawn_sums(RECALL), shared) - _mean_recall(rest.drawn_sums(RECALL), shared)
    return Estimate(float(value), *map(float, percentile(drawn, LEVEL)))


def _mean_recall(matrices: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Average recall over the given classes, leaving out what a draw lacks: (..., C, C) -> (...)."""
    values = recall(matrices)[..., shared]
    return mean_over(values, np.ones(values.shape[-1]))
