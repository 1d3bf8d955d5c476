"""From sources to rows: samples prepared ahead, asked of in batches, calibrated, averaged over time."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.config.predict import PredictSettings
from evenface.config.recipe import FaceCrop
from evenface.evaluation.label_shift import estimate_prior, parse_prior
from evenface.inference.input_spec import InputSpec, finds_points
from evenface.inference.model import Model
from evenface.inference.settings import ESTIMATE, check_settings, target_of
from evenface.inference.sources import Recorded, Source
from evenface.preprocessing.clips import ClipPlan, crop_frames, faces_in, plan_film
from evenface.preprocessing.detect import Face
from evenface.preprocessing.face_mesh import Still, plan_points
from evenface.preprocessing.frame_sampling import Indices
from evenface.preprocessing.image import cropped, decoded, quiet_pillow
from evenface.preprocessing.sequence_files import count_frames, read_numbers
from evenface.preprocessing.target import Target
from evenface.preprocessing.track import Track, choose_detection_frames, match_faces, select_tracks
from evenface.preprocessing.video import RATE, Film, open_film
from evenface.utils.errors import InputError, NoFaceError, SampleError
from evenface.utils.progress import progress

FORGET = 5.0
"""Seconds after which a face that was not seen gets a new number."""
Times = npt.NDArray[np.float64]


class FaceIdTracker:
    """Numbers of faces that stay the same while frames go by."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, Face]] = {}
        self._given = 0

    @property
    def latest(self) -> float:
        """When a face was last seen; minus infinity if none was."""
        return max((time for time, _ in self._last.values()), default=-np.inf)

    def of(self, faces: Sequence[Face], time: float, lasts: Sequence[Face] | None = None) -> list[int]:
        """Give the number of each face that is seen at a time."""
        self._last = {number: seen for number, seen in self._last.items() if time - seen[0] <= FORGET}
        known = list(self._last)
        numbers = []
        for place in match_faces([self._last[number][1] for number in known], faces):
            if place is None:
                self._given += 1
            numbers.append(self._given if place is None else known[place])
        for number, face in zip(numbers, lasts or faces, strict=True):
            self._last[number] = (time, face)
        return numbers


class DetectionCache:
    """Faces that were looked for, kept for windows that show the same frames again."""

    def __init__(self) -> None:
        self._found: dict[int, list[Face]] = {}

    def __call__(
        self, film: Film, first: int, last: int, taken: Indices, crop: FaceCrop
    ) -> tuple[Indices, list[list[Face]]]:
        """Look as :func:`~evenface.preprocessing.clips.look` does, at what has not been looked at."""
        looks = choose_detection_frames(film.times[first:last], taken, timed=film.timed)
        wanted = (first + looks).tolist()
        self._found = {number: faces for number, faces in self._found.items() if number >= first}
        for number, image in film.frames([number for number in wanted if number not in self._found]):
            self._found[number] = faces_in(image, crop)
        return looks, [self._found[number] for number in wanted]


def spans(times: Times, window: float | None, overlap: float) -> list[tuple[int, int]]:
    """Divide a film into windows.

    Examples
    --------
    >>> spans(np.arange(10) / 2, 2.0, 0.5)
    [(0, 4), (2, 6), (4, 8), (6, 10)]
    >>> spans(np.arange(10) / 2, 2.0, 0.0)
    [(0, 4), (4, 8), (6, 10)]
    """
    count = len(times)
    if window is None or times[-1] < window:
        return [(0, count)]
    found: list[tuple[int, int]] = []
    slack = 1e-6
    for number in range(int(times[-1] / (window * (1 - overlap))) + 1):
        begin = number * window * (1 - overlap)
        first, last = (int(np.searchsorted(times, time - slack)) for time in (begin, begin + window))
        if last >= count and found and found[-1][1] == count:
            break
        if last >= count:
            length = count - int(np.searchsorted(times, begin - slack))
            usual = found[-1][1] - found[-1][0] if found else length
            first, last = max(0, count - max(usual, 1)), count
        if last > first and (not found or (first, last) != found[-1]):
            found.append((first, last))
    return found


