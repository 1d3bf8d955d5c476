"""Probability calibration: temperature scaling, bias-corrected temperature scaling, calibration error.

A temperature changes the confidence of a prediction, not the predicted class.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evenface.evaluation import probability_metrics as scoring
from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, percentile, resample_sums, units_of
from evenface.evaluation.label_shift import with_prior
from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import BINS, TINY, Reliability
from evenface.evaluation.selective import RiskCoverage, risk_coverage
from evenface.utils.errors import InputError
from evenface.utils.files import write_json_with_digest

Kind = Literal["probabilities", "scores"]
Binning = Literal["width", "mass"]
Side = Literal["top", "classes"]
LOWEST, HIGHEST = 0.05, 20.0
"""Range of temperatures: where every sample is correct, the best one would be 0."""
GRID = 61


def tempered(values: np.ndarray, temperature: float, of: Kind = "probabilities") -> np.ndarray:
    r"""Divide the logits of probabilities, or of one-vs-rest scores, by a temperature.

    .. math:: p'_c = \frac{p_c^{1/T}}{\sum_j p_j^{1/T}}, \qquad s'_c = \sigma(\mathrm{logit}(s_c) / T)

    References
    ----------
    Guo et al., *On calibration of modern neural networks*, ICML 2017, section 4.2.

    Examples
    --------
    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3)   # odds of 4 become odds of 2
    array([[0.667, 0.333]])
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"a temperature must be above 0, got {temperature}")
    log = np.log(np.clip(values, TINY, None))
    if of == "scores":
        logits = (log - np.log(np.clip(1 - np.asarray(values), TINY, None))) / temperature
        result: np.ndarray = 0.5 * (1 + np.tanh(logits / 2))
        return result
    return _softmax(log / temperature)


def calibrated(values: np.ndarray, temperature: float, of: Kind = "probabilities") -> np.ndarray:
    """Compute calibrated class probabilities, shape (N, C); scores are divided by their sum after scaling."""
    scaled = tempered(values, temperature, of)
    return scoring.shares(scaled) if of == "scores" else scaled


