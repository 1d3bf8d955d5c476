"""Which runs, studies and files of models there are."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evenface.errors import InputError
from evenface.runs import RECIPE, Run
from evenface.studies.schema import STUDY

DEEPEST = 6
"""Folders below a named one that are looked into."""
MOST = 2_000
FRESH = 2.0
"""Seconds for which what was found holds."""
Kind = Literal["run", "file", "study"]


@dataclass(frozen=True)
class Entry:
    """Something that was found.

    Parameters
    ----------
    id : str
        16 hexadecimal digits: a digest of where it lies, so it stays the same. All that a request can name.
    kind : {"run", "file", "study"}
        What it is.
    path : Path
        Where it lies.
    name : str
        What it is called: its path below the folder that the user named.
    study : str or None
        The study that a run is part of.
    """

    id: str
    kind: Kind
    path: Path
    name: str
    study: str | None = None

    def file(self, *names: str) -> Path | None:
        """Return the path of a file in the folder; None where there is none, or it is a link to somewhere else."""
        path = self.path.joinpath(*names)
        inside = path.resolve().is_relative_to(self.path.resolve())
        return path if inside and path.is_file() else None


class Catalogue:
    """What lies below the folders that the user named, looked for anew whenever it is asked for.

    Parameters
    ----------
    places : sequence of Path
        Run folders, study folders, folders of these, and ``.onnx`` files.

    Attributes
    ----------
    notes : list of str
        A line for each run or study that was passed over, as of the last look.

    Raises
    ------
    InputError
        If one is not there, or no model at all is found.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.notes: list[str] = []
        self.places = [Path(place) for place in places]
        for place in self.places:
            if not place.exists():
                raise InputError(f"{place}: missing", "Name run folders, folders of runs, or .onnx files.")
            if place.is_file() and place.suffix != ".onnx":
                raise InputError(f"{place} is no trained model", "Name run folders, folders of runs, or .onnx files.")
        self._lock, self._entries, self._looked = threading.Lock(), dict[str, Entry](), 0.0
        if not any(entry.kind != "study" for entry in self.entries().values()):
            named = ", ".join(map(str, self.places))
            passed_over = "; ".join(self.notes[:3]) or "Train one (evenface demo), or name others."
            raise InputError(f"no run that has ended below {named}", passed_over)

    def entries(self) -> dict[str, Entry]:
        """Give all that is there now, by id."""
        with self._lock:
            if not self._entries or time.monotonic() - self._looked > FRESH:
                several = len(self.places) > 1
                notes: list[str] = []
                found = [entry for place in self.places for entry in _found(place, notes, several=several)]
                self.notes = notes
                self._entries = {entry.id: entry for entry in found}
                self._looked = time.monotonic()
            return self._entries

    def get(self, key: str, *kinds: Kind) -> Entry | None:
        """Give the entry of an id, if it is of one of these kinds."""
        found = self.entries().get(key)
        return found if found and found.kind in kinds else None


def identify(path: Path) -> str:
    """Make the id of a place."""
    return hashlib.blake2b(os.fsencode(path.resolve()), digest_size=8).hexdigest()


def _found(place: Path, notes: list[str], *, several: bool) -> Iterator[Entry]:
    """Look below a place; names begin with its own where there are several places."""
    whole = place.resolve()
    for count, entry in enumerate(_walk(place, whole.parent if several else whole, 0, None, notes)):
        if count == MOST:
            return
        yield entry


def _walk(path: Path, root: Path, depth: int, study: str | None, notes: list[str]) -> Iterator[Entry]:
    """Look at a file or folder, and into it; runs are not looked into."""
    if path.is_file():
        if path.suffix == ".onnx":
            yield Entry(identify(path), "file", path, _name(path, root), study)
        return
    known = RECIPE if (path / RECIPE).is_file() else STUDY if (path / STUDY).is_file() else None
    if known and (link := _outside_link(path)):
        notes.append(f"passed over {path}: {link.name} is a link to another place")
        return
    if known == RECIPE:
        if Run(path).finished:
            yield Entry(identify(path), "run", path, _name(path, root), study)
        return
    if known == STUDY:
        study = identify(path)
        yield Entry(study, "study", path, _name(path, root))
    for below in _children(path) if depth < DEEPEST else ():
        yield from _walk(below, root, depth + 1, study, notes)


def _children(folder: Path) -> list[Path]:
    """List folders and files of models in a folder, but for links and hidden ones."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name[0] != "." and not entry.is_symlink())
    except OSError:
        return []  # not ours to read
    return [folder / name for name in names if (folder / name).is_dir() or name.endswith(".onnx")]


def _outside_link(folder: Path) -> Path | None:
    """Return a link that leads out of a run or study: whoever made it chose a file of this machine to be read."""
    root = folder.resolve()
    tables = folder / "tables"
    inside = [*folder.iterdir(), *(tables.iterdir() if tables.is_dir() and not tables.is_symlink() else ())]
    return next((one for one in inside if one.is_symlink() and not one.resolve().is_relative_to(root)), None)


def _name(path: Path, root: Path) -> str:
    found = path.resolve()
    return found.name if found == root else found.relative_to(root).as_posix()
