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
    """Give the middle frame of each of ``frames`` equal stretches.

    Examples
    --------
    >>> uniform(12, 3), uniform(1, 3)
    (array([ 2,  6, 10]), array([0, 0, 0]))
    """
    return (2 * np.arange(frames, dtype=np.int64) + 1) * count // (2 * frames)


def stride(count: int, frames: int, every: int) -> Indices:
    """Give ``frames`` frames, each ``every`` after the last, about the middle of the clip.

    Examples
    --------
    >>> stride(12, 3, 2), stride(2, 4, 1)
    (array([3, 5, 7]), array([0, 0, 1, 1]))
    """
    first = (count - 1 - (frames - 1) * every) // 2
    return (first + every * np.arange(frames, dtype=np.int64)).clip(0, count - 1)


def windows(count: int, frames: int, every: int) -> list[Indices]:
    """Give one window after the other, each of ``frames`` frames that are ``every`` apart.

    Examples
    --------
    >>> windows(9, 2, 2), windows(2, 3, 1)
    ([array([0, 2]), array([4, 6])], [array([0, 1, 1])])
    """
    taken = np.arange(0, count, every, dtype=np.int64)
    whole = len(taken) // frames
    if not whole:
        return [np.append(taken, np.full(frames - len(taken), taken[-1]))]
    return list(taken[: whole * frames].reshape(whole, frames))


def places(count: int, frames: int, take: str = "uniform", short: str = "interpolate") -> npt.NDArray[np.float64]:
    """Give where in a sequence the frames lie that are taken.

    Parameters
    ----------
    count : int
        Frames that there are, >= 1.
    frames : int
        Frames to take, >= 1.
    take : {"uniform", "paper"}
        ``uniform``: the middles of equal stretches. ``paper``: frame ``N - (P - h) K`` for h = 1 ... P, counted from 1,
        with ``K = floor(N / P)``: the last frame and every K-th before it.
    short : {"interpolate", "repeat"}
        Of fewer frames than are taken: ``interpolate`` spreads places evenly from the first to the last one, and
        they lie between frames. ``repeat``: ``paper`` then has K = 0 and takes the last frame alone, over and over;
        ``uniform`` takes each frame once, and then the last one again and again.

    Returns
    -------
    ndarray of shape (frames,), float64
        Counted from 0, in order; whole numbers unless frames are interpolated.

    References
    ----------
    ``paper``: equations 1 and 2 of the paper whose recipes are called p5.

    Examples
    --------
    >>> places(25, 4, "paper"), places(3, 5), places(3, 5, "uniform", "repeat")
    (array([ 6., 12., 18., 24.]), array([0. , 0.5, 1. , 1.5, 2. ]), array([0., 1., 2., 2., 2.]))
    """
    if count < frames and short == "interpolate":
        return np.linspace(0, count - 1, frames)
    if take == "paper":
        return np.asarray(count - 1 - np.arange(frames)[::-1] * (count // frames), dtype=np.float64)
    if count < frames:
        return np.arange(frames, dtype=np.float64).clip(0, count - 1)
    return uniform(count, frames).astype(np.float64)


def needed(where: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Give the frames that must be known for some places, in order."""
    return np.unique(np.concatenate([np.floor(where), np.ceil(where)])).astype(np.int64)


def at(values: Array, where: npt.NDArray[np.float64]) -> Array:
    """Give the numbers at places between frames, linearly interpolated; (N, P, D) becomes (frames, P, D)."""
    low = np.floor(where).astype(np.int64)
    share = (where - low).astype(np.float32)[:, None, None]
    if not share.any():
        return values[low]
    found: Array = values[low] * (1 - share) + values[np.ceil(where).astype(np.int64)] * share
    return found


def sampled(sequence: Array, frames: int, take: str = "uniform", short: str = "interpolate") -> Array:
    """Take frames from a sequence.

    Parameters
    ----------
    sequence : ndarray of shape (N, P, D)
        All frames, one at least.
    frames, take, short
        As in :func:`places`; or ``mean``: frame k is the mean of frames ``floor(k N / P)`` to ``floor((k + 1) N / P)``,
        the last not among them. Of fewer frames than are taken it is as ``uniform``.

    Returns
    -------
    ndarray of shape (frames, P, D), float32
    """
    count = len(sequence)
    if take == "mean" and count >= frames:
        bounds = np.arange(frames + 1) * count // frames
        sums = np.add.reduceat(sequence.astype(np.float64), bounds[:-1], axis=0)
        return np.asarray(sums / np.diff(bounds)[:, None, None], dtype=np.float32)
    return at(sequence, places(len(sequence), frames, take, short))


def held(values: Array, seen: npt.NDArray[np.bool_]) -> Array:
    """Give frames without a face the numbers of the last one with a face; before the first one, of that."""
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    return values[np.where(last < 0, int(np.argmax(seen)), last)]
