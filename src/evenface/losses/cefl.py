"""Cross-entropy focal loss (CEFL): cross-entropy for hard samples, focal loss for easy ones."""

from torch import Tensor

from evenface.losses.base import Loss, check_logits, focal_factor, true_log_probability, weighted


class CEFLLoss(Loss):
    r"""Cross-entropy focal loss, one value per sample.

    .. math:: CEFL = -\alpha_y [(1 - p_y) \log p_y + p_y (1 - p_y)^\gamma \log p_y]

    Hard samples (p near 0) keep the whole of their cross-entropy, which focal loss reduces; easy ones are focal.

    Parameters
    ----------
    gamma : float, default=2.0
        Focusing strength, >= 0. Zero gives (weighted) cross-entropy.
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none, as in the formula's source, means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    ValueError
        If ``gamma`` is negative or, on calling, ``alpha`` does not have one weight per class.

    References
    ----------
    Lu et al., *Handling class imbalance in video-based pain intensity estimation using ResNetBiLSTM*, IJEER 2025,
    eq. 16; p is read as the plain probability of the true class.

    Examples
    --------
    >>> import torch
    >>> CEFLLoss(gamma=2.0)(torch.zeros(1, 2), torch.tensor([0]))   # (1/2 + 1/8) log 2
    tensor([0.4332])
    """

    exact_prior = True
    alpha: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: Tensor | None = None) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must be >= 0, got {gamma}")
        self.gamma = gamma
        self.register_buffer("alpha", alpha)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.alpha)
        log_p = true_log_probability(logits, targets)
        share = -log_p.expm1() + log_p.exp() * focal_factor(log_p, self.gamma)
        return weighted(-share * log_p, targets, self.alpha)
