"""Attention that must agree between an image and its mirror: erasing attention consistency (EAC)."""

from torch import Tensor, nn

from evenface.methods.attention import (
    check_share,
    check_weight,
    class_maps,
    classifier_of,
    map_distance,
    ramped,
    two_views,
)
from evenface.methods.base import Method


class EAC(Method):
    r"""Erasing attention consistency.

    .. math:: L = \ell(z, y) + \lambda \, \frac{1}{Chw} \sum_{l, h, w} (A_{lhw} - \tilde A_{lhw})^2

    with the class-activation maps :math:`A` of the image and :math:`\tilde A` of its mirror, flipped back.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The loss is of the image alone, not of its mirror.
    lam : float, default=5.0
        :math:`\lambda`, weight of the consistency, >= 0.

    Raises
    ------
    ValueError
        If ``lam`` is out of range.
    InputError
        If the classifier is not linear; on the first step, if the network has no class-activation maps.

    Notes
    -----
    The mirror is that of the augmented image, so a rectangle that augmentation erased is erased in both views. No
    gradient flows into the classifier's weights from the maps. The authors' public program looks at both views in two
    passes; here they are one batch, also for batch norm, see :func:`~evenface.methods.attention.two_views`.

    References
    ----------
    Zhang et al., *Learn from all: erasing attention consistency for noisy label facial expression recognition*,
    ECCV 2022.
    """

    clips = stored = False

    def __init__(self, network: nn.Module, loss: nn.Module, lam: float = 5.0, ramp: float = 0.0) -> None:
        super().__init__(network, loss)
        self.lam, self.ramp = check_weight("lam", lam), check_share("ramp", ramp)
        classifier_of(network)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give the loss of the images plus what their mirrors' maps differ by, one value per sample."""
        first, second, align = two_views(self.network, images)
        classifier = classifier_of(self.network)
        ours, theirs = class_maps(first.maps, classifier), align(class_maps(second.maps, classifier))
        lam = ramped(self.lam, self.ramp, self.now.progress) if self.ramp else self.lam
        loss: Tensor = self.loss(first.logits, targets) + lam * map_distance(ours, theirs).mean(dim=1)
        return loss
