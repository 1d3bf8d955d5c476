"""What is lost when something is left out: it asks a model and needs no gradients."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from evenface.explanation.explanation import Array
from evenface.inference.model import Model
from evenface.utils.errors import InputError

BLUR = 0.12
"""Deviation of the blur, as a share of a picture's side."""
MOST = 2000
"""Sequences that the usual one is the mean of, at most."""


def blurred(sample: np.ndarray, baseline: str = "blur") -> np.ndarray:
    """Take everything out of pictures that is smaller than a face."""
    if baseline == "mean":
        return np.broadcast_to(np.rint(sample.mean(axis=(1, 2), keepdims=True)), sample.shape).astype(np.uint8)
    found = np.empty_like(sample)
    blur = ImageFilter.GaussianBlur(BLUR * sample.shape[1])
    for frame in range(len(sample)):
        for channel in range(sample.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(sample[frame, :, :, channel]))
            found[frame, :, :, channel] = np.asarray(plane.filter(blur))
    return found


def frames_held(sample: np.ndarray, kept: npt.NDArray[np.bool_]) -> np.ndarray:
    """Put the nearest frame that is kept, the earlier of two, in place of each that is not, ``(T, ...)``."""
    there = np.flatnonzero(kept)
    if not len(there):
        raise ValueError("at least one frame must be kept")
    nearest = np.abs(np.arange(len(sample))[:, None] - there).argmin(axis=1)
    return np.asarray(sample[there[nearest]])


def usual_sequence(model: Model, sample: np.ndarray) -> np.ndarray:
    """Give the sequence that is taken where nothing shall be said, ``(T, P, D)``."""
    run: Any = getattr(model, "run", None)
    found = None if run is None else _mean(run)
    if found is not None and found.shape == sample.shape:
        return found
    if len(sample) == 1:
        raise InputError(
            "the run's prepared sequences are gone, and with them what points are compared to",
            "Prepare its data again.",
        )
    return np.broadcast_to(sample.mean(axis=0, keepdims=True), sample.shape)


@lru_cache(maxsize=4)
def _mean(run: Any) -> np.ndarray | None:
    """Give the mean of a run's sequences, of :data:`MOST` evenly chosen ones; none where they are gone."""
    try:
        sequences = run.store.sequences
    except InputError:
        return None
    if sequences is None:
        return None
    rows = np.unique(np.linspace(0, len(sequences) - 1, min(MOST, len(sequences))).astype(np.int64))
    mean: np.ndarray = sequences[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


PLACES = 8
"""Places of a map by occlusion, on each side."""
BATCH = 32
TINY = 1e-6


def class_scores(scores: Array, *, one_vs_rest: bool) -> Array:
    """Give logarithms of probabilities, or log-odds of scores where each class is judged by itself, ``(B, C)``."""
    scores = scores.clip(TINY, 1 - TINY)
    return np.log(scores) - (np.log1p(-scores) if one_vs_rest else 0)


def asked(model: Model, samples: Iterable[np.ndarray], batch: int = BATCH) -> Iterator[Array]:
    """Give the scores of samples, one after the other, asked for in batches."""
    items = iter(samples)
    while several := list(islice(items, batch)):
        yield from model.scores(np.stack(several))


def lost(model: Model, sample: np.ndarray, changed: Iterable[np.ndarray]) -> Array:
    """Say what each class loses by each change."""
    whole = class_scores(model.scores(sample[None]), one_vs_rest=model.one_vs_rest)[0]
    found = np.stack([class_scores(one[None], one_vs_rest=model.one_vs_rest)[0] for one in asked(model, changed)])
    return np.asarray((whole - found).T)


def map_by_occlusion(model: Model, sample: np.ndarray, without: np.ndarray, places: int = PLACES) -> Array:
    """Say what is lost when a square about each place is blurred, on all frames at once, ``(C, places, places)``."""
    high, wide = sample.shape[1:3]

    def squares() -> Iterator[np.ndarray]:
        for row in range(places):
            for column in range(places):
                top, bottom = _side(row, places, high)
                left, right = _side(column, places, wide)
                changed = sample.copy()
                changed[:, top:bottom, left:right] = without[:, top:bottom, left:right]
                yield changed

    return lost(model, sample, squares()).reshape(-1, places, places)


def _side(place: int, places: int, length: int) -> tuple[int, int]:
    low, high = (place - 0.5) / places * length, (place + 1.5) / places * length
    return max(0, round(low)), min(length, round(high))


def frames_by_occlusion(model: Model, sample: np.ndarray) -> Array:
    """Say what is lost when each frame gives way to its nearest neighbour, ``(C, T)``; zeros of one frame."""
    count = len(sample)
    if count == 1:
        return np.zeros((len(model.classes), 1))
    kept = ~np.eye(count, dtype=bool)
    return lost(model, sample, (frames_held(sample, row) for row in kept))


def points_by_occlusion(model: Model, sample: np.ndarray, usual: np.ndarray) -> Array:
    """Say what is lost when each point, on all frames, is where it usually is, ``(C, P)``."""

    def changed() -> Iterator[np.ndarray]:
        for point in range(sample.shape[1]):
            one = sample.copy()
            one[:, point] = usual[:, point]
            yield one

    return lost(model, sample, changed())
