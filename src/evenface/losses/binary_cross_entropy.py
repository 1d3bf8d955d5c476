"""Binary cross-entropy of each target, plain or with weights of positives."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.target_base import TargetLoss, check_one_per_target


class BinaryCrossEntropyLoss(TargetLoss):
    r"""Binary cross-entropy of each target, one value per sample.

    .. math:: \ell_t = -w_t \, y_t \log \sigma(z_t) - (1 - y_t) \log \sigma(-z_t)

    Parameters
    ----------
    positive_weights : Tensor of shape (T,), optional
        Weight w of each target's positives, >= 0; none means 1. In a recipe, ``balanced`` or a mapping; see
        :func:`~evenface.data.imbalance.positive_weights`.

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
        check_one_per_target(outputs, self.positive_weights)
        return F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=self.positive_weights, reduction="none")
