"""Sources of samples: files and folders, images and frames in memory, the camera."""

import datetime
import glob
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.preprocessing.image import checked_pixels, picture_in_memory
from evenface.preprocessing.sequence_files import ARRAYS, TABLES, TEXT
from evenface.preprocessing.video import RATE
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import digest, digest_file, file_kind, is_file, is_folder, natural_key, user_path

SourceKind = Literal["picture", "clip", "numbers", "camera", "frames"]
FolderContent = Literal["images", "clips", "numbers"]


class Camera(Protocol):
    """A camera that returns one frame after another."""

    def read(self) -> Image.Image | None:
        """Wait for the next frame, upright and RGB; None after the last one."""

    def close(self) -> None:
        """Release the device."""


@dataclass(frozen=True)
class Source:
    """A file, a folder of frames, a camera, or what is in memory.

    Parameters
    ----------
    path : str
        Path of the file or folder; name of other sources.
    kind : str
        What it is. A camera answers frame by frame; ``frames`` are those of a video in memory.
    frames : callable, optional
        Of a camera and of frames in memory: returns an iterator over times in seconds, and images.
    image : bytes, ndarray or Image, optional
        An image in memory; see :func:`~evenface.preprocessing.image.picture_in_memory`.
    """

    path: str
    kind: SourceKind
    frames: Callable[[], Iterator[tuple[float, Image.Image]]] | None = field(default=None, compare=False)
    image: bytes | np.ndarray | Image.Image | None = field(default=None, compare=False)

    def content_digest(self) -> str:
        """Compute a digest of the content, which a file that was replaced does not share with the former one."""
        if self.frames is not None:  # they are over once they were seen: no later ones are the same
            return digest(str(time.time_ns()))
        if self.image is not None:
            content = self.image if isinstance(self.image, bytes) else picture_in_memory(self.image).tobytes()
            return digest(content)
        if not os.path.isdir(self.path):  # noqa: PTH112
            return digest_file(Path(self.path)) if os.path.isfile(self.path) else ""  # noqa: PTH113
        files = sorted(entry.name for entry in os.scandir(self.path) if is_file(entry))
        return digest(*(part for name in files for part in (name, digest_file(Path(self.path, name)))))


Pixels = bytes | np.ndarray | Image.Image
"""An image in memory."""


def sources_of(
    inputs: Any, content: FolderContent = "images", skip: Path | None = None
) -> tuple[list[Source], list[str]]:
    """Return what to predict on, from what :class:`~evenface.inference.predictor.Predictor` is called with.

    Returns
    -------
    sources, skipped
        As :func:`find_sources` does.

    Raises
    ------
    InputError
        If it is nothing that can be predicted on.
    """
    if isinstance(inputs, str | Path):
        return find_sources([inputs], content, skip)
    if hasattr(inputs, "read") and not isinstance(inputs, Image.Image):
        inputs = inputs.read()
    if _is_image(inputs):
        return [Source("image", "picture", image=_pixels(inputs))], []
    if isinstance(inputs, Sequence):
        return _listed(inputs, content, skip)
    if isinstance(inputs, Mapping) or not isinstance(inputs, Iterable):
        raise _unusable(inputs)
    frames = iter(inputs)
    first = next(frames, None)
    if first is None:
        return [], ["no frames: the iterator is empty"]
    if isinstance(first, str | Path):  # such as Path.glob returns
        return _listed([first, *frames], content, skip)
    return [Source("frames", "frames", frames=lambda: _timed(itertools.chain([first], frames)))], []


def _listed(items: Sequence[Any], content: FolderContent, skip: Path | None) -> tuple[list[Source], list[str]]:
    """Return the sources of a list of paths and images, in its order."""
    if all(isinstance(item, str | Path) for item in items):
        return find_sources(items, content, skip)
    sources, skipped = [], []
    for number, item in enumerate(items, start=1):
        if isinstance(item, str | Path):
            found, reasons = find_sources([item], content, skip)
            sources += found
            skipped += reasons
        elif _is_image(item):
            sources.append(Source(f"image {number}", "picture", image=_pixels(item)))
        else:
            raise _unusable(item)
    return sources, skipped


def _is_image(item: Any) -> bool:
    return isinstance(item, bytes | bytearray | memoryview | np.ndarray | Image.Image)


def _pixels(item: Any) -> Pixels:
    pixels: Pixels = bytes(item) if isinstance(item, bytearray | memoryview) else item
    if isinstance(pixels, np.ndarray):
        checked_pixels(pixels)  # a wrong array is refused at once
    return pixels


def _timed(frames: Iterator[Any]) -> Iterator[tuple[float, Image.Image]]:
    """Iterate over times and frames; frames without a time are 25 per second."""
    for number, item in enumerate(frames):
        seconds, frame = item if isinstance(item, tuple) and len(item) == 2 else (number / RATE, item)
        if not _is_image(frame):
            raise _unusable(frame)
        try:
            yield float(seconds), picture_in_memory(_pixels(frame))
        except SampleError as error:
            raise SampleError(f"frame {number}: {error}") from error


def _unusable(item: Any) -> InputError:
    return InputError(
        f"cannot predict on an object of type {type(item).__name__}",
        "Give paths, Pillow images, NumPy arrays, the bytes of an image file, or an iterator of frames.",
    )


