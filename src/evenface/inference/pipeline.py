"""Prediction pipeline: prepare samples in a background thread, predict in batches, calibrate, smooth over time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.config.predict import AUTO, PredictSettings
from evenface.config.recipe import Baseline, FaceCrop
from evenface.evaluation.label_shift import estimate_prior, parse_prior
from evenface.inference.face_crops import clip_target, crop_input
from evenface.inference.input_spec import InputSpec, Kind, check_settings, finds_points, target_for
from evenface.inference.model import Model
from evenface.inference.sources import FramesInMemory, Source, find_sources
from evenface.preprocessing.baseline import Moments, Reference
from evenface.preprocessing.clips import ClipPlan, crop_frames, faces_in, plan_film
from evenface.preprocessing.detect_align import Detector, Face, square_of
from evenface.preprocessing.face_mesh import find_points, plan_points
from evenface.preprocessing.frame_sampling import Indices
from evenface.preprocessing.head_pose import head_pose
from evenface.preprocessing.image import decoded, picture_in_memory, quiet_pillow, rgb
from evenface.preprocessing.sequence_files import count_frames, read_numbers
from evenface.preprocessing.target import MESH_MARGIN, Target
from evenface.preprocessing.track import Track, choose_detection_frames, select_tracks
from evenface.preprocessing.track_faces import FOLLOWED, FaceIdTracker, FaceTracker
from evenface.preprocessing.video import RATE, Film, open_film
from evenface.utils.errors import InputError, SampleError
from evenface.utils.prefetch import prefetch
from evenface.utils.progress import progress

QUEUE_SIZE = 16
"""Maximum number of samples that are prepared ahead of the model."""
PRIOR_DECIMALS = 4
ESTIMATE = "estimate"
"""Value of ``prior`` for a class prior estimated from the inputs."""
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PreparedSample:
    """Input of a model: one face in an image, a frame or a window of frames; ``array`` is None without a face.

    Frames ``first_frame`` to ``end_frame`` (exclusive), seconds ``start_time`` to ``end_time``; ``pose`` is yaw, pitch
    and roll in degrees.
    """

    first_frame: int
    end_frame: int
    start_time: float | None
    end_time: float | None
    face_id: int | None = None
    array: np.ndarray | None = None
    detection: Face | None = None
    pose: tuple[float, float, float] | None = None

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """Bounding box of the face: left, top, right, bottom in pixels."""
        return self.detection.box if self.detection else None

    @property
    def score(self) -> float | None:
        """Confidence of the detector, 0 to 1."""
        return self.detection.score if self.detection else None


@dataclass(frozen=True)
class FaceResult:
    """Probabilities of a sample, or values of a regression, then of auxiliary targets; None without a face."""

    source: Source
    sample: PreparedSample
    outputs: np.ndarray | None


@dataclass(frozen=True)
class SourceEnd:
    """End of a source; ``error`` is the message of a source that could not be read."""

    source: Source
    error: str = ""


def predict_sources(
    model: Model,
    sources: Sequence[Source],
    settings: PredictSettings,
    on_sample: Callable[[PreparedSample], None] | None = None,
) -> Iterator[FaceResult | SourceEnd]:
    """Predict one source after another.

    Parameters
    ----------
    model : Model
        The model.
    sources : sequence of Source
        What to predict on.
    settings : PredictSettings
        How to predict.
    on_sample : callable, optional
        Called with each sample while it still has its array, in the thread that prepares them.

    Yields
    ------
    FaceResult or SourceEnd
        The results of each source in order of time, then its end. A batch can hold samples of several sources.

    Raises
    ------
    InputError
        If a setting does not apply to the model, or a required package is not installed.

    Notes
    -----
    Faces are detected and cropped in a background thread while the model processes earlier samples, except of a single
    image, for which there are none. At most :data:`QUEUE_SIZE` samples wait for the model.
    """
    check_settings(settings, model.input_spec)
    reference = load_reference(model.input_spec, settings)
    samples = _prepare_sources(model.input_spec, sources, settings, reference, on_sample)
    if [source.kind for source in sources] != ["picture"]:
        samples = prefetch(samples, QUEUE_SIZE)
    results = _predict_batches(model, samples, settings)
    return smooth_probabilities(results, settings.smooth) if settings.smooth else results


def final_probabilities(model: Model, scores: np.ndarray, settings: PredictSettings) -> np.ndarray:
    """Convert the result of :meth:`Model.scores` to calibrated probabilities under the class prior of the settings."""
    prior = None if settings.prior is None else parse_prior(settings.prior, model.classes)
    return model.calibrated(scores, prior)


def resolve_prior(model: Model, sources: Sequence[Source], settings: PredictSettings) -> PredictSettings:
    """Replace ``prior: estimate`` by the class prior estimated from the sources."""
    if settings.prior != ESTIMATE:
        return settings
    if any(source.frames is not None for source in sources):
        kind = "a camera" if sources[0].kind == "camera" else "frames that can be seen only once"
        raise InputError(f"the class prior cannot be estimated from {kind}", "Specify it: --prior a=0.5,b=0.5.")
    # Correcting for the prior that the model implies anyway gives the probabilities that the estimate starts from.
    implied = settings.model_copy(update={"prior": format_prior(model.classes, model.prior), "smooth": 0.0})
    probabilities = []
    with progress("estimating the class prior", len(sources)) as bar:
        for item in predict_sources(model, sources, implied):
            if not isinstance(item, FaceResult):
                bar(1)
            elif item.outputs is not None:
                probabilities.append(item.outputs[: len(model.classes)])
    if not probabilities:
        raise InputError("the class prior cannot be estimated: no face was found", "Specify it: --prior a=0.5,b=0.5.")
    estimated = estimate_prior(np.stack(probabilities), model.prior)
    return settings.model_copy(update={"prior": format_prior(model.classes, np.round(estimated.prior, PRIOR_DECIMALS))})


def format_prior(classes: Sequence[str], prior: np.ndarray) -> str:
    """Format a class prior so that :func:`evenface.evaluation.label_shift.parse_prior` reads it."""
    return ",".join(f"{name}={float(share)!r}" for name, share in zip(classes, prior, strict=True))


def _prepare_sources(
    spec: InputSpec,
    sources: Sequence[Source],
    settings: PredictSettings,
    reference: Reference | None,
    on_sample: Callable[[PreparedSample], None] | None,
) -> Iterator[tuple[Source, PreparedSample] | SourceEnd]:
    for source in sources:
        try:
            for sample in prepare_samples(source, spec, settings, reference):
                if on_sample is not None:
                    on_sample(sample)
                yield source, sample
        except SampleError as error:
            yield SourceEnd(source, str(error))
        else:
            yield SourceEnd(source)


def _predict_batches(
    model: Model, items: Iterable[tuple[Source, PreparedSample] | SourceEnd], settings: PredictSettings
) -> Iterator[FaceResult | SourceEnd]:
    """Predict in batches; samples without a face and ends of sources keep their position."""
    pending: list[tuple[Source, PreparedSample] | SourceEnd] = []
    inputs: list[tuple[np.ndarray, np.ndarray | None]] = []
    for item in items:
        pending.append(item)
        if not isinstance(item, SourceEnd) and item[1].array is not None:
            inputs.append((item[1].array, item[1].detection.mesh if item[1].detection else None))
        live = not isinstance(item, SourceEnd) and item[0].kind == "camera"
        if len(inputs) == settings.batch or len(pending) >= 2 * settings.batch or live:
            yield from _predict_batch(model, pending, inputs, settings)
            pending, inputs = [], []
    yield from _predict_batch(model, pending, inputs, settings)


def _predict_batch(
    model: Model,
    pending: list[tuple[Source, PreparedSample] | SourceEnd],
    inputs: list[tuple[np.ndarray, np.ndarray | None]],
    settings: PredictSettings,
) -> Iterator[FaceResult | SourceEnd]:
    """Predict the inputs, arrays with the meshes that are known, which are those of the pending samples with a face."""
    rows: Iterator[np.ndarray] = iter(())
    if inputs:
        arrays, meshes = zip(*inputs, strict=True)
        scores, values = np.split(model.outputs(np.stack(arrays), meshes), [len(model.classes)], axis=1)
        rows = iter(np.concatenate([final_probabilities(model, scores, settings), values], axis=1))
    for item in pending:
        if isinstance(item, SourceEnd):
            yield item
        else:
            source, sample = item
            outputs = next(rows) if sample.array is not None else None
            yield FaceResult(source, replace(sample, array=None), outputs)


# ---- smoothing over time


def smooth_probabilities(results: Iterable[FaceResult | SourceEnd], seconds: float) -> Iterator[FaceResult | SourceEnd]:
    """Average the probabilities of each face over a centred window of ``seconds``."""
    radius = seconds / 2 + 1e-9
    pending: deque[FaceResult] = deque()
    recent: deque[FaceResult] = deque()
    for item in results:
        if isinstance(item, SourceEnd):
            yield from (_window_mean(result, recent, radius) for result in pending)
            pending.clear()
            recent.clear()
            yield item
            continue
        now = _mid_time(item)
        pending.append(item)
        recent.append(item)
        while pending and _mid_time(pending[0]) + radius < now:
            yield _window_mean(pending.popleft(), recent, radius)
        oldest = _mid_time(pending[0])
        while recent and _mid_time(recent[0]) < oldest - 2 * radius:
            recent.popleft()


def _mid_time(result: FaceResult) -> float:
    sample = result.sample
    return 0.0 if sample.start_time is None or sample.end_time is None else (sample.start_time + sample.end_time) / 2


def _window_mean(result: FaceResult, recent: Iterable[FaceResult], radius: float) -> FaceResult:
    if result.outputs is None or result.sample.start_time is None:
        return result
    neighbours = [
        other.outputs
        for other in recent
        if other.outputs is not None
        and other.sample.face_id == result.sample.face_id
        and abs(_mid_time(other) - _mid_time(result)) <= radius
    ]
    return replace(result, outputs=np.mean(neighbours, axis=0))


# ---- preparation of samples


def prepare_samples(
    source: Source, spec: InputSpec, settings: PredictSettings, reference: Reference | None = None
) -> Iterator[PreparedSample]:
    """Prepare the samples of a source, in order of time, relative to ``reference`` or to a baseline of their own."""
    samples = _samples(source, spec, settings)
    if spec.baseline is None:
        return samples
    if reference is None and source.kind == "picture":
        raise SampleError("a single image has no baseline of its own: give one of the same person, such as neutral.jpg")
    return _relative(samples, spec.baseline, reference)


def _relative(
    samples: Iterator[PreparedSample], baseline: Baseline, reference: Reference | None
) -> Iterator[PreparedSample]:
    """Make samples relative to a baseline, or to the mean of each face's frames up to then."""
    limit = baseline.frames if baseline.kind == "first-frames" else None
    seen: dict[int | None, Moments] = {}
    for sample in samples:
        if sample.array is None:
            yield sample
            continue
        if reference is None:
            own = seen.setdefault(sample.face_id, Moments(scale=baseline.scale, limit=limit)).add(sample.array)
        yield replace(sample, array=(reference or own.reference()).relative(sample.array))


