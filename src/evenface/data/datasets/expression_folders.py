"""Faces of seven expressions in folders ``split/class/file``: MMAFEDB and Emotion-Domestic.

MMAFEDB, about 127,000 faces, grey and colour, is distributed as *MMA facial expression recognition* on Kaggle, without
a publication. Emotion-Domestic, about 54,000 faces of Asian people from online videos, is used by Li et al.,
*Optimizing class imbalance in facial expression recognition using dynamic intra-class clustering*, Biomimetics 10(5),
2025.
"""

from collections.abc import Sequence
from pathlib import Path

from evenface.data.datasets.layout import SourceFacts, check_root, files_below, folders, side_of
from evenface.data.labels import EXPRESSIONS, canonical_name
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed

FACTS = {
    "mmafedb": SourceFacts(
        "MMAFEDB: about 127,000 faces, grey and colour",
        "7 expressions",
        "Expected train/<class>/, valid/<class>/ and test/<class>/.",
        "Kaggle",
        "Published on Kaggle without a paper: the terms stated there apply; evenface does not know them",
    ),
    "emotion-domestic": SourceFacts(
        "Emotion-Domestic: about 54,000 faces of Asian people from online videos",
        "7 expressions",
        "Expected train/<class>/ and test/<class>/.",
        "not known",
        "Terms unknown to evenface: ask the provider of your copy",
    ),
}

CLASSES = EXPRESSIONS[:7]


def read_mmafedb(root: Path, *, train: str | None = None) -> Manifest:
    """Read ``train/<class>/``, ``valid/<class>/`` and ``test/<class>/``."""
    root = root / "MMAFEDB" if (root / "MMAFEDB").is_dir() else root
    return _read_sides(root, "mmafedb", (("train",), ("validation",), ("test",)), train)


def read_emotion_domestic(root: Path, *, train: str | None = None) -> Manifest:
    """Read ``train/<class>/`` and ``test/<class>/``."""
    root = root / "emotion-domestic" if (root / "emotion-domestic").is_dir() else root
    return _read_sides(root, "emotion-domestic", (("train",), ("test", "validation")), train)


def _read_sides(root: Path, source: str, needed: Sequence[tuple[str, ...]], train: str | None) -> Manifest:
    check_root(root, source)
    sides = {name: side for name in folders(root) if (side := side_of(name))}
    if train is not None:
        if train not in folders(root):
            raise InputError(
                f"{source}: the folder {train} (option train) does not exist in {root}, which has "
                f"{listed(folders(root))}",
                "Name one of these folders.",
            )
        sides = {name: side for name, side in sides.items() if side != "train"} | {train: "train"}
    expected = f"Expected folders {', '.join(' or '.join(names) for names in needed)}, each with one folder per class."
    rows, empty = [], []
    for name, side in sides.items():
        filled = set()
        for folder in folders(root / name):
            if canonical_name(folder) not in CLASSES:
                raise InputError(
                    f"{source}: the folder {name}/{folder} is not a known class", f"Known: {', '.join(CLASSES)}."
                )
            label = CLASSES.index(canonical_name(folder))
            paths = [f"{name}/{folder}/{file}" for file in files_below(root / name / folder)]
            rows += [{"sample": path, "path": path, "label": label, "split": side} for path in paths]
            filled |= {label} if paths else set()
        empty += [f"{name}/{class_name}" for label, class_name in enumerate(CLASSES) if label not in filled]
    present = {row["split"] for row in rows}
    for names in needed:
        if not present.intersection(names):
            problem = "no images in the folder" if set(sides.values()).intersection(names) else "no folder"
            others = [name for name in folders(root) if "train" in name.lower()] if names == ("train",) else []
            hint = f"{expected} To train on another folder: train: {others[0]}." if others else expected
            raise InputError(f"{source}: {problem} {names[0]} of {root}, which has {listed(folders(root))}", hint)
    notes = (f"classes without images: {listed(empty)}",) if empty else ()
    return Manifest(make_table(rows), CLASSES, source, root, notes)
