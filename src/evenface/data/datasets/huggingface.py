"""Datasets of the Hugging Face library on disk: Parquet files of the hub, or folders of ``save_to_disk``.

Images are in a column of the feature ``Image``, a struct of ``bytes`` and ``path``; the names of classes are in the
feature ``ClassLabel``, which the library writes into the files' metadata. The layout is that of the library's
documentation and of files written by its version 5: ``data/train-00000-of-00001.parquet``, or ``dataset_dict.json``
beside ``train/state.json`` and ``train/data-00000-of-00001.arrow``. Neither the library nor the network is needed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from evenface.data.datasets.csv import TableFile, numeric_targets, target_names, task_of_targets
from evenface.data.datasets.layout import (
    SourceFacts,
    class_notes,
    class_order,
    files_below,
    manifest_of_targets,
    naming,
    side_of,
    task_of_scale,
)
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import check_exists, listed, natural_order
from evenface.utils.packed_images import SUFFIXES, image_columns, read_columns, read_schema

LABELS = ("label", "labels", "emotion", "expression")
SUBJECTS = ("subject", "subject_id", "person", "participant")
STATE = "state.json"
OWN = ("sample", "path", "start", "end", "split", "clip")
"""Columns of the manifest that are not read from the files."""
EXPECTED = (
    "Expected Parquet files such as data/train-00000-of-00001.parquet, or a folder of save_to_disk with state.json and "
    "data-00000-of-00001.arrow, with one column of images."
)
FACTS = SourceFacts(
    "A dataset of the Hugging Face library on disk, with a column of images",
    "its ClassLabel, as classes or levels, or any number of targets as of csv",
    EXPECTED,
    "whoever published it; see its card",
    "Terms of its owner, unknown to evenface",
)


def read(
    root: Path,
    *,
    label: str | None = None,
    subject: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read all splits; columns of label and subject are found by their names unless given."""
    check_exists(root, "huggingface")
    files = _files(root)
    root = root.parent if root.is_file() else root
    tables = []
    features: dict[str, Any] = {}
    for name in files:
        with naming("huggingface", EXPECTED):
            schema = read_schema(str(root / name))
        images = image_columns(schema)
        if len(images) != 1:
            raise InputError(
                f"huggingface: {name} has {len(images)} columns of images{': ' if images else ''}{', '.join(images)}; "
                f"its columns are {listed(schema.names)}",
                EXPECTED,
            )
        features = features or _features(schema.metadata or {})
        tables.append(_rows(root, name, schema))
    table = pd.concat(tables, ignore_index=True)
    subject = _column(table, subject, SUBJECTS, "subject")
    table["subject"] = table[subject].astype("string") if subject else None
    unsplit = table["split"].isna()
    notes = (
        [f"rows in files whose names are of no split: {int(unsplit.sum())}"] if 0 < unsplit.sum() < len(table) else []
    )
    label = None if targets else _label(table, label, features)
    if label is None:
        file = TableFile("huggingface", root / files[0])
        names = target_names(table.columns, targets)
        if not names:
            raise InputError(
                f"huggingface: {files[0]} has no column of labels, and none of targets, only {listed(table.columns)}",
                "Name the column: data.label=..., or data.targets=[...].",
            )
        numeric_targets(table, names, file)
        task = task_of_targets(table, names, file, chosen=bool(targets))
        return manifest_of_targets(table, names, task, "huggingface", root, notes)
    return _in_order(_of_classes(table, label, features, root, notes), classes, ordered)


def _in_order(manifest: Manifest, classes: Sequence[str] | None, ordered: bool) -> Manifest:
    """Return a manifest whose classes are in the given order, and levels if ``ordered``."""
    order = class_order("huggingface", manifest.classes, classes)
    labels = [order.index(manifest.classes[label]) for label in manifest.labels]
    task = task_of_scale("huggingface", order, classes, ordered)
    return replace(manifest, table=manifest.table.assign(label=labels), classes=order, task=task)


