"""Predictions of targets that are no classes: values of a regression, and which of several targets are present."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evenface.evaluation.predictions import META, PredictedSamples, Predictions, group_means, whole_names
from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import read_parquet, table_to_frame, write_parquet

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

TRUE, PREDICTED = "y_", "v_"
"""Begin the columns of true and of predicted values."""
HALF = 0.5
HINT = "Train the run first, or specify another folder."


@dataclass(frozen=True)
class TargetPredictions(PredictedSamples):
    """Predicted targets of samples whose true ones are known, or some of them.

    Parameters
    ----------
    sample : array of str, shape (N,)
        Unique name of each sample.
    subject : array of str, shape (N,), or None
        Subject of each sample; None where it is not known for every sample.
    targets : array of float64, shape (N, T)
        True values, NaN where they are not known; 0 or 1 of multi-label.
    values : array of float64, shape (N, T)
        Predicted values in the unit of the targets; of multi-label the probability of each target.
    names : tuple of str
        Names of the T targets.
    task : {"regression", "multilabel"}
        What is predicted.
    clip : array of str, shape (N,), or None
        Clip of each sample; None where it is not known for every sample.
    thresholds : tuple of float, or None
        Multi-label: probability from which each target is predicted to be present; none takes 0.5.

    Raises
    ------
    InputError
        If shapes do not match, a sample is a duplicate, a value is not finite, or a probability is not 0 to 1.
    """

    sample: np.ndarray
    subject: np.ndarray | None
    targets: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    task: Literal["regression", "multilabel"]
    clip: np.ndarray | None = None
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        thresholds = (HALF,) * len(self.names) if self.thresholds is None else tuple(map(float, self.thresholds))
        fixed: dict[str, Any] = {
            "sample": np.asarray(self.sample, dtype=object),
            "subject": whole_names(self.subject),
            "targets": np.asarray(self.targets, dtype=np.float64),
            "values": np.asarray(self.values, dtype=np.float64),
            "names": tuple(self.names),
            "clip": whole_names(self.clip),
            "thresholds": thresholds if self.task == "multilabel" else None,
        }
        for name, value in fixed.items():
            object.__setattr__(self, name, value)
        self._check()

    @property
    def known(self) -> np.ndarray:
        """Whether the true value is known, bool, shape (N, T)."""
        return np.asarray(~np.isnan(self.targets))

    @property
    def present(self) -> np.ndarray:
        """Whether each target of a multi-label task is predicted to be present, bool, shape (N, T)."""
        return np.asarray(self.values >= np.array(self.thresholds))

    @property
    def support(self) -> np.ndarray:
        """Samples in which each target is present (multi-label) or known (regression), int64, shape (T,)."""
        counted = self.known if self.task == "regression" else np.nan_to_num(self.targets) > 0
        return np.asarray(counted.sum(axis=0))

    def take(self, rows: np.ndarray | Sequence[int]) -> TargetPredictions:
        """Select rows by index or mask, in the given order."""
        kept = np.asarray(rows)
        subject, clip = (None if names is None else names[kept] for names in (self.subject, self.clip))
        return replace(
            self,
            sample=self.sample[kept],
            subject=subject,
            targets=self.targets[kept],
            values=self.values[kept],
            clip=clip,
        )

    def save(self, path: Path) -> None:
        """Write as Parquet: ``sample``, ``subject``, ``clip``, and ``y_<name>`` and ``v_<name>`` for every target."""
        import pyarrow as pa

        subject = [None] * len(self) if self.subject is None else self.subject
        table = pd.DataFrame(
            {
                "sample": pd.array(self.sample, dtype="string"),
                "subject": pd.array(subject, dtype="string"),
                **({} if self.clip is None else {"clip": pd.array(self.clip, dtype="string")}),
                **{f"{TRUE}{name}": self.targets[:, i] for i, name in enumerate(self.names)},
                **{f"{PREDICTED}{name}": self.values[:, i] for i, name in enumerate(self.names)},
            }
        )
        written = pa.Table.from_pandas(table, preserve_index=False)
        facts = {"task": self.task, "thresholds": self.thresholds}
        metadata = {**(written.schema.metadata or {}), META: json.dumps(facts).encode()}
        write_parquet(written.replace_schema_metadata(metadata), path)

    @classmethod
    def load(cls, path: Path) -> TargetPredictions:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing or cannot be read, lacks a column or is not valid.
        """
        stored = read_parquet(path, HINT)
        facts, table = json.loads(stored.schema.metadata[META]), table_to_frame(stored, path)
        names = [str(name).removeprefix(PREDICTED) for name in table.columns if str(name).startswith(PREDICTED)]
        wanted = ["sample", "subject", *(f"{TRUE}{name}" for name in names)]
        if missing := [name for name in wanted if name not in table.columns]:
            raise InputError(f"{path}: expected the column {missing[0]}, found {', '.join(map(str, table.columns))}")
        try:
            return cls(
                table["sample"].to_numpy(dtype=object),
                table["subject"].to_numpy(dtype=object),
                table[[f"{TRUE}{name}" for name in names]].to_numpy(dtype=np.float64, na_value=np.nan),
                table[[f"{PREDICTED}{name}" for name in names]].to_numpy(dtype=np.float64, na_value=np.nan),
                tuple(names),
                facts["task"],
                table["clip"].to_numpy(dtype=object) if "clip" in table else None,
                facts.get("thresholds"),
            )
        except InputError as error:
            raise InputError(f"{path}: {error.message}", error.hint) from error

    def _check(self) -> None:
        n, t = len(self.sample), len(self.names)
        if n == 0 or t == 0 or len(set(self.names)) < t:
            raise InputError(f"predictions need samples and different targets, found {n} and {', '.join(self.names)}")
        for name, values in (("targets", self.targets), ("values", self.values)):
            if values.shape != (n, t):
                raise InputError(f"{n} samples and {t} targets need {name} of shape {n} x {t}, found {values.shape}")
        for name, names in (("subject", self.subject), ("clip", self.clip)):
            if names is not None and names.shape != (n,):
                raise InputError(f"{n} samples need {n} values of {name!r}, found {len(names)}")
        duplicated = pd.Series(self.sample).duplicated()
        if duplicated.any():
            raise InputError(f"duplicate sample {self.sample[int(duplicated.argmax())]!r} in the predictions")
        finite = np.isfinite(self.values).all(axis=1)
        if not finite.all():
            raise InputError(
                f"sample {self.sample[int((~finite).argmax())]!r} has a value that is not a finite number, as have "
                f"{int((~finite).sum())} of {n} samples",
                "The model has diverged: a smaller learning rate or gradient clipping may help.",
            )
        if self.task == "multilabel" and ((self.values < 0) | (self.values > 1)).any():
            raise InputError("probabilities of targets must be 0 to 1", "Apply a sigmoid to logits.")
        if self.task == "multilabel" and not np.isin(self.targets[self.known], (0, 1)).all():
            raise InputError("targets of a multi-label task must be 0, 1 or missing")


