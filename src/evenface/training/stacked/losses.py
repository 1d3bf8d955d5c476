"""The losses of many networks at once, and their gradients with respect to the logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evenface.losses.base import FocalForm, focal_form


class StackedLosses:
    """One loss for each of M networks.

    Notes
    -----
    Losses that can be written as a ``FocalForm`` are computed together; the others, one after the other by autograd.
    """

    def __init__(
        self, losses: Sequence[nn.Module], classes: int, *, one_output: bool, device: torch.device | str = "cpu"
    ) -> None:
        self.losses, self.classes, self.one_output = losses, classes, one_output
        known = [focal_form(loss, classes) for loss in losses]
        self.others = [place for place, focal in enumerate(known) if focal is None]
        forms = [focal or FocalForm() for focal in known]
        ones, zeros = torch.ones(classes), torch.zeros(classes, classes)
        self.gamma = torch.tensor([focal.gamma for focal in forms], device=device)[:, None]
        self.alpha = torch.stack([ones if focal.alpha is None else focal.alpha.cpu() for focal in forms]).to(device)
        shifts = [zeros if focal.shift is None else focal.shift.cpu().expand(classes, classes) for focal in forms]
        self.shift = torch.stack(shifts).to(device) if any(focal.shift is not None for focal in forms) else None
        self.focused = any(focal.gamma for focal in forms)
        self.places = torch.arange(len(losses), device=device)[:, None]
        self.signs = torch.tensor([[-1.0, 1.0]], device=device)

    def __call__(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of each network's batch, and its gradient."""
        if len(self.others) == len(self.losses):
            means, gradient = logits.new_zeros(len(logits)), torch.zeros_like(logits)
        else:
            means, gradient = (self._one_logit if self.one_output else self._logits)(logits, targets)
        for place in self.others:
            if place < len(logits):
                means[place], gradient[place] = _alone(
                    self.losses[place], logits[place], targets[place], one_output=self.one_output
                )
        return means, gradient.div_(logits.shape[1])

    def _one_logit(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Take the softmax of (0, z) as the sigmoid of z, or of -z where class 0 is true."""
        sign, z = self.signs.expand(len(logits), 2).gather(1, targets), logits[..., 0]
        if self.shift is not None:
            shift = self.shift[self.places[: len(logits)], targets]
            z = z + (shift[..., 1] - shift[..., 0])
        true = nn.functional.logsigmoid(z * sign)
        rest = -true.expm1()
        means, slope = self._weighted(true, rest, targets)
        return means, (slope * rest).mul_(sign)[..., None]

    def _logits(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.shift is not None:
            logits = logits + self.shift[self.places[: len(logits)], targets]
        log_p = logits.log_softmax(dim=-1)
        true = log_p.gather(-1, targets[..., None])[..., 0]
        means, slope = self._weighted(true, -true.expm1(), targets)
        gradient = -log_p.exp_() * slope[..., None]
        return means, gradient.scatter_add_(-1, targets[..., None], slope[..., None])

    def _weighted(self, true: Tensor, rest: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean losses and their slopes from log p and 1 - p of the true classes, (M', B)."""
        count = len(true)
        alpha = self.alpha[:count].gather(1, targets)
        if not self.focused:
            return -(alpha * true).mean(dim=1), -alpha
        gamma, rest = self.gamma[:count], rest.clamp_min(torch.finfo(true.dtype).tiny)
        focus = rest**gamma
        weighted = alpha * focus
        slope = alpha * (gamma * focus / rest * true.exp() * true) - weighted
        return -(weighted * true).mean(dim=1), slope


def _alone(loss: nn.Module, logits: Tensor, targets: Tensor, *, one_output: bool) -> tuple[Tensor, Tensor]:
    """Return a batch's mean loss, and the gradient of the sum."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        values = loss(torch.cat([torch.zeros_like(leaf), leaf], dim=1) if one_output else leaf, targets)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach().mean(), gradient
