"""Aligned deferred re-weighting (ADRW) and truncated logit adjustment (TLA)."""

import numpy as np
import torch
from torch import Tensor, nn

from evenface.data.imbalance import inverse_frequency_weights
from evenface.losses.vector_scaling import VectorScalingLoss
from evenface.methods.base import Task
from evenface.methods.drw import DRW


class ADRW(DRW):
    r"""Aligned deferred re-weighting: weights by a power of the class shares, for the last part of training.

    .. math:: L = w_y \, \ell(z, y), \quad w_j = 1 \text{ before the start, then }
        w_j \propto \pi_j^{-\nu} \text{ with mean 1}, \quad \pi_j = \frac{n_j}{\sum_k n_k}

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The source's losses are logit adjustment and vector scaling.
    task : Task
        Its counts give the weights.
    start : float, default=0.8
        Share of training that is done when the weights come in, from 0 (always) to 1 (never).
    nu : float, default=0.25
        :math:`\nu`, >= 0. Zero gives weights of 1, one is inverse frequency.
    truncate : bool, default=False
        Whether the multiplicative adjustment of a vector-scaling loss ends where the weights come in (TLA).

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        If ``start`` or ``nu`` is out of range, or ``truncate`` is set and the loss has nothing to truncate.

    Notes
    -----
    As of :class:`~evenface.methods.drw.DRW`, the mean of a batch is over samples, not over weights as in the source.

    References
    ----------
    Wang et al., *A unified generalization analysis of re-weighting and logit-adjustment for imbalanced learning*,
    NeurIPS 2023, sec. 4; weights from epoch 160 of 200 on, with exponents from 0.05 to 0.25.
    """

    prior_reason = "aligned deferred weights"

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        start: float = 0.8,
        nu: float = 0.25,
        truncate: bool = False,
    ) -> None:
        super().__init__(network, loss, task, start)
        if not 0 <= nu < float("inf"):
            raise ValueError(f"nu must be a number >= 0, got {nu}")
        if truncate and not (isinstance(loss, VectorScalingLoss) and loss.gamma > 0):
            raise ValueError("truncate needs loss.name: vector-scaling with a gamma above 0")
        self.truncate = truncate
        power = inverse_frequency_weights(task.counts, normalise="classes", names=task.names) ** nu
        self.weights = torch.tensor(power / np.mean(power), dtype=torch.float32)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the network's logits, weighted and truncated once the start has passed."""
        if self.truncate:
            self.loss.multiplicative = self.ctx.progress < self.start  # type: ignore[assignment]
        return super().training_loss(images, targets)
