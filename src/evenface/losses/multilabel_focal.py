"""Focal loss of each target."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.base import focal_factor
from evenface.losses.target_base import TargetLoss


class MultilabelFocalLoss(TargetLoss):
    r"""Focal loss of each target, one value per sample.

    .. math::
        \ell_t = -\alpha \, y_t (1 - p_t)^\gamma \log p_t - (1 - \alpha)(1 - y_t) \, p_t^\gamma \log(1 - p_t),
        \qquad p_t = \sigma(z_t)

    Parameters
    ----------
    gamma : float, default=2.0
        Focusing strength, >= 0. Zero gives (weighted) binary cross-entropy.
    alpha : float, optional
        Weight of positives, from 0 to 1, negatives having the rest; 0.25 in the source. None means 1 for both.

    Raises
    ------
    ValueError
        If a value is out of range.

    Notes
    -----
    One ``alpha`` is that of all targets. Of targets as rare as action units the source's 0.25 weakens positives
    further: it balances a focusing that leaves hardly any loss of negatives.

    References
    ----------
    Lin et al., *Focal loss for dense object detection*, ICCV 2017, eq. 5.

    Examples
    --------
    >>> import torch
    >>> MultilabelFocalLoss(gamma=2.0)(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]))   # log(2) / 4
    tensor([0.1733, 0.1733])
    """

    tasks: ClassVar[tuple[TaskKind, ...]] = ("multilabel",)

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must be >= 0, got {gamma}")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
        self.gamma = gamma
        self.positive, self.negative = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)

    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the value of each target, ``(B, T)``."""
        log_p, log_rest = F.logsigmoid(outputs), F.logsigmoid(-outputs)
        positive = self.positive * focal_factor(log_p, self.gamma) * log_p
        negative = self.negative * focal_factor(log_rest, self.gamma) * log_rest
        return -targets * positive - (1 - targets) * negative
