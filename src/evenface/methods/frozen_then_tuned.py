"""Transfer learning in two stages: frozen backbone first, then fine-tuning of the whole network."""

import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Stage, host_flag


class FrozenThenTuned(Method):
    """Training in two stages: with the backbone frozen, then of the whole network, both by the loss.

    In the first stage the backbone works as at prediction: its weights and the statistics of its normalisation stay
    as they are, to the bit. The layers after it (a recurrent network over frames, the classifier) are trained.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    frozen : float, default=0.3
        Share of the epochs that belong to the first stage, above 0 and below 1.

    Raises
    ------
    ValueError
        If ``frozen`` is not in that range, or the recipe freezes the backbone for good.

    References
    ----------
    Agam et al., *Hybrid MobileNetV3-LSTM model for detecting phasic and tonic receptor responses in facial images*,
    Communications in Mathematical Biology and Neuroscience 2026, section 2.4. The length of the stages is not stated.
    """

    tasks = ("classification", "ordinal", "regression", "multilabel")
    cached_features = False  # the backbone is trained
    uses_all_parameters = False
    exact_prior = True
    tuned: Tensor
    is_tuned: bool

    def __init__(self, network: nn.Module, loss: nn.Module, frozen: float = 0.3) -> None:
        super().__init__(network, loss)
        if not 0 < frozen < 1:
            raise ValueError(f"frozen must be above 0 and below 1, got {frozen}")
        if network.frozen_backbone:
            raise ValueError("network.freeze: backbone leaves nothing to tune, set it to none")
        self.stages = (Stage(frozen), Stage(1 - frozen))
        self.training_only = (*self.training_only, "tuned")
        # A buffer, so that a run that goes on within the second stage knows where it is.
        self.register_buffer("tuned", torch.zeros((), dtype=torch.bool))
        host_flag(self, "tuned", "is_tuned")

    def begin_stage(self, stage: int) -> None:  # noqa: ARG002, there is but one
        """Unfreeze the backbone."""
        self.tuned.fill_(True)
        self.is_tuned = True

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the network's logits, one value per sample."""
        frozen_backbone = not self.is_tuned
        if self.network.frozen_backbone != frozen_backbone:
            self.network.frozen_backbone = frozen_backbone  # type: ignore[assignment]
            self.network.train(self.network.training)
        return self.network_loss(images, targets)
