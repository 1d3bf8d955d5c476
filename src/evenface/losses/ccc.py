"""Concordance correlation coefficient of a batch as a loss."""

from typing import ClassVar

from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.label_density import LabelWeights
from evenface.losses.target_base import TargetLoss

LEAST = 1e-8
"""Added to the denominator, which is 0 where outputs and targets are one same constant."""


class CCCLoss(TargetLoss):
    r"""One minus the concordance correlation coefficient of the batch, for each target.

    .. math::
        \ell_t = 1 - \frac{2 \operatorname{cov}(\hat y_t, y_t)}
        {\operatorname{var}(\hat y_t) + \operatorname{var}(y_t) + (\operatorname{mean}(\hat y_t)
        - \operatorname{mean}(y_t))^2}

    with the moments of the batch's samples whose target is known. Every such sample has the same value.

    Parameters
    ----------
    weights : LabelWeights, optional
        Weights of the samples in the moments, by the density of labels; none means 1. See
        :class:`~evenface.losses.density_weighted.DensityWeightedLoss`.

    Raises
    ------
    ValueError
        On calling, if there are not as many targets.

    Notes
    -----
    It depends on the batch: of small batches the moments are noisy, and a target that is known for one sample, or
    constant in the batch, has the value 1 and nearly no gradient. Batches of 32 and more are usual. Each of several
    devices has the coefficient of its own part of the batch.

    References
    ----------
    Lin, *A concordance correlation coefficient to evaluate reproducibility*, Biometrics 1989; as a loss: Trigeorgis et
    al., *Adieu features?*, ICASSP 2016.

    Examples
    --------
    >>> import torch
    >>> CCCLoss()(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))   # 1 - 2 * 0.5 / (1 + 0.25 + 0.25)
    tensor([0.3333, 0.3333])
    """

    tasks: ClassVar[tuple[TaskKind, ...]] = ("regression",)

    def __init__(self, weights: LabelWeights | None = None) -> None:
        super().__init__()
        self.weights = weights

    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the value of each target, ``(B, T)``: the same for all samples."""
        share = known.to(outputs.dtype)
        if self.weights is not None:
            share = share * self.weights(targets)
        share = share / share.sum(dim=0).clamp_min(LEAST)
        mean, true_mean = (share * outputs).sum(dim=0), (share * targets).sum(dim=0)
        off, true_off = outputs - mean, targets - true_mean
        covariance = (share * off * true_off).sum(dim=0)
        spread = (share * (off**2 + true_off**2)).sum(dim=0) + (mean - true_mean) ** 2
        return (1 - 2 * covariance / (spread + LEAST)).expand_as(outputs)
