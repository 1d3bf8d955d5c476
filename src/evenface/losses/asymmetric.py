"""Asymmetric loss: focal loss of each target with another focusing, and a margin, for negatives."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.base import focal_factor
from evenface.losses.target_base import TargetLoss


class AsymmetricLoss(TargetLoss):
    r"""Asymmetric loss of each target (ASL), one value per sample.

    .. math::
        \ell_t = -y_t (1 - p_t)^{\gamma_+} \log p_t - (1 - y_t) (p_t^m)^{\gamma_-} \log(1 - p_t^m), \qquad
        p_t = \sigma(z_t), \quad p_t^m = \max(p_t - m, 0)

    Parameters
    ----------
    gamma_positive : float, default=0.0
        Focusing of positives, >= 0.
    gamma_negative : float, default=4.0
        Focusing of negatives, >= 0. The authors keep it above that of positives.
    margin : float, default=0.05
        m, from 0 to below 1: negatives below this probability are ignored altogether.

    Raises
    ------
    ValueError
        If a value is out of range.

    Notes
    -----
    Negatives that are easy count for little, and positives, which are rare, keep their gradient. Probabilities are too
    high and need calibration. The gradient is that of the whole expression; the authors' training program treats the
    focusing factor as a constant. With all options 0 it is binary cross-entropy.

    References
    ----------
    Ridnik et al., *Asymmetric loss for multi-label classification*, ICCV 2021, eq. 5 to 7.

    Examples
    --------
    >>> AsymmetricLoss()(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]))   # log 2, 0.45 ** 4 * -log 0.55
    tensor([0.6931, 0.0245])
    """

    tasks: ClassVar[tuple[TaskKind, ...]] = ("multilabel",)

    def __init__(self, gamma_positive: float = 0.0, gamma_negative: float = 4.0, margin: float = 0.05) -> None:
        super().__init__()
        for name, value in (("gamma_positive", gamma_positive), ("gamma_negative", gamma_negative)):
            if not value >= 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        if not 0 <= margin < 1:
            raise ValueError(f"margin must be from 0 to below 1, got {margin}")
        self.gamma_positive, self.gamma_negative, self.margin = gamma_positive, gamma_negative, margin

    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the value of each target, ``(B, T)``."""
        log_p, log_rest = F.logsigmoid(outputs), F.logsigmoid(-outputs)
        if self.margin:
            # log(1 - p + m), which is log(1 - p^m) up to 0; its digits are those of the smaller of both terms.
            log_rest = torch.logaddexp(log_rest, log_rest.new_full((), math.log(self.margin))).clamp_max(0)
        positive = focal_factor(log_p, self.gamma_positive) * log_p
        negative = focal_factor(log_rest, self.gamma_negative) * log_rest
        return -targets * positive - (1 - targets) * negative
