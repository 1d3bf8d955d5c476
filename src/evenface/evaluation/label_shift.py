"""Label shift: correct probabilities for another class prior, or estimate the prior of unlabelled samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evenface.evaluation import metrics
from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, percentile, resample_sums, unit_matrices, units_of
from evenface.evaluation.predictions import Predictions
from evenface.utils.errors import InputError
from evenface.utils.registry import nearest

STEPS, TOLERANCE = 10_000, 1e-9
SUM = 0.01


def with_prior(probabilities: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    r"""Correct probabilities calibrated for one class prior to another.

    .. math:: p'(y \mid x) \propto p(y \mid x) \, \frac{\pi'_y}{\pi_y}

    It assumes label shift: only the class prior differs, not the distribution of images within a class.

    Parameters
    ----------
    probabilities : array of float, shape (N, C)
        Calibrated for ``old``.
    old : array of float, shape (C,)
        The class prior implied by the probabilities; see :func:`evenface.training.class_prior.implied_prior`.
    new : array of float, shape (C,)
        The class prior to correct for.

    Returns
    -------
    array of float64, shape (N, C)
        A row without probability of any class of ``new`` becomes ``new``.

    Raises
    ------
    InputError
        If a prior does not have C values, is negative or sums to 0, or a class of ``new`` has none in ``old``.

    References
    ----------
    Saerens, Latinne and Decaestecker, *Adjusting the outputs of a classifier to new a priori probabilities*, Neural
    Computation 2002, eq. 2.4.

    Examples
    --------
    >>> with_prior(np.array([[0.75, 0.25]]), np.array([0.75, 0.25]), np.array([0.5, 0.5]))
    array([[0.5, 0.5]])
    """
    p = np.asarray(probabilities, dtype=np.float64)
    old, new = (_shares(given, p.shape[1]) for given in (old, new))
    if ((old == 0) & (new > 0)).any():
        raise InputError(
            f"class {int(np.argmax((old == 0) & (new > 0)))} has no training samples, so its prior cannot be above 0"
        )
    weighted = p * np.divide(new, old, out=np.zeros_like(new), where=old > 0)
    total = weighted.sum(axis=1, keepdims=True)
    result: np.ndarray = np.divide(weighted, total, out=np.tile(new, (len(p), 1)), where=total > 0)
    return result


@dataclass(frozen=True)
class Estimated:
    """A class prior estimated without labels."""

    prior: np.ndarray
    log_likelihood: np.ndarray
    converged: bool

    @property
    def steps(self) -> int:
        """Number of EM steps."""
        return len(self.log_likelihood) - 1


def estimate_prior(
    probabilities: np.ndarray, prior: np.ndarray, *, steps: int = STEPS, tolerance: float = TOLERANCE
) -> Estimated:
    """Estimate the class prior of unlabelled samples by expectation maximisation.

    Parameters
    ----------
    probabilities : array of float, shape (N, C)
        Calibrated for ``prior``; the estimate depends on their calibration.
    prior : array of float, shape (C,)
        The class prior implied by the probabilities; start of EM. A class of prior 0 stays at 0.
    steps : int, default=10000
        Maximum number of steps.
    tolerance : float, default=1e-9
        Convergence: no class prior changes by more.

    Returns
    -------
    Estimated

    Raises
    ------
    InputError
        If there is no sample, or the prior is not as in :func:`with_prior`.

    References
    ----------
    Saerens, Latinne and Decaestecker, *Adjusting the outputs of a classifier to new a priori probabilities*, Neural
    Computation 2002, eq. 2.9.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if not len(p):
        raise InputError("no sample to estimate a class prior from")
    old = _shares(prior, p.shape[1])
    # a class of prior 0 stays at 0
    ratio = np.divide(p, old, out=np.zeros_like(p), where=old > 0)
    now, converged = old, False
    likelihood = [_mean_log(ratio @ now)]
    for _ in range(steps):
        joint = ratio * now
        after = (joint / np.maximum(joint.sum(axis=1, keepdims=True), np.finfo(float).tiny)).mean(axis=0)
        after = after / after.sum()
        converged = bool(np.abs(after - now).max() <= tolerance)
        now = after
        likelihood.append(_mean_log(ratio @ now))
        if converged:
            break
    return Estimated(now, np.array(likelihood) - likelihood[0], converged)


def _mean_log(values: np.ndarray) -> float:
    return float(np.log(np.maximum(values, np.finfo(float).tiny)).mean())


def parse_prior(text: str, classes: Sequence[str]) -> np.ndarray:
    """Read ``happy=0.5,sad=0.3,fear=0.2``, every class once, summing to 1 (within 0.01); or ``uniform``."""
    if text.strip() == "uniform":
        return np.full(len(classes), 1 / len(classes))
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.rpartition("="))
        if name not in classes:
            raise InputError(
                f"prior: {name or part!r} is not a class of the run", nearest(name, classes) or _form(classes)
            )
        if name in shares:
            raise InputError(f"prior: duplicate class {name}")
        try:
            shares[name] = float(value)
        except ValueError:
            raise InputError(f"prior: the value of {name} is not a number: {value!r}", _form(classes)) from None
    missing = [name for name in classes if name not in shares]
    if missing:
        raise InputError(f"prior: no value for {', '.join(missing)}", _form(classes))
    values = np.array([shares[name] for name in classes], dtype=np.float64)
    if not ((values >= 0).all() and abs(values.sum() - 1) <= SUM):
        raise InputError(f"prior: values must be non-negative and sum to 1, the sum is {values.sum():g}")
    ordered: np.ndarray = values / values.sum()
    return ordered


def _form(classes: Sequence[str]) -> str:
    return f"Specify a value for every class: {','.join(f'{name}=...' for name in classes)}; or uniform; or estimate."


def _shares(given: np.ndarray, classes: int) -> np.ndarray:
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (classes,) or not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise InputError(f"a class prior must have {classes} non-negative values, not all 0, got {values.tolist()}")
    prior: np.ndarray = values / values.sum()
    return prior


def accuracy_at(matrix: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Compute the accuracy under a class prior: recalls weighted by it; ``(..., C, C) -> (...)``.

    NaN where a class of positive prior has no sample.
    """
    recall = metrics.recall(matrix)
    value: np.ndarray = np.where(prior > 0, recall * prior, 0.0).sum(axis=-1)
    return value


@dataclass(frozen=True)
class Corrected:
    """Effect of a label-shift correction on each metric: before, after, difference (after less before)."""

    accuracy: tuple[Estimate, Estimate, Estimate]
    balanced_accuracy: tuple[Estimate, Estimate, Estimate]


def correction(
    before: Predictions,
    after: Predictions,
    prior: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Corrected:
    """Compute the effect of a label-shift correction with paired intervals."""
    units = units_of(before)
    stacks = [unit_matrices(predictions, units) for predictions in (before, after)]

    def change(of: Callable[[np.ndarray], np.ndarray]) -> tuple[Estimate, Estimate, Estimate]:
        values = [float(of(stack.sum(axis=0))) for stack in stacks]
        drawn = [of(resample_sums(stack, resamples, seed)) for stack in stacks]
        sides = [*zip(values, drawn, strict=True), (values[1] - values[0], drawn[1] - drawn[0])]
        first, second, third = (Estimate(v, *(float(end) for end in percentile(d, level))) for v, d in sides)
        return first, second, third

    return Corrected(change(lambda matrix: accuracy_at(matrix, prior)), change(metrics.balanced_accuracy))
