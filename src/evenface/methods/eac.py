"""Erasing attention consistency (EAC): attention maps of an image and its mirror must agree."""

from torch import Tensor, nn

from evenface.methods.attention_consistency import (
    check_share,
    check_weight,
    class_maps,
    classifier_of,
    map_distance,
    two_views,
)
from evenface.methods.base import Method, Task


class EAC(Method):
    r"""Erasing attention consistency.

    .. math:: L = \ell(z, y) + \lambda_t \, \frac{1}{Chw} \sum_{l, h, w} (A_{lhw} - \tilde A_{lhw})^2

    with the class-activation maps :math:`A` of the image and :math:`\tilde A` of its mirror, flipped back, and
    :math:`\lambda_t = \lambda \min(1, t / r)` after the share :math:`t` of training.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The loss is of the image alone, not of its mirror.
    task : Task
        Of which only is used whether the network starts from random weights.
    lam : float, default=5.0
        :math:`\lambda`, weight of the consistency, >= 0.
    ramp : float, optional
        :math:`r`, the share of training over which the weight rises from 0, from 0 to 1; 0 is the authors' constant
        weight. By default 0 for pretrained weights, as the authors', and 1 for random ones, where a constant 5 keeps
        the network from learning.

    Raises
    ------
    ValueError
        If ``lam`` or ``ramp`` is out of range.
    InputError
        If the classifier is not linear; on the first step, if the network has no class-activation maps.

    Notes
    -----
    The mirror is that of the augmented image, so a rectangle that augmentation erased is erased in both views. No
    gradient flows into the classifier's weights from the maps. The authors' public program looks at both views in two
    passes; here they are one batch, also for batch norm, see :func:`.two_views`.

    References
    ----------
    Zhang et al., *Learn from all: erasing attention consistency for noisy label facial expression recognition*,
    ECCV 2022.
    """

    modalities = ("images",)
    cached_features = False
    needs_maps = True
    exact_prior = True

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, lam: float = 5.0, ramp: float | None = None
    ) -> None:
        super().__init__(network, loss)
        self.lam = check_weight("lam", lam)
        self.ramp = float(task.random_start) if ramp is None else check_share("ramp", ramp)
        classifier_of(network)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the images plus what their mirrors' maps differ by, one value per sample."""
        first, second, align = two_views(self.network, images)
        classifier = classifier_of(self.network)
        ours, theirs = class_maps(first.maps, classifier), align(class_maps(second.maps, classifier))
        loss: Tensor = self.loss(first.logits, targets) + self.weight() * map_distance(ours, theirs).mean(dim=1)
        return loss

    def weight(self) -> float:
        r"""Return :math:`\lambda_t`, the weight of the consistency at this step."""
        return self.lam * min(1.0, self.ctx.progress / self.ramp) if self.ramp else self.lam
