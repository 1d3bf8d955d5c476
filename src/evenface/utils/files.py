"""Files: user paths and cache, atomic writes, folder locks, JSON and Parquet with checksums, types, order of names.

JSON files have a digest of their content, Parquet tables a checksum per page, arrays a CRC-32 per block. They detect
damage by disks and copies, not deliberate changes.
"""

import contextlib
import datetime
import errno
import hashlib
import json
import math
import os
import platform
import re
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evenface.utils.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LOCK = ".lock"
"""Name of the lock file of a folder; see :func:`lock_folder`."""
LEFT = re.compile(r"\.(lock|tmp\w+|part-.+)$")
"""Pattern of temporary files; those that start with ``.tmp`` are written by safetensors."""
DIGEST_KEY = "digest"
"""Key of a JSON file with the digest of all other keys."""
METADATA_KEY = "evenface"
"""Key of the metadata of a safetensors file."""
BLOCK = 4 << 20
"""Bytes of an array per checksum."""
SAMPLED_BLOCKS = 8
"""Blocks of an array that are checked when it is opened."""


def user_path(path: str | Path) -> Path:
    """Return a path from the user, with ``~`` and ``~name`` expanded to home directories."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path}: the home directory is unknown, so that ~ cannot be expanded", "Write the full path."
        ) from error


def cache_folder() -> Path:
    """Return the directory of prepared faces and synthetic people.

    It is ``EVENFACE_CACHE`` if set, else ``evenface`` in the user's cache directory.
    """
    named = os.environ.get("EVENFACE_CACHE")
    if named:
        return user_path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (user_path(cache) if cache else Path.home() / ".cache") / "evenface"
    except RuntimeError as error:
        raise InputError(
            "there is no home directory to keep prepared faces in", "Set EVENFACE_CACHE to a directory."
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which replaces ``path`` if the block ends without an error.

    After a crash, a kill or a full disk there is the old file, or none, but never a partial one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        prefix = f".part-{path.stem[:100]}-{_host()}-{os.getpid()}-"
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
    except OSError as error:
        raise write_error(error, path) from error
    try:
        try:
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, path) from error


_TEMPORARY = re.compile(r"\.part-.*-([0-9a-f]{4})-(\d+)-[a-z0-9_]{8}(\..*)?")


@lru_cache(maxsize=1)
def _host() -> str:
    return digest(platform.node())[:4]


@lru_cache(maxsize=1_000)
def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes of this machine from a folder, once per process."""
    if sys.platform == "win32":  # os.kill would end the process there
        return
    for path in folder.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match and match[1] == _host() and not _alive(int(match[2])):
            with contextlib.suppress(OSError):
                path.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True


@contextlib.contextmanager
def exclusive_lock(path: Path, busy: str) -> Iterator[None]:
    """Run a block in one process at a time; the operating system releases the lock when its holder ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{busy}; waiting", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def lock_folder(folder: Path, *, wait: float = 0) -> Iterator[None]:
    """Lock a folder for this process, and create it if it does not exist.

    The operating system locks the file ``.lock`` in the folder and releases it when the process ends, even if it is
    killed. The file is removed at the end of the block, as are folders that were created for it and are still empty.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=wait)
        with contextlib.suppress(OSError):  # the holder is shown in messages if it can be written
            since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
            path.write_text(f"process {os.getpid()} on {platform.node()}, since {since}", encoding="utf-8")
    except Timeout:
        raise InputError(
            f"{folder} is in use by {_holder(path)}", "Wait until it has ended, or give another folder: --out."
        ) from None
    except OSError as error:
        raise write_error(error, folder) from error
    try:
        yield
    finally:
        # Before the release, so that the file of another process is not removed.
        with contextlib.suppress(OSError):  # Windows does not remove open files
            path.unlink()
        lock.release()
        with contextlib.suppress(OSError):
            for parent in created:
                parent.rmdir()


def _holder(lock: Path) -> str:
    """Return a description of the process that holds a lock."""
    try:
        return lock.read_text(encoding="utf-8") or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"


def stale_files(folder: Path) -> list[Path]:
    """List the files left by killed processes: locks, and temporary files of :func:`atomic_write` and safetensors."""
    return [path for path in folder.iterdir() if LEFT.match(path.name) and path.is_file() and not path.is_symlink()]


