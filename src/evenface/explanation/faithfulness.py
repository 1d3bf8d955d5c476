"""Faithfulness of explanations: deletion and insertion curves, compared with a random baseline."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evenface.evaluation.bootstrap import Estimate, percentile, resample_sums
from evenface.explanation.explanation import Array, Explanation
from evenface.explanation.occlusion import baseline_image, baseline_sequence, replace_frames, score_samples
from evenface.inference.model import Model
from evenface.reporting.saliency import enlarged

Unit = Literal["places", "frames", "attention", "points"]
UNITS: dict[str, str] = {
    "places": "image regions",
    "frames": "frames",
    "attention": "frames by attention",
    "points": "points",
}
"""What is perturbed, as in files, and its name for display."""
STEPS, ORDERS = 10, 5
FRACTIONS = np.linspace(0, 1, STEPS + 1)
"""Fractions of regions, frames or points that are perturbed."""
MIN_FILES = 6
"""Number of files from which there is a verdict: of fewer, all differences have the same sign by chance in over 5 %."""


@dataclass(frozen=True)
class Curves:
    """Probability of one class of one sample against the fraction that is deleted or inserted.

    Parameters
    ----------
    what : {"places", "frames", "attention", "points"}
        What is perturbed.
    deletion, insertion : ndarray of shape (S,)
        Probabilities at :data:`FRACTIONS`.
    random : ndarray of shape (R, S)
        Deletion in R random orders.
    """

    what: Unit
    deletion: Array
    insertion: Array
    random: Array

    @property
    def areas(self) -> Array:
        """Areas under the curves, 0 to 1: deletion, insertion, and the mean of random deletion.

        Inserting in one order is deleting in the reverse order, so random insertion has the same expected area as
        random deletion.
        """
        return np.array([area(self.deletion), area(self.insertion), area(self.random).mean()])


def area(curve: Array) -> Array:
    """Compute the area under curves over :data:`FRACTIONS`, ``(..., S) -> (...)``, by the trapezoidal rule."""
    return np.asarray((curve[..., 1:] + curve[..., :-1]).mean(axis=-1) / 2)


def deletion_insertion(
    model: Model,
    sample: np.ndarray,
    explanation: Explanation,
    label: int,
    *,
    orders: int = ORDERS,
    baseline: str = "blur",
    seed: int = 0,
) -> list[Curves]:
    """Compute deletion and insertion curves of an explanation and of random orders.

    Parameters
    ----------
    model : Model
        The model.
    sample : ndarray of shape (T, H, W, channels), uint8, or (T, P, D), float32
        The explained sample, with as many frames as the network takes.
    explanation : Explanation
        Its explanation.
    label : int
        Index of the class.
    orders : int
        Number of random orders, >= 1.
    baseline : {"blur", "mean"}
        What replaces deleted image regions, see :func:`~evenface.explanation.occlusion.baseline_image`.
    seed : int
        Seed of the random orders.

    Returns
    -------
    list of Curves
        For image regions, frames, frames in the order of attention, and points; where there are more than one.

    Notes
    -----
    Saliency maps are enlarged to the image size, and pixels are deleted in the order of their saliency. A random order
    is the same map with its cells shuffled, so it is equally smooth. A deleted frame is replaced by the nearest
    remaining one; the last one remains. A deleted point is replaced by the baseline sequence. The baseline image of a
    person, the first frame of a sample, is never deleted.

    References
    ----------
    Petsiuk, Das and Saenko, *RISE: randomized input sampling for explanation of black-box models*, BMVC 2018.
    """
    random, shown = np.random.default_rng(seed), model.input_spec.shown(sample)
    parts: list[tuple[Unit, Array, Perturbation]] = []
    if explanation.maps is not None:
        saliency = explanation.maps[label].astype(np.float64)
        values = saliency[None] if saliency.ndim == 2 else saliency
        parts.append(("places", values, RegionPerturbation(shown, baseline_image(shown, baseline))))
    if explanation.frames is not None:
        parts.append(("frames", explanation.frames[label], FramePerturbation(shown)))
    if explanation.attention is not None:
        parts.append(("attention", explanation.attention, FramePerturbation(shown)))
    if explanation.points is not None:
        perturbation = PointPerturbation(sample, baseline_sequence(model, sample))
        parts.append(("points", explanation.points[label], perturbation))
    return [
        _curves(model, what, values, perturbation, sample[: len(sample) - len(shown)], label, orders, random)
        for what, values, perturbation in parts
        if values.size > 1
    ]


class Perturbation(ABC):
    """Deletion of a fraction of a sample."""

    @abstractmethod
    def deleted(self, values: Array) -> Iterator[np.ndarray]:
        """Iterate over the sample with each of :data:`FRACTIONS` deleted, highest values first."""


class RegionPerturbation(Perturbation):
    """Replaces regions of frames (T, H, W, channels) by those of a baseline."""

    def __init__(self, sample: np.ndarray, baseline: np.ndarray) -> None:
        self.sample, self.baseline = sample, baseline

    def deleted(self, values: Array) -> Iterator[np.ndarray]:
        """Delete pixels in the order of maps (T, h, w), or of one map (1, h, w) for all frames."""
        shape = self.sample.shape[:3]
        saliency = np.stack([enlarged(each, (shape[1], shape[2])) for each in values])
        order = np.argsort(-np.broadcast_to(saliency, shape).ravel(), kind="stable")
        for fraction in FRACTIONS:
            mask = np.zeros(order.size, dtype=bool)
            mask[order[: round(fraction * order.size)]] = True
            yield np.where(mask.reshape(*shape, 1), self.baseline, self.sample)


class FramePerturbation(Perturbation):
    """Replaces frames of a sample (T, ...) by their nearest remaining neighbours."""

    def __init__(self, sample: np.ndarray) -> None:
        self.sample = sample

    def deleted(self, values: Array) -> Iterator[np.ndarray]:
        """Delete frames in the order of values (T,)."""
        order, count = np.argsort(-values, kind="stable"), len(self.sample)
        for fraction in FRACTIONS:
            kept = np.ones(count, dtype=bool)
            kept[order[: min(round(fraction * count), count - 1)]] = False
            yield replace_frames(self.sample, kept)


class PointPerturbation(Perturbation):
    """Replaces points of a sequence (T, P, D) by those of a baseline."""

    def __init__(self, sample: np.ndarray, baseline: np.ndarray) -> None:
        self.sample, self.baseline = sample, baseline

    def deleted(self, values: Array) -> Iterator[np.ndarray]:
        """Delete points in the order of values (P,)."""
        order = np.argsort(-values, kind="stable")
        for fraction in FRACTIONS:
            changed = self.sample.copy()
            indices = order[: round(fraction * len(order))]
            changed[:, indices] = self.baseline[:, indices]
            yield changed


def _curves(
    model: Model,
    what: Unit,
    values: Array,
    perturbation: Perturbation,
    person: np.ndarray,
    label: int,
    orders: int,
    random: np.random.Generator,
) -> Curves:
    # Ties, as in maps without evidence for a class, are broken at random, not by position.
    ranked = values + 1e-9 * (np.ptp(values) or 1.0) * random.random(values.shape)

    def samples() -> Iterator[np.ndarray]:
        yield from perturbation.deleted(ranked)
        yield from perturbation.deleted(-ranked)
        for _ in range(orders):
            yield from perturbation.deleted(random.permutation(ranked.ravel()).reshape(ranked.shape))

    scores = np.stack(list(score_samples(model, (np.concatenate([person, each]) for each in samples()))))
    p = model.calibrated(scores)[:, label].reshape(2 + orders, len(FRACTIONS))
    return Curves(what, p[0], p[1, ::-1], p[2:])


@dataclass(frozen=True)
class Faithfulness:
    """Comparison of explanations with random orders, over many samples.

    Parameters
    ----------
    what : {"places", "frames", "attention", "points"}
        What is perturbed.
    samples, files : int
        Number of samples, and of the files they come from.
    deletion, insertion, random : float
        Mean areas under the curves; see :attr:`Curves.areas`.
    deletion_gain, insertion_gain : Estimate
        Mean difference from random orders, positive where the explanation is better (a smaller deletion area, a larger
        insertion area), with 95 % bootstrap intervals over files; NaN bounds for one file.
    """

    what: Unit
    samples: int
    files: int
    deletion: float
    insertion: float
    random: float
    deletion_gain: Estimate
    insertion_gain: Estimate

    @property
    def verdict(self) -> str:
        """Conclusion in one sentence."""
        name = UNITS[self.what]
        if self.files < MIN_FILES:
            count = "one file is" if self.files == 1 else f"{self.files} files are"
            return f"{name}: {count} too few for a conclusion"
        better = [self.deletion_gain.low > 0, self.insertion_gain.low > 0]
        if all(better):
            return f"salient {name} affect the prediction more than random ones"
        if self.deletion_gain.high < 0 or self.insertion_gain.high < 0:
            return f"salient {name} affect the prediction LESS than random ones: do not rely on these explanations"
        if any(better):
            which, other = ("deletion", "insertion") if better[0] else ("insertion", "deletion")
            return f"salient {name} affect the prediction more than random ones by {which}, but not clearly by {other}"
        return (
            f"no evidence that salient {name} affect the prediction more than random ones: do not rely on these "
            "explanations"
        )

    def line(self) -> str:
        """Return the verdict with its figures."""
        deletion, insertion = (_signed(gain) for gain in (self.deletion_gain, self.insertion_gain))
        samples = f"{self.samples:,} sample{'s' * (self.samples != 1)}"
        files = f"{self.files:,} file{'s' * (self.files != 1)}"
        return (
            f"{self.verdict}; area under the curve: deletion {self.deletion:.3f}, {deletion} better than random; "
            f"insertion {self.insertion:.3f}, {insertion} better; over {samples} of {files}"
        )


def _signed(gain: Estimate) -> str:
    return f"{gain.value:+.3f}" + ("" if np.isnan(gain.low) else f" [{gain.low:+.3f}, {gain.high:+.3f}]")


def faithfulness(what: Unit, areas: Array, files: Sequence[str]) -> Faithfulness:
    """Compare the areas under the curves of many samples with those of random orders.

    Parameters
    ----------
    what : {"places", "frames", "attention", "points"}
        What is perturbed.
    areas : ndarray of shape (N, 3)
        See :attr:`Curves.areas`.
    files : sequence of str
        File of each sample, the unit of resampling: samples of one file are not independent.
    """
    names, codes = np.unique(np.asarray(files), return_inverse=True)
    gains = np.stack([areas[:, 2] - areas[:, 0], areas[:, 1] - areas[:, 2], np.ones(len(areas))], axis=1)
    sums = np.zeros((len(names), 3))
    np.add.at(sums, codes, gains)
    resampled: npt.NDArray[np.float64] = resample_sums(sums.astype(np.float32)).astype(np.float64)
    low, high = percentile(resampled[:, :2] / resampled[:, 2:])
    deletion_gain, insertion_gain = (
        Estimate(float(gains[:, i].mean()), float(low[i]), float(high[i])) for i in range(2)
    )
    deletion, insertion, random = areas.mean(axis=0).tolist()
    return Faithfulness(what, len(areas), len(names), deletion, insertion, random, deletion_gain, insertion_gain)
