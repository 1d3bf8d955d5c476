"""ExpW, Expression in the Wild: 91,793 faces from the internet, seven expressions.

Zhang, Luo, Loy and Tang, *From facial expression recognition to interpersonal relation prediction*, International
Journal of Computer Vision 126(5), 2018; the layout is that of the readme: ``label/label.lst`` with name of the image,
number of the face in it, its box (top, left, right, bottom), the detector's confidence, and the expression.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from evenface.data.datasets.layout import SourceFacts, absent_files, check_root, folders, folders_within, naming
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed, number_of
from evenface.utils.tables import read_text

CLASSES = EXPRESSIONS[:7]
"""Expressions in the order of their numbers."""
LIST, IMAGES = "label/label.lst", "image/origin"
EXPECTED = f"Expected {LIST} with lines such as 'angry_actor_104.jpg 0 28 113 226 141 22.9362 0', and {IMAGES}/*.jpg."
FACTS = SourceFacts(
    "ExpW: images of an image search, some with several faces",
    "7 expressions",
    EXPECTED,
    "Chinese University of Hong Kong",
    "For non-commercial research only; the images belong to others",
    "http://mmlab.ie.cuhk.edu.hk/projects/socialrelation/index.html",
)


def read(root: Path) -> Manifest:
    """Read the images with one labelled face: which of several faces is meant is a box, and boxes are not read."""
    check_root(root, "expw")
    root = next((top for top in folders_within(root, 2) if (top / LIST).is_file()), root)
    for part in (LIST, IMAGES):
        if not (root / part).exists():
            raise InputError(f"expw: {part} does not exist in {root}, which has {listed(folders(root))}", EXPECTED)
    with naming("expw"):
        lines = read_text(root / LIST).split("\n")
    rows = [_row(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    faces = Counter(row["sample"] for row in rows)
    single = [row for row in rows if faces[row["sample"]] == 1]
    if not single:
        raise InputError(f"expw: no image of {LIST} has one labelled face, of {len(rows)} faces", EXPECTED)
    notes = absent_files(root, [row["path"] for row in single], "expw", LIST, EXPECTED)
    if len(single) < len(rows):
        images = len(faces) - len(single)
        notes.append(f"{len(rows) - len(single)} faces in {images} images with several labelled faces are excluded")
    return Manifest(make_table(single), CLASSES, "expw", root, tuple(notes))


def _row(line: str, number: int) -> dict[str, Any]:
    cells = line.split()
    if len(cells) != 8 or any(number_of(cell) is None for cell in cells[1:]) or cells[7] not in map(str, range(7)):
        known = listed(f"{code} {name}" for code, name in enumerate(CLASSES))
        raise InputError(f"expw: line {number} of {LIST} is {line.strip()[:60]!r}", f"{EXPECTED} Known: {known}.")
    return {"sample": cells[0], "path": f"{IMAGES}/{cells[0]}", "label": int(cells[7]), "confidence": float(cells[6])}
