"""Remix: mixup whose labels favour the rarer class."""

import numpy as np
import torch
from torch import Tensor, nn

from evenface.methods.base import Task
from evenface.methods.mixup import Mixup


class Remix(Mixup):
    r"""Remix: images are mixed as in mixup, labels in favour of the rarer class.

    .. math:: \lambda_y = \begin{cases}
        0 & n_i / n_j \ge \kappa \text{ and } \lambda < \tau \\
        1 & n_i / n_j \le 1 / \kappa \text{ and } 1 - \lambda < \tau \\
        \lambda & \text{otherwise}\end{cases}

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`Method`.
    task : Task
        Its counts n determine which class is the rarer.
    alpha : float, default=1.0
        Of Beta(alpha, alpha), at least 0.01.
    kappa : float, default=3.0
        How many times as many samples make a class the frequent one of two, >= 1.
    tau : float, default=0.5
        The frequent class loses its label where its image has less than this share, from 0 (mixup) to 1.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Chou et al., *Remix: rebalanced mixup*, ECCV workshops 2020, sec. 3.
    """

    exact_prior = False  # labels go to the rarer class
    counts: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        alpha: float = 1.0,
        kappa: float = 3.0,
        tau: float = 0.5,
    ) -> None:
        super().__init__(network, loss, alpha)
        if not kappa >= 1:
            raise ValueError(f"kappa must be >= 1, got {kappa}")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be from 0 to 1, got {tau}")
        self.kappa, self.tau = kappa, tau
        self.register_buffer("counts", torch.tensor(np.asarray(task.counts), dtype=torch.int64), persistent=False)

    def label_share(self, share: float, targets: Tensor, others: Tensor) -> Tensor:
        """Return the first label's share of each sample's loss, ``(B,)``: the rarer class may take all of it."""
        first, second = self.counts[targets], self.counts[others]
        shares = super().label_share(share, targets, others)
        # Written as products: a ratio of 3 exactly is 3 exactly, and 1 / kappa is not rounded.
        if 1 - share < self.tau:
            shares = shares.masked_fill(self.kappa * first <= second, 1.0)
        if share < self.tau:
            shares = shares.masked_fill(first >= self.kappa * second, 0.0)
        return shares
