"""Frames of clips, upright and RGB: of video files, animated images and folders of images."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.preprocessing.image import (
    decoder_reason,
    file_reason,
    formats,
    open_regular,
    quiet_pillow,
    read_picture,
    rgb,
    unidentified_reason,
)
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import (
    HEAD,
    IMAGE_SUFFIXES,
    describe_content,
    file_kind,
    is_animated,
    is_file,
    is_image,
    natural_key,
)

SLACK = 0.02
"""Share of the frames that may be missing at the end; two always may."""
# Only containers and local files: a playlist could refer to other files or hosts.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,m4v,h264,hevc"
SOUNDS = "mp3,wav,flac,aac,aiff"
EXTRA = "pip install av."


def check_file(path: str) -> None:
    """Reject what is not a video by its first bytes, where the reason is clearer than that of FFmpeg."""
    if not Path(path).exists():
        raise SampleError("missing")
    if not Path(path).is_file():
        raise SampleError("not a file")
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise SampleError("empty: the file has no bytes")
    if is_image(head):
        raise SampleError("not a video: a single image")
    kind = describe_content(head)
    if kind and not any(word in kind for word in ("video", "sound")):
        raise SampleError(f"not a video: {kind}")


def open_container(path: str) -> Any:
    """Open a container with PyAV, silently."""
    try:
        import av
    except ImportError as error:
        raise InputError("PyAV, which reads videos, is not installed", f"Install it: {EXTRA}") from error
    av.logging.set_level(None)
    av.logging.set_libav_level(av.logging.PANIC)
    options = {"protocol_whitelist": "file", "format_whitelist": f"{CONTAINERS},{SOUNDS}"}
    # Titles need not be UTF-8; from version 19 on, PyAV always accepts them and has no such argument.
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        return av.open("file:" + path, options=options, **lenient)
    except av.FFmpegError as error:
        raise SampleError(_no_container(path, error)) from error


def _no_container(path: str, error: Exception) -> str:
    """Return the reason why a file could not be opened as a video."""
    import av

    if isinstance(error, OSError) and not isinstance(error, av.error.InvalidDataError | av.error.EOFError):
        return file_reason(error)
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if describe_content(head):  # it starts as a video does
        return "truncated: the file ends before its index, or its header is damaged"
    return unidentified_reason(head).replace("not an image", "not a video")


def video_stream(container: Any) -> Any:
    """Return the first video stream; a SampleError where there is none."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:  # the cover of a song is no video
            continue
        if stream.codec_context is None:
            raise SampleError("unsupported: there is no decoder for this video")
        return stream
    sound = len(container.streams.audio)
    raise SampleError("not a video: it has only sound" if sound else "empty: it has neither video nor sound")


def count_packets(container: Any, stream: Any) -> tuple[list[int | None], int, int]:
    """Return the times of packets with a frame, the number of packets, and the end of the last, without decoding."""
    import av

    stamps, packets, end = [], 0, 0
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets += 1
                if packet.pts is not None:
                    end = max(end, packet.pts + (packet.duration or 0))
                if not packet.is_discard:
                    stamps.append(packet.pts)
    except av.FFmpegError:
        pass  # the file ends here; check_whole decides whether it is truncated
    return stamps, packets, end


def check_whole(container: Any, stream: Any, packets: int, end: int) -> None:
    """Compare the packets with the number of frames or the duration in the header; a SampleError if truncated."""
    if stream.frames > packets + max(2, SLACK * stream.frames):
        raise SampleError(f"truncated: {packets:,} of {stream.frames:,} frames are there")
    promised = _seconds(stream.metadata.get("DURATION", ""))
    if not promised and len(container.streams) == 1:
        promised = (container.duration or 0) / 1e6
    there = float(end * stream.time_base)
    if not stream.frames and there < promised * (1 - SLACK) - 0.1:
        raise SampleError(f"truncated: {there:.1f} of {promised:.1f} seconds are there")


def _seconds(text: str) -> float:
    """Return the seconds of ``hours:minutes:seconds``, as in Matroska; 0 for anything else."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    return sum(float(part) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0.0


def ffmpeg_message(error: Exception) -> str:
    """Return the message of an FFmpeg error, without number and path."""
    return getattr(error, "strerror", None) or str(error)


SMALLEST = 8
"""Pixels of the shorter side that a frame must have."""
MEGAPIXELS = 100
RATE = 25.0
"""Frames per second of clips without times: folders of images, some videos."""
HASTE, SLOWED = 0.01, 0.1
"""Delay of a frame of an animated image, in seconds, up to which browsers show it for longer, and for how long."""
FAR = 64
"""Index of the first requested frame from which seeking is faster than decoding."""


class Film(Protocol):
    """Frames of a clip."""

    times: npt.NDArray[np.float64]
    timed: bool

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Yield the frames with these increasing indices, upright and RGB, each with its index."""


def open_film(path: str) -> Film:
    """Open a clip: a video or an animated image, recognised by content, or a folder of images in natural order."""
    try:
        if Path(path).is_dir():
            return ImageFolder(path)
        return Animation(path) if _animated(path) else Video(path)
    except OSError as error:
        raise SampleError(file_reason(error)) from error


def parts_of(path: str, endings: tuple[str, ...] = IMAGE_SUFFIXES) -> list[str]:
    """Return the files of a clip: of a folder its images in natural order, else ``path`` itself."""
    if not os.path.isdir(path):  # noqa: PTH112 - one call per clip, on network disks too
        return [path]
    entries = [entry for entry in os.scandir(path) if entry.name[0] != "." and is_file(entry)]
    if endings == IMAGE_SUFFIXES:
        names = [entry.name for entry in entries if file_kind(entry.path) == "image"]
    else:
        names = [entry.name for entry in entries if entry.name.lower().endswith(endings)]
    return [os.path.join(path, name) for name in sorted(names, key=natural_key)] or [path]  # noqa: PTH118


