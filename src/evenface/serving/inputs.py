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

from evenface.data.sources.layout import PICTURES, VIDEOS
from evenface.errors import InputError
from evenface.faces.arrays import TEXT
from evenface.faces.numbers import ARRAYS, TABLES
from evenface.faces.trouble import PICTURES as HEADS
from evenface.faces.trouble import kind_of
from evenface.faces.video import natural

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
    """Where frames come from.

    Parameters
    ----------
    path : str
        A file, or a folder of pictures or texts, as the user named it; of a camera, what the table calls it.
    kind : {"picture", "clip", "numbers", "camera"}
        What it is.
    frames : callable, optional
        Of a camera: gives seconds since its first picture, and pictures.
    """

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
        A line for each input that is not there or holds nothing.
    """
    found: dict[str, Source] = {}
    troubles = []
    for word in map(str, inputs):
        paths = [word] if os.path.exists(word) else sorted(glob.glob(word, recursive=True), key=natural)  # noqa: PTH110, PTH207
        sources = [one for path in paths for one in _sources(path, wanted, skip)]
        if not paths:
            troubles.append(f"{word}: missing")
        elif not sources:
            troubles.append(f"{word}: it holds nothing that can be used")
        for one in sources:
            found.setdefault(os.path.realpath(one.path), one)
    return list(found.values()), troubles


def _sources(path: str, wanted: Wanted, skip: Path | None) -> Iterator[Source]:
    if not os.path.isdir(path):  # noqa: PTH112
        yield Source(path, _kind(path))
        return
    if skip is not None and Path(path).resolve() == skip.resolve():
        return
    entries = sorted((entry for entry in os.scandir(path) if entry.name[0] != "."), key=lambda one: natural(one.name))
    files = [entry.path for entry in entries if entry.is_file()]
    whole = {"pictures": (), "clips": PICTURES, "numbers": (TEXT,)}[wanted]
    if whole and any(_ends(file, whole) for file in files):
        yield Source(path, "clip" if wanted == "clips" else "numbers")
    for file in files:
        if _ends(file, VIDEOS):
            yield Source(file, "clip")
        elif _ends(file, PICTURES) and wanted == "pictures":
            yield Source(file, "picture")
        elif wanted == "numbers" and _ends(file, (*ARRAYS, *TABLES)):
            yield Source(file, "numbers")
    for entry in entries:
        if entry.is_dir():
            yield from _sources(entry.path, wanted, skip)


def _ends(path: str, endings: str | tuple[str, ...]) -> bool:
    return path.lower().endswith(endings)


def _kind(path: str) -> Content:
    """Tell what one file is, by its name or, where that does not tell, by its first bytes."""
    if _ends(path, (*ARRAYS, *TABLES)):
        return "numbers"
    if _ends(path, VIDEOS):
        return "clip"
    if _ends(path, PICTURES):
        return "picture"
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(32)
    except OSError:
        return "picture"  # reading it says why not
    return "clip" if "video" in kind_of(head).lower() and not head.startswith(HEADS) else "picture"


class Recorded:
    """Frames that are held in memory, as a film; see :class:`~evenface.faces.video.Film`.

    Parameters
    ----------
    images : sequence of Image
        RGB.
    times : ndarray of shape (N,)
        Seconds, rising.
    """

    def __init__(self, images: Sequence[Image.Image], times: npt.NDArray[np.float64]) -> None:
        self.images, self.times, self.timed = images, times, True

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Give the frames with these numbers."""
        return ((number, self.images[number]) for number in wanted)


class Webcam:
    """A camera of this machine, by OpenCV.

    Parameters
    ----------
    number : int
        Which one, from 0.

    Raises
    ------
    InputError
        If OpenCV is not installed, or there is no such camera.
    """

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
    """Make a source of a camera.

    Parameters
    ----------
    number : int
        Which one, from 0.
    seconds : float, optional
        How long to look; none means until it ends or Ctrl-C.
    opener : callable
        Opens it.
    clock : callable
        Gives seconds.

    Raises
    ------
    InputError
        If a number is out of range; or, when frames are asked for, if it cannot be opened.
    """
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
