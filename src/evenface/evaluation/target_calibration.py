"""Probability calibration of each target of a multi-label task: Platt scaling of its logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evenface.evaluation import probability_metrics as scoring
from evenface.evaluation.bootstrap import RESAMPLES, Estimate
from evenface.evaluation.calibration import FILE, Calibration, error_estimates, loss_estimates
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.utils.errors import InputError
from evenface.utils.files import read_json, write_json_with_digest

FEWEST = 10
"""Validation samples with a target, and without it, from which it is calibrated."""
NEAREST = 1e-7
"""Distance from 0 and 1 that probabilities are kept at before their logit is taken."""
STEPS = 100


def platt(scores: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    r"""Fit slope and intercept of Platt scaling by Newton's method.

    .. math:: p' = \sigma(a \, \mathrm{logit}(p) + b)

    Parameters
    ----------
    scores : array of float, shape (N,)
        Logits.
    present : array of bool, shape (N,)
        Whether the target is present. Of :math:`N_+` samples with it and :math:`N_-` without, the log loss is computed
        for the outcomes :math:`(N_+ + 1) / (N_+ + 2)` and :math:`1 / (N_- + 2)`, so that both stay finite.

    Returns
    -------
    slope, intercept : float

    References
    ----------
    Platt, *Probabilistic outputs for support vector machines*, 1999; Lin, Lin and Weng, *A note on Platt's
    probabilistic outputs for support vector machines*, Machine Learning 68, 2007.
    """
    count = int(present.sum())
    outcome = np.where(present, (count + 1) / (count + 2), 1 / (len(present) - count + 2))
    inputs = np.stack([scores, np.ones(len(scores))], axis=1)

    def loss(weights: np.ndarray) -> float:
        z = inputs @ weights
        return float((np.logaddexp(0, z) - outcome * z).sum())

    weights = np.array([0.0, np.log((count + 1) / (len(present) - count + 1))])
    for _ in range(STEPS):
        p = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (p - outcome)
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        step, length, before = np.linalg.solve(curvature, gradient), 1.0, loss(weights)
        while loss(weights - length * step) > before and length > 1e-9:
            length /= 2
        weights = weights - length * step
        if np.abs(gradient).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = 0.5 * (1 + np.tanh(logits / 2))
    return result


@dataclass(frozen=True)
class TargetCalibration:
    """Calibration of the probabilities of a multi-label run, each target by itself.

    Parameters
    ----------
    names : tuple of str
        The T targets.
    slopes, intercepts : array of float, shape (T,)
        Of Platt scaling; 1 and 0 of targets that are not calibrated.
    fitted_on : mapping of str to mapping of str to float
        Of each target ``samples`` and ``positives`` of the validation data; and of those that are calibrated
        ``log_loss`` and ``ece`` there, each ``_before`` and ``_after``.
    """

    names: tuple[str, ...]
    slopes: np.ndarray
    intercepts: np.ndarray
    fitted_on: Mapping[str, Mapping[str, float]]

    @classmethod
    def fit(cls, validation: TargetPredictions) -> TargetCalibration | None:
        """Fit every target that enough validation samples have, and enough lack; None where there is none.

        A target whose probability does not rise with how often it is present is not calibrated either.
        """
        slopes, intercepts = np.ones(len(validation.names)), np.zeros(len(validation.names))
        facts: dict[str, dict[str, float]] = {}
        for index, (name, rows) in enumerate(zip(validation.names, validation.known.T, strict=True)):
            p, present = validation.values[rows, index], validation.targets[rows, index] > 0
            positives = int(present.sum())
            facts[name] = {"samples": len(p), "positives": positives}
            if min(positives, len(p) - positives) < FEWEST:
                continue
            slope, intercept = platt(_logit(p), present)
            if slope > 0:
                slopes[index], intercepts[index] = slope, intercept
                after = _sigmoid(slope * _logit(p) + intercept)
                facts[name] |= {**_losses(p, present, "before"), **_losses(after, present, "after")}
        calibration = cls(validation.names, slopes, intercepts, facts)
        return calibration if calibration.calibrated.any() else None

    @property
    def calibrated(self) -> np.ndarray:
        """Whether each target is calibrated, bool, shape (T,)."""
        return np.array(["ece_after" in self.fitted_on[name] for name in self.names])

    @property
    def notes(self) -> list[str]:
        """A line on the targets that are not calibrated, with how many validation samples have them; or none."""
        left = [
            f"{name} ({self.fitted_on[name]['positives']:.0f} of {self.fitted_on[name]['samples']:.0f})"
            for name, kept in zip(self.names, self.calibrated, strict=True)
            if not kept
        ]
        why = f"fewer than {FEWEST} validation samples with or without it, or no relation to its probability"
        return [f"not calibrated: {', '.join(left)}: {why}"] if left else []

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Compute calibrated probabilities of uncalibrated ones, ``(..., T)``; the order of each target's stays."""
        values = np.asarray(values, dtype=np.float64)
        return np.where(self.calibrated, _sigmoid(self.slopes * _logit(values) + self.intercepts), values)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Compute uncalibrated probabilities of calibrated ones, ``(..., T)``."""
        values = np.asarray(values, dtype=np.float64)
        return np.where(self.calibrated, _sigmoid((_logit(values) - self.intercepts) / self.slopes), values)

    def predictions(self, given: TargetPredictions) -> TargetPredictions:
        """Calibrate predictions, and their thresholds with them, so that the same targets are predicted."""
        thresholds = tuple(map(float, self.apply(np.array(given.thresholds))))
        return replace(given, values=self.apply(given.values), thresholds=thresholds)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``calibration.json``."""
        scales = zip(self.names, self.slopes.tolist(), self.intercepts.tolist(), strict=True)
        return {
            "task": "multilabel",
            "targets": {n: {"slope": a, "intercept": b, **self.fitted_on[n]} for n, a, b in scales},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TargetCalibration:
        """Build from the result of :meth:`as_dict`.

        Raises
        ------
        InputError
            If a value is missing or invalid.
        """
        try:
            targets = {name: dict(entry) for name, entry in content["targets"].items()}
            slopes, intercepts = (
                np.array([entry.pop(key) for entry in targets.values()], dtype=np.float64)
                for key in ("slope", "intercept")
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"invalid calibration: {type(error).__name__} {error}") from error
        if not (len(targets) and np.isfinite(slopes).all() and np.isfinite(intercepts).all() and (slopes > 0).all()):
            raise InputError("invalid calibration: invalid slope or intercept")
        return cls(tuple(targets), slopes, intercepts, targets)

    def save(self, folder: Path) -> None:
        """Write ``calibration.json`` into a folder."""
        write_json_with_digest(folder / FILE, self.as_dict())


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, NEAREST, 1 - NEAREST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _losses(p: np.ndarray, present: np.ndarray, when: str) -> dict[str, float]:
    p = np.clip(p, NEAREST, 1 - NEAREST)
    loss = -np.where(present, np.log(p), np.log1p(-p)).mean()
    error = scoring.expected_calibration_error(scoring.reliability(p, present))
    return {f"log_loss_{when}": float(loss), f"ece_{when}": float(error)}


def calibration_from(content: Mapping[str, Any]) -> Calibration | TargetCalibration:
    """Build the calibration of classes or of targets from the content of ``calibration.json``."""
    return TargetCalibration.from_dict(content) if "targets" in content else Calibration.from_dict(content)


def load_calibration(folder: Path) -> Calibration | TargetCalibration | None:
    """Load ``calibration.json`` of a run folder, of classes or of targets; None where there is no such file.

    Raises
    ------
    InputError
        If it exists and cannot be read.
    """
    path, hint = folder / FILE, f"Recompute it: evenface evaluate {folder}"
    if not path.is_file():
        return None
    content = read_json(path, hint)
    kind = TargetCalibration if "targets" in content else Calibration
    try:
        return kind.from_dict(content)
    except InputError as error:
        raise InputError(error.message if str(path) in error.message else f"{path}: {error.message}", hint) from None


@dataclass(frozen=True)
class CalibrationChange:
    """Log loss and calibration error of a target on test data: uncalibrated, calibrated, difference; with intervals."""

    name: str
    log_loss: tuple[Estimate, Estimate, Estimate]
    error: tuple[Estimate, Estimate, Estimate]


def calibration_changes(
    test: TargetPredictions, calibration: TargetCalibration, *, seed: int = 0, resamples: int = RESAMPLES
) -> list[CalibrationChange]:
    """Estimate what calibration changes on test data, for each calibrated target that is known there.

    ``seed`` and ``resamples`` are those of :func:`~evenface.evaluation.calibration.error_estimates`.
    """
    after = calibration.predictions(test)
    changes = []
    for index in np.flatnonzero(calibration.calibrated):
        rows = test.known[:, index]
        if rows.any():
            one, other = (_binary(each.take(rows), int(index)) for each in (test, after))
            loss = loss_estimates(one, other, scoring.log_loss, seed=seed, resamples=resamples)
            error = error_estimates(one, other, of="classes", seed=seed, resamples=resamples)
            changes.append(CalibrationChange(test.names[index], loss, error))
    return changes


def _binary(predictions: TargetPredictions, index: int) -> Predictions:
    """Return one target as two classes: absent and present."""
    p, labels = predictions.values[:, index], predictions.targets[:, index].astype(np.int64)
    both = np.stack([1 - p, p], axis=1)
    return Predictions(
        predictions.sample, predictions.subject, labels, both, ("absent", "present"), clip=predictions.clip
    )
