"""Self-cure network (SCN): attention weights, rank regularisation and relabelling."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Task, all_gather_cat, probabilities

LARGE_SHARE = 0.05
"""Share of changed labels above which a run carries a warning."""


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
    margin : float, default=0.07
        :math:`\delta_1`, by how much the mean weight of the high group shall exceed that of the low, from 0 to 1. The
        default is the authors' for batches of 64; the paper's 0.15 is for batches of 1,024.
    gamma : float, default=0.5
        Part of the rank regularisation, from 0 to 1. 0.5 is the plain sum of both terms.
    relabel_margin : float, default=0.2
        :math:`\delta_2`, by how much the largest probability must exceed the label's to take its place, from 0 to 1.
    relabel_epoch : int, default=10
        First epoch, counted from 1, in which samples are relabelled, as in the authors' public code. It does not depend
        on the length of training: before it the network has learned too little to overrule a label.
    relabel : {"low", "all", "none"}, default="low"
        Whether samples of the low group alone are relabelled, those of the whole batch, or none.

    Raises
    ------
    ValueError
        If an option is out of its range.

    Notes
    -----
    Prediction is the softmax of the weighted logits, as in the authors' public code: the network is trained on
    them. The weight changes the confidence of a prediction, never the predicted class. New labels are kept by training
    sample and are the same in all processes; groups are formed within each process's share of the batch.
    :meth:`training_notes` reports how many labels were changed, with a warning where they are more than
    :data:`LARGE_SHARE`.

    References
    ----------
    Wang et al., *Suppressing uncertainties for large-scale facial expression recognition*, CVPR 2020.
    """

    training_only = (*Method.training_only, "relabelled", "given")
    relabelled: Tensor
    given: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        beta: float = 0.7,
        margin: float = 0.07,
        gamma: float = 0.5,
        relabel_margin: float = 0.2,
        relabel_epoch: int = 10,
        relabel: Literal["low", "all", "none"] = "low",
    ) -> None:
        super().__init__(network, loss)
        if not 0 < beta < 1:
            raise ValueError(f"beta must be between 0 and 1, got {beta}")
        for name, value in (("margin", margin), ("gamma", gamma), ("relabel_margin", relabel_margin)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        if isinstance(relabel_epoch, bool) or not isinstance(relabel_epoch, int) or relabel_epoch < 1:
            raise ValueError(f"relabel_epoch must be a whole number from 1, got {relabel_epoch!r}")
        if relabel not in ("low", "all", "none"):
            raise ValueError(f"relabel must be low, all or none, got {relabel!r}")
        self.beta, self.margin, self.gamma = beta, margin, gamma
        self.relabel_margin, self.relabel_epoch, self.relabel = relabel_margin, relabel_epoch, relabel
        self.names, self.counts = task.names, np.asarray(task.counts)
        self.attention = nn.Linear(network.classifier.in_features, 1)  # type: ignore[union-attr, arg-type]
        # The label that took the place of the given one, and the given one; -1 where none ever did.
        self.register_buffer("relabelled", torch.full((task.samples,), -1))
        self.register_buffer("given", torch.full((task.samples,), -1))

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the weighted loss against the current labels, and relabel for later steps."""
        weights, logits = self._look(images)
        known = self.relabelled[self.ctx.indices]
        labels = torch.where(known < 0, targets, known)
        high, low = self._groups(weights)
        loss: Tensor = 2 * (1 - self.gamma) * self.loss(logits, labels)
        if len(high) and len(low):
            gap = weights[high].mean() - weights[low].mean()
            loss = loss + 2 * self.gamma * (self.margin - gap).clamp(min=0)
        if self.relabel != "none" and self.ctx.epoch + 1 >= self.relabel_epoch:
            self._relabel(logits.detach(), labels, targets, slice(None) if self.relabel == "all" else low)
        return loss

    def training_notes(self, epochs: int) -> list[str]:
        """Report how many training labels no longer are those given; see :meth:`Method.training_notes`."""
        if self.relabel == "none":
            return []
        if epochs < self.relabel_epoch:
            return [
                f"SCN relabels from epoch {self.relabel_epoch} on (method.relabel_epoch), and training ended after "
                f"{epochs}: no label was changed"
            ]
        changed = (self.relabelled >= 0) & (self.relabelled != self.given)
        share = int(changed.sum()) / len(changed)
        if share <= LARGE_SHARE:
            return [f"SCN changed {share:.1%} of the training labels"]
        count = torch.bincount(self.given[changed].cpu(), minlength=len(self.names)).numpy()
        parts = sorted(zip(count / np.maximum(self.counts, 1), self.names, strict=True), key=lambda part: -part[0])
        return [
            f"WARNING: SCN overwrote many training labels: {share:.1%} of all ("
            f"{', '.join(f'{part:.0%} of {name}' for part, name in parts)}). More than {LARGE_SHARE:.0%} is rarely "
            "label noise alone; the network may have overwritten classes that it had not learned yet. Compare with "
            "method.relabel=none, or set a later method.relabel_epoch"
        ]

    def logits(self, images: Tensor) -> Tensor:
        """Return the weighted logits, ``(B, C)``."""
        return self._look(images)[1]

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attention weights (B,) and the logits times these (B, C)."""
        out = self.network(images)
        weights = self.attention(out.features)[:, 0].float().sigmoid()
        return weights, weights[:, None] * out.logits

    def _groups(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        order = weights.detach().argsort(descending=True, stable=True)
        high = int(self.beta * len(order))
        return order[:high], order[high:]

    @torch.no_grad()
    def _relabel(self, logits: Tensor, labels: Tensor, targets: Tensor, among: Tensor | slice) -> None:
        """Store new labels of those samples whose own is much less probable than another."""
        p = probabilities(logits)
        most, best = p.max(dim=1)
        wrong = torch.zeros_like(labels, dtype=torch.bool)
        wrong[among] = (most - p.gather(1, labels[:, None])[:, 0] > self.relabel_margin)[among]
        rows = all_gather_cat(torch.stack([self.ctx.indices, torch.where(wrong, best, -1), targets], dim=1))
        places, found, given = rows[rows[:, 1] >= 0].unbind(dim=1)
        self.given[places] = given
        # A sample may be drawn twice: the larger number wins, so that the order of writing does not count.
        self.relabelled.scatter_reduce_(0, places, found, "amax", include_self=False)
