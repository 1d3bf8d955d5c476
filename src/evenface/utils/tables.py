"""Text files and delimited tables: encoding, delimiter, blanks, ragged rows; cells that are safe in spreadsheets."""

from __future__ import annotations

import csv
import io
import mmap
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import describe_content, is_image

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

DELIMITERS = (",", ";", "\t")
AS_TEXT = "Save it as text in UTF-8, a table as CSV."
LONGEST = 1 << 24
"""Maximum number of characters of a cell."""
_BLANKS = " \t\r\n\f\v\u00a0\u3000\ufeff\u200b"
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NO_CONTENT = b' \t\r\n\f\v,;"'


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text by its first bytes: its byte order mark, UTF-16 by its zeros, else UTF-8."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    zeros = [not byte for byte in head[:256]]
    odd, even = sum(zeros[1::2]), sum(zeros[::2])
    if 8 * max(odd, even) > len(zeros) > 4:  # a quarter of every second byte, as in mostly Latin text
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


def read_text(path: Path) -> str:
    """Load a text file as UTF-8, or as UTF-16 or UTF-32 by its byte order mark; line ends become line feeds."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {os.strerror(error.errno) if error.errno else error}") from error
    return decode_text(content, str(path)).replace("\r\n", "\n").replace("\r", "\n")


def decode_text(content: bytes, name: str) -> str:
    """Decode the bytes of a text file; ``name`` is for messages. See :func:`read_text`."""
    if kind := describe_content(content[:64]):
        raise InputError(f"{name} is not a text file: it is {kind}", AS_TEXT)
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if is_image(content[:64]):
            raise InputError(f"{name} is not a text file: it is an image", AS_TEXT) from None
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name}, line {line}: not {encoding.removesuffix('-sig').upper()} (byte 0x{content[error.start]:02x})",
            "Save it as UTF-8; in a spreadsheet, as CSV UTF-8.",
        ) from None
    if "\0" in text:
        raise InputError(f"{name} is not a text file: it contains zero bytes", AS_TEXT)
    return text


def read_delimited(path: Path, *, delimiter: str | None = None, only: Collection[str] | None = None) -> pd.DataFrame:
    """Load a delimited table, every cell as text."""
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InputError(f"delimiter must be one character, such as ',' or ';', got {delimiter!r}")
    text = read_text(path)
    declared = re.match(r"sep=(.)\n", text)  # spreadsheets write this before the header
    delimiter = delimiter or (declared[1] if declared else _delimiter(text))
    rows = _rows(text, delimiter, path, skip=1 if declared else 0)
    head = next(rows, None)
    if head is None:
        raise InputError(f"{path} is empty: it has no header", "The first line must name the columns.")
    names = _names(head[1], path)
    kept = [index for index, name in enumerate(names) if only is None or name in only]
    lines, cells = [], []
    for line, row in rows:
        if any(row[len(names) :]):
            raise InputError(f"{path}, line {line}: {len(row)} cells, the header has {len(names)} columns")
        lines.append(line)
        cells.append([row[index] or None if index < len(row) else None for index in kept])
    table = pd.DataFrame(
        cells, columns=[names[index] for index in kept], index=pd.Index(lines, dtype="int64"), dtype="string"
    )
    # A delimiter at the end of every line adds an empty column.
    unnamed = [name for name in map(str, table.columns) if name.startswith("Unnamed: ")]
    return table.drop(columns=[name for name in unnamed if table[name].isna().all()])


def _rows(text: str, delimiter: str, path: Path, skip: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that have content, each with the number of its first line."""
    csv.field_size_limit(LONGEST)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=delimiter != " ", strict=True)
    line = 1
    try:
        for row in reader:
            stripped = [cell.strip(_BLANKS) for cell in row]
            if any(stripped) and line > skip:
                yield line, stripped
            line = reader.line_num + 1
    except csv.Error as error:
        what = "a quote is not closed" if "end of data" in str(error) else str(error)
        raise InputError(f"{path}, line {line}: {what}", "Close quotes, and double those within a cell.") from None


def _names(cells: list[str], path: Path) -> list[str]:
    names = [cell or f"Unnamed: {index}" for index, cell in enumerate(cells)]
    duplicate = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if duplicate is not None:
        raise InputError(f"{path} has two columns named {duplicate}", "Rename one of them.")
    return names


