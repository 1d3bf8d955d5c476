"""Sequences in a table in long form, a row per frame, for the source ``sequences``."""

import fnmatch
import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from evenface.data.sources.layout import listed
from evenface.errors import InputError

EXPECTED = "Expected the columns sample, frame, label, as you like subject, clip, split, and columns of numbers."
NEEDED, FURTHER = ("sample", "frame"), ("subject", "clip", "split")


def read_rows(
    path: Path, points: str, numbers: str | Sequence[str] | None, label: str
) -> tuple[pd.DataFrame, None, str | None, list[str]]:
    """Read what a Parquet table says of its sequences; see :func:`evenface.data.sources.sequences.read`.

    Returns
    -------
    table : DataFrame
        As :func:`~evenface.data.sources.sequence_arrays.read_arrays` gives it.
    classes : None
        The table does not say their order.
    numbers : str or None
        The columns of numbers, separated by commas; None for those that are usual of such points.
    notes : list of str

    Raises
    ------
    InputError
        If a column is missing, or the rows of a sequence are not in order or contradict each other.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        missing = [name for name in (*NEEDED, label) if name not in schema.names]
        if missing:
            raise InputError(
                f"sequences: expected the columns {', '.join((*NEEDED, label))} in {path.name}, found "
                f"{listed(schema.names)}",
                EXPECTED,
            )
        said = [name for name in FURTHER if name in schema.names and name != label]
        rows = pq.read_table(path, columns=[*NEEDED, label, *said]).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"sequences: cannot read {path} as Parquet: {error}", EXPECTED) from error
    if rows.empty:
        raise InputError(f"sequences: {path} has no rows", EXPECTED)
    known = {*NEEDED, *FURTHER, label}
    counted = [
        field.name
        for field in schema
        if field.name not in known
        and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type))
    ]
    return _samples(path, rows, [label, *said], label), None, _numbers(path, counted, points, numbers), []


def _samples(path: Path, rows: pd.DataFrame, said: list[str], label: str) -> pd.DataFrame:
    """Make a row of each sequence from those of its frames."""
    if rows[[*NEEDED, label]].replace("", pd.NA).isna().to_numpy().any():
        raise InputError(f"sequences: {path.name} has rows without sample, frame or {label}")
    names = rows["sample"].astype(str).to_numpy()
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    ends = np.r_[starts[1:], len(rows)]
    falls = np.flatnonzero((np.diff(rows["frame"].to_numpy()) <= 0) & (names[1:] == names[:-1]))
    if len(set(names[starts])) < len(starts) or len(falls):
        where = names[falls[0]] if len(falls) else pd.Series(names[starts]).mode()[0]
        raise InputError(
            f"sequences: the rows of {where!r} in {path.name} are not in order", "Sort by sample and frame."
        )
    table = pd.DataFrame({"sample": names[starts], "start": starts, "end": ends})
    for column in said:
        values = rows[column].astype("string").fillna("").to_numpy()
        torn = np.flatnonzero(values != np.repeat(values[starts], ends - starts))
        if len(torn):
            raise InputError(f"sequences: {names[torn[0]]!r} in {path.name} has several values of {column}")
        table["class" if column == label else column] = [value or None for value in values[starts]]
    return table


def _numbers(path: Path, counted: list[str], points: str, numbers: str | Sequence[str] | None) -> str | None:
    """Name the columns of numbers."""
    if numbers is not None:
        patterns = [numbers] if isinstance(numbers, str) else list(numbers)
        absent = [one for pattern in patterns for one in pattern.split(",") if not fnmatch.filter(counted, one.strip())]
        if absent:
            raise InputError(f"sequences: {path.name} has no column of numbers {absent[0]}, only {listed(counted)}")
        return ",".join(patterns)
    if points != "features":
        return None
    if not counted:
        raise InputError(f"sequences: {path.name} has no columns of numbers", EXPECTED)
    if odd := [name for name in counted if "," in name or name != name.strip()]:
        raise InputError(
            f"sequences: the name of the column {odd[0]!r} in {path.name} must have no comma or blank ends"
        )
    return ",".join(glob.escape(name) for name in counted)
