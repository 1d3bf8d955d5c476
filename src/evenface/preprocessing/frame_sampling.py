"""Frame sampling of clips and sequences: pure functions of how many frames there are."""

import numpy as np
import numpy.typing as npt

from evenface.config.recipe import FrameSampler

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


def sample_frames(sampler: FrameSampler, count: int) -> list[Indices]:
    """Return the frames of each sample of a clip of ``count`` >= 1 frames, each of shape (T,)."""
    if sampler.sampling == "uniform":
        return [uniform(count, sampler.stored)]
    if sampler.sampling == "stride":
        return [stride(count, sampler.stored, sampler.stride)]
    return windows(count, sampler.stored, sampler.stride)


def uniform(count: int, frames: int) -> Indices:
    """Return the middle frame of each of ``frames`` equal segments.

    Examples
    --------
    >>> uniform(12, 3), uniform(1, 3)
    (array([ 2,  6, 10]), array([0, 0, 0]))
    """
    return (2 * np.arange(frames, dtype=np.int64) + 1) * count // (2 * frames)


def stride(count: int, frames: int, step: int) -> Indices:
    """Return ``frames`` frames at a fixed stride, centred in the clip.

    Examples
    --------
    >>> stride(12, 3, 2), stride(2, 4, 1)
    (array([3, 5, 7]), array([0, 0, 1, 1]))
    """
    first = (count - 1 - (frames - 1) * step) // 2
    return (first + step * np.arange(frames, dtype=np.int64)).clip(0, count - 1)


def windows(count: int, frames: int, step: int) -> list[Indices]:
    """Return consecutive windows, each of ``frames`` frames at a fixed stride.

    Examples
    --------
    >>> windows(9, 2, 2), windows(2, 3, 1)
    ([array([0, 2]), array([4, 6])], [array([0, 1, 1])])
    """
    sampled = np.arange(0, count, step, dtype=np.int64)
    complete = len(sampled) // frames
    if not complete:
        return [np.append(sampled, np.full(frames - len(sampled), sampled[-1]))]
    return list(sampled[: complete * frames].reshape(complete, frames))


def sample_positions(
    count: int, frames: int, sampling: str = "uniform", padding: str = "interpolate"
) -> npt.NDArray[np.float64]:
    """Return the positions in a sequence at which frames are sampled.

    Parameters
    ----------
    count : int
        Frames that there are, >= 1.
    frames : int
        Frames to sample, >= 1.
    sampling : {"uniform", "paper"}
        ``uniform``: the middles of equal segments. ``paper``: frame ``N - (P - h) K`` for h = 1 ... P, counted from 1,
        with ``K = floor(N / P)``: the last frame and every K-th before it.
    padding : {"interpolate", "repeat"}
        Sequences with fewer frames: ``interpolate`` spaces positions evenly from the first to the last frame, so that
        they are between frames. ``repeat``: ``paper`` then has K = 0 and repeats the last frame only; ``uniform`` uses
        each frame once and then repeats the last one.

    Returns
    -------
    ndarray of shape (frames,), float64
        From 0, in increasing order; whole numbers unless frames are interpolated.

    References
    ----------
    ``paper``: equations 1 and 2 of the paper of the recipes p5.

    Examples
    --------
    >>> sample_positions(25, 4, "paper"), sample_positions(3, 5), sample_positions(3, 5, "uniform", "repeat")
    (array([ 6., 12., 18., 24.]), array([0. , 0.5, 1. , 1.5, 2. ]), array([0., 1., 2., 2., 2.]))
    """
    if count < frames and padding == "interpolate":
        return np.linspace(0, count - 1, frames)
    if sampling == "paper":
        return np.asarray(count - 1 - np.arange(frames)[::-1] * (count // frames), dtype=np.float64)
    if count < frames:
        return np.arange(frames, dtype=np.float64).clip(0, count - 1)
    return uniform(count, frames).astype(np.float64)


def required_frames(where: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the frames needed to interpolate at some positions, in order."""
    return np.unique(np.concatenate([np.floor(where), np.ceil(where)])).astype(np.int64)


def interpolate(values: Array, where: npt.NDArray[np.float64]) -> Array:
    """Interpolate values linearly at positions between frames; (N, P, D) becomes (frames, P, D)."""
    low = np.floor(where).astype(np.int64)
    share = (where - low).astype(np.float32)[:, None, None]
    if not share.any():
        return values[low]
    result: Array = values[low] * (1 - share) + values[np.ceil(where).astype(np.int64)] * share
    return result


def sample_sequence(sequence: Array, frames: int, sampling: str = "uniform", padding: str = "interpolate") -> Array:
    """Sample frames of a sequence.

    Parameters
    ----------
    sequence : ndarray of shape (N, P, D)
        All frames, at least one.
    frames, sampling, padding
        As in :func:`sample_positions`; or ``mean``: frame k is the mean of the frames from ``floor(k N / P)`` up to,
        but not including, ``floor((k + 1) N / P)``. With fewer frames than are sampled it is as ``uniform``.

    Returns
    -------
    ndarray of shape (frames, P, D), float32
    """
    count = len(sequence)
    if sampling == "mean" and count >= frames:
        bounds = np.arange(frames + 1) * count // frames
        sums = np.add.reduceat(sequence.astype(np.float64), bounds[:-1], axis=0)
        return np.asarray(sums / np.diff(bounds)[:, None, None], dtype=np.float32)
    return interpolate(sequence, sample_positions(len(sequence), frames, sampling, padding))


def hold_last_face(values: Array, seen: npt.NDArray[np.bool_]) -> Array:
    """Replace values of frames without a face by those of the last frame with one, or at the start of the first."""
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    return values[np.where(last < 0, int(np.argmax(seen)), last)]
