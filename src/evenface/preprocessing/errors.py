"""Why a file gives no picture, in plain words."""

import errno
import os
import struct

from evenface.utils.file_types import is_image


class SampleError(Exception):
    """A sample cannot be used; the text is the plain reason, its kind before the first colon."""


class NoFaceError(SampleError):
    """Nothing is wrong with a picture, but no face was found in it."""


def unidentified(data: bytes) -> str:
    """Say what the bytes of a file are that no decoder knows."""
    if is_image(data):
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
