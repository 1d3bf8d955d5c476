"""Base of methods for ordered classes: a network of one output."""

import torch
from torch import Tensor, nn

from evenface.data.labels import level_values
from evenface.losses.base import at_least_float32, focal_form
from evenface.methods.base import Method, Task
from evenface.utils.errors import InputError


class OrdinalMethod(Method):
    """A network of one output, for classes that are steps of one scale, such as levels of pain.

    The network's classifier is replaced by a linear one of a single output, with newly drawn weights.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The loss gives its class weights ``alpha`` and nothing else.
    task : Task
        States whether the classes are ordered.
    bias : bool
        Whether the output has a bias of its own.

    Attributes
    ----------
    values : Tensor of shape (C,)
        Value of each level, see :func:`evenface.data.labels.level_values`.

    Raises
    ------
    InputError
        If the classifier is not linear.
    """

    allows_absent_classes = True
    needs_ordered_classes = True
    class_weights_only = True
    values: Tensor

    def __init__(self, network: nn.Module, loss: nn.Module, task: Task, *, bias: bool) -> None:
        super().__init__(network, loss)
        old = network.classifier
        if type(old) is not nn.Linear:
            raise InputError("the network's classifier must be linear", "Set network.head=linear.")
        self.classes = len(task.counts)
        values = torch.tensor(level_values(task.names), dtype=torch.float32)
        self.register_buffer("values", values, persistent=False)
        # Drawn on the CPU's generator, which is seeded, then put where the old one was.
        self.network.classifier = nn.Linear(old.in_features, 1, bias=bias).to(old.weight.device, old.weight.dtype)

    def weighted(self, values: Tensor, targets: Tensor) -> Tensor:
        """Weigh the value of each sample by its true class, ``(B,), (B,) -> (B,)``."""
        form = focal_form(self.loss, self.classes)
        return values if form is None or form.alpha is None else form.alpha[targets] * values

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the probabilities, ``(B, C)``, and the expected value of the level, ``(B,)``."""
        found = self.predict(images)
        return found, (found * self.values).sum(dim=1)  # autocast would make a product of matrices in 16 bits

    def output(self, images: Tensor) -> Tensor:
        """Return the network's one output for each sample, in at least 32 bits, ``(B,)``."""
        logits: Tensor = self.network(images).logits
        return at_least_float32(logits)[:, 0]
