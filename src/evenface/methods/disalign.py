"""Distribution alignment (DisAlign): adaptive calibration of the logits of a frozen network."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evenface.data.imbalance import inverse_frequency_weights
from evenface.methods.base import Task
from evenface.methods.decoupled import Decoupled
from evenface.models.backbone import Outputs


class DisAlign(Decoupled):
    r"""Adaptive calibration of logits with generalised re-weighting, in the last ``share`` of the epochs.

    .. math::
        \hat z_j = \sigma(x) \, (\alpha_j z_j + \beta_j) + (1 - \sigma(x)) \, z_j, \quad
        \sigma(x) = \frac{1}{1 + e^{-v^T f(x) - b}}, \quad L = w_y \, \ell(\hat z, y), \quad
        w_j \propto \pi_j^{-\rho} \text{ with mean 1}

    with the logits z and features f of the frozen network; :math:`\alpha` from 1, :math:`\beta` from 0, v and b are
    learnt. See :class:`~evenface.methods.decoupled.Decoupled` for the stages; samples are drawn as in the first.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its counts give the class shares :math:`\pi`.
    share : float, default=0.1
        Share of the epochs that belong to the second stage, above 0 and below 1.
    rho : float, default=1.2
        :math:`\rho`, >= 0. Zero gives weights of 1, one is inverse frequency.

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        If ``share`` or ``rho`` is out of range.

    Notes
    -----
    Weighted cross-entropy is, but for a constant, the Kullback-Leibler divergence from the weighted empirical labels,
    which is what the source minimises. Its program for classification has :math:`(1 + \sigma \alpha_j) z_j` instead,
    and so begins with other logits than those of the first stage; here it is the equation, as in its program for
    segmentation.

    References
    ----------
    Zhang et al., *Distribution alignment: a unified framework for long-tail visual recognition*, CVPR 2021, sec. 3.3
    and 3.4.
    """

    resampling = None
    prior_reason = "generalised re-weighting"
    weights: Tensor

    def __init__(self, network: nn.Module, loss: nn.Module, task: Task, share: float = 0.1, rho: float = 1.2) -> None:
        super().__init__(network, loss, share)
        if not 0 <= rho < float("inf"):
            raise ValueError(f"rho must be a number >= 0, got {rho}")
        classifier: nn.Linear = network.classifier  # type: ignore[assignment]
        self.scale = nn.Parameter(torch.ones(classifier.out_features))
        self.margin = nn.Parameter(torch.zeros(classifier.out_features))
        self.confidence = nn.Linear(classifier.in_features, 1)
        power = inverse_frequency_weights(task.counts, normalise="classes", names=task.names) ** rho
        weights = torch.tensor(power / np.mean(power), dtype=torch.float32)
        # From the data set on every start, so not part of what is stored.
        self.register_buffer("weights", weights, persistent=False)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:  # noqa: ARG002
        """Return the weights of the second stage."""
        return self.weights.double().cpu().numpy()

    def second_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the weighted loss of the calibrated logits."""
        return self.weights[targets] * super().second_loss(logits, targets)

    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the calibrated logits."""
        confidence: Tensor = self.confidence(outputs.features).sigmoid()
        aligned = self.scale * outputs.logits + self.margin
        return confidence * aligned + (1 - confidence) * outputs.logits

    def logits(self, images: Tensor) -> Tensor:
        """Return the calibrated logits, ``(B, C)``."""
        return self.head_logits(self.network(images))
