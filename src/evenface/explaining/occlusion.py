"""What is lost when something is left out: it asks a model and needs no gradients."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from evenface.explaining.base import Array
from evenface.explaining.removing import frames_held
from evenface.serving.model import Model

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
    """Say what each class loses by each change.

    Parameters
    ----------
    model : Model
        Who is asked.
    sample : ndarray
        One, as a store holds it.
    changed : iterable of ndarray
        The sample with something left out, K times.

    Returns
    -------
    ndarray of shape (C, K)
        In units of the logarithm of the probability (or of the odds, where each class is judged by itself): above 0
        where what was left out speaks for the class.
    """
    whole = class_scores(model.scores(sample[None]), one_vs_rest=model.one_vs_rest)[0]
    found = np.stack([class_scores(one[None], one_vs_rest=model.one_vs_rest)[0] for one in asked(model, changed)])
    return np.asarray((whole - found).T)


def map_by_occlusion(model: Model, sample: np.ndarray, without: np.ndarray, places: int = PLACES) -> Array:
    """Say what is lost when a square about each place is blurred, on all frames at once, ``(C, places, places)``.

    Parameters
    ----------
    model : Model
        Who is asked.
    sample : ndarray of shape (T, H, W, channels), uint8
        One.
    without : ndarray
        The same with all left out.
    places : int
        On each side. A square is twice as wide as the distance of places, so that squares overlap.
    """
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
