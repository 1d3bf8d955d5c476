"""Predict on an upload and explain the predictions, within the limits of the page."""

import base64
import datetime
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from evenface.app.catalogue import Entry
from evenface.app.schemas import ExplainedResponse, FaceResponse, Prediction, finite
from evenface.config.limits import Limits
from evenface.config.predict import PredictSettings
from evenface.evaluation.calibration import Calibration
from evenface.inference.input_spec import check_settings
from evenface.inference.model import Model, check_task
from evenface.inference.pipeline import ESTIMATE, FaceResult, PreparedSample, SourceEnd, predict_sources, resolve_prior
from evenface.inference.predict import prediction_notes
from evenface.inference.sources import Source, find_sources
from evenface.preprocessing.image import FORMATS, quiet_pillow, read_picture, shown_size
from evenface.preprocessing.sequence_files import ARRAYS, TABLES, count_frames, unpacked_size
from evenface.preprocessing.video import RATE, open_film
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, write_json

if TYPE_CHECKING:
    from evenface.explanation import Explanation


MAX_EXPLAINED, MAX_SEARCHED = 6, 60
"""Rows that are explained, and samples among which they are searched."""
MAX_FRAMES = 6
"""Frames of a clip that are returned with saliency maps."""
SIDE = 168
"""Pixels of a returned crop."""
BATCH = 8
UPLOAD_KINDS: dict[str, Literal["video", "features"]] = {"clip": "video", "numbers": "features"}
"""Kinds of uploads other than images, by the kind of their source."""
Step = Callable[[float], None]


@dataclass(frozen=True)
class PredictRequest:
    """A model, an upload, the settings of the prediction, and an uploaded baseline of the person."""

    entry: Entry
    upload: Path
    settings: dict[str, Any] = field(default_factory=dict)
    explain: bool = False
    baseline: Path | None = None


@dataclass(frozen=True)
class _Size:
    """Pixels, seconds and frames of an upload."""

    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    frames: int = 1


def predict_upload(request: PredictRequest, model: Model, limits: Limits, step: Step) -> dict[str, Any]:
    """Predict on an upload; return a :class:`~evenface.app.schemas.Prediction` as a dictionary."""
    baseline = None if request.baseline is None else str(request.baseline)
    settings = PredictSettings(**request.settings, batch=BATCH, person_baseline=baseline)
    check_settings(settings, model.input_spec)
    check_task(settings, model)
    (source, *others), _ = find_sources([request.upload, *([request.baseline] if request.baseline else [])])
    try:
        size = _size(source, model, limits)
        for other in others:
            _size(other, model, limits)
        estimated = settings.prior == ESTIMATE
        settings = resolve_prior(model, [source], settings)
        faces = _FirstSamples()
        observe = faces.add if request.explain else None
        rows = [
            _row(result, model, settings) for result in _results(model, source, settings, size.frames, step, observe)
        ]
        explained, reason = _explain(model, faces.samples, rows) if request.explain else ([], "")
    except SampleError as error:
        raise InputError(f"The file cannot be used: {error}", "Use another file.") from error
    return Prediction(
        kind=UPLOAD_KINDS.get(source.kind, "image"),
        model=request.entry.id,
        name=request.entry.name,
        task=model.task,
        classes=list(model.classes),
        auxiliary=list(model.shown(everything=settings.all_units)),
        thresholds=None if model.thresholds is None else list(model.thresholds),
        calibrated=model.calibration is not None,
        temperature=model.calibration.temperature if isinstance(model.calibration, Calibration) else None,
        **vars(size),
        rows=rows,
        notes=prediction_notes(model, settings, estimated=estimated),
        explained=explained,
        unexplained=reason,
    ).model_dump()


