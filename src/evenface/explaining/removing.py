"""Samples without something: blurred pictures, frames that stand still, points where they usually are."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from evenface.errors import InputError
from evenface.serving.model import Model

BLUR = 0.12
"""Deviation of the blur, as a share of a picture's side."""
MOST = 2000
"""Sequences that the usual one is the mean of, at most."""


def blurred(sample: np.ndarray, baseline: str = "blur") -> np.ndarray:
    """Take everything out of pictures that is smaller than a face.

    Parameters
    ----------
    sample : ndarray of shape (T, H, W, channels), uint8
        Pictures.
    baseline : {"blur", "mean"}
        A Gaussian blur of deviation :data:`BLUR`; or the mean colour of each frame.
    """
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
    """Put the nearest frame that is kept, the earlier of two, in place of each that is not, ``(T, ...)``.

    Raises
    ------
    ValueError
        If none is kept.
    """
    there = np.flatnonzero(kept)
    if not len(there):
        raise ValueError("at least one frame must be kept")
    nearest = np.abs(np.arange(len(sample))[:, None] - there).argmin(axis=1)
    return np.asarray(sample[there[nearest]])


def usual_sequence(model: Model, sample: np.ndarray) -> np.ndarray:
    """Give the sequence that is taken where nothing shall be said, ``(T, P, D)``.

    Parameters
    ----------
    model : Model
        Whose run says where its prepared sequences lie.
    sample : ndarray of shape (T, P, D)
        The one that is explained.

    Returns
    -------
    ndarray
        The mean of the run's prepared sequences; where they are gone, or the model has no run, the sample's own mean
        over time.

    Raises
    ------
    InputError
        If there are no such sequences, and the sample has one frame only.
    """
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
