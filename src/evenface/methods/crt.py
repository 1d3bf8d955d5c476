"""Classifier re-training (cRT): a new classifier on frozen features."""

from torch import Tensor

from evenface.methods.decoupled import Decoupled
from evenface.models.backbone import Outputs


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
