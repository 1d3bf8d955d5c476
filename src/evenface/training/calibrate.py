"""Calibration of a run: what is fitted on its validation data, and what that does to its test data."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenface.evaluation.bootstrap import Estimate, units_of
from evenface.evaluation.calibration import AT_LEAST, FILE, Calibration, error_estimates
from evenface.evaluation.formatting import signed, with_interval
from evenface.evaluation.label_shift import Corrected, Estimated, correction, estimate_prior, parse_prior
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.selective import Answered, Point, answered, risk_coverage
from evenface.runs import Run
from evenface.training.class_prior import prior_of
from evenface.utils.errors import InputError


def validation_of(run: Run) -> Predictions | None:
    """Predictions of the validation samples; none where nothing validates."""
    return run.validation


def fit(run: Run) -> Calibration | None:
    """Fit a run's calibration on its validation predictions, and write it into its folder."""
    validation = validation_of(run)
    if validation is None or len(validation) < AT_LEAST:
        (run.folder / FILE).unlink(missing_ok=True)
        return None
    implied = prior_of(run)
    found = Calibration.fit(validation, implied.prior, implied.reason, exact=implied.exact)
    found.save(run.folder)
    return found


TRUSTED = 0.1
"""An estimate of a balance that misses the known one of the validation data by more is not to be relied on."""


@dataclass(frozen=True)
class Calibrated:
    """What :func:`calibrate` found on the test data of a run."""

    calibration: Calibration
    error: tuple[Estimate, Estimate, Estimate]
    threshold: Point | None
    answered: Answered | None
    prior: np.ndarray | None
    estimated: Estimated | None
    missed: float | None
    own: np.ndarray
    corrected: Corrected | None
    unit: str

    @property
    def lines(self) -> list[str]:
        """The screen."""
        return [*self._fitted(), *self._abstaining(), *self._correcting()]

    def _fitted(self) -> list[str]:
        own = self.calibration
        first, second, change = self.error
        return [
            f"temperature {own.temperature:.3f}, fitted on {own.fitted_on['samples']:,} validation samples",
            f"calibration error on test data {with_interval(first)}, calibrated {with_interval(second)}, "
            f"difference {_difference(change)}, over {self.unit}",
        ]

    def _abstaining(self) -> list[str]:
        if self.threshold is None or self.answered is None:
            return []
        point, found = self.threshold, self.answered
        each = zip(self.calibration.classes, found.class_coverage, strict=True)
        where = " at that balance" if self.prior is not None and self.estimated is None else ""
        return [
            f"answer from a probability of {point.threshold:.3f} on: in validation {point.coverage:.0%} are answered, "
            f"{point.risk:.1%} of them wrong",
            f"on test data{where} answered {with_interval(found.coverage)}, wrong of these {with_interval(found.risk)}",
            "answered of each class  " + "  ".join(f"{name} {share:.2f}" for name, share in each),
        ]

    def _correcting(self) -> list[str]:
        if self.prior is None or self.corrected is None:
            return []
        own, lines = self.calibration, []
        if self.estimated is not None:
            state = "converged" if self.estimated.converged else "did NOT converge"
            lines.append(
                f"balance estimated without labels: EM {state} after {self.estimated.steps:,} steps, log-likelihood "
                f"{self.estimated.log_likelihood[-1]:+.4f} per sample"
            )
            lines += self._checked()
        where = "accuracy" if self.estimated is not None else "accuracy at that balance"
        lines += [
            f"balance          {_named(own.classes, self.prior)}",
            f"trained for      {_named(own.classes, own.prior)}, by {own.prior_said}",
        ]
        for name, sides in ((where, self.corrected.accuracy), ("balanced accuracy", self.corrected.balanced_accuracy)):
            lines.append(
                f"{name} {with_interval(sides[0])}, corrected {with_interval(sides[1])}, "
                f"difference {_difference(sides[2])}"
            )
        return lines

    def _checked(self) -> list[str]:
        """Say how well the estimate does where the balance is known."""
        lines = [f"test data's own  {_named(self.calibration.classes, self.own)}"]
        if self.missed is not None:
            trust = f": more than {TRUSTED:g}, do NOT rely on the estimate" if self.missed > TRUSTED else ""
            lines.append(f"the same estimate on validation data misses their balance by {self.missed:.3f}{trust}")
        return lines


