"""Gaussian clouded logit adjustment (GCL): random margins that are larger for rare classes."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenface.data.imbalance import inverse_frequency_weights
from evenface.losses.base import Loss, at_least_float32, check_logits, true_log_probability, weighted


class GaussianCloudedLoss(Loss):
    r"""Cross-entropy of Gaussian clouded logits, one value per sample.

    .. math:: L = -\alpha_y \log \frac{e^{z_y - s a \delta_y |\epsilon_y|}}{\sum_j e^{z_j - s a \delta_j |\epsilon_j|}},
        \quad \delta_j = \frac{\log \max_k n_k - \log n_j}{\log \max_k n_k - \log \min_k n_k}

    with :math:`\epsilon_j` drawn for each sample and class from a normal distribution of standard deviation 1/3, and
    cut to -1 to 1.

    Parameters
    ----------
    counts : array_like of shape (C,)
        Training samples n of each class, all above 0.
    noise : float, default=0.5
        Amplitude a of the rarest class, >= 0, in units of a cosine. Zero gives (weighted) cross-entropy.
    scale : float, default=30.0
        s, above 0: the logits of a cosine of 1; a recipe with a cosine head passes the head's.
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none, as in the source, means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        If ``noise`` or ``scale`` is out of range or, on calling, there is not one count per class.

    Notes
    -----
    In evaluation mode there is no noise. Numbers come from torch's CPU generator, so that every device draws alike.
    The source's logits are cosines of features and class weights, times s: ``network.head: cosine``. Its second stage
    trains the classifier again with samples drawn by effective number; here that is another method, such as ``crt``.

    References
    ----------
    Li, Cheung and Lu, *Long-tailed visual recognition via Gaussian clouded logit adjustment*, CVPR 2022, sec. 3; the
    normalisation by the largest amplitude, the cut and the defaults are those of the authors' program.

    Examples
    --------
    >>> loss = GaussianCloudedLoss(counts=[100, 10]).eval()
    >>> loss(torch.zeros(1, 2), torch.tensor([0]))   # log 2: without noise it is cross-entropy
    tensor([0.6931])
    """

    draws: ClassVar[bool] = True
    alpha: Tensor | None
    amplitudes: Tensor

    def __init__(
        self, counts: npt.ArrayLike, noise: float = 0.5, scale: float = 30.0, alpha: Tensor | None = None
    ) -> None:
        super().__init__()
        if not noise >= 0:
            raise ValueError(f"noise must be >= 0, got {noise}")
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        rarity = inverse_frequency_weights(counts, normalise="none")
        delta = np.log(rarity / rarity.min())
        amplitudes = scale * noise * delta / max(delta.max(), np.finfo(np.float64).tiny)
        self.register_buffer("amplitudes", torch.tensor(amplitudes, dtype=torch.float32))
        self.register_buffer("alpha", alpha)

    def draw(self, shape: torch.Size) -> Tensor:
        """Draw the absolute values of the noise, from 0 to 1."""
        return (torch.randn(shape) / 3).clamp(-1, 1).abs()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.amplitudes)
        clouded = at_least_float32(logits)
        if self.training:
            clouded = clouded - self.amplitudes * self.draw(logits.shape).to(clouded)
        return weighted(-true_log_probability(clouded, targets), targets, self.alpha)
