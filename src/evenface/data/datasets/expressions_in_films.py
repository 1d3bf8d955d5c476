"""Clips of expressions from films and the internet, with the official folds: DFEW, FERV39k and MAFW.

Jiang et al., *DFEW: a large-scale database for recognizing dynamic facial expressions in the wild*, ACM Multimedia
2020; Wang et al., *FERV39k: a large-scale multi-scene dataset for facial expression recognition in videos*, CVPR 2022;
Liu et al., *MAFW: a large-scale, multi-modal, compound affective database*, ACM Multimedia 2022. The layouts are those
that public programs read; the spreadsheets of annotators' votes are not read.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from evenface.data.datasets.layout import (
    SourceFacts,
    absent_files,
    check_root,
    folders,
    folders_within,
    manifest_of_targets,
    naming,
)
from evenface.data.labels import EXPRESSIONS, canonical_name
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed
from evenface.utils.tables import read_delimited, read_text

SIDES = ("train", "test")
EXPECTED_DFEW = (
    "Expected EmoLabel_DataSplit/train(single-labeled)/set_1.csv and test(single-labeled)/set_1.csv with the columns "
    "video_name and label, and Clip/clip_224x224/00001/*.jpg."
)
EXPECTED_FERV = (
    "Expected 4_setups/All_scenes/train_All.csv and test_All.csv with lines such as 'Action/Happy/0267 Happy', and "
    "2_ClipsforFaceCrop/Action/Happy/0267/*.jpg."
)
EXPECTED_MAFW = (
    "Expected 'Train & Test Set/single/no_caption/set_1/train.txt' and test.txt with lines such as '00001.mp4 anger', "
    "and data/clips/00001.mp4."
)
FACTS = {
    "dfew": SourceFacts(
        "DFEW: 11,697 clips of films with one of seven expressions",
        "7 expressions; 5 official folds",
        EXPECTED_DFEW,
        "Southeast University, Nanjing",
        "For non-commercial research only, under a signed agreement",
        "https://dfew-dataset.github.io/",
    ),
    "ferv39k": SourceFacts(
        "FERV39k: 38,935 clips of 22 scenes",
        "7 expressions; official split",
        EXPECTED_FERV,
        "Fudan University, Shanghai",
        "For non-commercial research only, under a signed agreement",
        "https://wangyanckxx.github.io/Proj_CVPR2022_FERV39k.html",
    ),
    "mafw": SourceFacts(
        "MAFW: 10,045 clips of films and television, of which 9,172 have one expression",
        "11 expressions, one or several of them; 5 official folds",
        EXPECTED_MAFW,
        "China University of Geosciences, Wuhan",
        "For non-commercial research only, under a signed agreement",
        "https://mafw-database.github.io/MAFW/",
    ),
}

Fold = Literal[1, 2, 3, 4, 5]


def _top(root: Path, name: str, source: str, expected: str) -> Path:
    """Return the folder that contains a file or folder: the root, or one in it."""
    check_root(root, source)
    for top in folders_within(root, 1):
        if (top / name).exists():
            return top
    raise InputError(f"{source}: no {name} in {root}, which has {listed(folders(root))}", expected)


def _lines(path: Path, source: str, expected: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, first and second cell of the lines of a list separated by blanks."""
    if not path.is_file():
        raise InputError(f"{source}: {path} does not exist", expected)
    with naming(source):
        text = read_text(path)
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.split()
        if len(cells) == 2:
            yield number, cells[0], cells[1]
        elif cells:
            raise InputError(f"{source}: line {number} of {path} is {line.strip()[:40]!r}", expected)


def _manifest(
    rows: list[dict[str, Any]], classes: tuple[str, ...], source: str, root: Path, expected: str, *, where: str
) -> Manifest:
    if not rows:
        raise InputError(f"{source}: {where} lists no clips", expected)
    notes = absent_files(root, [row["path"] for row in rows], source, where, expected)
    return Manifest(make_table(rows), classes, source, root, tuple(notes), "clips")


# --- DFEW


DFEW_CODES = {1: "happy", 2: "sad", 3: "neutral", 4: "angry", 5: "surprise", 6: "disgust", 7: "fear"}


