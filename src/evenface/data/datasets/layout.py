"""What sources share: looking into folders, and the names that data sets give to their sides."""

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from evenface.data.labels import canonical_name
from evenface.utils.errors import InputError
from evenface.utils.file_types import file_kind
from evenface.utils.files import is_folder
from evenface.utils.natural_order import natural_order, number_of

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
_PEOPLE = "s|su|sub|subj|subject|p|pp|pat|patient|part|participant|per|person|actor|id|user|[abf]?[fmw]"
_PERSON = re.compile(rf"(?:{_PEOPLE})[-_ ]?[0-9]+", re.IGNORECASE)


def side_of(name: str) -> str | None:
    """Side that a folder or a table's cell names, in any case; None where it names none."""
    return SIDE_NAMES.get(name.strip().lower())


def check_root(root: Path, source: str) -> None:
    """Refuse a folder that is missing or is none."""
    if root.is_dir():
        return
    if root.exists():
        raise InputError(f"{source}: {root} is a file, a folder was expected")
    parent = next((p for p in root.absolute().parents if p.is_dir()), Path("/"))
    raise InputError(f"{source}: there is no folder {root}", f"{parent} exists; it holds {listed(folders(parent))}.")


def folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, sorted, without hidden and resource-fork ones."""
    names = sorted(e.name for e in _entries(root) if not e.name.startswith((".", "__")) and is_folder(e))
    _check_names(names, root, "folder")
    return names


def files_below(folder: Path) -> list[str]:
    """Paths of all files below ``folder``, relative to it, with forward slashes, sorted; hidden ones are skipped.

    Links are followed, but for those that lead back to a folder above them.
    """
    found: list[str] = []

    def walk(where: Path, below: str, above: frozenset[tuple[int, int]]) -> None:
        for entry in _entries(where):
            if entry.name.startswith("."):
                continue
            if not is_folder(entry):
                found.append(below + entry.name)
            elif not entry.name.startswith("__"):
                this = _identity(Path(entry.path))
                if this not in above:
                    walk(Path(entry.path), f"{below}{entry.name}/", above | {this})

    whole = folder.resolve()
    walk(folder, "", frozenset(_identity(one) for one in (whole, *whole.parents)))
    _check_names(found, folder, "file")
    return sorted(found)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}", "See who may read it.") from error


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _check_names(names: Iterable[str], where: Path, what: str) -> None:
    for name in names:
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise InputError(f"the name of the {what} {name!r} in {where} is not valid UTF-8", f"Rename the {what}.")


def clips_below(folder: Path) -> tuple[list[str], list[str]]:
    """Find the clips below ``folder``: files, and folders that hold pictures; and pictures that lie in it directly."""
    kinds = {name: file_kind(str(folder / name)) for name in files_below(folder)}
    pictures = [name for name, kind in kinds.items() if kind == "picture"]
    filled = {name.rpartition("/")[0] for name in pictures}
    clips = [
        name
        for name, kind in kinds.items()
        if kind in ("video", "animation") or (kind == "other" and name.rpartition("/")[0] not in filled)
    ]
    return sorted({*clips, *filled} - {""}), [name for name in pictures if "/" not in name]


def names_in(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """Names of the files in ``folder`` with one of the endings, in any case, sorted; hidden ones are skipped."""
    return sorted(e.name for e in _entries(folder) if e.name.lower().endswith(endings) and not e.name.startswith("."))


def absent_files(root: Path, paths: Collection[str], source: str, table: str, hint: str = "") -> list[str]:
    """Say which files that a table names are not there; preparing sets their samples aside."""
    absent = [path for path in paths if not os.path.exists(root / path)]  # noqa: PTH110 - Path refuses long names
    if len(absent) == len(paths):
        raise InputError(
            f"{source}: none of the {len(paths)} files in {table} is there, such as {root / absent[0]}", hint
        )
    return [f"{len(absent)} of {len(paths)} files in {table} are not there, such as {absent[0]}"] if absent else []


def rows_of_sides(
    root: Path, source: str, classes: Sequence[str], needed: Sequence[tuple[str, ...]], train: str | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """List the samples of folders ``side/class/file``, for the sources of data sets that are laid out so."""
    check_root(root, source)
    found = {name: side for name in folders(root) if (side := side_of(name))}
    if train is not None:
        if train not in folders(root):
            raise InputError(f"{source}: there is no folder {train} in {root}, which holds {listed(folders(root))}")
        found = {name: side for name, side in found.items() if side != "train"} | {train: "train"}
    expected = f"Expected the sides {', '.join(' or '.join(sides) for sides in needed)}, each with a folder per class."
    rows: list[dict[str, Any]] = []
    empty = []
    for name, side in found.items():
        there = set()
        for folder in folders(root / name):
            if canonical_name(folder) not in classes:
                raise InputError(f"{source}: {name}/{folder} is no class", f"Known are {', '.join(classes)}.")
            label = classes.index(canonical_name(folder))
            paths = [f"{name}/{folder}/{file}" for file in files_below(root / name / folder)]
            rows += [{"sample": path, "path": path, "label": label, "split": side} for path in paths]
            there |= {label} if paths else set()
        empty += [f"{name}/{word}" for label, word in enumerate(classes) if label not in there]
    filled = {row["split"] for row in rows}
    for sides in needed:
        if not filled.intersection(sides):
            state = "no pictures in" if set(found.values()).intersection(sides) else "no folder"
            others = [name for name in folders(root) if "train" in name.lower()] if sides == ("train",) else []
            hint = f"{expected} Another folder to train on: train: {others[0]}." if others else expected
            raise InputError(f"{source}: {state} {sides[0]} of {root}, which holds {listed(folders(root))}", hint)
    return rows, [f"classes without pictures: {listed(empty)}"] if empty else []


def listed(names: Iterable[str], most: int = 8) -> str:
    """Join names with commas, the first ``most`` only; ``nothing`` if there are none."""
    every = list(names)
    if not every:
        return "nothing"
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def class_notes(names: Iterable[str]) -> list[str]:
    """Note class names that may be one class written in several ways, or a missing label that was written out."""
    every = natural_order(names)
    alike: dict[Any, list[str]] = {}
    for name in every:
        number = number_of(name)
        text = unicodedata.normalize("NFKC", name).casefold()
        plain = "".join(" " if letter.isspace() else letter for letter in text if unicodedata.category(letter) != "Cf")
        alike.setdefault(" ".join(plain.split()) if number is None else number, []).append(name)
    notes = [
        f"classes whose names differ only in case, blanks, Unicode form or digits: {listed(map(repr, group))}"
        for group in alike.values()
        if len(group) > 1
    ]
    missing = [name for name in every if name.lower() in ("nan", "na", "n/a", "#n/a", "null", "nat", "<na>")]
    return notes + [f"{name!r} is taken for a class; leave a cell empty where a label is missing" for name in missing]


def check_scale(source: str, names: Iterable[str], given: Sequence[str] | None, ordered: bool) -> None:
    """Refuse steps of a scale whose order nobody said: names without a number, sorted, are in no order of a scale."""
    words = [name for name in names if not any(map(str.isdigit, name))]
    if ordered and not given and words:
        raise InputError(
            f"{source}: the order of the classes {listed(names)} is not known, their names have no numbers",
            "Say it, the lowest first: classes: [none, mild, severe].",
        )


def people_notes(names: Collection[str]) -> list[str]:
    """Note classes that are called as people usually are: S001, Actor_01, subject-3."""
    if len(names) > 2 and all(_PERSON.fullmatch(name) for name in names):
        return [f"folders that are called as people are and are taken for classes: {listed(sorted(names))}"]
    return []
