"""The 3-D head model and its blend shapes, a part of the package: ``head.npz``.

Lengths are in decimetres; x points to the person's left, y up, z to the front. Whole-body shapes determine sex, age,
ancestry and weight; local shapes vary parts of the head; facial actions move the face.

``tools/extract_head_shapes.py`` writes the file. A shape moves a sixth of the vertices on average, by thousandths of a
decimetre, so it is stored without loss as the moved vertices and their offsets in 16 bits.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.rasteriser import Array

ANCESTRIES = ("african", "asian", "caucasian")
PARTS = (
    "skin",
    "cavity",
    "eye_left",
    "eye_right",
    "teeth_upper",
    "teeth_lower",
    "tongue",
    "lashes",
    "hair",
    "hair_inside",
)
FILE = Path(__file__).with_name("head.npz")


class BlendShape(NamedTuple):
    """Moved vertices, in rising order, and their offsets (N, 3)."""

    vertices: NDArray[np.uint16]
    offsets: Array

    def add_to(self, points: Array, weight: float) -> None:
        """Add the shape, scaled by ``weight``, to ``points`` (V, 3) in place."""
        points[self.vertices] += np.float32(weight) * self.offsets


@dataclass(frozen=True)
class HeadModel:
    """Mesh of head, neck and shoulders, with its blend shapes.

    Local shapes with two ends have names with ``+`` and ``-`` in front.
    """

    vertices: Array
    faces: NDArray[np.int64]
    parts: NDArray[np.int64]
    parts_of_vertices: NDArray[np.int64]
    occlusion: Array
    shapes: dict[str, BlendShape]


@lru_cache(maxsize=1)
def load_head() -> HeadModel:
    """Load the head model from the package."""
    with np.load(FILE) as stored:
        arrays = dict(stored)
    faces, parts = arrays["faces"].astype(np.int64), arrays["parts"].astype(np.int64)
    own = np.full(len(arrays["vertices"]), len(PARTS))
    np.minimum.at(own, faces, parts[:, None])
    offsets = np.divide(arrays["offsets"].T, 1000, order="C").astype(np.float32)
    ends = np.cumsum(arrays["counts"], dtype=np.int64)[:-1]
    shapes = map(BlendShape, np.split(arrays["moved"], ends), np.split(offsets, ends))
    return HeadModel(
        vertices=arrays["vertices"],
        faces=faces,
        parts=parts,
        parts_of_vertices=own,
        occlusion=arrays["occlusion"],
        shapes=dict(zip(arrays["names"].tolist(), shapes, strict=True)),
    )
