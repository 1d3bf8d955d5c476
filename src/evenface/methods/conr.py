"""ConR: contrastive regularisation of continuous targets."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.losses.base import at_least_float32
from evenface.losses.label_density import LabelWeights, WeightRule
from evenface.methods.attention_consistency import check_weight, two_views
from evenface.methods.base import Method, Task


class ConR(Method):
    r"""Contrastive regularisation (ConR) of continuous targets.

    .. math::
        \ell + \beta \frac{1}{2B} \sum_j \eta_j \frac{1}{|P_j|} \sum_{i \in P_j} -\log
        \frac{e^{z_j z_i / \tau}}{\sum_{p \in P_j} e^{z_j z_p / \tau}
        + \sum_{q \in N_j} \eta_j e^{\epsilon d(y_j, y_q)} e^{z_j z_q / \tau}}

    with features z of length 1, of the images and of their mirror images. Positives :math:`P_j` of a sample j are the
    others with :math:`d(y_j, y_i) \le \omega`; negatives :math:`N_j` those that have another target but nearly the same
    prediction, :math:`d(y_j, y_q) > \omega` and :math:`d(\hat y_j, \hat y_q) \le \omega`. Samples without positives or
    without negatives add nothing.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its training targets give the weights.
    weight : float, default=0.25
        :math:`\beta`, >= 0.
    window : float, default=0.06
        :math:`\omega`, above 0, in standard deviations of the target.
    temperature : float, default=0.07
        :math:`\tau`, above 0.
    push : float, default=0.16
        :math:`\epsilon`, >= 0, for distances in standard deviations: negatives of more different targets are pushed
        further.
    weights : {"none", "inverse", "sqrt-inverse"}, default="none"
        :math:`\eta`: 1, or the weight of the label by its density, see
        :class:`~evenface.losses.label_density.LabelWeights`; the mean over several targets.

    Raises
    ------
    ValueError
        If a value is out of range.

    Notes
    -----
    The defaults are those of the authors for age (4, 1, 0.07, 0.01) with its standard deviation of 15.8 years as the
    unit. Their program adds 1 to the denominator for each sample that is no positive, and draws two augmented views;
    here the mirror image is the second view, in one pass. d is the absolute difference, of several targets its mean
    over the standardised ones. Samples of which one target is missing take no part. Each of several devices compares
    its own part of the batch.

    References
    ----------
    Keramati, Meng and Evans, *ConR: contrastive regularizer for deep imbalanced regression*, ICLR 2024.
    """

    tasks = ("regression",)
    training_only = (*Method.training_only, "label_weights.")
    cached_features = False

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        weight: float = 0.25,
        window: float = 0.06,
        temperature: float = 0.07,
        push: float = 0.16,
        weights: Literal["none", WeightRule] = "none",
    ) -> None:
        super().__init__(network, loss)
        self.weight, self.push = check_weight("weight", weight), check_weight("push", push)
        for name, value in (("window", window), ("temperature", temperature)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, got {value}")
        self.window, self.temperature = window, temperature
        self.label_weights = None if task.targets is None or weights == "none" else LabelWeights(task.targets, weights)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the images plus the contrast of both views, one value per sample."""
        first, second, _ = two_views(self.network, images)
        encoded = self.encode(targets)
        loss: Tensor = self.loss(first.logits, encoded)
        weights = encoded.new_ones(len(encoded))
        if self.label_weights is not None:
            weights = self.label_weights(targets.nan_to_num()).mean(dim=1)
        contrast = contrastive(
            at_least_float32(torch.cat([first.features, second.features])),
            encoded.repeat(2, 1),
            at_least_float32(torch.cat([first.logits, second.logits]).detach()),
            weights.repeat(2),
            window=self.window,
            temperature=self.temperature,
            push=self.push,
        )
        return loss + self.weight * contrast


def contrastive(
    features: Tensor,
    targets: Tensor,
    outputs: Tensor,
    weights: Tensor,
    *,
    window: float,
    temperature: float,
    push: float,
) -> Tensor:
    """Compute the mean contrast over the samples without missing targets.

    Parameters
    ----------
    features : Tensor of shape (B, D)
        Of the network.
    targets, outputs : Tensor of shape (B, T)
        Standardised targets, NaN where missing, and the network's outputs, which take no gradient.
    weights : Tensor of shape (B,)
        Of the samples, above 0.
    window, temperature, push : float
        See :class:`ConR`.

    Returns
    -------
    Tensor of shape ()
    """
    known = ~targets.isnan().any(dim=1)
    apart, outputs_apart = _distances(targets.nan_to_num()), _distances(outputs)
    pairs = known[:, None] & known[None] & ~torch.eye(len(known), dtype=torch.bool, device=known.device)
    positive = pairs & (apart <= window)
    negative = pairs & (apart > window) & (outputs_apart <= window)
    with torch.autocast(features.device.type, enabled=False):  # a product of matrices would be rounded to 16 bits
        unit = F.normalize(features, dim=1)
        similar = unit @ unit.T / temperature
    pushed = torch.where(negative, similar + weights.log()[:, None] + push * apart, similar)
    anchors = positive.any(dim=1) & negative.any(dim=1)
    # Of a sample that is no anchor nothing is masked: a sum over nothing has no gradient that is a number.
    among = pushed.masked_fill(anchors[:, None] & ~positive & ~negative, -math.inf).logsumexp(dim=1)
    pull = (similar * positive).sum(dim=1) / positive.sum(dim=1).clamp_min(1)
    return torch.where(anchors, weights * (among - pull), 0).sum() / known.sum().clamp_min(1)


def _distances(rows: Tensor) -> Tensor:
    """Return the mean absolute difference of each pair of rows, ``(B, T) -> (B, B)``."""
    return (rows[:, None] - rows[None]).abs().mean(dim=2)
