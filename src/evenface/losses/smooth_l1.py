"""Smooth L1 error of continuous targets (Huber)."""

import torch.nn.functional as F
from torch import Tensor

from evenface.losses.density_weighted import DensityWeightedLoss
from evenface.losses.label_density import LabelWeights


class SmoothL1Loss(DensityWeightedLoss):
    r"""Smooth L1 error, one value per sample: squared near the target, absolute far from it.

    .. math::
        \ell_t = w(y_t) \begin{cases} d^2 / 2\beta & |d| < \beta \\ |d| - \beta / 2 & \text{else} \end{cases}, \qquad
        d = \hat y_t - y_t

    Parameters
    ----------
    beta : float, default=1.0
        Where the error becomes absolute, above 0; in standard deviations of the training target, the scale of the
        network's outputs.
    weights : LabelWeights, optional
        See :class:`~evenface.losses.density_weighted.DensityWeightedLoss`.

    Raises
    ------
    ValueError
        If ``beta`` is not above 0.

    References
    ----------
    Girshick, *Fast R-CNN*, ICCV 2015, eq. 3; Huber, *Robust estimation of a location parameter*, 1964, divided by beta.

    Examples
    --------
    >>> import torch
    >>> SmoothL1Loss()(torch.zeros(2, 1), torch.tensor([[0.5], [3.0]]))
    tensor([0.1250, 2.5000])
    """

    def __init__(self, beta: float = 1.0, weights: LabelWeights | None = None) -> None:
        super().__init__(weights)
        if not beta > 0:
            raise ValueError(f"beta must be above 0, got {beta}")
        self.beta = beta

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the smooth L1 error of each target, ``(B, T)``."""
        return F.smooth_l1_loss(outputs, targets, beta=self.beta, reduction="none")
