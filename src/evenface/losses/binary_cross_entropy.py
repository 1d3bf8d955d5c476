"""Binary cross-entropy of each target, plain or with weights of positives."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.target_base import TargetLoss, check_units
from evenface.utils.errors import InputError


class BinaryCrossEntropyLoss(TargetLoss):
    r"""Binary cross-entropy of each target, one value per sample.

    .. math:: \ell_t = -w_t \, y_t \log \sigma(z_t) - (1 - y_t) \log \sigma(-z_t)

    Parameters
    ----------
    positive_weights : Tensor of shape (T,), optional
        Weight w of each target's positives, >= 0; none means 1. In a recipe, ``balanced`` or a mapping; see
        :func:`positive_weights`.

    Raises
    ------
    ValueError
        On calling, if there is not one weight per target.

    Notes
    -----
    With weights, probabilities are those of a training set with w times as many positives; a threshold of one half is
    then lower for rare targets. Targets between 0 and 1 are allowed, as shares of annotators.

    References
    ----------
    King and Zeng, *Logistic regression in rare events data*, Political Analysis 2001, sec. 4.2: weighted
    likelihood.

    Examples
    --------
    >>> import torch
    >>> loss = BinaryCrossEntropyLoss(torch.tensor([3.0]))
    >>> loss(torch.zeros(3, 1), torch.tensor([[1.0], [0.0], [torch.nan]]))   # 3 log 2, log 2, missing
    tensor([2.0794, 0.6931, 0.0000])
    """

    tasks: ClassVar[tuple[TaskKind, ...]] = ("multilabel",)
    positive_weights: Tensor | None

    def __init__(self, positive_weights: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("positive_weights", positive_weights)

    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the value of each target, ``(B, T)``."""
        check_units(outputs, self.positive_weights)
        return F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=self.positive_weights, reduction="none")


def positive_weights(
    rule: str | Mapping[Any, float] | None, targets: npt.ArrayLike, names: Sequence[str]
) -> npt.NDArray[np.float64] | None:
    """Compute the weight of each target's positives by a rule, or check weights that are given.

    Parameters
    ----------
    rule : {"none", "balanced"} or mapping
        ``balanced``: negatives over positives among the known training targets; 1 for a target of which one of them is
        missing. A mapping has a number >= 0 for each target's name.
    targets : array_like of shape (N, T)
        Training targets, NaN where missing; 0.5 and more is positive.
    names : sequence of str
        The targets.

    Returns
    -------
    ndarray of shape (T,), or None
        float64; None for ``none``.

    Raises
    ------
    InputError
        If the rule is unknown, or a name or number is invalid.

    Examples
    --------
    >>> positive_weights("balanced", [[1, 0], [0, 0], [0, 0], [0, np.nan]], ["AU1", "AU9"])
    array([3., 1.])
    """
    if rule is None or rule == "none":
        return None
    if isinstance(rule, Mapping):
        return _given_weights({str(name): weight for name, weight in rule.items()}, names)
    if rule != "balanced":
        raise InputError(
            f"unknown rule {rule!r} for the weights of positives",
            "Set loss.positive_weights to none, balanced, or a number for each target: {AU1: 4, AU12: 1}.",
        )
    values = np.asarray(targets, dtype=np.float64)
    positives, negatives = (values >= 0.5).sum(axis=0), (values < 0.5).sum(axis=0)
    both = (positives > 0) & (negatives > 0)
    return np.where(both, negatives / np.maximum(positives, 1), 1.0)


def _given_weights(given: Mapping[str, Any], names: Sequence[str]) -> npt.NDArray[np.float64]:
    unknown, missing = [name for name in given if name not in names], [name for name in names if name not in given]
    if unknown or missing:
        problem = f"unknown target {unknown[0]!r}" if unknown else f"the target {missing[0]!r} has no weight"
        raise InputError(f"weights of positives: {problem}", f"Give a weight for each of {', '.join(names)}.")
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            raise InputError(f"weights of positives: {name} must have a finite number >= 0, got {weight!r}")
    return np.array([given[name] for name in names], dtype=np.float64)
