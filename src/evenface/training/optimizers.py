"""Optimisers from torch and timm, schedules of learning rate and image size, moving average, early stopping."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import timm.optim
import torch
from torch import Tensor, nn

from evenface.config.recipe import Optimizer as OptimizerSettings
from evenface.config.recipe import Schedule

_TIMM = {"lamb": "Lamb", "adabelief": "AdaBelief", "novograd": "NvNovoGrad"}


def build_optimizer(modules: Iterable[nn.Module], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Build the optimiser of all parameters of ``modules`` that take a gradient.

    AdamW, Adam and SGD are torch's; LAMB, AdaBelief and NovoGrad are timm's; Muon is :class:`Muon`. Options that a
    recipe does not set have the optimiser's own default, except that LAMB's gradient clipping at a norm of 1 is off.
    """
    groups = _groups(modules, settings)
    options: dict[str, Any] = {"lr": settings.lr}
    if settings.name == "sgd":
        nesterov = settings.nesterov and settings.momentum > 0
        return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=nesterov, fused=True, **options)
    options |= {key: value for key in ("betas", "eps") if (value := getattr(settings, key)) is not None}
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, fused=True, **options)
    if settings.name == "muon":
        return Muon(groups, **options)
    if settings.name == "adam":
        return torch.optim.Adam(groups, fused=True, **options)
    if settings.name == "lamb":
        options["max_grad_norm"] = None  # timm would clip at 1; clipping is optimizer.clip_norm
    optimizer: torch.optim.Optimizer = getattr(timm.optim, _TIMM[settings.name])(groups, **options)
    return optimizer


