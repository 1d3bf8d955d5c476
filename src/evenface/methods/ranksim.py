"""RankSim: neighbours in the order of the labels are neighbours in the order of the features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.losses.base import at_least_float32
from evenface.methods.attention_consistency import check_weight
from evenface.methods.base import Method


class RankSim(Method):
    r"""Ranking similarity regularisation (RankSim) of continuous targets.

    .. math::
        \ell + \gamma \sum_{i=1}^{M} \frac{1}{M} \bigl\| \operatorname{rk}(S^y_{i}) - \operatorname{rk}(S^z_{i})
        \bigr\|^2, \qquad S^y_{ij} = -|y_i - y_j|, \quad S^z_{ij} = \cos(z_i, z_j)

    over M samples of the batch that have different targets, with the ranks in falling order divided by M. Ranks have no
    gradient; that of the best linear interpolation takes its place:

    .. math:: \frac{\partial \operatorname{rk}}{\partial a} g = -\frac{\operatorname{rk}(a) - \operatorname{rk}(a +
        \lambda g)}{\lambda}

    with the gradient g of the weighted term by the ranks. It is computed with the term, so that the factor by which
    losses of 16 bits are scaled has no part in it.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    weight : float, default=6.3
        :math:`\gamma`, >= 0. The source has 100 with errors in years of age, of a standard deviation of 15.8; errors
        are in standard deviations here.
    interpolation : float, default=2.0
        :math:`\lambda`, above 0.

    Raises
    ------
    ValueError
        If a value is out of range.

    Notes
    -----
    Of samples of one target a random one takes part. For several targets, :math:`S^y` is minus the Euclidean distance
    of the standardised rows, and samples of which one target is missing take no part; the source has one target. Each
    of several devices ranks its own part of the batch. Equal similarities are ranked in the order of the batch.

    References
    ----------
    Gong, Mori and Tung, *RankSim: ranking similarity regularization for deep imbalanced regression*, ICML 2022, eq. 5;
    the gradient: Vlastelica et al., *Differentiation of blackbox combinatorial solvers*, ICLR 2020.
    """

    tasks = ("regression",)

    def __init__(self, network: nn.Module, loss: nn.Module, weight: float = 6.3, interpolation: float = 2.0) -> None:
        super().__init__(network, loss)
        self.weight = check_weight("weight", weight)
        if not 0 < interpolation < float("inf"):
            raise ValueError(f"interpolation must be a number above 0, got {interpolation}")
        self.interpolation = interpolation

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss plus the difference of the ranks in the batch, one value per sample."""
        out, encoded = self.network(images), self.encode(targets)
        loss: Tensor = self.loss(out.logits, encoded)
        return loss + rank_difference(out.features, encoded, self.interpolation, self.weight)


def rank_difference(features: Tensor, targets: Tensor, interpolation: float, weight: float = 1.0) -> Tensor:
    """Compute the weighted sum over samples of the mean squared difference of both ranks.

    Parameters
    ----------
    features : Tensor of shape (B, D)
        Of the network.
    targets : Tensor of shape (B, T)
        NaN where missing.
    interpolation : float
        Strength of the interpolation of the gradient, above 0.
    weight : float, default=1.0
        Factor of the sum, on which the interpolation depends.

    Returns
    -------
    Tensor of shape ()
        0 where less than two samples have different targets.
    """
    rows = _one_of_each(targets)
    y, z = at_least_float32(targets[rows]), F.normalize(at_least_float32(features[rows]), dim=1)
    if len(rows) < 2:
        return 0 * z.sum()
    near: Tensor = (y[:, None] - y[None]).square().sum(dim=2).sqrt()
    with torch.autocast(z.device.type, enabled=False):  # in half precision many similarities would be equal
        similar = z @ z.T
    ranks, true = _ranks(similar.detach()), _ranks(-near)
    value = (ranks - true).square().mean(dim=1).sum()
    gradient = weight * 2 * (ranks - true) / len(rows)
    direction = (_ranks(similar.detach() + interpolation * gradient) - ranks) / interpolation
    linear: Tensor = (direction * similar).sum()
    return weight * value + linear - linear.detach()


def _one_of_each(targets: Tensor) -> Tensor:
    """Return the row of a random sample of each different target, of samples without missing ones."""
    known = torch.nonzero(~targets.isnan().any(dim=1))[:, 0]
    order = known[torch.randperm(len(known)).to(known.device)]
    _, group = torch.unique(targets[order], dim=0, return_inverse=True)
    places = torch.arange(len(order), device=order.device)
    first = torch.full_like(places, len(order)).scatter_reduce(0, group, places, "amin")
    return order[first[first < len(order)]]


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in its row from the largest, 1, to the smallest, divided by their number."""
    order = values.argsort(dim=1, descending=True, stable=True)
    return (order.argsort(dim=1) + 1).to(values.dtype) / values.shape[1]
