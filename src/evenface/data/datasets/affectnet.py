"""AffectNet, manually annotated part: about 290,000 faces from the internet, eight expressions.

Mollahosseini, Hasani and Mahoor, *AffectNet: a database for facial expression, valence, and arousal computing
in the wild*, IEEE Transactions on Affective Computing 10(1), 2019. Files ``<n>_val.npy`` and ``<n>_aro.npy``, and
columns of the lists of 2017, are valence and arousal from -1 to 1, or -2 where they are not annotated.
"""

import io
import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from evenface.data.datasets.layout import SourceFacts, absent_files, check_root, folders_within, names_in, naming
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed, number_of
from evenface.utils.progress import progress
from evenface.utils.tables import read_delimited

CODES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
SIDES = {"train_set": "train", "val_set": "test"}
SUFFIX = "_exp.npy"
EXPECTED = (
    "Expected train_set/ and val_set/ with images/<n>.jpg and annotations/<n>_exp.npy each; or, as of 2017, "
    "Manually_Annotated_Images/ with training.csv and validation.csv."
)
FACTS = SourceFacts(
    "AffectNet: faces from the internet",
    "8 expressions, or 7 without contempt; valence and arousal, -1 to 1",
    EXPECTED,
    "M. H. Mahoor, University of Denver",
    "Available from its authors for research only, under a signed licence agreement",
    "https://mohammadmahoor.com/pages/databases/affectnet/",
)
AFFECT = {"valence": "_val.npy", "arousal": "_aro.npy"}
NOT_ANNOTATED = -2
LISTS = {"training.csv": "train", "validation.csv": "test"}
IMAGES = "Manually_Annotated_Images"
NO_EXPRESSION = {8: "none", 9: "uncertain", 10: "no face"}


def read(root: Path, *, classes: Literal[7, 8] = 8, affect: bool = False) -> Manifest:
    """Read the official folders ``train_set`` and ``val_set``, or the lists of 2017; ``affect`` adds two columns."""
    check_root(root, "affectnet")
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    parts = list(folders_within(root, 1))
    images = next((part / IMAGES for part in parts if (part / IMAGES).is_dir()), None)
    for (folder, side), name in zip(SIDES.items(), LISTS, strict=True):
        side_rows, side_notes = (
            _rows_of_side(root, folder, affect) if images is None else _rows_of_list(root, parts, images, name, affect)
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


def _rows_of_side(root: Path, folder: str, affect: bool) -> tuple[list[dict[str, Any]], list[str]]:
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
    if affect:
        _add_affect(rows, root / folder / "annotations", annotated)
    notes = []
    if absent:
        notes.append(f"{len(absent)} of {len(annotated)} images of {folder} do not exist, such as {absent[0]}.jpg")
    if unannotated:
        notes.append(f"{len(unannotated)} images of {folder} without annotation are excluded, such as {unannotated[0]}")
    return rows, notes


def _add_affect(rows: list[dict[str, Any]], folder: Path, names: list[str]) -> None:
    """Add valence and arousal to the rows of a split."""
    with progress(f"reading valence and arousal of {folder.parent.name}", len(names)) as advance:
        for row, name in zip(rows, names, strict=True):
            for column, suffix in AFFECT.items():
                path = folder / f"{name}{suffix}"
                content = _array(path, path.read_bytes()) if path.is_file() else "no file"
                row[column] = _affect(content, f"{path}")
            advance(1)


def _affect(content: str, where: str) -> float:
    """Return valence or arousal; NaN where it is not annotated."""
    value = number_of(content)
    if value is None or not (-1 <= value <= 1 or value == NOT_ANNOTATED):
        hint = f"Expected -1 to 1, or {NOT_ANNOTATED} where it is not annotated."
        raise InputError(f"affectnet: {where} is {content}", hint)
    return math.nan if value == NOT_ANNOTATED else value


def _rows_of_list(
    root: Path, parts: list[Path], images: Path, name: str, affect: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of a split from one of the lists of 2017, and the notes."""
    path = next((part / name for part in parts if (part / name).is_file()), None)
    if path is None:
        raise InputError(f"affectnet: {name} does not exist in {root} beside {images.name}", EXPECTED)
    columns = ("subDirectory_filePath", "expression", *(AFFECT if affect else ()))
    with naming("affectnet"):
        cells = read_delimited(path, only=columns)
    if len(cells.columns) < len(columns) or cells.empty:
        raise InputError(f"affectnet: expected the columns {' and '.join(columns)} in {path.name}", EXPECTED)
    cells = cells[list(columns)]
    rows: list[dict[str, Any]] = []
    excluded: Counter[str] = Counter()
    for line, (file, cell, *numbers) in zip(cells.index, cells.itertuples(index=False, name=None), strict=True):
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
        values = {
            column: _affect("nothing" if pd.isna(number) else number, f"{column} in line {line} of {path.name}")
            for column, number in zip(AFFECT, numbers, strict=False)
        }
        rows.append({"sample": relative, "path": relative, "label": EXPRESSIONS.index(CODES[int(code or 0)]), **values})
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


def _array(path: Path, content: bytes) -> str:
    """Return the number in an array as text: the authors' files store it as a string, some copies as a number."""
    try:
        value = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"affectnet: cannot read {path} as an array: {error}") from error
    return str(value.item()) if value.size == 1 else f"an array of shape {value.shape}"


def _label(path: Path, content: bytes) -> int:
    code = _array(path, content)
    if code not in map(str, range(len(CODES))):
        known = listed(f"{number} {name}" for number, name in enumerate(CODES))
        raise InputError(f"affectnet: {path} contains {code}, expected 0 to 7", f"Known: {known}.")
    return EXPRESSIONS.index(CODES[int(code)])
