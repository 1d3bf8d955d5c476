"""From frames to samples: faces found, followed, cropped and read as when the model learnt."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from evenface.errors import InputError
from evenface.faces.align import Face
from evenface.faces.clips import Plan, crops, plan_film
from evenface.faces.mesh import Still, plan_points
from evenface.faces.numbers import count_frames, read_numbers
from evenface.faces.read import Target, cropped, decoded, quiet_pillow
from evenface.faces.track import Track, kept
from evenface.faces.trouble import NoFaceError, UnusableError
from evenface.faces.video import RATE, Film, open_film
from evenface.recipes.predict import PredictSettings
from evenface.serving.following import Looks, Numbers, Times, spans
from evenface.serving.form import Form, finds_points
from evenface.serving.inputs import Recorded, Source
from evenface.serving.settings import target_of


@dataclass(frozen=True)
class Sample:
    """What a model is asked of: a face in a picture or on a frame, or in a window of frames.

    Parameters
    ----------
    frame, end : int
        Range of frames in the file, the end not included; 0 and 1 of a picture.
    time, until : float or None
        Seconds of the first and the last of them; none of a picture.
    face : int or None
        Number of the face: the same throughout a file; in a picture 1 is the largest. None where there is no face.
    box : tuple of four float, or None
        Left, top, right and bottom in pixels, of windows at the look nearest to their middle; none where faces are not
        looked for.
    score : float or None
        How sure the detector is, 0 to 1.
    array : ndarray or None
        Of shape (T', H, W, C), uint8, or (T', P, D), float32, as a store holds it; none where there is no face.
    found : Face or None
        What ``box`` and ``score`` are of.
    """

    frame: int
    end: int
    time: float | None
    until: float | None
    face: int | None = None
    array: np.ndarray | None = None
    found: Face | None = None

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """Where the face is."""
        return self.found.box if self.found else None

    @property
    def score(self) -> float | None:
        """How sure the detector is."""
        return self.found.score if self.found else None


def prepared(source: Source, form: Form, settings: PredictSettings) -> Iterator[Sample]:
    """Prepare the samples of a source.

    Parameters
    ----------
    source : Source
        Where frames come from.
    form : Form
        Of the model that is asked.
    settings : PredictSettings
        Whose faces, which windows.

    Yields
    ------
    Sample
        In order of time. Frames and windows without a face give one without an array.

    Raises
    ------
    UnusableError
        If the source cannot be used, as a whole or from here on; the text says why.
    InputError
        If a package is missing or a camera cannot be opened.
    """
    target = target_of(settings, form, files=source.kind == "numbers")
    if source.kind == "numbers":
        yield from _numbers(source.path, form, settings)
    elif form.sequencing and not finds_points(form):
        raise UnusableError(f"not a file of numbers, of {form.sequencing.points}, which the model takes")
    elif source.kind == "picture":
        yield from _picture(source.path, target)
    elif source.frames is not None:
        yield from _live(source.frames(), target, settings)
    elif _over_time(target):
        yield from _windows(open_film(source.path), target, settings)
    else:
        yield from _frames(open_film(source.path), target, settings.every)


def _over_time(target: Target) -> bool:
    """Whether samples are of windows, not of single frames."""
    return bool(target.taking) or bool(target.sequencing and target.sequencing.of != "stills")


def _picture(path: str, target: Target) -> Iterator[Sample]:
    if _over_time(target):
        raise UnusableError("a single picture, and the model takes clips")
    with quiet_pillow():
        made = _points(Still(path, None), target) if target.sequencing else _pixels(decoded(path, None, target), target)
    for number, (face, array) in enumerate(made, start=1):
        yield Sample(0, 1, None, None, number, array, face)
    if not made:
        yield Sample(0, 1, None, None)


def _pixels(image: Image.Image, target: Target) -> list[tuple[Face | None, np.ndarray]]:
    """Give the faces of a picture, as arrays of one frame."""
    try:
        pairs = cropped(image, target)
    except NoFaceError:
        return []
    return [(face, np.asarray(picture).reshape(target.shape)) for face, picture in pairs]


def _points(film: Film, target: Target) -> list[tuple[Face | None, np.ndarray]]:
    """Give the points of the faces of a picture, as arrays of one frame."""
    plan, how = plan_points(film, 0, 1, target), target.sequencing
    assert how is not None
    assert target.crop is not None
    tracks = kept(plan.tracks, target.crop.which)
    return [(tracks[row.facts[-1] - 1].last, row.made(how)) for row in plan.rows]


def _each(image: Image.Image, target: Target) -> list[tuple[Face | None, np.ndarray]]:
    return _points(Recorded([image], np.zeros(1)), target) if target.sequencing else _pixels(image, target)


def _frames(film: Film, target: Target, every: int) -> Iterator[Sample]:
    numbers = Numbers()
    for frame, image in film.frames(range(0, len(film.times), every)):
        yield from _frame(frame, float(film.times[frame]), image, target, numbers)


def _frame(frame: int, time: float, image: Image.Image, target: Target, numbers: Numbers) -> Iterator[Sample]:
    made = _each(image, target)
    faces = [face for face, _ in made if face is not None]
    names = numbers.of(faces, time) if len(faces) == len(made) else [1] * len(made)
    for number, (face, array) in sorted(zip(names, made, strict=True), key=lambda pair: pair[0]):
        yield Sample(frame, frame + 1, time, time, number, array, face)
    if not made:
        yield Sample(frame, frame + 1, time, time)


def _live(frames: Iterator[tuple[float, Image.Image]], target: Target, settings: PredictSettings) -> Iterator[Sample]:
    """Take a camera's frames as they come; windows are held in memory, one at a time."""
    numbers = Numbers()
    if not _over_time(target):
        for frame, (time, image) in enumerate(frames):
            if frame % settings.every == 0:
                yield from _frame(frame, time, image, target, numbers)
        return
    if settings.window is None:
        raise InputError("a camera has no end: say how long a window is", "Add --window SECONDS.")
    held: list[tuple[int, float, Image.Image]] = []
    begin = 0.0
    for frame, (time, image) in enumerate(frames):
        while held and time - begin >= settings.window:
            film = Recorded([image for _, _, image in held], np.array([time for _, time, _ in held]))
            for sample in _window(film, 0, len(held), target, numbers, Looks()):
                yield replace(sample, frame=sample.frame + held[0][0], end=sample.end + held[0][0])
            begin += settings.window * (1 - settings.overlap)
            held = [one for one in held if one[1] >= begin]
        held.append((frame, time, image))


