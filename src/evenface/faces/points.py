"""Points of a face: what kinds there are, and bringing their position, scale and roll into one form."""

import numpy as np
import numpy.typing as npt

from evenface.errors import InputError
from evenface.faces.trouble import UnusableError

KINDS = ("mesh-468", "dlib-68", "openface-aus", "features")
"""MediaPipe's 468 points, the 68 of dlib and OpenFace, OpenFace's action units, and any other numbers of each frame."""
COUNTS = {"mesh-468": 468, "dlib-68": 68}
EYES = {"mesh-468": ((33, 133), (362, 263)), "dlib-68": ((36, 39), (42, 45))}
"""Corners of the person's right eye and left eye: unlike lids, they stay where they are when eyes close."""
STEPS = ("none", "position", "scale", "roll")


def normalised(points: npt.NDArray[np.float32], kind: str, how: str) -> npt.NDArray[np.float32]:
    """Move, scale and turn the points of each frame by where its eyes are.

    Parameters
    ----------
    points : ndarray of shape (T, P, D)
        x, y and, with D = 3, z, in one unit.
    kind : {"mesh-468", "dlib-68"}
        What the points are. An eye's place is the middle of its corners.
    how : {"none", "position", "scale", "roll"}
        ``position``: the eyes' middle becomes the origin. ``scale``: further, eyes are 1 apart, measured in x and y.
        ``roll``: further, turned in the picture so that the line from the person's right eye to the left one runs
        along x.

    Returns
    -------
    ndarray of shape (T, P, D), float32

    Raises
    ------
    InputError
        If these are no points of a face.
    UnusableError
        If both eyes are in one place.
    """
    if how == "none":
        return points
    check_normalise(kind, how)
    values = points.astype(np.float64)
    right, left = (values[:, corners, :].mean(axis=1) for corners in EYES[kind])
    values -= (right + left)[:, None] / 2
    if how == "position":
        return values.astype(np.float32)
    x, y = (left - right)[:, :2].T
    apart = np.hypot(x, y)
    if not (apart > 0).all():
        raise UnusableError("no eyes: both are in one place")
    values /= apart[:, None, None]
    if how == "roll":
        cos, sin = x / apart, y / apart
        turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
        values[..., :2] = np.einsum("tij,tpj->tpi", turn, values[..., :2])
    return values.astype(np.float32)


def check_normalise(kind: str, how: str) -> None:
    """Refuse to normalise what are no points of a face, with an InputError."""
    if how not in STEPS:
        raise InputError(f"normalise must be one of {', '.join(STEPS)}, got {how!r}")
    if how != "none" and kind not in EYES:
        raise InputError(
            f"data.sequences.normalise: {how} needs points of a face, and these sequences are {kind}",
            "Set data.sequences.normalise=none.",
        )