@dataclass(frozen=True)
class PreparedSample:
    """What a model is asked of: a face in a picture or on a frame, or in a window of frames."""

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


def prepared(source: Source, form: InputSpec, settings: PredictSettings) -> Iterator[PreparedSample]:
    """Prepare the samples of a source."""
    target = target_of(settings, form, files=source.kind == "numbers")
    if source.kind == "numbers":
        yield from _numbers(source.path, form, settings)
    elif form.sequences and not finds_points(form):
        raise SampleError(f"not a file of numbers, of {form.sequences.points}, which the model takes")
    elif source.kind == "picture":
        yield from _picture(source.path, target)
    elif source.frames is not None:
        yield from _live_samples(source.frames(), target, settings)
    elif _over_time(target):
        yield from _windows(open_film(source.path), target, settings)
    else:
        yield from _frames(open_film(source.path), target, settings.frame_stride)


def _over_time(target: Target) -> bool:
    """Whether samples are of windows, not of single frames."""
    return bool(target.clips) or bool(target.sequences and target.sequences.origin != "stills")


def _picture(path: str, target: Target) -> Iterator[PreparedSample]:
    if _over_time(target):
        raise SampleError("a single picture, and the model takes clips")
    with quiet_pillow():
        made = _points(Still(path, None), target) if target.sequences else _pixels(decoded(path, None, target), target)
    for number, (face, array) in enumerate(made, start=1):
        yield PreparedSample(0, 1, None, None, number, array, face)
    if not made:
        yield PreparedSample(0, 1, None, None)


def _pixels(image: Image.Image, target: Target) -> list[tuple[Face | None, np.ndarray]]:
    """Give the faces of a picture, as arrays of one frame."""
    try:
        pairs = cropped(image, target)
    except NoFaceError:
        return []
    return [(face, np.asarray(picture).reshape(target.shape)) for face, picture in pairs]


def _points(film: Film, target: Target) -> list[tuple[Face | None, np.ndarray]]:
    """Give the points of the faces of a picture, as arrays of one frame."""
    plan, how = plan_points(film, 0, 1, target), target.sequences
    assert how is not None
    assert target.crop is not None
    tracks = select_tracks(plan.tracks, target.crop.which)
    return [(tracks[row.facts[-1] - 1].last, row.stored_values(how)) for row in plan.rows]


def _each(image: Image.Image, target: Target) -> list[tuple[Face | None, np.ndarray]]:
    return _points(Recorded([image], np.zeros(1)), target) if target.sequences else _pixels(image, target)


def _frames(film: Film, target: Target, every: int) -> Iterator[PreparedSample]:
    numbers = FaceIdTracker()
    for frame, image in film.frames(range(0, len(film.times), every)):
        yield from _frame(frame, float(film.times[frame]), image, target, numbers)


def _frame(
    frame: int, time: float, image: Image.Image, target: Target, numbers: FaceIdTracker
) -> Iterator[PreparedSample]:
    made = _each(image, target)
    faces = [face for face, _ in made if face is not None]
    names = numbers.of(faces, time) if len(faces) == len(made) else [1] * len(made)
    for number, (face, array) in sorted(zip(names, made, strict=True), key=lambda pair: pair[0]):
        yield PreparedSample(frame, frame + 1, time, time, number, array, face)
    if not made:
        yield PreparedSample(frame, frame + 1, time, time)


