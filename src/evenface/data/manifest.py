"""Manifest of a dataset: a validated table with one row per sample, and attributes of its subjects."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import digest, read_parquet, table_to_frame, write_parquet
from evenface.utils.tables import read_delimited

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

COLUMNS = ("sample", "path", "start", "end", "label", "subject", "clip", "split")
SIDES = ("train", "validation", "test")
TaskKind = Literal["classification", "ordinal", "regression", "multilabel"]
"""What is predicted: a class, an ordered level, numbers, or which of several targets are present."""
TARGET_TASKS: tuple[TaskKind, ...] = ("regression", "multilabel")
"""Tasks whose samples have a row of targets in place of a class."""


@dataclass(frozen=True)
class Manifest:
    """Samples of one dataset, as read by its source.

    Parameters
    ----------
    table : DataFrame
        One row per sample with the columns ``sample`` (unique name), ``path`` (relative to ``root``),
        ``start`` and ``end`` (range of frames or rows in that file, missing for a whole file), ``label``
        (index into ``classes``), ``subject``, ``clip`` and ``split`` (``train``, ``validation`` or ``test``,
        the official split), the last three missing if unknown. Additional columns (votes, action units, pose) are
        kept.
    classes : tuple of str
        Class names, in the order of the labels.
    source : str
        Name of the source.
    root : Path
        Folder that ``path`` is relative to.
    notes : tuple of str
        Notes for readers of the results, such as excluded samples and synthetic origin.
    content : {"stills", "clips", "sequences"}
        Type of ``path``. Stills: an image, or a row of a table. Clips: a video, or a folder of images in the order of
        their names; ``start`` and ``end`` are the range of frames, missing for all. Sequences: a file of numbers with
        one row per frame; ``start`` and ``end`` likewise.
    task : {"classification", "ordinal", "regression", "multilabel"}
        What is predicted: the class; the class as a level of an ordinal scale in the order of the labels, such as pain
        intensity; the values of ``targets``; or which of ``targets`` are present.
    targets : tuple of str
        Regression and multi-label: columns of the table that are predicted, such as ``pspi`` or ``AU12``, missing where
        they are not known. ``label`` and ``classes`` are then strata; see
        :func:`~evenface.data.targets.select_targets`.

    Raises
    ------
    InputError
        If a column is missing, a sample name is a duplicate, a label has no class or a split is unknown.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    source: str
    root: Path
    notes: tuple[str, ...] = field(default=())
    content: Literal["stills", "clips", "sequences"] = "stills"
    task: TaskKind = "classification"
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in COLUMNS if name not in self.table.columns]
        if missing:
            raise InputError(f"{self.source}: the columns {', '.join(missing)} are missing in the manifest")
        if self.table.empty:
            raise InputError(f"{self.source}: no samples in {self.root}")
        duplicates = self.table["sample"][self.table["sample"].duplicated()]
        if len(duplicates):
            raise InputError(
                f"{self.source}: duplicate sample name {duplicates.iloc[0]!r}", "Give each sample its own name."
            )
        labels = self.table["label"].to_numpy()
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise InputError(
                f"{self.source}: labels must be 0 to {len(self.classes) - 1}, found {labels.min()} to {labels.max()}"
            )
        unknown = set(self.table["split"].dropna()) - set(SIDES)
        if unknown:
            raise InputError(f"{self.source}: unknown split {sorted(unknown)[0]!r}", f"Known: {', '.join(SIDES)}.")
        if bool(self.targets) != (self.task in TARGET_TASKS):
            given = ", ".join(self.targets) or "none"
            raise InputError(f"{self.source}: a task of {self.task} cannot have the targets {given}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Class index of every sample, int64 array of shape (N,)."""
        return self.table["label"].to_numpy(dtype=np.int64)

    @property
    def ordered(self) -> bool:
        """Whether the classes are levels of an ordinal scale."""
        return self.task == "ordinal"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what a model of these data puts out: the targets, or the classes."""
        return self.targets or self.classes

    def target_values(self, rows: np.ndarray) -> np.ndarray:
        """Return the values of the targets, float32 of shape (len(rows), T), NaN where they are missing."""
        values = self.table[list(self.targets)].to_numpy(dtype=np.float32, na_value=np.nan)[rows]
        return np.asarray(values)

    @property
    def has_subjects(self) -> bool:
        """Whether the subject of every sample is known."""
        return bool(self.table["subject"].notna().all())

    @property
    def hash(self) -> str:
        """Digest of table, classes and source; manifests with the same hash describe the same samples."""
        rows = self.table.to_csv(index=False).encode()
        content = [] if self.content == "stills" else [self.content]
        return digest(rows, json.dumps([self.classes, self.source, *content]))

    def counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Count samples per class, of all rows or of ``rows``; int64 array of shape (C,)."""
        labels = self.labels if rows is None else self.labels[rows]
        return np.bincount(labels, minlength=len(self.classes))

    def votes(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the annotators' votes for each class, float32 of shape (len(rows), C); None if there are none."""
        columns = [f"votes_{name}" for name in self.classes]
        if not set(columns) <= set(self.table.columns):
            return None
        votes: np.ndarray = self.table[columns].to_numpy(dtype=np.float32)[rows]
        return votes

    def take(self, rows: np.ndarray | Sequence[int], note: str = "") -> Manifest:
        """Return a manifest of the given rows (positions or mask), with a note added."""
        index = np.asarray(rows)
        table = self.table.iloc[index.nonzero()[0] if index.dtype == bool else index.astype(np.int64)]
        return replace(self, table=table.reset_index(drop=True), notes=(*self.notes, note) if note else self.notes)

    def save(self, path: Path) -> None:
        """Write as Parquet; all but the table is stored in the metadata of the file."""
        import pyarrow as pa

        facts = {
            "classes": self.classes,
            "source": self.source,
            "root": str(self.root),
            "notes": self.notes,
            "content": self.content,
            "task": self.task,
            "targets": self.targets,
        }
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), b"evenface": json.dumps(facts).encode()}
        )
        write_parquet(table, path)

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a file written by :meth:`save`.

        Raises
        ------
        InputError
            If the file does not exist or is not a manifest.
        """
        hint = "Remove the folder and run the command again to prepare the samples."
        stored = read_parquet(path, hint)
        try:
            facts = json.loads(stored.schema.metadata[b"evenface"])
            return cls(
                table_to_frame(stored, path, hint),
                tuple(facts["classes"]),
                facts["source"],
                Path(facts["root"]),
                tuple(facts["notes"]),
                facts.get("content", "stills"),
                facts.get("task", "ordinal" if facts.get("ordered") else "classification"),
                tuple(facts.get("targets", ())),
            )
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not a manifest written by evenface ({type(error).__name__})", hint) from error


def make_table(rows: Sequence[dict[str, Any]] | pd.DataFrame) -> pd.DataFrame:
    """Build the table of a manifest from a table, or one dict per sample; columns without values are missing."""
    table = rows.reset_index(drop=True) if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    for name in COLUMNS:
        if name not in table.columns:
            table[name] = None
    for name in ("sample", "path", "subject", "clip", "split"):
        table[name] = table[name].astype("string")
    for name in ("start", "end"):
        table[name] = table[name].astype("Int64")
    return table[[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]]


ATTRIBUTES = ("age", "age_group", "sex", "gender", "ancestry", "ethnicity", "race", "skin_tone")
"""Columns of a manifest that are attributes of the subject."""
AGES = {18: "under 18", 30: "18 to 29", 45: "30 to 44", 60: "45 to 59"}
"""Upper ends of age groups in years, exclusive, and their names."""
OLDEST = "60 and over"
SEXES = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}


def attribute_columns(table: pd.DataFrame) -> list[str]:
    """Return the attribute columns of a table that have values."""
    return [name for name in ATTRIBUTES if name in table.columns and bool(table[name].notna().any())]


def read_attributes(path: Path, subjects: Collection[str]) -> pd.DataFrame:
    """Load a table of subjects and their attributes; one row per subject, whose name is the index."""
    table = read_delimited(path)
    known = {name.casefold(): name for name in subjects}
    matches = {column: table[column].str.casefold().map(known) for column in table.columns}
    best = max(matches, key=lambda column: int(matches[column].notna().sum()), default=None)
    if best is None or not matches[best].notna().any():
        raise InputError(
            f"{path}: no column has names of subjects of the dataset, such as {min(subjects)}",
            "Add a column with the names of the subjects.",
        )
    chosen = [column for column in table.columns if column != best and column.strip().lower() in ATTRIBUTES]
    if not chosen:
        raise InputError(
            f"{path}: no column is an attribute of subjects, found {', '.join(table.columns)}",
            f"Name a column {', '.join(ATTRIBUTES[:-1])} or {ATTRIBUTES[-1]}.",
        )
    attributes = table.loc[matches[best].notna(), chosen].set_axis(matches[best].dropna(), axis=0)
    attributes.columns = [column.strip().lower() for column in chosen]
    if attributes.index.has_duplicates:
        name = attributes.index[attributes.index.duplicated()][0]
        raise InputError(f"{path}: the subject {name} has several rows", "Keep one row per subject.")
    for column in attributes.columns:
        if column in ("sex", "gender"):
            lower = attributes[column].str.lower()
            attributes[column] = lower.map(SEXES).fillna(lower)
        elif column == "age":
            attributes[column] = pd.to_numeric(attributes[column], errors="coerce").astype("float64")
    return attributes


def attribute_groups(values: pd.Series, name: str) -> pd.Series:
    """Return the group of each value of an attribute: an age group, or the value as text."""
    if name == "age" and pd.api.types.is_numeric_dtype(values):
        bands = pd.cut(
            values.astype("float64"), [-1.0, *AGES, float("inf")], right=False, labels=[*AGES.values(), OLDEST]
        )
        return bands.astype("string")
    if pd.api.types.is_float_dtype(values) and bool((values.dropna() % 1 == 0).all()):
        values = values.astype("Int64")
    return values.astype("string")
