"""Emotion-Domestic: about 54,000 faces of Asian people from online videos, seven expressions, in folders.

Used by Li et al., *Optimizing class imbalance in facial expression recognition using dynamic intra-class
clustering*, Biomimetics 10(5), 2025.
"""

from pathlib import Path

from evenface.data.datasets.layout import rows_of_sides
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table

LICENCE = "Terms unknown to evenface: ask the provider of your copy."

CLASSES = EXPRESSIONS[:7]


def read(root: Path, *, train: str | None = None) -> Manifest:
    """Read ``train/<class>/`` and ``test/<class>/``."""
    root = root / "emotion-domestic" if (root / "emotion-domestic").is_dir() else root
    rows, notes = rows_of_sides(root, "emotion-domestic", CLASSES, (("train",), ("test", "validation")), train)
    return Manifest(make_table(rows), CLASSES, "emotion-domestic", root, tuple(notes))