def _size(source: Source, model: Model, limits: Limits) -> _Size:
    """Return the size of an upload; raise SampleError above a limit, before it is decoded."""
    if source.kind == "numbers":
        how = model.input_spec.sequences
        if how is None or how.origin != "files":
            raise SampleError("a feature file, but the model expects images or videos")
        check_unpacked_size(source.path, limits.numbers)
        frames = count_frames(source.path, how)
        return _Size(None, None, frames / RATE, _checked_frames(frames, limits))
    if source.kind != "clip":
        return _Size(*image_size(source.path, limits.pixels))
    film = open_film(source.path)
    seconds = float(film.times[-1])
    if not seconds <= limits.seconds:
        raise SampleError(f"too long: {seconds:.0f} seconds, the limit is {limits.seconds:g}")
    frames = _checked_frames(len(film.times), limits)
    image = next(film.frames([0]))[1]
    _check_pixels(*image.size, limits.frame_pixels)
    return _Size(image.width, image.height, seconds, frames)


def _checked_frames(frames: int, limits: Limits) -> int:
    if frames > limits.frames:
        raise SampleError(f"too long: {frames:,} frames, the limit is {limits.frames:,}")
    return frames


def check_unpacked_size(path: str, limit: int) -> None:
    """Raise SampleError if an array archive or Parquet table exceeds a number of bytes when unpacked."""
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        elif suffix == ".parquet":
            size = unpacked_size(path)
        else:
            return
    except Exception:  # parsers raise almost anything on malformed bytes; reading the file reports the reason
        return
    if size > limit:
        raise SampleError(f"too large: {size / 1e6:,.0f} MB when unpacked, the limit is {limit / 1e6:g}")


def image_size(path: str, limit: int) -> tuple[int, int]:
    """Return width and height of an upright image from its header, as decoding can take half a minute."""
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    with quiet_pillow():
        try:
            with Image.open(path, formats=known) as image:
                _check_pixels(*image.size, limit)
                return shown_size(image)
        except SampleError:
            raise
        except Exception:  # reading the file reports the reason
            return read_picture(path).size


