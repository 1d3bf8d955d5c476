"""Balanced softmax: cross-entropy of a softmax weighted by the training counts."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenface.data.imbalance import inverse_frequency_weights
from evenface.losses.base import FocalForm, Loss, check_logits, true_log_probability


class BalancedSoftmaxLoss(Loss):
    r"""Balanced softmax, one value per sample.

    .. math:: L = -\log \frac{n_y e^{z_y}}{\sum_j n_j e^{z_j}}

    Parameters
    ----------
    counts : array_like of shape (C,)
        Training samples n of each class, all above 0.

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        On calling, if there is not one count per class.

    Notes
    -----
    Only training counts; prediction is the plain softmax of the logits. It equals logit adjustment with tau = 1.

    References
    ----------
    Ren et al., *Balanced meta-softmax for long-tailed visual recognition*, NeurIPS 2020, sec. 3.

    Examples
    --------
    >>> BalancedSoftmaxLoss(counts=[3, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))   # log 4/3, log 4
    tensor([0.2877, 1.3863])
    """

    log_counts: Tensor

    exact_prior = True
    prior_reason = "balanced softmax"

    def __init__(self, counts: npt.ArrayLike) -> None:
        super().__init__()
        # Against the rarest class: a factor common to all counts cancels, and small numbers keep more digits.
        rarity = inverse_frequency_weights(counts, normalise="none")
        self.register_buffer("log_counts", torch.tensor(rarity.max() / rarity).log().float())

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return 1 over the counts: the prior is uniform."""
        return 1.0 / np.maximum(np.asarray(counts, dtype=np.float64), 1)

    def focal_form(self, classes: int) -> FocalForm:  # noqa: ARG002
        """Return the loss as focal loss of shifted logits."""
        return FocalForm(shift=self.log_counts)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.log_counts)
        return -true_log_probability(logits + self.log_counts, targets)
