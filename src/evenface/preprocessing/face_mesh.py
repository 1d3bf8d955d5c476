"""MediaPipe's 468 points of a face, in pictures and on the frames of clips."""

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.preprocessing.clips import ClipPlan, Find, look, range_of
from evenface.preprocessing.detect import EXTRA, Square, cut
from evenface.preprocessing.frame_sampling import Array, Indices, at, held, needed, places
from evenface.preprocessing.image import quiet_pillow, read_picture
from evenface.preprocessing.sequence_files import check_missing_face
from evenface.preprocessing.target import MESH_MARGIN, SequenceSpec, Target
from evenface.preprocessing.track import Motion, follow, kept, smooth
from evenface.preprocessing.video import Film, open_film
from evenface.utils.errors import InputError, SampleError

VIEW = 192
"""Side of that square in pixels, as many as the model of the mesh sees."""
POINTS = 468


class Still:
    """An image, or a row of a table of images, as a film of one frame."""

    def __init__(self, path: str, start: int | None) -> None:
        self.path, self.start = path, start
        self.times, self.timed = np.zeros(1), False

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode it, if it is wanted."""
        for number in wanted:
            with quiet_pillow():
                yield number, read_picture(self.path, self.start)


@dataclass(frozen=True)
class MeshRow:
    """One sample: a face on the frames that it is made of."""

    frames: Indices
    where: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]
    points: Array
    sizes: Array
    facts: list[int]

    def made(self, spec: SequenceSpec) -> Array:
        """Give the sample as it is stored, (T, P, D)."""
        points, sizes = held(self.points, self.seen), held(self.sizes, self.seen)
        if spec.normalise == "none" and not spec.blendshapes:
            return at(spec.transform(points / sizes[:, None, [0, 1, 0]]), self.where)
        return at(spec.transform(points / sizes[:, None, :1]), self.where)


def read_mesh(path: str, start: int | None, end: int | None, target: Target) -> tuple[list[list[int]], bytes]:
    """Find the points of a clip or picture."""
    plan, spec = plan_mesh(path, start, end, target), target.sequences
    assert spec is not None
    if plan.trouble:
        raise SampleError(plan.trouble)
    return [row.facts for row in plan.rows], b"".join(row.made(spec).astype("<f4").tobytes() for row in plan.rows)


def plan_mesh(path: str, start: int | None, end: int | None, target: Target) -> ClipPlan[MeshRow]:
    """Follow the faces of a clip and find their points on the frames that are taken.

    Notes
    -----
    Each frame is looked at for itself (``static_image_mode``), in the square about the face that is followed, turned
    upright: so points do not depend on which frames were seen before, on the number of processes, or on whom
    MediaPipe would have picked among several, and small faces are found as well as large ones.
    """
    assert target.sequences is not None
    if target.sequences.origin == "stills":
        return plan_points(Still(path, start), 0, 1, target)
    film = open_film(path)
    return plan_points(film, *range_of(start, end, len(film.times)), target)


def plan_points(film: Film, first: int, last: int, target: Target, find: Find = look) -> ClipPlan[MeshRow]:
    """Follow the faces in the frames ``first`` to ``last`` of a film and find their points.

    Parameters are those of :func:`~evenface.preprocessing.clips.plan_film`, errors those of :func:`plan_mesh`.
    """
    crop, spec = target.crop, target.sequences
    assert crop is not None
    assert spec is not None
    count = last - first
    sampled = np.arange(count)
    if spec.missing_face != "skip":
        sampled = needed(places(count, spec.frames, spec.sampling, spec.padding))
    looks, found = find(film, first, last, sampled, crop)
    tracks = follow(found)
    times = film.times[first:last]
    rows, troubles = [], []
    motions = [smooth(track, times[looks], MESH_MARGIN) for track in kept(tracks, crop.which)]
    for number, motion in enumerate(motions, start=1):
        try:
            rows.append(_row(film, motion, times, first, spec, number))
        except SampleError as error:
            troubles.append(str(error))
    trouble = "" if rows else troubles[0] if troubles else "no face found"
    return ClipPlan(film, rows, first + looks, found, tracks, trouble)


def _row(
    film: Film, motion: Motion, times: npt.NDArray[np.float64], first: int, spec: SequenceSpec, face: int
) -> MeshRow:
    """Find the points of one face, or raise SampleError if it was lost too often."""
    count, there = len(times), motion.sees(times)
    present = np.flatnonzero(there) if spec.missing_face == "skip" else np.arange(count)
    absent = count - len(present)
    if spec.missing_face == "skip":
        check_missing_face(absent, count, spec)
    where = places(len(present), spec.frames, spec.sampling, spec.padding)
    taken = needed(where)
    frames = present[taken]
    points, sizes = np.zeros((len(frames), POINTS, 3), np.float32), np.ones((len(frames), 2), np.float32)
    seen = np.zeros(len(frames), bool)
    for i, (frame, image) in enumerate(film.frames((first + frames).tolist())):
        sizes[i] = image.size
        if there[frame - first]:
            got = find_points(image, motion.at(float(times[frame - first])))
            if got is not None:
                points[i], seen[i] = got, True
    if not seen.any():
        raise SampleError("no face found")
    lost = int((~seen).sum())
    check_missing_face(lost, len(frames), spec)
    facts = [first, first + count, count, lost + absent, max(0, spec.frames - len(present)), face]
    return MeshRow(first + frames, np.interp(where, taken, np.arange(len(taken))), seen, points, sizes, facts)


@lru_cache(maxsize=1)
def _model() -> Any:
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh

        return FaceMesh(static_image_mode=True, max_num_faces=2)
    except (ImportError, OSError) as error:
        raise InputError(f"MediaPipe's face mesh cannot be loaded ({error})", f"Install it: {EXTRA}") from error


def find_points(image: Image.Image, square: Square) -> Array | None:
    """Find the points of the face in a square of a picture.

    Parameters
    ----------
    image : Image
        RGB.
    square : Square
        Where the face is, upright, with room about it.

    Returns
    -------
    ndarray of shape (468, 3), float32, or None
        x and y in pixels of the picture, from its upper left corner; z in the same unit, about 0 at the middle of the
        head, smaller where nearer. Of several faces in the square, the one nearest to its middle; None of none.

    References
    ----------
    Kartynnik et al., *Real-time facial surface geometry from monocular video on mobile GPUs*, 2019, arXiv:1907.06724.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated names inside the package
        found = _model().process(np.asarray(cut(image, square, VIEW))).multi_face_landmarks
    if not found:
        return None
    faces = np.array([[(point.x, point.y, point.z) for point in face.landmark] for face in found])
    middles = faces[:, :, :2].mean(axis=1)
    x, y, z = faces[int(np.argmin(np.hypot(*(middles - 0.5).T)))].T
    right, down = (x - 0.5) * square.side, (y - 0.5) * square.side
    cos, sin = math.cos(square.angle), math.sin(square.angle)
    across, along = square.centre[0] + cos * right - sin * down, square.centre[1] + sin * right + cos * down
    return np.stack([across, along, z * square.side], axis=-1).astype(np.float32)
