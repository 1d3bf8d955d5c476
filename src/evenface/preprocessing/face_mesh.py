"""Landmarks of MediaPipe's face mesh in images and in the frames of clips."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.preprocessing.blazeface import MESH_VIEW, SHORT_RANGE, detect_mesh
from evenface.preprocessing.clips import ClipPlan, DetectFaces, detect_faces, frame_range
from evenface.preprocessing.detect_align import Square, cut, detect, square_of
from evenface.preprocessing.frame_sampling import (
    Array,
    Indices,
    hold_last_face,
    interpolate,
    required_frames,
    sample_positions,
)
from evenface.preprocessing.image import quiet_pillow, read_picture
from evenface.preprocessing.sequence_files import check_missing_face
from evenface.preprocessing.target import MESH_MARGIN, SequenceSpec, Target
from evenface.preprocessing.track import Motion, link_faces, select_tracks, smooth_track
from evenface.preprocessing.video import Film, open_film
from evenface.utils.errors import SampleError

REGION_MARGIN = 0.25
"""Margin of the square that the mesh is detected in."""
POINTS = 468


class Still:
    """An image, or a row of a table of images, as a clip of one frame."""

    def __init__(self, path: str, start: int | None) -> None:
        self.path, self.start = path, start
        self.times, self.timed = np.zeros(1), False

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode it for each frame number."""
        for number in wanted:
            with quiet_pillow():
                yield number, read_picture(self.path, self.start)


@dataclass(frozen=True)
class MeshRow:
    """One sample: landmarks of a face on the sampled frames."""

    frames: Indices
    where: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]
    points: Array
    sizes: Array
    facts: list[int]

    def stored_values(self, spec: SequenceSpec) -> Array:
        """Return the sample as it is stored, (T, P, D)."""
        points, sizes = hold_last_face(self.points, self.seen), hold_last_face(self.sizes, self.seen)
        if spec.normalise == "none" and not spec.blendshapes:
            return interpolate(spec.transform(points / sizes[:, None, [0, 1, 0]]), self.where)
        return interpolate(spec.transform(points / sizes[:, None, :1]), self.where)


def read_mesh(path: str, start: int | None, end: int | None, target: Target) -> tuple[list[list[int]], bytes]:
    """Detect the landmarks of a clip or image."""
    plan, spec = plan_mesh(path, start, end, target), target.sequences
    assert spec is not None
    if plan.error:
        raise SampleError(plan.error)
    return [row.facts for row in plan.rows], b"".join(
        row.stored_values(spec).astype("<f4").tobytes() for row in plan.rows
    )


def plan_mesh(path: str, start: int | None, end: int | None, target: Target) -> ClipPlan[MeshRow]:
    """Track the faces of a clip and detect their landmarks in the sampled frames.

    Notes
    -----
    Each frame is processed independently, in the upright square around the tracked face. So landmarks depend neither on
    earlier frames nor on the number of processes, and small faces are detected as well as large ones.
    """
    assert target.sequences is not None
    if target.sequences.origin == "stills":
        return plan_points(Still(path, start), 0, 1, target)
    film = open_film(path)
    return plan_points(film, *frame_range(start, end, len(film.times)), target)


def plan_points(
    film: Film, first: int, last: int, target: Target, find: DetectFaces = detect_faces
) -> ClipPlan[MeshRow]:
    """Track the faces in the frames ``first`` to ``last`` of a clip and detect their landmarks.

    Parameters are those of :func:`~evenface.preprocessing.clips.plan_film`, errors those of :func:`plan_mesh`.
    """
    crop, spec = target.crop, target.sequences
    assert crop is not None
    assert spec is not None
    count = last - first
    sampled = np.arange(count)
    if spec.missing_face != "skip":
        sampled = required_frames(sample_positions(count, spec.frames, spec.sampling, spec.padding))
    detection_frames, detections = find(film, first, last, sampled, crop)
    tracks = link_faces(detections)
    times = film.times[first:last]
    rows, errors = [], []
    motions = [smooth_track(track, times[detection_frames], MESH_MARGIN) for track in select_tracks(tracks, crop.which)]
    for number, motion in enumerate(motions, start=1):
        try:
            rows.append(_row(film, motion, times, first, spec, number))
        except SampleError as error:
            errors.append(str(error))
    reason = "" if rows else errors[0] if errors else "no face found"
    return ClipPlan(film, rows, first + detection_frames, detections, tracks, reason)


def _row(
    film: Film, motion: Motion, times: npt.NDArray[np.float64], first: int, spec: SequenceSpec, face: int
) -> MeshRow:
    """Detect the landmarks of one face; a SampleError if it is missing in too many frames."""
    count, there = len(times), motion.seen_at(times)
    present = np.flatnonzero(there) if spec.missing_face == "skip" else np.arange(count)
    absent = count - len(present)
    if spec.missing_face == "skip":
        check_missing_face(absent, count, spec)
    where = sample_positions(len(present), spec.frames, spec.sampling, spec.padding)
    taken = required_frames(where)
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


def find_points(image: Image.Image, square: Square) -> Array | None:
    """Detect the landmarks of the face in a square of an image.

    Parameters
    ----------
    image : Image
        RGB.
    square : Square
        Where the face is, upright, with a margin around it.

    Returns
    -------
    ndarray of shape (468, 3), float32, or None
        x and y in pixels of the image, from its upper left corner; z in the same unit, about 0 at the middle of the
        head, smaller where nearer. Of several faces in the square, the one nearest to its centre; None without a face.
    """
    view = cut(image, square, MESH_VIEW)
    middle = MESH_VIEW / 2, MESH_VIEW / 2
    for face in sorted(detect(SHORT_RANGE, view), key=lambda face: math.dist(face.centre, middle)):
        region = square_of(face, REGION_MARGIN)
        points = detect_mesh(cut(view, _shifted(region), MESH_VIEW))
        if points is not None:
            (x, y), z = region.to_image(*points[:, :2].T), points[:, 2] * region.side
            across, along = square.to_image(x / MESH_VIEW, y / MESH_VIEW)
            return np.stack([across, along, z / MESH_VIEW * square.side], axis=-1).astype(np.float32)
    return None


def _shifted(region: Square) -> Square:
    """Shift a square so that its first pixel is that of the image at its corner, as MediaPipe samples it."""
    corner, first = region.to_image(0, 0), region.to_image(0.5 / MESH_VIEW, 0.5 / MESH_VIEW)
    x, y = (place + start + 0.5 - other for place, start, other in zip(region.centre, corner, first, strict=True))
    return replace(region, centre=(x, y))