def _live_samples(
    frames: Iterator[tuple[float, Image.Image]], target: Target, settings: PredictSettings
) -> Iterator[PreparedSample]:
    """Take a camera's frames as they come; windows are held in memory, one at a time."""
    numbers = FaceIdTracker()
    if not _over_time(target):
        for frame, (time, image) in enumerate(frames):
            if frame % settings.frame_stride == 0:
                yield from _frame(frame, time, image, target, numbers)
        return
    if settings.window is None:
        raise InputError("a camera has no end: say how long a window is", "Add --window SECONDS.")
    held: list[tuple[int, float, Image.Image]] = []
    begin = 0.0
    for frame, (time, image) in enumerate(frames):
        while held and time - begin >= settings.window:
            film = Recorded([image for _, _, image in held], np.array([time for _, time, _ in held]))
            for sample in _window(film, 0, len(held), target, numbers, DetectionCache()):
                yield replace(sample, frame=sample.frame + held[0][0], end=sample.end + held[0][0])
            begin += settings.window * (1 - settings.overlap)
            held = [one for one in held if one[1] >= begin]
        held.append((frame, time, image))


def _windows(film: Film, target: Target, settings: PredictSettings) -> Iterator[PreparedSample]:
    numbers, looks = FaceIdTracker(), DetectionCache()
    for first, last in spans(film.times, settings.window, settings.overlap):
        yield from _window(film, first, last, target, numbers, looks)


def _window(
    film: Film, first: int, last: int, target: Target, numbers: FaceIdTracker, looks: DetectionCache
) -> Iterator[PreparedSample]:
    """Take the samples of the frames ``first`` to ``last``; one without an array where there is no face."""
    plan: ClipPlan[Any] = (plan_points if target.sequences else plan_film)(film, first, last, target, looks)
    if plan.error:
        yield PreparedSample(first, last, float(film.times[first]), float(film.times[last - 1]))
        return
    tracks = select_tracks(plan.tracks, target.crop.which) if target.crop else []
    begins, ends = float(film.times[first]), float(film.times[last - 1])
    near = min(max(numbers.latest, begins), ends)
    at = film.times[plan.detection_frames]
    names = numbers.of([_seen(track, at, near) for track in tracks], ends, [track.last for track in tracks])
    for place, array in _arrays(plan, target):
        low, high, *_, face = plan.rows[place].facts
        time, until = float(film.times[low]), float(film.times[high - 1])
        found = _seen(tracks[face - 1], at, (time + until) / 2) if tracks else None
        yield PreparedSample(low, high, time, until, names[face - 1] if tracks else 1, array, found)


def _seen(track: Track, at: Times, time: float) -> Face:
    """Give a face at the look nearest to a time, of those at which it was seen."""
    return track.faces[min(track.faces, key=lambda look: abs(float(at[look]) - time))]


def _arrays(plan: ClipPlan[Any], target: Target) -> Iterator[tuple[int, np.ndarray]]:
    """Give each row's samples when their last frame is there; few are open at a time, however many there are."""
    if target.sequences:
        yield from ((place, row.stored_values(target.sequences)) for place, row in enumerate(plan.rows))
        return
    made: dict[int, np.ndarray] = {}
    missing: dict[int, int] = {}
    for place, image in crop_frames(plan, target):
        row, frame = divmod(place, target.frames)
        array = made.setdefault(row, np.empty(target.shape, np.uint8))
        array[frame] = np.asarray(image).reshape(target.shape[1:])
        missing[row] = missing.get(row, target.frames) - 1
        if not missing[row]:
            del missing[row]
            yield row, made.pop(row)


def _numbers(path: str, form: InputSpec, settings: PredictSettings) -> Iterator[PreparedSample]:
    how = form.sequences
    if how is None or how.origin != "files":
        raise SampleError("a file of numbers, and the model takes pictures or videos")
    times = np.arange(count_frames(path, how)) / RATE
    for first, last in spans(times, settings.window, settings.overlap):
        facts, values = read_numbers(path, first, last, how)
        array = np.frombuffer(values, "<f4").reshape(form.target.shape)
        for low, high, *_ in facts:
            yield PreparedSample(low, high, float(times[low]), float(times[high - 1]), 1, array)


T = TypeVar("T")


