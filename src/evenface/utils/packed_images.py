"""Image files in the rows of Parquet and Arrow files, as the Hugging Face library ``datasets`` stores them."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.utils.errors import InputError, SampleError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".arrow")
BYTES = "bytes"
"""Field of an image column with the content of the image file, beside its ``path``."""


def image_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that store images: structs with the field ``bytes``."""
    import pyarrow as pa

    return [field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index(BYTES) >= 0]


def is_packed(path: str) -> bool:
    """Return whether a file is Parquet or an Arrow stream with a column of images."""
    if not path.lower().endswith(SUFFIXES) or not os.path.isfile(path):  # noqa: PTH113 - as paths are strings here
        return False
    try:
        return bool(image_columns(read_schema(path)))
    except InputError:
        return False


def read_schema(path: str) -> pa.Schema:
    """Return the schema of a Parquet file or Arrow stream; an InputError if it is neither."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.lower().endswith(".parquet"):
            return pq.read_schema(path)
        with pa.memory_map(path) as source, pa.ipc.open_stream(source) as reader:
            return reader.schema
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot read {path} as Parquet or Arrow: {_line(error)}") from error


def read_columns(path: str, columns: list[str]) -> pa.Table:
    """Load columns of a Parquet file or Arrow stream; an InputError if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.lower().endswith(".parquet"):
            return pq.read_table(path, columns=columns)
        with pa.memory_map(path) as source, pa.ipc.open_stream(source) as reader:
            return reader.read_all().select(columns)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot read {path} as Parquet or Arrow: {_line(error)}") from error


def packed_image(path: str, row: int | None) -> bytes:
    """Return the bytes of the image in a row; a SampleError if there are none."""
    import pyarrow as pa

    if row is None:
        raise SampleError("no row: the manifest does not state the row of the file")
    try:
        changed = os.stat(path).st_mtime_ns  # noqa: PTH116 - one call per sample
        starts = _starts(path, changed)
        group = int(np.searchsorted(starts, row, side="right")) - 1
        if not 0 <= row < starts[-1]:
            raise SampleError(f"no row: the file ends before row {row}")
        content = _images(path, changed, group)[row - int(starts[group])].as_py()
    except (pa.ArrowException, OSError, IndexError, KeyError, ValueError) as error:
        if getattr(error, "errno", None):  # the file cannot be opened; damaged content has no number
            raise
        raise SampleError(f"corrupt: {_line(error)}") from error
    if not content:
        raise SampleError("empty: the row has no bytes of an image")
    return bytes(content)


@lru_cache(maxsize=16)
def _starts(path: str, _changed: int) -> np.ndarray:
    """Return the first row of each row group or record batch, and the number of rows."""
    if path.lower().endswith(".parquet"):
        import pyarrow.parquet as pq

        facts = pq.read_metadata(path)
        sizes = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
    else:
        sizes = [len(chunk) for chunk in _mapped(path, _changed).chunks]
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


@lru_cache(maxsize=2)
def _images(path: str, _changed: int, group: int) -> Any:
    """Return the images of a row group or record batch, as an array of bytes."""
    if not path.lower().endswith(".parquet"):
        return _bytes_of(_mapped(path, _changed).chunk(group))
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        column = image_columns(file.schema_arrow)[0]
        return _bytes_of(file.read_row_group(group, columns=[column])[column].combine_chunks())


@lru_cache(maxsize=4)
def _mapped(path: str, _changed: int) -> Any:
    """Return the column of images of an Arrow stream, mapped into memory rather than loaded."""
    import pyarrow as pa

    table = pa.ipc.open_stream(pa.memory_map(path)).read_all()
    return table[image_columns(table.schema)[0]]


def _bytes_of(structs: Any) -> Any:
    import pyarrow.compute as pc

    return pc.struct_field(structs, BYTES)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
