"""Sequences that stand in files of numbers: tables and arrays."""

import fnmatch
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.faces.points import COUNTS
from evenface.faces.sequences import Array, Sequencing, held, needed, places, sampled
from evenface.faces.trouble import UnusableError, file_trouble, kind_of
from evenface.faces.video import parts_of

Seen = npt.NDArray[np.bool_]
ARRAYS, TABLES, TEXT = (".npy", ".npz"), (".csv", ".parquet"), ".txt"
UNIT = re.compile(r"AU\d+_[rc]")
EXTRA_POINTS = 478
"""MediaPipe's points with those of the irises, which come last and are left out."""


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
        table = _parsed(path, suffix, file.read(4096))
    table.columns = [str(name).strip() for name in table.columns]
    return _columns(table, how.points, how.numbers, how.depth)


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
            return _folder(path, points)
        with Path(path).open("rb") as file:
            head = file.read(4096)
        if not head:
            return "empty: the file has no bytes"
        suffix = Path(path).suffix.lower()
        if suffix in ARRAYS:
            return _array(path, points, numbers)
        if suffix in TABLES:
            return _table(path, suffix, head, points, numbers, depth)
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


def _folder(path: str, points: str) -> tuple[Array, Seen]:
    """Read a folder of texts, one for each frame."""
    files = parts_of(path, (TEXT,))
    if files == [path]:
        raise UnusableError(f"no frames: the folder holds no {TEXT}")
    frames = []
    for file in files:
        try:
            lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
            frames.append(np.array([line.split() for line in lines if line.strip()], dtype=np.float32))
        except ValueError as error:
            raise UnusableError(f"not a number: in {Path(file).name}, or its lines are not equally long") from error
        if not frames[-1].size:
            raise UnusableError(f"empty: there is nothing in {Path(file).name}")
        if frames[-1].shape != frames[0].shape:
            told = " × ".join(map(str, frames[-1].shape))
            raise UnusableError(f"wrong shape: {told} in {Path(file).name}, unlike those before it")
    values = _shaped(np.stack(frames), points)
    return values, np.ones(len(values), bool)


def _array(path: str, points: str, numbers: str) -> tuple[Array, Seen]:
    try:
        found: Any = np.load(path, allow_pickle=False, mmap_mode="r" if path.lower().endswith(".npy") else None)
        if not isinstance(found, np.ndarray):
            with found as file:
                found = file[_name(file, numbers)]
    except UnusableError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged zip archive raises nearly anything
        said = " ".join(str(error).split())
        raise UnusableError(
            "not numbers: Python objects" if "object" in said.lower() else f"corrupt: {said}"
        ) from error
    if found.dtype.kind not in "fiu":
        raise UnusableError(f"not numbers: an array of {found.dtype}")
    values = _shaped(found, points)
    return values, np.ones(len(values), bool)


def _name(file: Any, numbers: str) -> str:
    """Say which array of an archive is meant."""
    if numbers:
        if numbers not in file.files:
            raise UnusableError(f"wrong arrays: no {numbers} among {', '.join(file.files)}")
        return numbers
    names = [name for name in file.files if file[name].ndim >= 2]
    if len(names) != 1:
        raise UnusableError(f"wrong arrays: {', '.join(names) or 'none'} of two or more axes, one was expected")
    return str(names[0])


