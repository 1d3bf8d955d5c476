"""Guess the data settings for a folder or table: its source, and the size and crop of its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from evenface.config.recipe import Data
from evenface.data.datasets import read_dataset
from evenface.data.datasets.csv import path_column, target_names
from evenface.data.datasets.layout import check_root, files_below, folders, names_in, side_of
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, file_kind, listed, user_path
from evenface.utils.packed_images import SUFFIXES as PACKED
from evenface.utils.packed_images import is_packed, packed_image
from evenface.utils.tables import read_delimited

NUMBERS = (".csv", ".npy", ".npz", ".parquet")
OF_COLUMN = {"FaceRectX": "py-feat", "browDownLeft": "mediapipe", "AU01": "openface"}
"""Column of a table to the source that reads it."""
SUFFIXES = {"image": IMAGE_SUFFIXES, "animation": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES}
NEEDED = ("path", "label", "subject")
TRIED = 120
"""Images that are opened to determine size and colour."""
SIZES = {56: 48, 84: 64}
"""Median shorter side up to which images are prepared at a size; larger ones at :data:`LARGE`."""
LARGE = 96
CROPPED = 320
"""Median longer side up to which images are assumed to be cropped faces."""
FRAMES = 8
PERSON = "^([^/]+)/"
"""Regular expression of the folder below that of the class."""
EXPECTED = (
    "Use a folder with one folder of files per class, or a table (CSV) with the columns path and label, or path and "
    "targets such as AU1, AU12 or pspi."
)


@dataclass(frozen=True)
class DatasetGuess:
    """Settings of ``data``, the manifest read with them, and messages on how they were chosen."""

    data: dict[str, Any]
    manifest: Manifest
    messages: tuple[str, ...]

    @property
    def protocol(self) -> dict[str, Any]:
        """Settings of ``protocol``: the official split if there is one, else a hold-out."""
        splits = set(self.manifest.table["split"].dropna())
        official = "train" in splits and bool(splits - {"train"})
        stills = {"duplicates": "drop-test"} if self.manifest.content == "stills" else {}
        return {"kind": "official" if official else "holdout", "validation": 0.1, **stills}


def guess_dataset(root: str | Path, given: Mapping[str, Any] | None = None) -> DatasetGuess:
    """Guess the data settings for a folder or a table.

    Parameters
    ----------
    root : str or Path
        Folder with one folder per class (perhaps below ``train`` and ``test``), with or without a folder per person
        below them; a folder with one table; or the table itself.
    given : mapping, optional
        Settings of the user by dotted key; those of ``data`` replace the guesses.

    Raises
    ------
    InputError
        If there are no files that can be read.
    """
    root = user_path(root)
    source: str
    options: dict[str, Any]
    messages: list[str]
    settings = {key.removeprefix("data."): value for key, value in (given or {}).items() if key.startswith("data.")}
    if "source" in settings:
        source, options, messages = str(settings.pop("source")), {}, []
    else:
        source, options, messages = _source(root, settings)
    # Keys that are not settings of data itself are options of the source.
    options |= {key: value for key, value in settings.items() if "." not in key and key not in Data.model_fields}
    manifest = read_dataset(source, root, options, targets=_chosen(settings))
    data = {"source": source, "root": str(root.resolve()), **options}
    if manifest.content == "sequences":
        return DatasetGuess(data, manifest, tuple(messages))
    image_settings, more = _image_settings(manifest)
    return DatasetGuess(data | image_settings, manifest, (*messages, *more))


def guess_unlabelled(root: str | Path, given: Mapping[str, Any] | None = None) -> DatasetGuess:
    """Guess the data settings for images whose labels, if there are any, are not used.

    Parameters
    ----------
    root : str or Path
        Folder of images at any depth, labelled or not; or what :func:`guess_dataset` takes.
    given : mapping, optional
        Settings of the user by dotted key; those of ``data`` replace the guesses.

    Raises
    ------
    InputError
        If there are no images that can be read.
    """
    settings, path = dict(given or {}), user_path(root)
    if "data.source" not in settings and path.is_dir() and not _packed_in(path):
        images = (name for name in files_below(path) if file_kind(str(path / name)) in ("image", "animation"))
        tables = any(path.glob("*.csv"))
        if next(images, None) is not None or not tables:
            settings["data.source"] = "unlabelled"
    guess = guess_dataset(root, settings)
    if guess.manifest.content != "stills":
        raise InputError(f"{root} is read as {guess.manifest.content}, not as images", "Name a folder of images.")
    return guess


def _chosen(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the targets that are set, one or a list."""
    targets = settings.get("targets", ())
    return (targets,) if isinstance(targets, str) else tuple(map(str, targets))


