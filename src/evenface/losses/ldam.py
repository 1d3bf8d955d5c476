"""Label-distribution-aware margin loss (LDAM): larger margins for rarer classes."""

import numpy.typing as npt
import torch
from torch import Tensor

from evenface.data.imbalance import inverse_frequency_weights
from evenface.losses.base import FocalForm, Loss, check_logits, subtract_margin, true_log_probability, weighted


class LDAMLoss(Loss):
    r"""Label-distribution-aware margin loss, one value per sample.

    .. math::
        LDAM = -\alpha_y \log \frac{e^{z_y - s\Delta_y}}{e^{z_y - s\Delta_y} + \sum_{j \ne y} e^{z_j}},
        \quad \Delta_j = \frac{C}{n_j^{1/4}}

    with C such that the rarest class has the margin ``max_margin``.

    Parameters
    ----------
    counts : array_like of shape (C,)
        Training samples of each class, all above 0.
    max_margin : float, default=0.5
        Margin of the rarest class, >= 0, in units of a cosine. Zero gives (weighted) cross-entropy.
    scale : float, default=30.0
        The logits of a cosine of 1, above 0; a recipe with a cosine head passes the head's.
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        If ``max_margin`` or ``scale`` is out of range, ``alpha`` does not have one weight per class or, on calling,
        there is not one count per class.

    Notes
    -----
    The source's logits are cosines of features and class weights, times s: ``network.head: cosine``. A linear head
    has no such scale; the margin is then ``scale * max_margin`` logits, and the head may outgrow it.

    References
    ----------
    Cao et al., *Learning imbalanced datasets with label-distribution-aware margin loss*, NeurIPS 2019, sec. 3.2.

    Examples
    --------
    >>> LDAMLoss(counts=[160000, 10000], scale=2.0)(torch.zeros(2, 2), torch.tensor([0, 1]))   # margins 0.25 and 0.5
    tensor([0.9741, 1.3133])
    """

    alpha: Tensor | None
    margins: Tensor

    def __init__(
        self, counts: npt.ArrayLike, max_margin: float = 0.5, scale: float = 30.0, alpha: Tensor | None = None
    ) -> None:
        super().__init__()
        if not max_margin >= 0:
            raise ValueError(f"max_margin must be >= 0, got {max_margin}")
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        rarity = inverse_frequency_weights(counts, normalise="none") ** 0.25
        margins = torch.tensor(scale * max_margin * rarity / rarity.max(), dtype=torch.float32)
        if alpha is not None and alpha.shape != margins.shape:
            raise ValueError(f"alpha must hold {len(margins)} weights, one per class, got shape {tuple(alpha.shape)}")
        self.register_buffer("margins", margins)
        self.register_buffer("alpha", alpha)

    def focal_form(self, classes: int) -> FocalForm:  # noqa: ARG002
        """Return the loss as focal loss of shifted logits."""
        return FocalForm(alpha=self.alpha, shift=-torch.diag(self.margins))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.margins)
        log_p = true_log_probability(subtract_margin(logits, targets, self.margins[targets]), targets)
        return weighted(-log_p, targets, self.alpha)
