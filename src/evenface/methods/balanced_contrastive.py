"""Balanced contrastive learning (BCL): class-averaging and class-complement in a supervised contrastive loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.losses.base import at_least_float32
from evenface.methods.attention_consistency import TRANSFORMS, check_weight, two_views
from evenface.methods.base import Method
from evenface.utils.registry import find


class BalancedContrastive(Method):
    r"""Balanced contrastive learning: the loss of the logits and a class-balanced contrast of two views.

    .. math::
        L = \ell(z, y) + \mu L_{bcl}, \quad
        L_{bcl} = -\frac{1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{u_i u_p / \tau}}
        {\sum_j \frac{1}{|A_j|} \sum_{k \in A_j} e^{u_i u_k / \tau}}

    with projections u of length 1, of both views and of one prototype per class, made of the classifier's weights of
    the class. Of an anchor i, :math:`A_j` are the views and the prototype of class j without i itself, and
    :math:`P_i` those of its own class. The contrast of a sample is the mean of that of its views.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The loss is of the first view; the source's is logit adjustment.
    weight : float, default=0.35
        :math:`\mu`, >= 0.
    temperature : float, default=0.07
        :math:`\tau`, above 0.
    width : int, default=128
        Length of a projection.
    transform : str, default="horizontal-flip"
        How the second view is made, see :data:`.TRANSFORMS`.

    Raises
    ------
    InputError
        If ``transform`` is unknown.
    ValueError
        If a number is out of range.

    Notes
    -----
    The source has three views: one for the loss and two, otherwise augmented, for the contrast. Here the two are the
    augmented image and its transform, in one pass, see :func:`.two_views`. Each of several devices compares its own
    part of the batch.

    References
    ----------
    Zhu et al., *Balanced contrastive learning for long-tailed visual recognition*, CVPR 2022, sec. 3; defaults of the
    authors' program for ImageNet-LT, of which the width is 1024.
    """

    modalities = ("images",)
    cached_features = False
    exact_prior = True
    training_only = (*Method.training_only, "projection.", "prototypes.")

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        weight: float = 0.35,
        temperature: float = 0.07,
        width: int = 128,
        transform: str = "horizontal-flip",
    ) -> None:
        super().__init__(network, loss)
        find("view", transform, TRANSFORMS)
        self.weight, self.temperature = check_weight("weight", weight), check_temperature(temperature)
        self.transform = transform
        features = int(network.classifier.in_features)  # type: ignore[union-attr,arg-type]
        self.projection = projection_head(features, width, normalise=True)
        self.prototypes = projection_head(features, width, normalise=True)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the images plus the contrast of both views, one value per sample."""
        first, second, _ = two_views(self.network, images, self.transform)
        loss: Tensor = self.loss(first.logits, targets)
        views = self.projection(torch.cat([first.features, second.features]))
        classes = self.prototypes(self.network.classifier.weight)  # type: ignore[union-attr]
        contrast = balanced_contrast(views, classes, targets.repeat(2), self.temperature)
        return loss + self.weight * contrast.view(2, -1).mean(dim=0)


def projection_head(features: int, width: int, *, normalise: bool) -> nn.Sequential:
    """Build a projection of one hidden layer, with batch norm in it or not."""
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    hidden = [nn.BatchNorm1d(features)] if normalise else []
    return nn.Sequential(nn.Linear(features, features), *hidden, nn.ReLU(), nn.Linear(features, width))


def check_temperature(temperature: float) -> float:
    """Refuse a temperature that is no number above 0."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a number above 0, got {temperature}")
    return temperature


def balanced_contrast(views: Tensor, prototypes: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Compute the class-balanced contrast of each view.

    Parameters
    ----------
    views : Tensor of shape (V, D)
        Projections of any length.
    prototypes : Tensor of shape (C, D)
        One for each class.
    targets : Tensor of shape (V,)
        Classes of the views.
    temperature : float
        Above 0.

    Returns
    -------
    Tensor of shape (V,)
    """
    classes = torch.arange(len(prototypes), device=targets.device)
    labels = torch.cat([targets, classes])
    own = torch.eye(len(targets), len(labels), dtype=torch.bool, device=targets.device)
    positive = (targets[:, None] == labels) & ~own
    # Of the anchor's own class there is one less, as the anchor is not compared with itself.
    sizes = (labels[:, None] == classes).sum(dim=0)[labels] - positive.long()
    with torch.autocast(views.device.type, enabled=False):  # a product of matrices would be rounded to 16 bits
        unit = F.normalize(torch.cat([at_least_float32(views), at_least_float32(prototypes)]), dim=1)
        similar = unit[: len(targets)] @ unit.T / temperature
        averaged = (similar - sizes.log()).masked_fill(own, -math.inf).logsumexp(dim=1)
    return averaged - (similar * positive).sum(dim=1) / positive.sum(dim=1)
