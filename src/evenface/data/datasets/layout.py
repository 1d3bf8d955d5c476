"""Helpers of dataset readers: listing folders and files, names of splits, checks and notes that readers share."""

import math
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evenface.data.manifest import Manifest, TaskKind, make_table
from evenface.data.targets import select_targets
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES, check_exists, file_kind, is_folder, listed, natural_order, number_of
from evenface.utils.tables import read_text

if TYPE_CHECKING:
    import pandas as pd

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


class SourceFacts(NamedTuple):
    """What a source reads, what is annotated in it, which files it needs, who provides them, and their terms of use."""

    about: str
    targets: str
    needs: str
    owner: str
    terms: str
    address: str = ""

    @property
    def licence(self) -> str:
        """Terms of use, and where to read them."""
        return f"{self.terms}: {self.address}" if self.address else f"{self.terms}."


def side_of(name: str) -> str | None:
    """Return the split that a folder name or table cell denotes, ignoring case; None if it denotes none."""
    return SIDE_NAMES.get(name.strip().lower())


def check_root(root: Path, source: str) -> None:
    """Check that the root of a dataset is an existing folder."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{source}: {root} is a file; expected a folder")
    check_exists(root, source)


@contextmanager
def naming(source: str, hint: str = "") -> Iterator[None]:
    """Name the source in InputErrors of the block, and add a hint to those without one."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error.message}", error.hint or hint) from None


def part_of(tops: Sequence[Path], name: str, source: str, expected: str) -> Path:
    """Return a folder of a dataset in the first of ``tops`` that has it; some copies nest it twice."""
    for top in tops:
        if (top / name).is_dir():
            return top / name / name if (top / name / name).is_dir() else top / name
    root = tops[0]
    raise InputError(f"{source}: no folder {name} in {root}, which has {listed(folders(root))}", expected)


def folders(root: Path) -> list[str]:
    """Return the sorted names of the folders in ``root``, without hidden and resource-fork ones."""
    names = sorted(e.name for e in _entries(root) if not e.name.startswith((".", "__")) and is_folder(e))
    _check_names(names, root, "folder")
    return names


def folders_within(root: Path, depth: int) -> Iterator[Path]:
    """Iterate over a folder and the folders in it, down to a depth, the outer ones first."""
    level = [root]
    yield root
    for _ in range(depth):
        outer, level = level, []
        for path in (parent / name for parent in outer for name in folders(parent)):
            level.append(path)
            yield path


def files_below(folder: Path) -> list[str]:
    """Return the sorted paths of all files below ``folder``, relative to it, with forward slashes, without hidden ones.

    Links are followed, except those that lead back to a folder above them.
    """
    paths: list[str] = []

    def walk(parent: Path, prefix: str, above: frozenset[tuple[int, int]]) -> None:
        for entry in _entries(parent):
            if entry.name.startswith("."):
                continue
            if not is_folder(entry):
                paths.append(prefix + entry.name)
            elif not entry.name.startswith("__"):
                inode = _inode(Path(entry.path))
                if inode not in above:
                    walk(Path(entry.path), f"{prefix}{entry.name}/", above | {inode})

    resolved = folder.resolve()
    walk(folder, "", frozenset(_inode(parent) for parent in (resolved, *resolved.parents)))
    _check_names(paths, folder, "file")
    return sorted(paths)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(
            f"cannot read the folder {folder}: {error.strerror}", "Check that you have permission to read it."
        ) from error