def find_sources(
    inputs: Sequence[str | Path], content: FolderContent = "images", skip: Path | None = None
) -> tuple[list[Source], list[str]]:
    """Find the sources that files, folders and patterns refer to.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files, folders, and patterns such as ``"takes/*.mp4"`` or ``"**/*.png"``.
    content : {"images", "clips", "numbers"}
        What to collect from a folder and its subfolders: images and videos; videos, and folders of images, each a clip;
        or videos, files of landmarks or features, and folders of text files.
    skip : Path, optional
        A folder that is not searched.

    Returns
    -------
    sources : list of Source
        In the order of the inputs, within a folder in natural order of names; without duplicates.
    skipped : list of str
        A message for each input that does not exist, contains no usable file, or contains files of other types.
    """
    sources: dict[str, Source] = {}
    skipped = []
    for pattern in (str(user_path(path)) for path in inputs):
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True), key=natural_key)  # noqa: PTH110, PTH207
        others: list[str] = []
        matches = [source for path in paths for source in _sources(path, content, skip, others)]
        if not paths:
            skipped.append(f"{pattern}: not found")
        elif not matches:
            skipped.append(f"{pattern}: contains no usable file")
        elif others:
            skipped.append(f"{pattern}: {len(others):,} files of other types are left out, such as {others[0]}")
        for source in matches:
            sources.setdefault(os.path.realpath(source.path), source)
    return list(sources.values()), skipped


def _sources(
    path: str, content: FolderContent, skip: Path | None, others: list[str], parents: tuple[str, ...] = ()
) -> Iterator[Source]:
    """Find the sources at a path; unusable files in folders are added to ``others``."""
    if not os.path.isdir(path):  # noqa: PTH112
        kind = _kind(path)
        yield Source(path, "picture" if kind == "other" else kind)  # reading it raises the error
        return
    real = os.path.realpath(path)
    if real in parents or (skip is not None and real == os.path.realpath(skip)):  # a link to a parent folder
        return
    entries = sorted((entry for entry in os.scandir(path) if entry.name[0] != "."), key=lambda e: natural_key(e.name))
    kinds = {entry.path: _kind(entry.path) for entry in entries if is_file(entry)}
    texts = [file for file in kinds if _has_suffix(file, TEXT)] if content == "numbers" else []
    if texts or (content == "clips" and "picture" in kinds.values()):
        yield Source(path, "numbers" if texts else "clip")
    usable = {"images": ("picture", "clip"), "clips": ("clip",), "numbers": ("clip", "numbers")}[content]
    for file, kind in kinds.items():
        if kind != "other" and kind in usable:
            yield Source(file, kind)
        elif file not in texts and not (content == "clips" and kind == "picture"):
            others.append(file)
    for entry in entries:
        if is_folder(entry):
            yield from _sources(entry.path, content, skip, others, (*parents, real))


def _has_suffix(path: str, suffixes: str | tuple[str, ...]) -> bool:
    return path.lower().endswith(suffixes)


def _kind(path: str) -> SourceKind | Literal["other"]:
    if _has_suffix(path, (*ARRAYS, *TABLES)):
        return "numbers"
    kind = file_kind(path)
    return "clip" if kind in ("animation", "video") else "picture" if kind == "image" else "other"


class FramesInMemory:
    """Frames in memory with the interface of :class:`~evenface.preprocessing.video.Film`."""

    def __init__(self, images: Sequence[Image.Image], times: npt.NDArray[np.float64]) -> None:
        self.images, self.times, self.timed = images, times, True

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Iterate over the frames with these indices."""
        return ((index, self.images[index]) for index in wanted)


class Webcam:
    """A camera of this machine, read by OpenCV."""

    def __init__(self, index: int) -> None:
        try:
            import cv2
        except ImportError as error:
            raise InputError(
                "OpenCV, which reads cameras, is not installed", "Install it: pip install 'evenface[camera]'"
            ) from error
        self._device: Any = cv2.VideoCapture(index)
        if not self._device.isOpened():
            self._device.release()
            raise InputError(
                f"camera {index} cannot be opened", "Check that it is connected and not in use by another program."
            )

    def read(self) -> Image.Image | None:
        """Wait for the next frame."""
        received, pixels = self._device.read()
        return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])) if received else None

    def close(self) -> None:
        """Release the device."""
        self._device.release()


def camera_source(
    index: int,
    seconds: float | None = None,
    opener: Callable[[int], Camera] = Webcam,
    clock: Callable[[], float] = time.monotonic,
) -> Source:
    """Return a camera as a source, read for ``seconds`` or until it ends."""
    if index < 0:
        raise InputError(f"camera must be 0 or greater, got {index}")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise InputError(f"seconds must be above 0, got {seconds:g}")

    def frames() -> Iterator[tuple[float, Image.Image]]:
        camera = opener(index)
        try:
            start = None
            while (image := camera.read()) is not None:
                now = clock()
                start = now if start is None else start
                if seconds is not None and now - start >= seconds:
                    return
                yield now - start, image
        finally:
            camera.close()

    opened_at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return Source(f"camera-{index} {opened_at}", "camera", frames)