def is_vacant(folder: Path) -> bool:
    """Return whether a folder does not exist, or has only files left by killed processes."""
    if not folder.is_dir():
        return not folder.exists()
    return set(folder.iterdir()) <= set(stale_files(folder))


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether a directory entry is a folder or a link to one; False for a link to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Return whether a directory entry is a file or a link to one; see :func:`is_folder`."""
    try:
        return entry.is_file()
    except OSError:
        return False


def listed(names: Iterable[str], most: int = 8) -> str:
    """Join names with commas, at most ``most`` of them; ``nothing`` if there are none."""
    every = list(names)
    if not every:
        return "nothing"
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def check_exists(root: str | Path, source: str) -> None:
    """Check that the root of a dataset exists; an InputError names the folders beside the missing one."""
    root = user_path(root)
    if root.exists():
        return
    parent = next((p for p in root.absolute().parents if p.is_dir()), Path("/"))
    with os.scandir(parent) as entries:
        beside = sorted(e.name for e in entries if is_folder(e) and not e.name.startswith((".", "__")))
    raise InputError(f"{source}: the folder {root} does not exist", f"{parent} exists; it has {listed(beside)}.")


def safe_file_name(name: str) -> str:
    """Return a name for a file or folder without path separators and leading dots."""
    return re.sub(r"[/\\\0]", "_", name).lstrip(".")[:200] or "_"


def npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    """Return the header of a NumPy file, for a type such as ``"|u1"``; it is padded to a constant length.

    Appending the array in parts raises an error that can be caught if the disk is full, unlike a memory map.
    """
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Check that a file or folder can be written, before the work on its content starts."""
    try:
        if path.is_dir() and not folder:
            raise InputError(f"{path} is a directory; expected a file", "Give the name of a file.")
        near = path if folder else path.parent
        while not near.exists() and near != near.parent:
            near = near.parent
        if not near.is_dir():
            raise InputError(f"{near} is a file; expected a directory", "Give another name.")
        with tempfile.TemporaryFile(dir=near):
            pass
    except OSError as error:
        raise write_error(error, path) from error


def output_path(path: str | Path, *, folder: bool = False) -> Path:
    """Return the path for output from the user, with ``~`` expanded, after :func:`check_writable`."""
    output = user_path(path)
    check_writable(output, folder=folder)
    return output


def write_error(error: OSError, path: Path) -> InputError:
    """Return an InputError for any error of the operating system on writing ``path``."""
    explained = disk_error(error, path)
    if isinstance(explained, InputError):
        return explained
    return InputError(f"cannot write {path}: {error.strerror or error}", "Choose another place.")


def disk_error(error: OSError, path: Path) -> Exception:
    """Return an InputError for an error of the operating system that the user can solve, else the error itself."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"the disk is full: cannot write {path}", "Free some space, or write to another disk.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"no permission to write {path}", "Choose another folder.")
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        return InputError(
            f"{path}: a file is in place of a directory, or a directory in place of a file", "Give another name."
        )
    if error.errno == errno.ELOOP:
        return InputError(f"{path} is a symbolic link, which is not written to", "Remove the link.")
    return error


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` atomically as indented JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=False) + "\n", encoding="utf-8")


def digest(*parts: bytes | str) -> str:
    """Compute a digest of content (BLAKE2b, 32 hexadecimal digits); the lengths of the parts are included."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


class JsonObject(dict[str, Any]):
    """Content of a JSON file; a missing key raises an InputError that names the file."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise InputError(
            f"{self.path} has no key {key!r}", "The file is incomplete, or was written by another version of evenface."
        )


def write_json_with_digest(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically with a digest of its content."""
    write_json(path, {**content, DIGEST_KEY: _content_digest(content)})


def read_json(path: Path, hint: str = "") -> JsonObject:
    """Read a JSON object, and check its digest if it has one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=lambda values: JsonObject(values, path))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", hint) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it is not valid JSON", hint) from error
    if not isinstance(content, JsonObject):
        raise InputError(f"{path} is damaged: it is not a JSON object", hint)
    # A changed letter in the key itself must not pass for a file without a digest.
    altered = any(
        len(key) == len(DIGEST_KEY) and sum(a != b for a, b in zip(key, DIGEST_KEY, strict=True)) == 1
        for key in content
    )
    stored = content.pop(DIGEST_KEY, None)
    if (altered and stored is None) or (stored is not None and stored != _content_digest(content)):
        raise InputError(
            f"{path} is damaged: its content does not match its digest",
            f"{hint} If it was changed on purpose, remove the key {DIGEST_KEY} from it.".strip(),
        )
    return content


def _content_digest(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != DIGEST_KEY}))
    return digest(json.dumps(plain, sort_keys=True))


def digest_file(path: Path) -> str:
    """Compute the digest of a file (BLAKE2b, 32 hexadecimal digits)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_parquet(table: Any, path: Path) -> None:
    """Write a pandas or Arrow table atomically as Parquet with a checksum per page."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    with atomic_write(path) as temporary:
        pq.write_table(stored, temporary, write_page_checksum=True)


def read_parquet(path: Path, hint: str = "") -> "pa.Table":
    """Read a Parquet table, and check the checksums of its pages if it has any."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", hint) from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: it is not valid Parquet ({type(error).__name__})", hint) from error


