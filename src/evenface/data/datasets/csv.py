"""Any dataset listed in a table with one line per sample: images (``csv``) or clips (``clips``)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from evenface.data.datasets.layout import (
    SourceFacts,
    absent_files,
    check_root,
    class_notes,
    naming,
    side_of,
    task_of_scale,
)
from evenface.data.manifest import COLUMNS, Manifest, TaskKind, make_table
from evenface.data.targets import are_binary, is_unit, select_targets
from evenface.utils.errors import InputError
from evenface.utils.files import listed, natural_order, user_path
from evenface.utils.registry import nearest
from evenface.utils.tables import read_delimited

EXPECTED = (
    "Expected the columns path and label, or path and targets such as AU1, AU12 or pspi; subject, clip, split, start, "
    "end and sample are optional."
)
OWN = "Terms of its owner, unknown to evenface"
FACTS = {
    "csv": SourceFacts(
        "Your own images, listed in a table",
        "classes, levels, or any number of targets: action units, pspi, valence, arousal, vas, or columns you name",
        EXPECTED,
        "you",
        OWN,
    ),
    "clips": SourceFacts(
        "Your own clips, listed in a table", "classes, levels, or targets as of csv", EXPECTED, "you", OWN
    ),
}
PATHS = ("path", "image", "file", "video")
"""Names of the column of files, the first of which is used."""
NUMBERS = ("pspi", "valence", "arousal", "vas")
HIGHEST_UNIT = 5
"""Highest intensity of an action unit."""


class TableFile(NamedTuple):
    """File that is read, and the name of the source that reads it."""

    source: str
    path: Path


def read(
    root: Path,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    delimiter: str | None = None,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read a table of samples, of classes in the column ``label``, or else of targets in columns of numbers."""
    return _on_scale(read_as("csv", root, table, columns, classes, delimiter, targets), classes, ordered)


