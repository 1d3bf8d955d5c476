"""Why a file gives no picture, in plain words."""

import errno
import os
import struct

PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
KINDS = (
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture itself"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%!PS", "a PostScript document"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
)


class UnusableError(Exception):
    """A sample cannot be used; the text is the plain reason, its kind before the first colon."""


class NoFaceError(UnusableError):
    """Nothing is wrong with a picture, but no face was found in it."""


def kind_of(head: bytes) -> str:
    """Say what bytes are that are no picture; an empty string if they tell nothing."""
    for magic, name in KINDS:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return ""
        return "a HEIC picture; convert it to JPEG or PNG" if brand[:2] in (b"he", b"mi") else "an MP4 video"
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return "a RIFF file (AVI video or WAV sound)"
    return ""


def unidentified(data: bytes) -> str:
    """Say what the bytes of a file are that no decoder knows."""
    if data.startswith(PICTURES):
        return "corrupt: it starts like a picture, but its header cannot be read"
    if not data.strip(b"\0"):
        return "not an image: only zero bytes"
    try:
        text = data[:4096].decode("utf-8", "strict").lstrip().lower()
    except UnicodeDecodeError as error:
        # Four kilobytes may end inside a character; anything earlier is no text.
        if len(data) <= 4096 or error.start < 4092:
            return "not an image: unknown bytes"
        text = ""
    if text.startswith(("<!doctype", "<html")):
        return "not an image: a web page"
    return "not an image: an SVG drawing" if "<svg" in text else "not an image: text"


def broken(error: Exception, frame: int | None) -> str:
    """Say what is wrong with a picture by the error that came out of its decoder."""
    said = " ".join(str(error).split()) or type(error).__name__
    if frame and isinstance(error, EOFError):
        return f"no frame: the picture ends before frame {frame}"
    if "truncated" in said.lower() or isinstance(error, EOFError | struct.error):
        return f"truncated: {said}"
    return f"corrupt: {said}"


def file_trouble(error: OSError) -> str:
    """Say why a file could not be opened or read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "missing"
    if error.errno in (errno.EISDIR, errno.ENXIO):
        return "not a file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "unreadable: no permission"
    return f"unreadable: {os.strerror(error.errno) if error.errno else error}"
