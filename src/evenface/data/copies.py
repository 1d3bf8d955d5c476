"""Pictures that stand in a data set several times, and what a split does about them."""

from functools import cached_property
from typing import Literal

import numpy as np

from evenface.data.folds import Rows
from evenface.errors import InputError


class Copies:
    """Pairs of rows that show the same picture; a copy of a copy is one too.

    Parameters
    ----------
    pairs : int64 array of shape (P, 2)
        Rows, 0 to size - 1.
    size : int
        How many rows there are.
    """

    def __init__(self, pairs: Rows, size: int) -> None:
        self.pairs, self.size = pairs, size

    @cached_property
    def leaders(self) -> Rows:
        """For every row the first of all those it is a copy of, itself included."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = coo_array((np.ones(len(self.pairs)), self.pairs.T), shape=(self.size, self.size))
        _, component = connected_components(links, directed=False)
        _, first, index = np.unique(component, return_index=True, return_inverse=True)
        return np.asarray(first[index], dtype=np.int64)

    def without(self, rows: Rows, others: Rows) -> Rows:
        """Those of ``rows`` that are no copy of any of ``others``."""
        return rows[~np.isin(self.leaders[rows], self.leaders[others])]

    def dropped(
        self, choice: Literal["keep", "drop-train", "drop-test"], pool: Rows, official: Rows, test: Rows
    ) -> tuple[Rows, Rows, Rows, list[str]]:
        """Leave out pictures that stand on both sides, of training and test and of training and validation.

        Parameters
        ----------
        choice : {"keep", "drop-train", "drop-test"}
            From which side.
        pool, official, test : int64 array
            Rows to train on, of the official validation, and to test on.

        Returns
        -------
        pool, official, test : int64 array
            What is left of each.
        notes : list of str
            What was left out.

        Raises
        ------
        InputError
            If nothing is left to train or to test on.
        """
        if choice == "keep":
            return pool, official, test, []
        developed = np.concatenate([pool, official])
        if choice == "drop-train":
            left = self.without(developed, test)
            official = official[np.isin(official, left)]
            kept = self.without(pool[np.isin(pool, left)], official)
            notes = [f"copies: {len(developed) - len(left)} pictures left out of training, they stand in test"]
            if len(left) - len(official) > len(kept):
                dropped = len(left) - len(official) - len(kept)
                notes.append(f"copies: {dropped} pictures left out of training, they stand in validation")
            pool = kept
        else:
            kept, valid = self.without(test, developed), self.without(official, pool)
            dropped = len(test) - len(kept)
            notes = [f"copies: {dropped} pictures left out of test, they stand in training (before any imbalance)"]
            if len(official) > len(valid):
                dropped = len(official) - len(valid)
                notes.append(f"copies: {dropped} pictures left out of validation, they stand in training")
            official, test = valid, kept
        if not len(pool) or not len(test):
            raise InputError("protocol: no picture is left once copies are dropped", "Set protocol.duplicates: keep.")
        return pool, official, test, notes
