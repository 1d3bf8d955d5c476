"""Calibrate a run on its validation data: temperature, threshold, label shift, targets; and evaluate on test data."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenface.evaluation.bootstrap import Estimate, units_of
from evenface.evaluation.calibration import AT_LEAST, FILE, Calibration, error_estimates
from evenface.evaluation.formatting import signed, with_interval
from evenface.evaluation.label_shift import Corrected, Estimated, correction, estimate_prior, parse_prior
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.selective import Answered, Point, answered, check_risk, risk_coverage
from evenface.evaluation.target_calibration import (
    FEWEST,
    CalibrationChange,
    TargetCalibration,
    calibration_changes,
)
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.runs import Run
from evenface.training.class_prior import prior_of
from evenface.utils.errors import InputError


def fit(run: Run) -> Calibration | TargetCalibration | None:
    """Fit a run's calibration on its validation predictions and write it into the run folder; None if too few."""
    validation = run.validation_results
    calibration: Calibration | TargetCalibration | None = None
    if isinstance(validation, TargetPredictions):
        calibration = TargetCalibration.fit(validation) if validation.task == "multilabel" else None
    elif validation is not None and len(validation) >= AT_LEAST:
        implied = prior_of(run)
        calibration = Calibration.fit(validation, implied.prior, implied.reason, exact=implied.exact)
    if calibration is None:
        (run.folder / FILE).unlink(missing_ok=True)
    else:
        calibration.save(run.folder)
    return calibration


MAX_PRIOR_ERROR = 0.1
"""Largest error of a prior estimated on validation data, where it is known, for the estimate to be reliable."""


@dataclass(frozen=True)
class Calibrated:
    """Result of :func:`calibrate` on the test data of a run."""

    calibration: Calibration
    error: tuple[Estimate, Estimate, Estimate]
    threshold: Point | None
    answered: Answered | None
    prior: np.ndarray | None
    estimated: Estimated | None
    prior_error: float | None
    test_prior: np.ndarray
    corrected: Corrected | None
    unit: str

    @property
    def lines(self) -> list[str]:
        """Console output."""
        return [*self._fit_lines(), *self._threshold_lines(), *self._label_shift_lines()]

    def _fit_lines(self) -> list[str]:
        calibration = self.calibration
        before, after, change = self.error
        return [
            f"temperature {calibration.temperature:.3f}, fitted on {calibration.fitted_on['samples']:,} validation "
            "samples",
            f"calibration error on test data: {with_interval(before)} uncalibrated, {with_interval(after)} calibrated, "
            f"difference {_difference(change)}, over {self.unit}",
        ]

    def _threshold_lines(self) -> list[str]:
        if self.threshold is None or self.answered is None:
            return []
        point, test = self.threshold, self.answered
        by_class = zip(self.calibration.classes, test.class_coverage, strict=True)
        under = " under that prior" if self.prior is not None and self.estimated is None else ""
        return [
            f"threshold {point.threshold:.3f} on the highest probability; on validation data {point.coverage:.0%} of "
            f"samples are accepted, {point.risk:.1%} of them wrong",
            f"on test data{under}: accepted {with_interval(test.coverage)}, error rate of accepted samples "
            f"{with_interval(test.risk)}",
            "accepted by class  " + "  ".join(f"{name} {share:.2f}" for name, share in by_class),
        ]

    def _label_shift_lines(self) -> list[str]:
        if self.prior is None or self.corrected is None:
            return []
        calibration, lines = self.calibration, []
        if self.estimated is not None:
            state = "converged" if self.estimated.converged else "did NOT converge"
            lines.append(
                f"class prior estimated without labels: EM {state} after {self.estimated.steps:,} steps, "
                f"log-likelihood {self.estimated.log_likelihood[-1]:+.4f} per sample"
            )
            lines += self._estimate_check_lines()
        accuracy = "accuracy" if self.estimated is not None else "accuracy under that prior"
        lines += [
            f"class prior      {_by_class(calibration.classes, self.prior)}",
            f"implied prior    {_by_class(calibration.classes, calibration.prior)}, from {calibration.prior_said}",
        ]
        for name, (before, after, change) in (
            (accuracy, self.corrected.accuracy),
            ("balanced accuracy", self.corrected.balanced_accuracy),
        ):
            lines.append(
                f"{name} {with_interval(before)} uncorrected, {with_interval(after)} corrected, "
                f"difference {_difference(change)}"
            )
        return lines

    def _estimate_check_lines(self) -> list[str]:
        """Report the error of the estimate where the class frequencies are known."""
        lines = [f"test data        {_by_class(self.calibration.classes, self.test_prior)}"]
        if self.prior_error is not None:
            reliable = self.prior_error <= MAX_PRIOR_ERROR
            warning = "" if reliable else f": more than {MAX_PRIOR_ERROR:g}, do NOT rely on the estimate"
            lines.append(f"error of the same estimate on validation data {self.prior_error:.3f}{warning}")
        return lines


