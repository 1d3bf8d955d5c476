"""Ordered classes: a network of one output, and cumulative-link ordinal regression (CORAL)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.data.labels import level_values
from evenface.losses.base import at_least_float32, focal_form
from evenface.methods.base import Method, Task
from evenface.utils.errors import InputError


class OrdinalMethod(Method):
    """A network of one or a few outputs, for classes that are steps of one scale, such as levels of pain.

    The network's classifier is replaced by a linear one, of a single output by default, with newly drawn weights.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The loss gives its class weights ``alpha`` and nothing else.
    task : Task
        States whether the classes are ordered.
    bias : bool
        Whether the outputs have biases of their own.
    width : int, default=1
        Number of outputs.

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

    def __init__(self, network: nn.Module, loss: nn.Module, task: Task, *, bias: bool, width: int = 1) -> None:
        super().__init__(network, loss)
        old = network.classifier
        if type(old) is not nn.Linear:
            raise InputError("the network's classifier must be linear", "Set network.head=linear.")
        self.classes = len(task.counts)
        values = torch.tensor(level_values(task.names), dtype=torch.float32)
        self.register_buffer("values", values, persistent=False)
        # Drawn on the CPU's generator, which is seeded, then put where the old one was.
        self.network.classifier = nn.Linear(old.in_features, width, bias=bias).to(old.weight.device, old.weight.dtype)

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


class Ordinal(OrdinalMethod):
    r"""Ordinal regression by one binary question for each step of the scale: whether the level is above k.

    .. math::
        P(y > k) = \sigma(w^T f(x) + b_k), \qquad
        \ell = -\alpha_y \sum_{k=0}^{C-2} \lambda_k \bigl([y > k] \log P(y > k) + [y \le k] \log P(y \le k)\bigr)

    All questions share one weight vector w and differ in their biases. Prediction gives each class the difference of
    two neighbouring cumulative probabilities.

    Parameters
    ----------
    network : nn.Module
        Its classifier gives way to one of a single output without bias.
    loss : nn.Module
        Cross-entropy, of which only the class weights count.
    task : Task
        Its classes must be ordered.
    importance : {"none", "counts"}, default="none"
        :math:`\lambda_k`: 1, or :math:`\sqrt{M_k} / \max_i \sqrt{M_i}` where :math:`M_k` is the larger of the numbers
        of training samples above k and not above k.

    Raises
    ------
    InputError
        As :class:`~evenface.methods.ordinal.OrdinalMethod`, and if ``importance`` is unknown.

    Notes
    -----
    Differences of cumulative probabilities are probabilities only where the biases fall. In the paper they do so once
    training has come to its optimum; here always: :math:`b_k = b_0 - \sum_{j<k} \mathrm{softplus}(g_j)`, and what is
    learnt is :math:`b_0` and g. They begin evenly around 0, :math:`2 \log 3` apart, so that a score in the middle
    between two of them gives the level there half of the probability. Nearer ones would have to be parted first, which
    takes many steps, and until then no level but the lowest and the highest is ever the most probable.

    References
    ----------
    Cao, Mirjalili and Raschka, *Rank consistent ordinal regression for neural networks with application to age
    estimation*, Pattern Recognition Letters 2020; ``importance: counts`` is in its authors' program.
    """

    importance: Tensor

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, importance: Literal["none", "counts"] = "none"
    ) -> None:
        super().__init__(network, loss, task, bias=False)
        if importance not in ("none", "counts"):
            raise InputError(f"importance must be none or counts, got {importance!r}")
        apart = 2 * math.log(3)
        self.first = nn.Parameter(torch.tensor([apart * (self.classes - 2) / 2]))
        # The inverse of softplus, so that the biases have these initial values.
        self.gaps = nn.Parameter(torch.full((self.classes - 2,), math.log(math.expm1(apart))))
        self.register_buffer("importance", _importance(task, importance), persistent=False)

    def biases(self) -> Tensor:
        """Compute the biases in falling order, ``(C - 1,)``."""
        return torch.cat([self.first, self.first - F.softplus(self.gaps).cumsum(0)])

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the sum over all steps of the scale, one value per sample."""
        answers = self.output(images)[:, None] + self.biases()
        above = targets[:, None] > torch.arange(self.classes - 1, device=targets.device)
        values = F.binary_cross_entropy_with_logits(answers, above.to(answers.dtype), reduction="none")
        return self.weighted((values * self.importance).sum(dim=1), targets)

    def predict(self, images: Tensor) -> Tensor:
        r"""Compute the probability of each class.

        Written as :math:`\sigma(a) - \sigma(b) = \sigma(a)\,\sigma(-b)\,(1 - e^{b-a})`, which keeps its digits where
        both are near 0 or near 1.
        """
        answers = self.output(images)[:, None] + self.biases()
        above = F.pad(answers.sigmoid(), (1, 0), value=1.0)
        not_above = F.pad((-answers).sigmoid(), (0, 1), value=1.0)
        between = F.pad(-torch.expm1(-F.softplus(self.gaps)), (1, 1), value=1.0)
        return above * not_above * between


def _importance(task: Task, rule: str) -> Tensor:
    counts = torch.as_tensor(task.counts, dtype=torch.float64)
    not_above = counts.cumsum(0)[:-1]
    if rule == "none":
        return torch.ones(len(not_above))
    larger = torch.maximum(not_above, counts.sum() - not_above).sqrt()
    return (larger / larger.max()).float()
