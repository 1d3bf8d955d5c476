"""Induce class imbalance by subsampling: to an imbalance factor or to counts, by samples or by whole subjects.

Weights and sampling that compensate for imbalance are in :mod:`evenface.data.imbalance`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evenface.config.recipe import Imbalance
from evenface.utils.errors import InputError
from evenface.utils.registry import nearest

Rows = NDArray[np.int64]


def exponential_counts(available: Sequence[int] | Rows, factor: float) -> Rows:
    r"""Compute counts that fall exponentially from the largest to the smallest class.

    .. math:: n'_i = n_i u^i, \quad u = \left(\frac{n_0}{n_{C-1} \, f}\right)^{1/(C-1)}

    with the classes in order of decreasing count (equal counts: in order of the classes) and ``f`` the
    factor, so that :math:`n'_0 / n'_{C-1} = f` before rounding to whole samples.

    Examples
    --------
    >>> exponential_counts([1000, 1000, 1000], 100).tolist()
    [1000, 100, 10]
    """
    counts = np.asarray(available, dtype=np.int64)
    if not (counts > 0).any():
        raise InputError("imbalance: there are no samples to subsample")
    n = counts[counts > 0]
    order = np.argsort(-n, kind="stable")
    largest, smallest = int(n[order[0]]), int(n[order[-1]])
    # Tolerance for rounding: a set with an induced factor must accept the same factor again.
    if largest / smallest > factor * (1 + 0.5 / smallest) + 1e-9:
        raise InputError(
            f"imbalance: the imbalance factor is {largest / smallest:.2f} already, above the requested {factor:g}",
            "Set a larger factor, or counts.",
        )
    steps = max(len(n) - 1, 1)
    u = min((largest / (smallest * factor)) ** (1 / steps), 1.0)
    keep = np.empty_like(n)
    keep[order] = np.floor(n[order] * u ** np.arange(len(n)) + 0.5).astype(np.int64)
    if keep.min() < 1:
        raise InputError(
            f"imbalance: with a factor of {factor:g} the smallest class would have no sample",
            f"The largest class has {largest} samples: set a factor of at most {largest}.",
        )
    wanted = np.zeros_like(counts)
    wanted[counts > 0] = keep
    return wanted


def wanted_counts(imbalance: Imbalance, available: Rows, classes: Sequence[str]) -> Rows:
    """Return the number of samples to keep per class, int64 array of shape (C,)."""
    if imbalance.factor is not None:
        return exponential_counts(available, imbalance.factor)
    wanted = available.copy()
    for name, count in (imbalance.counts or {}).items():
        if name not in classes:
            raise InputError(f"imbalance: unknown class {name!r} in counts", nearest(name, classes))
        wanted[classes.index(name)] = int(count)
    for name, count, limit in zip(classes, wanted.tolist(), available.tolist(), strict=True):
        if count > limit:
            raise InputError(
                f"imbalance: {count} samples of class {name} requested, but {limit} are available",
                "Set a smaller count, or a smaller test set.",
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
    """Keep ``wanted`` random samples of each class; return their rows and, by subjects, a note.

    With the same seed, the samples kept at a smaller count are a subset of those kept at a larger one, so that studies
    over several factors compare nested sets. By subjects, all classes use one random order of subjects: each subject is
    kept whole as long as it fits, then whole clips of subjects that did not fit, then single samples.
    """
    chosen = np.zeros(len(rows), dtype=bool)
    if subjects is None:
        for label, count in enumerate(wanted.tolist()):
            members = np.flatnonzero(labels == label)
            chosen[np.random.default_rng([*seed, label]).permutation(members)[:count]] = True
        return rows[chosen], ""
    steps = [_ranks(subjects, np.random.default_rng(list(seed)))]
    if clips is not None:
        # Clips of the first subject that did not fit come first, so that few subjects are kept in part.
        steps.append(steps[0] * len(rows) + _ranks(clips, np.random.default_rng([*seed, 0])))
    by_step = np.zeros(3, dtype=np.int64)
    for label, count in enumerate(wanted.tolist()):
        remaining, candidates = count, np.flatnonzero(labels == label)
        for step, ranks in enumerate(steps):
            before = remaining
            ordered = candidates[np.argsort(ranks[candidates], kind="stable")]
            remaining, candidates = _keep_whole(chosen, remaining, ordered, ranks)
            by_step[step] += before - remaining
        chosen[candidates[:remaining]] = True
        by_step[2] += remaining
    whole_subjects, whole_clips, single = by_step.tolist()
    note = f"samples kept with all of their subject in the class: {whole_subjects}"
    if clips is not None:
        note += f", with their whole clip: {whole_clips}"
    return rows[chosen], f"{note}, singly: {single}"


def _ranks(names: NDArray[np.object_], rng: np.random.Generator) -> Rows:
    """Return for each sample the rank of its subject or clip in a random order."""
    unique, index = np.unique(names.astype(str), return_inverse=True)
    return np.asarray(rng.permutation(len(unique))[index], dtype=np.int64)


def _keep_whole(chosen: NDArray[np.bool_], remaining: int, members: Rows, ranks: Rows) -> tuple[int, Rows]:
    """Choose groups of equal rank that fit, in order; return the number still to choose, and the other members."""
    others = []
    for group in np.split(members, np.flatnonzero(np.diff(ranks[members])) + 1):
        if len(group) <= remaining:
            chosen[group] = True
            remaining -= len(group)
        else:
            others.append(group)
    return remaining, np.concatenate(others) if others else members[:0]