def read_frame(path: Path, columns: Sequence[str], hint: str = "") -> "pd.DataFrame":
    """Read a Parquet table with the given columns as DataFrame; see :func:`read_parquet`."""
    stored = read_parquet(path, hint)
    if missing := [name for name in columns if name not in stored.column_names]:
        raise InputError(f"{path} is damaged: it has no column {missing[0]!r}", hint)
    return table_to_frame(stored, path, hint)


def table_to_frame(stored: "pa.Table", path: Path, hint: str = "") -> "pd.DataFrame":
    """Convert an Arrow table to a DataFrame; an InputError if its metadata is damaged."""
    try:
        frame: pd.DataFrame = stored.to_pandas()
    except Exception as error:  # pandas trusts the metadata of the file, and fails in many ways
        raise InputError(f"{path} is damaged: {type(error).__name__}", hint) from error
    return frame


def metadata_with_checksum(tensors: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a safetensors file: facts, and a CRC-32 of them and of the tensors, under one key.

    A single key is used because safetensors writes several keys in an order that varies between processes.
    """
    return {METADATA_KEY: json.dumps({**facts, "crc32": _tensor_checksum(tensors, facts)}, sort_keys=True)}


def verified_metadata(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the facts from :func:`metadata_with_checksum` after checking the checksum; other metadata unchanged."""
    if METADATA_KEY not in metadata:
        return dict(metadata)
    facts: dict[str, str] = json.loads(metadata[METADATA_KEY])
    if facts.pop("crc32", None) != _tensor_checksum(tensors, facts):
        raise ValueError("its content does not match its checksum")
    return facts


def _tensor_checksum(tensors: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    import torch

    checksum = zlib.crc32(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), checksum)
    return f"{checksum:08x}"


def block_checksums(path: Path) -> list[int]:
    """Compute the CRC-32 of each block of :data:`BLOCK` bytes of a file."""
    with path.open("rb") as file:
        return [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK), b"")]


def find_damaged_block(path: Path, known: Sequence[int], *, whole: bool) -> int | None:
    """Return the index of a block whose checksum differs, else None; of all blocks, or of a sample of them."""
    count = -(-path.stat().st_size // BLOCK)
    if count != len(known):
        return min(count, len(known))
    indices = (
        range(count)
        if whole or count <= SAMPLED_BLOCKS
        else sorted({i * (count - 1) // (SAMPLED_BLOCKS - 1) for i in range(SAMPLED_BLOCKS)})
    )
    with path.open("rb") as file:
        for block in indices:
            file.seek(block * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != known[block]:
                return block
    return None


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


_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NUMBERED = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)(\.[A-Za-z][A-Za-z0-9]*)?", re.ASCII)

NaturalKey = tuple[list[tuple[int, float | str]], str]


def number_of(name: str) -> float | None:
    """Return the value of a name that is a finite decimal number and nothing else, else None.

    Examples
    --------
    >>> number_of("-2.50"), number_of("1e1"), number_of("nan"), number_of("1_0")
    (-2.5, 10.0, None, None)
    """
    if not _NUMBER.fullmatch(name):
        return None
    value = float(name)
    return value if math.isfinite(value) else None


def natural_key(name: str) -> NaturalKey:
    """Return a sort key for natural order.

    A name that is one number, with or without a file suffix, is sorted by its value, with sign and decimals; integers
    within other names are sorted by theirs. Case is ignored. Different names have different keys.

    Examples
    --------
    >>> sorted(["f10.png", "f9.png", "F1.png"], key=natural_key)
    ['F1.png', 'f9.png', 'f10.png']
    >>> sorted(["10.04.png", "9.96.png", "10.2.png"], key=natural_key)
    ['9.96.png', '10.04.png', '10.2.png']
    """
    if match := _NUMBERED.fullmatch(name):
        return [(0, float(match[1])), (1, (match[2] or "").lower())], name
    pieces = [piece for piece in re.split(r"([0-9]+)", name.lower()) if piece]
    return [(0, float(piece)) if piece.isdigit() and piece.isascii() else (1, piece) for piece in pieces], name


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort unique names: by value if all are numbers, else in natural order with numbers before words.

    Examples
    --------
    >>> natural_order(["10.0", "2.0", "-1"]), natural_order(["PA10", "PA2", "BL1"])
    (['-1', '2.0', '10.0'], ['BL1', 'PA2', 'PA10'])
    """
    unique = set(names)
    values = {name: number_of(name) for name in unique}
    if all(value is not None for value in values.values()):
        return sorted(unique, key=lambda name: (values[name], name))
    return sorted(unique, key=natural_key)
