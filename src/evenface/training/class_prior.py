"""Class prior implied by sampling, loss and method: the class frequencies that a network's probabilities assume."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evenface.config import Recipe
from evenface.data.imbalance import effective_number_weights
from evenface.runs import Run
from evenface.utils.errors import InputError

if TYPE_CHECKING:
    from evenface.methods.base import Method


@dataclass(frozen=True)
class ImpliedPrior:
    """Class prior that a run's probabilities imply: shares ``(C,)``, its reason, whether it is exact."""

    prior: np.ndarray
    reason: str
    exact: bool


def implied_prior(
    recipe: Recipe,
    counts: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    method: "Method | None" = None,
) -> ImpliedPrior:
    r"""Compute for which class prior the probabilities of a trained network hold.

    .. math:: \pi_y \propto n_y \, d_y \, l_y \, m_y

    with the training counts n; how often a sample of the class is drawn, d (by the sampling of the method's last stage,
    else ``training.sampling``); and the factors that the loss and the method declare, l and m
    (:meth:`evenface.losses.Loss.prior_factor`, :meth:`evenface.methods.Method.prior_factor`): the weight of the class,
    for example, or :math:`1 / n_y` of balanced softmax.

    Parameters
    ----------
    recipe : Recipe
        What was trained.
    counts : array_like of shape (C,)
        Training samples of each class.
    names : sequence of str, optional
        The classes, for losses whose options name them.
    method : Method, optional
        The method as it was trained. By default one is built of the recipe; of a recipe whose plugins are not loaded
        only what is known without them counts, and the result is not exact.

    Returns
    -------
    ImpliedPrior
        Shares sum to 1; a class without training samples has 0. ``exact`` is false where loss or method do not declare
        that their minimum is the posterior under that prior, up to a temperature.

    Notes
    -----
    A wrong prior makes a correction worse than none: to correct a balanced softmax by training counts takes them out
    twice. Weighted cross-entropy is least at :math:`p(y \mid x) \propto w_y p(x \mid y) n_y`; drawing acts as a weight
    does. Focal loss is least at another function of the same posterior, which a temperature takes back.
    """
    n = np.asarray(counts, dtype=np.float64)
    there = n > 0
    if not there.any():
        raise InputError("no class has a training sample")
    known = tuple(names or (str(place) for place in range(len(n))))
    if method is None:
        factor, reasons, exact = _of_recipe(recipe, n, there, known)
    else:
        factor, reasons, exact = _declared(recipe, method, n)
        factor = factor[there]
    prior = np.zeros_like(n)
    prior[there] = n[there] * factor
    return ImpliedPrior(prior / prior.sum(), " and ".join(["training counts", *reasons]), exact)


def prior_of(run: Run) -> ImpliedPrior:
    """Return the class prior that a run's probabilities imply, as the run recorded it; computed for older runs."""
    known = run.facts.get("implied_prior")
    if known is not None:
        return ImpliedPrior(np.array(known["shares"]), known["reason"], known["exact"])
    return implied_prior(run.recipe, run.facts["counts"]["train"], names=run.facts["classes"])


def _of_recipe(
    recipe: Recipe, n: np.ndarray, there: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, list[str], bool]:
    """Compute the factors of the classes that have samples, from a method that is built for it."""
    from evenface.losses import LOSS_SELECTIONS, LOSSES
    from evenface.methods import METHODS
    from evenface.methods.building import method_on_stand_in

    if recipe.method.name not in METHODS or recipe.loss.name not in {*LOSSES, *LOSS_SELECTIONS}:
        drawn, reason = _sampling_factor(recipe, recipe.training.sampling, n[there])
        return drawn, [*reason, "what a plugin does, which is not loaded"], False
    alpha = recipe.loss.options.get("alpha")
    if isinstance(alpha, list | tuple) and len(alpha) == len(n):  # of all classes; those without samples are left out
        some = [weight for weight, present in zip(alpha, there, strict=True) if present]
        loss = recipe.loss.model_copy(update={"alpha": some})
        recipe = recipe.model_copy(update={"loss": loss})
    present = [name for name, has in zip(names, there, strict=True) if has]
    return _declared(recipe, method_on_stand_in(recipe, n[there].astype(np.int64), present), n[there])


def _declared(recipe: Recipe, method: "Method", n: np.ndarray) -> tuple[np.ndarray, list[str], bool]:
    """Multiply the factors of sampling, loss and method; say what changes the prior, and whether that is exact."""
    from evenface.losses.base import declared_factor

    factor, reasons = _sampling_factor(recipe, method.stages[-1].sampling or recipe.training.sampling, n)
    for declared, reason in (
        (declared_factor(method.loss, n), getattr(method.loss, "prior_reason", "class weights")),
        (method.prior_factor(n), method.prior_reason),
    ):
        factor = factor * declared
        if np.ptp(declared[n > 0]) > 1e-9 * np.max(declared):
            reasons.append(reason)
    return factor, reasons, method.exact_prior and getattr(method.loss, "exact_prior", False)


def _sampling_factor(recipe: Recipe, rule: str, n: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Compute how often one sample of each class is drawn, up to a factor."""
    some = np.maximum(n, 1)
    effective = effective_number_weights(some, beta=recipe.training.sampling_beta)
    rules = {"none": np.ones_like(n), "inverse": 1 / some, "reversed": 1 / some**2, "effective": effective}
    return rules[rule], [] if rule == "none" else [f"{rule} sampling"]
