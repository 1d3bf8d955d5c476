"""Any data set that a table describes: one line per sample."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from evenface.data.datasets.layout import absent_files, check_root, class_notes, listed, side_of
from evenface.data.manifest import COLUMNS, Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.natural_order import natural_order
from evenface.utils.registry import nearest
from evenface.utils.tables import read_delimited

LICENCE = "Terms of its owner, unknown to evenface."

EXPECTED = "Expected the columns path and label, and as you like subject, clip, split, start, end, sample."


class _Table(NamedTuple):
    """The table that is read, and the name of the source that reads it."""

    source: str
    path: Path


def read(
    root: Path,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    delimiter: str | None = None,
) -> Manifest:
    """Read a table of samples."""
    return read_as("csv", root, table, columns, classes, delimiter)


def read_as(
    source: str,
    root: Path,
    table: str | None,
    columns: Mapping[str, str] | None,
    classes: Sequence[str] | None,
    delimiter: str | None,
) -> Manifest:
    """Read a table of samples for a source of the given name; see :func:`read`."""
    found = _Table(source, _find(source, root, table))
    root = found.path.parent if root.is_file() else root
    cells = _load(found, delimiter)
    cells = _rename(cells, columns or {}, found)
    for name in ("path", "label"):
        _refuse(cells, cells[name].isna(), name, found, "is empty")
    cells["path"] = [_below(cell, root, found, line) for line, cell in cells["path"].items()]
    _read_cells(cells, found)
    names = list(map(str, classes)) if classes else natural_order(cells["label"])
    cells, outside = _on_scale(cells, names, found)
    if len(names) < 2:
        raise InputError(f"{source}: at least two classes are needed, {found.path.name} has {listed(names)} only")
    cells["label"] = cells["label"].map({name: label for label, name in enumerate(names)}).astype("int64")
    hint = "Paths in the table start from the folder that is given as root."
    notes = absent_files(root, cells["path"].unique().tolist(), source, found.path.name, hint)
    rows = make_table([{str(k): v for k, v in row.items()} for row in cells.to_dict("records")])
    return Manifest(rows, tuple(names), source, root, (*class_notes(names), *outside, *notes))


def _on_scale(cells: pd.DataFrame, names: list[str], table: _Table) -> tuple[pd.DataFrame, list[str]]:
    """Leave out lines whose label is no class, and say which.

    Where a class has no line at all either, it may be these that are meant, spelt otherwise: they are refused.
    """
    off = ~cells["label"].isin(names)
    if not set(names) <= set(cells["label"]):
        _refuse(cells, off, "label", table, f"is none of {listed(names)}")
    lines = listed(f"line {line} ({label})" for line, label in cells["label"][off].items())
    said = f"{int(off.sum())} of {len(cells)} lines of {table.path.name} are left out, their label is none of"
    return cells[~off].copy(), [f"{said} {listed(names)}: {lines}"] if off.any() else []


def _find(source: str, root: Path, table: str | None) -> Path:
    if root.is_file():
        return root
    check_root(root, source)
    if table is not None:
        table = str(user_path(table))
        if not (root / table).is_file():
            raise InputError(f"{source}: there is no table {root / table}", f"{root} holds {listed(_tables(root))}.")
        return root / table
    found = _tables(root)
    if len(found) != 1:
        raise InputError(
            f"{source}: expected one *.csv in {root}, found {listed(found)}", "Name it with the option table."
        )
    return root / found[0]


def _tables(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*.csv") if not path.name.startswith("."))


def _load(table: _Table, delimiter: str | None) -> pd.DataFrame:
    try:
        cells = read_delimited(table.path, delimiter=delimiter)
    except InputError as error:
        raise InputError(f"{table.source}: {error.message}", error.hint or EXPECTED) from None
    if cells.empty:
        raise InputError(f"{table.source}: {table.path} has no lines below its header", EXPECTED)
    return cells


def _rename(cells: pd.DataFrame, columns: Mapping[str, str], table: _Table) -> pd.DataFrame:
    found = list(cells.columns)
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise InputError(
                f"{table.source}: columns names {ours!r}, which is no column of a manifest", nearest(ours, COLUMNS)
            )
        if theirs not in found:
            raise InputError(
                f"{table.source}: expected the column {theirs} in {table.path.name}, found {listed(found)}"
            )
    taken = set(columns.values())
    cells = cells.drop(columns=[ours for ours in columns if ours in found and ours not in taken])
    cells = cells.rename(columns={theirs: ours for ours, theirs in columns.items()})
    missing = [name for name in ("path", "label") if name not in cells.columns]
    if missing:
        raise InputError(
            f"{table.source}: expected the columns path, label in {table.path.name}, found {listed(found)}",
            f"Say what {missing[0]} is called there: columns: {{{missing[0]}: ...}}."
            + (" Or what stands between its cells: delimiter." if len(found) == 1 else ""),
        )
    return cells


def _refuse(cells: pd.DataFrame, wrong: "pd.Series[bool]", name: str, table: _Table, why: str) -> None:
    """Raise an InputError that names the first line where ``wrong`` holds."""
    if wrong.any():
        row = int(wrong.to_numpy(dtype=bool).argmax())
        cell = cells[name].iloc[row]
        shown = "" if pd.isna(cell) else f" {str(cell)!r}"
        more = f" ({int(wrong.sum())} such lines)" if wrong.sum() > 1 else ""
        line = cells.index[row]
        raise InputError(f"{table.source}: line {line} of {table.path.name}: {name}{shown} {why}{more}")


def _below(cell: str, root: Path, table: _Table, line: Any) -> str:
    """Path below ``root`` with forward slashes; an absolute one is accepted where it leads there."""
    text = os.path.normpath(cell.replace("\\", "/"))
    if Path(text).is_absolute():
        text = os.path.relpath(text, root.absolute())
    if text.startswith(".."):
        raise InputError(
            f"{table.source}: line {line} of {table.path.name}: path {cell!r} lies outside {root}",
            "Give the folder above.",
        )
    return PurePosixPath(text).as_posix()


def _read_cells(cells: pd.DataFrame, table: _Table) -> None:
    """Turn cells of known columns into what they mean, and numbers of others into numbers."""
    for name in ("start", "end"):
        if name in cells:
            numbers = pd.to_numeric(cells[name], errors="coerce")
            bad = (
                (numbers.isna() & cells[name].notna())
                | (numbers < 0)
                | (numbers > 2**53)
                | (numbers % 1 != 0) & numbers.notna()
            )
            _refuse(cells, bad.fillna(False), name, table, "is no whole number >= 0")
            cells[name] = numbers.astype("Int64")
    if {"start", "end"} <= set(cells):
        _refuse(cells, (cells["end"] <= cells["start"]).fillna(False), "end", table, "is not above start")
    if "split" in cells:
        known = cells["split"].map(side_of, na_action="ignore")
        _refuse(cells, known.isna() & cells["split"].notna(), "split", table, "is none of train, validation, test")
        cells["split"] = known
    if "sample" not in cells:
        cells["sample"] = cells["path"]
        if "start" in cells:
            some = cells["start"].notna()
            cells.loc[some, "sample"] = cells["path"] + "#" + cells["start"].astype("string")
    _refuse(cells, cells["sample"].isna(), "sample", table, "is empty")
    _refuse(cells, cells["sample"].duplicated(), "sample", table, "stands twice")
    for name in sorted(set(map(str, cells.columns)) - set(COLUMNS)):
        numbers = pd.to_numeric(cells[name], errors="coerce")
        if (numbers.notna() == cells[name].notna()).all():
            cells[name] = numbers