def settings_facts(spec: InputSpec, settings: PredictSettings) -> dict[str, Any]:
    """Return every setting that a prediction depends on; of a person baseline that is given, also its content."""
    facts = settings.facts
    given = facts.pop("person_baseline")
    if given in (None, AUTO):
        return facts
    sources, _ = _baseline_sources(spec, given)
    return {**facts, "person_baseline": [given, *(source.content_digest() for source in sources)]}


def load_reference(spec: InputSpec, settings: PredictSettings) -> Reference | None:
    """Return the baseline of the person whose file or folder the settings name; None if they name none.

    Raises
    ------
    InputError
        If there is no usable sample.
    """
    given = settings.person_baseline
    if spec.baseline is None or given in (None, AUTO):
        return None
    sources, skipped = _baseline_sources(spec, str(given))
    moments = Moments(scale=spec.baseline.scale)
    plain = settings.replace(window=None, overlap=0.0, tracking=False, pose=False)
    reasons = list(skipped)
    for source in sources:
        try:
            for sample in _samples(source, _frame_spec(spec, source), plain):
                if sample.array is not None and sample.face_id == 1:
                    moments.add(sample.array)
        except SampleError as error:
            reasons.append(f"{source.path}: {error}")
    if not moments.count:
        raise InputError(
            f"the person baseline {given} has no usable sample",
            "\n  ".join(reasons[:5]) or "Give an image or a video with one face, or a feature file.",
        )
    return moments.reference()


