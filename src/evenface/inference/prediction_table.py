"""Tables of predictions as CSV, Parquet or JSON, which an interrupted call resumes."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from evenface.config.predict import PredictSettings
from evenface.data.manifest import TARGET_TASKS, TaskKind
from evenface.inference.faces import INTEGERS, STRINGS
from evenface.inference.model import Model, label_of
from evenface.inference.pipeline import FaceResult, settings_facts
from evenface.inference.sources import Source
from evenface.reporting.annotation import PROBABILITY, VALUE, Row
from evenface.utils.errors import InputError
from evenface.utils.extras import require
from evenface.utils.files import atomic_write, check_writable, digest
from evenface.utils.tables import escape_csv_cell, unescape_csv_cell

POSITION = ("frame", "end", "time", "until", "face", "left", "top", "right", "bottom", "score", "yaw", "pitch", "roll")
CHUNK = 20_000
SUFFIXES = (".csv", ".parquet", ".json")
END = "#"
"""First item of the journal line that follows the last row of a file."""


@dataclass(frozen=True)
class Columns:
    """Columns of the prediction table."""

    classes: tuple[str, ...]
    temperature: float | None
    smooth: float
    model: str
    abstain: float | None = None
    task: TaskKind = "classification"
    thresholds: tuple[float, ...] | None = None
    auxiliary: tuple[str, ...] = ()
    places: tuple[int, ...] = ()

    @classmethod
    def of(cls, model: Model, settings: PredictSettings) -> "Columns":
        """Return the columns for a model; ``model`` identifies weights, input specification and settings."""
        facts = [model.key, model.input_spec.as_dict(), settings_facts(model.input_spec, settings), model.temperature]
        if model.task in TARGET_TASKS:
            facts += [model.thresholds, model.calibration.as_dict() if model.calibration else None]
        key = digest(json.dumps(facts, sort_keys=True, default=str))[:12]
        temperature = model.temperature if model.calibration else None
        auxiliary, name = model.shown(everything=settings.all_units), f"{model.name}@{key}"
        places = tuple(len(model.classes) + model.auxiliary.index(target) for target in auxiliary)
        shown = (model.task, model.thresholds, auxiliary, places)
        return cls(model.classes, temperature, settings.smooth, name, settings.abstain, *shown)

    @property
    def names(self) -> list[str]:
        """Column names in order; tables in memory lack the last one. Only tables of classes have a temperature."""
        outputs = [f"{VALUE if self.task == 'regression' else PROBABILITY}{name}" for name in self.classes]
        outputs += [f"{VALUE}{name}" for name in self.auxiliary]
        scaled = [] if self.task in TARGET_TASKS else ["temperature"]
        return ["file", *POSITION, "label", *outputs, *scaled, "smoothed", "model", "digest"]

    def row(self, result: FaceResult) -> dict[str, Any]:
        """Return the row of a result, without the digest of its file; None for missing values."""
        sample, outputs = result.sample, result.outputs
        box = [None] * 4 if sample.box is None else [round(float(side), 2) for side in sample.box]
        times = [None if time is None else float(time) for time in (sample.start_time, sample.end_time)]
        score = None if sample.score is None else float(sample.score)
        pose = [None] * 3 if sample.pose is None else [round(angle, 1) for angle in sample.pose]
        position = [sample.first_frame, sample.end_frame, *times, sample.face_id, *box, score, *pose]
        scored: list[Any] = [None] * (1 + len(self.classes) + len(self.places))
        if outputs is not None:
            p = outputs[: len(self.classes)]
            label = label_of(p, self.classes, self.task, thresholds=self.thresholds, abstain=self.abstain)
            scored = [label, *p.tolist(), *outputs[list(self.places)].tolist()]
        scaled = [] if self.task in TARGET_TASKS else [self.temperature]
        values = [result.source.path, *position, *scored, *scaled, float(self.smooth), self.model]
        return dict(zip(self.names, values, strict=False))


def check_table_path(path: Path) -> None:
    """Raise InputError if a table cannot be written to a path."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if path.suffix.lower() == ".parquet":
        require("pyarrow")
    check_writable(path)