def _source(root: Path, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Choose the source and its options by the files; return messages too."""
    if root.is_file():
        return _by_table(root, settings) if not is_packed(str(root)) else _of_packed(root.name)
    check_root(root, "auto")
    if packed := _packed_in(root):
        return _of_packed(packed)
    tables = sorted(path for path in root.glob("*.csv") if not path.name.startswith("."))
    if "table" in settings:
        return _by_table(root / str(user_path(str(settings["table"]))), settings)
    beside: list[str] = []
    if len(tables) == 1:
        try:
            return _by_table(tables[0], settings)
        except InputError:
            if not folders(root) or "columns" in settings or "delimiter" in settings:
                raise
            beside = [f"The table {tables[0].name} has no labels of files and is ignored."]
    source, options, messages = _by_folders(root)
    return source, options, [*messages, *beside]


def _packed_in(root: Path) -> str | None:
    """Return the name of a file of a Hugging Face dataset in a folder or a folder in it, if there is one."""
    inner = [root, *(root / name for name in folders(root))]
    return next((name for top in inner for name in names_in(top, PACKED) if is_packed(str(top / name))), None)


def _of_packed(name: str) -> tuple[str, dict[str, Any], list[str]]:
    return "huggingface", {}, [f"Images in the rows of {name} and other files of a Hugging Face dataset."]


def _by_folders(root: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Choose the source by the file types in folders."""
    files = [name for name in files_below(root) if "/" in name]
    kinds: dict[tuple[str, ...], list[str]] = {IMAGE_SUFFIXES: [], VIDEO_SUFFIXES: [], NUMBERS: []}
    for name in files:
        kind = NUMBERS if name.lower().endswith(NUMBERS) else SUFFIXES.get(file_kind(str(root / name)))
        if kind is not None:
            kinds[kind].append(name)
    kind = max(kinds, key=lambda suffixes: len(kinds[suffixes]))
    names = kinds[kind]
    if not names:
        raise _without_classes(root)
    options, messages = _people(names)
    if kind == NUMBERS:
        source = _of_numbers(root / names[0])
        return source, options, [f"{len(names):,} feature files, read as {source}.", *messages]
    source, what = ("folder", "images") if kind == IMAGE_SUFFIXES else ("clip-folder", "videos")
    return source, options, [f"{len(names):,} {what} in one folder per class.", *messages]


def _without_classes(root: Path) -> InputError:
    """Return an InputError for a folder whose subfolders have no usable file."""
    files = files_below(root)
    loose = [name for name in files if SUFFIXES.get(file_kind(str(root / name)))]
    if not loose:
        return InputError(f"no images, videos or feature files in {root}: {listed(files, 4)}", EXPECTED)
    predict = f"To predict on files without classes: evenface predict {root}."
    return InputError(f"the files in {root} are not in folders of classes: {listed(loose, 4)}", f"{EXPECTED} {predict}")


def _people(files: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Interpret folders below those of the classes as people."""
    sides = all(side_of(name.split("/")[0]) for name in files)
    deep = [name.split("/")[2 if sides else 1 :] for name in files]
    if all(len(parts) > 1 for parts in deep):
        subjects = len({parts[0] for parts in deep})
        hint = "if they are clips, set data.source=clip-folder"
        return {"subjects": PERSON}, [f"The folders below the classes are interpreted as {subjects} subjects; {hint}."]
    hint = "If file names begin with the subject, set data.subjects='^([^_]+)_'."
    return {}, [f"Subjects are unknown, so the same subjects may be in training and test set. {hint}"]


def _by_table(path: Path, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Choose the source by the type of the first file in a table; columns may have other names."""
    cells = read_delimited(path, delimiter=settings.get("delimiter"))
    columns = settings.get("columns")
    called = {name: str(columns[name]) if isinstance(columns, Mapping) and name in columns else name for name in NEEDED}
    if called["path"] not in cells and (name := path_column(cells.columns)) is not None:
        called["path"] = name
    labelled = called["label"] in cells or bool(target_names(cells.columns, _chosen(settings)))
    if called["path"] not in cells or not labelled:
        found = listed(map(str, cells.columns))
        raise InputError(
            f"expected the columns {called['path']} and {called['label']} in {path}, found {found}",
            f"{EXPECTED} Other names: 'data.columns={{path: ..., label: ...}}'. Other delimiters: 'data.delimiter=;'.",
        )
    first = next(iter(cells[called["path"]].dropna()), "")
    options = {"table": path.name} if path.parent.is_dir() else {}
    messages = [f"A table, {path.name}, with {len(cells):,} rows."]
    if called["subject"] not in cells or cells[called["subject"]].isna().any():
        messages.append(
            "Subjects are unknown, so the same subjects may be in training and test set: add a column subject."
        )
    if first.lower().endswith(NUMBERS):
        return _of_numbers(path.parent / first), options, messages
    return "csv" if file_kind(str(path.parent / first)) == "image" else "clips", options, messages


def _of_numbers(path: Path) -> str:
    """Distinguish tables of other tools from landmark files, by a column that only they have."""
    if path.suffix.lower() == ".csv" and path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            header = file.readline()
        return next((source for column, source in OF_COLUMN.items() if column in header), "landmarks")
    return "landmarks"


def _image_settings(manifest: Manifest) -> tuple[dict[str, Any], list[str]]:
    """Choose size, channels and crop by some of the images; return messages too."""
    clips, picked = manifest.content == "clips", _picked(manifest)
    if clips:
        folders = [path for path in picked if path.is_dir()]
        picked = [
            next((p for p in sorted(folder.iterdir()) if file_kind(str(p)) == "image"), folder) for folder in folders
        ]
        lengths = manifest.table["end"] - manifest.table["start"]
        frames = 1 if bool((lengths == 1).fillna(value=False).all()) else FRAMES
        extra: dict[str, Any] = {"clips": {"frames": frames}}
        if not folders:
            message = f"{frames} frames are sampled evenly from each video, and faces are detected in them."
            if frames == 1:
                message = "Each sample is one frame of a video, and faces are detected in it."
            return {"size": 64, "channels": 3, "faces": {"crop": "face"}, **extra}, [message]
    else:
        extra = {}
    opened = _opened(manifest, picked)
    if not opened:
        raise InputError(f"none of {len(picked)} images tried in {manifest.root} can be read", EXPECTED)
    side = median(min(image[:2]) for image in opened)
    size = next((size for most, size in SIZES.items() if side <= most), LARGE)
    cropped = _are_crops(opened)
    grey = all(image[2] for image in opened)
    crop = "treated as cropped faces" if cropped else "with face detection"
    shade = "greyscale" if grey else "in colour"
    message = f"Images are {shade}, about {side:.0f} pixels wide, {crop}; resized to {size}."
    faces = {} if cropped else {"faces": {"crop": "face"}}
    return {"size": size, "channels": 1 if grey else 3, **faces, **extra}, [message]


def is_cropped(manifest: Manifest) -> bool:
    """Return whether images are assumed to be cropped faces: those in tables, and those of few pixels."""
    picked = _picked(manifest)
    if picked[0].suffix.lower() == ".csv":
        return True
    opened = _opened(manifest, picked)
    return bool(opened) and _are_crops(opened)


def _are_crops(opened: list[tuple[int, int, bool]]) -> bool:
    return median(max(image[:2]) for image in opened) <= CROPPED


def _picked(manifest: Manifest) -> list[Path]:
    """Return some of the files of a manifest, evenly spaced."""
    names = manifest.table["path"].unique()
    return [manifest.root / names[i] for i in np.unique(np.linspace(0, len(names) - 1, TRIED).round().astype(int))]


def _opened(manifest: Manifest, picked: list[Path]) -> list[tuple[int, int, bool]]:
    """Return width, height and whether it is greyscale, of each image that can be read."""
    images: list[Path | BytesIO] = [*picked]
    if is_packed(str(picked[0])):
        table = manifest.table.iloc[np.unique(np.linspace(0, len(manifest) - 1, TRIED).round().astype(int))]
        rows = zip(table["path"].tolist(), table["start"].tolist(), strict=True)
        images = [BytesIO(content) for path, row in rows if (content := _packed(str(manifest.root / path), int(row)))]
    return [size for size in map(_size, images) if size is not None]


def _packed(path: str, row: int) -> bytes:
    try:
        return packed_image(path, row)
    except SampleError:
        return b""


def _size(source: Path | BytesIO) -> tuple[int, int, bool] | None:
    from PIL import Image

    try:
        with Image.open(source) as image:
            small = np.asarray(image.convert("RGB").resize((16, 16)), dtype=np.int16)
            return image.width, image.height, bool((np.ptp(small, axis=2) <= 2).all())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