def _shaped(found: npt.NDArray[Any], points: str) -> Array:
    """Bring an array to the shape (T, P, D)."""
    if not found.size:
        raise UnusableError("no frames: the array is empty")
    count, shape = COUNTS.get(points), found.shape
    if count is None:
        return _plain(found, points)
    if points == "mesh-468" and EXTRA_POINTS in (shape[-1] // 2, shape[-1] // 3, *shape[-2:-1]):
        count = EXTRA_POINTS
    if len(shape) in (3, 4) and shape[-2] == count and shape[-1] in (2, 3):
        values = found.reshape(-1, count, shape[-1])
    elif len(shape) in (2, 3) and shape[-1] in (2 * count, 3 * count):
        values = found.reshape(-1, count, shape[-1] // count)
    else:
        raise UnusableError(
            f"wrong shape: {' × '.join(map(str, shape))}, {COUNTS[points]} points a frame were expected"
        )
    return np.asarray(values[:, : COUNTS[points]], dtype=np.float32)


def _plain(found: npt.NDArray[Any], points: str) -> Array:
    """Bring an array of numbers that are no points of a face to the shape (T, P, D)."""
    shape = found.shape
    if len(shape) == 2:
        return np.asarray(found[..., None], dtype=np.float32)
    if points == "openface-aus" and len(shape) == 3:
        return np.asarray(found.reshape(-1, shape[-1], 1), dtype=np.float32)
    if points == "features" and len(shape) in (3, 4):
        return np.asarray(found.reshape(-1, *shape[-2:]), dtype=np.float32)
    raise UnusableError(f"wrong shape: {' × '.join(map(str, shape))}")


def _table(path: str, suffix: str, head: bytes, points: str, numbers: str, depth: bool) -> tuple[Array, Seen]:
    table = _parsed(path, suffix, head)
    table.columns = [str(name).strip() for name in table.columns]
    if table.empty:
        raise UnusableError("no frames: the table has no rows")
    names = _columns(table, points, numbers, depth)
    for name in names:
        if table[name].dtype.kind not in "fiub":
            raise UnusableError(f"not a number: in the column {name}")
    values = table[names].to_numpy(dtype=np.float32)
    seen = table["success"].to_numpy() != 0 if "success" in table else np.ones(len(table), bool)
    count = COUNTS.get(points)
    if count is None:
        return values[..., None], seen
    # Columns come axis by axis: x of all points, then y.
    return np.ascontiguousarray(values.reshape(len(values), -1, count).transpose(0, 2, 1)), seen


def _parsed(path: str, suffix: str, head: bytes) -> Any:
    """Parse a table, or say why that cannot be."""
    import pandas as pd

    if suffix == ".csv" and (kind := kind_of(head)):
        raise UnusableError(f"not a table: {kind}")
    line = head.partition(b"\n")[0]
    separator = max((b",", b";", b"\t"), key=line.count).decode()
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep=separator, skipinitialspace=True, low_memory=False, encoding_errors="replace")
    except pd.errors.EmptyDataError as error:
        raise UnusableError("empty: there is no table in the file") from error
    except MemoryError:
        raise
    except Exception as error:  # parsers raise nearly anything on malformed bytes
        raise UnusableError(f"corrupt: {' '.join(str(error).split())}") from error


def _columns(table: Any, points: str, numbers: str, depth: bool) -> list[str]:
    """Say which columns hold the numbers, in order."""
    names, count = list(table.columns), COUNTS.get(points)
    if len(set(names)) < len(names):
        raise UnusableError("wrong columns: two have the same name")
    if numbers:
        patterns = [pattern.strip() for pattern in numbers.split(",")]
        wanted = [name for pattern in patterns for name in names if fnmatch.fnmatchcase(name, pattern)]
        wanted = list(dict.fromkeys(wanted))
        absent = [pattern for pattern in patterns if not fnmatch.filter(names, pattern)]
    elif count is not None:
        wanted = [f"{axis}_{i}" for axis in ("x", "y", "z")[: 3 if depth else 2] for i in range(count)]
        absent = [name for name in wanted if name not in table]
    elif points == "openface-aus":
        wanted = [name for name in names if UNIT.fullmatch(name)]
        absent = [] if wanted else ["AU01_r"]
    else:
        wanted = [name for name in names if table[name].dtype.kind in "fiub"]
        absent = [] if wanted else ["a column of numbers"]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise UnusableError(f"wrong columns: no {absent[0]}{more}")
    if count is not None and len(wanted) not in (2 * count, 3 * count):
        raise UnusableError(f"wrong columns: {len(wanted)}, {count} points a frame were expected")
    return wanted


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
