"""Loss functions, one file each; every loss returns one value per sample."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from evenface.data.imbalance import class_weights
from evenface.losses.adaptive import AdaptiveLossSelection
from evenface.losses.balanced_softmax import BalancedSoftmaxLoss
from evenface.losses.base import Loss
from evenface.losses.cefl import CEFLLoss
from evenface.losses.class_balanced import ClassBalancedLoss
from evenface.losses.cosface import CosFaceLoss
from evenface.losses.cross_entropy import CrossEntropyLoss
from evenface.losses.focal import FocalLoss
from evenface.losses.label_smoothing import LabelSmoothingLoss
from evenface.losses.ldam import LDAMLoss
from evenface.losses.logit_adjustment import LogitAdjustmentLoss
from evenface.losses.one_vs_rest import LOSS_SELECTIONS, BinaryLossSpec, OneVsRestLoss, binary_loss_specs
from evenface.utils.errors import InputError
from evenface.utils.registry import Registry, check_options, checked_options

__all__ = [
    "LOSSES",
    "LOSS_SELECTIONS",
    "AdaptiveLossSelection",
    "BalancedSoftmaxLoss",
    "BinaryLossSpec",
    "CEFLLoss",
    "ClassBalancedLoss",
    "CosFaceLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "LDAMLoss",
    "LabelSmoothingLoss",
    "LogitAdjustmentLoss",
    "Loss",
    "OneVsRestLoss",
    "binary_loss_specs",
    "build_loss",
    "build_one_vs_rest",
    "register_loss",
]

LOSSES: Registry[type[nn.Module]] = Registry(
    "loss",
    {
        "balanced-softmax": BalancedSoftmaxLoss,
        "cefl": CEFLLoss,
        "class-balanced": ClassBalancedLoss,
        "cosface": CosFaceLoss,
        "cross-entropy": CrossEntropyLoss,
        "focal": FocalLoss,
        "label-smoothing": LabelSmoothingLoss,
        "ldam": LDAMLoss,
        "logit-adjustment": LogitAdjustmentLoss,
    },
)


def register_loss(name: str, loss: type[nn.Module]) -> None:
    """Register a loss under a name.

    Parameters
    ----------
    name : str
        What recipes call it.
    loss : type
        A module ``(logits (B, C), targets (B,)) -> (B,)``. If its constructor takes ``counts`` it is given the
        training counts; if it takes ``alpha`` it is given class weights, a float32 tensor of shape (C,) or None. A
        subclass of :class:`Loss` or of a shipped loss declares which class prior it implies; of any other module it
        is taken for unknown, and fitted on validation data where it is needed.

    Raises
    ------
    ValueError
        If the name is taken by another loss. The same class of the same file may come again; the last one counts.
    """
    LOSSES.register(name, loss)


def build_loss(
    name: str,
    counts: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    head_scale: float | None = None,
    absent: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a loss by its name.

    Parameters
    ----------
    name : str
        One of :data:`LOSSES`.
    counts : array_like of shape (C,)
        Training samples of each class.
    names : sequence of str, optional
        Class names, for messages.
    head_scale : float, optional
        The scale of a network with a cosine head, which a loss that takes ``scale`` is given where options have none.
    absent : bool, default=False
        Whether classes may lack training samples: by a rule they are given the weight 0.
    **options
        The loss's own parameters. Where it takes ``alpha``: None (default), ``inverse``, ``effective``, ``ratio``, one
        weight per class, or a mapping of class names to weights; with a rule, ``normalise`` (default ``classes``: mean
        weight 1) and, with ``effective``, ``beta`` (default 0.999) as in :func:`evenface.data.imbalance.class_weights`.

    Returns
    -------
    nn.Module

    Raises
    ------
    InputError
        If the name or an option is unknown, a value is invalid, or an option has no effect beside ``alpha``.

    Examples
    --------
    >>> build_loss("focal", counts=[30, 10], gamma=1.0, alpha="inverse").alpha
    tensor([0.5000, 1.5000])
    """
    loss = LOSSES[name]
    parameters = set(inspect.signature(loss).parameters)
    takes_alpha = "alpha" in parameters
    check_options("loss", name, options, parameters - {"counts"} | ({"normalise", "beta"} if takes_alpha else set()))
    if takes_alpha:
        own = [key for key in ("normalise", "beta") if key in options and key not in parameters]
        rule: dict[str, Any] = {key: options.pop(key) for key in own}
        rule = checked_options("loss", name, class_weights, rule)
        alpha = options.pop("alpha", None)
        _check_rule(name, alpha, rule)
        weights = class_weights(alpha, counts, names=names, absent=absent, **rule)
    options = checked_options("loss", name, loss, options)
    if takes_alpha:
        options["alpha"] = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    if "counts" in parameters:
        options["counts"] = counts
    if "scale" in parameters and head_scale is not None:
        options.setdefault("scale", head_scale)
    try:
        return loss(**options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"loss {name!r}: {error}") from error


def _check_rule(name: str, alpha: Any, given: Mapping[str, Any]) -> None:
    """Refuse options of a rule for class weights that this ``alpha`` does not have."""
    if "beta" in given and alpha != "effective":
        raise InputError(
            f"loss {name!r}: beta is of alpha: effective and does nothing with alpha {alpha!r}",
            "Set loss.alpha=effective, or leave loss.beta out.",
        )
    if "normalise" in given and not isinstance(alpha, str):
        raise InputError(
            f"loss {name!r}: normalise is of a rule for class weights and does nothing with alpha {alpha!r}",
            "Set loss.alpha to inverse, effective or ratio, or leave loss.normalise out.",
        )


def build_one_vs_rest(chosen: Sequence[BinaryLossSpec]) -> OneVsRestLoss:
    """Build the losses of detectors; errors are those of :func:`build_loss`."""
    return OneVsRestLoss(
        [build_loss(one.loss, one.counts, names=("the rest", one.name), **one.options) for one in chosen]
    )
