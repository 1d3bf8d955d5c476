"""MediaPipe's face detectors and face mesh, run by ONNX Runtime as its own graphs run them."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evenface.utils.onnx_session import start_session

Array = npt.NDArray[np.float32]

FACE_MODELS = "0.10.14"
"""Version of MediaPipe that the models come from; a part of the keys of stores."""
MIN_PRESENCE = 0.5
"""Smallest probability that a face is present in the mesh."""
MAX_LOGIT = 100.0
SAME_FACE = 0.3
"""Detections with a larger intersection over union are averaged."""
MESH_VIEW = 192
"""Side of the square that the mesh is detected in, in pixels."""


@dataclass(frozen=True)
class DetectionModel:
    """One of the two face detectors.

    Parameters
    ----------
    name : str
        Its file.
    size : int
        Side of its input in pixels.
    min_score : float
        Smallest score of a detection.
    maps : tuple of (int, int)
        For each map, its side and the number of anchors at each place.
    """

    name: str
    size: int
    min_score: float
    maps: tuple[tuple[int, int], ...]

    @cached_property
    def anchors(self) -> Array:
        """Places (N, 2) that the boxes are relative to."""
        return np.concatenate([_grid(side, count) for side, count in self.maps])

    def __call__(self, image: Image.Image) -> Array:
        """Detect faces in an RGB image.

        Returns
        -------
        ndarray of shape (N, 17), float32
            Score, box (left, top, right, bottom), and x and y of six points: the person's right and left eye, nose,
            mouth, right and left ear; in pixels of the image, the best score first.
        """
        side, margins = max(image.size), [(max(image.size) - length) / 2 for length in image.size]
        boxes, scores = session(self.name).run(None, {"image": letterbox(image, self.size)[np.newaxis]})
        found = suppress(self.decode(boxes[0], scores[0, :, 0]))
        found[:, 1:] = found[:, 1:] * np.float32(side) - np.array(margins * 8, np.float32)
        return found

    def decode(self, boxes: Array, scores: Array) -> Array:
        """Return the detections (N, 17) that reach the smallest score, in widths of the input."""
        kept = np.flatnonzero(scores >= logit(self.min_score))
        logits, anchors = scores[kept].clip(-MAX_LOGIT, MAX_LOGIT), self.anchors[kept]
        values = boxes[kept].reshape(-1, 8, 2) / np.float32(self.size)
        centres, half, points = values[:, 0] + anchors, values[:, 1] / 2, values[:, 2:] + anchors[:, np.newaxis]
        found = np.concatenate([centres - half, centres + half, points.reshape(-1, 12)], axis=1)
        scored = np.concatenate([1 / (1 + np.exp(-logits))[:, np.newaxis], found], axis=1)
        return np.asarray(scored[(half >= 0).all(axis=1)], np.float32)


def _grid(side: int, count: int) -> Array:
    """Return the middles of the cells of a map, row by row, each repeated for every anchor there."""
    middles = (np.arange(side, dtype=np.float32) + 0.5) / side
    y, x = np.meshgrid(middles, middles, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2).repeat(count, axis=0).astype(np.float32)


SHORT_RANGE = DetectionModel("short_range_detector", 128, 0.5, ((16, 2), (8, 6)))
FULL_RANGE = DetectionModel("full_range_detector", 192, 0.6, ((48, 1),))


def letterbox(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Return an RGB image in the middle of a black square of ``size`` × ``size`` pixels, (H, W, 3).

    Notes
    -----
    As in MediaPipe, the centres of the first pixels coincide rather than their corners, interpolation is bilinear to
    1/32 of a pixel, and nothing is averaged: images are reduced by a filter before.
    """
    side = max(image.size)
    if image.size == (size, size):
        return np.asarray(image)
    pixels = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)))
    values = pixels.astype(np.float32)
    for axis, length in enumerate((image.height, image.width)):
        places = np.arange(size) * (side / size) - (side - length) / 2 + 1
        places = np.round(places.clip(0, length + 1) * 32) / 32
        first = np.minimum(places.astype(int), length)
        share = np.expand_dims(places - first, tuple({0, 1, 2} - {axis})).astype(np.float32)
        values = values.take(first, axis) * (1 - share) + values.take(first + 1, axis) * share
    return np.asarray(values + 0.5, np.uint8)


def logit(probability: float) -> float:
    """Return the logarithm of the odds."""
    return math.log(probability / (1 - probability))


def suppress(found: Array) -> Array:
    """Replace detections of one face by their mean, weighted by their scores; the best score is kept.

    References
    ----------
    Bazarevsky et al., *BlazeFace: sub-millisecond neural face detection on mobile GPUs*, 2019, arXiv:1907.05047.
    """
    faces = []
    rest = found[np.argsort(-found[:, 0], kind="stable")]
    while len(rest):
        same = overlaps(rest[0, 1:5], rest[:, 1:5]) > SAME_FACE
        same[0] = True  # also if its box is empty
        weights = rest[same, :1]
        faces.append(np.concatenate([rest[0, :1], (rest[same, 1:] * weights).sum(axis=0) / weights.sum()]))
        rest = rest[~same]
    return np.array(faces, np.float32).reshape(-1, found.shape[1])


def overlaps(box: Array, others: Array) -> Array:
    """Return the intersection over union of a box and each of others (N, 4)."""
    sides = (np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])).clip(min=0)
    shared = sides[:, 0] * sides[:, 1]
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + areas - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def detect_mesh(view: Image.Image) -> Array | None:
    """Detect the 468 landmarks of a face in an RGB image of 192 × 192 pixels that it fills, upright.

    Returns
    -------
    ndarray of shape (468, 3), float32, or None
        x, y and z in widths of the image; None if no face is present.

    References
    ----------
    Kartynnik et al., *Real-time facial surface geometry from monocular video on mobile GPUs*, 2019, arXiv:1907.06724.
    """
    points, presence = session("mesh").run(None, {"image": np.asarray(view)[np.newaxis]})
    return np.asarray(points.reshape(-1, 3) / MESH_VIEW) if presence[0, 0] > logit(MIN_PRESENCE) else None


@lru_cache
def session(name: str) -> Any:
    """Load a model; it stays loaded in this process, and uses one thread, as processes are already as many as cores."""
    path = Path(__file__).parent / "face_models" / f"{name}.onnx"
    return start_session(path.read_bytes(), path, threads=1)
