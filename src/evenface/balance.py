"""The balance of classes that a trained network has in mind when it says how probable each class is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenface.errors import InputError
from evenface.imbalance import class_weights, effective_number_weights
from evenface.recipes import Recipe

SHIFTED = (
    "balanced-softmax",
    "cefl",
    "class-balanced",
    "cross-entropy",
    "focal",
    "label-smoothing",
    "logit-adjustment",
)
"""Losses whose minimum is, up to a temperature, the posterior of a balance that can be told."""
PLAIN = ("plain", "crt", "dicc", "eac", "frozen-then-tuned", "mixup")
"""Methods that leave it so."""


@dataclass(frozen=True)
class Implied:
    """The balance of classes that a run's probabilities imply: shares ``(C,)``, why, whether that is exact."""

    prior: np.ndarray
    said: str
    exact: bool


def implied_prior(recipe: Recipe, counts: npt.ArrayLike) -> Implied:
    r"""Say for what balance of the classes the probabilities of a trained network hold.

    .. math:: \pi_y \propto n_y \, d_y \, w_y \, a_y

    with the training counts n; how often a sample of the class is drawn, d (``training.sampling``, or that of a
    method's last stage); the loss's weight of the class, w; and, of losses that take the balance out themselves, a:
    :math:`1 / n_y` of balanced softmax, :math:`n_y^{-\tau}` of logit adjustment.

    Parameters
    ----------
    recipe : Recipe
        What was trained.
    counts : array_like of shape (C,)
        Training samples of each class.

    Returns
    -------
    Implied
        Shares sum to 1; a class without training samples has 0. ``exact`` is false where a loss of margins or a method
        moves probabilities in a way that is no change of balance; the shares then leave out what it does, but for the
        class weights of ``drw`` and of one-vs-all.

    Notes
    -----
    A wrong balance makes a correction worse than none: to correct a balanced softmax by training counts takes them out
    twice. Weighted cross-entropy is least at :math:`p(y \mid x) \propto w_y p(x \mid y) n_y`; drawing acts as a weight
    does. Focal loss is least at another function of the same posterior, which a temperature takes back.
    """
    n = np.asarray(counts, dtype=np.float64)
    there = n > 0
    if not there.any():
        raise InputError("no class has a training sample")
    known = n[there]
    drawn, drawing = _drawn(recipe, known)
    loss, by_loss = _of_loss(recipe, known)
    method, by_method = _of_method(recipe, known)
    prior = np.zeros_like(n)
    prior[there] = known * drawn * loss * method
    said = " and ".join(filter(None, ("training counts", drawing, by_loss, by_method)))
    exact = recipe.loss.name in SHIFTED and recipe.method.name in PLAIN
    return Implied(prior / prior.sum(), said, exact)


def _drawn(recipe: Recipe, n: np.ndarray) -> tuple[np.ndarray, str]:
    """Say how often one sample of each class is drawn, up to a factor."""
    rule = "inverse" if recipe.method.name in ("crt", "lws") else recipe.training.sampling
    rules = {"none": np.ones_like(n), "inverse": 1 / n, "reversed": 1 / n**2}
    effective = rule == "effective"
    found = effective_number_weights(n, beta=recipe.training.sampling_beta) if effective else rules[rule]
    return found, "" if rule == "none" else f"{rule} sampling"


def _of_loss(recipe: Recipe, n: np.ndarray) -> tuple[np.ndarray, str]:
    """Say what the loss does to the balance, by its class weights or its own terms."""
    name, options = recipe.loss.name, recipe.loss.options
    if recipe.method.name == "one-vs-all":
        return np.ones_like(n), ""
    if name == "balanced-softmax":
        return 1 / n, name
    if name == "logit-adjustment":
        return n ** -float(options.get("tau", 1.0)), name
    if name == "class-balanced":
        return effective_number_weights(n, beta=float(options.get("beta", 0.999))), name
    alpha = options.get("alpha")
    if alpha is None or (not isinstance(alpha, str) and len(alpha) != len(n)):
        return np.ones_like(n), ""
    weights = class_weights(alpha, n, beta=float(options.get("beta", 0.999)))
    return np.ones_like(n) if weights is None else weights, "class weights"


def _of_method(recipe: Recipe, n: np.ndarray) -> tuple[np.ndarray, str]:
    """Say what methods with weights of their own do to it."""
    if recipe.method.name == "drw":
        return effective_number_weights(n, beta=float(recipe.method.options.get("beta", 0.9999))), "deferred weights"
    if recipe.method.name == "one-vs-all":
        return _of_detectors(recipe, n)
    return np.ones_like(n), ""


def _of_detectors(recipe: Recipe, n: np.ndarray) -> tuple[np.ndarray, str]:
    """Say how much more a detector's positives weigh than its negatives."""
    from evenface.losses import detectors

    chosen = detectors(recipe.loss.name, n.astype(np.int64), [str(i) for i in range(len(n))], **recipe.loss.options)
    factors = []
    for one, own in zip(chosen, n, strict=True):
        weights = class_weights(one.options.get("alpha"), [n.sum() - own, own])
        factors.append(1.0 if weights is None else float(weights[1] / weights[0]))
    return np.array(factors), "weights of the detectors" if any(factor != 1 for factor in factors) else ""
