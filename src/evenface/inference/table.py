"""The table of what was predicted: written whole, and taken up again where it was interrupted."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from evenface.config.predict import PredictSettings
from evenface.inference.model import Model
from evenface.inference.pipeline import FaceResult, label_of
from evenface.inference.sources import Source
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest
from evenface.utils.tables import escape_csv_cell, escape_csv_table, unescape_csv_cell

PLACES = ("frame", "end", "time", "until", "face", "left", "top", "right", "bottom", "score")
CHUNK = 20_000
SUFFIXES = (".csv", ".parquet")
END = "#"
"""Stands before a file's name where all its rows are there."""


@dataclass(frozen=True)
class Columns:
    """What a row of the table holds."""

    classes: tuple[str, ...]
    temperature: float | None
    smooth: float
    model: str
    abstain: float | None = None

    @classmethod
    def of(cls, model: Model, settings: PredictSettings) -> "Columns":
        """Say what a model's rows hold."""
        said = [model.key, model.form.as_dict(), settings.facts, model.temperature]
        key = digest(json.dumps(said, sort_keys=True, default=str))[:12]
        temperature = model.temperature if model.calibration else None
        return cls(model.classes, temperature, settings.smooth, f"{model.name}@{key}", settings.abstain)

    @property
    def names(self) -> list[str]:
        """Names of all columns, in order."""
        shares = [f"p_{name}" for name in self.classes]
        return ["file", *PLACES, "label", *shares, "temperature", "smoothed", "model"]

    def values(self, row: FaceResult) -> list[Any]:
        """Give a row's values in the order of :attr:`names`; None for what there is not."""
        sample, p = row.sample, row.probabilities
        box = [None] * 4 if sample.box is None else [round(float(side), 2) for side in sample.box]
        place = [sample.frame, sample.end, sample.time, sample.until, sample.face, *box, sample.score]
        said = [None] * (len(self.classes) + 1) if p is None else [label_of(p, self.classes, self.abstain), *p.tolist()]
        return [row.source.path, *place, *said, self.temperature, self.smooth, self.model]

    def frame(self, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
        """Make a table of rows, every column of its own type, however many there are."""
        table = pd.DataFrame(list(rows), columns=self.names)
        for name in table:
            if name in ("file", "label", "model"):
                table[name] = table[name].astype("string")
            elif name in ("frame", "end", "face"):
                table[name] = table[name].astype("Int64")
            else:
                table[name] = table[name].astype("float64")
        return table


class PredictionTable:
    """A table under construction: a journal beside it takes row after row, and becomes the table at the end."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path, self.columns = path, columns
        self.journal = path.with_name(f".{path.name}.partial")
        self.done: set[str] = set()
        for table in self._stored(["file", "model"]):
            self._check(table["model"].dropna().unique().tolist(), path)
            self.done |= set(table["file"])
        self._recover()

    def __enter__(self) -> "PredictionTable":
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.journal.open("a", encoding="utf-8")
        self._safe = self._file.tell()
        return self

    def __exit__(self, *_: object) -> None:
        """Make the table of what is whole, whatever happened."""
        self.drop()
        self._file.close()
        self.finish()

    def add(self, row: FaceResult) -> None:
        """Take a row."""
        self._file.write(json.dumps(self.columns.values(row)) + "\n")

    def end(self, source: Source) -> None:
        """Say that all rows of a source were added."""
        self._file.write(json.dumps([END, source.path, self.columns.model]) + "\n")
        self._file.flush()
        self._safe = self._file.tell()
        self.done.add(source.path)

    def drop(self) -> None:
        """Forget the rows since the last end."""
        self._file.flush()
        self._file.truncate(self._safe)
        self._file.seek(self._safe)

    def finish(self) -> None:
        """Write the table, whole or not at all, and take the journal away."""
        lines = self._lines()
        first = next(lines, None)
        if first is None:
            self.journal.unlink(missing_ok=True)
            return
        with atomic_write(self.path) as temporary:
            write = write_csv if self.path.suffix.lower() == ".csv" else write_parquet
            write(temporary, self._tables(), self.columns)
        self.journal.unlink(missing_ok=True)

    def _tables(self) -> Iterator[pd.DataFrame]:
        yield from self._stored(None)
        lines = self._lines()
        while some := list(islice(lines, CHUNK)):
            yield self.columns.frame(some)

    def _lines(self) -> Iterator[list[Any]]:
        if self.journal.is_file():
            with self.journal.open(encoding="utf-8") as file:
                yield from (row for row in map(json.loads, file) if row[0] != END)

    def _stored(self, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
        if not self.path.is_file():
            return
        try:
            yield from read_table(self.path, columns)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{self.path} is there already and is no table of predictions", "Give another file: --out."
            ) from error

    def _recover(self) -> None:
        """Take up a journal that a kill left, up to the last file that is whole."""
        if not self.journal.is_file():
            return
        safe, models, files = 0, set(), set()
        with self.journal.open("rb") as file:
            for line in iter(file.readline, b""):
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                if row[0] == END:
                    safe = file.tell()
                    models.add(row[2])
                    files.add(row[1])
        if files & self.done:  # it had become the table, and only its own end was missed
            self.journal.unlink()
            return
        self._check(sorted(models), self.journal)
        self.done |= files
        with self.journal.open("r+b") as file:
            file.truncate(safe)

    def _check(self, models: list[str], path: Path) -> None:
        if other := [name for name in models if name != self.columns.model]:
            raise InputError(
                f"{path} holds predictions of another model or with other settings: {other[0]}",
                "Give another file: --out; or delete it.",
            )


def read_table(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Read a table of predictions in pieces; only some columns where they are named."""
    if path.suffix.lower() == ".csv":
        words = dict.fromkeys(("file", "label", "model"), "string")
        whole = dict.fromkeys(("frame", "end", "face"), "Int64")
        options: dict[str, Any] = {"usecols": columns, "dtype": {**words, **whole}}
        options |= {"keep_default_na": False, "na_values": [""]}  # a class may be called None
        with pd.read_csv(path, chunksize=CHUNK, **options) as pieces:
            for piece in pieces:
                texts = [name for name in ("file", "label") if name in piece]
                piece[texts] = piece[texts].map(unescape_csv_cell, na_action="ignore")
                yield piece
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK, columns=columns):
            yield batch.to_pandas()


def write_csv(path: Path, tables: Iterable[pd.DataFrame], columns: Columns) -> None:
    """Write tables one under the other; floats so that they are read back as they were."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow([escape_csv_cell(name) for name in columns.names])
        for table in tables:
            escape_csv_table(table).to_csv(file, index=False, header=False, lineterminator="\n")


def write_parquet(path: Path, tables: Iterable[pd.DataFrame], columns: Columns) -> None:
    """Write tables as the row groups of one file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Schema.from_pandas(columns.frame([]), preserve_index=False)
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))