def _inode(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _check_names(names: Iterable[str], parent: Path, what: str) -> None:
    for name in names:
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise InputError(f"the name of the {what} {name!r} in {parent} is not valid UTF-8", f"Rename the {what}.")


def clips_below(folder: Path) -> tuple[list[str], list[str]]:
    """Return the clips below ``folder`` (videos, and folders of images), and the images directly in it."""
    kinds = {name: file_kind(str(folder / name)) for name in files_below(folder)}
    images = [name for name, kind in kinds.items() if kind == "image"]
    filled = {name.rpartition("/")[0] for name in images}
    clips = [
        name
        for name, kind in kinds.items()
        if kind in ("video", "animation") or (kind == "other" and name.rpartition("/")[0] not in filled)
    ]
    return sorted({*clips, *filled} - {""}), [name for name in images if "/" not in name]


def names_in(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the sorted names of the files in ``folder`` with one of the suffixes, in any case, without hidden ones."""
    return sorted(e.name for e in _entries(folder) if e.name.lower().endswith(suffixes) and not e.name.startswith("."))


def numbered_images(folder: Path) -> dict[int, str]:
    """Return the names of the images in ``folder`` by the number that is all of the name: 1 for ``0001.jpg``."""
    return {int(Path(name).stem): name for name in names_in(folder, IMAGE_SUFFIXES) if Path(name).stem.isdecimal()}


def check_step(source: str, every: int) -> None:
    """Check the option ``every``: each n-th frame is read."""
    if every < 1:
        raise InputError(f"{source}: every must be at least 1, got {every}")


def absent_files(root: Path, paths: Collection[str], source: str, table: str, hint: str = "") -> list[str]:
    """Return a note on files that a table lists and that do not exist; preprocessing excludes their samples."""
    absent = [path for path in paths if not os.path.exists(root / path)]  # noqa: PTH110 - Path refuses long names
    if len(absent) == len(paths):
        raise InputError(
            f"{source}: none of the {len(paths)} files listed in {table} exists, such as {root / absent[0]}", hint
        )
    return (
        [f"{len(absent)} of {len(paths)} files listed in {table} do not exist, such as {absent[0]}"] if absent else []
    )


def class_notes(names: Iterable[str]) -> list[str]:
    """Return notes on class names that may be spellings of one class, or a missing label."""
    every = natural_order(names)
    alike: dict[Any, list[str]] = {}
    for name in every:
        number = number_of(name)
        folded = unicodedata.normalize("NFKC", name).casefold()
        plain = "".join(" " if c.isspace() else c for c in folded if unicodedata.category(c) != "Cf")
        alike.setdefault(" ".join(plain.split()) if number is None else number, []).append(name)
    notes = [
        f"classes whose names differ only in case, blanks, Unicode form or digits: {listed(map(repr, group))}"
        for group in alike.values()
        if len(group) > 1
    ]
    missing = [name for name in every if name.lower() in ("nan", "na", "n/a", "#n/a", "null", "nat", "<na>")]
    return notes + [f"{name!r} is read as a class; leave the cell empty if the label is missing" for name in missing]


def task_of_scale(source: str, names: Iterable[str], given: Sequence[str] | None, ordered: bool) -> TaskKind:
    """Return ordinal for an ordinal scale whose order is known: names without a number need it stated."""
    words = [name for name in names if not any(map(str.isdigit, name))]
    if ordered and not given and words:
        raise InputError(
            f"{source}: the order of the classes {listed(names)} is unknown, as their names contain no numbers",
            "List them, the lowest first: classes: [none, mild, severe].",
        )
    return "ordinal" if ordered else "classification"


def class_order(source: str, names: Sequence[str], given: Sequence[str] | None, where: str = "") -> tuple[str, ...]:
    """Return the given order of the classes, of which it must list each once; by default as they are."""
    order = tuple(map(str, given)) if given else tuple(names)
    if sorted(order) != sorted(names):
        raise InputError(
            f"{source}: the option classes lists {listed(order)}, but the classes{where} are {listed(names)}",
            "List each class once.",
        )
    return order


def completeness_notes(found: int, complete: int, what: str = "subjects") -> list[str]:
    """Return a note where there are not as many subjects, or other units, as the complete dataset has."""
    return [f"{what} found: {found}; the complete dataset has {complete}"] if found != complete else []


def people_notes(names: Collection[str]) -> list[str]:
    """Return a note if all classes are named like subjects: S001, Actor_01, subject-3."""
    if len(names) > 2 and all(_PERSON.fullmatch(name) for name in names):
        return [f"folders named like subjects are read as classes: {listed(sorted(names))}"]
    return []


def read_numbers(path: Path, source: str, expected: str, *, columns: Collection[int], skip: int = 0) -> NDArray[Any]:
    """Load lines of numbers separated by commas or blanks, (lines, columns); an InputError names the first other line.

    ``columns`` are the permitted numbers of cells of a line, equal in all lines; ``skip`` lines are a header.
    """
    with naming(source):
        text = read_text(path)
    rows: list[list[float]] = []
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.replace(",", " ").split()
        if number <= skip or not cells:
            continue
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            row = []
        other = len(row) not in columns or (rows and len(row) != len(rows[0]))
        if other or not all(map(math.isfinite, row)):
            raise InputError(f"{source}: line {number} of {path} is {line.strip()[:40]!r}, expected {expected}")
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else max(columns))


def manifest_of_targets(
    table: "pd.DataFrame",
    targets: Sequence[str],
    task: TaskKind,
    source: str,
    root: Path,
    notes: Iterable[str],
    content: Literal["stills", "clips", "sequences"] = "stills",
) -> Manifest:
    """Build the manifest of a dataset without classes; targets with a single value are left out, with a note.

    Multi-label targets with other values than 0 and 1 are present from 1; see
    :func:`~evenface.data.targets.select_targets`.
    """
    values = {name: table[name].dropna() for name in targets}
    varying = [name for name, known in values.items() if (known >= 1 if task == "multilabel" else known).nunique() > 1]
    constant = [name for name in targets if name not in varying]
    if not varying:
        raise InputError(f"{source}: none of {listed(targets)} has two different values in {len(table)} samples")
    every = [*notes, *([f"targets with a single value are left out: {listed(constant, 16)}"] if constant else [])]
    manifest = Manifest(make_table(table.assign(label=0)), ("all",), source, root, tuple(every), content)
    return select_targets(manifest, task, varying)
