"""Cross-entropy, plain or with class weights."""

from torch import Tensor

from evenface.losses.base import FocalForm, Loss, check_logits, true_log_probability, weighted


class CrossEntropyLoss(Loss):
    r"""Cross-entropy, one value per sample.

    .. math:: CE = -\alpha_y \log p_y

    Parameters
    ----------
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    ValueError
        On calling, if ``alpha`` does not have one weight per class.

    Notes
    -----
    The mean of these values over a batch is not what ``torch.nn.CrossEntropyLoss(weight)`` gives: that divides by the
    sum of the batch's weights. Keep weights at mean 1 and the scale is the usual one.

    References
    ----------
    Lu et al., *Handling class imbalance in video-based pain intensity estimation using ResNetBiLSTM*, IJEER 2025,
    eq. 14 and, for the weights, eq. 17.

    Examples
    --------
    >>> import torch
    >>> CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([0, 3]))   # log 4
    tensor([1.3863, 1.3863])
    """

    exact_prior = True
    alpha: Tensor | None

    def __init__(self, alpha: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("alpha", alpha)

    def focal_form(self, classes: int) -> FocalForm:  # noqa: ARG002
        """Return the loss as focal loss of shifted logits."""
        return FocalForm(alpha=self.alpha)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.alpha)
        return weighted(-true_log_probability(logits, targets), targets, self.alpha)
