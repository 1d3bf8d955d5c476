"""Class-conditional sharpness-aware minimisation (CC-SAM): each class perturbs the weights by a radius of its own."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from evenface.losses.base import at_least_float32
from evenface.methods.base import Task, frozen_eval
from evenface.methods.decoupled import Decoupled
from evenface.models.backbone import Outputs


class CCSAM(Decoupled):
    r"""Class-conditional sharpness-aware minimisation, in two stages.

    First the whole network learns, with the classifier's weights :math:`\theta` perturbed for each class c by a radius
    that grows as the class gets rarer:

    .. math:: L = (1 - r) \, \ell(\theta) + r \, \ell(\theta + \epsilon_y), \qquad
        \epsilon_c = \frac{\rho}{\sqrt 2} \Bigl(\frac{k}{n_c - 1}\Bigr)^{1/4}
        \sqrt{\frac{\|\theta\|}{\|g_c\|}} \, \frac{g_c}{\|g_c\|}

    with the gradient :math:`g_c` of the mean loss of the batch's samples of class c, for each of the classifier's
    tensors by itself, and k parameters. Then the classifier alone learns, from samples drawn class-balanced whose
    features f are perturbed against their class:

    .. math:: L = (1 - a) \, \ell(f) + a \, u_y \, \ell\Bigl(f + u_y \frac{g}{\|g\|}\Bigr), \qquad
        u_c = \tfrac12 \log\Bigl(\frac{n_{max}}{n_c} + 0.01\Bigr)

    with the gradient g of the mean loss of the batch's samples of the class with respect to features, and a rising
    from 0 to 1 over the stage, but no further than ``limit``.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its counts n give the radii.
    rho : float, default=1e-6
        :math:`\rho`, above 0.
    flat : float, default=0.5
        r, share of the perturbed loss in the first stage, from 0 to 1.
    limit : float, default=0.3
        Largest a, from 0 to 1.
    share : float, default=0.13
        See :class:`~evenface.methods.decoupled.Decoupled`.

    Raises
    ------
    ValueError
        If an option is out of range.

    Notes
    -----
    Equations and defaults (those for CIFAR-100-LT) are those of the authors' public program, which perturbs the
    classifier alone. It mixes images (mixup) in the first stage; here none are mixed. Its second stage leaves batch
    norm in training mode; here the network is frozen, as in :class:`~evenface.methods.decoupled.CRT`. A class of one
    sample counts as one of two.

    References
    ----------
    Zhou et al., *Class-conditional sharpness-aware minimization for deep long-tailed recognition*, CVPR 2023, sec. 3.
    """

    radii: Tensor
    strengths: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        rho: float = 1e-6,
        flat: float = 0.5,
        limit: float = 0.3,
        share: float = 0.13,
    ) -> None:
        super().__init__(network, loss, share)
        if not 0 < rho < float("inf"):
            raise ValueError(f"rho must be a number above 0, got {rho}")
        for name, value in (("flat", flat), ("limit", limit)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        self.flat, self.limit = flat, limit
        counts = np.asarray(task.counts, dtype=np.float64)
        classifier: nn.Linear = network.classifier  # type: ignore[assignment]
        size = sum(value.numel() for value in classifier.parameters())
        radii = rho * (size / np.maximum(counts - 1, 1)) ** 0.25 / math.sqrt(2)
        strengths = np.log(counts.max() / np.maximum(counts, 1) + 0.01) / 2
        self.register_buffer("radii", torch.tensor(radii, dtype=torch.float32), persistent=False)
        self.register_buffer("strengths", torch.tensor(strengths, dtype=torch.float32), persistent=False)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the stage, one value per sample."""
        if self.in_second:
            with frozen_eval(self.network):
                features = self.network(images).features
            with torch.autocast(images.device.type, enabled=False):
                return self._adversarial_loss(at_least_float32(features).requires_grad_(), targets)
        outputs = self.network(images)
        loss = at_least_float32(self.loss(outputs.logits, targets))
        dropout = getattr(self.network, "dropout", nn.Identity())
        with torch.autocast(images.device.type, enabled=False):
            flat = self._flat_loss(dropout(at_least_float32(outputs.features)), targets)
        return torch.lerp(loss, flat, self.flat)

    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the classifier's logits."""
        logits: Tensor = self.network.classifier(outputs.features)  # type: ignore[operator]
        return logits

    def _flat_loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of each sample at the classifier's weights as its class perturbs them, ``(B,)``."""
        classifier: nn.Linear = self.network.classifier  # type: ignore[assignment]
        weights = dict(classifier.named_parameters())
        length = torch.stack([value.detach().norm() for value in weights.values()]).norm()
        loss: Tensor = self.loss(classifier(features.detach()), targets)
        flat = torch.zeros_like(loss)
        for label in torch.unique(targets):
            own = targets == label
            found = torch.autograd.grad(loss[own].mean(), list(weights.values()), retain_graph=True)
            moved = {
                name: value + self.radii[label] * (length / gradient.norm()).sqrt() * gradient / gradient.norm()
                for (name, value), gradient in zip(weights.items(), found, strict=True)
                if gradient.norm() > 0
            }
            flat = flat.masked_scatter(own, self.loss(functional_call(classifier, moved, features[own]), targets[own]))
        return flat

    def _adversarial_loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of each sample's features, and of its features perturbed against their class, ``(B,)``."""
        classifier: nn.Linear = self.network.classifier  # type: ignore[assignment]
        loss: Tensor = self.loss(classifier(features), targets)
        gradient = torch.autograd.grad(loss.sum(), features, retain_graph=True)[0]
        squares = torch.zeros_like(self.strengths, dtype=loss.dtype).index_add(0, targets, gradient.square().sum(dim=1))
        length = squares.sqrt()[targets].clamp_min(torch.finfo(loss.dtype).tiny)
        strength = self.strengths[targets]
        moved = features.detach() + (strength / length)[:, None] * gradient
        share = min(max((self.ctx.progress - self.stages[0].share) / self.stages[1].share, 0.0), self.limit)
        return torch.lerp(loss, strength * self.loss(classifier(moved), targets), share)
