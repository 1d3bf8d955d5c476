"""What a folder of one's own holds: which source reads it, and how its faces are to be prepared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from evenface.data.datasets import read_dataset
from evenface.data.datasets.layout import check_root, files_below, folders, listed, side_of
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES, file_kind
from evenface.utils.files import user_path
from evenface.utils.tables import read_delimited

NUMBERS = (".csv", ".npy", ".npz", ".parquet")
FORMS = {"picture": IMAGE_SUFFIXES, "animation": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES}
NEEDED = ("path", "label", "subject")
TRIED = 120
"""Pictures that are opened to see what they are like."""
SIZES = {56: 48, 84: 64}
"""Shorter side up to which pictures are prepared at a size; larger ones at :data:`LARGE`."""
LARGE = 96
CROPPED = 320
"""Longer side up to which a picture is taken for a face that was cut out already."""
FRAMES = 8
PERSON = "^([^/]+)/"
"""Finds the folder below the class's."""
WANTED = "Give a folder with a folder of files for each class, or a table (CSV) with the columns path and label."


@dataclass(frozen=True)
class DatasetGuess:
    """What was seen."""

    data: dict[str, Any]
    manifest: Manifest
    said: tuple[str, ...]


def guess_dataset(root: str | Path, given: Mapping[str, Any] | None = None) -> DatasetGuess:
    """Look into a folder, or at a table.

    Parameters
    ----------
    root : str or Path
        Folders of classes (perhaps below ``train`` and ``test``), with a folder for each person below them or without;
        a folder with one table; or the table itself.
    given : mapping, optional
        Settings of the user by dotted key; those of ``data`` come before what is seen.

    Raises
    ------
    InputError
        If there is nothing that can be learnt from.
    """
    root = user_path(root)
    source: str
    options: dict[str, Any]
    said: list[str]
    wanted = {key.removeprefix("data."): value for key, value in (given or {}).items() if key.startswith("data.")}
    if "source" in wanted:
        source, options, said = str(wanted.pop("source")), {}, []
    else:
        source, options, said = _source(root, wanted)
    # Further keys of data that are no part of the form are options of the source.
    options |= {
        key: value for key, value in wanted.items() if "." not in key and key not in ("root", "size", "channels")
    }
    manifest = read_dataset(source, root, options)
    data = {"source": source, "root": str(root.resolve()), **options}
    if manifest.content == "sequences":
        return DatasetGuess(data, manifest, tuple(said))
    form, told = _form(manifest)
    return DatasetGuess(data | form, manifest, (*said, *told))


