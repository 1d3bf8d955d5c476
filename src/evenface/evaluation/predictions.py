"""Predictions of a model for each sample; every reported number is computed from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evenface.data.labels import level_values
from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import read_parquet, table_to_frame, write_parquet

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

COLUMNS = ("sample", "subject", "label")
PREFIX = "p_"
SCORE = "s_"
"""Begins the columns of scores."""
OUTPUT = "output"
"""Column of the continuous output."""
META = b"evenface"
TOLERANCE = 1e-3
TIE = 1e-3
"""Weight of the mean probabilities of a clip relative to a vote: enough to break ties."""


class PredictedSamples:
    """Samples of predictions of classes or of targets: how many people and clips they are of."""

    sample: np.ndarray
    subject: np.ndarray | None
    clip: np.ndarray | None

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def people(self) -> int | None:
        """Number of subjects; None where subjects are not known."""
        return None if self.subject is None else len(set(self.subject))

    @property
    def clips(self) -> int | None:
        """Number of clips; None where clips are not known."""
        return None if self.clip is None else len(set(self.clip))

    @property
    def in_parts(self) -> bool:
        """Whether some clip has several samples, such as its frames or windows."""
        return self.clips is not None and self.clips < len(self)


@dataclass(frozen=True)
class Predictions(PredictedSamples):
    """Class probabilities of samples whose true class is known.

    Parameters
    ----------
    sample : array of str, shape (N,)
        Unique name of each sample.
    subject : array of str, shape (N,), or None
        Subject of each sample; None where it is not known for every sample.
    labels : array of int64, shape (N,)
        True class, 0 to C - 1.
    probabilities : array of float64, shape (N, C)
        Probability of each class, 0 to 1; a row sums to 1 (within 0.001, as half precision may round).
    classes : tuple of str
        Names of the C classes, in the order of the columns.
    clip : array of str, shape (N,), or None
        Clip of each sample (a frame or a window of frames); None where it is not known for every sample.
    ordered : bool, default=False
        Whether the classes are ordered levels, such as levels of pain.
    scores : array of float64, shape (N, C), or None
        Scores of one-vs-rest classifiers, 0 to 1; the probabilities are these divided by their sum.
    output : array of float64, shape (N,), or None
        Continuous output of a regression or ordinal method: the predicted place on the scale, in the values of the
        levels. It may lie beyond the lowest and the highest level.
    levels : tuple of float, or None
        Value of each class on the scale where they are ordered; none takes
        :func:`~evenface.data.labels.level_values`. None where classes are not ordered.
    training_counts : tuple of int, or None
        Training samples of each class, for metrics of many-, medium- and few-shot classes. Of a run they come from
        ``run.json``; the file has them only where they were given.

    Raises
    ------
    InputError
        If shapes do not match, a label has no class, a name is duplicated, or a row is not a probability vector.
    """

    sample: np.ndarray
    subject: np.ndarray | None
    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    clip: np.ndarray | None = None
    ordered: bool = False
    scores: np.ndarray | None = None
    output: np.ndarray | None = None
    levels: tuple[float, ...] | None = None
    training_counts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        fixed: dict[str, Any] = {
            "sample": np.asarray(self.sample, dtype=object),
            "subject": whole_names(self.subject),
            "labels": _integers(self.labels),
            "probabilities": np.asarray(self.probabilities, dtype=np.float64),
            "classes": tuple(self.classes),
            "clip": whole_names(self.clip),
            "ordered": bool(self.ordered),
            "scores": None if self.scores is None else np.asarray(self.scores, dtype=np.float64),
            "output": None if self.output is None else np.asarray(self.output, dtype=np.float64),
        }
        values = level_values(self.classes).tolist() if self.levels is None else map(float, self.levels)
        fixed["levels"] = tuple(values) if self.ordered else None
        fixed["training_counts"] = None if self.training_counts is None else tuple(map(int, self.training_counts))
        for name, value in fixed.items():
            object.__setattr__(self, name, value)
        self._check_shapes()
        self._check_values()

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
    def true_values(self) -> np.ndarray:
        """Value of the true level, float64, shape (N,); of ordered classes."""
        return np.asarray(self._scale()[self.labels])

    @property
    def place(self) -> np.ndarray:
        """Predicted place on the scale of ordered classes, float64, shape (N,): the output, else the expected value."""
        if self.output is not None:
            return self.output
        place: np.ndarray = self.probabilities @ self._scale() / self.probabilities.sum(axis=1)
        return place

    def _scale(self) -> np.ndarray:
        if self.levels is None:
            raise InputError("the classes are not ordered, so they have no values")
        return np.array(self.levels)

    @property
    def mixed(self) -> str | None:
        """First clip whose samples differ in label or subject, for which clip-level metrics are not defined."""
        if self.clip is None:
            return None
        columns = {"label": self.labels, **({} if self.subject is None else {"subject": self.subject})}
        differ = pd.DataFrame(columns).groupby(self.clip, sort=False).nunique().gt(1).any(axis=1)
        return str(differ.idxmax()) if differ.any() else None

    def take(self, rows: np.ndarray | Sequence[int]) -> Predictions:
        """Select rows by index or mask, in the given order."""
        kept = np.asarray(rows)
        subject, clip = (None if names is None else names[kept] for names in (self.subject, self.clip))
        return replace(
            self,
            sample=self.sample[kept],
            subject=subject,
            labels=self.labels[kept],
            probabilities=self.probabilities[kept],
            clip=clip,
            scores=None if self.scores is None else self.scores[kept],
            output=None if self.output is None else self.output[kept],
        )

    def by_clip(self, how: Literal["mean", "vote"] = "mean") -> Predictions:
        """Aggregate the predictions of each clip.

        Parameters
        ----------
        how : {"mean", "vote"}, default="mean"
            ``mean`` averages the probabilities. ``vote`` takes the class that most samples were given to, of several
            the one with the highest mean probability; its probabilities are the shares of the votes, beside which the
            means weigh as much as a thousandth of a vote. Scores and outputs are averaged in both cases.

        Returns
        -------
        Predictions
            A row for each clip, named by it, in the order in which clips first appear; subject and label are those of
            its samples.

        Raises
        ------
        InputError
            If clips are not known, or the samples of one differ in label or subject.
        """
        if self.clip is None:
            raise InputError("the clip of each sample is not known, but results by clip require it")
        mixed = self.mixed
        if mixed is not None:
            raise InputError(f"the samples of the clip {mixed!r} differ in label or subject")
        codes, names = pd.factorize(self.clip)
        _, first = np.unique(codes, return_index=True)
        p = group_means(self.probabilities, codes)
        if how == "vote":
            votes = np.zeros_like(p)
            np.add.at(votes, (codes, self.predicted), 1)
            p = (votes + TIE * p) / (votes.sum(axis=1, keepdims=True) + TIE)
        scores = None if self.scores is None else group_means(self.scores, codes)
        output = None if self.output is None else group_means(self.output[:, None], codes)[:, 0]
        return replace(self.take(first), sample=names, clip=names, probabilities=p, scores=scores, output=output)

    def save(self, path: Path) -> None:
        """Write as Parquet: ``sample``, ``subject``, ``clip`` if known, ``label`` and a column ``p_<class>`` per class.

        Where there are scores, a column ``s_<class>`` per class follows; where there is a continuous output, a column
        ``output``. Whether classes are ordered, and the values of their levels, go into the file's own metadata.
        """
        import pyarrow as pa

        subject = [None] * len(self) if self.subject is None else self.subject
        columns = {PREFIX: self.probabilities, **({} if self.scores is None else {SCORE: self.scores})}
        table = pd.DataFrame(
            {
                "sample": pd.array(self.sample, dtype="string"),
                "subject": pd.array(subject, dtype="string"),
                **({} if self.clip is None else {"clip": pd.array(self.clip, dtype="string")}),
                "label": self.labels,
                **{f"{p}{name}": v[:, i] for p, v in columns.items() for i, name in enumerate(self.classes)},
                **({} if self.output is None else {OUTPUT: self.output}),
            }
        )
        written = pa.Table.from_pandas(table, preserve_index=False)
        facts: dict[str, Any] = {"ordered": self.ordered, "levels": self.levels}
        facts |= {} if self.training_counts is None else {"training_counts": self.training_counts}
        metadata = {**(written.schema.metadata or {}), META: json.dumps(facts).encode()}
        write_parquet(written.replace_schema_metadata(metadata), path)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing or cannot be read, lacks a column or is not valid.
        """
        hint = "Train the run first, or specify another folder."
        stored = read_parquet(path, hint)
        try:
            facts = json.loads((stored.schema.metadata or {}).get(META, b"{}"))
            ordered = bool(facts.get("ordered", False))
        except (ValueError, AttributeError) as error:
            raise InputError(f"{path} is damaged: invalid metadata") from error
        table = table_to_frame(stored, path)
        names = [str(name) for name in table.columns]
        missing = [name for name in COLUMNS if name not in names]
        columns = [name for name in names if name.startswith(PREFIX)]
        if missing or not columns:
            wanted = missing or [f"{PREFIX}<class>"]
            raise InputError(f"{path}: expected the column {wanted[0]}, found {', '.join(names)}")
        scores = [f"{SCORE}{name.removeprefix(PREFIX)}" for name in columns]
        try:
            return cls(
                table["sample"].to_numpy(dtype=object),
                table["subject"].to_numpy(dtype=object),
                table["label"].to_numpy(),
                table[columns].to_numpy(dtype=np.float64),
                tuple(name.removeprefix(PREFIX) for name in columns),
                table["clip"].to_numpy(dtype=object) if "clip" in names else None,
                ordered,
                table[scores].to_numpy(dtype=np.float64) if set(scores) <= set(names) else None,
                table[OUTPUT].to_numpy(dtype=np.float64) if OUTPUT in names else None,
                facts.get("levels"),
                facts.get("training_counts"),
            )
        except InputError as error:
            raise InputError(f"{path}: {error.message}", error.hint) from error

    def _check_shapes(self) -> None:
        n, c = len(self.labels), len(self.classes)
        if n == 0:
            raise InputError("the predictions contain no sample")
        if c < 2 or len(set(self.classes)) < c:
            raise InputError(f"predictions need two or more different classes, found {', '.join(self.classes)}")
        if self.probabilities.shape != (n, c):
            found = " x ".join(map(str, self.probabilities.shape))
            raise InputError(f"{n} labels and {c} classes need probabilities of shape {n} x {c}, found {found}")
        if self.scores is not None and self.scores.shape != (n, c):
            raise InputError(f"{n} labels and {c} classes need scores of shape {n} x {c}")
        if self.levels is not None and len(self.levels) != c:
            raise InputError(f"{c} ordered classes need {c} values of levels, found {len(self.levels)}")
        if self.training_counts is not None and len(self.training_counts) != c:
            raise InputError(f"{c} classes need {c} training counts, found {len(self.training_counts)}")
        columns = {"sample": self.sample, "subject": self.subject, "clip": self.clip, OUTPUT: self.output}
        for name, values in columns.items():
            if values is not None and values.shape != (n,):
                raise InputError(f"{n} labels need {n} values of {name!r}, found {len(values)}")

    def _check_values(self) -> None:
        names = pd.Series(self.sample)
        duplicated = names[names.duplicated()]
        if len(duplicated):
            raise InputError(f"duplicate sample {duplicated.iloc[0]!r} in the predictions")
        last = len(self.classes) - 1
        outside = (self.labels < 0) | (self.labels > last)
        if outside.any():
            row = int(outside.argmax())
            raise InputError(f"sample {self.sample[row]!r} has the label {self.labels[row]}; known are 0 to {last}")
        arrays = {"a probability": self.probabilities, "an output": self.output}
        for kind, values in arrays.items():
            if values is None or (finite := np.isfinite(values.reshape(len(self), -1)).all(axis=1)).all():
                continue
            row = int((~finite).argmax())
            raise InputError(
                f"sample {self.sample[row]!r} has {kind} that is not a finite number, as have "
                f"{int((~finite).sum())} of {len(self)} samples",
                "The model has diverged: a smaller learning rate or gradient clipping may help.",
            )
        if self.scores is not None and not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise InputError("scores must be 0 to 1")
        sums = self.probabilities.sum(axis=1)
        wrong = (np.abs(sums - 1) > TOLERANCE) | (self.probabilities < 0).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"sample {self.sample[row]!r}: probabilities must be >= 0 and sum to 1, the sum is {sums[row]:.4f}",
                "Apply softmax to logits before they become predictions.",
            )