def _baseline_sources(spec: InputSpec, given: str) -> tuple[list[Source], list[str]]:
    files = spec.sequences is not None and spec.sequences.origin == "files"
    return find_sources([given], "numbers" if files else "images")


def _frame_spec(spec: InputSpec, source: Source) -> InputSpec:
    """Return the specification of the single frames that a baseline is the mean of; of a feature file, of all."""
    if source.kind == "numbers":
        return spec
    sequences = spec.sequences and spec.sequences.replace(origin="stills", frames=1)
    kind: Kind = "sequences" if sequences else "stills"
    return replace(spec, kind=kind, clips=None, frames=1, sequences=sequences, baseline=None)


def _samples(source: Source, spec: InputSpec, settings: PredictSettings) -> Iterator[PreparedSample]:
    """Prepare the samples of a source, in order of time, as a store holds them."""
    target = target_for(settings, spec, files=source.kind == "numbers")
    if source.kind == "numbers":
        yield from _file_samples(source.path, spec, settings)
    elif spec.sequences and not finds_points(spec):
        raise SampleError(f"the model takes files of {spec.sequences.points}")
    elif source.kind == "picture":
        yield from _image_samples(source, target, spec, settings)
    elif source.frames is not None:
        yield from _camera_samples(source.frames(), target, spec, settings)
    elif _takes_windows(target):
        yield from _window_samples(open_film(source.path), target, spec, settings)
    else:
        yield from _frame_samples(open_film(source.path), target, spec, settings)


