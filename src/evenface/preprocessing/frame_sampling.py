"""Which frames are taken from a clip: pure functions of how many it has."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.utils.errors import InputError

Indices = npt.NDArray[np.int64]
TAKES = ("uniform", "stride", "windows")
LOST = ("hold", "skip", "quarantine")


@dataclass(frozen=True)
class Taking:
    """How samples of frames are taken from clips.

    Parameters
    ----------
    frames : int, default=16
        Frames of a sample, >= 1.
    take : {"uniform", "stride", "windows"}, default="uniform"
        See :func:`uniform`, :func:`stride` and :func:`windows`.
    every : int, default=1
        ``stride`` and ``windows`` take every so many frames, >= 1.
    lost : {"hold", "skip", "quarantine"}, default="hold"
        What becomes of frames without a face: cropped where the face was last, left out, or the clip set aside.
    lost_share : float, default=0.5
        ``hold`` and ``skip``: a clip with a larger share of frames without a face is set aside; 0 to below 1.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    frames: int = 16
    take: str = "uniform"
    every: int = 1
    lost: str = "hold"
    lost_share: float = 0.5

    def __post_init__(self) -> None:
        if self.frames < 1 or self.every < 1:
            raise InputError(f"frames and every must be >= 1, got {self.frames} and {self.every}")
        if self.take not in TAKES:
            raise InputError(f"take must be one of {', '.join(TAKES)}")
        check_lost(self.lost, self.lost_share)

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that decides which frames are taken."""
        return asdict(self)

    def of(self, count: int) -> list[Indices]:
        """Give the frames of each sample of a clip of ``count`` >= 1 frames, each of shape (frames,)."""
        if self.take == "uniform":
            return [uniform(count, self.frames)]
        if self.take == "stride":
            return [stride(count, self.frames, self.every)]
        return windows(count, self.frames, self.every)


def check_lost(lost: str, share: float) -> None:
    """Refuse what cannot become of frames without a face, and a share of them that is out of range."""
    if lost not in LOST:
        raise InputError(f"lost must be one of {', '.join(LOST)}")
    if not 0 <= share < 1:
        raise InputError(f"lost_share must be 0 to below 1, got {share:g}")


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
