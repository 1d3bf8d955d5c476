"""Rasterise triangles with a z-buffer in NumPy, without loops over triangles."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Keep = Callable[[NDArray[np.int64], Array], NDArray[np.bool_]]


class Fragments(NamedTuple):
    """Visible fragments: one row per covered pixel."""

    pixels: NDArray[np.int64]
    triangles: NDArray[np.int64]
    weights: Array
    depth: Array


def rasterise(screen: Array, faces: NDArray[np.int64], height: int, width: int, keep: Keep | None = None) -> Fragments:
    """Find the nearest triangle under every pixel centre."""
    column, row = screen[:, 0].astype(np.float64), screen[:, 1].astype(np.float64)
    x0, x1, x2 = (column[faces[:, k]] for k in range(3))
    y0, y1, y2 = (row[faces[:, k]] for k in range(3))
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left = np.clip(np.ceil(np.minimum(np.minimum(x0, x1), x2) - 0.5), 0, width).astype(np.int64)
    right = np.clip(np.floor(np.maximum(np.maximum(x0, x1), x2) - 0.5), -1, width - 1).astype(np.int64)
    top = np.clip(np.ceil(np.minimum(np.minimum(y0, y1), y2) - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.floor(np.maximum(np.maximum(y0, y1), y2) - 0.5), -1, height - 1).astype(np.int64)
    drawn = np.flatnonzero((area < -1e-6) & (right >= left) & (bottom >= top))
    x0, x1, x2, y0, y1, y2 = (values[drawn] for values in (x0, x1, x2, y0, y1, y2))
    area, left, top = area[drawn], left[drawn], top[drawn]
    columns = right[drawn] - left + 1
    counts = columns * (bottom[drawn] - top + 1)

    # Barycentric weights of corners 0 and 1 are linear in x and y, with the origin at each triangle's upper left pixel.
    first = np.stack([(y1 - y2) / area, (x2 - x1) / area], 1)
    second = np.stack([(y2 - y0) / area, (x0 - x2) / area], 1)
    right_of, below = left + 0.5 - x2, top + 0.5 - y2
    planes = np.stack([first[:, 0] * right_of + first[:, 1] * below, *first.T], 0).astype(np.float32)
    others = np.stack([second[:, 0] * right_of + second[:, 1] * below, *second.T], 0).astype(np.float32)

    own = np.repeat(np.arange(len(drawn)), counts)
    step = (np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)).astype(np.int32)
    down, along = np.divmod(step, columns.astype(np.int32)[own])
    w0 = planes[0][own] + planes[1][own] * along + planes[2][own] * down
    w1 = others[0][own] + others[1][own] * along + others[2][own] * down
    w2 = 1 - w0 - w1
    # Small tolerance, so that no pixel on a shared edge is missed by both triangles.
    inside = np.flatnonzero((w0 > -1e-5) & (w1 > -1e-5) & (w2 > -1e-5))
    own = own[inside]
    pixel = (top[own] + down[inside]) * width + left[own] + along[inside]
    triangle = drawn[own]
    near = np.reciprocal(screen[:, 2].astype(np.float32))
    weights = np.empty((len(own), 3), np.float32)
    for k, weight in enumerate((w0, w1, w2)):
        np.multiply(weight[inside], near[faces[triangle, k]], out=weights[:, k])
    depth = 1 / (weights[:, 0] + weights[:, 1] + weights[:, 2])
    weights *= depth[:, None]
    if keep is not None:
        solid = keep(triangle, weights)
        pixel, triangle, weights, depth = pixel[solid], triangle[solid], weights[solid], depth[solid]

    nearest = np.full(height * width, np.inf, np.float32)
    np.minimum.at(nearest, pixel, depth)
    # Triangles are in rising order, and of equally near ones the last is kept.
    front = np.flatnonzero(depth == nearest[pixel])
    winner = np.full(height * width, -1, np.int64)
    winner[pixel[front]] = front
    seen = np.flatnonzero(winner >= 0)
    chosen = winner[seen]
    return Fragments(seen, triangle[chosen], weights[chosen], depth[chosen])
