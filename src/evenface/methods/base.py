"""What a method is: a network, a loss, and how one learns from the other."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from evenface.errors import InputError


class Method(nn.Module, ABC):
    """A network and the way it is trained. Subclasses give :meth:`training_loss`, and may give :meth:`predict`.

    Parameters
    ----------
    network : nn.Module
        ``images (B, channels, H, W) -> Outputs(logits, features, maps)``.
    loss : nn.Module
        ``(logits (B, C), targets (B,)) -> (B,)``.

    Attributes
    ----------
    training_only : tuple of str
        How the names of tensors begin that prediction does not need. A method with heads of its own adds them here,
        unless it predicts by them.

    Notes
    -----
    The training loop keeps four promises, on which methods rest:

    - It calls the method itself (:meth:`forward`), takes the mean over samples and steps all parameters. Those that
      a step gives no gradient are left alone, so a method with phases detaches what a phase shall not move.
    - It seeds torch before every step, so a method draws by torch's own generator and stays resumable.
    - It stores and restores ``state_dict()``: whatever a method remembers (centres, counters) is a buffer.
    - Images are as augmentation left them; a method makes further views itself.
    """

    training_only: tuple[str, ...] = ("loss.",)

    def __init__(self, network: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    @abstractmethod
    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give what training makes small, one value per sample.

        Parameters
        ----------
        images : Tensor of shape (B, channels, H, W)
            Floating point, from 0 to 1.
        targets : Tensor of shape (B,)
            True classes, int64.

        Returns
        -------
        Tensor of shape (B,)
        """

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give :meth:`training_loss`; wrappers for several devices work on this call."""
        return self.training_loss(images, targets)

    def predict(self, images: Tensor) -> Tensor:
        """Give the probability of each class.

        The caller chooses evaluation mode and switches gradients off (or keeps them, to explain).

        Parameters
        ----------
        images : Tensor of shape (B, channels, H, W)
            Floating point, from 0 to 1.

        Returns
        -------
        Tensor of shape (B, C)
            At least float32; each row sums to 1.
        """
        return probabilities(self.network(images).logits)

    def inference_state(self) -> dict[str, Tensor]:
        """Give the tensors that prediction needs, by name."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(self.training_only)}

    def load_inference_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors that :meth:`inference_state` gave; those of training alone keep their values.

        Raises
        ------
        InputError
            If names or shapes are not those of this method and network. Nothing is changed then.
        """
        own = self.inference_state()
        wrong = sorted(own.keys() ^ state.keys())
        wrong += [name for name in own if name in state and own[name].shape != state[name].shape]
        if wrong:
            raise InputError(
                f"the weights are not those of this network: {len(wrong)} tensors differ, first {wrong[0]}",
                "Use the recipe that they were trained with.",
            )
        self.load_state_dict(dict(state), strict=False)


def probabilities(logits: Tensor) -> Tensor:
    """Give softmax probabilities in at least 32 bits, ``(B, C) -> (B, C)``."""
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return logits.softmax(dim=-1)
