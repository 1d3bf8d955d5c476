"""Weight balancing: weight decay, then a classifier of limited norms that is trained with class weights."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.data.imbalance import effective_number_weights
from evenface.losses.base import at_least_float32
from evenface.methods.base import Stage, Task, frozen_eval
from evenface.methods.decoupled import Decoupled
from evenface.models.backbone import Outputs


class WeightBalancing(Decoupled):
    r"""Weight balancing: training with weight decay, then of the classifier with more decay and limited norms.

    .. math:: \min_{W, b} \sum u_y \, \ell(W f(x; \theta) + b, y) + \tfrac{\gamma}{2} (\|W\|^2 + \|b\|^2)
        \quad \text{with } \|w_c\|_2 \le \delta \text{ for each class}, \qquad
        u_c \propto \frac{1 - \beta}{1 - \beta^{n_c}} \text{ with mean 1}

    where :math:`\theta` is what the first stage left, from which :math:`\delta` follows: the smallest norm of its
    classes' weights and the share ``threshold`` of the way to the largest.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The recipe's ``optimizer.weight_decay`` is the weight decay of the
        first stage, which must be tuned: 0.005 with SGD on CIFAR-100-LT in the source.
    task : Task
        Its counts n give the class weights.
    decay : float, default=0.1
        :math:`\gamma`, >= 0, beside the optimiser's own weight decay.
    threshold : float, default=0.1
        From 0 (all norms end at the smallest or below) to 1.
    beta : float, default=0.9999
        :math:`\beta`, from 0 (all class weights 1) to below 1.
    share : float, default=0.03
        See :class:`~evenface.methods.decoupled.Decoupled`.

    Raises
    ------
    InputError
        If a class has no sample or ``beta`` is out of range.
    ValueError
        If another option is out of range, or the classifier is not linear: one by angles alone knows no norms.

    Notes
    -----
    The norms are limited before each step and at prediction, which is projected gradient descent; the authors' public
    program does so after each epoch. With SGD the decay is that of the optimiser; others scale it as part of the
    gradient. The second stage draws samples as the recipe does.

    References
    ----------
    Alshammari et al., *Long-tailed recognition via weight balancing*, CVPR 2022, sec. 4. The classifier keeps its
    weights when the second stage begins.
    """

    prior_reason = "class weights of the classifier's stage"
    limit: Tensor
    weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        decay: float = 0.1,
        threshold: float = 0.1,
        beta: float = 0.9999,
        share: float = 0.03,
    ) -> None:
        super().__init__(network, loss, share)
        if type(network.classifier) is not nn.Linear:
            raise ValueError("the network's classifier must be linear, see network.head")
        if not 0 <= decay < float("inf"):
            raise ValueError(f"decay must be a number >= 0, got {decay}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, got {threshold}")
        self.decay, self.threshold = decay, threshold
        self.stages = (Stage(1 - share), Stage(share))
        weights = effective_number_weights(task.counts, beta=beta, names=task.names)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)
        self.register_buffer("limit", torch.zeros(()))  # prediction needs it; 0 is none

    def begin_stage(self, stage: int) -> None:
        """Freeze the network but for its classifier, whose norms are limited from here on."""
        super().begin_stage(stage)
        norms = torch.linalg.vector_norm(self._classifier.weight.detach(), dim=1)
        self.limit.copy_(torch.lerp(norms.min(), norms.max(), self.threshold))

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:  # noqa: ARG002, of the second stage
        """Return the class weights of the second stage."""
        return self.weights.double().cpu().numpy()

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the stage, one value per sample."""
        if not self.in_second:
            return self.network_loss(images, targets)
        with frozen_eval(self.network):
            outputs = self.network(images)
        with torch.no_grad():
            self._classifier.weight.copy_(self._limited())
        penalty = sum(value.square().sum() for value in self._classifier.parameters())
        loss: Tensor = self.weights[targets] * self.loss(self.head_logits(outputs), targets)
        return at_least_float32(loss) + self.decay / 2 * penalty

    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the logits of the classifier, whose weights are within their limit while training."""
        return F.linear(outputs.features, self._classifier.weight, self._classifier.bias)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of the classifier within the limit of its norms, ``(B, C)``."""
        return F.linear(self.network(images).features, self._limited(), self._classifier.bias)

    @property
    def _classifier(self) -> nn.Linear:
        return self.network.classifier  # type: ignore[return-value]

    def _limited(self) -> Tensor:
        """Return the weights of each class, shortened to the limit where they are longer."""
        weight = self._classifier.weight
        norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        return torch.where(
            (norms > self.limit) & (self.limit > 0), weight * (self.limit / norms.clamp_min(1e-30)), weight
        )