class _Walk(Generic[T]):
    """A thread that walks through an iterator and hands on what it gives, or raises."""

    def __init__(self, items: Iterator[T], count: int) -> None:
        self.items = items
        self.ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(count)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._walk, name="evenface-prepare", daemon=True)

    def _put(self, item: T | None, ending: BaseException | None = None) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.ready.put((item, ending), timeout=0.1)
                return

    def _walk(self) -> None:
        ending: BaseException = StopIteration()
        try:
            for item in self.items:
                self._put(item)
                if self.stopped.is_set():
                    break
            if isinstance(self.items, Generator):
                self.items.close()  # here, where it was walked through: it may hold a file or a camera
        except BaseException as error:  # for whoever takes the items to deal with
            ending = error
        self._put(None, ending)


def prefetch(items: Iterator[T], count: int) -> Iterator[T]:
    """Walk through an iterator in another thread."""
    walk = _Walk(items, count)
    walk.thread.start()
    try:
        while True:
            item, ending = walk.ready.get()
            if isinstance(ending, StopIteration):
                return
            if ending is not None:
                raise ending
            yield item  # type: ignore[misc]
    finally:
        walk.stopped.set()
        walk.thread.join()


AHEAD = 16
"""Samples that are prepared while the model is busy, at most."""


@dataclass(frozen=True)
class FaceResult:
    """What was said of a sample."""

    source: Source
    sample: PreparedSample
    probabilities: np.ndarray | None


@dataclass(frozen=True)
class Ended:
    """No more rows come of a source."""

    source: Source
    trouble: str = ""


def predicted(
    model: Model,
    sources: Sequence[Source],
    settings: PredictSettings,
    seen: Callable[[PreparedSample], None] | None = None,
) -> Iterator[FaceResult | Ended]:
    """Predict sources one after the other.

    Parameters
    ----------
    model : Model
        Who is asked.
    sources : sequence of Source
        Of what.
    settings : PredictSettings
        How.
    seen : callable, optional
        Called with each sample while it still has its array, in the thread that prepares them.

    Yields
    ------
    Row or Ended
        The rows of each source in order of time, and then its end. Batches reach over the ends of sources.

    Raises
    ------
    InputError
        If a setting is of no effect on the model, or something is not installed.

    Notes
    -----
    Samples are found and cropped in a thread of their own, while the model judges those before them. No more than
    :data:`AHEAD` wait for it, and two batches' rows for each other.
    """
    check_settings(settings, model.form)
    rows = _asked(model, prefetch(_samples(model, sources, settings, seen), AHEAD), settings)
    return smoothed(rows, settings.smooth) if settings.smooth else rows


def decided(model: Model, scores: np.ndarray, settings: PredictSettings) -> np.ndarray:
    """Turn what :meth:`Model.scores` gave into the probabilities that are written, (B, C): calibrated, corrected."""
    prior = None if settings.prior is None else parse_prior(settings.prior, model.classes)
    return model.calibrated(scores, prior)


def label_of(probabilities: np.ndarray, classes: Sequence[str], abstain: float | None = None) -> str:
    """Name the most probable class; nothing where the model shall abstain."""
    best = int(probabilities.argmax())
    return "" if abstain is not None and probabilities[best] < abstain else classes[best]


def _samples(
    model: Model, sources: Sequence[Source], settings: PredictSettings, seen: Callable[[PreparedSample], None] | None
) -> Iterator[tuple[Source, PreparedSample] | Ended]:
    for source in sources:
        try:
            for sample in prepared(source, model.form, settings):
                if seen is not None:
                    seen(sample)
                yield source, sample
        except SampleError as error:
            yield Ended(source, str(error))
        else:
            yield Ended(source)


