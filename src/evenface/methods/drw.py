"""Deferred re-weighting (DRW): class weights for the last part of training."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evenface.data.imbalance import effective_number_weights
from evenface.methods.base import Method, Task


class DRW(Method):
    r"""Deferred re-weighting: class weights for the last part of training only.

    .. math:: L = w_y \, \ell(z, y), \quad w_j = 1 \text{ before the start, then }
        w_j \propto \frac{1 - \beta}{1 - \beta^{n_j}} \text{ with mean 1}

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`Method`. The source's loss is LDAM; a weight of the loss's own stays, and multiplies.
    task : Task
        Its counts give the weights.
    start : float, default=0.8
        Share of training that is done when the weights come in, from 0 (always) to 1 (never).
    beta : float, default=0.9999
        Of the effective number of samples, from 0 (all weights 1) to below 1.

    Raises
    ------
    InputError
        If a class has no sample or ``beta`` is out of range.
    ValueError
        If ``start`` is out of range.

    Notes
    -----
    The source divides a batch's loss by the sum of its weights, so that a batch of one class is not weighted at all;
    here the mean is over samples, as for every loss. The source also divides the learning rate by 100 where the
    weights come in, and again later: that is the recipe's schedule.

    References
    ----------
    Cao et al., *Learning imbalanced datasets with label-distribution-aware margin loss*, NeurIPS 2019, sec. 3.3 and
    algorithm 1; weights from epoch 160 of 200 on.
    """

    prior_reason = "deferred weights"
    weights: Tensor

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, start: float = 0.8, beta: float = 0.9999
    ) -> None:
        super().__init__(network, loss)
        if not 0 <= start <= 1:
            raise ValueError(f"start must be from 0 to 1, got {start}")
        self.start = start
        weights = effective_number_weights(task.counts, beta=beta, names=task.names)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the weights of the last part of training."""
        return super().prior_factor(counts) if self.start >= 1 else self.weights.double().cpu().numpy()

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the network's logits, weighted by class once the start has passed."""
        loss: Tensor = self.loss(self.network(images).logits, targets)
        return loss if self.ctx.progress < self.start else self.weights[targets] * loss
