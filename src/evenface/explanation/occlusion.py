"""Occlusion: drop of the class score when a region, frame or point is replaced; requires no gradients."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from evenface.inference.model import Model
from evenface.utils.errors import InputError

Array = npt.NDArray[np.float64]
BLUR = 0.12
"""Standard deviation of the blur, as a fraction of the image side."""
MAX_SEQUENCES = 2000
"""Maximum number of sequences that the baseline sequence is the mean of."""
GRID_SIZE = 8
"""Rows and columns of an occlusion map."""
BATCH = 32
EPSILON = 1e-6


def baseline_image(sample: np.ndarray, baseline: str = "blur", *, keep: int = 0) -> np.ndarray:
    """Return frames (T, H, W, channels) without details: blurred, or each frame's mean colour for ``mean``.

    The first ``keep`` frames stay as they are.
    """
    if baseline == "mean":
        changed = np.broadcast_to(np.rint(sample.mean(axis=(1, 2), keepdims=True)), sample.shape).astype(np.uint8)
        changed[:keep] = sample[:keep]
        return changed
    changed = sample.copy()
    blur = ImageFilter.GaussianBlur(BLUR * sample.shape[1])
    for frame in range(keep, len(sample)):
        for channel in range(sample.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(sample[frame, :, :, channel]))
            changed[frame, :, :, channel] = np.asarray(plane.filter(blur))
    return changed


def baseline_sequence(model: Model, sample: np.ndarray) -> np.ndarray:
    """Return the mean of the run's sequences, ``(T, P, D)``; without them the sample's mean over time.

    Where samples are relative to a person's baseline, the baseline itself: zeros.
    """
    if model.input_spec.baseline is not None:
        return np.zeros_like(sample)
    run: Any = getattr(model, "run", None)
    mean = None if run is None else _mean_sequence(run)
    if mean is not None and mean.shape == sample.shape:
        return mean
    if len(sample) == 1:
        raise InputError(
            "the run's prepared sequences were deleted; their mean is the baseline of the explanation",
            "Prepare the data again: evenface prepare RUN",
        )
    return np.broadcast_to(sample.mean(axis=0, keepdims=True), sample.shape)


@lru_cache(maxsize=4)
def _mean_sequence(run: Any) -> np.ndarray | None:
    """Return the mean of at most :data:`MAX_SEQUENCES` evenly spaced sequences of a run; None if they were deleted."""
    try:
        sequences = run.store.sequences
    except InputError:
        return None
    if sequences is None:
        return None
    rows = np.unique(np.linspace(0, len(sequences) - 1, min(MAX_SEQUENCES, len(sequences))).astype(np.int64))
    mean: np.ndarray = sequences[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def replace_frames(sample: np.ndarray, kept: npt.NDArray[np.bool_]) -> np.ndarray:
    """Replace each frame that is not kept by the nearest one that is, the earlier of two, ``(T, ...)``."""
    indices = np.flatnonzero(kept)
    if not len(indices):
        raise ValueError("at least one frame must be kept")
    nearest = np.abs(np.arange(len(sample))[:, None] - indices).argmin(axis=1)
    return np.asarray(sample[indices[nearest]])


def score_samples(model: Model, samples: Iterable[np.ndarray], batch: int = BATCH) -> Iterator[Array]:
    """Iterate over the scores of samples, computed in batches."""
    remaining = iter(samples)
    while chunk := list(islice(remaining, batch)):
        yield from model.scores(np.stack(chunk))


def log_scores(scores: Array, *, one_vs_rest: bool) -> Array:
    """Compute log-probabilities, or log-odds of the scores of one-vs-rest models, ``(B, C)``."""
    scores = scores.clip(EPSILON, 1 - EPSILON)
    return np.log(scores) - (np.log1p(-scores) if one_vs_rest else 0)


def evidence(model: Model, scores: Array) -> Array:
    """Return what is explained: :func:`log_scores`, log-odds of targets, or the values of a regression, ``(B, C)``."""
    if model.task == "regression":
        return scores
    return log_scores(scores, one_vs_rest=model.one_vs_rest or model.task == "multilabel")


def class_score_drop(model: Model, sample: np.ndarray, perturbed: Iterable[np.ndarray]) -> Array:
    """Compute the drop of each class score by each perturbation, ``(C, N)``."""
    original = evidence(model, model.scores(sample[None]))[0]
    scores = [evidence(model, score[None])[0] for score in score_samples(model, perturbed)]
    return np.asarray((original - np.stack(scores)).T)


def occlusion_map(model: Model, sample: np.ndarray, baseline: np.ndarray, size: int = GRID_SIZE) -> Array:
    """Compute the score drop without a square around each grid cell, on all frames at once, ``(C, size, size)``."""
    height, width = sample.shape[1:3]

    def perturbed() -> Iterator[np.ndarray]:
        for row in range(size):
            for column in range(size):
                top, bottom = _square(row, size, height)
                left, right = _square(column, size, width)
                changed = sample.copy()
                changed[:, top:bottom, left:right] = baseline[:, top:bottom, left:right]
                yield changed

    return class_score_drop(model, sample, perturbed()).reshape(-1, size, size)


def _square(index: int, size: int, length: int) -> tuple[int, int]:
    """Return the sides of a square that is twice as long as its grid cell."""
    low, high = (index - 0.5) / size * length, (index + 1.5) / size * length
    return max(0, round(low)), min(length, round(high))


def frame_importance(model: Model, sample: np.ndarray) -> Array:
    """Compute the score drop when each frame is replaced by its nearest neighbour, ``(C, T)``; 0 for one frame.

    A baseline image before the frames stays, replaces none and is not counted.
    """
    shown = model.input_spec.shown(sample)
    baseline, count = sample[: len(sample) - len(shown)], len(shown)
    if count == 1:
        return np.zeros((len(model.classes), 1))
    kept = ~np.eye(count, dtype=bool)
    return class_score_drop(model, sample, (np.concatenate([baseline, replace_frames(shown, row)]) for row in kept))


def point_importance(model: Model, sample: np.ndarray, baseline: np.ndarray) -> Array:
    """Compute the score drop when each point, on all frames, is replaced by the baseline, ``(C, P)``."""

    def perturbed() -> Iterator[np.ndarray]:
        for point in range(sample.shape[1]):
            changed = sample.copy()
            changed[:, point] = baseline[:, point]
            yield changed

    return class_score_drop(model, sample, perturbed())