def _animated(path: str) -> bool:
    """Return whether a file is an animated image; False if it cannot be read."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            head = file.read(HEAD)
    except (OSError, SampleError):
        return False
    return is_image(head) and is_animated(path, head)


class ImageFolder:
    """A folder of images, as a clip of 25 frames per second; see :class:`Film`."""

    def __init__(self, path: str) -> None:
        self.files = parts_of(path)
        if self.files == [path]:
            raise SampleError("no frames: the folder has no image")
        self.times, self.timed = np.arange(len(self.files)) / RATE, False

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode the images with these indices."""
        for number in wanted:
            try:
                with quiet_pillow():
                    image = read_picture(self.files[number])
            except SampleError as error:
                raise SampleError(f"{error} (in {Path(self.files[number]).name})") from error
            _check_size(*image.size)
            yield number, image


class Animation:
    """An animated image (GIF, WebP, PNG, AVIF); short and missing delays are read as browsers do."""

    def __init__(self, path: str) -> None:
        self.path = path
        delays = [float(image.info.get("duration") or 0) / 1000 for _, image in self._decoded()]
        shown = [SLOWED if delay <= HASTE else delay for delay in delays]
        self.times, self.timed = np.concatenate([[0.0], np.cumsum(shown[:-1])]), True

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode up to the last requested frame, one at a time."""
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
            except SampleError:
                raise
            except Exception as error:  # on malformed bytes decoders raise nearly anything
                raise SampleError(decoder_reason(error, None)) from error


class Video:
    """A video file; see :class:`Film`.

    Its packets are counted once, without decoding, because the number of frames in headers may be missing or wrong.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        check_file(path)
        with open_container(path) as container:
            stream = video_stream(container)
            stamps, packets, duration = count_packets(container, stream)
            check_whole(container, stream, packets, duration)
            rate = float(stream.average_rate or RATE)
            base: Fraction = stream.time_base
            self._shape: Fraction | None = stream.sample_aspect_ratio
            _check_size(stream.codec_context.width, stream.codec_context.height)
        if not stamps:
            raise SampleError("empty: there is no frame in the video")
        known = sorted(stamp for stamp in stamps if stamp is not None)
        # Without a distinct time for every frame, frames can only be counted.
        self.timed = len(set(known)) == len(stamps)
        self._stamps = np.array(known, np.int64) if self.timed else None
        self.times = (
            (self._stamps - self._stamps[0]) * float(base)
            if self._stamps is not None
            else np.arange(len(stamps)) / rate
        )

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
        """Decode up to the last requested frame, one at a time."""
        from av.video.reformatter import VideoReformatter

        numbers, reformatter = iter(wanted), VideoReformatter()
        number, position, frame = next(numbers, None), -1, None
        for position, frame in self._from(number or 0):
            if number is None:
                return
            if number <= position:
                yield number, _upright(frame, self._shape, reformatter)
                number = next(numbers, None)
        decoded = position + 1
        while number is not None:  # a few frames fewer than packets: the last one is repeated
            if frame is None or decoded < len(self.times) * (1 - SLACK) - 2:
                raise SampleError(f"truncated: {decoded:,} of {len(self.times):,} frames can be decoded")
            yield number, _upright(frame, self._shape, reformatter)
            number = next(numbers, None)

    def _from(self, first: int) -> Iterator[tuple[int, Any]]:
        """Decode from frame ``first`` on, or from before it; yield each frame with its index."""
        import av

        with open_container(self.path) as container:
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
                    else:  # seeking failed
                        start = 0
                        container.seek(0, stream=stream)
                        frames = container.decode(stream)
                yield from zip(itertools.count(start), frames)
            except (av.error.EOFError, StopIteration):
                return
            except av.FFmpegError as error:
                raise SampleError(f"corrupt: {ffmpeg_message(error)}") from error

    def _number(self, stamp: int | None) -> int:
        """Return the index of the frame with this time, -1 if there is none."""
        assert self._stamps is not None
        if stamp is None:
            return -1
        index = int(np.searchsorted(self._stamps, stamp))
        return index if index < len(self._stamps) and self._stamps[index] == stamp else -1


def _check_size(width: int, height: int) -> None:
    if min(width, height) < SMALLEST:
        raise SampleError(f"too small: {width} × {height} pixels")
    if width * height > MEGAPIXELS * 1_000_000:
        raise SampleError(f"huge: {width} × {height} pixels, the limit is {MEGAPIXELS} megapixels")


def _upright(frame: Any, shape: Fraction | None, reformatter: Any) -> Image.Image:
    """Convert to RGB with square pixels, rotated and mirrored by the display matrix."""
    _check_size(frame.width, frame.height)  # a damaged stream may change it on the way
    matrix = frame.side_data.get("DISPLAYMATRIX")
    # frame.to_image() copies row by row, which takes longer than decoding
    image = Image.fromarray(reformatter.reformat(frame, format="rgb24").to_ndarray())
    if shape and shape != 1:  # pixels that are not square
        image = image.resize((max(1, round(image.width * shape)), image.height), Image.Resampling.BILINEAR)
    if matrix is not None:
        # A point (x, y) of the frame is displayed at (a x + c y, b x + d y), apart from shifts.
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            image = image.transpose(Image.Transpose.TRANSPOSE)
            a, d = c, b
        if a < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if d < 0:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image
