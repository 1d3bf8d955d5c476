"""Predict on files or a camera: a table that an interrupted call resumes, annotated copies, a timeline."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from evenface.config.predict import PredictSettings
from evenface.inference.input_spec import check_settings
from evenface.inference.model import Model
from evenface.inference.pipeline import ESTIMATE, FaceResult, SourceEnd, label_of, predict_sources, resolve_prior
from evenface.inference.sources import FolderContent, Source, find_sources
from evenface.preprocessing.video import open_film
from evenface.reporting.annotation import annotate, draw_timeline
from evenface.reporting.style import check_format
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import atomic_write, check_writable, digest
from evenface.utils.progress import ProgressBar, progress
from evenface.utils.tables import escape_csv_cell, escape_csv_table, unescape_csv_cell

MAX_COUNTED = 100
"""Number of sources up to which progress is shown in frames, which must be counted first; above it, in files."""


@dataclass
class PredictResult:
    """Result of :func:`evenface.predict`.

    Parameters
    ----------
    out : Path
        The table.
    sources : list of Source
        All sources, predicted or not.
    new : list of Source
        Those predicted by this call.
    files : int
        Number of sources in the table.
    cached : int
        Number of sources that were in the table before this call.
    rows, faces, without_face : int
        New rows; new rows with probabilities; new rows without, because no face was found.
    skipped : list of str
        A message for each input that could not be used.
    drawn : list of Path
        Annotated images and videos, and the timeline.
    notes : list of str
        Notes on how to read the table.
    """

    out: Path
    sources: list[Source]
    new: list[Source] = field(default_factory=list)
    files: int = 0
    cached: int = 0
    rows: int = 0
    faces: int = 0
    without_face: int = 0
    skipped: list[str] = field(default_factory=list)
    drawn: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the summary for the screen."""
        cached = f", {self.cached:,} of them predicted before" if self.cached else ""
        lines = [f"{self.faces:,} predictions from {self.files:,} file{'s' * (self.files != 1)}{cached}"]
        if self.without_face:
            lines.append(
                f"no face  in {self.without_face:,} images, frames or windows; their rows have no probabilities"
            )
        if self.skipped:
            lines.append(f"skipped  {len(self.skipped):,}: {'; '.join(self.skipped[:3])}")
        lines += [f"note  {note}" for note in self.notes]
        if self.files:
            lines.append(f"table  {self.out}")
        return [*lines, *(f"drawn  {path}" for path in self.drawn[:10])]


def check_output_paths(out: Path, folder: Path | None = None, figure: Path | None = None) -> None:
    """Raise InputError if an output cannot be written, before anything is predicted."""
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out} must end in {' or '.join(SUFFIXES)}")
    check_writable(out)
    if folder is not None:
        check_writable(folder, folder=True)
    if figure is not None:
        check_format(figure)
        check_writable(figure)


def folder_content(model: Model, folder_type: str | None) -> FolderContent:
    """Return what to collect from folders; by default what the model was trained on."""
    spec = model.input_spec
    if spec.sequences and spec.sequences.origin == "files":
        return "numbers"
    if folder_type not in (None, "images", "clips"):
        raise InputError(f"folder_type must be images or clips, got {folder_type!r}")
    single = spec.kind == "stills" or (spec.sequences is not None and spec.sequences.origin == "stills")
    return "images" if (folder_type or ("images" if single else "clips")) == "images" else "clips"


def predict_inputs(
    model: Model,
    inputs: Sequence[str | Path],
    settings: PredictSettings,
    out: Path,
    *,
    folder_type: str | None = None,
    skip: Path | None = None,
    camera: Source | None = None,
) -> PredictResult:
    """Predict on files, or a camera, and write a table."""
    check_settings(settings, model.input_spec)
    check_output_paths(out)
    content = folder_content(model, folder_type)
    sources, skipped = ([camera], []) if camera else find_sources(inputs, content, skip)
    estimated = settings.prior == ESTIMATE
    settings = resolve_prior(model, sources, settings)
    result = PredictResult(out, sources, notes=prediction_notes(model, settings))
    if estimated:
        result.notes.append(f"class prior estimated from these files, without labels: {settings.prior}")
    with PredictionTable(out, Columns.of(model, settings)) as table:
        pending = [source for source in sources if source.path not in table.done]
        result.cached = len(sources) - len(pending)
        lengths = {source.path: _length(source) if len(pending) <= MAX_COUNTED else 1 for source in pending}
        with progress("predicting", sum(lengths.values())) as bar:
            for message in skipped:
                bar.skip(message, result.skipped)
            items = predict_sources(model, pending, settings)
            _fill(table, items, result, lengths, bar)
        result.files = sum(source.path in table.done for source in sources)
    if not result.files:
        reasons = "\n  ".join(result.skipped[:5])
        raise InputError("no input could be predicted", reasons or "Specify images, videos or folders.")
    return result