def _source(root: Path, wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Choose the source by what files there are, its options, and say why."""
    if root.is_file():
        return _by_table(root, wanted)
    check_root(root, "auto")
    tables = sorted(path for path in root.glob("*.csv") if not path.name.startswith("."))
    if "table" in wanted:
        return _by_table(root / str(user_path(str(wanted["table"]))), wanted)
    beside: list[str] = []
    if len(tables) == 1:
        try:
            return _by_table(tables[0], wanted)
        except InputError:
            if not folders(root) or "columns" in wanted or "delimiter" in wanted:
                raise
            beside = [f"The table {tables[0].name} does not say what files show, and is not used."]
    source, options, said = _by_folders(root)
    return source, options, [*said, *beside]


def _by_folders(root: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Choose the source by the files in folders."""
    files = [name for name in files_below(root) if "/" in name]
    kinds: dict[tuple[str, ...], list[str]] = {IMAGE_SUFFIXES: [], VIDEO_SUFFIXES: [], NUMBERS: []}
    for name in files:
        kind = NUMBERS if name.lower().endswith(NUMBERS) else FORMS.get(file_kind(str(root / name)))
        if kind is not None:
            kinds[kind].append(name)
    kind = max(kinds, key=lambda one: len(kinds[one]))
    found = kinds[kind]
    if not found:
        raise InputError(f"nothing that can be learnt from in {root}: {listed(files_below(root), 4)}", WANTED)
    options, said = _people(found)
    if kind == NUMBERS:
        source = _of_numbers(root / found[0])
        return source, options, [f"{len(found):,} files of numbers, read as {source}.", *said]
    source, what = ("folder", "pictures") if kind == IMAGE_SUFFIXES else ("clip-folder", "videos")
    return source, options, [f"{len(found):,} {what} in folders, a class each.", *said]


def _people(files: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Take folders below those of the classes for people."""
    sides = all(side_of(name.split("/")[0]) for name in files)
    deep = [name.split("/")[2 if sides else 1 :] for name in files]
    if all(len(parts) > 1 for parts in deep):
        people = len({parts[0] for parts in deep})
        hint = "if they are clips, say data.source=clip-folder"
        return {"subjects": PERSON}, [f"The folders below the classes are taken for {people} people; {hint}."]
    hint = "If file names begin with who is shown, say so: data.subjects='^([^_]+)_'."
    return {}, [f"Who is shown is not known, so the same people may train and test. {hint}"]


def _by_table(path: Path, wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Read a table by what its first lines name: pictures, clips or files of numbers; columns may have other names."""
    cells = read_delimited(path, delimiter=wanted.get("delimiter"))
    columns = wanted.get("columns")
    called = {name: str(columns[name]) if isinstance(columns, Mapping) and name in columns else name for name in NEEDED}
    if not {called["path"], called["label"]} <= set(cells.columns):
        found = listed(map(str, cells.columns))
        raise InputError(
            f"expected the columns {called['path']} and {called['label']} in {path}, found {found}",
            f"{WANTED} Other names: 'data.columns={{path: ..., label: ...}}'. Other delimiters: 'data.delimiter=;'.",
        )
    first = next(iter(cells[called["path"]].dropna()), "")
    options = {"table": path.name} if path.parent.is_dir() else {}
    said = [f"A table, {path.name}, of {len(cells):,} lines."]
    if called["subject"] not in cells or cells[called["subject"]].isna().any():
        said.append("Who is shown is not known, so the same people may train and test: a column subject would say it.")
    if first.lower().endswith(NUMBERS):
        return _of_numbers(path.parent / first), options, said
    return "csv" if file_kind(str(path.parent / first)) == "picture" else "clips", options, said


def _of_numbers(path: Path) -> str:
    """Tell tables of action units from files of points."""
    if path.suffix.lower() == ".csv" and path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            return "openface" if "AU01" in file.readline() else "landmarks"
    return "landmarks"


def _form(manifest: Manifest) -> tuple[dict[str, Any], list[str]]:
    """Choose size, channels and crop by some of the pictures, and say why."""
    clips = manifest.content == "clips"
    names = manifest.table["path"].unique()
    picked = [manifest.root / names[i] for i in np.unique(np.linspace(0, len(names) - 1, TRIED).round().astype(int))]
    if clips:
        folders = [path for path in picked if path.is_dir()]
        picked = [
            next((p for p in sorted(folder.iterdir()) if file_kind(str(p)) == "picture"), folder) for folder in folders
        ]
        extra: dict[str, Any] = {"clips": {"frames": FRAMES}}
        if not folders:
            said = f"Of each video {FRAMES} frames are taken evenly, and faces are looked for on them."
            return {"size": 64, "channels": 3, "faces": {"crop": "face"}, **extra}, [said]
    else:
        extra = {}
    seen = [one for one in map(_opened, picked) if one is not None]
    if not seen:
        raise InputError(f"none of {len(picked)} pictures that were tried in {manifest.root} can be read", WANTED)
    side = median(min(one[:2]) for one in seen)
    size = next((size for most, size in SIZES.items() if side <= most), LARGE)
    cropped = median(max(one[:2]) for one in seen) <= CROPPED
    grey = all(one[2] for one in seen)
    crop = "taken as faces that were cut out already" if cropped else "searched for faces"
    said = f"Pictures are {'grey' if grey else 'in colour'}, some {side:.0f} pixels wide, {crop}; prepared at {size}."
    faces = {} if cropped else {"faces": {"crop": "face"}}
    return {"size": size, "channels": 1 if grey else 3, **faces, **extra}, [said]


def _opened(path: Path) -> tuple[int, int, bool] | None:
    """Give width, height and whether a picture is grey; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            small = np.asarray(picture.convert("RGB").resize((16, 16)), dtype=np.int16)
            return picture.width, picture.height, bool((np.ptp(small, axis=2) <= 2).all())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