@dataclass(frozen=True)
class CalibratedTargets:
    """Result of :func:`calibrate` on the test data of a multi-label run."""

    calibration: TargetCalibration
    changes: list[CalibrationChange]
    unit: str

    @property
    def lines(self) -> list[str]:
        """Console output."""
        calibration = self.calibration
        scales = zip(calibration.names, calibration.slopes, calibration.intercepts, strict=True)
        fitted = {name: f"{name} {a:.2f} {b:+.2f}" for name, a, b in scales}
        used = [fitted[name] for name, kept in zip(calibration.names, calibration.calibrated, strict=True) if kept]
        lines = [f"slope and intercept of the logit, fitted on validation data: {', '.join(used)}"]
        lines += [
            f"{change.name}: calibration error on test data {with_interval(change.error[0])} uncalibrated, "
            f"{with_interval(change.error[1])} calibrated, difference {_difference(change.error[2])}; log loss "
            f"{with_interval(change.log_loss[0])}, {with_interval(change.log_loss[1])}, difference "
            f"{_difference(change.log_loss[2])}, over {self.unit}"
            for change in self.changes
        ]
        return [*lines, *calibration.notes]


def calibrate_targets(run: Run, *, risk: float | None = None, prior: str | None = None) -> CalibratedTargets:
    """Fit each target on validation data, evaluate on test data; ``risk`` and ``prior`` are for classes.

    Raises
    ------
    InputError
        If the run is no multi-label one or has too few validation samples, or an argument is for classes.
    """
    results = run.results
    assert isinstance(results, TargetPredictions)
    what = f"the run {run.folder} predicts {', '.join(results.names)} ({results.task})"
    for name, value in (("--max-error-rate", risk), ("--prior", prior)):
        if value is not None:
            raise InputError(f"{name} is for runs of classes; {what}", f"Leave out {name}.")
    if results.task == "regression":
        raise InputError(f"{what}: values have no probabilities to calibrate", "Calibrate a run of classes or units.")
    calibration = fit(run)
    if not isinstance(calibration, TargetCalibration):
        raise InputError(
            f"{what}: no target is in {FEWEST} validation samples and absent in as many, with a relation to its "
            "probability, so none can be calibrated",
            "Train with more validation samples: protocol.validation.",
        )
    return CalibratedTargets(calibration, calibration_changes(results, calibration), units_of(results).name)


