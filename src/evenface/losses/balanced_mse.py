"""Balanced mean squared error by batch-based Monte Carlo (BMC)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from evenface.data.manifest import TaskKind
from evenface.losses.target_base import TargetLoss


class BalancedMSELoss(TargetLoss):
    r"""Balanced squared error of each target: a softmax over the labels of the batch.

    .. math::
        \ell_{it} = -2 \sigma^2 \log \frac{e^{-(\hat y_{it} - y_{it})^2 / 2\sigma^2}}
        {\sum_j e^{-(\hat y_{it} - y_{jt})^2 / 2\sigma^2}}

    with the sum over the samples j of the batch whose target t is known.

    Parameters
    ----------
    noise : float, default=1.0
        :math:`\sigma`, above 0, in standard deviations of the training target, the scale of the network's outputs; its
        initial value where it is learnt.
    learn_noise : bool, default=False
        Whether :math:`\sigma` is learnt along with the network, one for all targets, as its logarithm. The factor
        :math:`2 \sigma^2` takes no gradient.

    Raises
    ------
    ValueError
        If ``noise`` is not above 0.

    Notes
    -----
    The batch's labels represent the training distribution, which the loss takes out of the squared error: its
    minimum is the regression for labels that are all equally frequent. Of one sample the value is 0. Where all labels
    of a batch are the same there is no gradient. For several targets the source has one softmax over whole label
    vectors; here each target has its own, as some of a vector may be missing. The source learns :math:`\sigma` itself
    with a learning rate of its own.

    References
    ----------
    Ren et al., *Balanced MSE for imbalanced visual regression*, CVPR 2022, eq. 3.9 and 3.10, and the authors' program
    for the factor.

    Examples
    --------
    >>> BalancedMSELoss()(torch.tensor([[0.0], [0.0]]), torch.tensor([[0.0], [0.0]]))   # 2 log 2
    tensor([1.3863, 1.3863])
    """

    tasks: ClassVar[tuple[TaskKind, ...]] = ("regression",)
    log_noise: Tensor

    def __init__(self, noise: float = 1.0, learn_noise: bool = False) -> None:
        super().__init__()
        if not noise > 0:
            raise ValueError(f"noise must be above 0, got {noise}")
        log_noise = torch.tensor(math.log(noise))
        if learn_noise:
            self.log_noise = nn.Parameter(log_noise)
        else:
            self.register_buffer("log_noise", log_noise)

    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the value of each target, ``(B, T)``."""
        double_variance = 2 * (2 * self.log_noise).exp()
        near = -((outputs[:, None] - targets[None]) ** 2) / double_variance
        # Of a target that no sample has, nothing is masked: the sum over nothing has no gradient that is a number.
        among = near.masked_fill(~known & known.any(dim=0), -math.inf).logsumexp(dim=1)
        own = -((outputs - targets) ** 2) / double_variance
        return double_variance.detach() * (among - own)