def _asked(
    model: Model, items: Iterable[tuple[Source, PreparedSample] | Ended], settings: PredictSettings
) -> Iterator[FaceResult | Ended]:
    """Ask in batches; what needs no answer waits in its place."""
    waiting: list[tuple[Source, PreparedSample] | Ended] = []
    arrays: list[np.ndarray] = []
    for item in items:
        waiting.append(item)
        if not isinstance(item, Ended) and item[1].array is not None:
            arrays.append(item[1].array)
        if len(arrays) == settings.batch or len(waiting) >= 2 * settings.batch or _live(item):
            yield from _answered(model, waiting, arrays, settings)
            waiting, arrays = [], []
    yield from _answered(model, waiting, arrays, settings)


def _live(item: tuple[Source, PreparedSample] | Ended) -> bool:
    """Whether somebody waits for the answer."""
    return not isinstance(item, Ended) and item[0].kind == "camera"


def _answered(
    model: Model,
    waiting: list[tuple[Source, PreparedSample] | Ended],
    arrays: list[np.ndarray],
    settings: PredictSettings,
) -> Iterator[FaceResult | Ended]:
    answers = iter(decided(model, model.scores(np.stack(arrays)), settings)) if arrays else iter(())
    for item in waiting:
        if isinstance(item, Ended):
            yield item
        else:
            source, sample = item
            answer = next(answers) if sample.array is not None else None
            yield FaceResult(source, replace(sample, array=None), answer)


def smoothed(rows: Iterable[FaceResult | Ended], seconds: float) -> Iterator[FaceResult | Ended]:
    """Average the probabilities of each face over time."""
    reach = seconds / 2 + 1e-9
    waiting: deque[FaceResult] = deque()
    known: deque[FaceResult] = deque()
    for item in rows:
        if isinstance(item, Ended):
            yield from (_mean(row, known, reach) for row in waiting)
            waiting.clear()
            known.clear()
            yield item
            continue
        now = _middle(item)
        waiting.append(item)
        known.append(item)
        while waiting and _middle(waiting[0]) + reach < now:
            yield _mean(waiting.popleft(), known, reach)
        oldest = _middle(waiting[0])
        while known and _middle(known[0]) < oldest - 2 * reach:
            known.popleft()


def _middle(row: FaceResult) -> float:
    sample = row.sample
    return 0.0 if sample.time is None or sample.until is None else (sample.time + sample.until) / 2


def _mean(row: FaceResult, known: Iterable[FaceResult], reach: float) -> FaceResult:
    if row.probabilities is None or row.sample.time is None:
        return row
    near = [
        other.probabilities
        for other in known
        if other.probabilities is not None
        and other.sample.face == row.sample.face
        and abs(_middle(other) - _middle(row)) <= reach
    ]
    return replace(row, probabilities=np.mean(near, axis=0))


DIGITS = 4


def with_balance(model: Model, sources: Sequence[Source], settings: PredictSettings) -> PredictSettings:
    """Put an estimated balance in the place of the wish for one."""
    if settings.prior != ESTIMATE:
        return settings
    if any(source.kind == "camera" for source in sources):
        raise InputError("a camera's balance cannot be estimated before it is looked at", "Give the shares.")
    # Corrected for the balance that it has anyway, a model gives what an estimate begins with.
    own = settings.model_copy(update={"prior": said(model.classes, model.prior), "smooth": 0.0})
    found = []
    with progress("estimating the balance", len(sources)) as bar:
        for item in predicted(model, sources, own):
            if not isinstance(item, FaceResult):
                bar(1)
            elif item.probabilities is not None:
                found.append(item.probabilities)
    if not found:
        raise InputError("no face was found, so no balance can be estimated")
    estimated = estimate_prior(np.stack(found), model.prior)
    return settings.model_copy(update={"prior": said(model.classes, np.round(estimated.prior, DIGITS))})


def said(classes: Sequence[str], shares: np.ndarray) -> str:
    """Write a balance as :func:`evenface.evaluation.label_shift.parse_prior` reads it."""
    return ",".join(f"{name}={float(share)!r}" for name, share in zip(classes, shares, strict=True))
