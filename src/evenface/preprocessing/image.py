"""Images: decoding of any format to square 8-bit pixels, or the reason why a file cannot be used."""

import contextlib
import csv
import errno
import io
import math
import os
import stat
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from evenface.preprocessing.detect_align import Detector, Face, crop_faces
from evenface.preprocessing.target import Target
from evenface.utils.errors import InputError, NoFaceError, SampleError
from evenface.utils.files import HEAD, describe_content, is_image
from evenface.utils.packed_images import SUFFIXES, packed_image
from evenface.utils.tables import index_rows


def table_row(path: str, row: int | None) -> Image.Image:
    """Read the image in a row of a table, from its column ``pixels``."""
    if row is None:
        raise SampleError("no row: the manifest does not state the row of the table")
    if not os.path.getsize(path):  # noqa: PTH202 - one call per sample, Path is slow
        raise SampleError("empty: the file has no bytes")
    try:
        index = index_rows(path)
    except InputError as error:
        raise SampleError(f"not a table: {error.message}") from error
    names = [name.lower() for name in index.names]
    if "pixels" not in names:
        raise SampleError("no column pixels in the table")
    if not 0 <= row < len(index.starts):
        raise SampleError(f"no row: the table ends before row {row}")
    with Path(path).open("rb") as file:
        file.seek(index.starts[row])
        line = file.read(index.ends[row] - index.starts[row])
    try:
        text = index.cells(line)[names.index("pixels")]
    except (IndexError, csv.Error) as error:
        raise SampleError("corrupt: the row has no pixels") from error
    if not text or text.encode().translate(None, b"0123456789 "):
        raise SampleError("corrupt: the row's pixels are not whole numbers from 0 to 255")
    values = np.fromstring(text, dtype=np.int64, sep=" ")  # five times as fast as int() on each
    if values.max() > 255:
        raise SampleError("corrupt: the row's pixels are not whole numbers from 0 to 255")
    side = math.isqrt(len(values))
    if side * side != len(values):
        raise SampleError(f"corrupt: {len(values)} pixels make no square")
    return Image.fromarray(values.astype(np.uint8).reshape(side, side))


MEGAPIXELS = 100
GREY = (128, 128, 128, 255)
# Only decoders that run inside Pillow: EPS, for one, would start Ghostscript on a stranger's file.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF")
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112
_SCREEN = threading.Lock()


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Suppress Pillow's warnings.

    They are about EXIF, odd tags and resolution, which do not affect pixels, and about large images, which have a limit
    here. For a truncated file Pillow raises an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_sample(path: str, start: int | None, target: Target) -> bytes:
    """Read one sample; crop and resize it, or each of its faces, to the target."""
    return b"".join(picture.tobytes() for _, picture in cropped(decoded(path, start, target), target))


def decoded(path: str, start: int | None, target: Target) -> Image.Image:
    """Decode what :func:`read_sample` reads, upright, at no higher resolution than the target needs."""
    try:
        return _raw(path, start, target)
    except OSError as error:
        raise SampleError(file_reason(error)) from error


def cropped(image: Image.Image, target: Target, find: Detector | None = None) -> list[tuple[Face | None, Image.Image]]:
    """Crop and resize an image, or each of its faces, to the target; ``find`` replaces the target's detector."""
    try:
        return list(_faces(image, target, find)) if target.crop else [(None, fit(image, target))]
    except OSError as error:
        raise SampleError(file_reason(error)) from error


