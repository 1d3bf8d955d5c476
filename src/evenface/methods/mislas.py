"""MiSLAS: mixup, then a classifier with label-aware smoothing and shifted batch normalisation."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evenface.losses.label_aware_smoothing import Shape, smoothing_of_classes
from evenface.methods.base import Task, loss_of_each_class
from evenface.methods.decoupled import Decoupled
from evenface.methods.mixup import check_alpha, mix
from evenface.models.backbone import Outputs


class MiSLAS(Decoupled):
    r"""Mixup in the first stage; label-aware smoothing and shifted batch normalisation in the second.

    .. math:: L = (1 - \epsilon_y) \, \ell(\hat z, y) + \frac{\epsilon_y}{C} \sum_j \ell(\hat z, j), \quad
        \hat z_j = s_j (w_j^T f(x) + b_j)

    In the second stage, of the last ``share`` of the epochs, every class is drawn equally often; the scales s, from 1,
    and the classifier w, b are learnt. The weights of the backbone are frozen, while the means and variances of its
    batch norms follow the new sampling. See :class:`~evenface.methods.decoupled.Decoupled` for the stages.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its counts give the smoothing of each class.
    share : float, default=0.1
        Share of the epochs that belong to the second stage, above 0 and below 1.
    alpha : float, default=0.2
        Of mixup in the first stage, see :class:`~evenface.methods.mixup.Mixup`.
    head, tail, shape : float, float, str, default=0.3, 0.0, "concave"
        Smoothing :math:`\epsilon` of the most frequent and of the rarest class, and how it rises between, see
        :class:`~evenface.losses.LabelAwareSmoothingLoss`.
    shift : bool, default=True
        Whether batch norms follow the sampling of the second stage; otherwise the network works as at prediction.

    Raises
    ------
    InputError
        If a class has no sample or ``shape`` is unknown.
    ValueError
        If a number is out of range.

    References
    ----------
    Zhong et al., *Improving calibration for long-tailed recognition*, CVPR 2021, sec. 3; mixup of alpha 0.2 on
    ImageNet-LT.
    """

    cached_features = False
    prior_reason = "label-aware smoothing"
    smoothing: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        share: float = 0.1,
        alpha: float = 0.2,
        head: float = 0.3,
        tail: float = 0.0,
        shape: Shape = "concave",
        shift: bool = True,
    ) -> None:
        super().__init__(network, loss, share)
        self.alpha, self.shift = check_alpha(alpha), shift
        self.scales = nn.Parameter(torch.ones(network.classifier.out_features))  # type: ignore[union-attr,arg-type]
        smoothing = smoothing_of_classes(task.counts, head, tail, shape)
        # From the data set on every start, so not part of what is stored.
        self.register_buffer("smoothing", torch.tensor(smoothing, dtype=torch.float32), persistent=False)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:  # noqa: ARG002
        """Return what smoothing leaves of the labels of each class."""
        return 1 - self.smoothing.double().cpu().numpy()

    def first_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the mixed loss of mixed images."""
        mixed, share, order = mix(images, self.alpha)
        logits = self.network(mixed).logits
        return torch.lerp(self.loss(logits, targets[order]), self.loss(logits, targets), share)

    def second_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss against labels smoothed by class."""
        values = loss_of_each_class(self.loss, logits)
        true, epsilon = values.gather(1, targets[:, None])[:, 0], self.smoothing[targets]
        return (1 - epsilon) * true + epsilon * values.mean(dim=1)

    def frozen_outputs(self, images: Tensor) -> Outputs:
        """Return the outputs of the network without gradients; its batch norms follow the batch."""
        if not self.shift:
            return super().frozen_outputs(images)
        with torch.no_grad():
            outputs: Outputs = self.network(images)
        torch.clear_autocast_cache()  # as after frozen_eval
        return outputs

    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the scaled logits of the classifier."""
        logits: Tensor = self.scales * self.network.classifier(outputs.features)  # type: ignore[operator]
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """Return the scaled logits, ``(B, C)``."""
        return self.head_logits(self.network(images))
