"""Cohorts: groups of people that share nobody, for repetitions that are independent of each other."""

import functools

import numpy as np

from evenface.data.folds import Rows, deal_groups
from evenface.data.manifest import Manifest
from evenface.errors import InputError
from evenface.recipes.data import Protocol

PURPOSE = 3
"""Sets these draws apart from those of sides, validation and imbalance."""


def cohort_rows(manifest: Manifest, protocol: Protocol) -> Rows:
    """Give the rows of the people in the protocol's cohort; all of them where there is only one.

    People are dealt by the protocol's seed, so that each class is spread evenly over the cohorts.

    Parameters
    ----------
    manifest : Manifest
        In an order that does not depend on chance.
    protocol : Protocol
        Says how many cohorts, and which.

    Returns
    -------
    int64 array
        Positions, in rising order.

    Raises
    ------
    InputError
        If the subject of a sample is not known, or there are fewer people than cohorts.
    """
    if protocol.cohorts == 1:
        return np.arange(len(manifest), dtype=np.int64)
    if not manifest.has_subjects:
        unknown = int(manifest.table["subject"].isna().sum())
        raise InputError(
            f"protocol: cohorts need to know the subject of every sample, {unknown} of {len(manifest)} lack it",
            "Set protocol.cohorts: 1, or use a source option that finds the subjects.",
        )
    people = tuple(manifest.table["subject"].astype(str))
    if (found := len(set(people))) < protocol.cohorts:
        raise InputError(f"protocol: {protocol.cohorts} cohorts need as many people or more, there are {found}")
    return np.flatnonzero(_dealt(manifest.labels.tobytes(), people, protocol.cohorts, protocol.seed) == protocol.cohort)


@functools.lru_cache(maxsize=8)
def _dealt(labels: bytes, people: tuple[str, ...], cohorts: int, seed: int) -> Rows:
    """Give the cohort of every sample; all runs of a study ask for the same."""
    groups = np.array(people, dtype=object)
    return deal_groups(np.frombuffer(labels, dtype=np.int64), groups, [1 / cohorts] * cohorts, (seed, PURPOSE, cohorts))
