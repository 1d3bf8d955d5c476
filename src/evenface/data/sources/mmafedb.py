"""MMAFEDB: some 127,000 faces, grey and colour, seven expressions, in folders.

Given out as *MMA facial expression recognition* on Kaggle, without a publication.
"""

from pathlib import Path

from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.data.sources.layout import rows_of_sides

LICENCE = "Published on Kaggle without a paper: the terms stated there apply; evenface does not know them."

CLASSES = EXPRESSIONS[:7]


def read(root: Path, *, train: str | None = None) -> Manifest:
    """Read ``train/<class>/``, ``valid/<class>/`` and ``test/<class>/``.

    Parameters
    ----------
    root : Path
        The folder ``MMAFEDB``, or the one that holds it. Classes may be called in any form or case: happy, Happiness.
    train : str, optional
        A folder that is trained on in place of ``train``, such as ``imbalanced_train_100`` of the sets that the authors
        of DICC made.

    Returns
    -------
    Manifest
        Official sides: 92,968 pictures for training, 17,356 for validation and as many for testing in the copies that
        are given out. A paper prints 17,375 for validation, and the same sum of all: its other counts do not add up.

    Raises
    ------
    InputError
        If a side or its classes are missing, or a folder is no class.
    """
    root = root / "MMAFEDB" if (root / "MMAFEDB").is_dir() else root
    rows, notes = rows_of_sides(root, "mmafedb", CLASSES, (("train",), ("validation",), ("test",)), train)
    return Manifest(make_table(rows), CLASSES, "mmafedb", root, tuple(notes))
