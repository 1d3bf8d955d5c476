"""Ids of faces that persist through a video, and faces followed from frame to frame without a search of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.preprocessing.blazeface import MESH_VIEW, detect_mesh
from evenface.preprocessing.detect_align import (
    SAME,
    BlazeFace,
    Detector,
    Face,
    Square,
    load_detector,
    square_of,
    with_dlib_eyes,
)
from evenface.preprocessing.face_mesh import REGION_MARGIN
from evenface.preprocessing.track import OVERLAP, match_faces

FOLLOWED = "mediapipe"
"""Detector whose faces can be followed."""
SEARCH = 0.2
"""Seconds after which the whole frame is searched for faces that have come."""
RENEWED = 1.0
"""Seconds after which a search detects a followed face again."""
MAX_GAP = 5.0
"""Seconds without detection after which a face gets a new id."""


class FaceIdTracker:
    """Assign ids to detected faces that stay the same from frame to frame."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, Face]] = {}
        self._assigned = 0

    @property
    def latest(self) -> float:
        """Time of the last detection; minus infinity before the first."""
        return max((time for time, _ in self._last.values()), default=-math.inf)

    def assign(self, faces: Sequence[Face], time: float, lasts: Sequence[Face] | None = None) -> list[int]:
        """Return the id of each face at a time; ``lasts`` are the faces to compare the next ones with."""
        self._last = {face_id: item for face_id, item in self._last.items() if time - item[0] <= MAX_GAP}
        known = list(self._last)
        ids = []
        for index in match_faces([self._last[face_id][1] for face_id in known], faces):
            if index is None:
                self._assigned += 1
            ids.append(self._assigned if index is None else known[index])
        for face_id, face in zip(ids, lasts or faces, strict=True):
            self._last[face_id] = (time, face)
        return ids


Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Followed:
    """A face in the last frame, and as it was last detected: when, where, and with its mesh there, if it has one."""

    face: Face
    time: float
    detected: Face

    def moved(self, image: Image.Image) -> "_Followed | None":
        """Move the face to where its mesh is in the next frame; None where it is lost."""
        before = self.detected.mesh
        after = None if before is None else _mesh(image, self.face)
        if before is None or after is None:
            return None
        face = _moved_with(self.detected, before, after)
        return replace(self, face=face) if face.overlap(self.face) >= OVERLAP else None


def _mesh(image: Image.Image, face: Face) -> Points | None:
    """Detect the mesh of a face in and around its box, in pixels (468, 3); None where no face is present."""
    square = square_of(face, REGION_MARGIN)
    points = detect_mesh(_view(image, square))
    if points is None:
        return None
    (x, y), z = square.to_image(*points[:, :2].T.astype(float)), points[:, 2] * square.side
    return np.stack([x, y, z], axis=-1)


def _view(image: Image.Image, square: Square) -> Image.Image:
    """Return the nearest pixels of a square, black outside: as good for the mesh as a crop that does not alias."""
    step = square.side / MESH_VIEW
    cos, sin = step * math.cos(square.angle), step * math.sin(square.angle)
    x, y = square.to_image(0, 0)
    matrix = cos, -sin, x, sin, cos, y
    return image.transform((MESH_VIEW, MESH_VIEW), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def _moved_with(face: Face, before: Points, after: Points) -> Face:
    """Shift, scale and turn a face in the image as is best, by least squares, for the points of its mesh."""
    start, end = (points[:, 0] + 1j * points[:, 1] for points in (before, after))
    middle, moved = complex(start.mean()), complex(end.mean())
    spread = start - middle
    factor = complex(np.vdot(spread, end) / np.vdot(spread, spread))

    def place(x: float, y: float) -> complex:
        return moved + (complex(x, y) - middle) * factor

    left, top, right, bottom = face.box
    centre, half = place(*face.centre), complex(right - left, bottom - top) * abs(factor) / 2
    first, last, (eye, other) = centre - half, centre + half, (place(*point) for point in face.eyes)
    box = first.real, first.imag, last.real, last.imag
    return Face(box, face.score, ((eye.real, eye.imag), (other.real, other.imag)), after)


class FaceTracker:
    """Find the faces of consecutive frames of one video.

    Parameters
    ----------
    landmarks : {"detector", "dlib"}, default="detector"
        Landmarks that the eyes are taken from.

    Notes
    -----
    A detected face in which the face mesh finds a face is followed: in the next frame, the mesh is detected in the
    square around its last place, and box and eyes are those of its detection, shifted, scaled and turned as the points
    are. A face is lost where the mesh finds none. The whole frame is searched where no face is known, where one is lost
    or cannot be followed, and every :data:`SEARCH` seconds. Searches detect faces that are not followed, and after
    :data:`RENEWED` seconds followed ones too. Frames further apart than :data:`SEARCH` are searched alone.

    References
    ----------
    Kartynnik et al., *Real-time facial surface geometry from monocular video on mobile GPUs*, 2019, arXiv:1907.06724.
    """

    def __init__(self, landmarks: str = "detector") -> None:
        self._landmarks = landmarks
        self._followed: list[_Followed] = []
        self._time = self._searched = -math.inf

    def at(self, time: float) -> Detector:
        """Return the detector for the frame at a time in seconds."""
        return partial(self._find, time)

    def _find(self, time: float, image: Image.Image) -> list[Face]:
        """Return the faces of a frame, the largest first."""
        last = self._followed if 0 <= time - self._time < SEARCH else []
        followed = _distinct([moved for one in last if (moved := one.moved(image))])
        if not followed or len(followed) < len(last) or not 0 <= time - self._searched < SEARCH:
            followed, self._searched = _search(image, time, followed), time
        self._followed, self._time = followed, time
        faces = [one.face for one in followed]
        if self._landmarks == "dlib":
            faces = with_dlib_eyes(image, faces)
        return sorted(faces, key=lambda face: (-face.side, -face.score, face.box))


def _search(image: Image.Image, time: float, followed: list[_Followed]) -> list[_Followed]:
    """Search a frame; return its faces, among them those that are followed."""
    detector = load_detector(FOLLOWED)
    assert isinstance(detector, BlazeFace)
    known = [one.face for one in followed if time - one.time < RENEWED]
    meshed = [replace(face, mesh=_mesh(image, face)) for face in detector.beside(image, known)]
    new = [_Followed(face, time, face) for face in meshed]
    sure, unsure = ([one for one in new if (one.face.mesh is None) == absent] for absent in (False, True))
    return _distinct([*sure, *followed, *unsure])


def _distinct(followed: list[_Followed]) -> list[_Followed]:
    """Leave out faces that overlap an earlier one."""
    kept: list[_Followed] = []
    for one in followed:
        if all(one.face.overlap(other.face) <= SAME for other in kept):
            kept.append(one)
    return kept
