"""Emotion-Domestic: some 54,000 faces of Asian people from online videos, seven expressions, in folders.

Used by Li et al., *Optimizing class imbalance in facial expression recognition using dynamic intra-class
clustering*, Biomimetics 10(5), 2025.
"""

from pathlib import Path

from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.data.sources.layout import rows_of_sides

LICENCE = "Terms unknown to evenface: ask the provider of your copy."

CLASSES = EXPRESSIONS[:7]


def read(root: Path, *, train: str | None = None) -> Manifest:
    """Read ``train/<class>/`` and ``test/<class>/``.

    Parameters
    ----------
    root : Path
        The folder ``emotion-domestic``, or the one that holds it. Classes may be called in any form or case. Copies
        that call the second side ``val`` are read too: it is tested on.
    train : str, optional
        A folder that is trained on in place of ``train``, such as ``imbalanced_train_100`` of the sets that the authors
        of DICC made.

    Returns
    -------
    Manifest
        Official sides: 49,601 pictures for training and 4,000 for testing where the copy is whole.

    Raises
    ------
    InputError
        If a side or its classes are missing, or a folder is no class.
    """
    root = root / "emotion-domestic" if (root / "emotion-domestic").is_dir() else root
    rows, notes = rows_of_sides(root, "emotion-domestic", CLASSES, (("train",), ("test", "validation")), train)
    return Manifest(make_table(rows), CLASSES, "emotion-domestic", root, tuple(notes))
