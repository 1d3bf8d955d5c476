"""Logit-adjusted cross-entropy."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenface.data.imbalance import imbalance_ratios
from evenface.losses.base import FocalForm, Loss, check_logits, true_log_probability


class LogitAdjustmentLoss(Loss):
    r"""Logit-adjusted softmax cross-entropy, one value per sample.

    .. math:: L = -\log \frac{e^{z_y + \tau \log \pi_y}}{\sum_j e^{z_j + \tau \log \pi_j}}, \quad
        \pi_j = \frac{n_j}{\sum_k n_k}

    Parameters
    ----------
    counts : array_like of shape (C,)
        Training samples n of each class, all above 0.
    tau : float, default=1.0
        Strength of the adjustment, >= 0. Zero gives cross-entropy; only 1 aims at the mean recall of the classes.

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        If ``tau`` is negative or, on calling, there is not one count per class.

    Notes
    -----
    Only training adds the term; prediction is the plain softmax of the logits.

    References
    ----------
    Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021, eq. 10.

    Examples
    --------
    >>> LogitAdjustmentLoss(counts=[3, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))   # log 4/3, log 4
    tensor([0.2877, 1.3863])
    """

    adjustment: Tensor

    exact_prior = True
    prior_reason = "logit adjustment"

    def __init__(self, counts: npt.ArrayLike, tau: float = 1.0) -> None:
        super().__init__()
        if not tau >= 0:
            raise ValueError(f"tau must be >= 0, got {tau}")
        self.tau = tau
        adjustment = -tau * np.log1p(imbalance_ratios(counts))  # 1 / pi = 1 + negatives over positives
        self.register_buffer("adjustment", torch.tensor(adjustment, dtype=torch.float32))

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the counts to the power of -tau: with tau 1 the prior is uniform."""
        return np.asarray(np.maximum(np.asarray(counts, dtype=np.float64), 1) ** -self.tau)

    def focal_form(self, classes: int) -> FocalForm:  # noqa: ARG002
        """Return the loss as focal loss of shifted logits."""
        return FocalForm(shift=self.adjustment)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.adjustment)
        return -true_log_probability(logits + self.adjustment, targets)
