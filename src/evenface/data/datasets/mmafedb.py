"""MMAFEDB: about 127,000 faces, grey and colour, seven expressions, in folders.

Distributed as *MMA facial expression recognition* on Kaggle, without a publication.
"""

from pathlib import Path

from evenface.data.datasets.layout import rows_of_sides
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table

LICENCE = "Published on Kaggle without a paper: the terms stated there apply; evenface does not know them."

CLASSES = EXPRESSIONS[:7]


def read(root: Path, *, train: str | None = None) -> Manifest:
    """Read ``train/<class>/``, ``valid/<class>/`` and ``test/<class>/``."""
    root = root / "MMAFEDB" if (root / "MMAFEDB").is_dir() else root
    rows, notes = rows_of_sides(root, "mmafedb", CLASSES, (("train",), ("validation",), ("test",)), train)
    return Manifest(make_table(rows), CLASSES, "mmafedb", root, tuple(notes))
