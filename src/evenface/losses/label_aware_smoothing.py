"""Label-aware smoothing: labels of frequent classes are smoothed more."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenface.data.imbalance import inverse_frequency_weights
from evenface.losses.base import Loss, at_least_float32, check_logits, weighted
from evenface.utils.registry import find

Shape = Literal["concave", "linear", "convex"]
SHAPES: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "concave": lambda place: np.asarray(np.sin(place * np.pi / 2)),
    "linear": lambda place: place,
    "convex": lambda place: np.asarray(1 - np.cos(place * np.pi / 2)),
}
"""Share of the way from tail to head, of a class whose count is so far from the smallest (0) to the largest (1)."""


def smoothing_of_classes(
    counts: npt.ArrayLike, head: float = 0.3, tail: float = 0.0, shape: str = "concave"
) -> npt.NDArray[np.float64]:
    r"""Compute the label smoothing of each class from its training samples.

    .. math:: \epsilon_j = \epsilon_{tail} + (\epsilon_{head} - \epsilon_{tail}) \sin \frac{\pi (n_j - \min_k n_k)}
        {2 (\max_k n_k - \min_k n_k)}

    of the shape ``concave``; classes of equal counts all have that of the head.

    Examples
    --------
    >>> smoothing_of_classes([100, 40, 10]).round(3)
    array([0.3 , 0.15, 0.  ])
    """
    if not 0 <= tail <= head < 1:
        raise ValueError(f"smoothing must be 0 <= tail <= head < 1, got a head of {head} and a tail of {tail}")
    n = 1 / inverse_frequency_weights(counts, normalise="none")
    place = (n - n.min()) / np.ptp(n) if np.ptp(n) > 0 else np.ones_like(n)
    return np.asarray(tail + (head - tail) * find("shape of the smoothing", shape, SHAPES)(place))


class LabelAwareSmoothingLoss(Loss):
    r"""Cross-entropy against labels smoothed by class, one value per sample.

    .. math:: L = -\alpha_y \left[(1 - \epsilon_y) \log p_y + \frac{\epsilon_y}{C} \sum_j \log p_j\right]

    with :math:`\epsilon_y` from ``tail`` of the rarest to ``head`` of the most frequent class, see
    :func:`~evenface.losses.label_aware_smoothing.smoothing_of_classes`.

    Parameters
    ----------
    counts : array_like of shape (C,)
        Training samples of each class, all above 0.
    head, tail : float, default=0.3, 0.0
        Smoothing of the most frequent and of the rarest class, 0 <= tail <= head < 1. Of equal values this is label
        smoothing.
    shape : {"concave", "linear", "convex"}, default="concave"
        How the smoothing rises with the count.
    alpha : Tensor of shape (C,), optional
        Weight of each true class; none, as in the source, means 1. See :mod:`evenface.data.imbalance`.

    Raises
    ------
    InputError
        If a class has no sample or ``shape`` is unknown.
    ValueError
        If ``head`` or ``tail`` is out of range or, on calling, there is not one count per class.

    Notes
    -----
    The paper gives the smoothed part to the other classes alone, :math:`\epsilon_y / (C - 1)` each; the authors'
    program, of which the defaults are, spreads it over all classes, as here.

    References
    ----------
    Zhong et al., *Improving calibration for long-tailed recognition*, CVPR 2021, sec. 3.2.

    Examples
    --------
    >>> LabelAwareSmoothingLoss(counts=[100, 10])(torch.zeros(1, 2), torch.tensor([0]))   # log 2
    tensor([0.6931])
    """

    prior_reason = "label-aware smoothing"
    alpha: Tensor | None
    smoothing: Tensor

    def __init__(
        self,
        counts: npt.ArrayLike,
        head: float = 0.3,
        tail: float = 0.0,
        shape: Shape = "concave",
        alpha: Tensor | None = None,
    ) -> None:
        super().__init__()
        smoothing = smoothing_of_classes(counts, head, tail, shape)
        self.register_buffer("smoothing", torch.tensor(smoothing, dtype=torch.float32))
        self.register_buffer("alpha", alpha)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the weights of the classes times what smoothing leaves of their labels."""
        return np.asarray(super().prior_factor(counts) * (1 - self.smoothing.double().cpu().numpy()))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        check_logits(logits, targets, self.smoothing)
        log_p = at_least_float32(logits).log_softmax(dim=-1)
        true = log_p.gather(-1, targets[:, None])[:, 0]
        epsilon = self.smoothing[targets]
        return weighted(-(1 - epsilon) * true - epsilon * log_p.mean(dim=-1), targets, self.alpha)