def _delimiter(text: str) -> str:
    """Return the delimiter that splits the first lines into equally many cells, else the one with most header cells."""
    lines = list(islice((line for line in text.split("\n") if line.strip(_BLANKS)), 5))
    if not lines:
        return DELIMITERS[0]
    counts = {char: [len(next(csv.reader([line], delimiter=char), [])) for line in lines] for char in DELIMITERS}
    constant = [char for char in DELIMITERS if counts[char][0] > 1 and len(set(counts[char])) == 1]
    return max(constant or DELIMITERS, key=lambda char: counts[char][0])


def read_header(path: Path) -> list[str]:
    """Return the column names in the first line of a table; an empty list if the file cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 18)
    except OSError:
        return []
    line = head.decode(encoding_of(head), "replace").lstrip(_BLANKS).partition("\n")[0]
    names = next(csv.reader([line.rstrip("\r")], delimiter=_delimiter(line), skipinitialspace=True), [])
    return [name.strip(_BLANKS) for name in names]


class RowIndex(NamedTuple):
    """Byte offsets of the rows of a delimited file, without header and blank lines, to read it without loading it."""

    names: list[str]
    delimiter: str
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]

    def cells(self, row: bytes) -> list[str]:
        """Split the bytes of a row into its cells, blanks stripped."""
        cells = next(csv.reader([row.decode("utf-8", "replace")], delimiter=self.delimiter, skipinitialspace=True), [])
        return [cell.strip(_BLANKS) for cell in cells]


def index_rows(path: str | Path) -> RowIndex:
    """Index the rows of a delimited file without loading it into memory."""
    try:
        return _row_index(str(path), os.stat(path).st_mtime_ns)  # noqa: PTH116 - one call per sample
    except OSError as error:
        raise InputError(f"cannot read {path}: {os.strerror(error.errno) if error.errno else error}") from error


@lru_cache(maxsize=4)
def _row_index(path: str, _changed: int) -> RowIndex:
    csv.field_size_limit(LONGEST)
    with Path(path).open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise InputError(f"{path} is empty: it has no header", "The first line must name the columns.")
        ends, position = [np.zeros(1, np.int64)], 0
        while block := file.read(LONGEST):
            ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + (position + 1))
            position += len(block)
        bounds = np.unique(np.concatenate([*ends, [position]]))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            encoding = encoding_of(content[:4096])
            if not encoding.startswith("utf-8"):
                raise InputError(f"{path} is {encoding.upper()}, expected UTF-8", "Save it as UTF-8.")
            filled = [
                bool(content[start : min(start + 64, end)].strip(_NO_CONTENT) or content[start:end].strip(_NO_CONTENT))
                for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
            ]
            rows = np.flatnonzero(filled)
            head = bytes(content[bounds[rows[0]] : bounds[rows[0] + 1]]) if len(rows) else b""
    line = decode_text(head, path).strip(_BLANKS)
    if not line:
        raise InputError(f"{path} is empty: it has no header", "The first line must name the columns.")
    if "\r" in line:
        raise InputError(f"the lines of {path} end with carriage returns only", "Save it with line feeds.")
    delimiter = _delimiter(line)
    names = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    below = rows[1:]
    return RowIndex([name.strip(_BLANKS) for name in names], delimiter, bounds[below], bounds[below + 1], below + 1)


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def escape_csv_cell(text: str) -> str:
    """Return a string as a CSV cell that no spreadsheet evaluates as a formula: prefixed by ``'`` if necessary.

    Examples
    --------
    >>> escape_csv_cell("=1+1"), escape_csv_cell("-2"), escape_csv_cell("happy")
    ("'=1+1", '-2', 'happy')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape_csv_cell(cell: str) -> str:
    """Return the string that :func:`escape_csv_cell` escaped.

    Examples
    --------
    >>> unescape_csv_cell("'=1+1"), unescape_csv_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def escape_csv_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with strings and column names escaped by :func:`escape_csv_cell`."""

    def escape(cell: Any) -> Any:
        return escape_csv_cell(cell) if isinstance(cell, str) else cell

    safe = table.rename(columns=escape)
    for i, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(i, table.iloc[:, i].astype(object).map(escape).to_numpy())
    return safe


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a small table for a notebook, its cells escaped.

    Examples
    --------
    >>> html_table(["a"], [["<b>"]])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
