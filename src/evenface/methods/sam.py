"""Sharpness-aware minimisation (SAM), and the same for the loss of the rare classes alone (ImbSAM)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from evenface.data.manifest import TaskKind
from evenface.methods.base import Method, Task
from evenface.models.activation_checkpointing import statistics_kept
from evenface.utils.errors import InputError

SCALE = 1024.0
"""What losses are multiplied by before the gradient that gives a direction alone: float16 would lose small ones."""


class SAM(Method):
    r"""Sharpness-aware minimisation: the gradient is that at the worst point near the weights.

    .. math:: L = \ell\bigl(f(x; w + \hat\epsilon), y\bigr), \qquad
        \hat\epsilon = \rho \, \frac{\nabla_w \bar\ell(w)}{\|\nabla_w \bar\ell(w)\|_2}

    with the mean loss :math:`\bar\ell` of the batch; no gradient flows through :math:`\hat\epsilon`.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    rho : float, default=0.05
        Radius :math:`\rho`, above 0.

    Raises
    ------
    InputError
        If the network recomputes its activations: it would recompute them without :math:`\hat\epsilon`.
    ValueError
        If ``rho`` is out of range.

    Notes
    -----
    A step has two forward and backward passes. Running statistics of batch norm are those of the first pass. Of several
    processes each takes the gradient of its own share of the batch for :math:`\hat\epsilon`, as the source does.

    References
    ----------
    Foret et al., *Sharpness-aware minimization for efficiently improving generalization*, ICLR 2021, eq. 2 and 3.
    """

    tasks: tuple[TaskKind, ...] = ("classification", "ordinal", "regression", "multilabel")

    def __init__(self, network: nn.Module, loss: nn.Module, rho: float = 0.05) -> None:
        super().__init__(network, loss)
        if not 0 < rho < float("inf"):
            raise ValueError(f"rho must be a number above 0, got {rho}")
        if any("forward" in vars(module) for module in network.modules()):
            raise InputError(
                "activations that are recomputed would not be those of the perturbed weights",
                "Set network.gradient_checkpointing: false.",
            )
        self.rho = rho

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss at the perturbed weights, one value per sample."""
        offsets = self.offsets(self.network_loss(images, targets).mean())
        return self.perturbed_loss(images, targets, offsets)

    def offsets(self, loss: Tensor, *, keep_graph: bool = False) -> dict[str, Tensor]:
        r"""Return :math:`\hat\epsilon` by the names of the network's parameters; 0 where the gradient has no norm."""
        learnt = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
        found = torch.autograd.grad(SCALE * loss, list(learnt.values()), retain_graph=keep_graph, allow_unused=True)
        gradients = {name: value for name, value in zip(learnt, found, strict=True) if value is not None}
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in gradients.values()]))
        factor = torch.where((norm > 0) & norm.isfinite(), self.rho / norm, 0)
        return {name: torch.where(factor > 0, value * factor, 0) for name, value in gradients.items()}

    def perturbed_loss(self, images: Tensor, targets: Tensor, offsets: dict[str, Tensor]) -> Tensor:
        """Compute the loss of each sample at the weights plus ``offsets``, ``(B,)``."""
        weights = dict(self.network.named_parameters())
        moved = {name: weights[name] + value for name, value in offsets.items()}
        with statistics_kept(self.network):
            logits = functional_call(self.network, moved, (images,)).logits
        loss: Tensor = self.loss(logits, self.encode(targets))
        return loss


class ImbSAM(SAM):
    r"""Imbalanced SAM: only the loss of rare classes is taken at the worst point near the weights.

    .. math:: L = \begin{cases} \ell(f(x; w), y) & n_y \ge \eta \\
        \ell\bigl(f(x; w + \hat\epsilon_t), y\bigr) & n_y < \eta \end{cases}, \qquad
        \hat\epsilon_t = \rho \, \frac{\nabla_w \bar\ell_t(w)}{\|\nabla_w \bar\ell_t(w)\|_2}

    with the sum :math:`\bar\ell_t` of the losses of the batch's samples of rare classes.

    Parameters
    ----------
    network, loss, rho
        See :class:`SAM`.
    task : Task
        Its counts n determine which classes are rare.
    eta : int, optional
        :math:`\eta`, training samples from which a class is not rare. The source's 20 for CIFAR-100-LT would leave no
        rare class in larger data sets: by default the mean over classes.

    Raises
    ------
    InputError
        As :class:`SAM`, or if no class is below the given ``eta``.

    Notes
    -----
    A batch without a sample of a rare class has one pass. Where all classes have equally many samples, none is rare by
    the default. The authors' public program counts losses of rare classes twice; here class weights of the loss
    (``alpha``) do so if wanted.

    References
    ----------
    Zhou et al., *ImbSAM: a closer look at sharpness-aware minimization in class-imbalanced recognition*, ICCV 2023,
    sec. 3.
    """

    tasks = ("classification", "ordinal")
    rare: Tensor

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, rho: float = 0.05, eta: int | None = None
    ) -> None:
        super().__init__(network, loss, rho)
        counts = np.asarray(task.counts)
        rare = counts < (counts.mean() if eta is None else eta)
        if eta is not None and not rare.any():
            raise InputError(
                f"no class has fewer than eta = {eta} training samples, the smallest has {counts.min()}",
                "Set a larger method.eta, or leave it out for the mean over classes.",
            )
        self.register_buffer("rare", torch.from_numpy(rare), persistent=False)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss, at the perturbed weights for samples of rare classes, ``(B,)``."""
        loss, rare = self.network_loss(images, targets), self.rare[targets]
        if not rare.any():
            return loss
        offsets = self.offsets(loss[rare].sum(), keep_graph=True)
        return torch.where(rare, self.perturbed_loss(images, targets, offsets), loss)
