"""Helpers of methods: a network in eval mode without gradients, and tensors gathered over processes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn


@contextmanager
def frozen_eval(network: nn.Module) -> Iterator[None]:
    """Run a network in eval mode and without gradients; afterwards it is back in its mode."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
        # Torch before 2.10 keeps weights that were cast under no_grad, and later uses of them would get no gradient.
        torch.clear_autocast_cache()


def all_gather_cat(values: Tensor) -> Tensor:
    """Concatenate the tensors of all processes in the order of their ranks; of a single process, return ``values``."""
    if not _several_processes():
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def rank_slice(rows: int) -> slice:
    """Return the slice of this process's rows in :func:`all_gather_cat`, all processes having equally many."""
    start = distributed.get_rank() * rows if _several_processes() else 0
    return slice(start, start + rows)


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized()
