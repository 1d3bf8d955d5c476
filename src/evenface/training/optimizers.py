"""Optimisers by name, from torch and timm."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from evenface.networks import torchvision_cpu  # noqa: F401, timm cannot be imported without it

# isort: split
import timm.optim

from evenface.recipes.schema import Optimizer as OptimizerSettings

_TIMM = {"lamb": "Lamb", "adabelief": "AdaBelief", "novograd": "NvNovoGrad"}


def build_optimizer(modules: Iterable[nn.Module], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Make the optimiser of all parameters of ``modules`` that take a gradient.

    AdamW, Adam and SGD (Nesterov) are torch's; LAMB, AdaBelief and NovoGrad are timm's.

    Parameters
    ----------
    modules : iterable of Module
        What shall be trained.
    settings : Optimizer
        The recipe's section.

    Returns
    -------
    Optimizer
        With two groups where biases and normalisation are spared from weight decay, one otherwise.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    if settings.decay == "weights" and settings.weight_decay > 0:
        # Biases and the scales of normalisation are the parameters of at most one dimension.
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    else:
        groups = [{"params": parameters, "weight_decay": settings.weight_decay}]
    groups = [group for group in groups if group["params"]]
    options: dict[str, Any] = {"lr": settings.lr}
    if settings.name != "sgd" and settings.eps is not None:
        options["eps"] = settings.eps
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True, **options
        )
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, betas=settings.betas, fused=True, **options)
    if settings.name == "adam":
        return torch.optim.Adam(groups, betas=settings.betas, fused=True, **options)
    kind = getattr(timm.optim, _TIMM[settings.name])
    made: torch.optim.Optimizer = kind(groups, betas=settings.betas, **options)
    return made
