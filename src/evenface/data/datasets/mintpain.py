"""MIntPAIN: 20 people at four levels of electrical pain and without pain, as images of each sweep.

Haque et al., *Deep multimodal pain recognition: a database and comparison of spatio-temporal visual modalities*, IEEE
FG 2018. The layout is that which public programs read: folders of the form ``Sub01_Trial01_Sweep01_Label0``, below
those of subjects and trials, each with the images ``RGB/RGB-11-51-02-0121.jpg``.
"""

import re
from pathlib import Path
from typing import Any

from evenface.data.datasets.layout import SourceFacts, check_root, completeness_notes, folders, folders_within, names_in
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES, listed

SWEEP = re.compile(r"(?P<subject>Sub\d+)_(?P<trial>Trial\d+)_Sweep\d+_Label(?P<label>\d+)", re.IGNORECASE)
LEVELS = ("0", "1", "2", "3", "4")
PEOPLE = 20
DEPTH = 4
"""Levels of folders down to a sweep: release, subject, trial, sweep."""
EXPECTED = "Expected folders <subject>/<trial>/Sub01_Trial01_Sweep01_Label0/RGB, of images; labels are 0 to 4."
FACTS = SourceFacts(
    "MIntPAIN: 20 people at four levels of electrical pain and without pain",
    "5 levels, 0 to 4",
    EXPECTED,
    "M. A. Haque et al., Aalborg University",
    "Available from its owners for research, on application",
    "https://vap.aau.dk/mintpain-database/",
)


def read(root: Path) -> Manifest:
    """Read the colour images of each sweep as a clip; depth and thermal images are not read."""
    check_root(root, "mintpain")
    rows, empty = [], []
    for folder in folders_within(root, DEPTH):
        if match := SWEEP.fullmatch(folder.name):
            images = next((folder / name for name in folders(folder) if name.lower() == "rgb"), None)
            if images is None or not names_in(images, IMAGE_SUFFIXES):
                empty.append(folder.name)
            else:
                rows.append(_row(match, images.relative_to(root).as_posix()))
    if not rows:
        found = f"none of {len(empty)} sweeps in {root} has images" if empty else f"no sweeps in {root}"
        raise InputError(f"mintpain: {found}, which has {listed(folders(root))}", EXPECTED)
    notes = [f"sweeps without colour images are excluded: {listed(empty)}"] if empty else []
    notes += completeness_notes(len({row["subject"] for row in rows}), PEOPLE)
    return Manifest(make_table(rows), LEVELS, "mintpain", root, tuple(notes), "clips", "ordinal")


def _row(match: re.Match[str], path: str) -> dict[str, Any]:
    """Return the row of a sweep; its subject is the number alone, as folders of subjects have names of persons."""
    if match["label"] not in LEVELS:
        raise InputError(f"mintpain: the folder {match[0]} has the label {match['label']}", EXPECTED)
    subject = f"Sub{int(match['subject'][3:]):02d}"
    return {"sample": match[0], "path": path, "label": int(match["label"]), "subject": subject, "clip": match[0]}
