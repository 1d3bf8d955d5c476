"""Factors as columns of numbers: sum-to-zero coding, so that each effect stands at the mean of all others."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evenface.errors import InputError

COLON = ":"


def sum_coding(levels: int) -> np.ndarray:
    """Code of each level, shape (L, L - 1): its own column is 1, the last level is -1 in all."""
    return np.vstack([np.eye(levels - 1), -np.ones(levels - 1)])


def orthonormal(levels: int) -> np.ndarray:
    """Contrasts of length one at right angles to each other and to the mean, shape (L, L - 1)."""
    basis = np.linalg.qr(np.column_stack([np.ones(levels), np.eye(levels)[:, : levels - 1]]))[0]
    return np.asarray(basis[:, 1:])


def term_names(factors: Sequence[str], *, interactions: bool = True) -> list[tuple[str, ...]]:
    """List main effects, then interactions of two, three, and so on."""
    largest = len(factors) if interactions else 1
    return [term for size in range(1, largest + 1) for term in itertools.combinations(factors, size)]


@dataclass(frozen=True, eq=False)
class Design:
    """A design matrix (N, K), its first column the mean, and the columns of each term."""

    matrix: np.ndarray
    columns: dict[tuple[str, ...], slice]
    factors: Mapping[str, tuple[str, ...]]

    def rows(self, term: tuple[str, ...]) -> np.ndarray:
        """Give the matrix (df, K) that picks the coefficients of a term."""
        return np.eye(self.matrix.shape[1])[self.columns[term]]

    def difference(self, factor: str, level: str, baseline: str) -> np.ndarray:
        """Give the row (K,) that makes of coefficients a level minus another, averaged over the other factors."""
        code, levels = sum_coding(len(self.factors[factor])), self.factors[factor]
        row = np.zeros(self.matrix.shape[1])
        row[self.columns[(factor,)]] = code[levels.index(level)] - code[levels.index(baseline)]
        return row


def design(frame: pd.DataFrame, factors: Mapping[str, tuple[str, ...]], *, interactions: bool = True) -> Design:
    """Code factors and their interactions.

    Raises
    ------
    InputError
        If a factor has one level only, or effects cannot be told apart because combinations are missing.
    """
    for name, levels in factors.items():
        if len(levels) < 2:
            raise InputError(f"the factor {name} has one level only, {levels[0]}", "Leave it out.")
    codes = {
        name: sum_coding(len(levels))[[levels.index(level) for level in frame[name]]]
        for name, levels in factors.items()
    }
    blocks, columns, place = [np.ones((len(frame), 1))], {}, 1
    for term in term_names(list(factors), interactions=interactions):
        block = codes[term[0]]
        for name in term[1:]:
            block = (block[:, :, None] * codes[name][:, None, :]).reshape(len(frame), -1)
        blocks.append(block)
        columns[term] = slice(place, place + block.shape[1])
        place += block.shape[1]
    matrix = np.hstack(blocks)
    if np.linalg.matrix_rank(matrix) < matrix.shape[1]:
        seen = set(frame[list(factors)].itertuples(index=False, name=None))
        lost = [cell for cell in itertools.product(*factors.values()) if cell not in seen]
        said = f", such as {', '.join(lost[0])}" if lost else ""
        raise InputError(
            f"{len(lost)} combination{'s' * (len(lost) != 1)} of {', '.join(factors)} have no value{said}",
            "Effects and interactions cannot be told apart then. Leave out a factor or a level.",
        )
    return Design(matrix, columns, factors)
