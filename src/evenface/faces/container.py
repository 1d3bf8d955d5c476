"""What is inside a video file, and whether it is whole; nothing is decoded here."""

import re
from pathlib import Path
from typing import Any

from evenface.errors import InputError
from evenface.faces.trouble import UnusableError, file_trouble, unidentified
from evenface.filetypes import HEAD, is_picture, kind_of

SLACK = 0.02
"""Share of the frames that may be missing at the end; two always may."""
# Only containers, of files that lie on this machine: a playlist could name others, elsewhere.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,m4v,h264,hevc"
SOUNDS = "mp3,wav,flac,aac,aiff"
EXTRA = "pip install 'evenface[faces]'."


def check_file(path: str) -> None:
    """Refuse what is no video by its first bytes, where they tell it more plainly than FFmpeg does."""
    if not Path(path).exists():
        raise UnusableError("missing")
    if not Path(path).is_file():
        raise UnusableError("not a file")
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise UnusableError("empty: the file has no bytes")
    if is_picture(head):
        raise UnusableError("not a video: a single picture")
    kind = kind_of(head)
    if kind and not any(word in kind for word in ("video", "sound")):
        raise UnusableError(f"not a video: {kind}")


def opened(path: str) -> Any:
    """Open a container with PyAV, silently.

    Raises
    ------
    UnusableError
        If there is none in the file.
    InputError
        If PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("PyAV, which reads videos, is not installed", f"Install it: {EXTRA}") from error
    av.logging.set_level(None)
    av.logging.set_libav_level(av.logging.PANIC)
    options = {"protocol_whitelist": "file", "format_whitelist": f"{CONTAINERS},{SOUNDS}"}
    try:
        return av.open("file:" + path, options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise UnusableError(_no_container(path, error)) from error


def _no_container(path: str, error: Exception) -> str:
    """Say why a file could not be opened as a video."""
    import av

    if isinstance(error, OSError) and not isinstance(error, av.error.InvalidDataError | av.error.EOFError):
        return file_trouble(error)
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if kind_of(head):  # it starts as a video does
        return "truncated: the file ends before its index, or its header is damaged"
    return unidentified(head).replace("not an image", "not a video")


def video_stream(container: Any) -> Any:
    """Give the first stream of moving pictures; an UnusableError where there is none."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:  # the cover of a song is no video
            continue
        if stream.codec_context is None:
            raise UnusableError("unsupported: there is no decoder for this video")
        return stream
    sound = len(container.streams.audio)
    raise UnusableError(
        "not a video: it holds only sound" if sound else "empty: there is neither picture nor sound in it"
    )


def count_packets(container: Any, stream: Any) -> tuple[list[int | None], int, int]:
    """Give the times of the packets that show a frame, the number of all, and the end of the last, without decoding."""
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
        pass  # the file ends here; whether too early is judged by the count
    return stamps, packets, end


def check_whole(container: Any, stream: Any, packets: int, end: int) -> None:
    """Compare what is there with what the header promises: a number of frames, or a length."""
    if stream.frames > packets + max(2, SLACK * stream.frames):
        raise UnusableError(f"truncated: {packets:,} of {stream.frames:,} frames are there")
    promised = _seconds(stream.metadata.get("DURATION", ""))
    if not promised and len(container.streams) == 1:
        promised = (container.duration or 0) / 1e6
    there = float(end * stream.time_base)
    if not stream.frames and there < promised * (1 - SLACK) - 0.1:
        raise UnusableError(f"truncated: {there:.1f} of {promised:.1f} seconds are there")


def _seconds(text: str) -> float:
    """Read ``hours:minutes:seconds``, as Matroska notes them; 0 for anything else."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    return sum(float(part) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0.0


def said(error: Exception) -> str:
    """Give the words of an error of FFmpeg, without number and path."""
    return getattr(error, "strerror", None) or str(error)
