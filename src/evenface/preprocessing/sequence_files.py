"""Sequences in files: folders of text files, NumPy and MATLAB arrays, CSV and Parquet tables."""

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.preprocessing.frame_sampling import (
    Array,
    hold_last_face,
    required_frames,
    sample_positions,
    sample_sequence,
)
from evenface.preprocessing.image import file_reason
from evenface.preprocessing.landmarks import COUNTS
from evenface.preprocessing.target import SequenceSpec
from evenface.preprocessing.video import parts_of
from evenface.utils.errors import SampleError
from evenface.utils.files import describe_content
from evenface.utils.tables import DELIMITERS, encoding_of

Seen = npt.NDArray[np.bool_]
TEXT = ".txt"
EXTRA_POINTS = 478
"""MediaPipe's landmarks with those of the irises, which are last and are dropped."""


def read_folder(path: str, points: str) -> tuple[Array, Seen]:
    """Read a folder of text files, one per frame: values, (T, P, D), and a mask of frames with a face, all of them."""
    files = parts_of(path, (TEXT,))
    if files == [path]:
        raise SampleError(f"no frames: the folder has no {TEXT}")
    frames = []
    for file in files:
        try:
            lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
            frames.append(np.array([line.split() for line in lines if line.strip()], dtype=np.float32))
        except ValueError as error:
            raise SampleError(f"not a number: in {Path(file).name}, or its lines are not equally long") from error
        if not frames[-1].size:
            raise SampleError(f"empty: nothing in {Path(file).name}")
        if frames[-1].shape != frames[0].shape:
            shape = " × ".join(map(str, frames[-1].shape))
            raise SampleError(f"wrong shape: {shape} in {Path(file).name}, unlike those before it")
    values = _shaped(np.stack(frames), points)
    return values, np.ones(len(values), bool)


def read_array(path: str, points: str, numbers: str) -> tuple[Array, Seen]:
    """Read an array, or the one named ``numbers`` of an archive; result as of :func:`read_folder`."""
    try:
        found: Any = np.load(path, allow_pickle=False, mmap_mode="r" if path.lower().endswith(".npy") else None)
        if not isinstance(found, np.ndarray):
            with found as file:
                found = file[_name(file, numbers)]
    except SampleError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged zip archive raises nearly anything
        message = " ".join(str(error).split())
        reason = "not numbers: Python objects" if "object" in message.lower() else f"corrupt: {message}"
        raise SampleError(reason) from error
    if found.dtype.kind not in "fiu":
        raise SampleError(f"not numbers: an array of {found.dtype}")
    values = _shaped(found, points)
    return values, np.ones(len(values), bool)


def read_matlab(path: str, points: str, numbers: str) -> tuple[Array, Seen]:
    """Read the array named ``numbers`` of a MATLAB file before version 7.3; result as of :func:`read_folder`."""
    from scipy.io import loadmat, whosmat

    try:
        names = [name for name, _, _ in whosmat(path)]
        found = loadmat(path, variable_names=[numbers])[numbers] if numbers in names else None
    except MemoryError:
        raise
    except Exception as error:  # of many classes, for damaged files
        raise SampleError(f"corrupt: {' '.join(str(error).split())}") from error
    if found is None:
        raise SampleError(f"wrong arrays: no {numbers} among {', '.join(names)}")
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        raise SampleError(f"not numbers: the array {numbers}")
    values = _shaped(found, points)
    return values, np.ones(len(values), bool)


def _name(file: Any, numbers: str) -> str:
    """Return the name of the array of an archive to read."""
    if numbers:
        if numbers not in file.files:
            raise SampleError(f"wrong arrays: no {numbers} among {', '.join(file.files)}")
        return numbers
    names = [name for name in file.files if file[name].ndim >= 2]
    if len(names) != 1:
        raise SampleError(f"wrong arrays: {', '.join(names) or 'none'} of two or more axes, expected one")
    return str(names[0])


def _shaped(found: npt.NDArray[Any], points: str) -> Array:
    """Reshape an array to (T, P, D)."""
    if not found.size:
        raise SampleError("no frames: the array is empty")
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
        raise SampleError(f"wrong shape: {' × '.join(map(str, shape))}, expected {COUNTS[points]} points per frame")
    return np.asarray(values[:, : COUNTS[points]], dtype=np.float32)


def _plain(found: npt.NDArray[Any], points: str) -> Array:
    """Reshape an array of features other than landmarks to (T, P, D)."""
    shape = found.shape
    if len(shape) == 2:
        return np.asarray(found[..., None], dtype=np.float32)
    if points == "openface-aus" and len(shape) == 3:
        return np.asarray(found.reshape(-1, shape[-1], 1), dtype=np.float32)
    if points == "features" and len(shape) in (3, 4):
        return np.asarray(found.reshape(-1, *shape[-2:]), dtype=np.float32)
    raise SampleError(f"wrong shape: {' × '.join(map(str, shape))}")


