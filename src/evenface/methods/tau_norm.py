"""Tau-normalisation: classifier weights divided by a power of their norm, after training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.methods.erm import ERM


class TauNorm(ERM):
    r"""Tau-normalised classifier on a network that was trained by the loss alone.

    .. math:: z_i = \frac{w_i^T f(x)}{\|w_i\|^\tau}

    Frequent classes tend to have weights of larger norm; this takes that from them, at prediction only.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    tau : float, default=1.0
        >= 0. Zero leaves the weights as they are, 1 gives all classes the same norm.
    bias : {"drop", "keep"}
        Leave biases out, as the source does, or add them as they are.

    Raises
    ------
    ValueError
        If an option is not as above, or the classifier is not linear: one by angles alone knows no norms.

    References
    ----------
    Kang et al., *Decoupling representation and classifier for long-tailed recognition*, ICLR 2020, section 4.
    """

    takes_auxiliary = False  # its logits are not the network's
    exact_prior = False  # norms are taken out after training

    def __init__(self, network: nn.Module, loss: nn.Module, tau: float = 1.0, bias: str = "drop") -> None:
        super().__init__(network, loss)
        if type(network.classifier) is not nn.Linear:
            raise ValueError("the network's classifier must be linear, see network.head")
        if not 0 <= tau < float("inf"):
            raise ValueError(f"tau must be finite and >= 0, got {tau}")
        if bias not in ("drop", "keep"):
            raise ValueError(f"bias must be drop or keep, got {bias!r}")
        self.tau, self.bias = tau, bias

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of the normalised classifier, ``(B, C)``."""
        classifier: nn.Linear = self.network.classifier  # type: ignore[assignment]
        norms = torch.linalg.vector_norm(classifier.weight, dim=1, keepdim=True)
        weight = classifier.weight / norms.clamp_min(torch.finfo(norms.dtype).tiny) ** self.tau
        bias = classifier.bias if self.bias == "keep" else None
        return F.linear(self.network(images).features, weight, bias)
