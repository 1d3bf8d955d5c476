"""The rasteriser agrees with a loop over pixels and leaves no gaps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evenface.synthesis.rasteriser import rasterise


def naive_depth(screen, faces, height, width):
    """Depth and triangle under each pixel centre, one pixel and one triangle at a time."""
    nearest = np.full((height, width), np.inf)
    chosen = np.full((height, width), -1)
    for number, face in enumerate(faces):
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = screen[face].astype(float)
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= -1e-6:
            continue
        for row in range(height):
            for column in range(width):
                x, y = column + 0.5, row + 0.5
                w0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                w1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                w2 = 1 - w0 - w1
                if min(w0, w1, w2) >= 0:
                    depth = 1 / (w0 / z0 + w1 / z1 + w2 / z2)
                    if depth < nearest[row, column]:
                        nearest[row, column], chosen[row, column] = depth, number
    return nearest, chosen


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_rasteriser_agrees_with_a_loop_over_pixels(seed, count):
    rng = np.random.default_rng(seed)
    screen = np.concatenate([rng.uniform(-3, 13, (3 * count, 2)), rng.uniform(1, 3, (3 * count, 1))], 1)
    screen = screen.astype(np.float32)
    faces = np.arange(3 * count).reshape(-1, 3)
    depth, chosen = naive_depth(screen, faces, 9, 11)
    fragments = rasterise(screen, faces, 9, 11)
    result = np.full(9 * 11, -1)
    result[fragments.pixels] = fragments.triangles
    # Pixels whose centre lies on an edge may fall to either side.
    assert (result != chosen.ravel()).mean() <= 0.02
    same = fragments.triangles == chosen.ravel()[fragments.pixels]
    np.testing.assert_allclose(fragments.depth[same], depth.ravel()[fragments.pixels][same], rtol=1e-4)
    np.testing.assert_allclose(fragments.weights.sum(1), 1, atol=1e-5)


def test_triangles_that_share_edges_leave_no_gap():
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.linspace(-2, 42, 15), np.linspace(-2, 42, 15)), -1)
    grid[1:-1, 1:-1] += rng.uniform(-1, 1, (13, 13, 2))
    screen = np.concatenate([grid.reshape(-1, 2), np.ones((225, 1))], 1).astype(np.float32)
    at = np.arange(225).reshape(15, 15)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, 1:].ravel(), at[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1)])
    assert len(rasterise(screen, faces, 40, 40).pixels) == 1600