def prediction_notes(model: Model, settings: PredictSettings) -> list[str]:
    """Return notes on how to read the predictions."""
    spec = model.input_spec
    notes = []
    if model.calibration is None:
        notes.append("probabilities are not calibrated: the run has no calibration.json")
    if spec.kind != "sequences" and spec.crop is None:
        if settings.faces in (None, "none"):
            notes.append(
                "the model was trained on uncropped images, so faces are not detected; use --faces all to detect them"
            )
        else:
            notes.append(
                f"the model was trained on uncropped images; here faces are cropped with margin {settings.margin:g}"
            )
    if settings.smooth:
        notes.append(f"probabilities are averaged over {settings.smooth:g} s for each face")
    return notes


def _length(source: Source) -> int:
    """Return the number of frames of a video; 1 for other sources."""
    if source.kind != "clip":
        return 1
    try:
        return len(open_film(source.path).times)
    except SampleError:
        return 1


def _fill(
    table: "PredictionTable",
    items: Iterator[FaceResult | SourceEnd],
    result: PredictResult,
    lengths: Mapping[str, int],
    bar: ProgressBar,
) -> None:
    """Write results to the table, and count them."""
    position = rows = faces = 0
    source: Source | None = None

    def finish(ended: Source) -> None:
        table.end(ended)
        result.new.append(ended)
        result.rows, result.faces = result.rows + rows, result.faces + faces
        result.without_face += rows - faces

    try:
        for item in items:
            source = item.source
            if isinstance(item, SourceEnd):
                if item.error:
                    table.drop()
                    bar.skip(f"{source.path}: {item.error}", result.skipped)
                else:
                    finish(source)
                bar(max(0, lengths[source.path] - position))
                position = rows = faces = 0
                continue
            table.add(item)
            rows, faces = rows + 1, faces + (item.probabilities is not None)
            reached = min(item.sample.end_frame, lengths[source.path])
            if reached > position:
                bar(reached - position)
                position = reached
    except KeyboardInterrupt:  # the usual end of a camera: what was seen is kept
        if not rows or source is None or source.kind != "camera":
            raise
        finish(source)


def draw(result: PredictResult, classes: Sequence[str], folder: Path | None, figure: Path | None) -> None:
    """Write annotated copies of images and videos into a folder, and a timeline, where they are wanted."""
    if folder is not None:
        with progress("drawing", len(result.sources)) as bar:
            _annotate_sources(result, folder, bar)
    if figure is not None:
        if draw_timeline(
            rows_by_file(read_table(result.out)), [source.path for source in result.sources], classes, figure
        ):
            result.drawn.append(figure)
        else:
            result.notes.append("no timeline: no face was found in a video")


def _annotate_sources(result: PredictResult, folder: Path, bar: ProgressBar) -> None:
    """Annotate every source that is new or has no annotated copy yet."""
    copies = annotated_paths(result.sources, folder)
    new = {source.path for source in result.new}
    for name, rows in rows_by_file(read_table(result.out)):
        source, path = copies.get(name, (None, Path()))
        if source is None or (path.is_file() and name not in new):
            continue
        try:
            annotate(source.path, rows, path, video=source.kind == "clip")
            result.drawn.append(path)
        except (SampleError, InputError) as error:
            bar.skip(f"{name}: cannot be drawn: {error}", result.skipped)
        bar(1)


def annotated_paths(sources: Sequence[Source], folder: Path) -> dict[str, tuple[Source, Path]]:
    """Return the annotated copy of each image and video; equal names are numbered."""
    paths: dict[str, tuple[Source, Path]] = {}
    taken: set[str] = set()
    for source in sources:
        if source.kind not in ("picture", "clip"):
            continue
        stem, number = Path(source.path).stem, 1
        suffix = ".jpg" if source.kind == "picture" else ".mp4"
        while (name := f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}").lower() in taken:
            number += 1
        taken.add(name.lower())
        paths[source.path] = source, folder / name
    return paths


# ---- table

