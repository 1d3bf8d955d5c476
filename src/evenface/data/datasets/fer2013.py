"""FER2013, 35,887 grey faces of 48 x 48 pixels, seven expressions, no subjects; and FERPlus, votes on its images.

Goodfellow et al., *Challenges in representation learning: a report on three machine learning contests*, ICONIP 2013.
Barsoum et al., *Training deep networks for facial expression recognition with crowd-sourced label distribution*, ICMI
2016: ten annotators per image, eight expressions.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets.layout import SourceFacts, check_root, files_below, folders, naming, side_of
from evenface.data.labels import canonical_name
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed, number_of, user_path
from evenface.utils.tables import index_rows, read_delimited

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
COLUMNS = ("emotion", "pixels", "Usage")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE_USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
EXPECTED = "Expected fer2013.csv, or folders train/<class>/, validation/<class>/ and test/<class>/."
_TERMS = (
    "Published for a contest on Kaggle, whose rules apply; the images come from an image search and belong to others"
)
_ADDRESS = "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge"
FACTS = {
    "fer2013": SourceFacts(
        "FER2013: 35,887 grey faces of an image search", "7 expressions", EXPECTED, "Kaggle", _TERMS, _ADDRESS
    ),
    "ferplus": SourceFacts(
        "FERPlus: FER2013 labelled by ten annotators each",
        "8 expressions, or 7 without contempt; votes as columns",
        f"{EXPECTED} And fer2013new.csv.",
        "Microsoft, and Kaggle",
        f"Votes: MIT licence (https://github.com/microsoft/FERPlus). Images: {_TERMS}",
        _ADDRESS,
    ),
}

Test = Literal["auto", "public", "private"]


def read(root: Path, *, test: Test = "auto", train: str | None = None) -> Manifest:
    """Read the official table, or its images in folders."""
    if test not in ("auto", "public", "private"):
        raise InputError(f"fer2013: test must be auto, public or private, got {test!r}")
    table = find_table(root)
    if table is not None:
        root, rows = table.parent, _rows_of_table(table)
    else:
        rows = _rows_of_folders(root)
    if train is not None:
        if table is None or not (root / train).is_file():
            raise InputError(
                f"fer2013: the table {root / train} (option train) does not exist beside fer2013.csv", EXPECTED
            )
        stem = Path(train).stem
        training = [{**row, "sample": f"{stem}-{row['sample']}"} for row in _rows_of_table(root / train, "Training")]
        rows = [row for row in rows if row["usage"] != "Training"]
        rows = [{key: value for key, value in row.items() if key != "row"} for row in (*training, *rows)]
    notes = set_splits(rows, test, root)
    return Manifest(make_table(rows), CLASSES, "fer2013", root, tuple(notes))


def find_table(root: Path) -> Path | None:
    """Return the path of ``fer2013.csv``, or of another table of faces in the folder; None if there is none."""
    if root.is_file():
        return root
    check_root(root, "fer2013")
    if (root / "fer2013.csv").is_file():
        return root / "fer2013.csv"
    if any(map(side_of, folders(root))):
        return None
    others = [path for path in sorted(root.glob("*.csv")) if path.name != "fer2013new.csv"]
    # The contest also distributes tables without Usage and without labels.
    complete = [path for path in others if set(COLUMNS) <= set(_columns(path))]
    if len(complete) > 1:
        raise InputError(
            f"fer2013: {root} has several tables: {listed(path.name for path in complete)}",
            "Give the path of one of them as root.",
        )
    return complete[0] if complete else others[0] if len(others) == 1 else None


def _columns(path: Path) -> list[str]:
    try:
        return index_rows(path).names
    except InputError:
        return []


def _rows_of_table(path: Path, fixed_usage: str | None = None) -> list[dict[str, Any]]:
    """Read the rows of a table, whose usage is in its column Usage or is ``fixed_usage``."""
    with naming("fer2013"):
        index = index_rows(path)
    missing = [name for name in COLUMNS if name not in index.names and (name != "Usage" or fixed_usage is None)]
    if missing:
        raise InputError(
            f"fer2013: expected the columns {', '.join(COLUMNS)} in {path.name}, found {listed(index.names)}",
            "Older copies have no column Usage: add it, or give a folder of train/<class>/*.png instead. To train on "
            f"this table and test on the official one, set train: {path.name}."
            if missing == ["Usage"]
            else "Give the official fer2013.csv.",
        )
    emotion_column = index.names.index("emotion")
    usage_column = index.names.index("Usage") if fixed_usage is None else len(index.names)
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for row, (start, end, line) in enumerate(zip(index.starts, index.ends, index.lines, strict=True)):
            file.seek(start)
            cells = index.cells(file.read(end - start))
            emotion, cell = (cells[i] if i < len(cells) else "" for i in (emotion_column, usage_column))
            label, usage = number_of(emotion), fixed_usage or cell
            if label is None or label not in range(len(CLASSES)) or usage not in USAGES:
                raise InputError(
                    f"fer2013: line {line} of {path.name} has emotion {emotion or 'nothing'} and Usage "
                    f"{usage or 'nothing'}; expected 0 to 6 and one of {', '.join(USAGES)}"
                )
            location = {"sample": f"{row:05d}", "path": path.name, "start": row, "end": row + 1}
            rows.append({**location, "label": int(label), "row": row, "usage": usage})
    return rows


def _rows_of_folders(root: Path) -> list[dict[str, Any]]:
    top = folders(root)
    if not any(map(side_of, top)):
        found = listed([*top, *(path.name for path in root.glob("*.csv"))])
        raise InputError(f"fer2013: neither fer2013.csv nor folders of splits in {root}, which has {found}", EXPECTED)
    rows: list[dict[str, Any]] = []
    for name in top:
        side = side_of(name)
        if side is None:
            continue
        for folder in folders(root / name):
            if canonical_name(folder) not in CLASSES:
                raise InputError(
                    f"fer2013: the folder {name}/{folder} is not a known class", f"Known: {', '.join(CLASSES)}."
                )
            label = CLASSES.index(canonical_name(folder))
            for file in files_below(root / name / folder):
                prefix = file.split("_")[0]
                usage = prefix if prefix in USAGES else SIDE_USAGE[side]
                rows.append({"path": f"{name}/{folder}/{file}", "label": label, "usage": usage})
    if not rows:
        raise InputError(f"fer2013: no files in {', '.join(top)} of {root}", EXPECTED)
    stems = [Path(row["path"]).stem for row in rows]
    numbered = all(stem.isdecimal() for stem in stems) and len(set(map(int, stems))) == len(stems)
    for row, stem in zip(rows, stems, strict=True):
        # The same sample names as in the table, so that both forms are split in the same way.
        row["sample"] = f"{int(stem):05d}" if numbered else row["path"]
        if numbered:
            row["row"] = int(stem)
    return rows


def set_splits(rows: list[dict[str, Any]], test: Test, root: Path) -> list[str]:
    """Replace each row's ``usage`` by its ``split``, and return notes on it."""
    present = {row["usage"] for row in rows}
    if "Training" not in present or len(present) < 2:
        raise InputError(
            f"fer2013: expected Training samples and PublicTest or PrivateTest samples in {root}, found only "
            f"{listed(sorted(present))}",
            EXPECTED,
        )
    chosen = ("private" if "PrivateTest" in present else "public") if test == "auto" else test
    usage = {"private": "PrivateTest", "public": "PublicTest"}[chosen]
    if usage not in present:
        raise InputError(f"fer2013: test: {chosen} needs {usage} samples, but {root} has none", "Use test: auto.")
    sides: dict[str, str | None] = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    notes = []
    if chosen == "public":
        sides = {"Training": "train", "PublicTest": "test", "PrivateTest": None}
        unused = sum(row["usage"] == "PrivateTest" for row in rows)
        notes.append("the test set is PublicTest" + (f"; {unused} PrivateTest samples are not used" if unused else ""))
    for row in rows:
        row["split"] = sides[row.pop("usage")]
    return notes