def _takes_windows(target: Target) -> bool:
    """Return whether samples are windows of frames, not single frames."""
    return bool(target.clips) or bool(target.sequences and target.sequences.origin != "stills")


def _image_samples(
    source: Source, target: Target, spec: InputSpec, settings: PredictSettings
) -> Iterator[PreparedSample]:
    if _takes_windows(target):
        raise SampleError("a single image; the model takes clips")
    with quiet_pillow():
        image = decoded(source.path, None, target) if source.image is None else picture_in_memory(source.image)
        faces = _faces(image, target, spec, settings)
    for face_id, (face, array) in enumerate(faces, start=1):
        yield PreparedSample(0, 1, None, None, face_id, array, face, _pose(image, face, settings))
    if not faces:
        yield PreparedSample(0, 1, None, None)


def _faces(
    image: Image.Image, target: Target, spec: InputSpec, settings: PredictSettings, find: Detector | None = None
) -> list[tuple[Face | None, np.ndarray]]:
    """Return the faces of an image or frame as arrays of one frame."""
    if target.sequences:
        return _landmarks(FramesInMemory([rgb(image)], np.zeros(1)), target)
    return crop_input(image, target, spec, settings, find)


def _pose(image: Image.Image, face: Face | None, settings: PredictSettings) -> tuple[float, float, float] | None:
    """Return the head pose of a detected face, where it is wanted; of a followed one by the mesh that it has."""
    if face is None or not settings.pose:
        return None
    points = find_points(rgb(image), square_of(face, MESH_MARGIN)) if face.mesh is None else face.mesh
    return None if points is None else head_pose(points)


def _landmarks(film: Film, target: Target) -> list[tuple[Face | None, np.ndarray]]:
    """Detect the landmarks of the faces of an image, as arrays of one frame."""
    plan, sequences = plan_points(film, 0, 1, target), target.sequences
    assert sequences is not None
    assert target.crop is not None
    tracks = select_tracks(plan.tracks, target.crop.which)
    return [(tracks[row.facts[-1] - 1].last, row.stored_values(sequences)) for row in plan.rows]


def _frame_samples(film: Film, target: Target, spec: InputSpec, settings: PredictSettings) -> Iterator[PreparedSample]:
    frames = film.frames(range(0, len(film.times), settings.frame_stride))
    timed = ((frame, float(film.times[frame]), image) for frame, image in frames)
    yield from _tracked_samples(timed, target, spec, settings.replace(tracking=settings.tracking and film.timed))


