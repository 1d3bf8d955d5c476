"""What sources share: looking into folders, and the names that data sets give to their sides."""

import os
from collections.abc import Iterable
from pathlib import Path

from evenface.errors import InputError

SIDE_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "publictest": "validation",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}


def side_of(name: str) -> str | None:
    """Side that a folder or a table's cell names, in any case; None where it names none."""
    return SIDE_NAMES.get(name.strip().lower())


def check_root(root: Path, source: str) -> None:
    """Refuse a folder that is missing or is none.

    Raises
    ------
    InputError
        Naming the nearest folder that does exist.
    """
    if root.is_dir():
        return
    if root.exists():
        raise InputError(f"{source}: {root} is a file, a folder was expected")
    parent = next((p for p in root.absolute().parents if p.is_dir()), Path("/"))
    raise InputError(f"{source}: there is no folder {root}", f"{parent} exists; it holds {listed(folders(parent))}.")


def folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, sorted, without hidden and resource-fork ones."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__")))


def files_below(folder: Path) -> list[str]:
    """Paths of all files below ``folder``, relative to it, with forward slashes, sorted; hidden ones are skipped.

    Raises
    ------
    InputError
        If a file's name is not valid UTF-8, so that no table could hold it.
    """
    found = []
    for where, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith((".", "__"))]
        below = Path(where).relative_to(folder)
        found += [(below / name).as_posix() for name in names if not name.startswith(".")]
    for name in found:
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise InputError(f"the name of the file {name!r} in {folder} is not valid UTF-8", "Rename the file.")
    return sorted(found)


def listed(names: Iterable[str], most: int = 8) -> str:
    """Join names with commas, the first ``most`` only; ``nothing`` if there are none."""
    every = list(names)
    if not every:
        return "nothing"
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def natural(names: Iterable[str]) -> list[str]:
    """Sort class names: as numbers where all are numbers, else as words."""
    every = set(names)
    return sorted(every, key=int) if all(n.isdecimal() for n in every) else sorted(every)