def fit(image: Image.Image, target: Target) -> Image.Image:
    """Crop the central square, convert to 8-bit grey or RGB, resize with antialiasing (bicubic).

    A square crop keeps the proportions of a face, on which expressions depend; padding would add edges. Transparent
    parts become neutral grey. With ``squeeze``, the whole image is resized, bilinearly and with antialiasing.
    """
    if target.squeeze:
        image = grey_or_rgb(_eight_bit(image), target)
        return image.resize((target.size, target.size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width != image.height:
        image = image.crop((left, top, left + side, top + side))
    image = grey_or_rgb(_eight_bit(image), target)
    if side != target.size:
        image = image.resize((target.size, target.size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return image


def _raw(path: str, start: int | None, target: Target | None) -> Image.Image:
    if path.lower().endswith(".csv"):
        return table_row(path, start)
    if path.lower().endswith(SUFFIXES):
        return _decode(packed_image(path, start), None, target)
    return _decode(_bytes_of(path), start, target)


def read_picture(path: str, start: int | None = None) -> Image.Image:
    """Read a whole image: upright, RGB, 8 bits; ``start`` is as in :func:`read_sample`."""
    try:
        return rgb(_raw(path, start, None))
    except OSError as error:
        raise SampleError(file_reason(error)) from error


def picture_in_memory(content: bytes | np.ndarray | Image.Image) -> Image.Image:
    """Return an image in memory upright, RGB, 8 bits: the bytes of an image file, an array or a Pillow image.

    Arrays are uint8 of shape (H, W), (H, W, 1), (H, W, 3) in the order red, green, blue, or (H, W, 4) with opacity.
    """
    with quiet_pillow():
        if isinstance(content, np.ndarray):
            return rgb(Image.fromarray(checked_pixels(content)))
        if isinstance(content, bytes):
            if not content:
                raise SampleError("empty: it has no bytes")
            return rgb(_decode(content, None, None))
        try:
            return rgb(_upright(content))
        except OSError as error:  # Pillow decodes when the pixels are first used
            raise SampleError(decoder_reason(error, None)) from error


def checked_pixels(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of an image array; an InputError if it is none, see :func:`picture_in_memory`."""
    if pixels.dtype != np.uint8:
        raise InputError(
            f"an image array must be uint8, got {pixels.dtype}", "Scale it to 0 to 255 and use .astype('uint8')."
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not pixels.size or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise InputError(
            f"an image array must have the shape (height, width, 3) or (height, width), got {pixels.shape}",
            "Give several images as a list, and the frames of a video as an iterator: iter(array).",
        )
    return np.ascontiguousarray(pixels)


def rgb(image: Image.Image) -> Image.Image:
    """Convert a decoded image to 8-bit RGB; transparent parts become neutral grey."""
    return _convert(_eight_bit(image), "RGB")


def grey_or_rgb(image: Image.Image, target: Target) -> Image.Image:
    """Convert an 8-bit image to the target's channels."""
    return _convert(image, "L" if target.channels == 1 else "RGB")


def _faces(image: Image.Image, target: Target, find: Detector | None) -> Iterator[tuple[Face, Image.Image]]:
    assert target.crop is not None
    image = rgb(image)
    try:
        faces = crop_faces(image, target.crop, target.size, find)
    except InputError:
        raise
    except Exception as error:  # which errors third-party detectors raise is undocumented
        raise SampleError(f"the detector failed: {' '.join(str(error).split())}") from error
    if not faces:
        raise NoFaceError("no face found")
    for face, picture in faces:
        yield face, grey_or_rgb(picture, target)


def _bytes_of(path: str) -> bytes:
    with open(path, "rb", opener=open_regular) as file:
        head = file.read(HEAD)
        if not head:
            raise SampleError("empty: the file has no bytes")
        # A video or an archive of gigabytes is recognised by its first bytes; it need not be read completely.
        if not is_image(head) and (kind := describe_content(head)):
            raise SampleError(f"not an image: {kind}")
        return head + file.read()


def open_regular(path: str, flags: int) -> int:
    """Open without waiting, and reject what is not a regular file: reading a pipe would block for ever."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SampleError("not a file")
    return handle


def _decode(data: bytes, frame: int | None, target: Target | None) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=formats())
        if image.width * image.height > MEGAPIXELS * 1_000_000:
            raise SampleError(f"huge: {image.width} × {image.height} pixels, the limit is {MEGAPIXELS} megapixels")
        with _quiet_libtiff() if image.format == "TIFF" else contextlib.nullcontext():
            if frame:
                image.seek(frame)
            if image.format == "TIFF":
                image.load()
        if image.format == "JPEG" and target and target.crop is None and not target.squeeze:
            # The decoder itself can reduce by 2, 4 or 8; twice the target size is left for the resize.
            image.draft("L" if target.channels == 1 else None, (2 * target.size, 2 * target.size))
        image.load()
    except SampleError:
        raise
    except UnidentifiedImageError as error:
        raise SampleError(unidentified_reason(data)) from error
    except Image.DecompressionBombError as error:
        raise SampleError(f"huge: the limit is {MEGAPIXELS} megapixels") from error
    except MemoryError as error:
        raise SampleError("huge: not enough memory to decode it") from error
    except Exception as error:  # on malformed bytes decoders raise nearly anything
        raise SampleError(decoder_reason(error, frame)) from error
    return _upright(image)


@contextlib.contextmanager
def _quiet_libtiff() -> Iterator[None]:
    """Suppress what libtiff prints about damaged files: one thread at a time, as all share the stream."""
    with _SCREEN:
        try:
            screen = os.dup(2)
        except OSError:  # there is none
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            os.close(nowhere)


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Return the formats that this build of Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(image: Image.Image) -> Image.Image:
    """Rotate an image by its EXIF orientation."""
    turn = TRANSPOSE.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image after EXIF orientation, without decoding it."""
    return (image.height, image.width) if _orientation(image) >= 5 else image.size


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF raises nearly anything, whatever the pixels are
        return 1
    return value if value in TRANSPOSE else 1


def bits_in_use(paths: Sequence[str]) -> int:
    """Return how many bits the largest value of 16-bit grey images has; 0 where not all are such images.

    Thermal, infrared and depth cameras write 10, 12 or 14 bits into files of 16.
    """
    largest = 0
    for path in paths:
        try:
            with quiet_pillow(), Image.open(path, formats=formats()) as image:
                if not image.mode.startswith("I") or image.width * image.height > MEGAPIXELS * 1_000_000:
                    return 0
                largest = max(largest, int(np.asarray(image).max()))
        except Exception:  # on malformed bytes decoders raise nearly anything; reading it reports the reason
            continue
    return largest.bit_length()


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to 8 bits (65535 becomes 255); wider pixels have no standard range."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise SampleError("unclear range: its pixels have more than 16 bits")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    try:
        if image.has_transparency_data:
            ground = Image.new("RGBA", image.size, GREY)
            ground.alpha_composite(image.convert("RGBA"))
            image = ground
        return image.convert("RGB").convert(mode) if image.mode in ("P", "PA", "CMYK") else image.convert(mode)
    except (ValueError, AssertionError) as error:  # the latter without a palette
        raise SampleError(f"unsupported: cannot convert {image.mode} pixels to {mode}") from error


def unidentified_reason(data: bytes) -> str:
    """Return the reason why bytes that no decoder knows are not an image."""
    if is_image(data):
        return "corrupt: it starts like an image, but its header cannot be read"
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


def decoder_reason(error: Exception, frame: int | None) -> str:
    """Return the reason for an error that an image decoder raised."""
    message = " ".join(str(error).split()) or type(error).__name__
    if frame and isinstance(error, EOFError):
        return f"no frame: the image ends before frame {frame}"
    if "truncated" in message.lower() or isinstance(error, EOFError | struct.error):
        return f"truncated: {message}"
    return f"corrupt: {message}"


def file_reason(error: OSError) -> str:
    """Return the reason why a file could not be opened or read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "missing"
    if error.errno in (errno.EISDIR, errno.ENXIO):
        return "not a file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "unreadable: no permission"
    return f"unreadable: {os.strerror(error.errno) if error.errno else error}"
