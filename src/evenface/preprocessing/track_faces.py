"""Ids of faces that persist through a video, and faces followed from frame to frame without a search of each."""

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from evenface.preprocessing.detect_align import SAME, Detector, Face, find_faces, refine, square_of, with_dlib_eyes
from evenface.preprocessing.track import OVERLAP, match_faces

FOLLOWED = "mediapipe"
"""Detector whose faces can be followed: its second stage alone is run at the last place of each face."""
SEARCH = 0.2
"""Seconds after which the whole frame is searched for faces that have come."""
KEPT = 1.0
"""Seconds for which a face is followed that the searches miss."""


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


@dataclass(frozen=True)
class _Followed:
    """A face, when a search last found it, and what maps the result of following it to that of detecting it."""

    face: Face
    found: float
    shift: complex = 0j
    turn: complex = 1 + 0j

    def moved(self, image: Image.Image) -> "_Followed | None":
        """Detect the face at its last place in the next frame; None where it is lost."""
        face = refine(image, self.face)
        if face is None or face.overlap(self.face) < OVERLAP:
            return None
        return _Followed(self._mapped(face), self.found, self.shift, self.turn)

    def _mapped(self, face: Face) -> Face:
        """Shift, scale and turn a face, relative to its side and angle."""
        centre, unit = _frame(face)
        place, half = centre + self.shift * unit, abs(self.turn) * face.side / 2
        right, left = (place + (complex(*eye) - centre) * self.turn for eye in face.eyes)
        box = place.real - half, place.imag - half, place.real + half, place.imag + half
        return Face(box, face.score, ((right.real, right.imag), (left.real, left.imag)))


def _frame(face: Face) -> tuple[complex, complex]:
    """Return the centre of a face, and its side and angle, as complex numbers."""
    square = square_of(face, 0)
    return complex(*square.centre), cmath.rect(square.side, square.angle)


def _start(image: Image.Image, face: Face, time: float) -> _Followed:
    """Follow a detected face; had it not moved, the next frame would give exactly the same box and eyes."""
    again = refine(image, face)
    if again is None:
        return _Followed(face, time)
    (centre, unit), (centre_again, unit_again) = _frame(face), _frame(again)
    return _Followed(face, time, (centre - centre_again) / unit_again, unit / unit_again)


class FaceTracker:
    """Find the faces of consecutive frames of one video.

    Parameters
    ----------
    landmarks : {"detector", "dlib"}, default="detector"
        Landmarks that the eyes are taken from.

    Notes
    -----
    The detector proposes faces in the whole frame and detects each again, upright and enlarged. In the next frame, a
    face is only detected again, in the square of its last place. Box and eyes depend a little on that square. So each
    search measures the difference for each face, by detecting it again in the same frame, and the frames up to the next
    search are corrected by it. The whole frame is searched where no face is followed, where one is lost, and every
    :data:`SEARCH` seconds. A face that searches miss is followed for :data:`KEPT` seconds.
    """

    def __init__(self, landmarks: str = "detector") -> None:
        self._landmarks = landmarks
        self._followed: list[_Followed] = []
        self._searched = -math.inf

    def at(self, time: float) -> Detector:
        """Return the detector for the frame at a time in seconds."""
        return partial(self._find, time)

    def _find(self, time: float, image: Image.Image) -> list[Face]:
        """Return the faces of a frame, the largest first."""
        followed = _distinct([moved for one in self._followed if (moved := one.moved(image))])
        lost = len(followed) < len(self._followed)
        if lost or not followed or not 0 <= time - self._searched < SEARCH:
            found = [_start(image, face, time) for face in find_faces(image, FOLLOWED)]
            followed = _distinct([*found, *(one for one in followed if time - one.found < KEPT)])
            self._searched = time
        self._followed = followed
        faces = [one.face for one in followed]
        if self._landmarks == "dlib":
            faces = with_dlib_eyes(image, faces)
        return sorted(faces, key=lambda face: (-face.side, -face.score, face.box))


def _distinct(followed: list[_Followed]) -> list[_Followed]:
    """Leave out faces that overlap an earlier one."""
    kept: list[_Followed] = []
    for one in followed:
        if all(one.face.overlap(other.face) <= SAME for other in kept):
            kept.append(one)
    return kept