# --- FERPlus


PLUS_CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTES = (*PLUS_CLASSES, "unknown", "NF")


def read_ferplus(root: Path, *, votes: str = "fer2013new.csv", contempt: bool = True, test: Test = "auto") -> Manifest:
    """Join the votes to FER2013 and label each image by majority.

    As in the authors' public code, a class with a single vote counts as zero; of the remaining votes, including
    unknown and not-a-face (NF), one class needs more than half. Images without such a majority, or with one for
    unknown or NF, are excluded.
    """
    faces = read(root, test=test)
    if "row" not in faces.table.columns:
        raise InputError(
            f"ferplus: file names in {root} are not row numbers of fer2013.csv, such as {faces.table['path'].iloc[0]}",
            "Votes refer to rows: give fer2013.csv, or images named <row>.png.",
        )
    folder = faces.root
    path = folder / user_path(votes)
    table = _read_votes(path)
    rows = faces.table["row"].to_numpy(dtype=np.int64)
    if rows.max() >= len(table):
        raise InputError(
            f"ferplus: {path} has {len(table)} rows, but FER2013 in {folder} has row {rows.max()}",
            "Give the votes that belong to this fer2013.csv.",
        )
    # Training samples must be Training in both files; otherwise the votes are those of other images.
    same = (table["Usage"].to_numpy(dtype=object)[rows] == "Training") == (faces.table["split"] == "train").to_numpy()
    if not same.all():
        row = int(rows[(~same).argmax()])
        raise InputError(
            f"ferplus: the Usage of row {row} is {table['Usage'][row]} in {path.name}, but differs in {folder}",
            "Votes refer to the official fer2013.csv with its rows in the original order.",
        )
    counts = table[list(VOTES)].to_numpy(dtype=np.int64)[rows]
    label = majority(counts)
    labelled = faces.table.assign(label=label, **{f"votes_{name}": counts[:, i] for i, name in enumerate(VOTES)})
    classes = PLUS_CLASSES if contempt else PLUS_CLASSES[:-1]
    use = (label >= 0) & (label < len(classes))
    if not use.any():
        raise InputError(f"ferplus: no image in {folder} has a majority for an expression")
    notes = (*faces.notes, *_notes(label, contempt))
    return Manifest(labelled[use].reset_index(drop=True), classes, "ferplus", folder, notes)


