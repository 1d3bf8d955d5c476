"""Decoupled training: representation first, then the classifier, re-trained (cRT) or re-scaled (LWS)."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Stage, frozen_eval, host_flag
from evenface.models.backbone import Outputs


class Decoupled(Method):
    """Training in two stages: the whole network by the loss alone, then only what makes logits of its features.

    In the second stage every class is drawn equally often, and the network works as at prediction: its weights (but
    those a subclass gives a gradient to) and the statistics of its normalisation stay as they are, to the bit. A
    subclass may have another sampling, loss or mode of the network then.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`Method`.
    share : float, default=0.1
        Share of the epochs that belong to the second stage, above 0 and below 1.

    Raises
    ------
    ValueError
        If ``share`` is not in that range.

    References
    ----------
    Kang et al., *Decoupling representation and classifier for long-tailed recognition*, ICLR 2020, section 4.
    """

    uses_all_parameters = False
    resampling: ClassVar[str | None] = "inverse"
    second: Tensor
    in_second: bool

    def __init__(self, network: nn.Module, loss: nn.Module, share: float = 0.1) -> None:
        super().__init__(network, loss)
        if not 0 < share < 1:
            raise ValueError(f"share must be above 0 and below 1, got {share}")
        self.stages = (Stage(1 - share), Stage(share, sampling=self.resampling))
        self.training_only = (*self.training_only, "second")
        # A buffer, so that a run that goes on within the second stage knows where it is.
        self.register_buffer("second", torch.zeros((), dtype=torch.bool))
        host_flag(self, "second", "in_second")

    def begin_stage(self, stage: int) -> None:  # noqa: ARG002, there is but one
        """Freeze the network from here on."""
        self.second.fill_(True)
        self.in_second = True

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the stage, one value per sample."""
        if not self.in_second:
            return self.first_loss(images, targets)
        return self.second_loss(self.head_logits(self.frozen_outputs(images)), targets)

    def first_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the first stage, one value per sample."""
        return self.network_loss(images, targets)

    def second_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the second stage from its logits, one value per sample."""
        loss: Tensor = self.loss(logits, targets)
        return loss

    def frozen_outputs(self, images: Tensor) -> Outputs:
        """Return the outputs of the frozen network."""
        with frozen_eval(self.network):
            outputs: Outputs = self.network(images)
        return outputs

    @abstractmethod
    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the logits of the second stage, ``(B, C)``, from the outputs of the frozen network."""


class CRT(Decoupled):
    r"""Classifier re-training, in the last ``share`` of the epochs.

    .. math:: \min_{W, b} \sum \ell(W^T f(x; \theta) + b, y)

    over samples drawn class-balanced, with :math:`\theta` as the first stage left it. The classifier is re-initialised
    with random weights. See :class:`~evenface.methods.decoupled.Decoupled` for parameters.

    Notes
    -----
    The network is frozen as a whole, in eval mode, so the new classifier learns without dropout.

    References
    ----------
    Kang et al., *Decoupling representation and classifier for long-tailed recognition*, ICLR 2020, section 4.
    """

    exact_prior = True

    def begin_stage(self, stage: int) -> None:
        """Freeze the network and redraw the classifier's weights, in place, as the optimiser holds them."""
        super().begin_stage(stage)
        self.network.classifier.reset_parameters()  # type: ignore[union-attr,operator]

    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the new classifier's logits."""
        logits: Tensor = self.network.classifier(outputs.features)  # type: ignore[operator]
        return logits


class LWS(Decoupled):
    r"""Learnable weight scaling, in the last ``share`` of the epochs.

    .. math:: z_i = s_i (w_i^T f(x; \theta) + b_i), \qquad s_i \text{ learnt from } 1

    with w, b and :math:`\theta` as the first stage left them. See :class:`~evenface.methods.decoupled.Decoupled` for
    parameters.

    References
    ----------
    Kang et al., *Decoupling representation and classifier for long-tailed recognition*, ICLR 2020, section 4, which
    scales w; the authors' program scales the bias with it, as here.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, share: float = 0.1) -> None:
        super().__init__(network, loss, share)
        self.scales = nn.Parameter(torch.ones(network.classifier.out_features))  # type: ignore[union-attr,arg-type]

    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the scaled logits."""
        return outputs.logits * self.scales

    def logits(self, images: Tensor) -> Tensor:
        """Return the scaled logits, ``(B, C)``."""
        return self.head_logits(self.network(images))
