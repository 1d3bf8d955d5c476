"""Whether an explanation matters: what is said as its places, frames or points go in order, and in random orders."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evenface.evaluation.bootstrap import Estimate, percentile, resample_sums
from evenface.explanation.explanation import Array, Explanation, enlarged
from evenface.explanation.occlusion import asked, blurred, frames_held, usual_sequence
from evenface.inference.model import Model

What = Literal["places", "frames", "points"]
STEPS, ORDERS = 10, 5
SHARES = np.linspace(0, 1, STEPS + 1)
"""Shares of places, frames or points that are gone."""
ENOUGH = 6
"""Files below which there is no verdict: of fewer all may lie on one side by chance more often than once in twenty."""


@dataclass(frozen=True)
class Curves:
    """What is said of one class of one sample while more and more of it goes."""

    what: What
    deletion: Array
    insertion: Array
    random: Array

    @property
    def areas(self) -> Array:
        """Areas under the curves, 0 to 1: deletion, insertion, and the mean of deletion in random orders.

        What is put in by an order is what is left when the opposite one is taken out, so random insertion has, in the
        mean, the same area as random deletion.
        """
        return np.array([area(self.deletion), area(self.insertion), area(self.random).mean()])


def area(curve: Array) -> Array:
    """Give the area under curves over :data:`SHARES`, ``(..., S) -> (...)``, by trapezes."""
    return np.asarray((curve[..., 1:] + curve[..., :-1]).mean(axis=-1) / 2)


def check(
    model: Model,
    sample: np.ndarray,
    explanation: Explanation,
    label: int,
    *,
    orders: int = ORDERS,
    baseline: str = "blur",
    seed: int = 0,
) -> list[Curves]:
    """Take away what an explanation marks, most important first and last, and in random orders.

    Parameters
    ----------
    model : Model
        Who is asked.
    sample : ndarray of shape (T, H, W, channels), uint8, or (T, P, D), float32
        What was explained, of as many frames as the network sees.
    explanation : Explanation
        Of it.
    label : int
        The class that is looked at.
    orders : int
        Random orders, >= 1.
    baseline : {"blur", "mean"}
        What places of pictures become, see :func:`~evenface.explanation.occlusion.blurred`.
    seed : int
        Of the random orders.

    Returns
    -------
    list of Curves
        Of places, frames and points, as far as the explanation has them and there is more than one.

    Notes
    -----
    Places of a map are enlarged to the picture's size, and pixels go by their values: a random order is the same map
    with its places shuffled, as smooth as itself. A frame that is gone is the nearest that is there; the last one
    stays. A point that is gone is where it usually is.

    References
    ----------
    Petsiuk, Das and Saenko, *RISE: randomized input sampling for explanation of black-box models*, BMVC 2018.
    """
    random = np.random.default_rng(seed)
    found = []
    parts: list[tuple[What, Array | None, Removing]] = []
    if explanation.maps is not None:
        heat = explanation.maps[label].astype(np.float64)
        values = heat[None] if heat.ndim == 2 else heat
        parts.append(("places", values, Places(sample, blurred(sample, baseline))))
    if explanation.frames is not None:
        parts.append(("frames", explanation.frames[label], Frames(sample)))
    if explanation.points is not None:
        parts.append(("points", explanation.points[label], Points(sample, usual_sequence(model, sample))))
    for what, values, removing in parts:
        if values is not None and values.size > 1:
            found.append(_curves(model, what, values, removing, label, orders, random))
    return found


class Removing(ABC):
    """Samples of which a share is gone."""

    @abstractmethod
    def without(self, values: Array) -> Iterator[np.ndarray]:
        """Give the sample with each of :data:`SHARES` gone, the highest values first."""


class Places(Removing):
    """Takes places from pictures (T, H, W, channels) and puts those of ``instead`` there."""

    def __init__(self, sample: np.ndarray, instead: np.ndarray) -> None:
        self.sample, self.instead = sample, instead

    def without(self, values: Array) -> Iterator[np.ndarray]:
        """Values are of shape (T, h, w); of one frame they count for all."""
        shape = self.sample.shape[:3]
        heat = np.stack([enlarged(one, (shape[1], shape[2])) for one in values])
        order = np.argsort(-np.broadcast_to(heat, shape).ravel(), kind="stable")
        for share in SHARES:
            gone = np.zeros(order.size, dtype=bool)
            gone[order[: round(share * order.size)]] = True
            yield np.where(gone.reshape(*shape, 1), self.instead, self.sample)


class Frames(Removing):
    """Takes frames from a sample (T, ...); their neighbours stand in."""

    def __init__(self, sample: np.ndarray) -> None:
        self.sample = sample

    def without(self, values: Array) -> Iterator[np.ndarray]:
        """Values are of shape (T,)."""
        order, count = np.argsort(-values, kind="stable"), len(self.sample)
        for share in SHARES:
            kept = np.ones(count, dtype=bool)
            kept[order[: min(round(share * count), count - 1)]] = False
            yield frames_held(self.sample, kept)


class Points(Removing):
    """Takes points from a sequence (T, P, D) and puts those of ``instead`` there."""

    def __init__(self, sample: np.ndarray, instead: np.ndarray) -> None:
        self.sample, self.instead = sample, instead

    def without(self, values: Array) -> Iterator[np.ndarray]:
        """Values are of shape (P,)."""
        order = np.argsort(-values, kind="stable")
        for share in SHARES:
            changed = self.sample.copy()
            gone = order[: round(share * len(order))]
            changed[:, gone] = self.instead[:, gone]
            yield changed


def _curves(
    model: Model,
    what: What,
    values: Array,
    removing: Removing,
    label: int,
    orders: int,
    random: np.random.Generator,
) -> Curves:
    # Equal values, as many maps have where nothing speaks for a class, are put in a random order, not in that of rows.
    own = values + 1e-9 * (np.ptp(values) or 1.0) * random.random(values.shape)

    def samples() -> Iterator[np.ndarray]:
        yield from removing.without(own)
        yield from removing.without(-own)
        for _ in range(orders):
            yield from removing.without(random.permutation(own.ravel()).reshape(own.shape))

    scores = np.stack(list(asked(model, samples())))
    p = model.calibrated(scores)[:, label].reshape(2 + orders, len(SHARES))
    return Curves(what, p[0], p[1, ::-1], p[2:])


@dataclass(frozen=True)
class Faithfulness:
    """What many samples' curves say of a method of explaining.

    Parameters
    ----------
    what : {"places", "frames", "points"}
        Of what they are.
    samples, units : int
        How many, and of how many files.
    deletion, insertion, random : float
        Mean areas; see :attr:`Curves.areas`.
    lower, higher : Estimate
        What deletion is lower and insertion higher by than random orders, in the mean, with 95 % intervals over files;
        no interval of one file.
    """

    what: What
    samples: int
    units: int
    deletion: float
    insertion: float
    random: float
    lower: Estimate
    higher: Estimate

    @property
    def verdict(self) -> str:
        """Say plainly whether it matters."""
        if self.units < ENOUGH:
            few = "one file alone shows" if self.units == 1 else f"{self.units} files show"
            return f"{self.what}: {few} nothing for certain"
        better = [self.lower.low > 0, self.higher.low > 0]
        if all(better):
            return f"{self.what} that are marked matter more than random ones"
        if self.lower.high < 0 or self.higher.high < 0:
            return f"{self.what} that are marked matter LESS than random ones: do not rely on these explanations"
        if any(better):
            which, other = ("taken out", "put in") if better[0] else ("put in", "taken out")
            return (
                f"{self.what} that are marked matter more than random ones when {which}; when {other} it is not shown"
            )
        return (
            f"{self.what} that are marked are not shown to matter more than random ones: do not rely on these "
            "explanations"
        )

    def line(self) -> str:
        """Give the verdict with its figures."""
        lower, higher = (_signed(one) for one in (self.lower, self.higher))
        samples = f"{self.samples:,} sample{'s' * (self.samples != 1)}"
        files = f"{self.units:,} file{'s' * (self.units != 1)}"
        return (
            f"{self.verdict}; area under the curve: out {self.deletion:.3f}, {lower} lower than at random; "
            f"in {self.insertion:.3f}, {higher} higher; over {samples} of {files}"
        )


def _signed(one: Estimate) -> str:
    return f"{one.value:+.3f}" + ("" if np.isnan(one.low) else f" [{one.low:+.3f}, {one.high:+.3f}]")


def faithfulness(what: What, areas: Array, files: Sequence[str]) -> Faithfulness:
    """Sum up the curves of many samples.

    Parameters
    ----------
    what : {"places", "frames", "points"}
        Of what they are.
    areas : ndarray of shape (N, 3)
        See :attr:`Curves.areas`.
    files : sequence of str
        Where each sample stands: samples of one file are no independent ones.
    """
    names, codes = np.unique(np.asarray(files), return_inverse=True)
    gains = np.stack([areas[:, 2] - areas[:, 0], areas[:, 1] - areas[:, 2], np.ones(len(areas))], axis=1)
    sums = np.zeros((len(names), 3))
    np.add.at(sums, codes, gains)
    drawn: npt.NDArray[np.float64] = resample_sums(sums.astype(np.float32)).astype(np.float64)
    low, high = percentile(drawn[:, :2] / drawn[:, 2:])
    lower, higher = (Estimate(float(gains[:, i].mean()), float(low[i]), float(high[i])) for i in range(2))
    deletion, insertion, random = areas.mean(axis=0).tolist()
    return Faithfulness(what, len(areas), len(names), deletion, insertion, random, lower, higher)
