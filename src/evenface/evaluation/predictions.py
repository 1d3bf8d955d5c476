"""Predictions: what a model said about each sample; every reported number is a function of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.errors import InputError
from evenface.files import atomic_write

COLUMNS = ("sample", "subject", "label")
PREFIX = "p_"
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of samples whose true class is known.

    Parameters
    ----------
    sample : array of str, shape (N,)
        Name of each sample; no name stands twice.
    subject : array of str, shape (N,), or None
        Whom each sample shows; none where that is not known of every sample.
    labels : array of int64, shape (N,)
        True class, 0 to C - 1.
    probabilities : array of float64, shape (N, C)
        Probability of each class, 0 to 1; a row sums to 1 (within 0.001, as half precision may round).
    classes : tuple of str
        Names of the C classes, in the order of the columns.

    Raises
    ------
    InputError
        If shapes do not fit, a label has no class, a name stands twice, or a row holds no probabilities.
    """

    sample: np.ndarray
    subject: np.ndarray | None
    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        fixed: dict[str, Any] = {
            "sample": np.asarray(self.sample, dtype=object),
            "subject": _whole(self.subject),
            "labels": _integers(self.labels),
            "probabilities": np.asarray(self.probabilities, dtype=np.float64),
            "classes": tuple(self.classes),
        }
        for name, value in fixed.items():
            object.__setattr__(self, name, value)
        self._check_shapes()
        self._check_values()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> np.ndarray:
        """Most probable class, int64, shape (N,); the first one on a tie."""
        best: np.ndarray = np.argmax(self.probabilities, axis=1)
        return best

    @property
    def support(self) -> np.ndarray:
        """Samples per true class, int64, shape (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def people(self) -> int | None:
        """Number of different subjects; none where subjects are not known."""
        return None if self.subject is None else len(set(self.subject))

    def take(self, rows: np.ndarray | Sequence[int]) -> "Predictions":
        """Keep the given rows, in the given order (positions or mask)."""
        kept = np.asarray(rows)
        subject = None if self.subject is None else self.subject[kept]
        return Predictions(self.sample[kept], subject, self.labels[kept], self.probabilities[kept], self.classes)

    def save(self, path: Path) -> None:
        """Write as Parquet: ``sample``, ``subject``, ``label`` and one column ``p_<class>`` per class."""
        subject = [None] * len(self) if self.subject is None else self.subject
        table = pd.DataFrame(
            {
                "sample": pd.array(self.sample, dtype="string"),
                "subject": pd.array(subject, dtype="string"),
                "label": self.labels,
                **{f"{PREFIX}{name}": self.probabilities[:, i] for i, name in enumerate(self.classes)},
            }
        )
        with atomic_write(path) as temporary:
            table.to_parquet(temporary, index=False)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing, cannot be read, lacks a column or breaks a rule above.
        """
        import pyarrow as pa

        try:
            table = pd.read_parquet(path)
        except FileNotFoundError as error:
            raise InputError(f"{path} does not exist", "Train the run first, or give another folder.") from error
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{path} cannot be read as Parquet ({type(error).__name__})") from error
        names = [str(name) for name in table.columns]
        missing = [name for name in COLUMNS if name not in names]
        columns = [name for name in names if name.startswith(PREFIX)]
        if missing or not columns:
            wanted = missing or [f"{PREFIX}<class>"]
            raise InputError(f"{path}: expected the column {wanted[0]}, found {', '.join(names)}")
        try:
            return cls(
                table["sample"].to_numpy(dtype=object),
                table["subject"].to_numpy(dtype=object),
                table["label"].to_numpy(),
                table[columns].to_numpy(dtype=np.float64),
                tuple(name.removeprefix(PREFIX) for name in columns),
            )
        except InputError as error:
            raise InputError(f"{path}: {error.message}", error.hint) from error

    def _check_shapes(self) -> None:
        n, c = len(self.labels), len(self.classes)
        if n == 0:
            raise InputError("the predictions hold no sample")
        if c < 2 or len(set(self.classes)) < c:
            raise InputError(f"predictions need two or more different classes, found {', '.join(self.classes)}")
        if self.probabilities.shape != (n, c):
            found = " x ".join(map(str, self.probabilities.shape))
            raise InputError(f"{n} labels and {c} classes need probabilities of shape {n} x {c}, found {found}")
        for name, values in (("sample", self.sample), ("subject", self.subject)):
            if values is not None and values.shape != (n,):
                raise InputError(f"{n} labels need {n} values of {name!r}, found {len(values)}")

    def _check_values(self) -> None:
        names = pd.Series(self.sample)
        twice = names[names.duplicated()]
        if len(twice):
            raise InputError(f"the sample {twice.iloc[0]!r} stands twice in the predictions")
        last = len(self.classes) - 1
        outside = (self.labels < 0) | (self.labels > last)
        if outside.any():
            row = int(outside.argmax())
            raise InputError(f"sample {self.sample[row]!r} has the label {self.labels[row]}; known are 0 to {last}")
        finite = np.isfinite(self.probabilities).all(axis=1)
        if not finite.all():
            row = int((~finite).argmax())
            raise InputError(
                f"sample {self.sample[row]!r} has a probability that is not a finite number, as have "
                f"{int((~finite).sum())} of {len(self)} samples",
                "The model has diverged: a smaller learning rate or gradient clipping may help.",
            )
        sums = self.probabilities.sum(axis=1)
        wrong = (np.abs(sums - 1) > TOLERANCE) | (self.probabilities < 0).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"sample {self.sample[row]!r}: probabilities must be >= 0 and sum to 1, the sum is {sums[row]:.4f}",
                "Apply softmax to logits before they become predictions.",
            )


def _whole(subject: np.ndarray | None) -> np.ndarray | None:
    """Subjects as text; none if any is missing, as such a sample could show any of the others."""
    if subject is None or bool(pd.isna(subject).any()):
        return None
    return np.asarray(subject, dtype=object)


def _integers(labels: np.ndarray) -> np.ndarray:
    values = np.asarray(labels)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"labels must be a row of whole numbers, found {values.dtype} of {values.ndim} dimensions")
    return values.astype(np.int64)
