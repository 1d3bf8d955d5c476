"""Posed expressions whose file names state person and expression: KDEF and JAFFE.

Lundqvist, Flykt and Öhman, *The Karolinska Directed Emotional Faces (KDEF)*, Karolinska Institutet, 1998:
``AF01ANS.JPG`` is session A, female 01, angry, straight. Lyons, Akamatsu, Kamachi and Gyoba, *Coding facial expressions
with Gabor wavelets*, FG 1998: ``KA.AN1.39.tiff`` is person KA, angry, first image. The names are those of the official
readmes.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from evenface.data.datasets.layout import SourceFacts, check_root, files_below
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES, listed

CLASSES = EXPRESSIONS[:7]
KDEF_CODES = dict(zip(("AN", "DI", "AF", "HA", "SA", "SU", "NE"), CLASSES, strict=True))
JAFFE_CODES = dict(zip(("AN", "DI", "FE", "HA", "SA", "SU", "NE"), CLASSES, strict=True))
KDEF_NAME = re.compile(r"([AB])([FM])(\d\d)([A-Z]{2})(S|HL|HR|FL|FR)", re.IGNORECASE)
JAFFE_NAME = re.compile(r"([A-Z]{2})\.([A-Z]{2})(\d)\.\d+", re.IGNORECASE)
VIEWS = {"straight": ("S",), "half": ("S", "HL", "HR"), "all": ("S", "HL", "HR", "FL", "FR")}
SEX = {"F": "female", "M": "male"}
EXPECTED_KDEF = "Expected images such as AF01/AF01ANS.JPG, at any depth: session, sex, person, expression, view."
EXPECTED_JAFFE = "Expected images such as KA.AN1.39.tiff, at any depth: person, expression, number."
FACTS = {
    "kdef": SourceFacts(
        "KDEF: 70 people pose expressions twice, from five angles",
        "7 expressions",
        EXPECTED_KDEF,
        "Karolinska Institutet, Stockholm",
        "Free of charge for non-commercial research, on registration",
        "https://kdef.se/",
    ),
    "jaffe": SourceFacts(
        "JAFFE: 213 images of 10 Japanese women",
        "7 expressions",
        EXPECTED_JAFFE,
        "M. J. Lyons",
        "Free of charge for non-commercial research, on request",
        "https://zenodo.org/records/3451524",
    ),
}


def read_kdef(root: Path, *, views: Literal["straight", "half", "all"] = "straight") -> Manifest:
    """Read the images of the chosen views; ``half`` includes ``straight``."""
    rows, others = [], []
    for path in _images(root, "kdef", EXPECTED_KDEF):
        match = KDEF_NAME.fullmatch(Path(path).stem)
        if match is None or match[4].upper() not in KDEF_CODES:
            others.append(path)
            continue
        session, sex, person, code, view = (part.upper() for part in match.groups())
        if view in VIEWS[views]:
            row = {"label": CLASSES.index(KDEF_CODES[code]), "subject": f"{sex}{person}", "sex": SEX[sex]}
            rows.append({"sample": Path(path).stem.upper(), "path": path, **row, "session": session, "view": view})
    return _manifest(rows, others, "kdef", root, EXPECTED_KDEF)


def read_jaffe(root: Path) -> Manifest:
    """Read the images; there is one view of each."""
    rows, others = [], []
    for path in _images(root, "jaffe", EXPECTED_JAFFE):
        match = JAFFE_NAME.fullmatch(Path(path).stem)
        if match is None or match[2].upper() not in JAFFE_CODES:
            others.append(path)
            continue
        label = CLASSES.index(JAFFE_CODES[match[2].upper()])
        rows.append({"sample": Path(path).stem, "path": path, "label": label, "subject": match[1].upper()})
    return _manifest(rows, others, "jaffe", root, EXPECTED_JAFFE)


def _images(root: Path, source: str, expected: str) -> list[str]:
    check_root(root, source)
    images = [name for name in files_below(root) if name.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        raise InputError(f"{source}: no images below {root}", expected)
    return images


def _manifest(rows: list[dict[str, Any]], others: list[str], source: str, root: Path, expected: str) -> Manifest:
    if not rows:
        raise InputError(f"{source}: no image below {root} is read, such as {listed(others, 1)}", expected)
    counts = Counter(row["sample"] for row in rows)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        paths = listed(row["path"] for row in rows if row["sample"] == twice)
        raise InputError(f"{source}: several files are called {twice}: {paths}", "Give the folder of one copy.")
    notes = [f"images with other names are excluded: {len(others)}, such as {others[0]}"] if others else []
    return Manifest(make_table(rows), CLASSES, source, root, tuple(notes))
