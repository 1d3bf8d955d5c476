"""Focal loss."""

from torch import Tensor

from evenface.losses.base import FocalForm, Loss, check_logits, focal_factor, true_log_probability, weighted


class FocalLoss(Loss):
    r"""Focal loss, one value per sample.

    .. math:: FL = -\alpha_y (1 - p_y)^\gamma \log p_y

    Parameters
    ----------
    gamma : float, default=2.0
        Focusing strength, >= 0. Zero gives (weighted) cross-entropy.
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    ValueError
        If ``gamma`` is negative or, on calling, ``alpha`` does not have one weight per class.

    Notes
    -----
    ``p_y`` is the plain softmax probability: weighting it inside the power, as some implementations do, gives another
    function as soon as a weight differs from 1.

    References
    ----------
    Lin et al., *Focal loss for dense object detection*, ICCV 2017, eq. 5.

    Examples
    --------
    >>> import torch
    >>> FocalLoss(gamma=0.0)(torch.zeros(2, 4), torch.tensor([0, 3]))   # log 4, whatever the class
    tensor([1.3863, 1.3863])
    """

    exact_prior = True
    alpha: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: Tensor | None = None) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must be >= 0, got {gamma}")
        self.gamma = gamma
        self.register_buffer("alpha", alpha)

    def focal_form(self, classes: int) -> FocalForm:  # noqa: ARG002
        """Return the loss as focal loss of shifted logits."""
        return FocalForm(self.gamma, self.alpha)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.alpha)
        log_p = true_log_probability(logits, targets)
        return weighted(-focal_factor(log_p, self.gamma) * log_p, targets, self.alpha)