def read_dfew(
    root: Path, *, fold: Fold = 1, images: Literal["clip_224x224", "clip_224x224_16f"] = "clip_224x224"
) -> Manifest:
    """Read the clips with one expression, split by an official fold."""
    root = _top(root, "EmoLabel_DataSplit", "dfew", EXPECTED_DFEW)
    rows: list[dict[str, Any]] = []
    for side in SIDES:
        path = root / "EmoLabel_DataSplit" / f"{side}(single-labeled)" / f"set_{fold}.csv"
        if not path.is_file():
            raise InputError(f"dfew: {path} does not exist", EXPECTED_DFEW)
        with naming("dfew", EXPECTED_DFEW):
            cells = read_delimited(path).fillna("")
        if not {"video_name", "label"} <= set(cells):
            raise InputError(
                f"dfew: expected the columns video_name and label in {path}, found {listed(map(str, cells))}",
                EXPECTED_DFEW,
            )
        for line, name, code in zip(cells.index, cells["video_name"], cells["label"], strict=True):
            if not name.isdecimal() or code not in map(str, DFEW_CODES):
                known = listed(f"{number} {label}" for number, label in DFEW_CODES.items())
                raise InputError(
                    f"dfew: line {line} of {path} has clip {name or 'none'} and label {code or 'none'}",
                    f"Known: {known}.",
                )
            clip = f"{int(name):05d}"
            label = EXPRESSIONS.index(DFEW_CODES[int(code)])
            row = {"sample": clip, "path": f"Clip/{images}/{clip}", "label": label, "clip": clip, "split": side}
            rows.append(row)
    return _manifest(rows, EXPRESSIONS[:7], "dfew", root, EXPECTED_DFEW, where=f"fold {fold}")


# --- FERV39k


def read_ferv39k(root: Path) -> Manifest:
    """Read the clips of all scenes, with the official split; the scene is a column."""
    root = _top(root, "4_setups", "ferv39k", EXPECTED_FERV)
    tops = [Path("2_ClipsforFaceCrop"), Path("2_ClipsforFaceCrop/2_ClipsforFaceCrop")]
    top = next((top for top in reversed(tops) if (root / top).is_dir()), None)
    if top is None:
        raise InputError(f"ferv39k: no folder {tops[0]} in {root}, which has {listed(folders(root))}", EXPECTED_FERV)
    rows: list[dict[str, Any]] = []
    for side in SIDES:
        path = root / "4_setups" / "All_scenes" / f"{side}_All.csv"
        for number, clip, word in _lines(path, "ferv39k", EXPECTED_FERV):
            match = re.fullmatch(r"(\w+)/(\w+)/\d+", clip)
            name = canonical_name(word)
            if match is None or name not in EXPRESSIONS[:7] or canonical_name(match[2]) != name:
                raise InputError(f"ferv39k: line {number} of {path} is '{clip} {word}'", EXPECTED_FERV)
            row = {"sample": clip, "path": (top / clip).as_posix(), "label": EXPRESSIONS.index(name), "clip": clip}
            rows.append({**row, "split": side, "scene": match[1]})
    return _manifest(rows, EXPRESSIONS[:7], "ferv39k", root, EXPECTED_FERV, where="4_setups/All_scenes")


# --- MAFW


MAFW_CLASSES = (*EXPRESSIONS, "anxiety", "helplessness", "disappointment")


def read_mafw(root: Path, *, labels: Literal["single", "multi"] = "single", fold: Fold = 1) -> Manifest:
    """Read the clips with one expression, or those with one or several as a multi-label task."""
    root = _top(root, "Train & Test Set", "mafw", EXPECTED_MAFW)
    part = {"single": "single", "multi": "compound"}[labels]
    folder = next((name for name in ("data/clips", "clips") if (root / name).is_dir()), None)
    if folder is None:
        raise InputError(f"mafw: no folder data/clips in {root}, which has {listed(folders(root))}", EXPECTED_MAFW)
    rows: list[dict[str, Any]] = []
    for side in SIDES:
        path = root / "Train & Test Set" / part / "no_caption" / f"set_{fold}" / f"{side}.txt"
        for number, file, word in _lines(path, "mafw", EXPECTED_MAFW):
            names = [canonical_name(name) for name in word.split("_")]
            if not set(names) <= set(MAFW_CLASSES) or (labels == "single" and len(names) > 1):
                known = f"Known: {', '.join(MAFW_CLASSES)}."
                raise InputError(f"mafw: line {number} of {path} has the label {word}", known)
            row = {"sample": Path(file).stem, "path": f"{folder}/{file}", "clip": Path(file).stem, "split": side}
            values = {name: float(name in names) for name in MAFW_CLASSES}
            rows.append(row | (values if labels == "multi" else {"label": MAFW_CLASSES.index(names[0])}))
    if labels == "single":
        return _manifest(rows, MAFW_CLASSES, "mafw", root, EXPECTED_MAFW, where=f"fold {fold}")
    if not rows:
        raise InputError(f"mafw: fold {fold} lists no clips", EXPECTED_MAFW)
    notes = absent_files(root, [row["path"] for row in rows], "mafw", f"fold {fold}", EXPECTED_MAFW)
    return manifest_of_targets(pd.DataFrame(rows), MAFW_CLASSES, "multilabel", "mafw", root, notes, "clips")
