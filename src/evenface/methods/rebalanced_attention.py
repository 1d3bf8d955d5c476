"""Rebalanced attention consistency (RBC) and rebalanced focal loss (RBF)."""

from typing import Literal

import torch
from torch import Tensor, nn

from evenface.data.imbalance import effective_number_weights
from evenface.losses.focal import FocalLoss
from evenface.methods.attention_consistency import (
    TRANSFORMS,
    Distance,
    check_weight,
    class_maps,
    classifier_of,
    map_distance,
    two_views,
)
from evenface.methods.base import Method, Task
from evenface.models.backbone import Outputs
from evenface.utils.registry import find


class RebalancedAttention(Method):
    r"""Rebalanced attention consistency (RBC) and rebalanced focal loss (RBF).

    .. math::
        L &= \ell(z, y) + \ell(\tilde z, y) + \lambda L_{rbc} + \mu L_{rbf} \\
        L_{rbc} &= \frac{1}{Chw} \sum_{l, h, w} (B_l A_{lhw} - B_l \tilde A_{lhw})^2 \\
        L_{rbf} &= -B_y (1 - p_y)^\gamma \log p_y, \quad B_l = \frac{1 - \beta}{1 - \beta^{n_l}}

    with the logits :math:`z` and class-activation maps :math:`A` of the image, and :math:`\tilde z` and
    :math:`\tilde A` of a second view; its maps are laid back over those of the first.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The loss is taken of both views.
    task : Task
        Of which the counts of the classes are used.
    lam, mu : float, default=0.1, 0.5
        :math:`\lambda` and :math:`\mu`, >= 0. With ``lam=0`` the second view still has its loss, and any network
        will do.
    gamma : float, default=2.0
        Focusing strength, >= 0.
    beta : float, default=0.999
        From 0 (all weights equal) to below 1.
    normalise : {"classes", "sum-one", "none"}
        What the weights sum to, see :func:`~evenface.data.imbalance.effective_number_weights`; ``none`` is eq. 6 as
        printed, about 1e-3 with thousands of samples.
    distance : {"squared", "absolute"}
        Of two maps at one place. The norm in eq. 3, read literally, is the absolute difference.
    transform : str, default="horizontal-flip"
        How the second view is made: ``horizontal-flip``, ``vertical-flip``, ``scaling``, ``downsampling``,
        ``intensity`` or ``erase``, see :data:`.TRANSFORMS`.
    rbf : {"first", "both"}
        Whether the focal term is that of the first view, or the sum of both.
    detach : bool, default=True
        Whether the consistency gives no gradient to the classifier's weights.

    Raises
    ------
    InputError
        If a class has no sample, or an option is unknown or out of range; on the first step, if ``lam`` is above 0
        and the network has no class-activation maps.
    ValueError
        If ``lam``, ``mu`` or ``gamma`` is out of range.

    Notes
    -----
    Both views are one batch for batch norm, see :func:`.two_views`.

    References
    ----------
    Zhu et al., *A facial expression recognition network using rebalance-based regulation of attention consistency and
    focus*, 2025, eq. 1-7.
    """

    modalities = ("images",)
    cached_features = False
    needs_maps = True
    weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        lam: float = 0.1,
        mu: float = 0.5,
        gamma: float = 2.0,
        beta: float = 0.999,
        normalise: Literal["classes", "sum-one", "none"] = "classes",
        distance: Distance = "squared",
        transform: str = "horizontal-flip",
        rbf: Literal["first", "both"] = "first",
        detach: bool = True,
    ) -> None:
        super().__init__(network, loss)
        find("consistency transform", transform, TRANSFORMS)
        find("distance of maps", distance, dict.fromkeys(("squared", "absolute")))
        find("view of the focal term", rbf, dict.fromkeys(("first", "both")))
        self.lam, self.mu = check_weight("lam", lam), check_weight("mu", mu)
        if self.lam:
            classifier_of(network)
        self.distance, self.transform, self.both, self.detach = distance, transform, rbf == "both", detach
        self.focal = FocalLoss(gamma)
        weights = effective_number_weights(task.counts, beta=beta, normalise=normalise, names=task.names)
        # From the data set on every start, so not part of what is stored.
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute eq. 7, one value per sample; its mean over the batch is the paper's."""
        first, second, align = two_views(self.network, images, self.transform)
        loss: Tensor = self.loss(first.logits, targets) + self.loss(second.logits, targets)
        if self.lam:
            theirs = align(self.rebalanced_maps(second))
            loss = loss + self.lam * map_distance(self.rebalanced_maps(first), theirs, self.distance).mean(dim=1)
        if self.mu:
            focal = self.focal(first.logits, targets)
            if self.both:
                focal = focal + self.focal(second.logits, targets)
            loss = loss + self.mu * self.weights[targets] * focal
        return loss

    def rebalanced_maps(self, outputs: Outputs) -> Tensor:
        """Return the class-activation maps times the weights of their classes (eq. 2), ``(B, C, h, w)``."""
        maps = class_maps(outputs.maps, classifier_of(self.network), detach=self.detach)
        return self.weights[:, None, None] * maps
