"""Label smoothing: cross-entropy against smoothed labels."""

from torch import Tensor

from evenface.losses.base import Loss, at_least_float32, check_logits, weighted


class LabelSmoothingLoss(Loss):
    r"""Cross-entropy against smoothed labels, one value per sample.

    .. math:: L = -\alpha_y \left[(1 - \epsilon) \log p_y + \frac{\epsilon}{C} \sum_j \log p_j\right]

    Parameters
    ----------
    epsilon : float, default=0.1
        Share of the label that is spread over all classes, the true one too; from 0 to below 1. Zero gives (weighted)
        cross-entropy.
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none, as in the source, means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    ValueError
        If ``epsilon`` is out of range or, on calling, ``alpha`` does not have one weight per class.

    Notes
    -----
    The weight is that of the sample. ``torch.nn.CrossEntropyLoss(weight, label_smoothing=...)`` weighs the spread part
    by the class that it goes to instead.

    References
    ----------
    Szegedy et al., *Rethinking the Inception architecture for computer vision*, CVPR 2016, sec. 7.

    Examples
    --------
    >>> import torch
    >>> LabelSmoothingLoss(epsilon=0.1)(torch.zeros(1, 4), torch.tensor([0]))   # log 4: nothing to be too sure of
    tensor([1.3863])
    """

    exact_prior = True
    alpha: Tensor | None

    def __init__(self, epsilon: float = 0.1, alpha: Tensor | None = None) -> None:
        super().__init__()
        if not 0 <= epsilon < 1:
            raise ValueError(f"epsilon must be from 0 to below 1, got {epsilon}")
        self.epsilon = epsilon
        self.register_buffer("alpha", alpha)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.alpha)
        log_p = at_least_float32(logits).log_softmax(dim=-1)
        true = log_p.gather(-1, targets[:, None])[:, 0]
        return weighted(-(1 - self.epsilon) * true - self.epsilon * log_p.mean(dim=-1), targets, self.alpha)
