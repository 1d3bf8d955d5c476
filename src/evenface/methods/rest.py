"""A network that looks on while something else learns."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Run a network as at prediction and without gradients: neither its weights nor its statistics move.

    Parameters
    ----------
    network : nn.Module
        Back in its mode afterwards.
    """
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
        # Torch before 2.10 keeps weights that were cast under no_grad, and later uses of them would get no gradient.
        torch.clear_autocast_cache()
