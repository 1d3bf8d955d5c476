"""A running average of the weights, which often predicts better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


# own code: torch's AveragedModel and timm's ModelEmaV3 deep-copy the method with all it holds, torch's takes the first
# weights whole and has no warm-up, and timm's warm-up is another: averages, and the results of runs, would differ
class Average:
    """Exponential moving average of a module's parameters and buffers.

    Parameters
    ----------
    module : nn.Module
        What is averaged; it trains on, unchanged.
    decay : float
        Share of the past at each step, from 0 to below 1. Early on less counts: (1 + t) / (10 + t) after t steps,
        so that the first weights are soon forgotten. 0 keeps the weights as they are.

    Notes
    -----
    Running statistics are averaged as well; whole numbers (counters, labels) are taken as they are.

    References
    ----------
    Polyak and Juditsky, *Acceleration of stochastic approximation by averaging*, SIAM J. Control Optim. 1992.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.state: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Set the average to the weights as they are: before the first step, and when a stage begins."""
        if self.decay:
            self.state = {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take the weights in after the step of that number, from 0."""
        if not self.decay:
            return
        own = self.module.state_dict()
        weight = 1 - min(self.decay, (1 + steps) / (10 + steps))
        floating = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[name] for name in floating], [own[name] for name in floating], weight)
        for name in own.keys() - set(floating):
            self.state[name].copy_(own[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in place of the weights for a while."""
        if not self.decay:
            yield
            return
        own = self.module.state_dict()
        kept = {name: value.clone() for name, value in own.items()}
        self.module.load_state_dict(self.state)
        try:
            yield
        finally:
            self.module.load_state_dict(kept)
