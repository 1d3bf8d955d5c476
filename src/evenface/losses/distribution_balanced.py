"""Distribution-balanced loss: weights that know of targets that occur together, and negatives that are tolerated."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.base import focal_factor
from evenface.losses.target_base import TargetLoss, check_one_per_target


class DistributionBalancedLoss(TargetLoss):
    r"""Distribution-balanced loss of each target, with its focal factor, one value per sample.

    .. math::
        \ell_t &= b \, \hat r_t \Bigl(-y_t (1 - q_t)^\gamma \log q_t
            - \frac{1 - y_t}{\lambda} \bar q_t^\gamma \log(1 - \bar q_t)\Bigr), \qquad
        q_t = \sigma(z_t - \nu_t), \quad \bar q_t = \sigma(\lambda(z_t - \nu_t)) \\
        \hat r_t &= \alpha + \sigma\bigl(\beta (r_t - \mu)\bigr), \qquad
        r_t = \frac{1 / n_t}{\sum_{j: y_j = 1} 1 / n_j}, \qquad
        \nu_t = \frac{\kappa}{\lambda} \log\Bigl(\frac{N_t}{n_t} - 1\Bigr)

    with :math:`n_t` positives among the :math:`N_t` known training samples of a target.

    Parameters
    ----------
    targets : array_like of shape (N, T)
        Training targets, NaN where missing; 0.5 and more is positive.
    alpha, beta, mu : float, default=0.1, 10.0, 0.3
        Map the ratio r of the weight that sampling by the target alone would give and the one that sampling by all of
        the sample's targets gives into a range that trains well. Alpha is >= 0, beta above 0.
    scale : float, default=5.0
        :math:`\lambda`, above 0: above 1, the loss of negatives grows only near the threshold and not far above.
    kappa : float, default=0.05
        Strength of the bias :math:`\nu`, >= 0.
    gamma : float, default=2.0
        Focusing strength, >= 0; 0 is the source's loss without focal factor.
    balance : float, default=2.0
        b, a factor of all, above 0.

    Raises
    ------
    ValueError
        If a value is out of range or, on calling, there is not one count per target.

    Notes
    -----
    The defaults are those of the authors for Pascal VOC with its 20 targets; for COCO with its 80 they set
    :math:`\mu = 0.2` and :math:`\lambda = 2`. In their work samples are drawn by the rarest class too
    (``training.sampling: inverse`` draws by combinations of targets). A sample without any positive has the weight
    :math:`\alpha + 1` for each target, as in their program; missing targets do not count as positive. Counts are at
    least 1 and at most :math:`N_t - 1`, so that targets of one value have finite weights and biases.

    References
    ----------
    Wu et al., *Distribution-balanced loss for multi-label classification in long-tailed datasets*, ECCV 2020, sec. 3;
    the factors b, :math:`\gamma` and the division of :math:`\kappa` by :math:`\lambda` are those of the authors'
    program.

    Examples
    --------
    >>> targets = [[1, 0]] * 2 + [[0, 1]] * 2
    >>> DistributionBalancedLoss(targets, gamma=0, balance=1)(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([0.4571])
    """

    tasks: ClassVar[tuple[TaskKind, ...]] = ("multilabel",)
    rarity: Tensor
    bias: Tensor

    def __init__(
        self,
        targets: npt.ArrayLike,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.3,
        scale: float = 5.0,
        kappa: float = 0.05,
        gamma: float = 2.0,
        balance: float = 2.0,
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("kappa", kappa), ("gamma", gamma)):
            if not value >= 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        for name, value in (("beta", beta), ("scale", scale), ("balance", balance)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.scale, self.gamma, self.balance = scale, gamma, balance
        values = np.asarray(targets, dtype=np.float64)
        known = np.maximum((~np.isnan(values)).sum(axis=0), 2)
        positives = (values >= 0.5).sum(axis=0).clip(1, known - 1)
        self.register_buffer("rarity", torch.tensor(1 / positives, dtype=torch.float32))
        bias = kappa / scale * np.log(known / positives - 1)
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float32))

    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the value of each target, ``(B, T)``."""
        check_one_per_target(outputs, self.bias)
        moved = outputs - self.bias
        log_p, log_rest = F.logsigmoid(moved), F.logsigmoid(-self.scale * moved)
        positive = focal_factor(log_p, self.gamma) * log_p
        negative = focal_factor(log_rest, self.gamma) * log_rest / self.scale
        return -self.balance * self.weights(targets) * (targets * positive + (1 - targets) * negative)

    def weights(self, targets: Tensor) -> Tensor:
        """Compute the rebalanced weight of each target of each sample, ``(B, T) -> (B, T)``."""
        ratio = self.rarity / (targets * self.rarity).sum(dim=1, keepdim=True)  # infinite without a positive
        return self.alpha + torch.sigmoid(self.beta * (ratio - self.mu))
