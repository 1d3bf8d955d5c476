"""Choosing one option for each class so that every sum lies where it must."""

from collections.abc import Sequence

import numpy as np

from evenface.audit.counts import Integers


class UndecidedError(Exception):
    """The search was given up: nothing can be said."""


def choose(options: Sequence[Integers], bounds: Integers, budget: int = 6_000) -> list[int] | None:
    """Choose one option for each class so that all sums lie within their bounds.

    Parameters
    ----------
    options : sequence of ndarray of shape (options, J, 2)
        For each class and option, the least and the most that it adds to each of J sums. They are whole numbers:
        a fraction is given by the grid points on both sides of it, so that rounding can never rule an option out.
    bounds : ndarray of shape (J, 2)
        The least and the most of each sum.
    budget : int
        Steps after which the search is given up.

    Returns
    -------
    list of int or None
        The option of each class; None if it is proved that there is no such choice.

    Raises
    ------
    UndecidedError
        If the budget is spent.
    """
    order = sorted(range(len(options)), key=lambda k: len(options[k]))
    if any(len(option) == 0 for option in options):
        return None
    least, most = (np.zeros((len(order) + 1, len(bounds)), np.int64) for _ in range(2))
    for level in reversed(range(len(order))):
        least[level] = least[level + 1] + options[order[level]][:, :, 0].min(0)
        most[level] = most[level + 1] + options[order[level]][:, :, 1].max(0)
    middle, scale = bounds.sum(1) / 2, np.maximum(bounds[:, 1] - bounds[:, 0], 1).astype(float)
    left = budget

    def down(level: int, low: Integers, high: Integers) -> list[int] | None:
        nonlocal left
        if level == len(order):
            return []
        lows = options[order[level]][:, :, 0] + low
        highs = options[order[level]][:, :, 1] + high
        after = lows + least[level + 1], highs + most[level + 1]
        fits = np.flatnonzero(((after[0] <= bounds[:, 1]) & (after[1] >= bounds[:, 0])).all(1))
        off = np.abs((after[0][fits] + after[1][fits]) / 2 - middle) / scale
        for option in fits[np.argsort(off.max(1, initial=0), kind="stable")]:
            left -= 1
            if left < 0:
                raise UndecidedError
            rest = down(level + 1, lows[option], highs[option])
            if rest is not None:
                return [int(option), *rest]
        return None

    zero = np.zeros(len(bounds), np.int64)
    found = down(0, zero, zero)
    return None if found is None else [found[order.index(k)] for k in range(len(order))]
