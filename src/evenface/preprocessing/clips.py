"""Clips: detect and track faces, sample frames, crop them."""

import os
import tempfile
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.config.recipe import FaceCrop, FrameSampler
from evenface.preprocessing.detect_align import Face, Square, cut, find_faces
from evenface.preprocessing.frame_sampling import Indices, sample_frames
from evenface.preprocessing.image import fit, grey_or_rgb
from evenface.preprocessing.target import Target
from evenface.preprocessing.track import Motion, Track, choose_detection_frames, link_faces, select_tracks, smooth_track
from evenface.preprocessing.video import Film, open_film
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import disk_error

DetectFaces = Callable[[Film, int, int, Indices, FaceCrop], tuple[Indices, list[list[Face]]]]
"""Function that detects faces; see :func:`detect_faces`."""
INLINE = 16 << 20
"""Bytes of a clip up to which its pixels are kept in memory."""

FACTS = ("start", "end", "frames", "lost", "repeated", "face")
"""Columns of each sample: range of frames in the file, frames of the clip, frames without a face, frames repeated
because the clip is short, and number of the face."""


@dataclass(frozen=True)
class ClipRow:
    """One sample of a clip."""

    frames: Indices
    seen: npt.NDArray[np.bool_]
    squares: list[Square]
    facts: list[int]


RowT = TypeVar("RowT")


@dataclass(frozen=True)
class ClipPlan(Generic[RowT]):
    """Detections, tracks and samples of a clip or image."""

    film: Film
    rows: list[RowT]
    detection_frames: Indices
    detections: list[list[Face]]
    tracks: list[Track]
    error: str = ""


def plan_clip(path: str, start: int | None, end: int | None, target: Target) -> ClipPlan[ClipRow]:
    """Detect faces in a clip and sample its frames."""
    film = open_film(path)
    return plan_film(film, *frame_range(start, end, len(film.times)), target)


def plan_film(film: Film, first: int, last: int, target: Target, find: DetectFaces | None = None) -> ClipPlan[ClipRow]:
    """Detect faces in the frames ``first`` to ``last`` of a clip and sample them."""
    assert target.clips is not None
    count = last - first
    if target.crop is None:
        rows = [
            ClipRow(first + frames, np.ones(len(frames), bool), [], _facts(first, count, frames, target.clips, 0, 1))
            for frames in sample_frames(target.clips, count)
        ]
        return ClipPlan(film, rows, np.zeros(0, np.int64), [], [])
    times = film.times[first:last]
    detection_frames, detections = (find or detect_faces)(
        film, first, last, np.concatenate(sample_frames(target.clips, count)), target.crop
    )
    tracks = link_faces(detections)
    rows, errors = [], []
    for number, track in enumerate(select_tracks(tracks, target.crop.which), start=1):
        motion = smooth_track(track, times[detection_frames], target.crop.margin, target.crop.shift)
        made = _rows(motion, times, first, target.clips, number)
        if isinstance(made, str):
            errors.append(made)
        else:
            rows += made
    error = "" if rows else errors[0] if errors else "no face found"
    return ClipPlan(film, rows, first + detection_frames, detections, tracks, error)


def frame_range(start: int | None, end: int | None, count: int) -> tuple[int, int]:
    """Return the range of frames of a clip of ``count`` frames; a SampleError if it has no such frames."""
    first, last = start or 0, count if end is None else end
    if not 0 <= first < last <= count:
        raise SampleError(f"no frame: the clip has {count:,} frames, requested are {first:,} to {last:,}")
    return first, last


def detect_faces(film: Film, first: int, last: int, taken: Indices, crop: FaceCrop) -> tuple[Indices, list[list[Face]]]:
    """Detect faces in as many of the frames ``first`` to ``last`` as tracking needs."""
    detection_frames = choose_detection_frames(film.times[first:last], taken, timed=film.timed)
    return detection_frames, [faces_in(image, crop) for _, image in film.frames((first + detection_frames).tolist())]


