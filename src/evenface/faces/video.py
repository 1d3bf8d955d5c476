"""Frames of a clip, upright and in colour, wherever they come from: a video file or a folder of pictures."""

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.faces.container import SLACK, check_file, check_whole, count_packets, opened, said, video_stream
from evenface.faces.read import formats, open_regular, quiet_pillow, read_picture, rgb
from evenface.faces.trouble import UnusableError, broken, file_trouble
from evenface.files import is_file
from evenface.filetypes import HEAD, PICTURES, file_kind, is_animated, is_picture
from evenface.ordering import natural_key

SMALLEST = 8
"""Pixels of the shorter side that a frame must have."""
MEGAPIXELS = 100
RATE = 25.0
"""Frames per second where a clip does not say: folders of pictures, videos without times."""
HASTE, SLOWED = 0.01, 0.1
"""Seconds of a frame of an animated picture up to which browsers show it for longer, and how long."""
FAR = 64
"""Frames before the first wanted one from which on it pays to seek."""


class Film(Protocol):
    """Frames of a clip.

    Parameters
    ----------
    times : ndarray of shape (N,), float64
        Seconds from the first frame on, rising.
    timed : bool
        Whether the clip says these times, or 25 frames a second are assumed.
    """

    times: npt.NDArray[np.float64]
    timed: bool

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Give the frames with these numbers, which must rise, each with its number: upright, RGB."""


def open_film(path: str) -> Film:
    """Look at a clip: a video or an animated picture, told by content, or a folder of pictures in natural order.

    Parameters
    ----------
    path : str
        Where it is.

    Returns
    -------
    Film
        With the times of all frames; nothing is decoded yet.

    Raises
    ------
    UnusableError
        If it gives no frames; the text says why.
    InputError
        If PyAV is not installed.
    """
    try:
        if Path(path).is_dir():
            return Pictures(path)
        return Animation(path) if _animated(path) else Video(path)
    except OSError as error:
        raise UnusableError(file_trouble(error)) from error


def parts_of(path: str, endings: tuple[str, ...] = PICTURES) -> list[str]:
    """Give the files that a clip consists of: of a folder its pictures in natural order, else ``path`` itself."""
    if not os.path.isdir(path):  # noqa: PTH112 - one call per clip, on network disks too
        return [path]
    entries = [entry for entry in os.scandir(path) if entry.name[0] != "." and is_file(entry)]
    if endings == PICTURES:
        names = [entry.name for entry in entries if file_kind(entry.path) == "picture"]
    else:
        names = [entry.name for entry in entries if entry.name.lower().endswith(endings)]
    return [os.path.join(path, name) for name in sorted(names, key=natural_key)] or [path]  # noqa: PTH118


def _animated(path: str) -> bool:
    """Whether a file is an animated picture; one that cannot be read is none."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            head = file.read(HEAD)
    except (OSError, UnusableError):
        return False
    return is_picture(head) and is_animated(path, head)


