"""Mesh points of face crops as the input of a network: detected in the crop, aligned in space."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.preprocessing.blazeface import MESH_VIEW, detect_mesh
from evenface.preprocessing.landmarks import order

Array = npt.NDArray[np.float32]

RIGID = np.array([33, 133, 362, 263, 168, 6, 197, 1, 2, 98, 327, 234, 454, 10, 151, 9])
"""Points that expressions move little: corners of the eyes, nose, forehead, sides of the face."""
# fmt: off
USED = np.array([
    0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 13, 14, 17, 18, 33, 36, 37, 39, 40, 46, 48, 49, 50, 52, 53, 55, 57, 61, 63, 64, 65,
    66, 70, 78, 80, 81, 82, 84, 87, 88, 91, 95, 98, 101, 105, 107, 117, 129, 133, 144, 145, 146, 151, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 163, 168, 172, 173, 178, 181, 185, 187, 191, 195, 197, 199, 200, 203, 205, 206, 207,
    212, 234, 246, 249, 263, 266, 267, 269, 270, 276, 278, 279, 280, 282, 283, 285, 287, 291, 293, 294, 295, 296, 300,
    308, 310, 311, 312, 314, 317, 318, 321, 324, 327, 330, 334, 336, 346, 358, 362, 373, 374, 375, 380, 381, 382, 384,
    385, 386, 387, 388, 390, 397, 398, 402, 405, 409, 411, 415, 423, 425, 426, 427, 432, 454, 466,
])
# fmt: on
"""Points that networks take: lips, brows, eyelids, nose, cheeks, chin; with each point its mirror image."""
BORDER = 1 / 6
"""Border around a crop, repeated from its outermost pixels: the mesh expects a wider margin."""


def crop_points(crops: Iterable[npt.NDArray[np.uint8]]) -> Array:
    """Detect the mesh points of faces that fill their crops, eyes level.

    Parameters
    ----------
    crops : iterable of ndarray of shape (H, W) or (H, W, C), uint8
        C is 1 or 3.

    Returns
    -------
    ndarray of shape (N, 468, 3), float32
        x, y and z in sides of the crop; NaN where no face is present.
    """
    return _stacked([_points(pixels) for pixels in crops])


def _stacked(found: Sequence[npt.NDArray[Any] | None]) -> Array:
    """Stack the points of faces; NaN where there are none."""
    absent = np.full((468, 3), np.nan)
    result = np.array([absent if points is None else points for points in found], np.float32)
    return result.reshape(-1, 468, 3)


def _points(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any] | None:
    side = len(pixels)
    border = round(side * BORDER)
    grey = pixels.reshape(side, side) if pixels.size == side * side else pixels
    image = Image.fromarray(np.pad(grey, ((border, border),) * 2 + ((0, 0),) * (grey.ndim - 2), mode="edge"))
    # Resized before a grey image becomes RGB, and not by an affine map: in a seventh of the time.
    points = detect_mesh(image.resize((MESH_VIEW, MESH_VIEW), Image.Resampling.BILINEAR).convert("RGB"))
    return None if points is None else (points * image.width - np.array([border, border, 0])) / side


def mirror_image(points: Array) -> Array:
    """Return all points (..., 468, 3) of the mirrored face, where x of the midline is 0."""
    return points[..., order("mesh-468"), :] * np.array([-1, 1, 1], np.float32)


def mirrored_rows() -> npt.NDArray[np.int64]:
    """Return the row of :data:`USED` that holds the mirror image of each of its rows."""
    return np.asarray(np.searchsorted(USED, order("mesh-468")[USED]), np.int64)


def symmetric_reference(points: Array) -> Array:
    """Compute the mean of faces (N, 468, 3) and their mirror images at :data:`RIGID`, with its centre at 0."""
    mean = points.mean(axis=0, dtype=np.float64)
    mean -= mean[RIGID].mean(axis=0)
    both = ((mean + mirror_image(mean)) / 2)[RIGID]
    return np.asarray(both - both.mean(axis=0), np.float32)


def align_points(points: Array, reference: Array) -> Array:
    """Move, scale and rotate faces in space so that their rigid points are nearest to those of a reference.

    Parameters
    ----------
    points : ndarray of shape (N, 468, 3)
        Without NaN.
    reference : ndarray of shape (len(RIGID), 3)
        From :func:`symmetric_reference`.

    Returns
    -------
    ndarray of shape (N, len(USED), 3), float32
        The used points.

    References
    ----------
    Kabsch, *A solution for the best rotation to relate two sets of vectors*, Acta Crystallographica A32, 1976.
    """
    values = points.astype(np.float64)
    centre = values[:, RIGID].mean(axis=1, keepdims=True)
    own = values[:, RIGID] - centre
    left, _, right = np.linalg.svd(np.einsum("nki,kj->nij", own, reference))
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, np.newaxis]
    scale = np.linalg.norm(reference) / np.linalg.norm(own, axis=(1, 2)).clip(1e-9)
    return np.asarray((values[:, USED] - centre) @ (left @ right) * scale[:, np.newaxis, np.newaxis], np.float32)


def point_input(
    crops: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8],
    reference: Array,
    known: Sequence[npt.NDArray[Any] | None] = (),
) -> Array:
    """Compute what a network takes beside crops: aligned points (N, len(USED), 3), zeros where no face is present.

    ``known`` are points (468, 3) of the faces in any similar coordinates, such as pixels of the whole image; those of a
    face that is missing there, or None, are detected in its crop.
    """
    given = [*known] or [None] * len(crops)
    pairs = zip(crops, given, strict=True)
    points = _stacked([_points(crop) if mesh is None else mesh for crop, mesh in pairs])
    result = np.zeros((len(points), len(USED), 3), np.float32)
    seen = ~np.isnan(points[:, 0, 0])
    if seen.any():
        result[seen] = align_points(points[seen], reference)
    return result
