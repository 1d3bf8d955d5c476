"""Large margin cosine loss (CosFace): one margin for all classes; optionally focal and weighted."""

import torch
from torch import Tensor

from evenface.losses.base import (
    FocalForm,
    Loss,
    check_logits,
    focal_factor,
    subtract_margin,
    true_log_probability,
    weighted,
)


class CosFaceLoss(Loss):
    r"""Large margin cosine loss, one value per sample.

    .. math::
        L = -\alpha_y (1 - p_y)^\gamma \log p_y, \quad
        p_y = \frac{e^{z_y - sm}}{e^{z_y - sm} + \sum_{j \ne y} e^{z_j}}

    Parameters
    ----------
    margin : float, default=0.35
        m, >= 0, in units of a cosine. Zero gives (weighted, focal) cross-entropy.
    scale : float, default=30.0
        s, above 0: the logits of a cosine of 1; a recipe with a cosine head passes the head's.
    gamma : float, default=0.0
        Focusing strength, >= 0. The source has none; above 0 this is focal loss behind the margin.
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none, as in the source, means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    ValueError
        If ``margin``, ``scale`` or ``gamma`` is out of range or, on calling, ``alpha`` does not have one weight per
        class.

    Notes
    -----
    The source's logits are cosines of features and class weights, times s: ``network.head: cosine``. A linear head
    has no such scale; the margin is then ``scale * margin`` logits, and the head may outgrow it.

    References
    ----------
    Wang et al., *CosFace: large margin cosine loss for deep face recognition*, CVPR 2018, eq. 4.

    Examples
    --------
    >>> import torch
    >>> CosFaceLoss(margin=0.5, scale=2.0)(torch.zeros(1, 2), torch.tensor([0]))   # log(1 + e)
    tensor([1.3133])
    """

    alpha: Tensor | None

    def __init__(
        self, margin: float = 0.35, scale: float = 30.0, gamma: float = 0.0, alpha: Tensor | None = None
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        for name, value in (("margin", margin), ("gamma", gamma)):
            if not value >= 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        self.margin, self.gamma = scale * margin, gamma
        self.register_buffer("alpha", alpha)

    def focal_form(self, classes: int) -> FocalForm:
        """Return the loss as focal loss of shifted logits."""
        return FocalForm(self.gamma, self.alpha, -self.margin * torch.eye(classes))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.alpha)
        log_p = true_log_probability(subtract_margin(logits, targets, self.margin), targets)
        return weighted(-focal_factor(log_p, self.gamma) * log_p, targets, self.alpha)
