"""Gradient checkpointing: recompute activations of blocks in the backward pass to save memory."""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute_blocks(module: nn.Module) -> int:
    """Make every block inside ``module`` keep no more than its input for the gradient.

    A block is a module of two or more layers, part of a sequence and without such a sequence inside: a residual
    block of a ResNet, an inverted residual of a MobileNet, a layer of a transformer. Outputs, gradients and running
    statistics are those of the plain module.

    References
    ----------
    Chen et al., *Training deep nets with sublinear memory cost*, 2016.
    """
    found = _blocks(module)
    for block in found:
        # An attribute of the instance goes before the method of the class.
        block.forward = functools.partial(_recomputed, block, block.forward)
    return len(found)


def _blocks(module: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    for child in module.children():
        inner = _blocks(child)
        in_sequence = isinstance(module, nn.Sequential | nn.ModuleList)
        several = sum(parameter.ndim > 1 for parameter in child.parameters()) > 1
        whole = in_sequence and several and not isinstance(child, nn.Sequential | nn.ModuleList)
        found += inner or ([child] if whole else [])
    return found


def _recomputed(block: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_kept(block)

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Run batch norms on copies of their running statistics: a second look at a batch must not count twice."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, value in buffers.items():
            setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, value in buffers.items():
                setattr(norm, name, value)
