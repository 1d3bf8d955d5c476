"""What is done with an upload: judged by a model, and explained."""

import base64
import datetime
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from evenface.app.catalogue import Entry
from evenface.app.schemas import ExplainedResponse, FaceResponse, Prediction, finite
from evenface.config.limits import Limits
from evenface.config.predict import PredictSettings
from evenface.inference.model import Model
from evenface.inference.pipeline import Ended, PreparedSample, label_of, predicted
from evenface.inference.pipeline import FaceResult as Said
from evenface.inference.predict import notes_of
from evenface.inference.settings import check_settings
from evenface.inference.sources import Source, find_sources
from evenface.preprocessing.image import FORMATS, quiet_pillow, read_picture, shown_size
from evenface.preprocessing.sequence_files import ARRAYS, TABLES, count_frames, unpacked_size
from evenface.preprocessing.video import RATE, open_film
from evenface.utils.errors import InputError, SampleError
from evenface.utils.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from evenface.utils.files import write_json

if TYPE_CHECKING:
    from evenface.explanation import Explanation


EXPLAINED, LOOKED = 6, 60
"""Rows that are explained at most, and samples among which they are looked for."""
SHOWN = 6
"""Frames of a clip that are shown with heat maps."""
SIDE = 168
"""Pixels of a face that is shown."""
Step = Callable[[float], None]


@dataclass(frozen=True)
class PredictRequest:
    """What to judge, by what, how."""

    entry: Entry
    upload: Path
    settings: dict[str, Any] = field(default_factory=dict)
    explain: bool = False


@dataclass(frozen=True)
class _Size:
    """Of an upload: pixels, seconds, frames."""

    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    frames: int = 1


def judge(asked: PredictRequest, model: Model, limits: Limits, step: Step) -> dict[str, Any]:
    """Judge an upload."""
    settings = PredictSettings(**asked.settings, batch=8)
    check_settings(settings, model.form)
    (source,), _ = find_sources([asked.upload])
    try:
        size = _measured(source, model, limits)
        faces = _Firsts()
        seen = faces.add if asked.explain else None
        rows = [_row(item, model, settings) for item in _said(model, source, settings, size.frames, step, seen)]
        explained, why = _explained(model, faces.samples, rows) if asked.explain else ([], "")
    except SampleError as error:
        raise InputError(f"The file cannot be used: {error}", "Give another one.") from error
    return Prediction(
        kind=source.kind,
        model=asked.entry.id,
        name=asked.entry.name,
        classes=list(model.classes),
        calibrated=model.calibration is not None,
        temperature=model.calibration.temperature if model.calibration else None,
        **vars(size),
        rows=rows,
        notes=notes_of(model, settings),
        explained=explained,
        unexplained=why,
    ).model_dump()


def _measured(source: Source, model: Model, limits: Limits) -> _Size:
    """Refuse what is too large before it is decoded."""
    if source.kind == "picture":
        return _Size(*picture_size(source.path, limits.pixels))
    if source.kind == "numbers":
        how = model.form.sequences
        if how is None or how.origin != "files":
            raise SampleError("a file of numbers, and the model takes pictures or videos")
        check_archive(source.path, limits.numbers)
        frames = count_frames(source.path, how)
        return _Size(None, None, frames / RATE, _few(frames, limits))
    film = open_film(source.path)
    seconds = float(film.times[-1])
    if not seconds <= limits.seconds:
        raise SampleError(f"too long: {seconds:.0f} seconds, the limit is {limits.seconds:g}")
    frames = _few(len(film.times), limits)
    image = next(film.frames([0]))[1]
    _check_pixels(*image.size, limits.frame_pixels)
    return _Size(image.width, image.height, seconds, frames)


def _few(frames: int, limits: Limits) -> int:
    if frames > limits.frames:
        raise SampleError(f"too long: {frames:,} frames, the limit is {limits.frames:,}")
    return frames


def check_archive(path: str, most: int) -> None:
    """Refuse an archive of arrays, or a table, that is small until it is unpacked; other files pass."""
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                size = sum(one.file_size for one in archive.infolist())
        elif suffix == ".parquet":
            size = unpacked_size(path)
        else:
            return
    except Exception:  # parsers raise nearly anything on malformed bytes; reading it says why
        return
    if size > most:
        raise SampleError(f"huge: {size / 1e6:,.0f} MB when unpacked, the limit is {most / 1e6:g}")


def picture_size(path: str, most: int) -> tuple[int, int]:
    """Return width and height of a picture as it is shown, from its header; decoding can take half a minute."""
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    with quiet_pillow():
        try:
            with Image.open(path, formats=known) as image:
                _check_pixels(*image.size, most)
                return shown_size(image)
        except SampleError:
            raise
        except Exception:  # reading it says why
            return read_picture(path).size


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise SampleError(f"huge: {width} × {height} pixels, the limit is {most / 1e6:g} megapixels")