class Pictures:
    """A folder of pictures, 25 a second; see :class:`Film`.

    Parameters
    ----------
    path : str
        The folder.

    Raises
    ------
    UnusableError
        If it holds no picture.
    """

    def __init__(self, path: str) -> None:
        self.files = parts_of(path)
        if self.files == [path]:
            raise UnusableError("no frames: the folder holds no picture")
        self.times, self.timed = np.arange(len(self.files)) / RATE, False

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode the pictures with these numbers."""
        for number in wanted:
            try:
                with quiet_pillow():
                    image = read_picture(self.files[number])
            except UnusableError as error:
                raise UnusableError(f"{error} (in {Path(self.files[number]).name})") from error
            _check_size(*image.size)
            yield number, image


class Animation:
    """An animated picture (GIF, WebP, PNG, AVIF); see :class:`Film`. Short and missing delays are read as browsers do.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    UnusableError
        If a frame cannot be decoded.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        delays = [float(image.info.get("duration") or 0) / 1000 for _, image in self._decoded()]
        shown = [SLOWED if delay <= HASTE else delay for delay in delays]
        self.times, self.timed = np.concatenate([[0.0], np.cumsum(shown[:-1])]), True

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode up to the last frame wanted, one at a time."""
        numbers = iter(wanted)
        number = next(numbers, None)
        for position, image in self._decoded():
            while number == position:
                yield number, rgb(image)
                number = next(numbers, None)
            if number is None:
                return

    def _decoded(self) -> Iterator[tuple[int, Image.Image]]:
        with quiet_pillow():
            try:
                with Image.open(self.path, formats=formats()) as image:
                    _check_size(*image.size)
                    for position in range(getattr(image, "n_frames", 1)):
                        image.seek(position)
                        image.load()
                        yield position, image
            except UnusableError:
                raise
            except Exception as error:  # on malformed bytes decoders raise nearly anything
                raise UnusableError(broken(error, None)) from error


class Video:
    """A video file; see :class:`Film`.

    Its packets are counted once, without decoding, because headers may be silent or wrong about how many there are.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    UnusableError
        If there is no video in it, or it is cut short.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        check_file(path)
        with opened(path) as container:
            stream = video_stream(container)
            stamps, packets, duration = count_packets(container, stream)
            check_whole(container, stream, packets, duration)
            rate = float(stream.average_rate or RATE)
            base: Fraction = stream.time_base
            self._shape: Fraction | None = stream.sample_aspect_ratio
            _check_size(stream.codec_context.width, stream.codec_context.height)
        if not stamps:
            raise UnusableError("empty: there is no frame in the video")
        known = sorted(stamp for stamp in stamps if stamp is not None)
        # Without a time of its own for every frame, they can only be counted.
        self.timed = len(set(known)) == len(stamps)
        self._stamps = np.array(known, np.int64) if self.timed else None
        self.times = (
            (self._stamps - self._stamps[0]) * float(base)
            if self._stamps is not None
            else np.arange(len(stamps)) / rate
        )

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode up to the last frame wanted, one at a time."""
        numbers = iter(wanted)
        number, position, frame = next(numbers, None), -1, None
        for position, frame in self._from(number or 0):
            if number is None:
                return
            if number <= position:
                yield number, _upright(frame, self._shape)
                number = next(numbers, None)
        there = position + 1
        while number is not None:  # a few frames fewer than there are packets: the last one is held
            if frame is None or there < len(self.times) * (1 - SLACK) - 2:
                raise UnusableError(f"truncated: {there:,} of {len(self.times):,} frames can be decoded")
            yield number, _upright(frame, self._shape)
            number = next(numbers, None)

    def _from(self, first: int) -> Iterator[tuple[int, Any]]:
        """Decode from frame ``first`` on or from before it; each frame with its number."""
        import av

        with opened(self.path) as container:
            stream = video_stream(container)
            stream.thread_type = "NONE"  # there are as many processes as cores
            frames = container.decode(stream)
            start = 0
            try:
                if first >= FAR and self._stamps is not None:
                    container.seek(int(self._stamps[first]), stream=stream)
                    head = next(frames, None)
                    start = -1 if head is None else self._number(head.pts)
                    if head is not None and 0 <= start <= first:
                        yield start, head
                        start += 1
                    else:  # the seeking went wrong
                        start = 0
                        container.seek(0, stream=stream)
                        frames = container.decode(stream)
                yield from zip(itertools.count(start), frames)
            except (av.error.EOFError, StopIteration):
                return
            except av.FFmpegError as error:
                raise UnusableError(f"corrupt: {said(error)}") from error

    def _number(self, stamp: int | None) -> int:
        """Give the number of the frame with this time, -1 if there is none."""
        assert self._stamps is not None
        if stamp is None:
            return -1
        place = int(np.searchsorted(self._stamps, stamp))
        return place if place < len(self._stamps) and self._stamps[place] == stamp else -1


def _check_size(width: int, height: int) -> None:
    if min(width, height) < SMALLEST:
        raise UnusableError(f"too small: {width} × {height} pixels")
    if width * height > MEGAPIXELS * 1_000_000:
        raise UnusableError(f"huge: {width} × {height} pixels, the limit is {MEGAPIXELS} megapixels")


def _upright(frame: Any, shape: Fraction | None) -> Image.Image:
    """Convert to RGB with square pixels, turned and mirrored as the display matrix says."""
    _check_size(frame.width, frame.height)  # a damaged stream may change it on the way
    matrix = frame.side_data.get("DISPLAYMATRIX")
    image: Image.Image = frame.to_image()
    if shape and shape != 1:  # pixels that are not square
        image = image.resize((max(1, round(image.width * shape)), image.height), Image.Resampling.BILINEAR)
    if matrix is not None:
        # A place (x, y) of the frame is shown at (a x + c y, b x + d y), but for shifts.
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            image = image.transpose(Image.Transpose.TRANSPOSE)
            a, d = c, b
        if a < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if d < 0:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image