def read_clips(
    root: Path,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    delimiter: str | None = None,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read a table with one line per clip: a whole file or folder, or a range of its frames."""
    manifest = read_as("clips", root, table, columns, classes, delimiter, targets)
    return replace(with_own_clips(_on_scale(manifest, classes, ordered)), content="clips")


def _on_scale(manifest: Manifest, classes: Sequence[str] | None, ordered: bool) -> Manifest:
    """Return a manifest whose classes, if it has any, are levels if ``ordered``."""
    if manifest.targets:
        return manifest
    return replace(manifest, task=task_of_scale(manifest.source, manifest.classes, classes, ordered))


def with_own_clips(manifest: Manifest) -> Manifest:
    """Make each sample without a clip its own clip, and note samples of one file that a split may separate."""
    table, notes = manifest.table, list(manifest.notes)
    shared = table["path"].duplicated(keep=False) & table["clip"].isna() & table["subject"].isna()
    if shared.any():
        notes.append(
            f"{table['path'][shared].nunique()} files contain several samples without subject or clip: samples of one "
            "file may be in both training and test set"
        )
    table = table.assign(clip=table["clip"].fillna(table["sample"]))
    return replace(manifest, table=table, notes=tuple(notes))


def read_as(
    source: str,
    root: Path,
    table: str | None,
    columns: Mapping[str, str] | None,
    classes: Sequence[str] | None,
    delimiter: str | None,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read a table of samples for the source of the given name; options as in :func:`read`."""
    file = TableFile(source, _find_table(source, root, table))
    root = file.path.parent if root.is_file() else root
    cells = _rename(_load(file, delimiter), columns or {}, file, targets)
    predicted = [] if "label" in cells else target_names(cells.columns, targets)
    for name in ("path",) if predicted else ("path", "label"):
        _check_lines(cells, cells[name].isna(), name, file, "is empty")
    cells["path"] = [_path_below(cell, root, file, line) for line, cell in cells["path"].items()]
    _convert_cells(cells, file)
    numeric_targets(cells, predicted or [name for name in targets if name in cells], file)
    names = ["all"] if predicted else list(map(str, classes)) if classes else natural_order(cells["label"])
    notes: list[str] = []
    if predicted:
        cells["label"] = 0
    else:
        cells, notes = _drop_unknown_labels(cells, names, file)
        notes = [*class_notes(names), *notes]
        if len(names) < 2:
            raise InputError(f"{source}: expected at least two classes in {file.path.name}, found {listed(names)}")
        cells["label"] = cells["label"].map({name: label for label, name in enumerate(names)}).astype("int64")
    hint = "Paths in the table are relative to the folder that is given as root."
    notes += absent_files(root, cells["path"].unique().tolist(), source, file.path.name, hint)
    rows = make_table([{str(k): v for k, v in row.items()} for row in cells.to_dict("records")])
    manifest = Manifest(rows, tuple(names), source, root, tuple(notes))
    if not predicted:
        return manifest
    return select_targets(manifest, task_of_targets(cells, predicted, file, chosen=bool(targets)), predicted)


def path_column(names: Iterable[str]) -> str | None:
    """Return the name of the column of files: path, image, file or video; None if there is none."""
    return next((name for name in PATHS if name in set(names)), None)


def target_names(names: Iterable[str], chosen: Sequence[str] = ()) -> list[str]:
    """Return the columns to be predicted: the chosen ones, else action units, pspi, valence, arousal and vas."""
    return list(chosen) or [name for name in map(str, names) if is_unit(name) or name.lower() in NUMBERS]


def numeric_targets(cells: pd.DataFrame, names: Sequence[str], table: TableFile) -> None:
    """Convert columns to numbers; an InputError names the first line with anything else."""
    for name in names:
        numbers = pd.to_numeric(cells[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = pd.Series(~np.isfinite(numbers), index=cells.index) & cells[name].notna()
        _check_lines(cells, wrong, name, table, "is not a number; leave a cell empty where the value is not known")
        if is_unit(name):
            wrong = pd.Series((numbers < 0) | (numbers > HIGHEST_UNIT), index=cells.index)
            _check_lines(
                cells, wrong, name, table, f"must be 0 to {HIGHEST_UNIT}; leave a cell empty where it is not known"
            )
        cells[name] = numbers


def task_of_targets(cells: pd.DataFrame, names: Sequence[str], table: TableFile, *, chosen: bool) -> TaskKind:
    """Return multilabel if all values are 0 or 1, else regression; an InputError if units are one, and others not."""
    binary = are_binary(cells[list(names)].to_numpy(dtype=np.float64, na_value=np.nan), names)
    present, valued = (
        [name for name, own in zip(names, binary, strict=True) if own == wanted] for wanted in (True, False)
    )
    if present and valued and not chosen:
        raise InputError(
            f"{table.source}: in {table.path.name}, {listed(present)} are 0 or 1, {listed(valued)} have other values",
            f"Choose the targets: data.targets=[{', '.join(present[:3])}] or data.targets=[{', '.join(valued[:3])}].",
        )
    return "regression" if valued else "multilabel"


def _drop_unknown_labels(cells: pd.DataFrame, names: list[str], table: TableFile) -> tuple[pd.DataFrame, list[str]]:
    """Exclude lines whose label is not a class, and list them in a note.

    If a class has no line either, the unknown labels may be other spellings of it: this is an error.
    """
    unknown = ~cells["label"].isin(names)
    if not set(names) <= set(cells["label"]):
        _check_lines(cells, unknown, "label", table, f"is none of {listed(names)}")
    if not unknown.any():
        return cells.copy(), []
    lines = listed(f"line {line} ({label})" for line, label in cells["label"][unknown].items())
    note = (
        f"{int(unknown.sum())} of {len(cells)} lines of {table.path.name} are excluded, as their label is none of "
        f"{listed(names)}: {lines}"
    )
    return cells[~unknown].copy(), [note]


def _find_table(source: str, root: Path, table: str | None) -> Path:
    if root.is_file():
        return root
    check_root(root, source)
    if table is not None:
        table = str(user_path(table))
        if not (root / table).is_file():
            raise InputError(
                f"{source}: the table {root / table} does not exist", f"{root} has {listed(_tables(root))}."
            )
        return root / table
    tables = _tables(root)
    if len(tables) != 1:
        raise InputError(
            f"{source}: expected one *.csv in {root}, found {listed(tables)}", "Name the file with the option table."
        )
    return root / tables[0]


def _tables(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*.csv") if not path.name.startswith("."))


def _load(table: TableFile, delimiter: str | None) -> pd.DataFrame:
    with naming(table.source, EXPECTED):
        cells = read_delimited(table.path, delimiter=delimiter)
    if cells.empty:
        raise InputError(f"{table.source}: {table.path} has no lines below its header", EXPECTED)
    return cells


def _rename(
    cells: pd.DataFrame, columns: Mapping[str, str], table: TableFile, targets: Sequence[str] = ()
) -> pd.DataFrame:
    """Rename the file's columns to those of a manifest, by the option ``columns``."""
    names = list(cells.columns)
    for column, name in columns.items():
        if column not in COLUMNS:
            raise InputError(
                f"{table.source}: {column!r} in the option columns is not a column of a manifest",
                nearest(column, COLUMNS),
            )
        if name not in names:
            raise InputError(f"{table.source}: expected the column {name} in {table.path.name}, found {listed(names)}")
    used = set(columns.values())
    cells = cells.drop(columns=[column for column in columns if column in names and column not in used])
    cells = cells.rename(columns={name: column for column, name in columns.items()})
    if (files := path_column(cells.columns)) is not None:
        cells = cells.rename(columns={files: "path"})
    _check_targets(cells, table, targets)
    needed = ("path",) if target_names(cells.columns, targets) else ("path", "label")
    missing = [name for name in needed if name not in cells.columns]
    if missing:
        raise InputError(
            f"{table.source}: expected the columns path, label in {table.path.name}, found {listed(names)}",
            f"Map the file's column with the option columns: {{{missing[0]}: ...}}."
            + (" Or set the character between cells with the option delimiter." if len(names) == 1 else ""),
        )
    return cells


def _check_targets(cells: pd.DataFrame, table: TableFile, targets: Sequence[str]) -> None:
    """Raise an InputError for a chosen target that is not a column."""
    for name in targets:
        if name not in cells.columns:
            raise InputError(
                f"{table.source}: expected the column {name} of data.targets in {table.path.name}, found "
                f"{listed(cells.columns)}",
                nearest(name, map(str, cells.columns)),
            )


def _check_lines(cells: pd.DataFrame, wrong: "pd.Series[bool]", name: str, table: TableFile, problem: str) -> None:
    """Raise an InputError that names the first line where ``wrong`` is true."""
    if wrong.any():
        row = int(wrong.to_numpy(dtype=bool).argmax())
        cell = cells[name].iloc[row]
        shown = "" if pd.isna(cell) else f" {str(cell)!r}"
        more = f" ({int(wrong.sum())} such lines)" if wrong.sum() > 1 else ""
        raise InputError(f"{table.source}: line {cells.index[row]} of {table.path.name}: {name}{shown} {problem}{more}")


def _path_below(cell: str, root: Path, table: TableFile, line: Any) -> str:
    """Return a path relative to ``root`` with forward slashes; absolute paths are accepted if they are below it."""
    path = os.path.normpath(cell.replace("\\", "/"))
    if Path(path).is_absolute():
        path = os.path.relpath(path, root.absolute())
    if path.startswith(".."):
        raise InputError(
            f"{table.source}: line {line} of {table.path.name}: path {cell!r} is outside {root}",
            "Give a parent folder of all files as root.",
        )
    return PurePosixPath(path).as_posix()


def _convert_cells(cells: pd.DataFrame, table: TableFile) -> None:
    """Convert known columns to their types, and other columns to numbers where all cells are numbers."""
    for name in ("start", "end"):
        if name in cells:
            numbers = pd.to_numeric(cells[name], errors="coerce")
            bad = (
                (numbers.isna() & cells[name].notna())
                | (numbers < 0)
                | (numbers > 2**53)
                | (numbers % 1 != 0) & numbers.notna()
            )
            _check_lines(cells, bad.fillna(False), name, table, "must be an integer >= 0")
            cells[name] = numbers.astype("Int64")
    if {"start", "end"} <= set(cells):
        _check_lines(cells, (cells["end"] <= cells["start"]).fillna(False), "end", table, "must be above start")
    if "split" in cells:
        sides = cells["split"].map(side_of, na_action="ignore")
        _check_lines(cells, sides.isna() & cells["split"].notna(), "split", table, "must be train, validation or test")
        cells["split"] = sides
    if "sample" not in cells:
        cells["sample"] = cells["path"]
        if "start" in cells:
            ranged = cells["start"].notna()
            cells.loc[ranged, "sample"] = cells["path"] + "#" + cells["start"].astype("string")
    _check_lines(cells, cells["sample"].isna(), "sample", table, "is empty")
    _check_lines(cells, cells["sample"].duplicated(), "sample", table, "is a duplicate")
    for name in sorted(set(map(str, cells.columns)) - set(COLUMNS)):
        numbers = pd.to_numeric(cells[name], errors="coerce")
        if (numbers.notna() == cells[name].notna()).all():
            cells[name] = numbers
