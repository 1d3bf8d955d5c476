"""Head pose from the points of the face mesh: the rotation that best maps a reference geometry onto them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.floating]

REFERENCE = Path(__file__).with_name("head_reference.npy")
"""Mean geometry of synthetic people and weights of its points, (468, 4); see ``tools/fit_head_pose.py``."""


@lru_cache(maxsize=1)
def _reference() -> npt.NDArray[np.float64]:
    return np.load(REFERENCE).astype(np.float64)  # type: ignore[no-any-return]


def axes(points: Points) -> npt.NDArray[np.float64]:
    """Convert points from image axes to axes of the head: x to the right of the image, y up, z towards the viewer."""
    return np.asarray(points, np.float64) * (1, -1, -1)


def best_rotation(points: Points, reference: Points) -> npt.NDArray[np.float64]:
    """Return the rotation (3, 3) of the weighted least-squares fit of the reference to points in axes of the head.

    References
    ----------
    Umeyama, *Least-squares estimation of transformation parameters between two point patterns*, IEEE TPAMI 13 (4),
    1991, eq. 40 to 43.
    """
    weights = reference[:, 3] / reference[:, 3].sum()
    model, seen = (array - weights @ array for array in (reference[:, :3], np.asarray(points, np.float64)))
    left, _, right = np.linalg.svd((seen * weights[:, None]).T @ model)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation: npt.NDArray[np.float64] = left @ sign @ right
    return rotation


def head_pose(points: Points, reference: Points | None = None) -> tuple[float, float, float]:
    """Estimate the head pose from the points of the face mesh.

    Parameters
    ----------
    points : ndarray of shape (468, 3)
        x and y in pixels from the upper left corner, z in the same unit, smaller where nearer; as
        :func:`~evenface.preprocessing.face_mesh.find_points` returns them.
    reference : ndarray of shape (468, 4), optional
        Upright geometry and weights of its points; by default that of the package.

    Returns
    -------
    yaw, pitch, roll : float
        Degrees. ``yaw`` > 0 turns to the person's left (the right of the image), ``pitch`` > 0 lifts the chin,
        ``roll`` > 0 tilts the head to the right of the image; as :class:`~evenface.synthesis.geometry.Pose`.
    """
    rotation = best_rotation(axes(points), _reference() if reference is None else reference)
    # R_yaw(y) R_pitch(x) R_roll(z), the order of synthetic people
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1, 1))
    roll = np.arctan2(-rotation[1, 0], rotation[1, 1])
    return float(np.rad2deg(yaw)), float(np.rad2deg(pitch)), float(np.rad2deg(roll))
