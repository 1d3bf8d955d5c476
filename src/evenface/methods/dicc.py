"""Dynamic intra-class clustering (DICC): classes split by distance to their centre, and mapped back."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from evenface.losses.base import true_log_probability, weighted
from evenface.methods.base import Method, Task, all_gather_cat, frozen_eval, rank_slice
from evenface.utils.errors import InputError
from evenface.utils.registry import find, nearest

Subclasses = Literal["auto"] | Mapping[str, int] | Sequence[int]

MOST = 20
"""Largest number of subclasses that ``auto`` gives."""


def subclass_counts(subclasses: Subclasses, task: Task) -> tuple[int, ...]:
    r"""Compute the number of subclasses of each class.

    Examples
    --------
    >>> subclass_counts("auto", Task(np.array([4300, 1308, 430]), ("happy", "angry", "disgust"), batch_size=32))
    (10, 3, 1)
    """
    if isinstance(subclasses, str):
        find("rule for subclasses", subclasses, {"auto": None})
        return _automatic(task)
    if isinstance(subclasses, Mapping):
        named = {str(name): number for name, number in subclasses.items()}
        for name in named:
            if name not in task.names:
                raise InputError(f"subclasses: there is no class {name!r}", nearest(name, task.names))
        numbers: list[Any] = [named.get(name, 1) for name in task.names]
    else:
        numbers = list(subclasses) if isinstance(subclasses, list | tuple) else [subclasses]
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 1 for number in numbers)
    if len(numbers) != len(task.names) or not whole:
        raise InputError(
            f"subclasses must be {len(task.names)} whole numbers of at least 1, one per class, got {numbers}",
            f"The order is {', '.join(task.names)}; or give them by name.",
        )
    return tuple(numbers)


def _automatic(task: Task) -> tuple[int, ...]:
    counts = np.asarray(task.counts)
    smallest = counts[counts > 0].min()
    in_batch = (task.batch_size * counts // task.samples).tolist()
    return tuple(
        max(1, min(round(n / smallest), MOST, seen)) for n, seen in zip(counts.tolist(), in_batch, strict=True)
    )


def intervals(distances: Tensor, targets: Tensor, sizes: Tensor) -> Tensor:
    r"""Divide each class's range of distances, 0 to its largest, into intervals of equal width.

    .. math:: d = \max_i |F_i - \mu| / N, \qquad F_i \in P_n \text{ if } |F_i - \mu| \in (n d, (n + 1) d)
    """
    furthest = distances.new_zeros(len(sizes)).scatter_reduce(0, targets, distances, "amax")
    own = sizes[targets]
    share = distances / furthest[targets].clamp_min(torch.finfo(distances.dtype).tiny)
    # The lower bound is for features that are not finite: the loss reports them, not a wrong index.
    return torch.minimum((share * own).long(), own - 1).clamp_min(0)


def rank_groups(distances: Tensor, targets: Tensor, sizes: Tensor) -> Tensor:
    r"""Divide each class by the order of distances, nearest first.

    The rank r of a sample among the n of its class, from 0, gives the subclass :math:`\lfloor r N / \max(n, N)
    \rfloor`: the rank itself where there are subclasses enough, else groups of sizes as equal as can be.

    See :func:`intervals` for parameters and what is returned. Of equal distances the earlier sample is first.
    """
    order = distances.argsort(stable=True)
    order = order[targets[order].argsort(stable=True)]
    counts = torch.zeros_like(sizes).scatter_add(0, targets, torch.ones_like(targets))
    rank = order.argsort() - (counts.cumsum(0) - counts)[targets]
    own = sizes[targets]
    return rank * own // torch.maximum(counts[targets], own)


PARTITIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"distance": intervals, "rank": rank_groups}


class Clusters(nn.Module):
    r"""Running centres of the classes, and the pseudo-labels that distances to them give.

    .. math:: \mu_1 = y_1, \qquad \mu_t = w\, y_t + (1 - w)\, \mu_{t-1}

    with :math:`y_t` the mean feature of the class in batch t. A class that a batch lacks keeps its centre.

    Parameters
    ----------
    sizes : sequence of int
        Number of subclasses of each class.
    width : int
        Length D of a feature.
    weight : float
        Weight w of the new batch, from 0 to 1.
    partition : {"distance", "rank"}
        :func:`intervals` or :func:`rank_groups`.

    Attributes
    ----------
    centres : Tensor of shape (C, D)
        Zero until the class is seen.
    seen : Tensor of shape (C,)
        Whether a class has had a sample.

    Raises
    ------
    InputError
        If the partition is unknown.

    References
    ----------
    Li et al., *Optimizing class imbalance in facial expression recognition using dynamic intra-class clustering*,
    Biomimetics 2025, section 3.1.
    """

    centres: Tensor
    seen: Tensor
    sizes: Tensor
    first: Tensor
    classes: Tensor

    def __init__(self, sizes: Sequence[int], width: int, weight: float = 0.01, partition: str = "distance") -> None:
        super().__init__()
        self.weight = weight
        self.divide = find("partition", partition, PARTITIONS)
        numbers = torch.tensor(sizes)
        self.register_buffer("centres", torch.zeros(len(sizes), width))
        self.register_buffer("seen", torch.zeros(len(sizes), dtype=torch.bool))
        self.register_buffer("sizes", numbers, persistent=False)
        self.register_buffer("first", numbers.cumsum(0) - numbers, persistent=False)
        self.register_buffer("classes", torch.arange(len(sizes)), persistent=False)

    @torch.no_grad()
    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        """Update the centres by a batch, and return the subclass of each of its samples.

        Parameters
        ----------
        features : Tensor of shape (B, D)
            No gradient flows back.
        targets : Tensor of shape (B,)
            True classes, int64.

        Returns
        -------
        Tensor of shape (B,)
            int64, from 0 to one less than all subclasses together; those of class 0 come first.

        Notes
        -----
        Several processes, which must hold equally many samples each, look at the whole batch: centres and
        pseudo-labels are those of a single process.
        """
        with torch.autocast(features.device.type, enabled=False):
            whole, labels = all_gather_cat(features.to(self.centres.dtype)), all_gather_cat(targets)
            members = (labels[:, None] == self.classes).to(whole.dtype)
            counts = members.sum(dim=0)
            means = members.T @ whole / counts.clamp_min(1)[:, None]
            present = counts.clamp_max(1)
            # lerp gives exactly the start for a weight of 0, and exactly the end for 1.
            self.centres.lerp_(means, torch.where(self.seen, self.weight * present, present)[:, None])
            self.seen |= counts > 0
            distances = torch.linalg.vector_norm(whole - self.centres[labels], dim=1)
            return (self.first[labels] + self.divide(distances, labels, self.sizes))[rank_slice(len(targets))]


class DICC(Method):
    r"""Dynamic intra-class clustering.

    The network learns pseudo-classes (phase 1), a small network learns which class they belong to (phase 2):

    .. math:: L_1 = -\alpha_y \log p_{\tilde y}(z), \qquad L_2 = \ell(g(\mathrm{sg}[z]), y)

    where z are the logits of all pseudo-classes, :math:`\tilde y` is the pseudo-label, g the mapping network,
    :math:`\ell` the given loss and sg stops the gradient.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`Method`. The network gets a new classifier for the pseudo-classes.
    task : Task
        Classes, their training samples and the batch size.
    subclasses : "auto", mapping or sequence
        How many each class is divided into, see :func:`evenface.methods.dicc.subclass_counts`. Where no class
        is divided, training is that of the network and the loss alone.
    ema : {"smooth", "literal"}
        Whether a running centre gives ``decay`` to its past, or to the new batch as the source's formula does.
    decay : float, default=0.99
        From 0 to 1.
    partition : {"distance", "rank"}
        Equal intervals of distance (the source's text), or the order of distances (its Algorithm 1).
    alternate : {"batch", "epoch"}
        Both phases at every step, or the first in even epochs and the second in odd ones, counted from 0.
    hidden : sequence of 2 int
        Widths of the mapping network's two hidden layers.

    Raises
    ------
    InputError
        If ``subclasses`` does not suit the classes, or another option is not as above.

    Notes
    -----
    The value is L_1 + L_2 where both phases are taken at a step: they have no parameter in common, so each moves what
    it would move alone. Class weights of the loss (a buffer ``alpha``, of its own or of a part) are those of the true
    class in both phases. While the mapping network learns alone (``epoch``), the other one works as at prediction.

    References
    ----------
    Li et al., *Optimizing class imbalance in facial expression recognition using dynamic intra-class clustering*,
    Biomimetics 2025, section 3.
    """

    exact_prior = True

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        subclasses: Subclasses = "auto",
        ema: str = "smooth",
        decay: float = 0.99,
        partition: str = "distance",
        alternate: str = "batch",
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__(network, loss)
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be from 0 to 1, got {decay}")
        if len(hidden) != 2 or min(hidden) < 1:
            raise ValueError(f"hidden must be two widths of at least 1, got {list(hidden)}")
        weight = find("average", ema, {"smooth": 1 - decay, "literal": decay})
        by_epoch = find("alternation", alternate, {"batch": False, "epoch": True})
        sizes = subclass_counts(subclasses, task)
        self.clusters: Clusters | None = None
        if max(sizes) == 1:
            return
        self.by_epoch = by_epoch
        self.uses_all_parameters = not by_epoch
        self.training_only = (*self.training_only, "clusters.")
        self.clusters = Clusters(sizes, network.classifier.in_features, weight, partition)  # type: ignore[union-attr,arg-type]
        network.reset_classifier(sum(sizes))  # type: ignore[operator]
        self.mapping = _mlp([sum(sizes), *hidden, len(sizes)])

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the phases that are due, one value per sample."""
        if self.clusters is None:
            return self._loss(self.network(images).logits, targets)
        if self.by_epoch and self.ctx.epoch % 2:
            with frozen_eval(self.network):
                logits = self.network(images).logits
            return self._loss(self.mapping(logits), targets)
        outputs = self.network(images)
        pseudo = self.clusters(outputs.features, targets)
        first = weighted(-true_log_probability(outputs.logits, pseudo), targets, self._class_weights())
        return first if self.by_epoch else first + self._loss(self.mapping(outputs.logits.detach()), targets)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of the true classes, ``(B, C)``."""
        logits: Tensor = self.network(images).logits
        return logits if self.clusters is None else self.mapping(logits)

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(logits, targets)
        return loss

    def _class_weights(self) -> Tensor | None:
        found = (value for name, value in self.loss.named_buffers() if name.split(".")[-1] == "alpha")
        return next(found, None)


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
