"""Divide samples into parts of given shares, by group and evenly over the classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Shares = NDArray[np.float64]

TRIES = 32


def deal(labels: Rows, shares: Sequence[float], seed: Sequence[int]) -> Rows:
    """Give every sample a part, each class in the same shares.

    Parameters
    ----------
    labels : int64 array of shape (N,)
        Classes; the order of the samples must not depend on chance.
    shares : sequence of float
        Share of each part; they sum to 1.
    seed : sequence of int
        Seeds the draw.

    Returns
    -------
    int64 array of shape (N,)
        Number of the part of every sample. Per class the parts differ from their shares by less than
        one sample; a class with at least as many samples as there are parts is in each of two parts.
    """
    rng = np.random.default_rng(list(seed))
    target = np.asarray(shares, dtype=np.float64)
    part = np.empty(len(labels), dtype=np.int64)
    given = np.zeros(len(target))
    done = 0
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        done += len(members)
        counts = np.floor(target * len(members)).astype(np.int64)
        # What is left goes to parts that would miss the class, then to those that lag furthest behind in all.
        lag = target * done - given - counts
        owed = target * len(members) - counts > 0
        missing = (counts == 0) & (len(members) >= len(target))
        first = np.lexsort((-lag, ~missing, ~owed))
        counts[first[: len(members) - counts.sum()]] += 1
        given += counts
        part[members] = np.repeat(np.arange(len(target)), counts)
    return part


def deal_groups(labels: Rows, groups: NDArray[np.object_], shares: Sequence[float], seed: Sequence[int]) -> Rows:
    """Give every group a part, so that each part has about its share of every class.

    Greedy: groups come in random order, each joins the part where the sum over parts and classes of
    ``(share of the class's samples there - wanted share)^2 / wanted share`` grows least. Of 32 seeded
    orders the one with the fewest classes missing from a part, then the smallest sum, is taken. No part
    stays empty while there are groups enough.

    Parameters
    ----------
    labels : int64 array of shape (N,)
        Classes.
    groups : array of shape (N,)
        Group names, such as subjects.
    shares : sequence of float
        Share of each part; they sum to 1.
    seed : sequence of int
        Seeds the orders.

    Returns
    -------
    int64 array of shape (N,)
        Number of the part of every sample.
    """
    names, index = np.unique(groups.astype(str), return_inverse=True)
    known, label = np.unique(labels, return_inverse=True)
    table = np.zeros((len(names), len(known)))
    np.add.at(table, (index, label), 1)
    table /= table.sum(axis=0)
    target = np.asarray(shares, dtype=np.float64)
    rng = np.random.default_rng(list(seed))
    best: tuple[tuple[int, float], Rows] | None = None
    for _ in range(TRIES):
        part = _fill_empty(_assign(table, target, rng.permutation(len(names))), table, len(target))
        got = np.zeros((len(target), len(known)))
        np.add.at(got, part, table)
        score = (int((got == 0).sum()), round(float((((got - target[:, None]) ** 2) / target[:, None]).sum()), 12))
        if best is None or score < best[0]:
            best = (score, part)
    assert best is not None
    return best[1][index]


def _assign(table: Shares, target: Shares, order: Rows) -> Rows:
    """Send each group, in this order, to the part whose error it raises least."""
    got = np.zeros((len(target), table.shape[1]))
    part = np.empty(len(order), dtype=np.int64)
    for group in order:
        row = table[group]
        rise = ((2 * (got - target[:, None]) * row + row**2).sum(axis=1)) / target
        part[group] = chosen = int(rise.argmin())
        got[chosen] += row
    return part


def _fill_empty(part: Rows, table: Shares, parts: int) -> Rows:
    """Move the smallest group of the part with most groups into each empty part."""
    size = table.sum(axis=1)
    for empty in np.flatnonzero(np.bincount(part, minlength=parts) == 0):
        counts = np.bincount(part, minlength=parts)
        if counts.max() < 2:
            break
        donors = np.flatnonzero(part == counts.argmax())
        part[donors[size[donors].argmin()]] = empty
    return part
