"""FER2013: 35,887 grey faces of 48 x 48 pixels, seven expressions, no subjects.

Goodfellow et al., *Challenges in representation learning: a report on three machine learning
contests*, ICONIP 2013.
"""

from pathlib import Path
from typing import Any, Literal

from evenface.data.datasets.layout import check_root, files_below, folders, listed, side_of
from evenface.data.labels import canonical_name
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.natural_order import number_of
from evenface.utils.tables import index_rows

LICENCE = (
    "Published for a contest on Kaggle, whose rules apply; the images come from an image search and belong "
    "to others: "
    "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge"
)

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
COLUMNS = ("emotion", "pixels", "Usage")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE_USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
EXPECTED = "Expected fer2013.csv, or folders train/<class>/, validation/<class>/ and test/<class>/."

Test = Literal["auto", "public", "private"]


def read(root: Path, *, test: Test = "auto", train: str | None = None) -> Manifest:
    """Read the official table, or its pictures in folders."""
    if test not in ("auto", "public", "private"):
        raise InputError(f"fer2013: test must be auto, public or private, got {test!r}")
    table = find_table(root)
    if table is not None:
        root, rows = table.parent, _rows_of_table(table)
    else:
        rows = _rows_of_folders(root)
    if train is not None:
        if table is None or not (root / train).is_file():
            raise InputError(f"fer2013: there is no table {root / train} beside fer2013.csv", EXPECTED)
        stem = Path(train).stem
        own = [{**row, "sample": f"{stem}-{row['sample']}"} for row in _rows_of_table(root / train, "Training")]
        rows = [row for row in rows if row["usage"] != "Training"]
        rows = [{key: value for key, value in row.items() if key != "row"} for row in (*own, *rows)]
    notes = set_sides(rows, test, root)
    return Manifest(make_table(rows), CLASSES, "fer2013", root, tuple(notes))


def find_table(root: Path) -> Path | None:
    """Find ``fer2013.csv``, or another table of faces in the folder; None where there is none."""
    if root.is_file():
        return root
    check_root(root, "fer2013")
    if (root / "fer2013.csv").is_file():
        return root / "fer2013.csv"
    if any(map(side_of, folders(root))):
        return None
    others = [path for path in sorted(root.glob("*.csv")) if path.name != "fer2013new.csv"]
    # What the contest hands out holds tables without Usage and without labels beside the whole one.
    whole = [path for path in others if set(COLUMNS) <= set(_columns(path))]
    if len(whole) > 1:
        raise InputError(
            f"fer2013: {root} holds {listed(path.name for path in whole)}", "Give one of the files as root."
        )
    return whole[0] if whole else others[0] if len(others) == 1 else None


def _columns(path: Path) -> list[str]:
    try:
        return index_rows(path).names
    except InputError:
        return []


def _rows_of_table(path: Path, alone: str | None = None) -> list[dict[str, Any]]:
    """Read the rows of a table; where ``alone`` is given, all are of that usage."""
    try:
        index = index_rows(path)
    except InputError as error:
        raise InputError(f"fer2013: {error.message}", error.hint) from None
    missing = [name for name in COLUMNS if name not in index.names and (name != "Usage" or alone is None)]
    if missing:
        raise InputError(
            f"fer2013: expected the columns {', '.join(COLUMNS)} in {path.name}, found {listed(index.names)}.",
            "Older copies lack Usage; add it, or give a folder of train/<class>/*.png instead. To train on this table "
            f"beside the official one, say train: {path.name}."
            if missing == ["Usage"]
            else "Give the official fer2013.csv.",
        )
    emotion = index.names.index("emotion")
    usage = index.names.index("Usage") if alone is None else len(index.names)
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for row, (start, end, line) in enumerate(zip(index.starts, index.ends, index.lines, strict=True)):
            file.seek(start)
            cells = index.cells(file.read(end - start))
            said, named = (cells[place] if place < len(cells) else "" for place in (emotion, usage))
            label, side = number_of(said), alone or named
            if label is None or label not in range(len(CLASSES)) or side not in USAGES:
                raise InputError(
                    f"fer2013: line {line} of {path.name} has emotion {said or 'nothing'} and Usage "
                    f"{side or 'nothing'}; expected 0 to 6 and one of {', '.join(USAGES)}"
                )
            name = {"sample": f"{row:05d}", "path": path.name, "start": row, "end": row + 1}
            rows.append({**name, "label": int(label), "row": row, "usage": side})
    return rows


def _rows_of_folders(root: Path) -> list[dict[str, Any]]:
    top = folders(root)
    if not any(map(side_of, top)):
        raise InputError(f"fer2013: {root} holds {listed([*top, *(p.name for p in root.glob('*.csv'))])}", EXPECTED)
    rows: list[dict[str, Any]] = []
    for name in top:
        side = side_of(name)
        if side is None:
            continue
        for folder in folders(root / name):
            if canonical_name(folder) not in CLASSES:
                raise InputError(f"fer2013: {name}/{folder} is no class", f"Known are {', '.join(CLASSES)}.")
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
        # Rows name the same picture in the table and in folders, so both forms are split alike.
        row["sample"] = f"{int(stem):05d}" if numbered else row["path"]
        if numbered:
            row["row"] = int(stem)
    return rows


def set_sides(rows: list[dict[str, Any]], test: Test, root: Path) -> list[str]:
    """Turn each row's ``usage`` into its ``split``, and say in notes what that means."""
    there = {row["usage"] for row in rows}
    if "Training" not in there or len(there) < 2:
        raise InputError(f"fer2013: {root} has only {listed(sorted(there))} samples, training and test are needed")
    chosen = ("private" if "PrivateTest" in there else "public") if test == "auto" else test
    wanted = {"private": "PrivateTest", "public": "PublicTest"}[chosen]
    if wanted not in there:
        raise InputError(f"fer2013: test: {chosen} was asked for, {root} has no {wanted}", "Use test: auto.")
    sides: dict[str, str | None] = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    notes = []
    if chosen == "public":
        sides = {"Training": "train", "PublicTest": "test", "PrivateTest": None}
        unused = sum(row["usage"] == "PrivateTest" for row in rows)
        notes.append("tested on the PublicTest" + (f"; {unused} PrivateTest samples are on no side" if unused else ""))
    for row in rows:
        row["split"] = sides[row.pop("usage")]
    return notes
