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
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenface.utils.errors import InputError
from evenface.utils.paths import user_path

if TYPE_CHECKING:
    import pandas as pd

LOCK = ".lock"
"""File that a folder is locked by; see :func:`lock_folder`."""
LEFT = re.compile(r"\.(lock|tmp\w+|part-.+)$")
"""Names of temporary files; those that begin with ``.tmp`` are of safetensors."""


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
def exclusive(path: Path, busy: str) -> Iterator[None]:
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


def leftovers(folder: Path) -> list[Path]:
    """List the files that killed processes left: locks, and what :func:`atomic_write` and safetensors began."""
    return [path for path in folder.iterdir() if LEFT.match(path.name) and path.is_file() and not path.is_symlink()]


def is_vacant(folder: Path) -> bool:
    """Whether a folder is missing or holds nothing, but for what killed processes left."""
    if not folder.is_dir():
        return not folder.exists()
    return set(folder.iterdir()) <= set(leftovers(folder))


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


def file_name(text: str) -> str:
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


def check_place(path: Path, *, folder: bool = False) -> None:
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
    """Return where the user wants output, ``~`` expanded; errors are those of :func:`check_place`."""
    found = user_path(path)
    check_place(found, folder=folder)
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


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_text(text: str) -> str:
    """Return a text as a cell of a CSV file that no spreadsheet takes for a formula: with ``'`` before it if need be.

    Examples
    --------
    >>> csv_text("=1+1"), csv_text("-2"), csv_text("happy")
    ("'=1+1", '-2', 'happy')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv_text(cell: str) -> str:
    """Return the text that :func:`csv_text` made a cell of.

    Examples
    --------
    >>> from_csv_text("'=1+1"), from_csv_text("'quoted'")
    ('=1+1', "'quoted'")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_safe(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose texts and names of columns are cells as :func:`csv_text` makes them."""
    from pandas.api.types import is_numeric_dtype

    def made(cell: Any) -> Any:
        return csv_text(cell) if isinstance(cell, str) else cell

    safe = table.rename(columns=made)
    for i, kind in enumerate(table.dtypes):
        if not is_numeric_dtype(kind):
            safe.isetitem(i, table.iloc[:, i].astype(object).map(made).to_numpy())
    return safe


def digest(*parts: bytes | str) -> str:
    """Name content by 32 hexadecimal digits (BLAKE2b); the parts are told apart by their lengths."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()
