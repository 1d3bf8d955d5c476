"""Make a set of samples uneven on purpose: to a factor, or to counts, by samples or by whole subjects."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evenface.config.recipe import Imbalance
from evenface.utils.errors import InputError
from evenface.utils.registry import nearest

Rows = NDArray[np.int64]


def exponential_counts(available: Sequence[int] | Rows, factor: float) -> Rows:
    r"""Let counts fall exponentially from the largest to the smallest class.

    .. math:: n'_i = n_i u^i, \quad u = \left(\frac{n_0}{n_{C-1} \, f}\right)^{1/(C-1)}

    with the classes in order of falling count (equal counts: in order of the classes) and ``f`` the
    factor, so that :math:`n'_0 / n'_{C-1} = f` before rounding to whole samples.

    Examples
    --------
    >>> exponential_counts([1000, 1000, 1000], 100).tolist()
    [1000, 100, 10]
    """
    counts = np.asarray(available, dtype=np.int64)
    if not (counts > 0).any():
        raise InputError("imbalance: there are no samples to choose from")
    n = counts[counts > 0]
    order = np.argsort(-n, kind="stable")
    largest, smallest = int(n[order[0]]), int(n[order[-1]])
    # A tolerance of rounding: a set that was made to a factor must take the same factor again.
    if largest / smallest > factor * (1 + 0.5 / smallest) + 1e-9:
        raise InputError(
            f"imbalance: the classes differ by a factor of {largest / smallest:.2f} already, asked was {factor:g}",
            "Ask for a larger factor, or give counts.",
        )
    steps = max(len(n) - 1, 1)
    u = min((largest / (smallest * factor)) ** (1 / steps), 1.0)
    keep = np.empty_like(n)
    keep[order] = np.floor(n[order] * u ** np.arange(len(n)) + 0.5).astype(np.int64)
    if keep.min() < 1:
        raise InputError(
            f"imbalance: at a factor of {factor:g} the smallest class would keep none of its samples",
            f"There are {largest} samples in the largest class: ask for a factor of at most {largest}.",
        )
    wanted = np.zeros_like(counts)
    wanted[counts > 0] = keep
    return wanted


def wanted_counts(imbalance: Imbalance, available: Rows, classes: Sequence[str]) -> Rows:
    """How many samples of each class to keep, int64, shape (C,)."""
    if imbalance.factor is not None:
        return exponential_counts(available, imbalance.factor)
    asked = imbalance.counts or {}
    wanted = available.copy()
    for name, count in asked.items():
        if name not in classes:
            raise InputError(f"imbalance: there is no class {name!r}", nearest(name, classes))
        wanted[classes.index(name)] = int(count)
    for name, count, there in zip(classes, wanted.tolist(), available.tolist(), strict=True):
        if count > there:
            raise InputError(
                f"imbalance: {count} samples asked of class {name}, there are {there} to choose from",
                "Lower the count, or leave fewer samples for testing.",
            )
    return wanted


def subsample(
    rows: Rows,
    labels: Rows,
    wanted: Rows,
    *,
    subjects: NDArray[np.object_] | None = None,
    clips: NDArray[np.object_] | None = None,
    seed: Sequence[int] = (0,),
) -> tuple[Rows, str]:
    """Keep ``wanted`` samples of each class, drawn at random.

    With the same seed, what is kept at a smaller count is part of what is kept at a larger one, so
    that studies over several factors compare nested sets. By subjects, the subjects come in one
    seeded order for all classes; each is kept whole while it fits, then whole clips of those that
    did not fit, then samples fill the rest.
    """
    chosen = np.zeros(len(rows), dtype=bool)
    if subjects is None:
        for label, count in enumerate(wanted.tolist()):
            members = np.flatnonzero(labels == label)
            chosen[np.random.default_rng([*seed, label]).permutation(members)[:count]] = True
        return rows[chosen], ""
    steps = [_ranks(subjects, np.random.default_rng(list(seed)))]
    if clips is not None:
        # Of the first subject that did not fit before any of the next: few people are kept in part.
        steps.append(steps[0] * len(rows) + _ranks(clips, np.random.default_rng([*seed, 0])))
    by_step = np.zeros(3, dtype=np.int64)
    for label, count in enumerate(wanted.tolist()):
        left, spare = count, np.flatnonzero(labels == label)
        for step, ranks in enumerate(steps):
            before = left
            left, spare = _keep_whole(chosen, left, spare[np.argsort(ranks[spare], kind="stable")], ranks)
            by_step[step] += before - left
        chosen[spare[:left]] = True
        by_step[2] += left
    whole, clipwise, singly = by_step.tolist()
    how = f"{whole} samples kept with all that their subject has of the class, "
    if clips is not None:
        how += f"{clipwise} with their whole clip, "
    return rows[chosen], f"{how}{singly} one by one"


def _ranks(names: NDArray[np.object_], rng: np.random.Generator) -> Rows:
    """Give each sample the place of its subject or clip in a random order."""
    found, index = np.unique(names.astype(str), return_inverse=True)
    return np.asarray(rng.permutation(len(found))[index], dtype=np.int64)


def _keep_whole(chosen: NDArray[np.bool_], left: int, members: Rows, ranks: Rows) -> tuple[int, Rows]:
    """Choose groups of equal rank, one after the other, that still fit; give what is left to choose and from whom."""
    spare = []
    for group in np.split(members, np.flatnonzero(np.diff(ranks[members])) + 1):
        if len(group) <= left:
            chosen[group] = True
            left -= len(group)
        else:
            spare.append(group)
    return left, np.concatenate(spare) if spare else members[:0]
