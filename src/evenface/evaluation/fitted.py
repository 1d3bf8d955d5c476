"""What was fitted on a run's validation data to make its probabilities hold, and the file that keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evenface.errors import InputError
from evenface.evaluation import scores as scoring
from evenface.evaluation.abstention import RiskCoverage, risk_coverage
from evenface.evaluation.calibration import Kind, calibrated, fit_balance, fit_temperature, tempered
from evenface.evaluation.calibration_errors import calibration_error
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.priors import with_prior
from evenface.integrity import read_json, write_sealed

FILE = "calibration.json"
AT_LEAST = 20
"""Validation samples below which a temperature is too uncertain to be of use; such a run is left as it is."""


@dataclass(frozen=True)
class Calibration:
    """How a run's probabilities are made to hold.

    Parameters
    ----------
    temperature : float
        Of probabilities that are used as they are, on a balance like that of the validation data; see
        :func:`evenface.evaluation.calibration.tempered`.
    shifted_temperature : float
        Of probabilities that are then corrected for another balance: that of the model itself, whose certainty the
        first one mixes with what a difference in balance looks like.
    of : {"probabilities", "scores"}
        What it is applied to: scores where classes were learnt one against the rest.
    classes : tuple of str
        The C classes.
    prior : array of float, shape (C,)
        The balance of classes that the probabilities imply, which a correction divides by.
    prior_said : str
        Where that balance comes from.
    exact : bool
        Whether that follows from what was trained; else it was fitted on validation data.
    curve : RiskCoverage
        Of the calibrated validation predictions, at most 201 points.
    fitted_on : mapping of str to float
        ``samples``, and ``log_loss``, ``ece`` of these each ``_before`` and ``_after``.
    """

    temperature: float
    shifted_temperature: float
    of: Kind
    classes: tuple[str, ...]
    prior: np.ndarray
    prior_said: str
    exact: bool
    curve: RiskCoverage
    fitted_on: Mapping[str, float]

    @classmethod
    def fit(cls, validation: Predictions, prior: np.ndarray, said: str, *, exact: bool) -> "Calibration":
        """Fit both temperatures.

        Parameters
        ----------
        validation : Predictions
            Of samples that the model was not trained on.
        prior, said, exact
            The balance that follows from what was trained. Where that is not exact, a balance is fitted instead.
        """
        of: Kind = "probabilities" if validation.scores is None else "scores"
        values = validation.probabilities if validation.scores is None else validation.scores
        temperature = fit_temperature(values, validation.labels, of=of)
        if exact:
            share = validation.support / len(validation)
            shift = np.divide(share, prior, out=np.zeros(len(prior)), where=prior > 0)
            shifted = fit_temperature(values, validation.labels, of=of, shift=shift)
        else:
            shifted, prior = fit_balance(values, validation.labels, of=of)
            said = f"a fit on validation data, as it does not follow from {said}"
        p = calibrated(values, temperature, of)
        facts: dict[str, float] = {"samples": len(validation)}
        for when, found in (("before", validation.probabilities), ("after", p)):
            facts[f"log_loss_{when}"] = float(scoring.log_loss(found, validation.labels).mean())
            facts[f"ece_{when}"] = calibration_error(found, validation.labels)
        curve = risk_coverage(p.max(axis=1), p.argmax(axis=1) == validation.labels).thinned()
        return cls(temperature, shifted, of, validation.classes, prior, said, exact, curve, facts)

    def apply(
        self, probabilities: np.ndarray, scores: np.ndarray | None = None, prior: np.ndarray | None = None
    ) -> np.ndarray:
        """Give calibrated probabilities ``(N, C)``; of a run with detectors, from their scores.

        Parameters
        ----------
        probabilities, scores : arrays of float, shape (N, C)
            As the run gives them.
        prior : array of float, shape (C,), optional
            The balance of classes to correct for.

        Raises
        ------
        InputError
            If the temperature is one of scores and there are none, or the balance cannot be.
        """
        values = probabilities if self.of == "probabilities" else scores
        if values is None:
            raise InputError("this run was calibrated by its detectors' scores, and there are none")
        if prior is None:
            return calibrated(values, self.temperature, self.of)
        return with_prior(self.shifted(probabilities, scores), self.prior, prior)

    def shifted(self, probabilities: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
        """Give what holds for the model's own balance, ``(N, C)``: what a correction or an estimate begins with."""
        return replace(self, temperature=self.shifted_temperature).apply(probabilities, scores)

    def predictions(self, given: Predictions, prior: np.ndarray | None = None) -> Predictions:
        """Calibrate predictions, and correct them for a balance of classes where one is given."""
        p = self.apply(given.probabilities, given.scores, prior)
        scores = None if given.scores is None else tempered(given.scores, self.temperature, "scores")
        return replace(given, probabilities=p, scores=scores)

    def as_dict(self) -> dict[str, Any]:
        """Give what the file holds."""
        return {
            "temperature": self.temperature,
            "shifted_temperature": self.shifted_temperature,
            "of": self.of,
            "classes": list(self.classes),
            "prior": [float(share) for share in self.prior],
            "prior_said": self.prior_said,
            "exact": self.exact,
            "fitted_on": dict(self.fitted_on),
            "risk_coverage": {name: values.tolist() for name, values in vars(self.curve).items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Calibration":
        """Take what :meth:`as_dict` gave.

        Raises
        ------
        InputError
            If anything is missing or cannot be.
        """
        try:
            curve = content["risk_coverage"]
            found = cls(
                float(content["temperature"]),
                float(content["shifted_temperature"]),
                content["of"],
                tuple(content["classes"]),
                np.array(content["prior"], dtype=np.float64),
                str(content["prior_said"]),
                bool(content["exact"]),
                RiskCoverage(*(np.array(curve[name], dtype=np.float64) for name in ("threshold", "risk", "coverage"))),
                dict(content["fitted_on"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no calibration: {type(error).__name__} {error}") from error
        right = found.of in ("probabilities", "scores") and found.prior.shape == (len(found.classes),)
        both = (found.temperature, found.shifted_temperature)
        if not (right and all(np.isfinite(one) and one > 0 for one in both)):
            raise InputError("this is no calibration: temperature, kind or prior cannot be")
        return found

    def save(self, folder: Path) -> None:
        """Write ``calibration.json`` into a folder."""
        write_sealed(folder / FILE, self.as_dict())

    @classmethod
    def load(cls, folder: Path) -> "Calibration | None":
        """Read ``calibration.json`` of a folder; none where there is no such file.

        Raises
        ------
        InputError
            If it is there and cannot be read.
        """
        path, remedy = folder / FILE, f"Make it anew: evenface evaluate {folder}"
        if not path.is_file():
            return None
        try:
            return cls.from_dict(read_json(path, remedy))
        except InputError as error:
            raise InputError(
                error.message if str(path) in error.message else f"{path}: {error.message}", remedy
            ) from None
