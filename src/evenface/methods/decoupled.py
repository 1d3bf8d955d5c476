"""Base of decoupled training: representation first, then the classifier."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Stage, frozen_eval
from evenface.models.backbone import Outputs


class Decoupled(Method):
    """Training in two stages: the whole network by the loss alone, then only what makes logits of its features.

    In the second stage every class is drawn equally often, and the network works as at prediction: its weights (but
    those a subclass gives a gradient to) and the statistics of its normalisation stay as they are, to the bit.

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
    second: Tensor

    def __init__(self, network: nn.Module, loss: nn.Module, share: float = 0.1) -> None:
        super().__init__(network, loss)
        if not 0 < share < 1:
            raise ValueError(f"share must be above 0 and below 1, got {share}")
        self.stages = (Stage(1 - share), Stage(share, sampling="inverse"))
        self.training_only = (*self.training_only, "second")
        # A buffer, so that a run that goes on within the second stage knows where it is.
        self.register_buffer("second", torch.zeros((), dtype=torch.bool))

    def begin_stage(self, stage: int) -> None:  # noqa: ARG002, there is but one
        """Freeze the network from here on."""
        self.second.fill_(True)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the logits, one value per sample."""
        if self.second:
            with frozen_eval(self.network):
                outputs = self.network(images)
            logits = self.head_logits(outputs)
        else:
            logits = self.network(images).logits
        loss: Tensor = self.loss(logits, targets)
        return loss

    @abstractmethod
    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the logits of the second stage, ``(B, C)``, from the outputs of the frozen network."""
