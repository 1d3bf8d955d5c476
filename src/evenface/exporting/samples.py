"""Samples of a run's own store: what an exported file is compared, quantised and judged on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evenface import assembly
from evenface.data.manifest import Manifest
from evenface.errors import InputError
from evenface.runs import Run


@dataclass(frozen=True)
class Samples:
    """What a run learnt from and was tested on.

    Parameters
    ----------
    arrays : memmap of shape (N, T', H, W, C), uint8, or (N, T', P, D), float32
        As stored.
    manifest : Manifest
        Of the same N samples.
    sides : DataFrame
        ``row``, ``sample`` and ``side`` of each sample that was trained on, validated or tested.
    """

    arrays: Any
    manifest: Manifest
    sides: pd.DataFrame

    @classmethod
    def of(cls, run: Run) -> "Samples":
        """Open the store of a run, or prepare it again where it is gone.

        Raises
        ------
        InputError
            If the data cannot be read any more, or are not those that the run learnt from.
        """
        try:
            store = run.store
        except InputError:
            store = assembly.prepare_store(run.recipe)
        if store.manifest.hash != run.facts["manifest"]:
            raise InputError(
                f"the data of the run {run.folder} have changed since it was trained",
                "Bring back the data as they were: an exported file is compared with the run on them.",
            )
        return cls(assembly.stored_samples(store), store.manifest, run.split)

    def rows(self, *sides: str, most: int | None = None) -> np.ndarray:
        """Give the rows of sides, (N,), in rising order; of more than ``most``, evenly spread ones."""
        rows = np.sort(self.sides.loc[self.sides["side"].isin(sides), "row"].to_numpy(dtype=np.int64))
        if most is None or len(rows) <= most:
            return rows
        spread: np.ndarray = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
        return spread

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Give samples as they are stored."""
        return np.asarray(self.arrays[rows])