def fit_temperature(
    values: np.ndarray, labels: np.ndarray, *, of: Kind = "probabilities", shift: np.ndarray | None = None
) -> float:
    """Fit the temperature that minimises the log loss.

    Parameters
    ----------
    values : array of float, shape (N, C)
        As in :func:`tempered`, of samples that the model was not trained on.
    labels : array of int, shape (N,)
        Their true classes.
    of : {"probabilities", "scores"}
        What ``values`` are. Of scores, the probabilities are their shares.
    shift : array of float, shape (C,), optional
        Factor of each class's probability after scaling: the class prior of these samples over the prior implied by
        the model. Without it, a difference in priors would be fitted as a temperature.

    Returns
    -------
    float
        From 0.05 to 20: the smallest mean of -log p over these samples, by a search over log T on a grid and then
        between the neighbours of the best.

    Raises
    ------
    InputError
        If there is no sample.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        raise InputError("no sample to fit a temperature on")

    def loss(log_temperature: float) -> float:
        p = calibrated(values, float(np.exp(log_temperature)), of)
        if shift is not None:
            p = p * shift
            p = p / p.sum(axis=1, keepdims=True)
        return float(scoring.log_loss(p, labels).mean())

    grid = np.linspace(np.log(LOWEST), np.log(HIGHEST), GRID)
    best = int(np.argmin([loss(float(t)) for t in grid]))
    around = (grid[max(0, best - 1)], grid[min(GRID - 1, best + 1)])
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x if found.fun <= loss(float(grid[best])) else grid[best]))


def fit_balance(values: np.ndarray, labels: np.ndarray, *, of: Kind = "probabilities") -> tuple[float, np.ndarray]:
    r"""Fit a temperature together with the class prior implied by the model (bias-corrected temperature scaling).

    .. math:: p'_c \propto p_c^{1/T} e^{b_c}, \qquad \pi_c \propto q_c e^{-b_c}

    with the share q of each class in these samples.

    For methods whose implied prior does not follow from the training set.

    Parameters
    ----------
    values, labels, of
        As in :func:`fit_temperature`. Of scores, b is added to the logarithms of their shares.

    Returns
    -------
    temperature : float
        T, 0.05 to 20.
    prior : array of float, shape (C,)
        The implied class prior; 0 for a class without samples.

    Notes
    -----
    The mean of -log p' is minimised, with ``sum(b ** 2) / 2`` added once over all samples, which keeps b finite.

    References
    ----------
    Alexandari, Kundaje and Shrikumar, *Maximum likelihood with bias-corrected calibration is hard-to-beat at label
    shift adaptation*, ICML 2020.
    """
    from scipy.optimize import minimize

    n, c = len(labels), values.shape[1]
    share = np.bincount(labels, minlength=c) / n

    def loss(point: np.ndarray) -> float:
        log = np.log(np.clip(calibrated(values, float(np.exp(point[0])), of), TINY, None)) + point[1:]
        p = _softmax(log)
        return float(scoring.log_loss(p, labels).mean() + (point[1:] ** 2).sum() / (2 * n))

    start = np.zeros(c + 1)
    start[0] = np.log(fit_temperature(values, labels, of=of))
    ends = [(np.log(LOWEST), np.log(HIGHEST)), *[(None, None)] * c]
    found = minimize(loss, start, method="L-BFGS-B", bounds=ends).x
    prior = share * np.exp(-found[1:])
    return float(np.exp(found[0])), prior / prior.sum()


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result


FILE = "calibration.json"
AT_LEAST = 20
"""Fewest validation samples for calibration; a run with fewer is not calibrated."""


@dataclass(frozen=True)
class Calibration:
    """Calibration of a run's probabilities.

    Parameters
    ----------
    temperature : float
        For the class prior of the validation data; see :func:`evenface.evaluation.calibration.tempered`.
    shifted_temperature : float
        For probabilities that are then corrected for another class prior: fitted for the prior implied by the model.
    of : {"probabilities", "scores"}
        Input: scores for one-vs-rest classifiers.
    classes : tuple of str
        The C classes.
    prior : array of float, shape (C,)
        Class prior implied by the probabilities, which a correction divides by.
    prior_said : str
        Origin of the prior.
    exact : bool
        Whether the prior follows from the training set; else it was fitted on validation data.
    curve : RiskCoverage
        Risk–coverage curve of the calibrated validation predictions, at most 201 points.
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
    def fit(cls, validation: Predictions, prior: np.ndarray, origin: str, *, exact: bool) -> "Calibration":
        """Fit both temperatures.

        Parameters
        ----------
        validation : Predictions
            Predictions of samples that the model was not trained on.
        prior, origin, exact
            Class prior implied by the training set. Where it is not exact, a prior is fitted instead.
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
            origin = f"a fit on validation data, as it does not follow from {origin}"
        p = calibrated(values, temperature, of)
        facts: dict[str, float] = {"samples": len(validation)}
        for when, probabilities in (("before", validation.probabilities), ("after", p)):
            facts[f"log_loss_{when}"] = float(scoring.log_loss(probabilities, validation.labels).mean())
            facts[f"ece_{when}"] = calibration_error(probabilities, validation.labels)
        curve = risk_coverage(p.max(axis=1), p.argmax(axis=1) == validation.labels).thinned()
        return cls(temperature, shifted, of, validation.classes, prior, origin, exact, curve, facts)

    def apply(
        self, probabilities: np.ndarray, scores: np.ndarray | None = None, prior: np.ndarray | None = None
    ) -> np.ndarray:
        """Compute calibrated probabilities ``(N, C)``; of one-vs-rest classifiers, from their scores.

        Parameters
        ----------
        probabilities, scores : arrays of float, shape (N, C)
            Outputs of the run.
        prior : array of float, shape (C,), optional
            Class prior to correct for.

        Raises
        ------
        InputError
            If scores are required and missing, or the prior is not valid.
        """
        values = probabilities if self.of == "probabilities" else scores
        if values is None:
            raise InputError("this run was calibrated on one-vs-rest scores, but scores are missing")
        if prior is None:
            return calibrated(values, self.temperature, self.of)
        return with_prior(self.shifted(probabilities, scores), self.prior, prior)

    def shifted(self, probabilities: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
        """Compute probabilities ``(N, C)`` calibrated for the prior implied by the model, before a correction."""
        return replace(self, temperature=self.shifted_temperature).apply(probabilities, scores)

    def predictions(self, given: Predictions, prior: np.ndarray | None = None) -> Predictions:
        """Calibrate predictions, and correct them for a class prior where one is given."""
        p = self.apply(given.probabilities, given.scores, prior)
        scores = None if given.scores is None else tempered(given.scores, self.temperature, "scores")
        return replace(given, probabilities=p, scores=scores)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``calibration.json``."""
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
        """Build from the result of :meth:`as_dict`.

        Raises
        ------
        InputError
            If a value is missing or invalid.
        """
        try:
            curve = content["risk_coverage"]
            calibration = cls(
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
            raise InputError(f"invalid calibration: {type(error).__name__} {error}") from error
        valid = calibration.of in ("probabilities", "scores") and calibration.prior.shape == (len(calibration.classes),)
        temperatures = (calibration.temperature, calibration.shifted_temperature)
        if not (valid and all(np.isfinite(value) and value > 0 for value in temperatures)):
            raise InputError("invalid calibration: invalid temperature, kind or prior")
        return calibration

    def save(self, folder: Path) -> None:
        """Write ``calibration.json`` into a folder."""
        write_json_with_digest(folder / FILE, self.as_dict())


def reliability_by_mass(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Bin samples into bins of equal mass; equal confidences share a bin, so there may be fewer bins.

    Parameters and result are those of ``reliability``; the edges are quantiles.
    """
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    edges = edges[edges < np.max(confidence)]
    index = np.searchsorted(edges, confidence, side="left")
    size = len(edges) + 1
    count = np.bincount(index, minlength=size)
    weights = (np.asarray(values, dtype=np.float64) for values in (confidence, correct))
    means = (divide(np.bincount(index, weights=values, minlength=size), count) for values in weights)
    return Reliability(np.concatenate([[0.0], edges, [1.0]]), count, *means)


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS, binning: Binning = "width", of: Side = "top"
) -> float:
    """Compute the expected calibration error: mean absolute difference of confidence and accuracy over bins.

    Parameters
    ----------
    probabilities : array of float, shape (N, C)
        Rows sum to 1.
    labels : array of int, shape (N,)
        True classes.
    bins : int, default=15
        Number of bins.
    binning : {"width", "mass"}
        Bins of equal width, or of equally many samples.
    of : {"top", "classes"}
        Probability of the predicted class, or the mean over the probabilities of all classes.

    Returns
    -------
    float
        0 to 1; sampling noise alone makes it larger than 0.

    References
    ----------
    Guo et al., *On calibration of modern neural networks*, ICML 2017, eq. 3. Nixon et al., *Measuring calibration in
    deep learning*, CVPR workshops 2019, for equal mass. Kull et al., *Beyond temperature scaling*, NeurIPS 2019, for
    all classes.
    """
    sorted_in = scoring.reliability if binning == "width" else reliability_by_mass
    sides = _sides(probabilities, labels, of)
    return float(np.mean([scoring.expected_calibration_error(sorted_in(*side, bins)) for side in sides]))


def _sides(probabilities: np.ndarray, labels: np.ndarray, of: Side) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of confidence and outcome."""
    if of == "top":
        return [(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)]
    return [(probabilities[:, c], labels == c) for c in range(probabilities.shape[1])]


def _unit_gaps(predictions: Predictions, binning: Binning, of: Side) -> np.ndarray:
    """Sum confidence less outcome by unit, class and bin, shape (U, sides * bins + 1); last column: samples."""
    units = units_of(predictions)
    sides = _sides(predictions.probabilities, predictions.labels, of)
    sums = np.zeros((units.count, len(sides) * BINS + 1))
    for number, (confidence, correct) in enumerate(sides):
        if binning == "width":
            index = scoring.reliability_bin(confidence, BINS)
        else:
            index = np.searchsorted(reliability_by_mass(confidence, correct).edges[1:-1], confidence, side="left")
        np.add.at(sums, (units.codes, number * BINS + index), confidence - correct)
    sums[:, -1] = np.bincount(units.codes, minlength=units.count)
    return sums


def error_estimates(
    before: Predictions,
    after: Predictions,
    *,
    binning: Binning = "width",
    of: Side = "top",
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate the calibration error of two forms of the same predictions, and their difference, with intervals.

    Parameters
    ----------
    before, after : Predictions
        Of the same samples in the same order.
    binning, of
        As in :func:`calibration_error`; 15 bins, which stay where they are in every resample.
    seed, resamples, level
        Of the bootstrap: over people where they are known, else clips or samples. All three share the draws.

    Returns
    -------
    before, after, difference : Estimate
        Difference is after less before.

    Notes
    -----
    Chance enlarges such an error: bins are off by it in either direction, and distances add up. So an interval is of
    the true error, by a basic bootstrap (the value less the quantiles of what resamples miss), lies for its most part
    below the value, and is widened to hold it. Resamples are made around gaps without the part that is chance: none
    where the gaps are no larger than 95 % of what chance makes, else shrunk by ``sqrt(1 - chance / seen)``, both as
    sums of squares.
    """
    made = [_error_draws(_unit_gaps(one, binning, of), resamples, seed) for one in (before, after)]
    values = [value for value, _ in made]
    drawn = [around for _, around in made]
    values.append(values[1] - values[0])
    drawn.append(drawn[1] - drawn[0])
    first, second, change = (_turned(value, around, level) for value, around in zip(values, drawn, strict=True))
    return _not_negative(first), _not_negative(second), change


def loss_estimates(
    before: Predictions,
    after: Predictions,
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate the mean of a loss per sample ``(probabilities, labels) -> (N,)`` as :func:`error_estimates` does.

    Intervals are percentile ones: such a mean is not shifted by chance.
    """
    units = units_of(before)
    sums = np.zeros((units.count, 3))
    columns = [np.ones(len(before)), *(loss(one.probabilities, one.labels) for one in (before, after))]
    np.add.at(sums, units.codes, np.stack(columns, axis=1))
    drawn = resample_sums(sums, resamples, seed)
    means = [table[:, 1:] / table[:, :1] for table in (sums.sum(axis=0)[None], drawn)]
    value, draws = (np.concatenate([one, one[:, 1:] - one[:, :1]], axis=1) for one in means)
    low, high = percentile(draws, level)
    first, second, change = (Estimate(*(float(part[k]) for part in (value[0], low, high))) for k in range(3))
    return first, second, change


def _error_draws(sums: np.ndarray, resamples: int, seed: int) -> tuple[float, np.ndarray]:
    """Return the error of the sums by unit, and the sampling error of each draw, shape (R,)."""
    sides = (sums.shape[1] - 1) // BINS
    whole, drawn = sums.sum(axis=0), resample_sums(sums, resamples, seed)
    gaps, noise = whole[:-1] / whole[-1], drawn[:, :-1] / drawn[:, -1:]
    noise = noise - gaps
    square, chance = float((gaps**2).sum()), (noise**2).sum(axis=1)
    beyond = resamples > 0 and square > np.quantile(chance, LEVEL)
    kept = math.sqrt(1 - float(chance.mean()) / square) if beyond else 0.0
    around = np.abs(kept * gaps + noise).sum(axis=1) - kept * np.abs(gaps).sum()
    return float(np.abs(gaps).sum() / sides), around / sides


def _turned(value: float, around: np.ndarray, level: float) -> Estimate:
    """Turn draws of the sampling error into a basic bootstrap interval."""
    low, high = percentile(around, level)
    return Estimate(value, *(float(end) for end in (np.minimum(value, value - high), np.maximum(value, value - low))))


def _not_negative(given: Estimate) -> Estimate:
    return Estimate(given.value, *(float(np.maximum(end, 0)) for end in (given.low, given.high)))
