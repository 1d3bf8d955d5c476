"""Adam, AdamW and SGD for many networks at once, each with its own learning rate and number of steps."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from evenface.config.recipe import Optimizer
from evenface.training.stacked.network import StackedArrays
from evenface.utils.errors import InputError

MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}
"""How many numbers each optimiser keeps of every parameter."""


def check_optimizer(settings: Optimizer) -> None:
    """Refuse an optimiser that does not train many networks at once."""
    if settings.name not in MOMENTS:
        raise InputError(
            f"networks of sequences do not train by {settings.name}", "Set optimizer.name to adam, adamw or sgd."
        )


class StackedOptimizer:
    """Moves the parameters of M networks; their settings differ in the learning rate alone.

    Notes
    -----
    Members of equal learning rate and number of steps are moved by one call of torch's fused optimisers.
    """

    def __init__(self, weights: StackedArrays, gradients: StackedArrays, settings: Optimizer) -> None:
        self.settings, self.gradients = settings, gradients
        device = weights.flat.device
        self.moments = [StackedArrays(weights.shape, weights.members, device) for _ in range(MOMENTS[settings.name])]
        self.stacks = (weights, gradients, *self.moments)
        self._views: dict[tuple[int, int], list[tuple[float, list[list[Tensor]]]]] = {}

    def step(self, rates: Sequence[float], counts: Sequence[int]) -> None:
        """Take a step with the first members."""
        first = 0
        if self.settings.clip_norm is not None:
            self._clip(len(rates), self.settings.clip_norm)
        for (rate, count), run in itertools.groupby(zip(rates, counts, strict=True)):
            last = first + len(list(run))
            for decay, tensors in self._parts(first, last):
                self._move(tensors, rate, count, decay)
            first = last

    def _move(self, tensors: list[list[Tensor]], rate: float, count: int, decay: float) -> None:
        settings = self.settings
        if settings.name == "sgd":
            weights, gradients, momenta = tensors
            torch._fused_sgd_(
                weights,
                gradients,
                momenta if settings.momentum else [],
                weight_decay=decay,
                momentum=settings.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=settings.nesterov and settings.momentum > 0,
                maximize=False,
                is_first_step=count == 1,
            )
            return
        weights, gradients, first, second = tensors
        betas = settings.betas or (0.9, 0.999)  # torch's own, as is 1e-8 below
        steps = [torch.full((), float(count), device=weights[0].device)] * len(weights)
        move = torch._fused_adam_ if settings.name == "adam" else torch._fused_adamw_
        move(
            weights,
            gradients,
            first,
            second,
            [],
            steps,
            lr=rate,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=decay,
            eps=1e-8 if settings.eps is None else settings.eps,
            amsgrad=False,
            maximize=False,
        )

    def _parts(self, first: int, last: int) -> list[tuple[float, list[list[Tensor]]]]:
        """Return weight decay and tensors of each stack for some members, in as few pieces as there can be."""
        if (first, last) not in self._views:
            decay, matrices = self.settings.weight_decay, self.stacks[0].matrices
            spared = self.settings.weight_decay_on == "weights" and decay > 0
            if (first, last) == (0, self.stacks[0].members):
                cut = matrices if spared else len(self.stacks[0].flat)
                halves = [[[stack.flat[:cut]] for stack in self.stacks], [[stack.flat[cut:]] for stack in self.stacks]]
            else:
                names = list(self.stacks[0].blocks)
                heavy = [name for name in names if not spared or self.stacks[0].is_matrix(name)]
                halves = [
                    [[stack.blocks[name][first:last] for name in some] for stack in self.stacks]
                    for some in (heavy, [name for name in names if name not in heavy])
                ]
            self._views[first, last] = [
                (share, half)
                for share, half in zip((decay, 0.0), halves, strict=True)
                if half[0] and half[0][0].numel()
            ]
        return self._views[first, last]

    def _clip(self, members: int, largest: float) -> None:
        """Shorten each member's gradient to a norm, as torch's clip_grad_norm_ does."""
        blocks = [block[:members].flatten(1) for block in self.gradients.blocks.values()]
        norm = torch.stack([torch.linalg.vector_norm(block, dim=1) for block in blocks]).norm(dim=0)
        factor = (largest / (norm + 1e-6)).clamp(max=1)[:, None]
        for block in blocks:
            block.mul_(factor)
