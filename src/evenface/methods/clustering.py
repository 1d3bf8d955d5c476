"""Subclasses within classes: running centres, and how far from its centre each sample lies."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from evenface.errors import InputError
from evenface.methods.base import Task
from evenface.methods.processes import everywhere, own_place
from evenface.registry import find, nearest

Subclasses = Literal["auto"] | Mapping[str, int] | Sequence[int]

MOST = 20
"""Largest number of subclasses that ``auto`` gives."""


def subclass_counts(subclasses: Subclasses, task: Task) -> tuple[int, ...]:
    r"""Say into how many subclasses each class is divided.

    Parameters
    ----------
    subclasses : "auto", mapping or sequence
        Numbers by class name, where a class that is not named stays whole; one number per class, in their order; or
        ``auto``: :math:`round(n_c / n_{min})`, at most :data:`MOST` and never more than the samples of the class that
        a batch holds on average.
    task : Task
        Classes, their training samples and the batch size.

    Returns
    -------
    tuple of int
        One per class, each at least 1.

    Raises
    ------
    InputError
        If a class is unknown, numbers are missing, or a number is not whole or below 1.

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
    r"""Cut each class's range of distances, 0 to its largest, into intervals of equal width.

    .. math:: d = \max_i |F_i - \mu| / N, \qquad F_i \in P_n \text{ if } |F_i - \mu| \in (n d, (n + 1) d)

    Parameters
    ----------
    distances : Tensor of shape (B,)
        Of each sample to the centre of its class.
    targets : Tensor of shape (B,)
        Class of each sample, int64.
    sizes : Tensor of shape (C,)
        Number N of intervals of each class, int64.

    Returns
    -------
    Tensor of shape (B,)
        int64, from 0 to N - 1. The furthest sample is in the last interval; where all distances are 0, all are in
        the first.
    """
    furthest = distances.new_zeros(len(sizes)).scatter_reduce(0, targets, distances, "amax")
    own = sizes[targets]
    share = distances / furthest[targets].clamp_min(torch.finfo(distances.dtype).tiny)
    # The lower bound is for features that are not finite: the loss shall tell of them, not a wrong index.
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
        """Move the centres by a batch, and say which subclass each of its samples belongs to.

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
            whole, labels = everywhere(features.to(self.centres.dtype)), everywhere(targets)
            members = (labels[:, None] == self.classes).to(whole.dtype)
            counts = members.sum(dim=0)
            means = members.T @ whole / counts.clamp_min(1)[:, None]
            present = counts.clamp_max(1)
            # lerp gives exactly the start for a weight of 0, and exactly the end for 1.
            self.centres.lerp_(means, torch.where(self.seen, self.weight * present, present)[:, None])
            self.seen |= counts > 0
            distances = torch.linalg.vector_norm(whole - self.centres[labels], dim=1)
            return (self.first[labels] + self.divide(distances, labels, self.sizes))[own_place(len(targets))]
