"""File types: images, animated images and videos, by suffix where that is unambiguous, else by the first bytes."""

import os
from typing import Literal

# fmt: off
IMAGE_SUFFIXES = (
    ".apng", ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
)
VIDEO_SUFFIXES = (
    ".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".webm", ".wmv",
)
ANIMATED_SUFFIXES = (".apng", ".avif", ".gif", ".webp")
"""Suffixes of image formats that can have several frames."""
IMAGE_SIGNATURES = (
    b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
)
# fmt: on
HEAD = 4096
"""Number of bytes that determine a file's type."""

FileKind = Literal["image", "animation", "video", "other"]

_DOCUMENTS = (
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"PK\x03\x04", "a zip archive, as Excel workbooks (.xlsx) are"),
    (b"\xd0\xcf\x11\xe0", "an old Office document (.xls, .doc)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%!PS", "a PostScript document"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet table"),
    (b"ID3", "an MP3 sound"),
    (b"fLaC", "a FLAC sound"),
    (b"8BPS", "a Photoshop document"),
)
_VIDEOS = (
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"FLV\x01", "a Flash video"),
    (b"0&\xb2u\x8ef\xcf\x11", "a Windows Media video"),
    (b"\0\0\x01\xba", "an MPEG video"),
    (b"\0\0\x01\xb3", "an MPEG video"),
)
_HEIC = "a HEIC image; convert it to JPEG or PNG"
_BRANDS = {b"avif": "", b"avis": "", b"he": _HEIC, b"mi": _HEIC, b"M4A ": "an MP4 sound", b"M4B ": "an MP4 sound"}
_RIFF = {b"WEBP": "", b"AVI ": "an AVI video", b"WAVE": "a WAV sound"}
_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def describe_content(head: bytes) -> str:
    """Describe the type of a file that is not an image by its first bytes; an empty string if they are unknown."""
    for signature, description in (*_DOCUMENTS, *_VIDEOS):
        if head.startswith(signature):
            return description
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], _BRANDS.get(head[8:10], "an MP4 video"))
    if head[4:8] in _ATOMS:
        return "an MP4 video"
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "a RIFF file")
    if head[:4] == b"OggS":
        return "an Ogg video" if b"theora" in head or b"OVP80" in head else "an Ogg sound"
    # Packets of 188 bytes start with the same byte; camcorders add a timestamp of four bytes before each.
    for first, step in ((0, 188), (4, 192)):
        if len(head) > first + 2 * step and all(head[first + i * step] == 0x47 for i in range(3)):
            return "an MPEG transport stream, which is a video"
    return ""


def is_image(head: bytes) -> bool:
    """Return whether a file starts like an image of a supported format."""
    if head.startswith(IMAGE_SIGNATURES):
        return True
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace():
        return True
    return head[:4] + head[8:12] == b"RIFFWEBP" or head[4:12] in (b"ftypavif", b"ftypavis")


def file_kind(path: str) -> FileKind:
    """Return the type of a file.

    The suffix decides for images and videos, except that images of formats with several frames are opened to count
    their frames; other files are identified by their first bytes.
    """
    name = path.lower()
    if name.endswith(VIDEO_SUFFIXES):
        return "video"
    if name.endswith(IMAGE_SUFFIXES) and not name.endswith(ANIMATED_SUFFIXES):
        return "image"
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            head = file.read(HEAD)
    except OSError:
        head = b""
    if is_image(head):
        return "animation" if is_animated(path, head) else "image"
    if name.endswith(IMAGE_SUFFIXES):
        return "image"
    return "video" if "video" in describe_content(head) else "other"


def is_animated(path: str, head: bytes) -> bool:
    """Return whether an image file, which starts with ``head``, has several frames."""
    if head[4:12] == b"ftypavis":
        return True
    if head[:4] == b"RIFF" and head[12:16] == b"VP8X":
        return bool(head[20] & 2) if len(head) > 20 else False
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head.partition(b"IDAT")[0]
    return head.startswith(b"GIF8") and _is_animated_gif(path)


def _is_animated_gif(path: str) -> bool:
    from PIL import Image

    try:
        with Image.open(path, formats=("GIF",)) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # decoders raise nearly any exception on malformed bytes; reading the file reports it
        return False


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without blocking, as reading a named pipe would block for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
