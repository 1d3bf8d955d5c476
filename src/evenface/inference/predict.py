"""Predict on files, images in memory or a camera: rows in memory or in tables, annotated copies, a timeline."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from evenface.config.predict import AUTO, PredictSettings
from evenface.config.recipe import Baseline
from evenface.evaluation.label_shift import parse_prior
from evenface.inference.faces import Faces, drawn
from evenface.inference.input_spec import check_settings
from evenface.inference.model import Model, check_task
from evenface.inference.pipeline import ESTIMATE, FaceResult, SourceEnd, predict_sources, resolve_prior
from evenface.inference.prediction_table import (
    Columns,
    PredictionTable,
    RowList,
    check_table_path,
    read_rows,
    rows_by_file,
)
from evenface.inference.registry import BUNDLED
from evenface.inference.sources import FolderContent, Source, sources_of
from evenface.preprocessing.detect_align import load_detector
from evenface.preprocessing.video import open_film
from evenface.reporting.annotation import annotate, draw_timeline
from evenface.reporting.style import check_format
from evenface.utils.errors import InputError, SampleError
from evenface.utils.extras import require
from evenface.utils.files import atomic_write, check_writable
from evenface.utils.progress import ProgressBar, progress

MAX_COUNTED = 100
"""Number of sources up to which progress is shown in frames, which must be counted first; above it, in files."""


def check_output_paths(tables: Sequence[Path], folder: Path | None = None, figure: Path | None = None) -> None:
    """Raise InputError if an output cannot be written, before anything is predicted."""
    for table in tables:
        check_table_path(table)
    if folder is not None:
        check_writable(folder, folder=True)
    if figure is not None:
        require("matplotlib")
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
    inputs: Any,
    settings: PredictSettings,
    tables: Sequence[Path] = (),
    *,
    folder_type: str | None = None,
    skip: Path | None = None,
    camera: Source | None = None,
) -> Faces:
    """Predict on inputs as :class:`~evenface.inference.predictor.Predictor` takes them, or on a camera.

    With ``tables`` the rows are written there; what is in all of them already is not predicted again.
    """
    check_settings(settings, model.input_spec)
    check_task(settings, model)
    if settings.prior not in (None, ESTIMATE):
        parse_prior(settings.prior, model.classes)
    check_output_paths(tables)
    content = folder_content(model, folder_type)
    sources, skipped = ([camera], []) if camera else sources_of(inputs, content, skip)
    estimated = settings.prior == ESTIMATE
    settings = resolve_prior(model, sources, settings)
    if model.input_spec.crop:
        load_detector(model.input_spec.crop.detector)  # not counted as time of the prediction
    columns, memory = Columns.of(model, settings), RowList()
    paths = {source.path for source in sources}

    def stored() -> Iterator[Mapping[str, Any]]:
        return (row for row in read_rows(tables[0]) if row["file"] in paths)

    result = Faces(
        stored if tables else lambda: memory.rows,
        tuple(columns.names if tables else columns.names[:-1]),
        columns.model,
        sources,
        list(tables),
        notes=prediction_notes(model, settings, estimated=estimated),
    )
    start = time.perf_counter()
    with ExitStack() as stack:
        sinks: list[PredictionTable | RowList] = [memory]
        if tables:
            sinks = [stack.enter_context(PredictionTable(path, columns)) for path in tables]
        pending = [source for source in sources if any(sink.needs(source) for sink in sinks)]
        result.cached = len(sources) - len(pending)
        lengths = {source.path: _length(source) if len(pending) <= MAX_COUNTED else 1 for source in pending}
        result.skipped += skipped
        with progress("predicting", sum(lengths.values())) as bar:
            items = predict_sources(model, pending, settings)
            _fill(sinks, columns, items, result, lengths, bar)
    result.seconds = time.perf_counter() - start
    result.files = result.cached + len(result.new)
    if not result.files:
        reasons = "\n  ".join(result.skipped[:5])
        raise InputError("no input could be predicted", reasons or "Specify images, videos or folders.")
    return result


def prediction_notes(model: Model, settings: PredictSettings, *, estimated: bool) -> list[str]:
    """Return notes on how to read the predictions; whether the class prior of the settings is an estimate."""
    spec = model.input_spec
    notes = []
    if model.name == BUNDLED:
        notes.append(f"{BUNDLED} was trained on synthetic people alone: expect more errors on real faces")
    elif model.calibration is None and model.task != "regression":
        notes.append("probabilities are not calibrated: the run has no calibration.json")
    if spec.kind != "sequences" and spec.crop is None:
        crops = f"faces are cropped with margin {settings.margin:g}"
        if settings.faces is None:
            crops += ", except where an input is the crop of a face already"
        elif settings.faces == "none":
            crops = "faces are not detected"
        notes.append(f"the model was trained on uncropped images; {crops}")
    if spec.baseline is not None:
        notes.append(_baseline_note(spec.baseline, settings))
    if settings.smooth:
        what = "values" if model.task == "regression" else "probabilities"
        notes.append(f"{what} are averaged over {settings.smooth:g} s for each face")
    if estimated:
        notes.append(f"class prior estimated from these inputs, without labels: {settings.prior}")
    return notes


def _baseline_note(baseline: Baseline, settings: PredictSettings) -> str:
    """Return the note on what inputs are relative to."""
    start = f"the model was trained with the person baseline {baseline.kind}; inputs are relative to"
    if settings.person_baseline not in (None, AUTO):
        return f"{start} {Path(str(settings.person_baseline)).name}"
    own = f"the first {baseline.frames} frames" if baseline.kind == "first-frames" else "the mean so far"
    return f"{start} {own} of each face, or feature file, itself; a longer baseline of the person is better"


def _length(source: Source) -> int:
    """Return the number of frames of a video; 1 for other sources."""
    if source.kind != "clip":
        return 1
    try:
        return len(open_film(source.path).times)
    except SampleError:
        return 1


def _fill(
    sinks: Sequence[PredictionTable | RowList],
    columns: Columns,
    items: Iterator[FaceResult | SourceEnd],
    result: Faces,
    lengths: Mapping[str, int],
    bar: ProgressBar,
) -> None:
    """Add results to the tables, and to the result what was new and skipped."""
    position = rows = 0
    source: Source | None = None
    chosen: list[PredictionTable | RowList] = []
    try:
        for item in items:
            if item.source is not source:
                chosen = [sink for sink in sinks if sink.needs(item.source)]
            source = item.source
            if isinstance(item, FaceResult):
                row = columns.row(item)
                for sink in chosen:
                    sink.add(row)
                rows += 1
                reached = min(item.sample.end_frame, lengths[source.path])
                bar(max(0, reached - position))
                position = max(position, reached)
                continue
            if item.error:
                for sink in chosen:
                    sink.drop()
                result.skipped.append(f"{source.path}: {item.error}")
            else:
                _end(chosen, source, result)
            bar(max(0, lengths[source.path] - position))
            position = rows = 0
    except KeyboardInterrupt:  # the usual end of a camera: what was seen is kept
        if not rows or source is None or source.kind != "camera":
            raise
        _end(chosen, source, result)


def _end(sinks: Sequence[PredictionTable | RowList], source: Source, result: Faces) -> None:
    for sink in sinks:
        sink.end(source)
    result.new.add(source.path)


def draw(result: Faces, folder: Path | None, figure: Path | None) -> None:
    """Write annotated copies of images and videos into a folder, and a timeline, where they are wanted."""
    if folder is not None:
        with progress("drawing", len(result.sources)) as bar:
            _annotate_sources(result, folder, bar)
    if figure is not None:
        files = [source.path for source in result.sources]
        if draw_timeline(rows_by_file(result.load()), files, result.columns, figure):
            result.drawn.append(figure)
        else:
            result.notes.append("no timeline: no face was found in a video")


def _annotate_sources(result: Faces, folder: Path, bar: ProgressBar) -> None:
    """Annotate every source that is new or has no annotated copy yet."""
    copies = annotated_paths(result.sources, folder)
    for name, rows in rows_by_file(result.load()):
        source, path = copies.get(name, (None, Path()))
        if source is None or (path.is_file() and name not in result.new):
            continue
        try:
            if source.image is None:
                annotate(source.path, rows, path, video=source.kind == "clip")
            else:
                with atomic_write(path) as temporary:
                    drawn(source, rows).save(temporary, quality=92)
            result.drawn.append(path)
        except (SampleError, InputError) as error:
            result.skipped.append(f"{name}: cannot be drawn: {error}")
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
