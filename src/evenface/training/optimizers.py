"""Optimisers by name, from torch and timm."""

from collections.abc import Iterable
from typing import Any

import timm.optim
import torch
from torch import nn

from evenface.recipes.schema import Optimizer as OptimizerSettings

_TIMM = {"lamb": "Lamb", "adabelief": "AdaBelief", "novograd": "NvNovoGrad"}


def build_optimizer(modules: Iterable[nn.Module], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Build the optimiser of all parameters of ``modules`` that take a gradient.

    AdamW, Adam and SGD are torch's; LAMB, AdaBelief and NovoGrad are timm's. What a recipe leaves open is the
    optimiser's own default, but for what would act on the gradient unasked: LAMB's clipping at a norm of 1 is off.

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
    groups = _groups([p for module in modules for p in module.parameters() if p.requires_grad], settings)
    options: dict[str, Any] = {"lr": settings.lr}
    if settings.name == "sgd":
        nesterov = settings.nesterov and settings.momentum > 0
        return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=nesterov, fused=True, **options)
    options |= {key: value for key in ("betas", "eps") if (value := getattr(settings, key)) is not None}
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, fused=True, **options)
    if settings.name == "adam":
        return torch.optim.Adam(groups, fused=True, **options)
    if settings.name == "lamb":
        options["max_grad_norm"] = None  # timm would clip at 1; clipping is optimizer.clip_norm
    made: torch.optim.Optimizer = getattr(timm.optim, _TIMM[settings.name])(groups, **options)
    return made


def _groups(parameters: list[nn.Parameter], settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Divide parameters into those with weight decay and those without."""
    # timm's LAMB scales the steps of a layer by its trust ratio only where there is weight decay, unless it is told.
    lamb = settings.name == "lamb"
    decayed: dict[str, Any] = {"weight_decay": settings.weight_decay} | ({"always_adapt": True} if lamb else {})
    if settings.weight_decay_on == "all" or not (settings.weight_decay or lamb):
        return [{"params": parameters, **decayed}]
    # Biases and the scales of normalisation are the parameters of at most one dimension.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], **decayed},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
