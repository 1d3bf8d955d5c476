"""Suppress what is uncertain: weigh samples by attention, and relabel those that look wrong (SCN)."""

from typing import Literal

import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Task, probabilities
from evenface.methods.processes import everywhere


class SCN(Method):
    r"""Self-cure network: attention weights, rank regularisation, relabelling.

    .. math::
        L = 2 \left[ (1 - \gamma) \, \ell(a_i z_i, y_i) + \gamma \max(0, \delta_1 - (\bar a_H - \bar a_L)) \right],
        \quad a_i = \sigma(w^\top f_i + b)

    where :math:`\bar a_H` and :math:`\bar a_L` are the mean weights of the high and the low group of a batch.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Of which the number of training samples is used.
    beta : float, default=0.7
        Share of a batch that makes the high group, between 0 and 1; rounded down to whole samples.
    margin : float, default=0.15
        :math:`\delta_1`, by how much the mean weight of the high group shall exceed that of the low, from 0 to 1.
    gamma : float, default=0.5
        Part of the rank regularisation, from 0 to 1. 0.5 is the plain sum of both terms.
    relabel_margin : float, default=0.2
        :math:`\delta_2`, by how much the largest probability must exceed the label's to take its place, from 0 to 1.
    relabel_from : float, default=9/70
        Share of the epochs after which relabelling begins, from 0; 1 or more never relabels.
    relabel : {"low", "all"}, default="low"
        Whether samples of the low group alone are relabelled, or those of the whole batch.

    Raises
    ------
    ValueError
        If an option is out of its range.

    Notes
    -----
    Prediction is the softmax of the weighted logits, as in the authors' public code: the network is trained on
    them. The weight changes how sure a prediction is, never which class is first. New labels are kept by training
    sample and are the same in all processes; groups are formed within each process's share of the batch.

    References
    ----------
    Wang et al., *Suppressing uncertainties for large-scale facial expression recognition*, CVPR 2020.
    """

    training_only = (*Method.training_only, "relabelled")
    relabelled: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        beta: float = 0.7,
        margin: float = 0.15,
        gamma: float = 0.5,
        relabel_margin: float = 0.2,
        relabel_from: float = 9 / 70,
        relabel: Literal["low", "all"] = "low",
    ) -> None:
        super().__init__(network, loss)
        if not 0 < beta < 1:
            raise ValueError(f"beta must be between 0 and 1, got {beta}")
        for name, value in (("margin", margin), ("gamma", gamma), ("relabel_margin", relabel_margin)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        if not relabel_from >= 0:
            raise ValueError(f"relabel_from must be >= 0, got {relabel_from}")
        if relabel not in ("low", "all"):
            raise ValueError(f"relabel must be low or all, got {relabel!r}")
        self.beta, self.margin, self.gamma = beta, margin, gamma
        self.relabel_margin, self.relabel_from, self.relabel_all = relabel_margin, relabel_from, relabel == "all"
        self.attention = nn.Linear(network.classifier.in_features, 1)  # type: ignore[union-attr, arg-type]
        # The label that took the place of the given one; -1 where that still holds.
        self.register_buffer("relabelled", torch.full((task.samples,), -1))

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give the weighted loss against the labels as they stand, and relabel for later steps."""
        weights, logits = self._look(images)
        known = self.relabelled[self.now.places]
        labels = torch.where(known < 0, targets, known)
        high, low = self._groups(weights)
        loss: Tensor = 2 * (1 - self.gamma) * self.loss(logits, labels)
        if len(high) and len(low):
            gap = weights[high].mean() - weights[low].mean()
            loss = loss + 2 * self.gamma * (self.margin - gap).clamp(min=0)
        if self.now.epoch >= self.relabel_from * self.now.epochs:
            self._relabel(logits.detach(), labels, slice(None) if self.relabel_all else low)
        return loss

    def logits(self, images: Tensor) -> Tensor:
        """Give the weighted logits, ``(B, C)``."""
        return self._look(images)[1]

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give the attention weights (B,) and the logits times these (B, C)."""
        out = self.network(images)
        weights = self.attention(out.features)[:, 0].float().sigmoid()
        return weights, weights[:, None] * out.logits

    def _groups(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        order = weights.detach().argsort(descending=True, stable=True)
        high = int(self.beta * len(order))
        return order[:high], order[high:]

    @torch.no_grad()
    def _relabel(self, logits: Tensor, labels: Tensor, rows: Tensor | slice) -> None:
        """Remember new labels of those rows whose own is much less probable than another."""
        p = probabilities(logits)
        most, best = p.max(dim=1)
        wrong = torch.zeros_like(labels, dtype=torch.bool)
        wrong[rows] = (most - p.gather(1, labels[:, None])[:, 0] > self.relabel_margin)[rows]
        places, found = everywhere(self.now.places), everywhere(torch.where(wrong, best, -1))
        places, found = places[found >= 0], found[found >= 0]
        # A sample may be drawn twice: the larger number wins, so that the order of writing does not count.
        self.relabelled.scatter_reduce_(0, places, found, "amax", include_self=False)
