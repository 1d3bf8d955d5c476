"""Factors as columns of numbers: sum-to-zero coding, so that each effect stands at the mean of all others."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evenface.errors import InputError
from evenface.evaluation.formatting import listed
from evenface.statistics.tidy import Grid

COLON = ":"
Term = tuple[str, ...]


def sum_coding(levels: int) -> np.ndarray:
    """Code of each level, shape (L, L - 1): its own column is 1, the last level is -1 in all."""
    return np.vstack([np.eye(levels - 1), -np.ones(levels - 1)])


def orthonormal(levels: int) -> np.ndarray:
    """Contrasts of length one at right angles to each other and to the mean, shape (L, L - 1)."""
    basis = np.linalg.qr(np.column_stack([np.ones(levels), np.eye(levels)[:, : levels - 1]]))[0]
    return np.asarray(basis[:, 1:])


def term_names(factors: Sequence[str], *, interactions: bool = True) -> Iterator[Term]:
    """Iterate over main effects, then interactions of two, three, and so on."""
    largest = len(factors) if interactions else 1
    return (term for size in range(1, largest + 1) for term in itertools.combinations(factors, size))


@dataclass(frozen=True, eq=False)
class Design:
    """A design matrix of the factors of a grid.

    Parameters
    ----------
    matrix : array of shape (N, K)
        Its first column is the mean.
    columns : dict
        The columns of each term.
    left_out : tuple
        Interactions that cannot be estimated, as combinations of levels have no value.
    given : Grid
        The values.
    """

    matrix: np.ndarray
    columns: dict[Term, slice]
    left_out: tuple[Term, ...]
    given: Grid

    def rows(self, term: Term) -> np.ndarray:
        """Return the matrix (df, K) that picks the coefficients of a term."""
        return np.eye(self.matrix.shape[1])[self.columns[term]]

    def difference(self, factor: str, level: str, baseline: str) -> np.ndarray:
        """Return the row (K,) that makes of coefficients a level minus another, averaged over the other factors."""
        code = sum_coding(len(self.given.factors[factor]))
        row = np.zeros(self.matrix.shape[1])
        row[self.columns[(factor,)]] = code[self.given.code(factor, level)] - code[self.given.code(factor, baseline)]
        return row


def design(given: Grid, *, interactions: bool = True) -> Design:
    """Code factors and those of their interactions that can be estimated.

    Raises
    ------
    InputError
        If a factor has one level only, or main effects cannot be told apart because combinations are missing.
    """
    for name, levels in given.factors.items():
        if len(levels) < 2:
            raise InputError(f"the factor {name} has one level only, {levels[0]}", "Leave it out.")
    seen, cell_of = np.unique(given.codes, axis=0, return_inverse=True)
    codes = {
        name: sum_coding(len(levels))[seen[:, place]] for place, (name, levels) in enumerate(given.factors.items())
    }
    matrix, columns, left_out = np.ones((len(seen), 1)), dict[Term, slice](), list[Term]()
    for term in term_names(list(given.factors), interactions=interactions):
        parts = (codes[name] for name in term)
        width = int(np.prod([len(given.factors[name]) - 1 for name in term]))
        start = matrix.shape[1]
        lower = all(part in columns for part in itertools.combinations(term, len(term) - 1)) or len(term) == 1
        if lower and start + width <= len(seen):
            block = next(parts)
            for other in parts:
                block = (block[:, :, None] * other[:, None, :]).reshape(len(seen), -1)
            wider = np.hstack([matrix, block])
            if np.linalg.matrix_rank(wider) == wider.shape[1]:
                matrix, columns[term] = wider, slice(start, start + width)
                continue
        if len(term) == 1:
            raise InputError(_confounded(given, term[0]), "Leave out one of the factors, or measure what is missing.")
        left_out.append(term)
    return Design(matrix[cell_of.ravel()], columns, tuple(left_out), given)


def _confounded(given: Grid, factor: str) -> str:
    others = listed([name for name in given.factors if name != factor])
    return (
        f"the effect of {factor} cannot be told from that of {others}: {absent(given, list(given.factors))}, and what "
        "there is does not tell them apart"
    )


def absent(given: Grid, factors: Sequence[str]) -> str:
    """State how many combinations of factors have no value, and name one."""
    places = [list(given.factors).index(name) for name in factors]
    seen = {tuple(row) for row in given.codes[:, places].tolist()}
    sizes = [given.shape[place] for place in places]
    lost = int(np.prod(sizes)) - len(seen)
    cell = next(cell for cell in itertools.product(*map(range, sizes)) if cell not in seen)
    named = ", ".join(given.factors[name][code] for name, code in zip(factors, cell, strict=True))
    combinations = f"{lost:,} combination{'s' * (lost != 1)} of {', '.join(factors)}"
    return f"{combinations} {'have' if lost != 1 else 'has'} no value, such as {named}"