def whole_names(names: np.ndarray | None) -> np.ndarray | None:
    """Return subjects or clips as an array; None if any is missing, as it could be any of the others."""
    if names is None or bool(pd.isna(names).any()):
        return None
    return np.asarray(names, dtype=object)


def group_means(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Average the rows of each group; ``codes`` numbers the groups, 0 to K - 1. Shape (K, C)."""
    sums = np.zeros((int(codes.max()) + 1, values.shape[1]))
    np.add.at(sums, codes, values)
    means: np.ndarray = sums / np.bincount(codes)[:, None]
    return means


def _integers(labels: np.ndarray) -> np.ndarray:
    values = np.asarray(labels)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"labels must be a 1-D array of integers, found {values.dtype} of {values.ndim} dimensions")
    return values.astype(np.int64)


def align(groups: Mapping[str, tuple[Predictions, ...]]) -> dict[str, tuple[Predictions, ...]]:
    """Reorder every run as the first."""
    for name, group in groups.items():
        if not group:
            raise InputError(f"{name} has no run")
    first_name, first = next((name, group[0]) for name, group in groups.items())
    place = {sample: row for row, sample in enumerate(first.sample)}
    return {
        name: tuple(_in_order(run, name, first, first_name, place) for run in group) for name, group in groups.items()
    }


def _in_order(run: Predictions, name: str, first: Predictions, first_name: str, place: dict[str, int]) -> Predictions:
    if run.classes != first.classes:
        raise InputError(
            f"{name} has the classes {', '.join(run.classes)}; {first_name} has {', '.join(first.classes)}",
            "Compare runs of one data set with the classes in one order.",
        )
    strange = [sample for sample in run.sample if sample not in place]
    lacking = set(place) - set(run.sample)
    if strange or lacking:
        example = f"{strange[0]!r} is not in {first_name}" if strange else f"{min(lacking)!r} is only in {first_name}"
        raise InputError(
            f"{name} and {first_name} were tested on different samples: {example} "
            f"({len(strange) + len(lacking)} such samples)",
            "Compare runs with the same protocol and the same fold.",
        )
    rows = np.empty(len(run), dtype=np.int64)
    rows[[place[sample] for sample in run.sample]] = np.arange(len(run))
    run = run.take(rows)
    differ = np.flatnonzero(run.labels != first.labels)
    if len(differ):
        row = int(differ[0])
        raise InputError(
            f"{name} and {first_name} disagree on the true class of {len(differ)} samples; {run.sample[row]!r} is "
            f"{run.classes[run.labels[row]]} and {first.classes[first.labels[row]]}"
        )
    if _names(run.subject) != _names(first.subject):
        raise InputError(f"{name} and {first_name} disagree on the subjects of the samples")
    if run.clip is not None and first.clip is not None and _names(run.clip) != _names(first.clip):
        raise InputError(f"{name} and {first_name} disagree on the clips that samples were taken from")
    return run


def _names(names: np.ndarray | None) -> list[str] | None:
    return None if names is None else [str(name) for name in names]