def _check_pixels(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise SampleError(f"too large: {width} × {height} pixels, the limit is {limit / 1e6:g} megapixels")


def _results(
    model: Model,
    source: Source,
    settings: PredictSettings,
    frames: int,
    step: Step,
    observe: Callable[[PreparedSample], None] | None,
) -> Iterator[FaceResult]:
    for item in predict_sources(model, [source], settings, observe):
        if isinstance(item, SourceEnd):
            if item.error:
                raise SampleError(item.error)
            return
        step(min(1.0, item.sample.end_frame / max(1, frames)))
        yield item


def _row(result: FaceResult, model: Model, settings: PredictSettings) -> FaceResponse:
    sample, count = result.sample, len(model.classes)
    p = values = None
    if result.outputs is not None:
        p, further = np.split(result.outputs, [count])
        shown = model.shown(everything=settings.all_units)
        values = p.tolist() if model.task == "regression" else [float(further[model.auxiliary.index(n)]) for n in shown]
    return FaceResponse(
        frame=sample.first_frame,
        end=sample.end_frame,
        time=sample.start_time,
        until=sample.end_time,
        face=sample.face_id,
        box=sample.box,
        score=finite(sample.score),
        pose=sample.pose,
        label="" if p is None else model.label(p, settings.abstain),
        probabilities=None if p is None or model.task == "regression" else p.tolist(),
        values=values or None,
    )


class _FirstSamples:
    """Collects the first sample of each face, so that nothing is decoded again for the explanation."""

    def __init__(self) -> None:
        self.samples: list[PreparedSample] = []
        self._searched = 0

    def add(self, sample: PreparedSample) -> None:
        self._searched += 1
        faces = {known.face_id for known in self.samples}
        if (
            self._searched > MAX_SEARCHED
            or len(faces) == MAX_EXPLAINED
            or sample.array is None
            or sample.face_id in faces
        ):
            return
        self.samples.append(sample)


def _explain(
    model: Model, samples: Sequence[PreparedSample], rows: list[FaceResponse]
) -> tuple[list[ExplainedResponse], str]:
    """Explain the first row of each face; return the explanations, or why there are none."""
    from evenface.explanation import explain_samples

    if not samples:
        return [], "No face was detected."
    try:
        explanations = explain_samples(
            model, np.stack([sample.array for sample in samples if sample.array is not None])
        )
    except InputError as error:
        return [], f"{error.message}."
    indices = {(row.frame, row.face): index for index, row in enumerate(rows)}
    return [
        _explanation_response(indices[sample.first_frame, sample.face_id], sample, explanation, model)
        for sample, explanation in zip(samples, explanations, strict=True)
    ], ""


def _explanation_response(
    row: int, sample: PreparedSample, explanation: "Explanation", model: Model
) -> ExplainedResponse:
    """Convert an explanation into a response, with images as data URIs."""
    from evenface.explanation import overlay

    assert sample.array is not None
    array = model.input_spec.shown(model.input_spec.select_frames(sample.array[None])[0])
    crops: list[str] = []
    maps: list[list[str]] = []
    shown: list[int] = []
    if model.input_spec.kind != "sequences":
        shown = np.unique(np.linspace(0, len(array) - 1, min(MAX_FRAMES, len(array))).round().astype(int)).tolist()
        images = [_resized(array[frame]) for frame in shown]
        crops = [_data_uri(image) for image in images]
        if explanation.maps is not None:
            per_class = explanation.maps[:, None] if explanation.maps.ndim == 3 else explanation.maps
            maps = [
                [_data_uri(overlay(image, class_maps[frame])) for frame, image in zip(shown, images, strict=True)]
                for class_maps in per_class
            ]
    points = [] if explanation.points is None else explanation.points.tolist()
    positions = (
        array[..., :2].mean(axis=0)
        if points and model.input_spec.points in ("mesh-468", "dlib-68")
        else np.empty((0, 2))
    )
    return ExplainedResponse(
        row=row,
        kind=explanation.kind,
        method=explanation.method,
        crops=crops,
        shown=shown,
        maps=maps,
        frames=[] if explanation.frames is None else explanation.frames.tolist(),
        attention=[] if explanation.attention is None else explanation.attention.tolist(),
        points=points,
        places=[(float(x), float(y)) for x, y in positions],
    )


def _resized(face: np.ndarray) -> np.ndarray:
    """Resize a face, uint8 (H, W, 1 or 3), to an RGB image for display."""
    image = Image.fromarray(face[..., 0] if face.shape[-1] == 1 else face).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _data_uri(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


KNOWN_SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *ARRAYS, *TABLES)


def known_suffix(name: str) -> str:
    """Return the suffix of a file name if it is a known type, else an empty string; the rest of a name is not used.

    Examples
    --------
    >>> known_suffix("../../etc/Holiday.JPG"), known_suffix("a.png/../../x"), known_suffix("run.sh")
    ('.jpg', '', '')
    """
    match = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return match[0].lower() if match and match[0].lower() in KNOWN_SUFFIXES else ""


class UploadStorage:
    """Saves uploads and their results in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def saver(self, name: str) -> Callable[[Path, dict[str, Any]], None]:
        """Return a function that saves an upload under a name with the time, and its result beside it as JSON."""
        stem = re.sub(r"[^A-Za-z0-9-]+", "-", name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]).strip("-")

        def save(folder: Path, result: dict[str, Any]) -> None:
            timestamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
            self.folder.mkdir(parents=True, exist_ok=True)
            (upload,) = (path for path in folder.iterdir() if path.stem == "upload")
            path = self.folder / f"{timestamp}{'-' if stem else ''}{stem[:60]}{upload.suffix}"
            shutil.copyfile(upload, path)
            write_json(path.with_name(f"{path.name}.json"), {"file": path.name, **result})

        return save