def calibrate(run: Run, *, risk: float | None = None, prior: str | None = None, **options: Any) -> Calibrated:
    """Fit on validation data, judge on test data.

    Parameters
    ----------
    run : Run
        With validation predictions.
    risk : float, optional
        Share of wrong answers that is borne, 0 to 1: a threshold is found for it.
    prior : str, optional
        ``estimate`` for the balance of the test data, by EM without its labels; ``uniform``; or a share of every class
        as :func:`evenface.evaluation.label_shift.parse_prior` reads them.
    **options
        ``seed``, ``resamples`` of the bootstrap.

    Raises
    ------
    InputError
        If too few samples validate, a given value cannot be, or no threshold keeps the risk.
    """
    validation = validation_of(run)
    found = fit(run)
    if validation is None or found is None:
        number = 0 if validation is None else len(validation)
        raise InputError(
            f"the run {run.folder} has {number} validation samples; calibration needs {AT_LEAST}",
            "Train with protocol.validation=0.1.",
        )
    test = run.predictions
    plain = found.predictions(test)
    aimed, estimated = _aimed(found, test, prior)
    own = test.support / len(test)
    judged = own if aimed is None or estimated is not None else aimed
    point = told = None
    if risk is not None:
        point = _threshold(found, validation, risk, aimed)
        weights = None if aimed is None else _weights(test, judged)
        told = answered(found.predictions(test, aimed), point.threshold, weights=weights, **options)
    return Calibrated(
        found,
        error_estimates(test, plain, **options),
        point,
        told,
        aimed,
        estimated,
        None if estimated is None else _missed(found, validation),
        own,
        None if aimed is None else correction(plain, found.predictions(test, aimed), judged, **options),
        units_of(test).name,
    )


def _aimed(found: Calibration, test: Predictions, prior: str | None) -> tuple[np.ndarray | None, Estimated | None]:
    """Read or estimate the balance that is corrected for."""
    if prior is None:
        return None, None
    if prior == "estimate":
        estimated = estimate_prior(found.shifted(test.probabilities, test.scores), found.prior)
        return estimated.prior, estimated
    return parse_prior(prior, found.classes), None


def _missed(found: Calibration, validation: Predictions) -> float:
    """Estimate the balance of the validation samples, which is known, and say by how much that misses."""
    again = estimate_prior(found.shifted(validation.probabilities, validation.scores), found.prior).prior
    return float(np.abs(again - validation.support / len(validation)).sum() / 2)


def _threshold(found: Calibration, validation: Predictions, risk: float, prior: np.ndarray | None) -> Point:
    """Find the threshold on validation data, whose classes count by the balance that is aimed at."""
    said = found.predictions(validation, prior)
    weights = None if prior is None else _weights(said, prior)
    curve = risk_coverage(said.probabilities.max(axis=1), said.predicted == said.labels, weights)
    point = curve.at_risk(risk)
    if point is None:
        raise InputError(
            f"no threshold keeps the risk to {risk:g}: the lowest on validation data is {np.nanmin(curve.risk):.3f}",
            "Bear a larger risk.",
        )
    return point


def _weights(given: Predictions, prior: np.ndarray) -> np.ndarray:
    """Weigh samples so that classes have the shares ``prior``, ``(N,)``."""
    share = given.support / len(given)
    if ((share == 0) & (prior > 0)).any():
        name = given.classes[int(np.argmax((share == 0) & (prior > 0)))]
        raise InputError(f"no sample is of {name}: nothing can be said of that balance", f"Give {name} a share of 0.")
    by_class = np.divide(prior, share, out=np.zeros(len(share)), where=share > 0)
    weights: np.ndarray = by_class[given.labels]
    return weights


def _difference(change: Estimate) -> str:
    if math.isnan(change.low):
        return signed(change.value)
    return f"{signed(change.value)} [{signed(change.low)}, {signed(change.high)}]"


def _named(classes: tuple[str, ...], shares: np.ndarray) -> str:
    return "  ".join(f"{name} {share:.3f}" for name, share in zip(classes, shares, strict=True))