def calibrate(run: Run, *, risk: float | None = None, prior: str | None = None, **options: Any) -> Calibrated:
    """Fit on validation data, evaluate on test data.

    Parameters
    ----------
    run : Run
        With validation predictions.
    risk : float, optional
        Maximum error rate of accepted samples, 0 to 1; a threshold on the highest probability is found for it.
    prior : str, optional
        Class prior to correct for: ``estimate`` for that of the test data, by EM without its labels; ``uniform``; or a
        share of every class as :func:`evenface.evaluation.label_shift.parse_prior` reads them.
    **options
        ``seed``, ``resamples`` of the bootstrap.

    Raises
    ------
    InputError
        If there are too few validation samples, a value is invalid, or no threshold has that error rate.
    """
    if risk is not None:
        check_risk(risk)
    if prior not in (None, "estimate"):
        parse_prior(prior, run.facts["classes"])
    validation, calibration = run.validation, fit(run)
    if validation is None or not isinstance(calibration, Calibration):
        number = 0 if validation is None else len(validation)
        raise InputError(
            f"the run {run.folder} has {number} validation samples; calibration needs {AT_LEAST}",
            "Train with protocol.validation=0.1.",
        )
    test = run.predictions
    calibrated = calibration.predictions(test)
    target, estimated = _target_prior(calibration, test, prior)
    test_prior = test.support / len(test)
    # An estimated prior is that of the test data, so these are evaluated as they are.
    evaluated_prior = test_prior if target is None or estimated is not None else target
    point = accepted = None
    if risk is not None:
        point = _threshold(calibration, validation, risk, target)
        weights = None if target is None else _weights(test, evaluated_prior)
        accepted = answered(calibration.predictions(test, target), point.threshold, weights=weights, **options)
    corrected = None
    if target is not None:
        corrected = correction(calibrated, calibration.predictions(test, target), evaluated_prior, **options)
    return Calibrated(
        calibration,
        error_estimates(test, calibrated, **options),
        point,
        accepted,
        target,
        estimated,
        None if estimated is None else _prior_error(calibration, validation),
        test_prior,
        corrected,
        units_of(test).name,
    )


def _target_prior(
    calibration: Calibration, test: Predictions, prior: str | None
) -> tuple[np.ndarray | None, Estimated | None]:
    """Parse or estimate the class prior to correct for."""
    if prior is None:
        return None, None
    if prior == "estimate":
        estimated = estimate_prior(calibration.shifted(test.probabilities, test.scores), calibration.prior)
        return estimated.prior, estimated
    return parse_prior(prior, calibration.classes), None


def _prior_error(calibration: Calibration, validation: Predictions) -> float:
    """Compute the total variation distance of the prior estimated on validation data from the known one."""
    shifted = calibration.shifted(validation.probabilities, validation.scores)
    estimate = estimate_prior(shifted, calibration.prior).prior
    return float(np.abs(estimate - validation.support / len(validation)).sum() / 2)


def _threshold(calibration: Calibration, validation: Predictions, risk: float, prior: np.ndarray | None) -> Point:
    """Find the threshold on validation data, weighted to the prior that is corrected for."""
    predictions = calibration.predictions(validation, prior)
    weights = None if prior is None else _weights(predictions, prior)
    correct = predictions.predicted == predictions.labels
    curve = risk_coverage(predictions.probabilities.max(axis=1), correct, weights)
    point = curve.at_risk(risk)
    if point is None:
        raise InputError(
            f"no threshold has an error rate of {risk:g} or less: the lowest on validation data is "
            f"{np.nanmin(curve.risk):.3f}",
            "Accept a higher error rate.",
        )
    return point


def _weights(predictions: Predictions, prior: np.ndarray) -> np.ndarray:
    """Compute sample weights under which classes have the shares ``prior``, ``(N,)``."""
    share = predictions.support / len(predictions)
    if ((share == 0) & (prior > 0)).any():
        name = predictions.classes[int(np.argmax((share == 0) & (prior > 0)))]
        raise InputError(
            f"no sample is of class {name}, so that class prior cannot be evaluated", f"Set the share of {name} to 0."
        )
    by_class = np.divide(prior, share, out=np.zeros(len(share)), where=share > 0)
    weights: np.ndarray = by_class[predictions.labels]
    return weights


def _difference(change: Estimate) -> str:
    if math.isnan(change.low):
        return signed(change.value)
    return f"{signed(change.value)} [{signed(change.low)}, {signed(change.high)}]"


def _by_class(classes: tuple[str, ...], shares: np.ndarray) -> str:
    return "  ".join(f"{name} {share:.3f}" for name, share in zip(classes, shares, strict=True))
