"""Learnable weight scaling (LWS): one scale per class on a frozen classifier."""

import torch
from torch import Tensor, nn

from evenface.methods.decoupled import Decoupled
from evenface.models.backbone import Outputs


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
