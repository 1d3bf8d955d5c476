"""One-vs-rest classification: a binary classifier for each class."""

from torch import Tensor

from evenface.losses.base import at_least_float32
from evenface.methods.base import Method


class OneVsAll(Method):
    r"""Each class against the rest, by its own logit and its own loss.

    .. math:: p_c = \sigma(z_c), \qquad \hat y = \arg\max_c p_c

    For sequences, each detector is a separate network. For images, one network has a logit for each class.

    Parameters
    ----------
    network : nn.Module
        Its C logits are the detectors'.
    loss : OneVsRestLoss
        A loss of two classes for each detector.

    References
    ----------
    Winarno et al., *Efficient GRU-based facial expression recognition with adaptive loss selection*, 2025,
    section 3.3.2 and eq. 4.
    """

    modalities = ("images", "clips", "sequences")
    one_vs_rest = True

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the sum of the binary losses, one value per sample."""
        value: Tensor = self.loss(self.network(images).logits, targets)
        return value

    def scores(self, images: Tensor) -> Tensor:
        """Compute the probability of each binary classifier, 0 to 1, ``(B, C)``; rows need not sum to 1."""
        return at_least_float32(self.logits(images)).sigmoid()

    def class_scores(self, images: Tensor) -> Tensor:
        """Return the binary classifiers' logits, which are log-odds, ``(B, C)``."""
        return self.logits(images)
