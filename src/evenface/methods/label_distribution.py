"""Label distribution learning: train on the votes of all annotators, not on one label."""

from typing import Literal

import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Task, loss_of_each_class

SCHEMES = ("majority", "multi-label", "label-drawing", "distribution")


class LabelDistribution(Method):
    r"""Training on the votes of annotators, in one of four schemes.

    With :math:`\mu_{ik}` the share of votes that sample i has for class k:

    .. math::
        \text{majority:}\; \ell(z_i, y), \; \mu_{iy} > \tfrac12 \qquad
        \text{multi-label:}\; \min_{k: \mu_{ik} \ge \theta} \ell(z_i, k) \qquad
        \text{label-drawing:}\; \ell(z_i, k), \; k \sim \mu_i \qquad
        \text{distribution:}\; \sum_k \mu_{ik} \, \ell(z_i, k)

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Of which the votes are used.
    scheme : {"majority", "multi-label", "label-drawing", "distribution"}, default="distribution"
        ``label-drawing`` draws a label each time a sample is used.
    min_votes : float, default=2
        A class with fewer votes for a sample counts as having none.
    threshold : float, default=0.3
        :math:`\theta`, smallest share that ``multi-label`` accepts, above 0 up to 1.

    Raises
    ------
    ValueError
        If an option is out of its range, there are no votes, or they are not one finite number >= 0 per sample and
        class.

    Notes
    -----
    A sample keeps the label of the data set where its votes decide nothing: no class has votes enough to count, none
    has a majority, or none reaches the threshold.

    References
    ----------
    Barsoum et al., *Training deep networks for facial expression recognition with crowd-sourced label distribution*,
    ICMI 2016.
    """

    needs_votes = True
    shares: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        scheme: Literal["majority", "multi-label", "label-drawing", "distribution"] = "distribution",
        min_votes: float = 2,
        threshold: float = 0.3,
    ) -> None:
        super().__init__(network, loss)
        if scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
        if not min_votes >= 0:
            raise ValueError(f"min_votes must be >= 0, got {min_votes}")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 up to 1, got {threshold}")
        if task.votes is None:
            raise ValueError("task.votes are needed")
        self.scheme, self.threshold = scheme, threshold
        # From the data set on every start, so not part of what is stored.
        self.register_buffer("shares", _shares(task, task.votes, min_votes), persistent=False)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss against the votes of the samples shown, one value per sample."""
        logits: Tensor = self.network(images).logits
        shares = self.shares[self.ctx.indices]
        own = nn.functional.one_hot(targets, shares.shape[1]).to(shares.dtype)
        shares = torch.where(shares.sum(dim=1, keepdim=True) > 0, shares, own)
        if self.scheme in ("majority", "label-drawing"):
            if self.scheme == "majority":
                most, first = shares.max(dim=1)
                labels = torch.where(most > 0.5, first, targets)
            else:
                labels = torch.multinomial(shares, 1)[:, 0]
            loss: Tensor = self.loss(logits, labels)
            return loss
        values = loss_of_each_class(self.loss, logits)
        if self.scheme == "distribution":
            return (shares * values).sum(dim=1)
        accepted = shares >= self.threshold
        accepted = torch.where(accepted.any(dim=1, keepdim=True), accepted, own > 0)
        return values.masked_fill(~accepted, torch.inf).amin(dim=1)


def _shares(task: Task, votes: Tensor, min_votes: float) -> Tensor:
    """Convert votes to shares that sum to 1, or to 0 where no class has votes enough."""
    expected = (task.samples, len(task.counts))
    if votes.shape != expected or not votes.isfinite().all() or (votes < 0).any():
        raise ValueError(f"votes must be finite numbers >= 0 of shape {expected}, one per training sample and class")
    counted = torch.where(votes >= min_votes, votes, 0).float()
    total = counted.sum(dim=1, keepdim=True)
    return torch.where(total > 0, counted / total, 0)