AnyPredictions = Predictions | TargetPredictions


def by_clip(predictions: TargetPredictions) -> TargetPredictions | None:
    """Average the predictions of each clip; None where clips have one sample each, or their targets differ within."""
    if predictions.clip is None or not predictions.in_parts:
        return None
    codes, names = pd.factorize(predictions.clip)
    _, first = np.unique(codes, return_index=True)
    same = predictions.targets == predictions.targets[first][codes]
    if not (same | ~predictions.known).all():
        return None
    whole = predictions.take(first)
    return replace(whole, sample=names, clip=names, values=group_means(predictions.values, codes))


def load_predictions(path: Path) -> AnyPredictions:
    """Read predictions of either kind, as the file itself states.

    Raises
    ------
    InputError
        If the file is missing or cannot be read, lacks a column or is not valid.
    """
    metadata = read_parquet(path, HINT).schema.metadata or {}
    try:
        task = json.loads(metadata.get(META, b"{}")).get("task")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged: invalid metadata") from error
    return Predictions.load(path) if task is None else TargetPredictions.load(path)


def align_targets(groups: Mapping[str, tuple[TargetPredictions, ...]]) -> dict[str, tuple[TargetPredictions, ...]]:
    """Reorder every run as the first.

    Raises
    ------
    InputError
        If runs have other targets, other samples, or other true values.
    """
    first_name, first = next((name, group[0]) for name, group in groups.items())
    place = {sample: row for row, sample in enumerate(first.sample)}

    def in_order(name: str, run: TargetPredictions) -> TargetPredictions:
        if (run.names, run.task) != (first.names, first.task):
            raise InputError(
                f"{name} predicts {', '.join(run.names)} ({run.task}); {first_name} {', '.join(first.names)} "
                f"({first.task})",
                "Compare runs of one task with the targets in one order.",
            )
        if set(run.sample) != set(place):
            raise InputError(
                f"{name} and {first_name} were tested on different samples "
                f"({len(set(run.sample) ^ set(place))} of them)",
                "Compare runs with the same protocol and the same fold.",
            )
        rows = np.empty(len(run), dtype=np.int64)
        rows[[place[sample] for sample in run.sample]] = np.arange(len(run))
        run = run.take(rows)
        if not np.array_equal(run.targets, first.targets, equal_nan=True):
            raise InputError(f"{name} and {first_name} disagree on the true values of the targets")
        return run

    return {name: tuple(in_order(name, run) for run in group) for name, group in groups.items()}
