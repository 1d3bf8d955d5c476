"""The manifest: one table, a row per sample, that says what there is to learn from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from evenface.utils.errors import InputError
from evenface.utils.files import digest, read_parquet, table_to_frame, write_parquet

COLUMNS = ("sample", "path", "start", "end", "label", "subject", "clip", "split")
SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Manifest:
    """Samples of one data set, as its source found them.

    Parameters
    ----------
    table : DataFrame
        One row per sample with the columns ``sample`` (unique name), ``path`` (relative to ``root``),
        ``start`` and ``end`` (range of frames or rows in that file, missing for a whole picture), ``label``
        (index into ``classes``), ``subject``, ``clip`` and ``split`` (``train``, ``validation`` or ``test``,
        as the data set's authors give it), the last three missing where unknown. Further columns (votes,
        action units, pose) travel along.
    classes : tuple of str
        Names of the classes, in the order of the labels.
    source : str
        Name of the source that made it.
    root : Path
        Folder that ``path`` starts from.
    notes : tuple of str
        What a reader of results must know: samples left out and why, synthetic origin, and so on.
    content : {"stills", "clips", "sequences"}
        What ``path`` is: a picture (or a row of a table); or a video file, or a folder of pictures in the order of
        their names, of which ``start`` and ``end`` give the range of frames, missing for all; or a file of numbers, a
        row per frame, with ``start`` and ``end`` likewise.
    ordered : bool
        Whether the classes are steps of one scale, in the order of the labels, as levels of pain are.

    Raises
    ------
    InputError
        If a column is missing, a name stands twice, a label has no class or a split is unknown.
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
            raise InputError(f"{self.source}: the manifest lacks the columns {', '.join(missing)}")
        if self.table.empty:
            raise InputError(f"{self.source}: no samples found in {self.root}")
        twice = self.table["sample"][self.table["sample"].duplicated()]
        if len(twice):
            raise InputError(f"{self.source}: the sample name {twice.iloc[0]!r} stands twice", "Names must be unique.")
        labels = self.table["label"].to_numpy()
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise InputError(
                f"{self.source}: labels must be 0 to {len(self.classes) - 1}, found {labels.min()} to {labels.max()}"
            )
        unknown = set(self.table["split"].dropna()) - set(SIDES)
        if unknown:
            raise InputError(f"{self.source}: unknown split {sorted(unknown)[0]!r}; known are {', '.join(SIDES)}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Class index of every sample, int64, shape (N,)."""
        return self.table["label"].to_numpy(dtype=np.int64)

    @property
    def has_subjects(self) -> bool:
        """Whether every sample says whom it shows."""
        return bool(self.table["subject"].notna().all())

    @property
    def hash(self) -> str:
        """Digest of the table and the classes; two manifests with the same hash describe the same samples."""
        rows = self.table.to_csv(index=False).encode()
        further = [] if self.content == "stills" else [self.content]
        return digest(rows, json.dumps([self.classes, self.source, *further]))

    def counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Count samples per class, int64, shape (C,); of ``rows`` only where given."""
        labels = self.labels if rows is None else self.labels[rows]
        return np.bincount(labels, minlength=len(self.classes))

    def votes(self, rows: np.ndarray) -> np.ndarray | None:
        """Give the annotators' votes for each class, float32, shape (len(rows), C); None where there are none."""
        columns = [f"votes_{name}" for name in self.classes]
        if not set(columns) <= set(self.table.columns):
            return None
        votes: np.ndarray = self.table[columns].to_numpy(dtype=np.float32)[rows]
        return votes

    def take(self, rows: np.ndarray | Sequence[int], note: str = "") -> "Manifest":
        """Keep the given rows (positions or mask), and say why in ``note``."""
        chosen = np.asarray(rows)
        table = self.table.iloc[chosen.nonzero()[0] if chosen.dtype == bool else chosen.astype(np.int64)]
        return replace(self, table=table.reset_index(drop=True), notes=(*self.notes, note) if note else self.notes)

    def save(self, path: Path) -> None:
        """Write as Parquet; classes, source, root and notes go into the file's own metadata."""
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
    def load(cls, path: Path) -> "Manifest":
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing or is no manifest.
        """
        remedy = "Prepare again."
        stored = read_parquet(path, remedy)
        try:
            facts = json.loads(stored.schema.metadata[b"evenface"])
            return cls(
                table_to_frame(stored, path, remedy),
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
            raise InputError(f"{path} is no manifest of evenface ({type(error).__name__})", remedy) from error


def make_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make a manifest's table from one dict per sample; columns that a source does not know stay missing."""
    table = pd.DataFrame(list(rows))
    for name in COLUMNS:
        if name not in table.columns:
            table[name] = None
    for name in ("sample", "path", "subject", "clip", "split"):
        table[name] = table[name].astype("string")
    for name in ("start", "end"):
        table[name] = table[name].astype("Int64")
    return table[[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]]
