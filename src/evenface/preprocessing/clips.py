"""One clip, from its file to the frames of its samples: what is looked at, what is kept, where it is cropped."""

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
from evenface.preprocessing.detect import Face, Square, cut, find_faces
from evenface.preprocessing.frame_sampling import Indices, sample_frames
from evenface.preprocessing.image import fit, grey_or_rgb
from evenface.preprocessing.target import Target
from evenface.preprocessing.track import Motion, Track, choose_looks, follow, kept, smooth
from evenface.preprocessing.video import Film, open_film
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import disk_error

Find = Callable[[Film, int, int, Indices, FaceCrop], tuple[Indices, list[list[Face]]]]
"""How faces are looked for: see :func:`look`."""
INLINE = 16 << 20
"""Bytes of a clip up to which its pixels are kept in memory."""

FACTS = ("start", "end", "frames", "lost", "repeated", "face")
"""What is noted of each sample: its range of frames in the file, frames of the clip, frames without a face, frames that
stand there again because the clip is short, and the number of the face."""


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
    """What becomes of a clip, or of a picture taken for one."""

    film: Film
    rows: list[RowT]
    looks: Indices
    found: list[list[Face]]
    tracks: list[Track]
    trouble: str = ""


def plan_clip(path: str, start: int | None, end: int | None, target: Target) -> ClipPlan[ClipRow]:
    """Look for faces in a clip and decide what to take from it."""
    film = open_film(path)
    return plan_film(film, *range_of(start, end, len(film.times)), target)


def plan_film(film: Film, first: int, last: int, target: Target, find: Find | None = None) -> ClipPlan[ClipRow]:
    """Look for faces in the frames ``first`` to ``last`` of a film and decide what to take from them."""
    assert target.clips is not None
    count = last - first
    if target.crop is None:
        rows = [
            ClipRow(first + frames, np.ones(len(frames), bool), [], _facts(first, count, frames, target.clips, 0, 1))
            for frames in sample_frames(target.clips, count)
        ]
        return ClipPlan(film, rows, np.zeros(0, np.int64), [], [])
    times = film.times[first:last]
    looks, found = (find or look)(film, first, last, np.concatenate(sample_frames(target.clips, count)), target.crop)
    tracks = follow(found)
    rows, troubles = [], []
    for number, track in enumerate(kept(tracks, target.crop.which), start=1):
        motion = smooth(track, times[looks], target.crop.margin)
        made = _rows(motion, times, first, target.clips, number)
        if isinstance(made, str):
            troubles.append(made)
        else:
            rows += made
    trouble = "" if rows else troubles[0] if troubles else "no face found"
    return ClipPlan(film, rows, first + looks, found, tracks, trouble)


def range_of(start: int | None, end: int | None, count: int) -> tuple[int, int]:
    """Give the range of frames of a clip of ``count``; an SampleError if it has no such frames."""
    first, last = start or 0, count if end is None else end
    if not 0 <= first < last <= count:
        raise SampleError(f"no frame: the clip has {count:,} frames, asked for are {first:,} to {last:,}")
    return first, last


def look(film: Film, first: int, last: int, taken: Indices, crop: FaceCrop) -> tuple[Indices, list[list[Face]]]:
    """Look for faces where it is worth it to follow them through the frames ``first`` to ``last``."""
    looks = choose_looks(film.times[first:last], taken, timed=film.timed)
    return looks, [faces_in(image, crop) for _, image in film.frames((first + looks).tolist())]


def faces_in(image: Image.Image, crop: FaceCrop) -> list[Face]:
    """Find the faces of a frame; whatever a detector raises is an SampleError, but that it cannot be loaded."""
    try:
        return find_faces(image, crop.detector, crop.landmarks)
    except InputError:
        raise
    except Exception as error:  # what detectors of others raise on odd shapes is not written anywhere
        raise SampleError(f"the detector failed: {' '.join(str(error).split())}") from error


def _rows(
    motion: Motion, times: npt.NDArray[np.float64], first: int, sampler: FrameSampler, face: int
) -> list[ClipRow] | str:
    """Take frames of one face, or say why it cannot be used."""
    seen = motion.sees(times)
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


def crops(
    plan: ClipPlan[ClipRow], target: Target, only: Container[int] | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """Give the finished pictures of a plan, each with its place in all rows' frames one behind the other.

    They come in the order of the film, so that it is decoded once, however many samples there are of it; at the places
    ``only`` where given.
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
    if plan.trouble:
        raise SampleError(plan.trouble)
    facts, length = [row.facts for row in plan.rows], target.nbytes // target.frames
    if spill is None or len(facts) * target.nbytes <= INLINE:
        pixels = bytearray(len(facts) * target.nbytes)
        for place, image in crops(plan, target):
            pixels[place * length : (place + 1) * length] = image.tobytes()
        return facts, bytes(pixels)
    return facts, _spilled(plan, target, spill, length)


def _spilled(plan: ClipPlan[ClipRow], target: Target, spill: Path, length: int) -> Path:
    """Write pictures to a file as they come: a long clip would not fit into memory."""
    try:
        handle, name = tempfile.mkstemp(dir=spill)
    except OSError as error:
        raise disk_error(error, spill) from error
    try:
        for place, image in crops(plan, target):
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
