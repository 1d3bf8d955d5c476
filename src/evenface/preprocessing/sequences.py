"""What becomes of a sequence of numbers: which frames are taken, and what is kept of each."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.preprocessing.frame_sampling import check_lost, uniform
from evenface.preprocessing.landmarks import COUNTS, KINDS, NAMES, blendshapes, check_normalise, normalised
from evenface.utils.errors import InputError

Array = npt.NDArray[np.float32]
TAKES, SHORT = ("uniform", "paper", "mean"), ("interpolate", "repeat")


@dataclass(frozen=True)
class Sequencing:
    """How samples of numbers are made.

    Parameters
    ----------
    frames : int, default=10
        Frames of a sample, >= 1.
    take : {"uniform", "paper", "mean"}, default="uniform"
        See :func:`places`. ``mean``: the mean of each of equal stretches in place of one frame of it, for files of
        numbers; see :func:`sampled`.
    short : {"interpolate", "repeat"}, default="interpolate"
        The same.
    depth : bool, default=False
        Points of a face: z beside x and y.
    blendshapes : bool, default=False
        MediaPipe's points: openings and raisings in place of them, see :mod:`evenface.preprocessing.landmarks`.
    normalise : {"none", "position", "scale", "roll"}, default="none"
        See :func:`~evenface.preprocessing.landmarks.normalised`.
    lost : {"hold", "skip", "quarantine"}, default="hold"
        What becomes of frames without a face: they have the numbers of the last one with a face (at the start: of
        the first one), or are left out, or the sample is set aside.
    lost_share : float, default=0.5
        ``hold`` and ``skip``: a sample with a larger share of frames without a face is set aside; 0 to below 1.
    points : {"mesh-468", "dlib-68", "openface-aus", "features"}, default="mesh-468"
        What the numbers of a frame are.
    numbers : str, default=""
        Which numbers of a file, see :func:`~evenface.preprocessing.sequence_files.read_numbers`.
    of : {"clips", "stills", "files"}, default="clips"
        Where they are found or read. A still gives one frame.
    shape : tuple of two int, default=(468, 2)
        Points of a frame and numbers of each, (P, D), as they are stored.

    Raises
    ------
    InputError
        If a setting is out of range, or of points of a face and these are none.
    """

    frames: int = 10
    take: str = "uniform"
    short: str = "interpolate"
    depth: bool = False
    blendshapes: bool = False
    normalise: str = "none"
    lost: str = "hold"
    lost_share: float = 0.5
    points: str = "mesh-468"
    numbers: str = ""
    of: str = "clips"
    shape: tuple[int, int] = (468, 2)

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InputError(f"frames must be >= 1, got {self.frames}")
        if self.take not in TAKES or self.short not in SHORT:
            raise InputError(f"take must be one of {', '.join(TAKES)} and short one of {', '.join(SHORT)}")
        check_lost(self.lost, self.lost_share)
        if self.points not in KINDS:
            raise InputError(f"there are no points {self.points!r}", f"Known are {', '.join(KINDS)}.")
        check_normalise(self.points, self.normalise)
        if self.blendshapes and self.points != "mesh-468":
            raise InputError(
                f"data.sequences.blendshapes are measured on MediaPipe's points, and these sequences are {self.points}",
                "Set data.sequences.blendshapes=false.",
            )
        if self.depth and self.points not in COUNTS:
            raise InputError(f"data.sequences.depth: there is no z in {self.points}", "Set data.sequences.depth=false.")
        if self.of == "stills":
            object.__setattr__(self, "frames", 1)
        if self.blendshapes:
            object.__setattr__(self, "shape", (len(NAMES), 1))
        elif self.points in COUNTS:
            object.__setattr__(self, "shape", (COUNTS[self.points], 3 if self.depth else 2))
        else:
            object.__setattr__(self, "shape", tuple(self.shape))

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that decides what a sample holds, beside its file."""
        return {name: value for name, value in asdict(self).items() if name != "shape"}

    @property
    def stored(self) -> str:
        """What the points of a stored sequence are."""
        return "blendshapes" if self.blendshapes else self.points

    def made(self, values: Array) -> Array:
        """Bring the numbers of some frames, (T, P, D) with x and y in one unit, to the form that is stored."""
        if self.blendshapes:
            return blendshapes(values)
        return normalised(values[..., : self.shape[1]], self.points, self.normalise)


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
