"""Numbers of frames that stand in arrays, and in folders of texts; what cannot be used is an UnusableError."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.faces.points import COUNTS
from evenface.faces.sequences import Array
from evenface.faces.trouble import UnusableError
from evenface.faces.video import parts_of

Seen = npt.NDArray[np.bool_]
TEXT = ".txt"
EXTRA_POINTS = 478
"""MediaPipe's points with those of the irises, which come last and are left out."""


def read_folder(path: str, points: str) -> tuple[Array, Seen]:
    """Read a folder of texts, one for each frame: numbers, (T, P, D), and that all frames are there."""
    files = parts_of(path, (TEXT,))
    if files == [path]:
        raise UnusableError(f"no frames: the folder holds no {TEXT}")
    frames = []
    for file in files:
        try:
            lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
            frames.append(np.array([line.split() for line in lines if line.strip()], dtype=np.float32))
        except ValueError as error:
            raise UnusableError(f"not a number: in {Path(file).name}, or its lines are not equally long") from error
        if not frames[-1].size:
            raise UnusableError(f"empty: there is nothing in {Path(file).name}")
        if frames[-1].shape != frames[0].shape:
            told = " × ".join(map(str, frames[-1].shape))
            raise UnusableError(f"wrong shape: {told} in {Path(file).name}, unlike those before it")
    values = _shaped(np.stack(frames), points)
    return values, np.ones(len(values), bool)


def read_array(path: str, points: str, numbers: str) -> tuple[Array, Seen]:
    """Read an array, or that of an archive which ``numbers`` names: as :func:`read_folder` gives it."""
    try:
        found: Any = np.load(path, allow_pickle=False, mmap_mode="r" if path.lower().endswith(".npy") else None)
        if not isinstance(found, np.ndarray):
            with found as file:
                found = file[_name(file, numbers)]
    except UnusableError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged zip archive raises nearly anything
        said = " ".join(str(error).split())
        raise UnusableError(
            "not numbers: Python objects" if "object" in said.lower() else f"corrupt: {said}"
        ) from error
    if found.dtype.kind not in "fiu":
        raise UnusableError(f"not numbers: an array of {found.dtype}")
    values = _shaped(found, points)
    return values, np.ones(len(values), bool)


def _name(file: Any, numbers: str) -> str:
    """Say which array of an archive is meant."""
    if numbers:
        if numbers not in file.files:
            raise UnusableError(f"wrong arrays: no {numbers} among {', '.join(file.files)}")
        return numbers
    names = [name for name in file.files if file[name].ndim >= 2]
    if len(names) != 1:
        raise UnusableError(f"wrong arrays: {', '.join(names) or 'none'} of two or more axes, one was expected")
    return str(names[0])


def _shaped(found: npt.NDArray[Any], points: str) -> Array:
    """Bring an array to the shape (T, P, D)."""
    if not found.size:
        raise UnusableError("no frames: the array is empty")
    count, shape = COUNTS.get(points), found.shape
    if count is None:
        return _plain(found, points)
    if points == "mesh-468" and EXTRA_POINTS in (shape[-1] // 2, shape[-1] // 3, *shape[-2:-1]):
        count = EXTRA_POINTS
    if len(shape) in (3, 4) and shape[-2] == count and shape[-1] in (2, 3):
        values = found.reshape(-1, count, shape[-1])
    elif len(shape) in (2, 3) and shape[-1] in (2 * count, 3 * count):
        values = found.reshape(-1, count, shape[-1] // count)
    else:
        raise UnusableError(
            f"wrong shape: {' × '.join(map(str, shape))}, {COUNTS[points]} points a frame were expected"
        )
    return np.asarray(values[:, : COUNTS[points]], dtype=np.float32)


def _plain(found: npt.NDArray[Any], points: str) -> Array:
    """Bring an array of numbers that are no points of a face to the shape (T, P, D)."""
    shape = found.shape
    if len(shape) == 2:
        return np.asarray(found[..., None], dtype=np.float32)
    if points == "openface-aus" and len(shape) == 3:
        return np.asarray(found.reshape(-1, shape[-1], 1), dtype=np.float32)
    if points == "features" and len(shape) in (3, 4):
        return np.asarray(found.reshape(-1, *shape[-2:]), dtype=np.float32)
    raise UnusableError(f"wrong shape: {' × '.join(map(str, shape))}")
