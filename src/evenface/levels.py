"""Values of ordered classes on their scale, such as levels of pain called 0, 1, 2, 4 and 8."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evenface.ordering import number_of


def numeric(names: Sequence[str]) -> bool:
    """Whether the names are finite numbers in rising order."""
    values = [number_of(name) for name in names]
    return all(a is not None and b is not None and a < b for a, b in pairwise(values))


def level_values(names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the value of each level: the number that its name is, or its index.

    Parameters
    ----------
    names : sequence of str
        The C classes, in the order of the scale.

    Returns
    -------
    ndarray of shape (C,), float64
        The names as numbers where all of them are numbers in rising order; else 0 to C - 1.

    Examples
    --------
    >>> level_values(["0", "1", "2", "4", "8"]), level_values(["mild", "severe"])
    (array([0., 1., 2., 4., 8.]), array([0., 1.]))
    """
    if numeric(names):
        return np.array([float(name) for name in names])
    return np.arange(len(names), dtype=np.float64)


def describe_levels(names: Sequence[str]) -> str:
    """Describe in one sentence what value each level has."""
    values = ", ".join(f"{name} {value:g}" for name, value in zip(names, level_values(names), strict=True))
    if numeric(names):
        return f"levels have the values of their names: {', '.join(names)}"
    return f"the names of the levels are not numbers in rising order: their indices are their values ({values})"
