"""Identity-adversarial training: features by which people cannot be recognised."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.methods.base import Method, Task
from evenface.utils.errors import InputError


class IdentityAdversarial(Method):
    r"""Training against a classifier of identity.

    .. math:: L = \ell(z, y) - \lambda \log \mathrm{softmax}(W R(f) + b)_s

    with the features f of the network, the subject s of a sample, and gradient reversal R: the identity in the forward
    pass, a factor of :math:`-\lambda_r` on gradients. The linear classifier learns to recognise people, the network to
    leave nothing to recognise them by.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its ``people`` have the subject of every training sample.
    reversal : float, default=1.0
        :math:`\lambda_r`, strength with which the network works against the classifier, >= 0.
    weight : float, default=1.0
        :math:`\lambda`, weight of the identity loss, >= 0.

    Raises
    ------
    InputError
        If subjects are not known, or there is one only.
    ValueError
        If a number is out of range.

    Notes
    -----
    The paper finds that one linear layer, not a deeper one, and a strong reversal serve action units best; the strength
    is chosen for each data set there. The classifier is not needed to predict.

    References
    ----------
    Ning, Salah and Ertugrul, *Representation learning and identity adversarial training for facial behavior
    understanding*, 2024; gradient reversal of Ganin and Lempitsky, ICML 2015.
    """

    tasks = ("classification", "ordinal", "regression", "multilabel")
    subjects: Tensor

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, *, reversal: float = 1.0, weight: float = 1.0
    ) -> None:
        super().__init__(network, loss)
        for name, value in (("reversal", reversal), ("weight", weight)):
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        names, codes = np.unique(task.people.attributes.get("subject", ()), return_inverse=True)
        if len(names) < 2:
            raise InputError(
                "identity-adversarial training needs the subjects of the training samples, two or more",
                "Use a source with subjects, or an option that finds them, such as data.subjects.",
            )
        self.reversal, self.weight = reversal, weight
        self.training_only = (*self.training_only, "identity.")
        old = network.classifier
        self.identity = nn.Linear(old.in_features, len(names)).to(old.weight.device)  # type: ignore[union-attr,arg-type]
        self.register_buffer("subjects", torch.from_numpy(codes.astype(np.int64)), persistent=False)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of each sample plus that of recognising its person, ``(B,)``."""
        outputs = self.network(images)
        loss: Tensor = self.loss(outputs.logits, self.encode(targets))
        who = self.identity(_Reversed.apply(outputs.features, self.reversal))  # type: ignore[no-untyped-call]
        return loss + self.weight * F.cross_entropy(who.float(), self.subjects[self.ctx.indices], reduction="none")


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned around."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None