def faces_in(image: Image.Image, crop: FaceCrop) -> list[Face]:
    """Detect the faces of a frame; an error inside the detector is a SampleError, one of loading it an InputError."""
    try:
        return find_faces(image, crop.detector, crop.landmarks)
    except InputError:
        raise
    except Exception as error:  # which errors third-party detectors raise is undocumented
        raise SampleError(f"the detector failed: {' '.join(str(error).split())}") from error


def _rows(
    motion: Motion, times: npt.NDArray[np.float64], first: int, sampler: FrameSampler, face: int
) -> list[ClipRow] | str:
    """Sample the frames of one face, or return the reason why it cannot be used."""
    seen = motion.seen_at(times)
    count = len(times)
    if sampler.missing_face == "skip":
        present = np.flatnonzero(seen)
        if 1 - len(present) / count > sampler.max_missing or not len(present):
            return f"face lost: on {count - len(present):,} of {count:,} frames"
        taken = [present[frames] for frames in sample_frames(sampler, len(present))]
        bounds = [0, *(int(frames[0]) for frames in taken[1:]), count]
        lost = [int((~seen[low:high]).sum()) for low, high in pairwise(bounds)]
    else:
        taken = sample_frames(sampler, count)
        lost = [int((~seen[frames]).sum()) for frames in taken]
        every = len(taken) * sampler.stored
        if sum(lost) > (0 if sampler.missing_face == "quarantine" else sampler.max_missing * every):
            return f"face lost: on {sum(lost):,} of {every:,} frames taken"
        usable = [i for i, gone in enumerate(lost) if gone <= sampler.max_missing * sampler.stored]
        taken, lost = [taken[i] for i in usable], [lost[i] for i in usable]
    return [
        ClipRow(
            first + frames,
            seen[frames],
            [motion.at(float(times[frame])) for frame in frames],
            _facts(first, count, frames, sampler, gone, face),
        )
        for frames, gone in zip(taken, lost, strict=True)
    ]


def _facts(first: int, count: int, frames: Indices, sampler: FrameSampler, lost: int, face: int) -> list[int]:
    low, high = (int(frames[0]), int(frames[-1]) + 1) if sampler.sampling == "windows" else (0, count)
    return [first + low, first + high, count, lost, len(frames) - len(np.unique(frames)), face]


def crop_frames(
    plan: ClipPlan[ClipRow], target: Target, only: Container[int] | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """Yield the cropped images of a plan, each with its index among the frames of all rows; only some if given.

    They are in the order of the clip, so that it is decoded once, however many samples it has.
    """
    places: dict[int, list[tuple[int, Square | None]]] = {}
    for number, row in enumerate(plan.rows):
        for i, frame in enumerate(row.frames.tolist()):
            place, square = number * target.frames + i, row.squares[i] if row.squares else None
            if only is None or place in only:
                places.setdefault(frame, []).append((place, square))
    for frame, image in plan.film.frames(sorted(places)):
        for place, square in places[frame]:
            yield place, fit(image, target) if square is None else grey_or_rgb(cut(image, square, target.size), target)


def read_clip(
    path: str, start: int | None, end: int | None, target: Target, spill: Path | None = None
) -> tuple[list[list[int]], bytes | Path]:
    """Read the samples of a clip."""
    plan = plan_clip(path, start, end, target)
    if plan.error:
        raise SampleError(plan.error)
    facts, length = [row.facts for row in plan.rows], target.nbytes // target.frames
    if spill is None or len(facts) * target.nbytes <= INLINE:
        pixels = bytearray(len(facts) * target.nbytes)
        for place, image in crop_frames(plan, target):
            pixels[place * length : (place + 1) * length] = image.tobytes()
        return facts, bytes(pixels)
    return facts, _spilled(plan, target, spill, length)


def _spilled(plan: ClipPlan[ClipRow], target: Target, spill: Path, length: int) -> Path:
    """Write images to a file one by one: a long clip would not fit into memory."""
    try:
        handle, name = tempfile.mkstemp(dir=spill)
    except OSError as error:
        raise disk_error(error, spill) from error
    try:
        for place, image in crop_frames(plan, target):
            try:
                if os.pwrite(handle, image.tobytes(), place * length) != length:
                    raise InputError(f"the disk is full: cannot write {name}", "Free some space.")
            except OSError as error:
                raise disk_error(error, Path(name)) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return Path(name)
