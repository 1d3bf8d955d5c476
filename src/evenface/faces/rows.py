"""Pictures that stand in the rows of a table, as FER2013's do."""

import csv
import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evenface.faces.trouble import UnusableError


def table_row(path: str, row: int | None) -> Image.Image:
    """Read the picture in a row of a table, from its column ``pixels``.

    Raises
    ------
    UnusableError
        If there is none; the text says why.
    """
    if row is None:
        raise UnusableError("no row: the manifest does not say which row of the table it is")
    if not os.path.getsize(path):  # noqa: PTH202 - one call per sample, Path is slow
        raise UnusableError("empty: the file has no bytes")
    column, offsets = _table_lines(path, os.stat(path).st_mtime_ns)  # noqa: PTH116
    if column < 0:
        raise UnusableError("no column pixels in the table")
    if not 0 <= row < len(offsets) - 1:
        raise UnusableError(f"no row: the table ends before row {row}")
    with Path(path).open("rb") as file:
        file.seek(offsets[row])
        line = file.read(offsets[row + 1] - offsets[row])
    try:
        fields = next(csv.reader(line.decode("utf-8", "replace").splitlines()[:1]))
        text = fields[column].strip()
    except (IndexError, csv.Error, StopIteration) as error:
        raise UnusableError("corrupt: the row has no pixels") from error
    if not text or text.encode().translate(None, b"0123456789 "):
        raise UnusableError("corrupt: the row's pixels are not whole numbers from 0 to 255")
    values = np.fromstring(text, dtype=np.int64, sep=" ")  # five times as fast as int() on each
    if values.max() > 255:
        raise UnusableError("corrupt: the row's pixels are not whole numbers from 0 to 255")
    side = math.isqrt(len(values))
    if side * side != len(values):
        raise UnusableError(f"corrupt: {len(values)} pixels make no square")
    return Image.fromarray(values.astype(np.uint8).reshape(side, side))


@lru_cache(maxsize=4)
def _table_lines(path: str, _changed: int) -> tuple[int, Any]:
    """Find the column ``pixels`` (-1 if there is none) and where each row starts; blank lines are no rows."""
    csv.field_size_limit(1 << 24)
    ends, position = [np.zeros(1, np.int64)], 0
    with Path(path).open("rb") as file:
        while block := file.read(1 << 24):
            ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + (position + 1))
            position += len(block)
        bounds = np.concatenate([*ends, [position]])
        starts = bounds[:-1][np.diff(bounds) > 2]
        file.seek(int(starts[0]) if len(starts) else 0)
        head = file.readline(1 << 16).decode("utf-8-sig", "replace")
    names = [name.strip().lower() for name in next(csv.reader([head]), [])]
    return names.index("pixels") if "pixels" in names else -1, np.append(starts[1:], position)
