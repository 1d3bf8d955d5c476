"""What is done with an upload: judged by a model, and explained."""

import base64
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from evenface.app.catalogue import Entry
from evenface.app.shapes import Explained, Prediction, Row, finite
from evenface.errors import InputError
from evenface.faces.numbers import count_frames
from evenface.faces.read import FORMATS, quiet_pillow, read_picture, shown_size
from evenface.faces.tables import unpacked_size
from evenface.faces.trouble import UnusableError
from evenface.faces.video import RATE, open_film
from evenface.recipes.limits import Limits
from evenface.recipes.predict import PredictSettings
from evenface.serving.inputs import Source, find_sources
from evenface.serving.model import Model
from evenface.serving.pipeline import Ended, label_of, predicted
from evenface.serving.pipeline import Row as Said
from evenface.serving.samples import Sample
from evenface.serving.settings import check_settings
from evenface.serving.using import notes_of

if TYPE_CHECKING:
    from evenface.explaining import Explanation

EXPLAINED, LOOKED = 6, 60
"""Rows that are explained at most, and samples among which they are looked for."""
SHOWN = 6
"""Frames of a clip that are shown with heat maps."""
SIDE = 168
"""Pixels of a face that is shown."""
Step = Callable[[float], None]


@dataclass(frozen=True)
class Asked:
    """What to judge, by what, how.

    Parameters
    ----------
    entry : Entry
        The model.
    upload : Path
        What was uploaded.
    settings : dict
        Of :class:`~evenface.recipes.predict.PredictSettings`.
    explain : bool
        Whether to say what spoke for each class.
    """

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


def judge(asked: Asked, model: Model, limits: Limits, step: Step) -> dict[str, Any]:
    """Judge an upload.

    Parameters
    ----------
    asked : Asked
        What to do.
    model : Model
        The model of ``asked.entry``.
    limits : Limits
        What is refused.
    step : callable
        Told the share that is done.

    Returns
    -------
    dict
        A :class:`~evenface.app.shapes.Prediction`.

    Raises
    ------
    InputError
        If the upload cannot be used, is larger than the limits, or a setting is of no effect.
    """
    settings = PredictSettings(**asked.settings, batch=8)
    check_settings(settings, model.form)
    (source,), _ = find_sources([asked.upload])
    try:
        size = _measured(source, model, limits)
        faces = _Firsts()
        seen = faces.add if asked.explain else None
        rows = [_row(item, model, settings) for item in _said(model, source, settings, size.frames, step, seen)]
        explained, why = _explained(model, faces.samples, rows) if asked.explain else ([], "")
    except UnusableError as error:
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
        how = model.form.sequencing
        if how is None or how.of != "files":
            raise UnusableError("a file of numbers, and the model takes pictures or videos")
        check_archive(source.path, limits.numbers)
        frames = count_frames(source.path, how)
        return _Size(None, None, frames / RATE, _few(frames, limits))
    film = open_film(source.path)
    seconds = float(film.times[-1])
    if not seconds <= limits.seconds:
        raise UnusableError(f"too long: {seconds:.0f} seconds, the limit is {limits.seconds:g}")
    frames = _few(len(film.times), limits)
    image = next(film.frames([0]))[1]
    _check_pixels(*image.size, limits.frame_pixels)
    return _Size(image.width, image.height, seconds, frames)


def _few(frames: int, limits: Limits) -> int:
    if frames > limits.frames:
        raise UnusableError(f"too long: {frames:,} frames, the limit is {limits.frames:,}")
    return frames


def check_archive(path: str, most: int) -> None:
    """Refuse an archive of arrays, or a table, that is small until it is unpacked; other files pass.

    Parameters
    ----------
    path : str
        The file.
    most : int
        Bytes of all that is in it.

    Raises
    ------
    UnusableError
        If there is more.
    """
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
        raise UnusableError(f"huge: {size / 1e6:,.0f} MB when unpacked, the limit is {most / 1e6:g}")


def picture_size(path: str, most: int) -> tuple[int, int]:
    """Return width and height of a picture as it is shown, from its header; decoding can take half a minute.

    Parameters
    ----------
    path : str
        The file.
    most : int
        Pixels, at most.

    Raises
    ------
    UnusableError
        If there is no picture in the file, or a larger one.
    """
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    with quiet_pillow():
        try:
            with Image.open(path, formats=known) as image:
                _check_pixels(*image.size, most)
                return shown_size(image)
        except UnusableError:
            raise
        except Exception:  # reading it says why
            return read_picture(path).size


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise UnusableError(f"huge: {width} × {height} pixels, the limit is {most / 1e6:g} megapixels")


def _said(
    model: Model,
    source: Source,
    settings: PredictSettings,
    frames: int,
    step: Step,
    seen: Callable[[Sample], None] | None,
) -> Iterator[Said]:
    for item in predicted(model, [source], settings, seen):
        if isinstance(item, Ended):
            if item.trouble:
                raise UnusableError(item.trouble)
            return
        step(min(1.0, item.sample.end / max(1, frames)))
        yield item


def _row(item: Said, model: Model, settings: PredictSettings) -> Row:
    sample, p = item.sample, item.probabilities
    return Row(
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
        self.samples: list[Sample] = []
        self._looked = 0

    def add(self, sample: Sample) -> None:
        self._looked += 1
        known = {one.face for one in self.samples}
        if self._looked > LOOKED or len(known) == EXPLAINED or sample.array is None or sample.face in known:
            return
        self.samples.append(sample)


def _explained(model: Model, chosen: Sequence[Sample], rows: list[Row]) -> tuple[list[Explained], str]:
    """Explain the first row of each face; or say why not."""
    from evenface.explaining import explain_samples

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


def _shown(row: int, sample: Sample, given: "Explanation", model: Model) -> Explained:
    """Bring an explanation into a form that a page can show."""
    from evenface.explaining import overlay

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
    return Explained(
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
