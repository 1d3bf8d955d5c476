"""What the user names, as sources of frames: pictures, videos, folders of pictures, files of numbers, a camera."""

import datetime
import glob
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.preprocessing.sequence_files import ARRAYS, TABLES, TEXT
from evenface.utils.errors import InputError
from evenface.utils.file_types import file_kind
from evenface.utils.files import is_file, is_folder, user_path
from evenface.utils.natural_order import natural_key

Content = Literal["picture", "clip", "numbers", "camera"]
Wanted = Literal["pictures", "clips", "numbers"]


class Camera(Protocol):
    """Gives pictures as they are taken."""

    def read(self) -> Image.Image | None:
        """Wait for the next picture: upright, RGB; none where there will be no more."""

    def close(self) -> None:
        """Let others use it."""


@dataclass(frozen=True)
class Source:
    """Where frames come from."""

    path: str
    kind: Content
    frames: Callable[[], Iterator[tuple[float, Image.Image]]] | None = field(default=None, compare=False)


def find_sources(
    inputs: Sequence[str | Path], wanted: Wanted = "pictures", skip: Path | None = None
) -> tuple[list[Source], list[str]]:
    """Say what the user's words mean.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files, folders, and patterns such as ``"takes/*.mp4"`` or ``"**/*.png"``.
    wanted : {"pictures", "clips", "numbers"}
        What a folder is looked through for, with all folders in it: pictures and videos; videos, and folders of
        pictures, each a clip; files of numbers, and folders of texts, beside those.
    skip : Path, optional
        A folder that is not looked into.

    Returns
    -------
    sources : list of Source
        In the order of the inputs, in natural order of names within a folder; none twice.
    troubles : list of str
        A line for each input that is not there, holds nothing, or holds files that are passed over.
    """
    found: dict[str, Source] = {}
    troubles = []
    for word in (str(user_path(one)) for one in inputs):
        paths = [word] if os.path.exists(word) else sorted(glob.glob(word, recursive=True), key=natural_key)  # noqa: PTH110, PTH207
        others: list[str] = []
        sources = [one for path in paths for one in _sources(path, wanted, skip, others)]
        if not paths:
            troubles.append(f"{word}: missing")
        elif not sources:
            troubles.append(f"{word}: it holds nothing that can be used")
        elif others:
            troubles.append(f"{word}: passed over files of other kinds: {len(others):,}, such as {others[0]}")
        for one in sources:
            found.setdefault(os.path.realpath(one.path), one)
    return list(found.values()), troubles


def _sources(
    path: str, wanted: Wanted, skip: Path | None, others: list[str], above: tuple[str, ...] = ()
) -> Iterator[Source]:
    """Find what can be used at a path; files in folders that cannot are added to ``others``."""
    if not os.path.isdir(path):  # noqa: PTH112
        kind = _kind(path)
        yield Source(path, "picture" if kind == "other" else kind)  # reading it says why not
        return
    real = os.path.realpath(path)
    if real in above or (skip is not None and real == os.path.realpath(skip)):  # a link back to a folder above
        return
    entries = sorted((one for one in os.scandir(path) if one.name[0] != "."), key=lambda one: natural_key(one.name))
    kinds = {entry.path: _kind(entry.path) for entry in entries if is_file(entry)}
    texts = [file for file in kinds if _ends(file, TEXT)] if wanted == "numbers" else []
    if texts or (wanted == "clips" and "picture" in kinds.values()):
        yield Source(path, "numbers" if texts else "clip")
    use = {"pictures": ("picture", "clip"), "clips": ("clip",), "numbers": ("clip", "numbers")}[wanted]
    for file, kind in kinds.items():
        if kind != "other" and kind in use:
            yield Source(file, kind)
        elif file not in texts and not (wanted == "clips" and kind == "picture"):
            others.append(file)
    for entry in entries:
        if is_folder(entry):
            yield from _sources(entry.path, wanted, skip, others, (*above, real))


def _ends(path: str, endings: str | tuple[str, ...]) -> bool:
    return path.lower().endswith(endings)


def _kind(path: str) -> Content | Literal["other"]:
    """Tell what one file is."""
    if _ends(path, (*ARRAYS, *TABLES)):
        return "numbers"
    kind = file_kind(path)
    return "clip" if kind in ("animation", "video") else "picture" if kind == "image" else "other"


class Recorded:
    """Frames that are held in memory, as a film; see :class:`~evenface.preprocessing.video.Film`."""

    def __init__(self, images: Sequence[Image.Image], times: npt.NDArray[np.float64]) -> None:
        self.images, self.times, self.timed = images, times, True

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Give the frames with these numbers."""
        return ((number, self.images[number]) for number in wanted)


class Webcam:
    """A camera of this machine, by OpenCV."""

    def __init__(self, number: int) -> None:
        try:
            import cv2
        except ImportError as error:
            raise InputError(
                "OpenCV, which reads cameras, is not installed", "pip install 'evenface[faces]'"
            ) from error
        self._device: Any = cv2.VideoCapture(number)
        if not self._device.isOpened():
            self._device.release()
            raise InputError(f"camera {number} cannot be opened", "Is it plugged in, and used by nothing else?")

    def read(self) -> Image.Image | None:
        """Wait for the next picture."""
        there, pixels = self._device.read()
        return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])) if there else None

    def close(self) -> None:
        """Let others use it."""
        self._device.release()


def camera_source(
    number: int,
    seconds: float | None = None,
    opener: Callable[[int], Camera] = Webcam,
    clock: Callable[[], float] = time.monotonic,
) -> Source:
    """Make a source of a camera."""
    if number < 0:
        raise InputError(f"cameras are counted from 0, got {number}")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise InputError(f"seconds must be above 0, got {seconds:g}")

    def frames() -> Iterator[tuple[float, Image.Image]]:
        camera = opener(number)
        try:
            began = None
            while (image := camera.read()) is not None:
                now = clock()
                began = now if began is None else began
                if seconds is not None and now - began >= seconds:
                    return
                yield now - began, image
        finally:
            camera.close()

    moment = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return Source(f"camera-{number} {moment}", "camera", frames)