def _said(
    model: Model,
    source: Source,
    settings: PredictSettings,
    frames: int,
    step: Step,
    seen: Callable[[PreparedSample], None] | None,
) -> Iterator[Said]:
    for item in predicted(model, [source], settings, seen):
        if isinstance(item, Ended):
            if item.trouble:
                raise SampleError(item.trouble)
            return
        step(min(1.0, item.sample.end / max(1, frames)))
        yield item


def _row(item: Said, model: Model, settings: PredictSettings) -> FaceResponse:
    sample, p = item.sample, item.probabilities
    return FaceResponse(
        frame=sample.frame,
        end=sample.end,
        time=sample.time,
        until=sample.until,
        face=sample.face,
        box=sample.box,
        score=finite(sample.score),
        label="" if p is None else label_of(p, model.classes, settings.abstain),
        probabilities=None if p is None else p.tolist(),
    )


class _Firsts:
    """Collect the first sample of each face, of the first samples; so that nothing is decoded again to explain it."""

    def __init__(self) -> None:
        self.samples: list[PreparedSample] = []
        self._looked = 0

    def add(self, sample: PreparedSample) -> None:
        self._looked += 1
        known = {one.face for one in self.samples}
        if self._looked > LOOKED or len(known) == EXPLAINED or sample.array is None or sample.face in known:
            return
        self.samples.append(sample)


def _explained(
    model: Model, chosen: Sequence[PreparedSample], rows: list[FaceResponse]
) -> tuple[list[ExplainedResponse], str]:
    """Explain the first row of each face; or say why not."""
    from evenface.explanation import explain_samples

    places = {(row.frame, row.face): i for i, row in enumerate(rows)}
    if not chosen:
        return [], "There is no face to explain."
    try:
        arrays = [sample.array for sample in chosen if sample.array is not None]
        found = explain_samples(model, np.stack(arrays))
    except InputError as error:
        return [], f"{error.message}."
    return [
        _shown(places[sample.frame, sample.face], sample, given, model)
        for sample, given in zip(chosen, found, strict=True)
    ], ""


def _shown(row: int, sample: PreparedSample, given: "Explanation", model: Model) -> ExplainedResponse:
    """Bring an explanation into a form that a page can show."""
    from evenface.explanation import overlay

    assert sample.array is not None
    array = model.form.seen(sample.array[None])[0]
    crops: list[str] = []
    maps: list[list[str]] = []
    shown: list[int] = []
    if model.form.kind != "sequences":
        shown = np.unique(np.linspace(0, len(array) - 1, min(SHOWN, len(array))).round().astype(int)).tolist()
        pictures = [_enlarged(array[frame]) for frame in shown]
        crops = [_uri(picture) for picture in pictures]
        if given.maps is not None:
            every = given.maps[:, None] if given.maps.ndim == 3 else given.maps
            maps = [
                [_uri(overlay(picture, one[frame])) for frame, picture in zip(shown, pictures, strict=True)]
                for one in every
            ]
    points = [] if given.points is None else given.points.tolist()
    where = array[..., :2].mean(axis=0) if points and model.form.points in ("mesh-468", "dlib-68") else np.empty((0, 2))
    return ExplainedResponse(
        row=row,
        kind=given.kind,
        method=given.method,
        crops=crops,
        shown=shown,
        maps=maps,
        frames=[] if given.frames is None else given.frames.tolist(),
        points=points,
        places=[(float(x), float(y)) for x, y in where],
    )


def _enlarged(face: np.ndarray) -> np.ndarray:
    """Give a face, uint8 (H, W, 1 or 3), as RGB of a size that can be looked at."""
    image = Image.fromarray(face[..., 0] if face.shape[-1] == 1 else face).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _uri(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


KNOWN = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *ARRAYS, *TABLES)


def suffix_of(name: str) -> str:
    """Give the ending of a file's name, where it is one that says what the file is; nothing else of a name is used.

    Examples
    --------
    >>> suffix_of("../../etc/Holiday.JPG"), suffix_of("a.png/../../x"), suffix_of("run.sh")
    ('.jpg', '', '')
    """
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return found[0].lower() if found and found[0].lower() in KNOWN else ""


class Keeper:
    """Keeps uploads, and what was said of them, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, name: str) -> Callable[[Path, dict[str, Any]], None]:
        """Give what keeps an upload of this name: a file of a name of our own, beside ``.json`` with the result."""
        stem = re.sub(r"[^A-Za-z0-9-]+", "-", name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]).strip("-")

        def keep(folder: Path, result: dict[str, Any]) -> None:
            moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
            self.folder.mkdir(parents=True, exist_ok=True)
            (upload,) = folder.iterdir()
            kept = self.folder / f"{moment}{'-' if stem else ''}{stem[:60]}{upload.suffix}"
            shutil.copyfile(upload, kept)
            write_json(kept.with_name(f"{kept.name}.json"), {"file": kept.name, **result})

        return keep
