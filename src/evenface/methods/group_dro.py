"""Distributionally robust optimisation over groups of people (group DRO): the worst group weighs most."""

import numpy as np
import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Task, all_gather_cat
from evenface.utils.errors import InputError


class GroupMethod(Method):
    """Base of methods that know the group of every training sample: a value of an attribute of people, and a class.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its ``people`` have the group of every training sample.
    by : str, default="subject"
        The person, or an attribute of people, such as ``sex`` or ``age``.
    classes : bool, default=True
        Whether a group is a value of the attribute in one class (or stratum of targets), or in all of them.

    Attributes
    ----------
    names : tuple of str
        Names of the G groups that have training samples; missing values form one group per class.
    groups : Tensor of shape (N,)
        Group of each training sample, int64.
    counts : Tensor of shape (G,)
        Training samples of each group.

    Raises
    ------
    InputError
        If the data do not have the attribute, or one group only.
    """

    tasks = ("classification", "ordinal", "regression", "multilabel")
    groups: Tensor
    counts: Tensor

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, by: str = "subject", *, classes: bool = True
    ) -> None:
        super().__init__(network, loss)
        if by not in task.people.attributes:
            known = ", ".join(task.people.attributes) or "none"
            raise InputError(
                f"the data have no attribute {by!r} of people", f"Known: {known}. Add one by a table of subjects."
            )
        values = [f"{by} {value or 'unknown'}" for value in task.people.attributes[by]]
        if classes:
            values = [
                f"{value}, {task.people.strata[label]}" for value, label in zip(values, task.people.labels, strict=True)
            ]
        names, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
        if len(names) < 2:
            raise InputError(f"all training samples are of one group, {names[0]}", "Use another attribute.")
        self.names = tuple(map(str, names))
        self.register_buffer("groups", torch.from_numpy(codes.astype(np.int64)), persistent=False)
        self.register_buffer("counts", torch.from_numpy(counts.astype(np.float32)), persistent=False)


class GroupDRO(GroupMethod):
    r"""Group distributionally robust optimisation.

    .. math::
        L = \sum_g q_g \, \ell_g, \qquad
        q_g \leftarrow \frac{q_g \exp\bigl(\eta (\ell_g + C / \sqrt{n_g})\bigr)}
        {\sum_h q_h \exp\bigl(\eta (\ell_h + C / \sqrt{n_h})\bigr)}

    with the mean loss :math:`\ell_g` of the batch's samples of group g (0 where it has none) and its :math:`n_g`
    training samples.

    Parameters
    ----------
    network, loss, task, by, classes
        See :class:`GroupMethod`.
    step_size : float, default=0.01
        :math:`\eta`, > 0.
    adjustment : float, default=0.0
        C, >= 0: small groups generalise worse, and count as if their loss were higher.

    Raises
    ------
    InputError
        As :class:`GroupMethod`.
    ValueError
        If a number is out of range.

    Notes
    -----
    Without regularisation a network that fits all training samples has no worst group: the authors use strong weight
    decay or early stopping, here ``optimizer.weight_decay`` and ``training.checkpoint``.

    References
    ----------
    Sagawa et al., *Distributionally robust neural networks for group shifts*, ICLR 2020, algorithm 1 and section 3.3.
    """

    q: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        by: str = "subject",
        *,
        classes: bool = True,
        step_size: float = 0.01,
        adjustment: float = 0.0,
    ) -> None:
        super().__init__(network, loss, task, by, classes=classes)
        if not step_size > 0:
            raise ValueError(f"step_size must be above 0, got {step_size}")
        if not adjustment >= 0:
            raise ValueError(f"adjustment must be 0 or more, got {adjustment}")
        self.step_size, self.adjustment = step_size, adjustment
        self.training_only = (*self.training_only, "q")
        self.register_buffer("q", torch.full((len(self.names),), 1 / len(self.names)))

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the losses of the samples, weighted so that their mean is L, ``(B,)``."""
        losses = self.network_loss(images, targets)
        own = self.groups[self.ctx.indices]
        every, every_loss = all_gather_cat(own), all_gather_cat(losses.detach().float())
        none = every_loss.new_zeros(len(self.names))
        count = none.index_add(0, every, torch.ones_like(every_loss))  # bincount would make the host wait
        mean = none.index_add(0, every, every_loss) / count.clamp_min(1)
        q = self.q * torch.exp(self.step_size * (mean + self.adjustment / self.counts.sqrt()))
        self.q.copy_(q / q.sum())
        weights = self.q * len(every) / count.clamp_min(1)
        return weights[own] * losses

    def training_notes(self, epochs: int) -> list[str]:  # noqa: ARG002  for the base
        """Return the group that weighed most in the end."""
        worst = int(self.q.argmax())
        return [f"group DRO: of {len(self.names)} groups {self.names[worst]} weighs most, {float(self.q[worst]):.2f}"]
