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

from evenface.errors import InputError
from evenface.faces.align import Face, Square, cut
from evenface.faces.detector import Crop, find_faces
from evenface.faces.read import Target, fit, grey_or_rgb
from evenface.faces.taking import Indices, Taking
from evenface.faces.track import Motion, Track, choose_looks, follow, kept, smooth
from evenface.faces.trouble import UnusableError
from evenface.faces.video import Film, open_film
from evenface.files import disk_error

Find = Callable[[Film, int, int, Indices, Crop], tuple[Indices, list[list[Face]]]]
"""How faces are looked for: see :func:`look`."""
INLINE = 16 << 20
"""Bytes of a clip up to which its pixels are kept in memory."""

FACTS = ("start", "end", "frames", "lost", "repeated", "face")
"""What is noted of each sample: its range of frames in the file, frames of the clip, frames without a face, frames that
stand there again because the clip is short, and the number of the face."""


@dataclass(frozen=True)
class Row:
    """One sample of a clip.

    Parameters
    ----------
    frames : ndarray of int64, shape (T,)
        Numbers of its frames in the file.
    seen : ndarray of bool, shape (T,)
        Whether the face was seen there; always where faces are not looked for.
    squares : list of Square
        Where each frame is cropped; empty where faces are not looked for.
    facts : list of int
        See :data:`FACTS`.
    """

    frames: Indices
    seen: npt.NDArray[np.bool_]
    squares: list[Square]
    facts: list[int]


RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Plan(Generic[RowT]):
    """What becomes of a clip, or of a picture taken for one.

    Parameters
    ----------
    film : Film
        Where its frames come from.
    rows : list
        Its samples, face by face and in order of time; empty if it cannot be used. Each is a :class:`Row`,
        or a :class:`~evenface.faces.mesh.MeshRow`.
    looks : ndarray of int64
        Frames in which faces were looked for.
    found : list of list of Face
        What was found in each.
    tracks : list of Track
        The faces followed through the clip, the main one first; their looks are positions in ``looks``.
    trouble : str
        Why it cannot be used, else empty.
    """

    film: Film
    rows: list[RowT]
    looks: Indices
    found: list[list[Face]]
    tracks: list[Track]
    trouble: str = ""


def plan_clip(path: str, start: int | None, end: int | None, target: Target) -> Plan[Row]:
    """Look for faces in a clip and decide what to take from it.

    Parameters
    ----------
    path : str
        A video or a folder of pictures.
    start, end : int or None
        Range of frames, the end not included; none means all.
    target : Target
        What to make; with its ``taking``.

    Raises
    ------
    UnusableError
        If the clip cannot be read, or has no such frames.
    InputError
        If a package is missing.
    """
    film = open_film(path)
    return plan_film(film, *range_of(start, end, len(film.times)), target)


def plan_film(film: Film, first: int, last: int, target: Target, find: Find | None = None) -> Plan[Row]:
    """Look for faces in the frames ``first`` to ``last`` of a film and decide what to take from them.

    Parameters
    ----------
    film : Film
        Where frames come from.
    first, last : int
        Range of frames, the last not included.
    target : Target
        What to make; with its ``taking``.
    find : callable, optional
        Takes the place of :func:`look`: with the arguments and result of that.

    Raises
    ------
    UnusableError
        If the clip cannot be read.
    InputError
        If a package is missing.
    """
    assert target.taking is not None
    count = last - first
    if target.crop is None:
        rows = [
            Row(first + frames, np.ones(len(frames), bool), [], _facts(first, count, frames, target.taking, 0, 1))
            for frames in target.taking.of(count)
        ]
        return Plan(film, rows, np.zeros(0, np.int64), [], [])
    times = film.times[first:last]
    looks, found = (find or look)(film, first, last, np.concatenate(target.taking.of(count)), target.crop)
    tracks = follow(found)
    rows, troubles = [], []
    for number, track in enumerate(kept(tracks, target.crop.which), start=1):
        motion = smooth(track, times[looks], target.crop.margin)
        made = _rows(motion, times, first, target.taking, number)
        if isinstance(made, str):
            troubles.append(made)
        else:
            rows += made
    trouble = "" if rows else troubles[0] if troubles else "no face found"
    return Plan(film, rows, first + looks, found, tracks, trouble)


