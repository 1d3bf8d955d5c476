"""No more than the loss: the network's logits against the true classes."""

from torch import Tensor

from evenface.methods.base import Method


class Plain(Method):
    """Training by the loss alone. The baseline, and all that weighted losses and sampling need."""

    sequences = True
    exact_prior = True

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give the loss of the network's logits, one value per sample."""
        loss: Tensor = self.loss(self.network(images).logits, targets)
        return loss
