"""Class prior implied by sampling, loss and method: the class frequencies that a network's probabilities assume."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evenface.config import Recipe
from evenface.config.recipe import Training
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


def implied_prior(recipe: Recipe, counts: npt.ArrayLike, *, names: Sequence[str] | None = None) -> ImpliedPrior:
    r"""Compute the class prior that the probabilities of a trained network imply.

    .. math:: \pi_y \propto n_y \, d_y \, l_y \, m_y

    with the training counts n; how often a sample of the class is drawn, d (by the sampling of the method's last stage,
    else ``training.sampling``); and the factors that the loss and the method declare, l and m
    (:meth:`evenface.losses.Loss.prior_factor`, :meth:`evenface.methods.Method.prior_factor`): the weight of the class,
    for example, or :math:`1 / n_y` of balanced softmax.

    Parameters
    ----------
    recipe : Recipe
        What was trained. Of a recipe whose plugins are not loaded only sampling counts, and the result is not exact.
    counts : array_like of shape (C,)
        Training samples of each class.
    names : sequence of str, optional
        The classes, for losses whose options name them.

    Returns
    -------
    ImpliedPrior
        Shares sum to 1; a class without training samples has 0. ``exact`` is false where loss or method do not declare
        that their minimum is the posterior under that prior, up to a temperature.

    Raises
    ------
    InputError
        If no class has a training sample.

    Notes
    -----
    A correction by a wrong prior is worse than none: correcting balanced softmax by training counts removes them
    twice. Weighted cross-entropy is minimal at :math:`p(y \mid x) \propto w_y p(x \mid y) n_y`; sampling acts as a
    weight does. Focal loss is minimal at another function of the same posterior, which a temperature corrects.
    """
    from evenface.losses import LOSS_SELECTIONS, LOSSES
    from evenface.methods import METHODS
    from evenface.models.backbone import HeadOnly
    from evenface.training.build import build_on_head

    n = np.asarray(counts, dtype=np.float64)
    present = n > 0
    if not present.any():
        raise InputError("no class has a training sample")
    training = recipe.training
    if recipe.method.name not in METHODS or recipe.loss.name not in {*LOSSES, *LOSS_SELECTIONS}:
        factor, reasons = _sampling_factor(training.sampling, training.sampling_beta, n)
        return _prior(n, factor, [*reasons, "a plugin that is not loaded"], exact=False)
    alpha = recipe.loss.options.get("alpha")
    if isinstance(alpha, list | tuple) and len(alpha) == len(n):  # a weight for each class, also for absent ones
        weights = [weight for weight, has in zip(alpha, present, strict=True) if has]
        recipe = recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"alpha": weights})})
    classes = names or [str(label) for label in range(len(n))]
    known = [name for name, has in zip(classes, present, strict=True) if has]
    method = build_on_head(recipe, HeadOnly(recipe.network, len(known)), n[present].astype(np.int64), known)
    result = prior_of_method(method, training, n[present])
    prior = np.zeros_like(n)
    prior[present] = result.prior
    return ImpliedPrior(prior, result.reason, result.exact)


def prior_of_method(method: "Method", training: Training, counts: npt.ArrayLike) -> ImpliedPrior:
    """Compute the class prior that a method implies by what it and its loss declare; see :func:`implied_prior`."""
    from evenface.losses.base import declared_factor

    n = np.asarray(counts, dtype=np.float64)
    if method.link is not None:
        return prior_of_strata(n)
    factor, reasons = _sampling_factor(method.stages[-1].sampling or training.sampling, training.sampling_beta, n)
    for declared, reason in (
        (declared_factor(method.loss, n), getattr(method.loss, "prior_reason", "class weights")),
        (method.prior_factor(n), method.prior_reason),
    ):
        factor = factor * declared
        if np.ptp(declared[n > 0]) > 1e-9 * np.max(declared):
            reasons.append(reason)
    return _prior(n, factor, reasons, exact=method.exact_prior and getattr(method.loss, "exact_prior", False))


def prior_of_strata(counts: npt.ArrayLike) -> ImpliedPrior:
    """Return the shares of the strata of a task whose targets have no class prior."""
    n = np.asarray(counts, dtype=np.float64)
    return ImpliedPrior(n / n.sum(), "training counts of strata, as targets have no class prior", exact=False)


def prior_of(run: Run) -> ImpliedPrior:
    """Return the class prior that a run's probabilities imply, as the run recorded it."""
    recorded = run.facts["implied_prior"]
    return ImpliedPrior(np.array(recorded["shares"]), recorded["reason"], recorded["exact"])


def _prior(n: np.ndarray, factor: np.ndarray, reasons: Sequence[str], *, exact: bool) -> ImpliedPrior:
    prior, present = np.zeros_like(n), n > 0
    prior[present] = n[present] * factor[present]
    return ImpliedPrior(prior / prior.sum(), " and ".join(["training counts", *reasons]), exact)


def _sampling_factor(rule: str, beta: float, n: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Compute how often one sample of each class is drawn, up to a factor."""
    samples = np.maximum(n, 1)
    effective = effective_number_weights(samples, beta=beta)
    factors = {"none": np.ones_like(n), "inverse": 1 / samples, "reversed": 1 / samples**2, "effective": effective}
    return factors[rule], [] if rule == "none" else [f"{rule} sampling"]
