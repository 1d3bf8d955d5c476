"""Squared error of continuous targets."""

import torch.nn.functional as F
from torch import Tensor

from evenface.losses.density_weighted import DensityWeightedLoss


class SquaredErrorLoss(DensityWeightedLoss):
    r"""Squared error, one value per sample.

    .. math:: \ell_t = w(y_t) \, (\hat y_t - y_t)^2

    Parameters
    ----------
    weights : LabelWeights, optional
        See :class:`~evenface.losses.density_weighted.DensityWeightedLoss`.

    Notes
    -----
    Its minimum is the mean of the target given the face. Where high values are rare it predicts them too low: the mean
    goes towards what is frequent. Weights move it to the mean under another distribution of labels.

    References
    ----------
    Yang et al., *Delving into deep imbalanced regression*, ICML 2021, sec. 3.1, for the weights.

    Examples
    --------
    >>> import torch
    >>> SquaredErrorLoss()(torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [3.0, torch.nan]]))
    tensor([2.5000, 9.0000])
    """

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the squared error of each target, ``(B, T)``."""
        return F.mse_loss(outputs, targets, reduction="none")
