"""Pictures that stand in the rows of a table, as FER2013's do."""

import csv
import math
import os
from pathlib import Path

import numpy as np
from PIL import Image

from evenface.errors import InputError
from evenface.faces.trouble import UnusableError
from evenface.tabular import row_index


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
    try:
        index = row_index(path)
    except InputError as error:
        raise UnusableError(f"not a table: {error.message}") from error
    names = [name.lower() for name in index.names]
    if "pixels" not in names:
        raise UnusableError("no column pixels in the table")
    if not 0 <= row < len(index.starts):
        raise UnusableError(f"no row: the table ends before row {row}")
    with Path(path).open("rb") as file:
        file.seek(index.starts[row])
        line = file.read(index.ends[row] - index.starts[row])
    try:
        text = index.cells(line)[names.index("pixels")]
    except (IndexError, csv.Error) as error:
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