class RowList:
    """Rows in memory, with the interface of :class:`PredictionTable`."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._safe = 0

    def needs(self, _source: Source) -> bool:
        """Return whether a source is still to be predicted: all are."""
        return True

    def add(self, row: Row) -> None:
        """Append a row."""
        self.rows.append(row)

    def end(self, _source: Source) -> None:
        """Mark a source as complete."""
        self._safe = len(self.rows)

    def drop(self) -> None:
        """Remove the rows since the last complete source."""
        del self.rows[self._safe :]


class PredictionTable:
    """A table being written: rows go to a journal beside it, which is added to the table on exit.

    Rows of a file are kept once :meth:`end` was called for it; a journal left by a killed process is resumed. Every row
    holds a digest of the file it is of, so that a file that was replaced under its name is predicted again.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path, self.columns = path, columns
        self.journal = path.with_name(f".{path.name}.partial")
        self.done: dict[str, str] = {}
        models = set()
        for row in self._stored():
            models.add(row["model"])
            self.done[row["file"]] = row["digest"]
        self._check(sorted(models), path)
        self._recover()
        self._digests: dict[str, str] = {}

    def __enter__(self) -> "PredictionTable":
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.journal.open("a", encoding="utf-8")
        self._safe = self._file.tell()
        return self

    def __exit__(self, *_: object) -> None:
        """Write the table of all complete files, also after an exception."""
        self.drop()
        self._file.close()
        self.finish()

    def needs(self, source: Source) -> bool:
        """Return whether a source is not in the table, or has other content than the one in it."""
        known = self.done.get(source.path)
        return known is None or known != self._digest(source)

    def add(self, row: Row) -> None:
        """Append a row of a file, which ends with :meth:`end`."""
        self._file.write(json.dumps(list(row.values())) + "\n")

    def end(self, source: Source) -> None:
        """Mark a source as complete."""
        content = self._digest(source)
        self._file.write(json.dumps([END, source.path, self.columns.model, content]) + "\n")
        self._file.flush()
        self._safe = self._file.tell()
        self.done[source.path] = content

    def drop(self) -> None:
        """Remove the rows since the last complete source."""
        self._file.flush()
        self._file.truncate(self._safe)
        self._file.seek(self._safe)

    def finish(self) -> None:
        """Write the table atomically and remove the journal."""
        if next(self._lines(), None) is not None:
            with atomic_write(self.path) as temporary:
                WRITERS[self.path.suffix.lower()](temporary, self._rows(), self.columns.names)
        self.journal.unlink(missing_ok=True)

    def _digest(self, source: Source) -> str:
        if source.path not in self._digests:
            self._digests[source.path] = source.content_digest()
        return self._digests[source.path]

    def _rows(self) -> Iterator[Row]:
        """Yield all rows; of a file that was replaced, only those of its last content."""
        for row in chain(self._stored(), self._lines()):
            if self.done[row["file"]] == row["digest"]:
                yield row

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the journal; the digest of their file is in the line that ends them."""
        if not self.journal.is_file():
            return
        held: list[list[Any]] = []
        with self.journal.open(encoding="utf-8") as file:
            for values in map(json.loads, file):
                if values[0] != END:
                    held.append(values)
                    continue
                yield from (dict(zip(self.columns.names, [*row, values[3]], strict=True)) for row in held)
                held = []

    def _stored(self) -> Iterator[Row]:
        if not self.path.is_file():
            return
        try:
            for row in read_rows(self.path):
                if not row.keys() >= {"file", "model", "digest"}:
                    raise ValueError("other columns")
                yield row
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(f"{self.path} exists and is not a table of predictions", "Choose another file.") from error

    def _recover(self) -> None:
        """Resume the journal of a killed process, up to its last complete file."""
        if not self.journal.is_file():
            return
        safe, models = 0, set()
        ended: dict[str, str] = {}
        with self.journal.open("rb") as file:
            for line in iter(file.readline, b""):
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                if row[0] == END:
                    safe = file.tell()
                    models.add(row[2])
                    ended[row[1]] = row[3]
        if ended.items() & self.done.items():  # killed between writing the table and removing the journal
            self.journal.unlink()
            return
        self._check(sorted(models), self.journal)
        self.done |= ended
        with self.journal.open("r+b") as file:
            file.truncate(safe)

    def _check(self, models: list[str], path: Path) -> None:
        if other := [name for name in models if name != self.columns.model]:
            raise InputError(
                f"{path} holds predictions of another model or with other settings: {other[0]}",
                "Choose another file, or delete this one.",
            )


def read_rows(path: Path) -> Iterator[Row]:
    """Read a table of predictions row by row.

    Parameters
    ----------
    path : Path
        The table: ``.csv``, ``.parquet`` or ``.json``.

    Yields
    ------
    dict
        Values by the name of the column; None where a cell is empty.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        yield from json.loads(path.read_text(encoding="utf-8"))
    elif suffix == ".parquet":
        with require("pyarrow.parquet").ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK):
                yield from batch.to_pylist()
    else:
        with path.open(encoding="utf-8", newline="") as text:
            reader = csv.reader(text)
            names = [unescape_csv_cell(name) for name in next(reader, [])]
            if not {"face", "label"} <= set(names):
                raise ValueError("other columns")
            for cells in reader:
                row = {name: _value(name, cell) for name, cell in zip(names, cells, strict=True)}
                if row["label"] is None and row["face"] is not None:
                    row["label"] = ""  # below the abstention threshold
                yield row


def _value(name: str, cell: str) -> Any:
    """Return the value of a CSV cell."""
    if not cell:
        return None
    if name in STRINGS:
        return unescape_csv_cell(cell)
    return int(cell) if name in INTEGERS else float(cell)


def rows_by_file(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Iterate over the rows of each file, which follow each other."""
    held: list[Row] = []
    for row in rows:
        if held and held[0]["file"] != row["file"]:
            yield held[0]["file"], held
            held = []
        held.append(row)
    if held:
        yield held[0]["file"], held


def write_csv(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    """Write rows to a CSV file; floats are read back exactly."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([escape_csv_cell(name) for name in names])
        for row in rows:
            values = (row[name] for name in names)
            writer.writerow([escape_csv_cell(value) if isinstance(value, str) else value for value in values])


def write_parquet(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    """Write rows as row groups of one Parquet file."""
    pa = require("pyarrow")
    types = {**dict.fromkeys(STRINGS, pa.string()), **dict.fromkeys(INTEGERS, pa.int64())}
    schema = pa.schema([(name, types.get(name, pa.float64())) for name in names])
    iterator = iter(rows)
    with require("pyarrow.parquet").ParquetWriter(path, schema) as writer:
        while chunk := list(islice(iterator, CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))


def write_json_rows(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    """Write rows as a JSON list, an object per line."""
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            file.write(",\n" if number else "[\n")
            file.write(json.dumps({name: row[name] for name in names}, ensure_ascii=False))
        file.write("\n]\n")


WRITERS = {".csv": write_csv, ".parquet": write_parquet, ".json": write_json_rows}