def _of_classes(table: pd.DataFrame, label: str, features: Mapping[str, Any], root: Path, notes: list[str]) -> Manifest:
    """Build the manifest of a classification; a label of -1 or none is that of a split published without labels."""
    declared = features.get(label, {}).get("names")
    cells = table[label]
    unknown = cells.isna() | (pd.to_numeric(cells, errors="coerce") == -1) if declared else cells.isna()
    if unknown.all():
        raise InputError(f"huggingface: the column {label} has no label in {len(table)} rows", EXPECTED)
    if unknown.any():
        notes.append(f"rows without label are excluded: {int(unknown.sum())}")
    table = table[~unknown]
    if declared:
        codes = pd.to_numeric(table[label], errors="coerce")
        wrong = ~codes.isin(range(len(declared)))
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(
                f"huggingface: {table['sample'].iloc[row]} has the {label} {table[label].iloc[row]}",
                f"Expected 0 to {len(declared) - 1}, the indices of {listed(declared)}.",
            )
        names, labels = tuple(map(str, declared)), codes.astype("int64")
    else:
        names = tuple(natural_order(set(table[label].astype(str))))
        labels = table[label].astype(str).map({name: index for index, name in enumerate(names)})
    if len(names) < 2:
        raise InputError(f"huggingface: expected at least two classes in {label}, found {listed(names)}")
    kept = [name for name in table.columns if name != label]
    rows = make_table(table[kept].assign(label=labels))
    return Manifest(rows, names, "huggingface", root, (*class_notes(names), *notes))


def _files(root: Path) -> list[str]:
    """Return the data files, relative to the root; an Arrow file is used if a state.json lists it."""
    if root.is_file():
        return [root.name]
    below = files_below(root)
    stored = [name for name in below if PurePosixPath(name).name == STATE]
    if not stored:
        files = [name for name in below if name.lower().endswith(".parquet")]
    else:
        files = [path for name in stored for path in _listed_files(root, name)]
    if not files:
        raise InputError(f"huggingface: no data in {root}, which has {listed(below)}", EXPECTED)
    return files


def _listed_files(root: Path, state: str) -> Iterator[str]:
    try:
        names = [entry["filename"] for entry in json.loads((root / state).read_text("utf-8"))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"huggingface: cannot read the list of data files in {root / state}", EXPECTED) from error
    for name in names:
        path = PurePosixPath(state).parent / str(name)
        if not (root / path).is_file() or not str(name).lower().endswith(SUFFIXES):
            raise InputError(f"huggingface: {root / path}, listed in {STATE}, does not exist", EXPECTED)
        yield path.as_posix()


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the features that the library declares in a file; none if it did not write the file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _rows(root: Path, name: str, schema: Any) -> pd.DataFrame:
    """Return one row per image of a file, with its other columns of numbers and text."""
    import pyarrow as pa

    plain = [
        field.name
        for field in schema
        if pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_boolean(field.type)
        or pa.types.is_string(field.type)
        or pa.types.is_large_string(field.type)
    ]
    with naming("huggingface", EXPECTED):
        content = read_columns(str(root / name), plain)
    table: pd.DataFrame = content.to_pandas()
    booleans = [column for column in table if schema.field(column).type == pa.bool_()]
    table = table.astype(dict.fromkeys(booleans, "float64"))
    table = table.drop(columns=[column for column in OWN if column in table])
    stem = PurePosixPath(name).with_suffix("").as_posix()
    rows = range(len(table))
    names = [part.partition("-")[0] for part in reversed(PurePosixPath(stem).parts)]
    side = next(filter(None, map(side_of, names)), None)
    location = {"sample": [f"{stem}/{row:06d}" for row in rows], "path": name}
    return table.assign(**location, start=rows, end=range(1, len(table) + 1), split=side)


def _label(table: pd.DataFrame, given: str | None, features: Mapping[str, Any]) -> str | None:
    """Return the column of labels: the given one, the only ClassLabel, or one with a usual name."""
    declared = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel" and name in table]
    if given is None and len(declared) > 1:
        raise InputError(f"huggingface: several columns are labels: {listed(declared)}", "Choose one: data.label=...")
    return _column(table, given, (*declared, *LABELS), "label")


def _column(table: pd.DataFrame, given: str | None, usual: Sequence[str], option: str) -> str | None:
    """Return the given column, or the first of the usual names that there is."""
    if given is not None and given not in table:
        raise InputError(f"huggingface: there is no column {given} (option {option}), only {listed(table.columns)}")
    return given or next((name for name in usual if name in table), None)