def range_of(start: int | None, end: int | None, count: int) -> tuple[int, int]:
    """Give the range of frames of a clip of ``count``; an UnusableError if it has no such frames."""
    first, last = start or 0, count if end is None else end
    if not 0 <= first < last <= count:
        raise UnusableError(f"no frame: the clip has {count:,} frames, asked for are {first:,} to {last:,}")
    return first, last


def look(film: Film, first: int, last: int, taken: Indices, crop: Crop) -> tuple[Indices, list[list[Face]]]:
    """Look for faces where it is worth it to follow them through the frames ``first`` to ``last``.

    Parameters
    ----------
    film : Film
        Where frames come from.
    first, last : int
        Range of frames, the last not included.
    taken : ndarray of int
        Frames that matter, counted from ``first``.
    crop : Crop
        By what.

    Returns
    -------
    looks : ndarray of int64
        Frames looked at, counted from ``first``.
    found : list of list of Face
        What was found in each.
    """
    looks = choose_looks(film.times[first:last], taken, timed=film.timed)
    return looks, [faces_in(image, crop) for _, image in film.frames((first + looks).tolist())]


def faces_in(image: Image.Image, crop: Crop) -> list[Face]:
    """Find the faces of a frame; whatever a detector raises is an UnusableError, but that it cannot be loaded."""
    try:
        return find_faces(image, crop.detector, crop.landmarks)
    except InputError:
        raise
    except Exception as error:  # what detectors of others raise on odd shapes is not written anywhere
        raise UnusableError(f"the detector failed: {' '.join(str(error).split())}") from error


def _rows(motion: Motion, times: npt.NDArray[np.float64], first: int, taking: Taking, face: int) -> list[Row] | str:
    """Take frames of one face, or say why it cannot be used."""
    seen = motion.sees(times)
    count = len(times)
    if taking.lost == "skip":
        present = np.flatnonzero(seen)
        if 1 - len(present) / count > taking.lost_share or not len(present):
            return f"face lost: on {count - len(present):,} of {count:,} frames"
        taken = [present[frames] for frames in taking.of(len(present))]
        bounds = [0, *(int(frames[0]) for frames in taken[1:]), count]
        lost = [int((~seen[low:high]).sum()) for low, high in pairwise(bounds)]
    else:
        taken = taking.of(count)
        lost = [int((~seen[frames]).sum()) for frames in taken]
        every = len(taken) * taking.frames
        if sum(lost) > (0 if taking.lost == "quarantine" else taking.lost_share * every):
            return f"face lost: on {sum(lost):,} of {every:,} frames taken"
        usable = [i for i, gone in enumerate(lost) if gone <= taking.lost_share * taking.frames]
        taken, lost = [taken[i] for i in usable], [lost[i] for i in usable]
    return [
        Row(
            first + frames,
            seen[frames],
            [motion.at(float(times[frame])) for frame in frames],
            _facts(first, count, frames, taking, gone, face),
        )
        for frames, gone in zip(taken, lost, strict=True)
    ]


def _facts(first: int, count: int, frames: Indices, taking: Taking, lost: int, face: int) -> list[int]:
    low, high = (int(frames[0]), int(frames[-1]) + 1) if taking.take == "windows" else (0, count)
    return [first + low, first + high, count, lost, len(frames) - len(np.unique(frames)), face]


def crops(plan: Plan[Row], target: Target, only: Container[int] | None = None) -> Iterator[tuple[int, Image.Image]]:
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
    """Read the samples of a clip.

    Parameters
    ----------
    path, start, end, target
        As in :func:`plan_clip`.
    spill : Path, optional
        Folder for the pixels of clips with more than :data:`INLINE` bytes of them; none keeps all in memory.

    Returns
    -------
    facts : list of list of int
        For each sample what :data:`FACTS` names.
    pixels : bytes or Path
        The samples' frames one behind the other, or the file that holds them, which the caller must delete.

    Raises
    ------
    UnusableError
        If the clip cannot be used; the text says why.
    InputError
        If a package is missing or the disk is full.
    """
    plan = plan_clip(path, start, end, target)
    if plan.trouble:
        raise UnusableError(plan.trouble)
    facts, length = [row.facts for row in plan.rows], target.nbytes // target.frames
    if spill is None or len(facts) * target.nbytes <= INLINE:
        pixels = bytearray(len(facts) * target.nbytes)
        for place, image in crops(plan, target):
            pixels[place * length : (place + 1) * length] = image.tobytes()
        return facts, bytes(pixels)
    return facts, _spilled(plan, target, spill, length)


def _spilled(plan: Plan[Row], target: Target, spill: Path, length: int) -> Path:
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