def _groups(modules: Iterable[nn.Module], settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Split parameters into Muon's matrices, the others with weight decay and those without."""
    named = [item for module in modules for item in module.named_parameters() if item[1].requires_grad]
    if settings.name != "muon":
        return _decay_groups([p for _, p in named], settings)
    matrices = [p for name, p in named if _is_hidden_matrix(name, p)]
    others = [p for name, p in named if not _is_hidden_matrix(name, p)]
    muon = {"momentum": settings.momentum, "nesterov": settings.nesterov, "weight_decay": settings.weight_decay}
    groups = [{"params": matrices, **muon}, *_decay_groups(others, settings)]
    return [group for group in groups if group["params"]]


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter is the weight of a layer between the input and the classifier.

    Depthwise convolutions and position embeddings have a dimension of 1 among their first two: they are no matrices.
    """
    return parameter.ndim > 1 and min(parameter.shape[:2]) > 1 and "classifier" not in name.split(".")


def _decay_groups(parameters: list[nn.Parameter], settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Split parameters into those with weight decay and those without."""
    # Without always_adapt, timm's LAMB scales the steps of a layer by its trust ratio only where there is weight decay.
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


# own code: torch's Muon (from 2.9) takes matrices alone, timm's (from 1.0.21) is fixed to bfloat16 as torch's is, which
# processors without bfloat16 units multiply eight times slower than float32
class Muon(torch.optim.AdamW):
    """Muon for the parameter groups that have a momentum, AdamW for the others.

    The momentum of a weight, as a matrix of its first dimension by all others, is replaced by the nearest
    semi-orthogonal matrix and multiplied by 0.2 times the root of the longer side, so that a step is about as large as
    AdamW's and both take the same learning rate and decoupled weight decay.

    References
    ----------
    Jordan et al., *Muon: an optimizer for hidden layers in neural networks*, 2024; scale: Liu et al., *Muon is scalable
    for LLM training*, 2025, equation 4.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step; there are no closures in the training loop."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if "momentum" not in group]
            super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if "momentum" in group:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:  # AdamW expects a count of steps in every state that it loads
            state["step"], state["momentum"] = torch.tensor(0.0), torch.zeros_like(parameter)
        state["step"] += 1
        state["momentum"].lerp_(gradient, 1 - momentum)
        update = gradient.lerp(state["momentum"], momentum) if group["nesterov"] else state["momentum"]
        matrix = update.flatten(1)
        step = orthogonalized(matrix).mul_(-0.2 * group["lr"] * math.sqrt(max(matrix.shape)))
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(step.view_as(parameter))


def orthogonalized(matrix: Tensor) -> Tensor:
    """Approximate the semi-orthogonal matrix nearest to ``matrix``, (M, N), by five Newton-Schulz steps in float32.

    Singular values above 0.002 of the Frobenius norm become 0.68 to 1.2. A step multiplies ``X`` by a polynomial of its
    Gram matrix, so all five are one product of square matrices, and the longer side counts twice instead of ten times.
    """
    wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    wide = wide.mT if wide.shape[0] > wide.shape[1] else wide
    wide = wide / wide.norm().clamp(min=1e-7)
    gram = wide @ wide.mT
    product = step = _newton_schulz_factor(gram)
    for _ in range(4):
        gram = step @ gram @ step
        step = _newton_schulz_factor(gram)
        product = step @ product
    nearest: Tensor = product @ wide
    return nearest.mT if matrix.shape[0] > matrix.shape[1] else nearest


def _newton_schulz_factor(gram: Tensor) -> Tensor:
    """Return ``aI + bA + cAA`` of a Gram matrix with the coefficients of Jordan et al., as torch's Muon."""
    factor: Tensor = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
    factor.diagonal().add_(3.4445)
    return factor


def rate_factor(
    settings: Schedule, step: int, steps_per_epoch: int, epochs: int, losses: Sequence[float] = ()
) -> float:
    """Return the learning rate of one step as a share of the recipe's."""
    epoch = step // steps_per_epoch
    if settings.name == "step":
        return float(settings.gamma ** (epoch // settings.step_size))
    if settings.name == "exponential":
        return float(settings.gamma**epoch)
    if settings.name == "plateau":
        return float(settings.gamma ** _reductions(losses, settings.patience))
    if settings.name == "cosine":
        warmup = settings.warmup_epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        share = (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup)
        return settings.min_lr_ratio + (1 - settings.min_lr_ratio) * (1 + math.cos(math.pi * min(1.0, share))) / 2
    return 1.0


def image_side(start: int, full: int, epoch: int, epochs: int) -> int:
    """Return the side of the images of an epoch in progressive resizing: linear, in steps of 8 pixels.

    Source: Tan and Le, *EfficientNetV2*, ICML 2021, section 4.3, without its schedule of regularisation.

    Examples
    --------
    >>> [image_side(24, 48, epoch, 9) for epoch in range(9)]
    [24, 24, 32, 32, 40, 40, 48, 48, 48]
    """
    grown = start + (full - start) * min(1.0, 1.5 * epoch / epochs)
    return full if grown >= full else start + 8 * int((grown - start) / 8)


def _reductions(losses: Sequence[float], patience: int) -> int:
    """Count the reductions of a plateau schedule: one after ``patience`` epochs without a lower loss, as in Keras.

    Lower means lower by more than 0.0001. Torch's ReduceLROnPlateau reduces an epoch later.
    """
    best, waited, reductions = math.inf, 0, 0
    for loss in losses:
        if loss < best - 1e-4:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= patience:
            reductions, waited = reductions + 1, 0
    return reductions


# own code: torch's AveragedModel and timm's ModelEmaV3 deep-copy the method with all it holds, torch's takes the first
# weights whole and has no warm-up, and timm's warm-up is another: averages, and the results of runs, would differ
class EMA:
    """Exponential moving average of a module's parameters and buffers.

    Notes
    -----
    Running statistics are averaged as well; integers (counters, labels) are copied.

    References
    ----------
    Polyak and Juditsky, *Acceleration of stochastic approximation by averaging*, SIAM J. Control Optim. 1992.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.state: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Reset the average to the current weights: before the first step, and when a stage begins."""
        if self.decay:
            self.state = {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Update the average after a step; ``steps`` counts from 0."""
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
        """Replace the weights by their average inside the context."""
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


@dataclass(frozen=True)
class EarlyStopping:
    """Best epoch of a monitored metric, from 0, and whether training should stop."""

    best_epoch: int
    stop: bool


def early_stopping(values: Sequence[float], *, larger_is_better: bool, patience: int | None) -> EarlyStopping:
    """Find the best epoch and whether ``patience`` epochs have passed since; NaN is never best."""
    best_epoch, best = len(values) - 1, -math.inf
    for epoch, value in enumerate(values):
        score = value if larger_is_better else -value
        if score > best:
            best_epoch, best = epoch, score
    return EarlyStopping(best_epoch, patience is not None and len(values) - 1 - best_epoch >= patience)
