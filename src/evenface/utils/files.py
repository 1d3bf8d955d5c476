"""Files written whole or not at all, and digests that name their content."""

import contextlib
import datetime
import errno
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenface.utils.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LOCK = ".lock"
"""File that a folder is locked by; see :func:`lock_folder`."""
LEFT = re.compile(r"\.(lock|tmp\w+|part-.+)$")
"""Names of temporary files; those that begin with ``.tmp`` are of safetensors."""
SEAL = "digest"
"""Key of the digest of all the others."""
TENSORS = "evenface"
"""Key of what stands beside tensors in a file of safetensors."""
BLOCK = 4 << 20
"""Bytes of an array that share a checksum."""
FEW = 8
"""Blocks of an array that are looked at when it is opened."""


def user_path(path: str | Path) -> Path:
    """Return a path that the user named, with ``~`` and ``~name`` expanded to home directories."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: the home directory of ~ is not known here", "Write the whole path.") from error


def cache_folder() -> Path:
    """Return the directory of prepared faces and synthetic people.

    It is ``EVENFACE_CACHE`` where that is set, else ``evenface`` in the user's cache directory.
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
    """Give a temporary path beside ``path``; move it there when the block ends well.

    A crash, a kill or a full disk leaves the old file, or none, but never half of one.
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
    """Remove what killed processes of this machine were writing into a folder; once in the life of a process."""
    if sys.platform == "win32":  # no way to ask after a process without a signal
        return
    for path in folder.iterdir():
        found = _TEMPORARY.fullmatch(path.name)
        if found and found[1] == _host() and not _alive(int(found[2])):
            with contextlib.suppress(OSError):
                path.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of somebody else, but there
        return True
    return True


@contextlib.contextmanager
def exclusive_lock(path: Path, busy: str) -> Iterator[None]:
    """Lock a block for one process at a time; the system releases the lock when its holder ends, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{busy}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def lock_folder(folder: Path, *, wait: float = 0) -> Iterator[None]:
    """Hold a folder for this process alone; it is made where it is missing.

    The lock is the operating system's, on the file ``.lock`` in the folder: it ends with the process, even one that was
    killed. The file goes when the block ends, and so do folders that were made for it and are still empty.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=wait)
        with contextlib.suppress(OSError):  # who holds it is told where that can be written
            since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
            path.write_text(f"process {os.getpid()} on {platform.node()}, since {since}", encoding="utf-8")
    except Timeout:
        raise InputError(
            f"{folder} is in use by {_holder(path)}", "Wait until that has ended, or give another folder: --out."
        ) from None
    except OSError as error:
        raise write_error(error, folder) from error
    try:
        yield
    finally:
        # Before it is released, so that nobody else's file is removed: whoever opened this one begins anew.
        with contextlib.suppress(OSError):  # Windows removes no open file: there it stays
            path.unlink()
        lock.release()
        with contextlib.suppress(OSError):
            for one in made:
                one.rmdir()


def _holder(lock: Path) -> str:
    """Name the process that holds a lock, as far as it is known."""
    try:
        return lock.read_text(encoding="utf-8") or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"


def stale_files(folder: Path) -> list[Path]:
    """List the files that killed processes left: locks, and what :func:`atomic_write` and safetensors began."""
    return [path for path in folder.iterdir() if LEFT.match(path.name) and path.is_file() and not path.is_symlink()]


def is_vacant(folder: Path) -> bool:
    """Whether a folder is missing or holds nothing, but for what killed processes left."""
    if not folder.is_dir():
        return not folder.exists()
    return set(folder.iterdir()) <= set(stale_files(folder))


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry of a folder is a folder, or leads to one; one that leads to itself does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry of a folder is a file, or leads to one; see :func:`is_folder`."""
    try:
        return entry.is_file()
    except OSError:
        return False


def safe_file_name(text: str) -> str:
    """Make a name for a file or folder of a text, which may then lead nowhere else."""
    return re.sub(r"[/\\\0]", "_", text).lstrip(".")[:200] or "_"


def npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    """Make the header of a NumPy file, of a kind such as ``"|u1"``; it is padded, so its length stays the same.

    Writing an array behind it piece by piece, unlike into a memory map, gives an error that can be caught where the
    disk is full.
    """
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Refuse a place that cannot be written to, before work is put into what shall stand there."""
    try:
        if path.is_dir() and not folder:
            raise InputError(f"{path} is a folder, and a file shall stand there", "Give the name of a file.")
        near = path if folder else path.parent
        while not near.exists() and near != near.parent:
            near = near.parent
        if not near.is_dir():
            raise InputError(f"{near} is a file, and a folder shall stand there", "Give another name.")
        with tempfile.TemporaryFile(dir=near):
            pass
    except OSError as error:
        raise write_error(error, path) from error


def output_path(path: str | Path, *, folder: bool = False) -> Path:
    """Return where the user wants output, ``~`` expanded; errors are those of :func:`check_writable`."""
    found = user_path(path)
    check_writable(found, folder=folder)
    return found


def write_error(error: OSError, path: Path) -> InputError:
    """Turn any error of the operating system that keeps ``path`` from being written into a sentence."""
    told = disk_error(error, path)
    if isinstance(told, InputError):
        return told
    return InputError(f"cannot write {path}: {error.strerror or error}", "Choose another place.")


def disk_error(error: OSError, path: Path) -> Exception:
    """Turn what the operating system says about ``path`` into a sentence; other errors pass as they are."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"the disk is full: cannot write {path}", "Free some space, or write to another disk.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"no permission to write {path}", "Choose another folder.")
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        return InputError(f"{path}: a file stands where a folder is needed, or a folder in its place", "Name another.")
    if error.errno == errno.ELOOP:
        return InputError(f"{path} is a link: nothing is written through it", "Remove it.")
    return error


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=False) + "\n", encoding="utf-8")