def majority(votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of the class with more than half of the votes, single votes not counted; -1 if there is none."""
    counted = np.where(votes > 1, votes, 0)
    most = counted.max(axis=1)
    return np.where(2 * most > counted.sum(axis=1), counted.argmax(axis=1), -1).astype(np.int64)


def _read_votes(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(
            f"ferplus: the file of votes {path} does not exist", "Give fer2013new.csv of FERPlus with the option votes."
        )
    with naming("ferplus"):
        table = read_delimited(path)
    missing = [name for name in ("Usage", *VOTES) if name not in table.columns]
    if missing:
        raise InputError(
            f"ferplus: expected the columns Usage, {', '.join(VOTES)} in {path.name}; missing: {listed(missing)}",
            "Give fer2013new.csv of FERPlus with the option votes.",
        )
    numbers = table[list(VOTES)].apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.isna() | (numbers < 0) | (numbers % 1 != 0)).any(axis=1).to_numpy()
    if wrong.any():
        line = table.index[int(wrong.argmax())]
        raise InputError(f"ferplus: votes in line {line} of {path.name} must be integers >= 0")
    table = table.assign(**{name: numbers[name].astype("int64") for name in VOTES})
    return table.reset_index(drop=True)


def _notes(label: NDArray[np.int64], contempt: bool) -> list[str]:
    excluded = {
        "without a majority": label == -1,
        "with a majority for unknown": label == VOTES.index("unknown"),
        "with a majority for not a face": label == VOTES.index("NF"),
    }
    if not contempt:
        excluded["with a majority for contempt"] = label == PLUS_CLASSES.index("contempt")
    reasons = [f"{int(mask.sum())} {reason}" for reason, mask in excluded.items() if mask.any()]
    return [f"images excluded: {', '.join(reasons)}"] if reasons else []