UNIT = re.compile(r"AU\d+_[rc]")


def read_frame_table(path: str, suffix: str, head: bytes, points: str, numbers: str, depth: bool) -> tuple[Array, Seen]:
    """Read a table with a row per frame: values, (T, P, D), and a mask of frames with a face."""
    table = parse_table(path, suffix, head, lambda header: columns(header, points, numbers, depth))
    if not len(table):
        raise SampleError("no frames: the table has no rows")
    if suffix == ".csv" and "frame" in table and (twice := table["frame"].duplicated()).any():
        raise SampleError(f"several faces: frame {table['frame'][twice].iloc[0]} has more than one row")
    names = columns(table, points, numbers, depth)
    for name in names:
        if table[name].dtype.kind not in "fiub":
            raise SampleError(f"not a number: in the column {name}")
    values = table[names].to_numpy(dtype=np.float32)
    seen = table["success"].to_numpy() != 0 if "success" in table else np.ones(len(table), bool)
    count = COUNTS.get(points)
    if count is None:
        return values[..., None], seen
    # Columns are ordered by axis: x of all points, then y.
    return np.ascontiguousarray(values.reshape(len(values), -1, count).transpose(0, 2, 1)), seen


def parse_table(path: str, suffix: str, head: bytes, wanted: Callable[[Any], list[str]]) -> Any:
    """Parse a table with column names stripped; a SampleError where that is impossible.

    ``head`` is the start of the file. Of Parquet files, only the columns are read that ``wanted`` selects from an empty
    table: a single stored text can expand to a billion rows.
    """
    import pandas as pd

    if suffix == ".csv" and (kind := describe_content(head)):
        raise SampleError(f"not a table: {kind}")
    encoding = encoding_of(head)
    line = head.decode(encoding, "replace").partition("\n")[0]
    separator = max(DELIMITERS, key=line.count)
    try:
        if suffix == ".parquet":
            return _parquet(path, wanted)
        table = pd.read_csv(
            path,
            sep=separator,
            skipinitialspace=True,
            low_memory=False,
            encoding=encoding,
            encoding_errors="replace",
        )
    except pd.errors.EmptyDataError as error:
        raise SampleError("empty: no table in the file") from error
    except (MemoryError, SampleError):
        raise
    except Exception as error:  # parsers raise nearly anything on malformed bytes
        raise SampleError(f"corrupt: {' '.join(str(error).split())}") from error
    table.columns = [str(name).strip() for name in table.columns]
    return table


def _parquet(path: str, wanted: Callable[[Any], list[str]]) -> Any:
    """Read the wanted columns of Parquet, and the one that marks frames with a face."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        header = file.schema_arrow.empty_table().to_pandas()  # an index is not a column
        stored = {str(name).strip(): name for name in header.columns}
        header.columns = [str(name).strip() for name in header.columns]
        names = [*dict.fromkeys([*wanted(header), *(name for name in ("success",) if name in stored)])]
        table = file.read(columns=[stored[name] for name in names]).to_pandas(ignore_metadata=True)
    return table.rename(columns=str.strip)[names]


def unpacked_size(path: str) -> int:
    """Return the memory of a Parquet table in bytes, 8 per value, from the file's footer."""
    import pyarrow.parquet as pq

    facts = pq.read_metadata(path)
    return int(facts.num_rows) * int(facts.num_columns) * 8


def columns(table: Any, points: str, numbers: str, depth: bool) -> list[str]:
    """Return the columns to read, in order."""
    names, count = list(table.columns), COUNTS.get(points)
    if len(set(names)) < len(names):
        raise SampleError("wrong columns: two have the same name")
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
        raise SampleError(f"wrong columns: no {absent[0]}{more}")
    if count is not None and len(wanted) not in (2 * count, 3 * count):
        raise SampleError(f"wrong columns: {len(wanted)}, expected {count} points per frame")
    return wanted


ARRAYS, TABLES = (".npy", ".npz"), (".csv", ".parquet")
MATLAB = ".mat"