def _windows(film: Film, target: Target, settings: PredictSettings) -> Iterator[Sample]:
    numbers, looks = Numbers(), Looks()
    for first, last in spans(film.times, settings.window, settings.overlap):
        yield from _window(film, first, last, target, numbers, looks)


def _window(film: Film, first: int, last: int, target: Target, numbers: Numbers, looks: Looks) -> Iterator[Sample]:
    """Take the samples of the frames ``first`` to ``last``; one without an array where there is no face."""
    plan: Plan[Any] = (plan_points if target.sequencing else plan_film)(film, first, last, target, looks)
    if plan.trouble:
        yield Sample(first, last, float(film.times[first]), float(film.times[last - 1]))
        return
    tracks = kept(plan.tracks, target.crop.which) if target.crop else []
    begins, ends = float(film.times[first]), float(film.times[last - 1])
    near = min(max(numbers.latest, begins), ends)
    at = film.times[plan.looks]
    names = numbers.of([_seen(track, at, near) for track in tracks], ends, [track.last for track in tracks])
    for place, array in _arrays(plan, target):
        low, high, *_, face = plan.rows[place].facts
        time, until = float(film.times[low]), float(film.times[high - 1])
        found = _seen(tracks[face - 1], at, (time + until) / 2) if tracks else None
        yield Sample(low, high, time, until, names[face - 1] if tracks else 1, array, found)


def _seen(track: Track, at: Times, time: float) -> Face:
    """Give a face at the look nearest to a time, of those at which it was seen."""
    return track.faces[min(track.faces, key=lambda look: abs(float(at[look]) - time))]


def _arrays(plan: Plan[Any], target: Target) -> Iterator[tuple[int, np.ndarray]]:
    """Give each row's samples when their last frame is there; few are open at a time, however many there are."""
    if target.sequencing:
        yield from ((place, row.made(target.sequencing)) for place, row in enumerate(plan.rows))
        return
    made: dict[int, np.ndarray] = {}
    missing: dict[int, int] = {}
    for place, image in crops(plan, target):
        row, frame = divmod(place, target.frames)
        array = made.setdefault(row, np.empty(target.shape, np.uint8))
        array[frame] = np.asarray(image).reshape(target.shape[1:])
        missing[row] = missing.get(row, target.frames) - 1
        if not missing[row]:
            del missing[row]
            yield row, made.pop(row)


def _numbers(path: str, form: Form, settings: PredictSettings) -> Iterator[Sample]:
    how = form.sequencing
    if how is None or how.of != "files":
        raise UnusableError("a file of numbers, and the model takes pictures or videos")
    times = np.arange(count_frames(path, how)) / RATE
    for first, last in spans(times, settings.window, settings.overlap):
        facts, values = read_numbers(path, first, last, how)
        array = np.frombuffer(values, "<f4").reshape(form.target.shape)
        for low, high, *_ in facts:
            yield Sample(low, high, float(times[low]), float(times[high - 1]), 1, array)
