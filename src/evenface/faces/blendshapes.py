"""Openings and raisings of a face, measured on MediaPipe's 468 points."""

import numpy as np
import numpy.typing as npt

from evenface.faces.points import normalised

Array = npt.NDArray[np.float32]

OPENINGS = {
    "right_eye_open": ((159, 145), (33, 133)),
    "left_eye_open": ((386, 374), (263, 362)),
    "mouth_open": ((13, 14), (61, 291)),
}
"""A distance as a share of another one: between the lids of that between an eye's corners, and so of the mouth."""
WIDTHS = {"mouth_width": (61, 291), "brow_gap": (107, 336), "upper_lip": (2, 0), "chin_drop": (2, 152)}
"""Distances, in distances of the eyes: mouth, inner ends of the brows, nose to upper lip, nose to chin."""
RAISINGS = {
    "right_brow_inner_raise": ((107, 55), (33, 133)),
    "left_brow_inner_raise": ((336, 285), (263, 362)),
    "right_brow_outer_raise": ((70, 46), (33, 133)),
    "left_brow_outer_raise": ((300, 276), (263, 362)),
    "right_mouth_corner_raise": ((61,), (13, 14)),
    "left_mouth_corner_raise": ((291,), (13, 14)),
    "right_cheek_raise": ((50,), (33, 133)),
    "left_cheek_raise": ((280,), (263, 362)),
}
"""How far the mean of some points stands above that of others, across the eyes' line, in distances of the eyes."""
NAMES = (*OPENINGS, *WIDTHS, *RAISINGS)


def blendshapes(points: Array) -> Array:
    """Measure openings and raisings.

    Parameters
    ----------
    points : ndarray of shape (T, 468, D)
        x and y in one unit, y down; z is not looked at.

    Returns
    -------
    ndarray of shape (T, 15, 1), float32
        In the order of :data:`NAMES`. They do not change where the whole face is moved, turned in the picture or
        enlarged. They are plain distances, not MediaPipe's learnt blendshapes, and change when a head turns aside.

    Raises
    ------
    UnusableError
        If the eyes are in one place.
    """
    level = normalised(points[..., :2], "mesh-468", "roll")
    found = [_distance(level, *over) / _distance(level, *under).clip(1e-6) for over, under in OPENINGS.values()]
    found += [_distance(level, *ends) for ends in WIDTHS.values()]
    found += [level[:, base, 1].mean(axis=1) - level[:, top, 1].mean(axis=1) for top, base in RAISINGS.values()]
    return np.stack(found, axis=1)[..., None].astype(np.float32)


def _distance(points: Array, first: int, second: int) -> Array:
    found: Array = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
    return found