def read_numbers(path: str, start: int | None, end: int | None, spec: SequenceSpec) -> tuple[list[list[int]], bytes]:
    """Read a sample from a file of numbers."""
    values, seen = _checked(_load(path, spec), start, end)
    first, count = start or 0, len(values)
    if spec.missing_face == "skip":
        check_missing_face(int((~seen).sum()), count, spec)
    kept = np.flatnonzero(seen) if spec.missing_face == "skip" else np.arange(count)
    where = sample_positions(len(kept), spec.frames, spec.sampling, spec.padding)
    used = kept if spec.sampling == "mean" else kept[required_frames(where)]
    if spec.missing_face != "skip":
        check_missing_face(int((~seen[used]).sum()), len(used), spec)
    made = sample_sequence(spec.transform(hold_last_face(values, seen)[kept]), spec.frames, spec.sampling, spec.padding)
    if made.shape[1:] != spec.shape:
        shape = " × ".join(map(str, made.shape[1:]))
        expected = f"{spec.shape[0]} × {spec.shape[1]}"
        raise SampleError(f"wrong shape: {shape} values per frame, expected {expected}")
    lost = int((~(seen if spec.missing_face == "skip" else seen[used])).sum())
    return [[first, first + count, count, lost, max(0, spec.frames - len(kept)), 1]], made.astype("<f4").tobytes()


def check_missing_face(lost: int, count: int, spec: SequenceSpec) -> None:
    """Raise a SampleError if too many frames are without a face."""
    if lost == count or lost > (0 if spec.missing_face == "quarantine" else spec.max_missing * count):
        raise SampleError(f"face lost: on {lost:,} of {count:,} frames")


def shape_of(path: str, start: int | None, end: int | None, spec: SequenceSpec) -> tuple[int, int]:
    """Return the shape of a frame in a file, (P, D); errors are those of :func:`read_numbers`."""
    values, _ = _checked(_load(path, spec), start, end)
    return values.shape[1], values.shape[2]


def count_frames(path: str, spec: SequenceSpec) -> int:
    """Return the number of frames of a file; errors are those of :func:`read_numbers`."""
    return len(_load(path, spec)[0])


def column_names(path: str, spec: SequenceSpec) -> list[str]:
    """Return the columns of a table that are read, in order; none for arrays. Errors are as of :func:`read_numbers`."""
    suffix = Path(path).suffix.lower()
    if suffix not in TABLES:
        return []
    with Path(path).open("rb") as file:
        table = parse_table(
            path, suffix, file.read(4096), lambda header: columns(header, spec.points, spec.numbers, spec.depth)
        )
    return columns(table, spec.points, spec.numbers, spec.depth)


def _load(path: str, spec: SequenceSpec) -> tuple[Array, Seen]:
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError as error:
        raise SampleError(file_reason(error)) from error
    found = _file(path, changed, spec.points, spec.numbers, spec.depth)
    if isinstance(found, str):
        raise SampleError(found)
    return found


@lru_cache(maxsize=2)
def _file(path: str, _changed: int, points: str, numbers: str, depth: bool) -> tuple[Array, Seen] | str:
    """Read a whole file, cached as it may have many samples; return the reason if that is impossible."""
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
        if suffix == MATLAB and numbers:
            return read_matlab(path, points, numbers)
        if suffix in TABLES:
            return read_frame_table(path, suffix, head, points, numbers, depth)
    except SampleError as error:
        return str(error)
    except OSError as error:
        return file_reason(error)
    except MemoryError:
        return "huge: not enough memory to read it"
    return f"not a file of numbers: {suffix or 'no suffix'}, known are {', '.join((*ARRAYS, *TABLES))}"


def _checked(file: tuple[Array, Seen], start: int | None, end: int | None) -> tuple[Array, Seen]:
    """Select the range of frames; a SampleError for missing values in frames with a face."""
    values, seen = file
    first, last = start or 0, len(values) if end is None else end
    if not 0 <= first < last <= len(values):
        raise SampleError(f"no frame: the file has {len(values):,} frames, requested are {first:,} to {last:,}")
    values, seen = values[first:last], seen[first:last]
    odd = ~np.isfinite(values).all(axis=(1, 2))
    nothing = np.isnan(values).all(axis=(1, 2))
    if nothing.all():
        raise SampleError("not a number: in all frames")
    seen = seen & ~nothing
    if (odd & seen).any():
        row = int((odd & seen).argmax())
        if first + row == len(file[0]) - 1:
            raise SampleError("truncated: the last frame is incomplete")
        raise SampleError(f"not a number: in {int((odd & seen).sum()):,} frames, first in frame {first + row}")
    return values, seen


def common_shape(samples: list[tuple[str, int | None, int | None]], spec: SequenceSpec) -> tuple[int, int]:
    """Return the most frequent frame shape of the first usable samples; that of landmarks is known."""
    if spec.points in COUNTS:
        return spec.shape
    shapes: list[tuple[int, int]] = []
    for sample in samples:
        try:
            shapes.append(shape_of(*sample, spec))
        except SampleError:
            continue
        if len(shapes) == 9:
            break
    return max(dict.fromkeys(shapes), key=shapes.count) if shapes else (1, 1)
