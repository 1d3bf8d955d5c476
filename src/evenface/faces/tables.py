"""Numbers of frames that stand in tables; what cannot be used is an UnusableError."""

import fnmatch
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from evenface.faces.arrays import Seen
from evenface.faces.points import COUNTS
from evenface.faces.sequences import Array
from evenface.faces.trouble import UnusableError
from evenface.filetypes import kind_of
from evenface.tabular import DELIMITERS, encoding_of

UNIT = re.compile(r"AU\d+_[rc]")


def read_table(path: str, suffix: str, head: bytes, points: str, numbers: str, depth: bool) -> tuple[Array, Seen]:
    """Read a table, a row for each frame: numbers, (T, P, D), and which frames have a face."""
    table = parsed(path, suffix, head, lambda header: columns(header, points, numbers, depth))
    if not len(table):
        raise UnusableError("no frames: the table has no rows")
    names = columns(table, points, numbers, depth)
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


def parsed(path: str, suffix: str, head: bytes, wanted: Callable[[Any], list[str]]) -> Any:
    """Parse a table, names of columns stripped, or say why that cannot be.

    ``head`` is how the file begins. Of Parquet only those columns are read that ``wanted`` names of an empty table of
    all: a text that is stored once may stand in a billion rows.
    """
    import pandas as pd

    if suffix == ".csv" and (kind := kind_of(head)):
        raise UnusableError(f"not a table: {kind}")
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
        raise UnusableError("empty: there is no table in the file") from error
    except (MemoryError, UnusableError):
        raise
    except Exception as error:  # parsers raise nearly anything on malformed bytes
        raise UnusableError(f"corrupt: {' '.join(str(error).split())}") from error
    table.columns = [str(name).strip() for name in table.columns]
    return table


def _parquet(path: str, wanted: Callable[[Any], list[str]]) -> Any:
    """Read the wanted columns of Parquet, and the one that says where a face was."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        header = file.schema_arrow.empty_table().to_pandas()  # an index is no column
        stored = {str(name).strip(): name for name in header.columns}
        header.columns = [str(name).strip() for name in header.columns]
        names = [*dict.fromkeys([*wanted(header), *(name for name in ("success",) if name in stored)])]
        table = file.read(columns=[stored[name] for name in names]).to_pandas(ignore_metadata=True)
    return table.rename(columns=str.strip)[names]


def unpacked_size(path: str) -> int:
    """Return the bytes that a Parquet table of numbers takes in memory, 8 for each, from the file's footer."""
    import pyarrow.parquet as pq

    facts = pq.read_metadata(path)
    return int(facts.num_rows) * int(facts.num_columns) * 8


def columns(table: Any, points: str, numbers: str, depth: bool) -> list[str]:
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
