"""Vector-scaling (VS) loss: logits scaled and shifted by class."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenface.data.imbalance import imbalance_ratios, inverse_frequency_weights
from evenface.losses.base import FocalForm, Loss, at_least_float32, check_logits, true_log_probability, weighted


class VectorScalingLoss(Loss):
    r"""Vector-scaling loss, one value per sample.

    .. math:: L = -\alpha_y \log \frac{e^{\Delta_y z_y + \iota_y}}{\sum_j e^{\Delta_j z_j + \iota_j}}, \quad
        \Delta_j = \left(\frac{n_j}{\max_k n_k}\right)^\gamma, \quad \iota_j = \tau \log \frac{n_j}{\sum_k n_k}

    Parameters
    ----------
    counts : array_like of shape (C,)
        Training samples n of each class, all above 0.
    gamma : float, default=0.3
        Strength of the multiplicative adjustment, >= 0. Zero gives logit adjustment.
    tau : float, default=1.0
        Strength of the additive adjustment, >= 0. Zero gives class-dependent temperatures (CDT).
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none means 1. See :mod:`evenface.data.imbalance`.

    Attributes
    ----------
    multiplicative : bool
        Whether the logits are scaled; the method ``adrw`` can end that within a run.

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        If ``gamma`` or ``tau`` is negative or, on calling, there is not one count per class.

    Notes
    -----
    Only training scales and shifts; prediction is the plain softmax of the logits. With ``gamma`` above 0 the loss
    depends on a constant that all logits have in common, and its minimum is no posterior.

    References
    ----------
    Kini et al., *Label-imbalanced and group-sensitive classification under overparameterization*, NeurIPS 2021, sec. 2
    (VS-loss); the defaults are those of the authors' program. CDT: Ye et al., *Identifying and compensating for feature
    deviation in imbalanced deep learning*, 2020.

    Examples
    --------
    >>> VectorScalingLoss(counts=[3, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))   # log 4/3, log 4
    tensor([0.2877, 1.3863])
    """

    alpha: Tensor | None
    scales: Tensor
    adjustment: Tensor

    prior_reason = "logit adjustment"

    def __init__(
        self, counts: npt.ArrayLike, gamma: float = 0.3, tau: float = 1.0, alpha: Tensor | None = None
    ) -> None:
        super().__init__()
        for name, value in (("gamma", gamma), ("tau", tau)):
            if not value >= 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        self.gamma, self.tau = gamma, tau
        self.multiplicative, self.exact_prior = gamma > 0, gamma == 0
        rarity = inverse_frequency_weights(counts, normalise="none")
        adjustment = -tau * np.log1p(imbalance_ratios(counts))  # 1 / pi = 1 + negatives over positives
        self.register_buffer("scales", torch.tensor((rarity.min() / rarity) ** gamma, dtype=torch.float32))
        self.register_buffer("adjustment", torch.tensor(adjustment, dtype=torch.float32))
        self.register_buffer("alpha", alpha)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the weights of the classes times the counts to the power of -tau."""
        return super().prior_factor(counts) * np.maximum(np.asarray(counts, dtype=np.float64), 1) ** -self.tau

    def focal_form(self, classes: int) -> FocalForm | None:  # noqa: ARG002
        """Return the loss as focal loss of shifted logits; None where they are scaled too."""
        return FocalForm(alpha=self.alpha, shift=self.adjustment) if self.gamma == 0 else None

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.adjustment)
        scaled = self.scales * at_least_float32(logits) if self.multiplicative else logits
        return weighted(-true_log_probability(scaled + self.adjustment, targets), targets, self.alpha)