def _tracked_samples(
    frames: Iterator[tuple[int, float, Image.Image]], target: Target, spec: InputSpec, settings: PredictSettings
) -> Iterator[PreparedSample]:
    """Prepare the faces of each frame, with ids that stay the same; frames have a number and a time."""
    tracker, crop = FaceIdTracker(), target.crop
    follow = FaceTracker(crop.landmarks) if settings.tracking and crop and crop.detector == FOLLOWED else None
    for frame, time, image in frames:
        pairs = _faces(image, target, spec, settings, follow.at(time) if follow else None)
        for sample in _faces_of_frame(frame, time, pairs, tracker):
            yield replace(sample, pose=_pose(image, sample.detection, settings))


def _faces_of_frame(
    frame: int, time: float, pairs: list[tuple[Face | None, np.ndarray]], tracker: FaceIdTracker
) -> Iterator[PreparedSample]:
    faces = [face for face, _ in pairs if face is not None]
    ids = tracker.assign(faces, time) if len(faces) == len(pairs) else [1] * len(pairs)
    for face_id, (face, array) in sorted(zip(ids, pairs, strict=True), key=lambda item: item[0]):
        yield PreparedSample(frame, frame + 1, time, time, face_id, array, face)
    if not pairs:
        yield PreparedSample(frame, frame + 1, time, time)


