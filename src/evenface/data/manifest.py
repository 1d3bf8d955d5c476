"""Manifest of a dataset: a validated table with one row per sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import digest, read_parquet, table_to_frame, write_parquet

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

COLUMNS = ("sample", "path", "start", "end", "label", "subject", "clip", "split")
SIDES = ("train", "validation", "test")


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
    ordered : bool
        Whether the classes are levels of an ordinal scale in the order of the labels, such as pain intensity.

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
    ordered: bool = False

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

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Class index of every sample, int64 array of shape (N,)."""
        return self.table["label"].to_numpy(dtype=np.int64)

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
            "ordered": self.ordered,
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
                facts.get("ordered", False),
            )
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not a manifest written by evenface ({type(error).__name__})", hint) from error


def make_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Build the table of a manifest from one dict per sample; columns without values are missing."""
    table = pd.DataFrame(list(rows))
    for name in COLUMNS:
        if name not in table.columns:
            table[name] = None
    for name in ("sample", "path", "subject", "clip", "split"):
        table[name] = table[name].astype("string")
    for name in ("start", "end"):
        table[name] = table[name].astype("Int64")
    return table[[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]]
