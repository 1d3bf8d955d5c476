"""Empirical risk minimisation: the loss of the network's logits, averaged over the training samples."""

from torch import Tensor

from evenface.methods.base import Method


class ERM(Method):
    """Empirical risk minimisation (ERM): training by the loss alone, the baseline. Weighted losses need no more."""

    modalities = ("images", "clips", "sequences")
    tasks = ("classification", "ordinal", "regression", "multilabel")
    takes_auxiliary = True
    exact_prior = True

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the network's logits, one value per sample."""
        return self.network_loss(images, targets)