def _camera_samples(
    frames: Iterator[tuple[float, Image.Image]], target: Target, spec: InputSpec, settings: PredictSettings
) -> Iterator[PreparedSample]:
    """Prepare frames as they arrive; one window at a time is held in memory."""
    if not _takes_windows(target):
        numbered = ((frame, time, image) for frame, (time, image) in enumerate(frames))
        yield from _tracked_samples(
            (item for item in numbered if item[0] % settings.frame_stride == 0), target, spec, settings
        )
        return
    if settings.window is None:
        raise InputError(
            "a camera or an iterator of frames needs a window length for clip and sequence models",
            "Add --window SECONDS.",
        )
    tracker = FaceIdTracker()
    held: list[tuple[int, float, Image.Image]] = []
    start = 0.0
    for frame, (time, image) in enumerate(frames):
        while held and time - start >= settings.window:
            film = FramesInMemory([image for _, _, image in held], np.array([time for _, time, _ in held]))
            offset = held[0][0]
            chosen = clip_target(held[len(held) // 2][2], target, spec, settings)
            for sample in _window(film, 0, len(held), chosen, tracker, DetectionCache()):
                first, end = sample.first_frame + offset, sample.end_frame + offset
                yield replace(sample, first_frame=first, end_frame=end)
            start += settings.window * (1 - settings.overlap)
            held = [item for item in held if item[1] >= start]
        held.append((frame, time, image))


def _window_samples(film: Film, target: Target, spec: InputSpec, settings: PredictSettings) -> Iterator[PreparedSample]:
    tracker, cache = FaceIdTracker(), DetectionCache()
    if target.crop and not spec.crop and settings.faces is None:
        ((_, image),) = film.frames([len(film.times) // 2])
        target = clip_target(image, target, spec, settings)
    for first, end in split_windows(film.times, settings.window, settings.overlap):
        yield from _window(film, first, end, target, tracker, cache)


def _window(
    film: Film, first: int, end: int, target: Target, tracker: FaceIdTracker, cache: "DetectionCache"
) -> Iterator[PreparedSample]:
    """Prepare the samples of the frames ``first`` to ``end``; one without an array if there is no face."""
    plan: ClipPlan[Any] = (plan_points if target.sequences else plan_film)(film, first, end, target, cache)
    start_time, end_time = float(film.times[first]), float(film.times[end - 1])
    if plan.error:
        yield PreparedSample(first, end, start_time, end_time)
        return
    tracks = select_tracks(plan.tracks, target.crop.which) if target.crop else []
    nearest = min(max(tracker.latest, start_time), end_time)
    times = film.times[plan.detection_frames]
    ids = tracker.assign([_face_at(track, times, nearest) for track in tracks], end_time, [t.last for t in tracks])
    for index, array in _window_arrays(plan, target):
        low, high, *_, face = plan.rows[index].facts
        start, stop = float(film.times[low]), float(film.times[high - 1])
        detection = _face_at(tracks[face - 1], times, (start + stop) / 2) if tracks else None
        yield PreparedSample(low, high, start, stop, ids[face - 1] if tracks else 1, array, detection)


def _face_at(track: Track, times: Times, time: float) -> Face:
    """Return the detection of a track that is nearest to a time."""
    return track.faces[min(track.faces, key=lambda look: abs(float(times[look]) - time))]


def _window_arrays(plan: ClipPlan[Any], target: Target) -> Iterator[tuple[int, np.ndarray]]:
    """Iterate over the arrays of each row as soon as its last frame is cropped, so that few are held in memory."""
    if target.sequences:
        yield from ((index, row.stored_values(target.sequences)) for index, row in enumerate(plan.rows))
        return
    arrays: dict[int, np.ndarray] = {}
    missing: dict[int, int] = {}
    for index, image in crop_frames(plan, target):
        row, frame = divmod(index, target.frames)
        array = arrays.setdefault(row, np.empty(target.shape, np.uint8))
        array[frame] = np.asarray(image).reshape(target.shape[1:])
        missing[row] = missing.get(row, target.frames) - 1
        if not missing[row]:
            del missing[row]
            yield row, arrays.pop(row)


def _file_samples(path: str, spec: InputSpec, settings: PredictSettings) -> Iterator[PreparedSample]:
    sequences = spec.sequences
    if sequences is None or sequences.origin != "files":
        raise SampleError("a file of landmarks or features; the model takes images or videos")
    times = np.arange(count_frames(path, sequences)) / RATE
    for first, end in split_windows(times, settings.window, settings.overlap):
        facts, values = read_numbers(path, first, end, sequences)
        array = np.frombuffer(values, "<f4").reshape(spec.target.shape)
        for low, high, *_ in facts:
            yield PreparedSample(low, high, float(times[low]), float(times[high - 1]), 1, array)


def split_windows(times: Times, window: float | None, overlap: float) -> list[tuple[int, int]]:
    """Split a video into windows of frames.

    Examples
    --------
    >>> split_windows(np.arange(10) / 2, 2.0, 0.5)
    [(0, 4), (2, 6), (4, 8), (6, 10)]
    >>> split_windows(np.arange(10) / 2, 2.0, 0.0)
    [(0, 4), (4, 8), (6, 10)]
    """
    count = len(times)
    if window is None or times[-1] < window:
        return [(0, count)]
    windows: list[tuple[int, int]] = []
    slack = 1e-6
    for number in range(int(times[-1] / (window * (1 - overlap))) + 1):
        start = number * window * (1 - overlap)
        first, end = (int(np.searchsorted(times, time - slack)) for time in (start, start + window))
        if end >= count and windows and windows[-1][1] == count:
            break
        if end >= count:
            length = count - int(np.searchsorted(times, start - slack))
            usual = windows[-1][1] - windows[-1][0] if windows else length
            first, end = max(0, count - max(usual, 1)), count
        if end > first and (not windows or (first, end) != windows[-1]):
            windows.append((first, end))
    return windows


class DetectionCache:
    """Detected faces by frame, reused by overlapping windows."""

    def __init__(self) -> None:
        self._faces: dict[int, list[Face]] = {}

    def __call__(
        self, film: Film, first: int, last: int, taken: Indices, crop: FaceCrop
    ) -> tuple[Indices, list[list[Face]]]:
        """Detect as :func:`~evenface.preprocessing.clips.detect_faces` does, on frames that are not in the cache."""
        frames = choose_detection_frames(film.times[first:last], taken, timed=film.timed)
        wanted = (first + frames).tolist()
        self._faces = {frame: faces for frame, faces in self._faces.items() if frame >= first}
        for frame, image in film.frames([frame for frame in wanted if frame not in self._faces]):
            self._faces[frame] = faces_in(image, crop)
        return frames, [self._faces[frame] for frame in wanted]