def digest(*parts: bytes | str) -> str:
    """Name content by 32 hexadecimal digits (BLAKE2b); the parts are told apart by their lengths."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


class JsonObject(dict[str, Any]):
    """What a JSON file holds; a key that is missing is told in a sentence."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.path} lacks {key!r}", "It is not whole, or of another version.")


def write_json_with_digest(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of its content, whole or not at all."""
    write_json(path, {**content, SEAL: _seal(content)})


def read_json(path: Path, remedy: str = "") -> JsonObject:
    """Read a JSON object, and see that it is as it was written where it has a digest."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=lambda values: JsonObject(values, path))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing", remedy) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it cannot be read as JSON", remedy) from error
    if not isinstance(content, JsonObject):
        raise InputError(f"{path} is damaged: it holds no JSON object", remedy)
    # A changed letter in the key itself must not pass for a file without a digest.
    near = any(len(key) == len(SEAL) and sum(a != b for a, b in zip(key, SEAL, strict=True)) == 1 for key in content)
    seal = content.pop(SEAL, None)
    if (near and seal is None) or (seal is not None and seal != _seal(content)):
        raise InputError(
            f"{path} is damaged: it is not as it was written (its digest is of other content)",
            f"{remedy} If it was changed on purpose, take the key {SEAL} out of it.".strip(),
        )
    return content


def _seal(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != SEAL}))
    return digest(json.dumps(plain, sort_keys=True))


def digest_file(path: Path) -> str:
    """Digest a file's bytes (BLAKE2b), 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_parquet(table: Any, path: Path) -> None:
    """Write a table of pandas or Arrow with a checksum of every page, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    with atomic_write(path) as temporary:
        pq.write_table(stored, temporary, write_page_checksum=True)


def read_parquet(path: Path, remedy: str = "") -> "pa.Table":
    """Read a table, and see that its pages are as they were written where they have block_checksums."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy) from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: it cannot be read as Parquet ({type(error).__name__})", remedy) from error


def read_frame(path: Path, columns: Sequence[str], remedy: str = "") -> "pd.DataFrame":
    """Read a table that has these columns; see :func:`read_parquet`."""
    stored = read_parquet(path, remedy)
    if missing := [name for name in columns if name not in stored.column_names]:
        raise InputError(f"{path} is damaged: it has no column {missing[0]!r}", remedy)
    return table_to_frame(stored, path, remedy)


def table_to_frame(stored: "pa.Table", path: Path, remedy: str = "") -> "pd.DataFrame":
    """Make a DataFrame of a table that was read; an InputError where what it says of itself is damaged."""
    try:
        frame: pd.DataFrame = stored.to_pandas()
    except Exception as error:  # pandas trusts what the file says of its columns, and fails in many ways
        raise InputError(f"{path} is damaged: {type(error).__name__}", remedy) from error
    return frame


def metadata_with_checksum(tensors: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, str]:
    """Make the metadata of a file of safetensors: facts, and a CRC-32 of them and of the tensors, under one key.

    Safetensors writes several keys in an order that differs from process to process.
    """
    return {TENSORS: json.dumps({**facts, "crc32": _tensor_checksum(tensors, facts)}, sort_keys=True)}


def verified_metadata(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, str]:
    """Give the facts that :func:`metadata_with_checksum` took; those of other files as they are."""
    if TENSORS not in metadata:
        return dict(metadata)
    facts: dict[str, str] = json.loads(metadata[TENSORS])
    if facts.pop("crc32", None) != _tensor_checksum(tensors, facts):
        raise ValueError("it is not as it was written: its checksum is another")
    return facts


def _tensor_checksum(tensors: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    import torch

    found = zlib.crc32(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), found)
    return f"{found:08x}"


def block_checksums(path: Path) -> list[int]:
    """Compute the CRC-32 of every block of a file, of :data:`BLOCK` bytes each."""
    with path.open("rb") as file:
        return [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK), b"")]


def find_damaged_block(path: Path, known: Sequence[int], *, whole: bool) -> int | None:
    """Find a block of a file that is not as it was written."""
    count = -(-path.stat().st_size // BLOCK)
    if count != len(known):
        return min(count, len(known))
    looked = range(count) if whole or count <= FEW else sorted({i * (count - 1) // (FEW - 1) for i in range(FEW)})
    with path.open("rb") as file:
        for block in looked:
            file.seek(block * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != known[block]:
                return block
    return None
