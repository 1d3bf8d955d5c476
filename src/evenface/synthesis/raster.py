"""Triangles to pixels: a small z-buffer rasteriser in NumPy, without loops over triangles."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Keep = Callable[[NDArray[np.int64], Array], NDArray[np.bool_]]


class Fragments(NamedTuple):
    """What is seen: one row per covered pixel.

    Attributes
    ----------
    pixels : ndarray of shape (N,)
        Flat pixel numbers, row by row, each at most once.
    triangles : ndarray of shape (N,)
        Row of the triangle seen there.
    weights : ndarray of shape (N, 3)
        Barycentric weights of its corners, perspective-correct.
    depth : ndarray of shape (N,)
        Distance along the camera's axis.
    """

    pixels: NDArray[np.int64]
    triangles: NDArray[np.int64]
    weights: Array
    depth: Array


def rasterise(screen: Array, faces: NDArray[np.int64], height: int, width: int, keep: Keep | None = None) -> Fragments:
    """Find the nearest triangle under every pixel centre.

    Parameters
    ----------
    screen : ndarray of shape (V, 3)
        Vertices as column, row (in pixels, rows downwards) and depth (> 0, larger is farther).
    faces : ndarray of shape (F, 3)
        Corner numbers. Triangles whose corners run clockwise on the screen face away and are not drawn.
    height, width : int
        Size of the picture in pixels.
    keep : callable, optional
        Given triangle numbers and weights of candidate fragments, says which to draw: the rest is see-through.

    Returns
    -------
    Fragments
        The visible ones. Where two depths are equal the triangle of the higher number wins.
    """
    corners = screen[faces]
    x, y = corners[..., 0], corners[..., 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    left = np.maximum(np.ceil(x.min(1) - 0.5), 0).astype(np.int64)
    right = np.minimum(np.floor(x.max(1) - 0.5), width - 1).astype(np.int64)
    top = np.maximum(np.ceil(y.min(1) - 0.5), 0).astype(np.int64)
    bottom = np.minimum(np.floor(y.max(1) - 0.5), height - 1).astype(np.int64)
    drawn = np.flatnonzero((area < -1e-6) & (right >= left) & (bottom >= top))
    columns = (right - left + 1)[drawn]
    counts = columns * (bottom - top + 1)[drawn]
    triangle = np.repeat(drawn, counts)
    step = np.arange(len(triangle)) - np.repeat(np.cumsum(counts) - counts, counts)
    row, column = np.divmod(step, np.repeat(columns, counts))
    row += top[triangle]
    column += left[triangle]

    # Edge functions as planes a*column + b*row + c, one set per triangle, divided by the area: weights that sum to 1.
    following, after = x[:, [1, 2, 0]], x[:, [2, 0, 1]]
    rows_following, rows_after = y[:, [1, 2, 0]], y[:, [2, 0, 1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (1 / area)[:, None]
        a = (rows_following - rows_after) * scale
        b = (after - following) * scale
        c = (following * rows_after - after * rows_following) * scale
    weights = a[triangle] * (column + 0.5)[:, None] + b[triangle] * (row + 0.5)[:, None] + c[triangle]
    inside = np.flatnonzero((weights >= 0).all(1))
    triangle, weights = triangle[inside], weights[inside].astype(np.float32)
    pixel = row[inside] * width + column[inside]

    weights /= corners[..., 2][triangle]
    depth = 1 / weights.sum(1)
    weights *= depth[:, None]
    if keep is not None:
        solid = keep(triangle, weights)
        pixel, triangle, weights, depth = pixel[solid], triangle[solid], weights[solid], depth[solid]

    # Painter's order: assigning far to near leaves the nearest fragment in each pixel.
    order = np.lexsort((triangle, -depth))
    winner = np.full(height * width, -1, np.int64)
    winner[pixel[order]] = order
    seen = np.flatnonzero(winner >= 0)
    chosen = winner[seen]
    return Fragments(seen, triangle[chosen], weights[chosen], depth[chosen])
