"""AffectNet, manually annotated part: about 290,000 faces from the internet, eight expressions.

Mollahosseini, Hasani and Mahoor, *AffectNet: a database for facial expression, valence, and arousal computing
in the wild*, IEEE Transactions on Affective Computing 10(1), 2019.
"""

import io
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from evenface.data.datasets.layout import absent_files, check_root, folders, listed, names_in, naming
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import number_of
from evenface.utils.progress import progress
from evenface.utils.tables import read_delimited

LICENCE = (
    "Available from its authors for research only, under a signed licence agreement: "
    "https://mohammadmahoor.com/pages/databases/affectnet/"
)

CODES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
SIDES = {"train_set": "train", "val_set": "test"}
SUFFIX = "_exp.npy"
EXPECTED = (
    "Expected train_set/ and val_set/ with images/<n>.jpg and annotations/<n>_exp.npy each; or, as of 2017, "
    "Manually_Annotated_Images/ with training.csv and validation.csv."
)
LISTS = {"training.csv": "train", "validation.csv": "test"}
IMAGES = "Manually_Annotated_Images"
NO_EXPRESSION = {8: "none", 9: "uncertain", 10: "no face"}


def read(root: Path, *, classes: Literal[7, 8] = 8) -> Manifest:
    """Read the official folders ``train_set`` and ``val_set``, or the lists of 2017."""
    check_root(root, "affectnet")
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    parts = [root, *(root / name for name in folders(root))]
    images = next((part / IMAGES for part in parts if (part / IMAGES).is_dir()), None)
    for (folder, side), name in zip(SIDES.items(), LISTS, strict=True):
        side_rows, side_notes = (
            _rows_of_side(root, folder) if images is None else _rows_of_list(root, parts, images, name)
        )
        rows += [{**row, "split": side} for row in side_rows]
        notes += side_notes
    if classes == 7:
        contempt = EXPRESSIONS.index("contempt")
        kept = [row for row in rows if row["label"] != contempt]
        if len(kept) < len(rows):
            notes.append(f"images excluded: {len(rows) - len(kept)} of contempt")
        rows = kept
    return Manifest(make_table(rows), EXPRESSIONS[:classes], "affectnet", root, tuple(notes))


def _rows_of_side(root: Path, folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    for part in (root / folder, root / folder / "images", root / folder / "annotations"):
        if not part.is_dir():
            raise InputError(f"affectnet: the folder {part} does not exist", EXPECTED)
    images = {Path(name).stem: name for name in names_in(root / folder / "images", (".jpg", ".jpeg", ".png"))}
    annotated = [name.removesuffix(SUFFIX) for name in names_in(root / folder / "annotations", (SUFFIX,))]
    absent, unannotated = [n for n in annotated if n not in images], sorted(images.keys() - set(annotated))
    if len(absent) == len(annotated):
        raise InputError(
            f"affectnet: no image in {folder}/images has an annotation: found {len(images)} images and "
            f"{len(annotated)} files *{SUFFIX}",
            EXPECTED,
        )
    rows = []
    for name, label in zip(annotated, _labels(root / folder / "annotations", annotated), strict=True):
        path = f"{folder}/images/{images.get(name, f'{name}.jpg')}"
        rows.append({"sample": path, "path": path, "label": label})
    notes = []
    if absent:
        notes.append(f"{len(absent)} of {len(annotated)} images of {folder} do not exist, such as {absent[0]}.jpg")
    if unannotated:
        notes.append(f"{len(unannotated)} images of {folder} without annotation are excluded, such as {unannotated[0]}")
    return rows, notes


def _rows_of_list(root: Path, parts: list[Path], images: Path, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of a split from one of the lists of 2017, and the notes."""
    path = next((part / name for part in parts if (part / name).is_file()), None)
    if path is None:
        raise InputError(f"affectnet: {name} does not exist in {root} beside {images.name}", EXPECTED)
    with naming("affectnet"):
        cells = read_delimited(path, only=("subDirectory_filePath", "expression"))
    if len(cells.columns) < 2 or cells.empty:
        raise InputError(
            f"affectnet: expected the columns subDirectory_filePath and expression in {path.name}", EXPECTED
        )
    rows: list[dict[str, Any]] = []
    excluded: Counter[str] = Counter()
    for line, (file, cell) in zip(cells.index, cells.itertuples(index=False, name=None), strict=True):
        code = None if pd.isna(cell) else number_of(cell)
        if pd.isna(file) or code not in range(11):
            raise InputError(
                f"affectnet: line {line} of {path.name} has the path {file} and the expression {cell}",
                "Expected a path and an expression from 0 to 10.",
            )
        if code in NO_EXPRESSION:
            excluded[NO_EXPRESSION[int(code or 0)]] += 1
            continue
        relative = (images / file.replace("\\", "/")).relative_to(root).as_posix()
        rows.append({"sample": relative, "path": relative, "label": EXPRESSIONS.index(CODES[int(code or 0)])})
    reasons = ", ".join(f"{count} {reason}" for reason, count in excluded.items())
    notes = [f"lines of {name} excluded: {reasons}"] if reasons else []
    return rows, [*notes, *absent_files(root, [row["path"] for row in rows], "affectnet", name, EXPECTED)]


def _labels(folder: Path, names: list[str]) -> list[int]:
    """Read one annotation per name; files with the same bytes are parsed once."""
    known: dict[bytes, int] = {}
    labels = []
    with progress(f"reading annotations of {folder.parent.name}", len(names)) as advance:
        for number, name in enumerate(names, 1):
            path = folder / f"{name}{SUFFIX}"
            content = path.read_bytes()
            if content not in known:
                known[content] = _label(path, content)
            labels.append(known[content])
            if number % 1000 == 0:
                advance(1000)
    return labels


def _label(path: Path, content: bytes) -> int:
    try:
        value = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"affectnet: cannot read {path} as an array: {error}") from error
    # The authors' files store the number as a string, some copies as an integer.
    code = str(value.item()) if value.size == 1 else f"an array of shape {value.shape}"
    if code not in map(str, range(len(CODES))):
        known = listed(f"{number} {name}" for number, name in enumerate(CODES))
        raise InputError(f"affectnet: {path} contains {code}, expected 0 to 7", f"Known: {known}.")
    return EXPRESSIONS.index(CODES[int(code)])
