"""A store under construction: samples are appended, and a journal says how far they are safe on disk."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evenface.errors import InputError
from evenface.faces.read import Target
from evenface.faces.store import IMAGES, SEQUENCES
from evenface.faces.worker import Found
from evenface.files import disk_error, npy_header

SYNC_SECONDS = 2.0
JOURNAL = "journal.jsonl"
PIECE = 4 << 20
"""Bytes that are copied at a time from a file of pixels."""


class Building:
    """Append pictures in the samples' order; survive being killed at any moment.

    Only usable pictures are written, one behind the other, so nothing need be moved at the end. Every
    :data:`SYNC_SECONDS` the array is flushed to the disk and then, in this order, a journal line is written:
    what a line promises is there. Whatever lies behind the last whole line is written anew.

    Parameters
    ----------
    path : Path
        Folder to build in; taken up if it stands there already.
    samples : int
        How many samples there will be.
    target : Target
        Form of each picture or sequence.

    Attributes
    ----------
    file : Path
        The array.
    done : int
        Samples dealt with.
    reasons : dict of int to str
        Position and reason of each sample that was set aside.
    several : dict of int to int
        Position and count of pictures of each sample that gave more than one.
    clips : dict of int to list of list of int
        Position of each clip or sequence, and of each of its samples what :data:`~evenface.faces.clips.FACTS` names.

    Raises
    ------
    InputError
        If the disk is full (the whole array is reserved first) or the folder cannot be written to.
    """

    def __init__(self, path: Path, samples: int, target: Target) -> None:
        self.path, self.target = path, target
        self.file = path / (SEQUENCES if target.sequencing else IMAGES)
        self.done, self.written = 0, 0
        self.reasons: dict[int, str] = {}
        self.several: dict[int, int] = {}
        self.clips: dict[int, list[list[int]]] = {}
        self._news: dict[int, Found] = {}
        self._synced = time.monotonic()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._replay()
            self._array = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            _reserve(self._array, len(_header(samples, target)) + samples * target.nbytes)
            self._journal = (path / JOURNAL).open("ab")
        except OSError as error:
            os.close(self._array)
            if not self.done:
                shutil.rmtree(path, ignore_errors=True)  # gives back what could be reserved
            raise disk_error(error, path) from error

    def __enter__(self) -> "Building":
        return self

    def __exit__(self, *_: object) -> None:
        """Note what is done, also on the way out of an interruption."""
        try:
            self._sync()
        finally:
            os.close(self._array)
            with contextlib.suppress(OSError):  # what a full disk did not take, which was said already
                self._journal.close()

    def add(self, found: Sequence[Found], pixels: bytes | Path) -> None:
        """Take the next samples: for each its pictures or why it is set aside; and the pictures' pixels.

        A file of pixels is deleted when they are taken over.
        """
        news = {self.done + i: what for i, what in enumerate(found) if what != 1}
        usable = sum(_count(what) for what in found)
        length = pixels.stat().st_size if isinstance(pixels, Path) else len(pixels)
        if length != usable * self.target.nbytes:
            raise InputError(f"{length} bytes were read for {usable} pictures of {self.target.nbytes} bytes")
        try:
            position = len(_header(0, self.target)) + self.written * self.target.nbytes
            for piece in _pieces(pixels):
                _write_all(self._array, piece, position)
                position += len(piece)
        except OSError as error:
            raise disk_error(error, self.path) from error
        self.done += len(found)
        self.written += usable
        self._note(news)
        self._news.update(news)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()
        if isinstance(pixels, Path):
            pixels.unlink()

    def finish(self) -> None:
        """Cut the array to the pictures that are there and write its header."""
        header = _header(self.written, self.target)
        try:
            _write_all(self._array, header, 0)
            os.ftruncate(self._array, len(header) + self.written * self.target.nbytes)
            self._sync()
        except OSError as error:
            raise disk_error(error, self.path) from error

    def _note(self, news: dict[int, Found]) -> None:
        for i, what in news.items():
            if isinstance(what, str):
                self.reasons[i] = what
            elif isinstance(what, list):
                self.clips[i] = what
            else:
                self.several[i] = what

    def _sync(self) -> None:
        several = [(i, what) for i, what in self._news.items() if isinstance(what, int)]
        aside = [(i, what) for i, what in self._news.items() if isinstance(what, str)]
        line: dict[str, Any] = {"done": self.done, "written": self.written, "set_aside": aside, "several": several}
        if clips := [(i, what) for i, what in self._news.items() if isinstance(what, list)]:
            line["clips"] = clips
        try:
            os.fsync(self._array)
            self._journal.write(json.dumps(line).encode() + b"\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise disk_error(error, self.path) from error
        self._news, self._synced = {}, time.monotonic()

    def _replay(self) -> None:
        """Believe the journal up to its last whole line, and cut off the rest."""
        journal = self.path / JOURNAL
        if not journal.exists() or not self.file.exists():
            journal.unlink(missing_ok=True)
            return
        content = journal.read_bytes()
        good = 0
        for line in content.splitlines(keepends=True):
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            good += len(line)
            self.done, self.written = entry["done"], entry["written"]
            self._note({int(i): what for i, what in _noted(entry)})
        if good < len(content):
            os.truncate(journal, good)


def _count(what: Found) -> int:
    """Give how many pictures, or samples of a clip, were made."""
    return 0 if isinstance(what, str) else len(what) if isinstance(what, list) else what


def _noted(entry: dict[str, Any]) -> Iterator[tuple[int, Found]]:
    for name in ("set_aside", "several", "clips"):
        yield from entry.get(name, [])


def _pieces(pixels: bytes | Path) -> Iterator[bytes]:
    if isinstance(pixels, bytes):
        yield pixels
        return
    with pixels.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _header(samples: int, target: Target) -> bytes:
    """Make the header of an array of so many samples."""
    return npy_header(target.kind, (samples, *target.shape))


def _reserve(file: int, length: int) -> None:
    """Take the whole space now: a disk that is too small says so at once and not after hours of decoding."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, length)
    else:
        os.ftruncate(file, length)


def _write_all(file: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, position)
        view, position = view[written:], position + written
