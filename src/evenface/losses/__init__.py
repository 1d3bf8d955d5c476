"""Loss functions, one file each; every loss returns one value per sample."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from evenface.data.imbalance import class_weights, positive_weights
from evenface.data.manifest import TaskKind
from evenface.losses.absolute_error import AbsoluteErrorLoss
from evenface.losses.adaptive import AdaptiveLossSelection
from evenface.losses.asymmetric import AsymmetricLoss
from evenface.losses.balanced_mse import BalancedMSELoss
from evenface.losses.balanced_softmax import BalancedSoftmaxLoss
from evenface.losses.base import Loss
from evenface.losses.binary_cross_entropy import BinaryCrossEntropyLoss
from evenface.losses.ccc import CCCLoss
from evenface.losses.cefl import CEFLLoss
from evenface.losses.class_balanced import ClassBalancedLoss
from evenface.losses.cosface import CosFaceLoss
from evenface.losses.cross_entropy import CrossEntropyLoss
from evenface.losses.distribution_balanced import DistributionBalancedLoss
from evenface.losses.focal import FocalLoss
from evenface.losses.gaussian_clouded import GaussianCloudedLoss
from evenface.losses.label_aware_smoothing import LabelAwareSmoothingLoss
from evenface.losses.label_density import LabelWeights
from evenface.losses.label_smoothing import LabelSmoothingLoss
from evenface.losses.ldam import LDAMLoss
from evenface.losses.logit_adjustment import LogitAdjustmentLoss
from evenface.losses.multilabel_focal import MultilabelFocalLoss
from evenface.losses.one_vs_rest import LOSS_SELECTIONS, BinaryLossSpec, OneVsRestLoss, binary_loss_specs
from evenface.losses.smooth_l1 import SmoothL1Loss
from evenface.losses.squared_error import SquaredErrorLoss
from evenface.losses.target_base import TargetLoss
from evenface.losses.vector_scaling import VectorScalingLoss
from evenface.utils.errors import InputError
from evenface.utils.registry import Registry, construct

__all__ = [
    "LOSSES",
    "LOSS_SELECTIONS",
    "AbsoluteErrorLoss",
    "AdaptiveLossSelection",
    "AsymmetricLoss",
    "BalancedMSELoss",
    "BalancedSoftmaxLoss",
    "BinaryCrossEntropyLoss",
    "BinaryLossSpec",
    "CCCLoss",
    "CEFLLoss",
    "ClassBalancedLoss",
    "CosFaceLoss",
    "CrossEntropyLoss",
    "DistributionBalancedLoss",
    "FocalLoss",
    "GaussianCloudedLoss",
    "LDAMLoss",
    "LabelAwareSmoothingLoss",
    "LabelSmoothingLoss",
    "LabelWeights",
    "LogitAdjustmentLoss",
    "Loss",
    "MultilabelFocalLoss",
    "OneVsRestLoss",
    "SmoothL1Loss",
    "SquaredErrorLoss",
    "TargetLoss",
    "VectorScalingLoss",
    "binary_loss_specs",
    "build_loss",
    "build_one_vs_rest",
    "build_target_loss",
    "register_loss",
]

LOSSES: Registry[type[nn.Module]] = Registry(
    "loss",
    {
        "absolute-error": AbsoluteErrorLoss,
        "asymmetric": AsymmetricLoss,
        "balanced-mse": BalancedMSELoss,
        "balanced-softmax": BalancedSoftmaxLoss,
        "binary-cross-entropy": BinaryCrossEntropyLoss,
        "ccc": CCCLoss,
        "cefl": CEFLLoss,
        "class-balanced": ClassBalancedLoss,
        "cosface": CosFaceLoss,
        "cross-entropy": CrossEntropyLoss,
        "distribution-balanced": DistributionBalancedLoss,
        "focal": FocalLoss,
        "gaussian-clouded": GaussianCloudedLoss,
        "label-aware-smoothing": LabelAwareSmoothingLoss,
        "label-smoothing": LabelSmoothingLoss,
        "ldam": LDAMLoss,
        "logit-adjustment": LogitAdjustmentLoss,
        "multilabel-focal": MultilabelFocalLoss,
        "smooth-l1": SmoothL1Loss,
        "squared-error": SquaredErrorLoss,
        "vector-scaling": VectorScalingLoss,
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
        is taken for unknown, and fitted on validation data where it is needed. With a class attribute ``tasks`` that
        names ``regression`` or ``multilabel``, such as of a subclass of :class:`TargetLoss`, a module
        ``(outputs (B, T), targets (B, T)) -> (B,)``; if its constructor takes ``targets`` it is given the training
        targets.

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
    loss = _loss_for(name, "classification")
    parameters = set(inspect.signature(loss).parameters)
    given: dict[str, Any] = {"counts": counts} if "counts" in parameters else {}
    if "alpha" in parameters:
        own = [key for key in ("normalise", "beta") if key in options and key not in parameters]
        rule: dict[str, Any] = {key: options.pop(key) for key in own}
        alpha = options.pop("alpha", None)
        _check_rule(name, alpha, rule)
        known = {"rule": alpha, "counts": counts, "names": names, "absent": absent}
        weights = construct("loss", name, class_weights, rule, known)
        given["alpha"] = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    if "scale" in parameters and head_scale is not None:
        options.setdefault("scale", head_scale)
    more = ("alpha", "normalise", "beta") if "alpha" in parameters else ()
    return construct("loss", name, loss, options, given, more=more)


def build_target_loss(
    name: str, kind: TaskKind, *, targets: npt.ArrayLike, names: Sequence[str], **options: Any
) -> nn.Module:
    """Build a loss for rows of targets by its name.

    Parameters
    ----------
    name : str
        One of :data:`LOSSES` whose ``tasks`` have the kind.
    kind : {"regression", "multilabel"}
        The task.
    targets : array_like of shape (N, T)
        Training targets in the scale of the network's outputs, NaN where missing.
    names : sequence of str
        The targets.
    **options
        The loss's own parameters. Where it takes ``weights``: ``none`` (default), ``inverse`` or ``sqrt-inverse``, and
        with these ``bins``, ``smoothing`` and, with ``smoothing: gaussian``, ``kernel_size`` and ``sigma`` of
        :class:`LabelWeights`. Where it takes ``positive_weights``: see
        :func:`~evenface.data.imbalance.positive_weights`.

    Returns
    -------
    nn.Module

    Raises
    ------
    InputError
        If the name or an option is unknown, the loss is for another task, a value is invalid, or an option has no
        effect beside the others.

    Examples
    --------
    >>> build_target_loss("squared-error", "regression", targets=[[0.0], [1.0]], names=["pspi"])
    SquaredErrorLoss()
    """
    loss = _loss_for(name, kind)
    parameters = set(inspect.signature(loss).parameters)
    given: dict[str, Any] = {"targets": targets} if "targets" in parameters else {}
    density = ("smoothing", "kernel_size", "sigma", "bins") if "weights" in parameters else ()
    if density:
        rule = {key: options.pop(key) for key in density if key in options}
        given["weights"] = _label_weights(name, options.pop("weights", None) or "none", targets, rule)
    if "positive_weights" in parameters:
        weights = positive_weights(options.pop("positive_weights", None), targets, names)
        given["positive_weights"] = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    return construct("loss", name, loss, options, given, more=(*density, *(given.keys() - {"targets"})))


def _loss_for(name: str, kind: TaskKind) -> type[nn.Module]:
    """Return a loss by its name, if it is for the task."""
    loss, usable = LOSSES[name], [known for known, other in LOSSES.items() if kind in _tasks(other)]
    if kind not in _tasks(loss):
        tasks = " and ".join(_tasks(loss))
        raise InputError(f"loss {name!r} is for {tasks}, not for {kind}", f"Use {', '.join(sorted(usable))}.")
    return loss


def loss_tasks(name: str) -> tuple[TaskKind, ...]:
    """Return the tasks that a loss is for."""
    return _tasks(LOSSES[name])


def _tasks(loss: type[nn.Module]) -> tuple[TaskKind, ...]:
    """Return what a loss is for; a module that declares nothing is for classes."""
    tasks: tuple[TaskKind, ...] = getattr(loss, "tasks", Loss.tasks)
    return tasks


def _label_weights(name: str, rule: Any, targets: npt.ArrayLike, given: Mapping[str, Any]) -> LabelWeights | None:
    """Build the weights of labels of a loss; refuse options that have no effect."""
    if rule == "none" and given:
        raise InputError(
            f"loss {name!r}: {next(iter(given))} is of the weights of labels and does nothing without them",
            "Set loss.weights to inverse or sqrt-inverse, or leave it out.",
        )
    smooth = [key for key in ("kernel_size", "sigma") if key in given]
    if smooth and given.get("smoothing", "none") == "none":
        raise InputError(
            f"loss {name!r}: {smooth[0]} is of smoothing: gaussian and does nothing without it",
            f"Set loss.smoothing=gaussian, or leave loss.{smooth[0]} out.",
        )
    options = {"rule": rule, **given}
    return None if rule == "none" else construct("loss", name, LabelWeights, options, {"targets": targets})


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
