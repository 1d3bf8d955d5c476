"""Absolute error of continuous targets."""

import torch.nn.functional as F
from torch import Tensor

from evenface.losses.density_weighted import DensityWeightedLoss


class AbsoluteErrorLoss(DensityWeightedLoss):
    r"""Absolute error, one value per sample.

    .. math:: \ell_t = w(y_t) \, |\hat y_t - y_t|

    Parameters
    ----------
    weights : LabelWeights, optional
        See :class:`~evenface.losses.density_weighted.DensityWeightedLoss`.

    Notes
    -----
    Its minimum is the median of the target given the face. Of a target that is 0 in most samples, as PSPI is, that
    median is 0 for many faces, so without weights it may predict hardly anything else.

    References
    ----------
    Yang et al., *Delving into deep imbalanced regression*, ICML 2021, sec. 3.1, for the weights; it is the loss of
    their experiments.

    Examples
    --------
    >>> import torch
    >>> AbsoluteErrorLoss()(torch.zeros(2, 2), torch.tensor([[1.0, -2.0], [3.0, torch.nan]]))
    tensor([1.5000, 3.0000])
    """

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the absolute error of each target, ``(B, T)``."""
        return F.l1_loss(outputs, targets, reduction="none")
