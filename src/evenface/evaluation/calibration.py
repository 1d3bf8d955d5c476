"""Probabilities that hold: a temperature fitted on validation data, alone or with the balance of classes implied.

A temperature changes how sure a model says it is, never which class it names.
"""

from typing import Literal

import numpy as np

from evenface.errors import InputError
from evenface.evaluation import scores as scoring
from evenface.evaluation.scores import TINY

Kind = Literal["probabilities", "scores"]
LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures that are looked at. Where every sample is right, ever lower ones would be better without end."""
GRID = 61


def tempered(values: np.ndarray, temperature: float, of: Kind = "probabilities") -> np.ndarray:
    r"""Divide the logits behind probabilities, or behind each detector's score, by a temperature.

    .. math:: p'_c = \frac{p_c^{1/T}}{\sum_j p_j^{1/T}}, \qquad s'_c = \sigma(\mathrm{logit}(s_c) / T)

    Parameters
    ----------
    values : array of float, shape (N, C)
        Probabilities (rows sum to 1) or detectors' scores, 0 to 1; below 1e-12 they count as 1e-12.
    temperature : float
        T, above 0. Above 1 makes less sure, below 1 surer.
    of : {"probabilities", "scores"}
        What ``values`` are.

    Returns
    -------
    array of float64, shape (N, C)
        Probabilities, or scores.

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
    """Give calibrated class probabilities, shape (N, C): tempered; scores are then divided by their sum."""
    found = tempered(values, temperature, of)
    return scoring.shares(found) if of == "scores" else found


def fit_temperature(
    values: np.ndarray, labels: np.ndarray, *, of: Kind = "probabilities", shift: np.ndarray | None = None
) -> float:
    """Find the temperature at which the true classes are most probable.

    Parameters
    ----------
    values : array of float, shape (N, C)
        As in :func:`tempered`, of samples that the model was not trained on.
    labels : array of int, shape (N,)
        Their true classes.
    of : {"probabilities", "scores"}
        What ``values`` are. Of scores, the probabilities are their shares.
    shift : array of float, shape (C,), optional
        Factor of each class's probability after the temperature: the balance of these samples over the balance that
        the model implies. Without it, a model that was trained for another balance would look unsure of itself.

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
    r"""Find a temperature together with the balance of classes that the model has in mind.

    .. math:: p'_c \propto p_c^{1/T} e^{b_c}, \qquad \pi_c \propto q_c e^{-b_c}

    with the share q of each class in these samples.

    For methods whose balance does not follow from what was trained.

    Parameters
    ----------
    values, labels, of
        As in :func:`fit_temperature`. Of scores, b is added to the logarithms of their shares.

    Returns
    -------
    temperature : float
        T, 0.05 to 20.
    prior : array of float, shape (C,)
        The balance; a class without samples has 0.

    Notes
    -----
    The mean of -log p' is made small, with ``sum(b ** 2) / 2`` added once over all samples, which keeps b finite.

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
