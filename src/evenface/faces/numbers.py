"""Sequences that stand in files of numbers: which frames of a file, and what is kept of them."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from evenface.faces.arrays import Seen, read_array, read_folder
from evenface.faces.points import COUNTS
from evenface.faces.sequences import Array, Sequencing, held, needed, places, sampled
from evenface.faces.tables import columns, parsed, read_table
from evenface.faces.trouble import UnusableError, file_trouble

ARRAYS, TABLES = (".npy", ".npz"), (".csv", ".parquet")


def read_numbers(path: str, start: int | None, end: int | None, how: Sequencing) -> tuple[list[list[int]], bytes]:
    """Read a sample from a file of numbers.

    Parameters
    ----------
    path : str
        A table, a row for each frame: ``.csv`` (separated by commas, semicolons or tabs) or ``.parquet``; or an array:
        ``.npy`` or ``.npz``, of shape (T, P, D), (T, P * D) or, of numbers that have no x, (T, P). An array of N
        sequences, (N, T, P, D), counts as N * T frames. Or a folder of ``.txt`` files in the natural order of their
        names, one for each frame, with a line for each point, as CK+ has them.
    start, end : int or None
        Range of frames, the end not included; none means all.
    how : Sequencing
        What is read and kept. ``how.numbers`` names the array of an ``.npz``, or columns of a table, separated by
        commas and with patterns such as ``AU*_r``; empty means what is usual of such points.

    Returns
    -------
    facts : list of list of int
        What :data:`~evenface.faces.clips.FACTS` names, of the one sample.
    numbers : bytes
        float32, of shape (frames, P, D).

    Raises
    ------
    UnusableError
        If the sample cannot be used; the text says why.
    """
    values, seen = _checked(_load(path, how), start, end)
    first, count = start or 0, len(values)
    if how.lost == "skip":
        check_lost(int((~seen).sum()), count, how)
    kept = np.flatnonzero(seen) if how.lost == "skip" else np.arange(count)
    where = places(len(kept), how.frames, how.take, how.short)
    used = kept if how.take == "mean" else kept[needed(where)]
    if how.lost != "skip":
        check_lost(int((~seen[used]).sum()), len(used), how)
    made = sampled(how.made(held(values, seen)[kept]), how.frames, how.take, how.short)
    if made.shape[1:] != how.shape:
        told = " × ".join(map(str, made.shape[1:]))
        raise UnusableError(f"wrong shape: {told} numbers a frame, {how.shape[0]} × {how.shape[1]} were expected")
    lost = int((~(seen if how.lost == "skip" else seen[used])).sum())
    return [[first, first + count, count, lost, max(0, how.frames - len(kept)), 1]], made.astype("<f4").tobytes()


def check_lost(lost: int, count: int, how: Sequencing) -> None:
    """Set a sample aside that has too many frames without a face."""
    if lost == count or lost > (0 if how.lost == "quarantine" else how.lost_share * count):
        raise UnusableError(f"face lost: on {lost:,} of {count:,} frames")


def shape_of(path: str, start: int | None, end: int | None, how: Sequencing) -> tuple[int, int]:
    """Give points of a frame and numbers of each, as a file has them; errors are those of :func:`read_numbers`."""
    values, _ = _checked(_load(path, how), start, end)
    return values.shape[1], values.shape[2]


def count_frames(path: str, how: Sequencing) -> int:
    """Count the frames of a file; errors are those of :func:`read_numbers`."""
    return len(_load(path, how)[0])


def column_names(path: str, how: Sequencing) -> list[str]:
    """Name the columns that are read of a table, in order; nothing of arrays. Errors are as of :func:`read_numbers`."""
    suffix = Path(path).suffix.lower()
    if suffix not in TABLES:
        return []
    with Path(path).open("rb") as file:
        table = parsed(
            path, suffix, file.read(4096), lambda header: columns(header, how.points, how.numbers, how.depth)
        )
    return columns(table, how.points, how.numbers, how.depth)


def _load(path: str, how: Sequencing) -> tuple[Array, Seen]:
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError as error:
        raise UnusableError(file_trouble(error)) from error
    found = _file(path, changed, how.points, how.numbers, how.depth)
    if isinstance(found, str):
        raise UnusableError(found)
    return found


@lru_cache(maxsize=2)
def _file(path: str, _changed: int, points: str, numbers: str, depth: bool) -> tuple[Array, Seen] | str:
    """Read a whole file, or say why that cannot be; many samples may stand in one."""
    try:
        if Path(path).is_dir():
            return read_folder(path, points)
        with Path(path).open("rb") as file:
            head = file.read(4096)
        if not head:
            return "empty: the file has no bytes"
        suffix = Path(path).suffix.lower()
        if suffix in ARRAYS:
            return read_array(path, points, numbers)
        if suffix in TABLES:
            return read_table(path, suffix, head, points, numbers, depth)
    except UnusableError as error:
        return str(error)
    except OSError as error:
        return file_trouble(error)
    except MemoryError:
        return "huge: not enough memory to read it"
    return f"not a file of numbers: {suffix or 'no suffix'}, known are {', '.join((*ARRAYS, *TABLES))}"


def _checked(file: tuple[Array, Seen], start: int | None, end: int | None) -> tuple[Array, Seen]:
    """Cut out the range, and refuse what is no number where a face was."""
    values, seen = file
    first, last = start or 0, len(values) if end is None else end
    if not 0 <= first < last <= len(values):
        raise UnusableError(f"no frame: the file has {len(values):,} frames, asked for are {first:,} to {last:,}")
    values, seen = values[first:last], seen[first:last]
    odd = ~np.isfinite(values).all(axis=(1, 2))
    nothing = np.isnan(values).all(axis=(1, 2))
    if nothing.all():
        raise UnusableError("not a number: in all frames")
    seen = seen & ~nothing
    if (odd & seen).any():
        row = int((odd & seen).argmax())
        if first + row == len(file[0]) - 1:
            raise UnusableError("truncated: the last frame is not whole")
        raise UnusableError(f"not a number: in {int((odd & seen).sum()):,} frames, first in frame {first + row}")
    return values, seen


def common_shape(samples: list[tuple[str, int | None, int | None]], how: Sequencing) -> tuple[int, int]:
    """Give the shape that most of the first usable samples have; that of points of a face is known without looking.

    Parameters
    ----------
    samples : list of tuple
        Path, start and end of each.
    how : Sequencing
        What is read.
    """
    if how.points in COUNTS:
        return how.shape
    found: list[tuple[int, int]] = []
    for sample in samples:
        try:
            found.append(shape_of(*sample, how))
        except UnusableError:
            continue
        if len(found) == 9:
            break
    return max(dict.fromkeys(found), key=found.count) if found else (1, 1)
