"""Relative uncertainty learning (RUL): features mixed by their uncertainties."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.methods.base import Method


class RUL(Method):
    r"""Relative uncertainty learning: features mixed by their uncertainties, against both labels.

    .. math::
        L_i = \tfrac12 \ell(W m_i, y_i) + \tfrac12 \ell(W m_i, y_j), \quad
        m_i = \frac{u_i \mu_i + u_j \mu_j}{u_i + u_j}, \quad u_i = \operatorname{mean}_d \exp s_{id}

    where j is a random partner of i in the batch, and :math:`\mu` and s are two branches on the same features.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The network's classifier gives way to one on :math:`\mu`.
    width : int, default=64
        Length of :math:`\mu` and s.
    dropout : float, default=0.4
        Share of the features dropped before each branch, from 0 to below 1.

    Raises
    ------
    ValueError
        If an option is out of its range.

    Notes
    -----
    To classify a mixture as both its labels, the harder face must weigh more: its uncertainty grows. Prediction
    uses :math:`\mu` alone, the branch of uncertainty is dropped.

    References
    ----------
    Zhang, Wang and Deng, *Relative uncertainty learning for facial expression recognition*, NeurIPS 2021.
    """

    training_only = (*Method.training_only, "uncertainty.")

    def __init__(self, network: nn.Module, loss: nn.Module, width: int = 64, dropout: float = 0.4) -> None:
        super().__init__(network, loss)
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {dropout}")
        old: nn.Linear = network.classifier  # type: ignore[assignment]
        self.mu, self.uncertainty = (_branch(old.in_features, width, dropout) for _ in range(2))
        self.classifier = nn.Linear(width, old.out_features)
        network.classifier = nn.Identity()

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of mixed features against the labels of both faces, one value per mixture."""
        features = self.network(images).features
        partner = torch.randperm(len(images), device=images.device)
        mixed = mix(self.mu(features).float(), self.uncertainty(features).float().exp().mean(dim=1), partner)
        logits = self.classifier(mixed)
        loss: Tensor = 0.5 * self.loss(logits, targets) + 0.5 * self.loss(logits, targets[partner])
        return loss

    def logits(self, images: Tensor) -> Tensor:
        """Compute the logits of unmixed features, ``(B, C)``."""
        logits: Tensor = self.classifier(self.mu(self.network(images).features))
        return logits


def mix(features: Tensor, uncertainty: Tensor, partner: Tensor) -> Tensor:
    """Mix each sample with its partner, each weighted by its share of their uncertainties."""
    share = (uncertainty / (uncertainty + uncertainty[partner]))[:, None]
    return share * features + (1 - share) * features[partner]


class _BatchNorm(nn.BatchNorm1d):
    """Batch norm that takes its running statistics for a batch of one sample, which has none of its own."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, torch's name
        if self.training and len(input) == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def _branch(features: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        _BatchNorm(features, eps=2e-5, affine=False),
        nn.Dropout(dropout),
        nn.Linear(features, width),
        _BatchNorm(width, eps=2e-5),
    )