POSITION = ("frame", "end", "time", "until", "face", "left", "top", "right", "bottom", "score")
CHUNK = 20_000
SUFFIXES = (".csv", ".parquet")
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

    @classmethod
    def of(cls, model: Model, settings: PredictSettings) -> "Columns":
        """Return the columns for a model; ``model`` identifies weights, input specification and settings."""
        facts = [model.key, model.input_spec.as_dict(), settings.facts, model.temperature]
        key = digest(json.dumps(facts, sort_keys=True, default=str))[:12]
        temperature = model.temperature if model.calibration else None
        return cls(model.classes, temperature, settings.smooth, f"{model.name}@{key}", settings.abstain)

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        probabilities = [f"p_{name}" for name in self.classes]
        return ["file", *POSITION, "label", *probabilities, "temperature", "smoothed", "model"]

    def values(self, result: FaceResult) -> list[Any]:
        """Return the row of a result in the order of :attr:`names`; None for missing values."""
        sample, p = result.sample, result.probabilities
        box = [None] * 4 if sample.box is None else [round(float(side), 2) for side in sample.box]
        times = [sample.start_time, sample.end_time]
        position = [sample.first_frame, sample.end_frame, *times, sample.face_id, *box, sample.score]
        scored = (
            [None] * (len(self.classes) + 1) if p is None else [label_of(p, self.classes, self.abstain), *p.tolist()]
        )
        return [result.source.path, *position, *scored, self.temperature, self.smooth, self.model]

    def frame(self, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
        """Convert rows to a table whose column types do not depend on the rows."""
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
    """A table being written: rows go to a journal beside it, which is added to the table on exit.

    Rows of a file are kept once :meth:`end` was called for it; a journal left by a killed process is resumed.
    """

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
        """Write the table of all complete files, also after an exception."""
        self.drop()
        self._file.close()
        self.finish()

    def add(self, result: FaceResult) -> None:
        """Append a row."""
        self._file.write(json.dumps(self.columns.values(result)) + "\n")

    def end(self, source: Source) -> None:
        """Mark a source as complete."""
        self._file.write(json.dumps([END, source.path, self.columns.model]) + "\n")
        self._file.flush()
        self._safe = self._file.tell()
        self.done.add(source.path)

    def drop(self) -> None:
        """Remove the rows since the last complete source."""
        self._file.flush()
        self._file.truncate(self._safe)
        self._file.seek(self._safe)

    def finish(self) -> None:
        """Write the table atomically and remove the journal."""
        if next(self._lines(), None) is not None:
            with atomic_write(self.path) as temporary:
                write = write_csv if self.path.suffix.lower() == ".csv" else write_parquet
                write(temporary, self._tables(), self.columns)
        self.journal.unlink(missing_ok=True)

    def _tables(self) -> Iterator[pd.DataFrame]:
        yield from self._stored(None)
        lines = self._lines()
        while chunk := list(islice(lines, CHUNK)):
            yield self.columns.frame(chunk)

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
                f"{self.path} exists and is not a table of predictions", "Choose another file with --out."
            ) from error

    def _recover(self) -> None:
        """Resume the journal of a killed process, up to its last complete file."""
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
        if files & self.done:  # killed between writing the table and removing the journal
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
                "Choose another file with --out, or delete this one.",
            )


def read_table(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Read a table of predictions in chunks.

    Parameters
    ----------
    path : Path
        The table, ``.csv`` or ``.parquet``.
    columns : sequence of str, optional
        Columns to read; by default all.

    Yields
    ------
    DataFrame
        At most 20,000 rows each.
    """
    if path.suffix.lower() == ".csv":
        types = {
            **dict.fromkeys(("file", "label", "model"), "string"),
            **dict.fromkeys(("frame", "end", "face"), "Int64"),
        }
        options: dict[str, Any] = {"usecols": columns, "dtype": types}
        options |= {"keep_default_na": False, "na_values": [""]}  # a class may be called None
        with pd.read_csv(path, chunksize=CHUNK, **options) as chunks:
            for chunk in chunks:
                names = [name for name in ("file", "label") if name in chunk]
                chunk[names] = chunk[names].map(unescape_csv_cell, na_action="ignore")
                yield chunk
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK, columns=columns):
            yield batch.to_pandas()


def rows_by_file(tables: Iterable[pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Iterate over the rows of each file, however the table is split into chunks."""
    held: list[pd.DataFrame] = []
    for table in tables:
        for name, rows in table.groupby("file", sort=False):
            if held and held[0]["file"].iloc[0] != name:
                yield str(held[0]["file"].iloc[0]), pd.concat(held, ignore_index=True)
                held = []
            held.append(rows)
    if held:
        yield str(held[0]["file"].iloc[0]), pd.concat(held, ignore_index=True)


def write_csv(path: Path, tables: Iterable[pd.DataFrame], columns: Columns) -> None:
    """Write tables to one CSV file; floats are read back exactly."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow([escape_csv_cell(name) for name in columns.names])
        for table in tables:
            escape_csv_table(table).to_csv(file, index=False, header=False, lineterminator="\n")


def write_parquet(path: Path, tables: Iterable[pd.DataFrame], columns: Columns) -> None:
    """Write tables as row groups of one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Schema.from_pandas(columns.frame([]), preserve_index=False)
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))
