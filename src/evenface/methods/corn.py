"""Ordered classes by conditional binary questions (CORN)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.losses.base import at_least_float32
from evenface.methods.base import Task
from evenface.methods.ordinal import OrdinalMethod


class CORN(OrdinalMethod):
    r"""Conditional ordinal regression (CORN): whether the level is above k, asked of samples that are above k - 1.

    .. math::
        P(y > k \mid y > k - 1) = \sigma(z_k), \qquad P(y > k) = \prod_{j \le k} \sigma(z_j), \qquad
        \ell = \frac{-\alpha_y B}{\sum_k |S_k|} \sum_{k: y \ge k} \bigl([y > k] \log \sigma(z_k)
        + [y = k] \log \sigma(-z_k)\bigr)

    with :math:`S_k` the samples of the batch of B whose level is at least k. Unlike CORAL, each question has weights of
    its own; cumulative probabilities fall all the same, as products.

    Parameters
    ----------
    network : nn.Module
        Its classifier gives way to one of C - 1 outputs.
    loss : nn.Module
        Cross-entropy, of which only the class weights count.
    task : Task
        Its classes must be ordered.

    Raises
    ------
    InputError
        As :class:`~evenface.methods.ordinal.OrdinalMethod`.

    Notes
    -----
    The question of the highest step is trained on the samples of the highest two levels alone, which may be few. A
    level without training samples is allowed; the probability of that level goes to 0.

    References
    ----------
    Shi, Cao and Raschka, *Deep neural networks for rank-consistent ordinal regression based on conditional
    probabilities*, Pattern Analysis and Applications 2023.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, task: Task) -> None:
        super().__init__(network, loss, task, bias=True, width=len(task.counts) - 1)

    def answers(self, images: Tensor) -> Tensor:
        """Return the logits of the questions, in at least 32 bits, ``(B, C - 1)``."""
        return at_least_float32(self.network(images).logits)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the sum over the questions asked of each sample, one value per sample."""
        answers, steps = self.answers(images), torch.arange(self.classes - 1, device=targets.device)
        asked, above = targets[:, None] >= steps, targets[:, None] > steps
        values = F.binary_cross_entropy_with_logits(answers, above.to(answers.dtype), reduction="none")
        return self.weighted((values * asked).sum(dim=1) * (len(targets) / asked.sum()), targets)

    def predict(self, images: Tensor) -> Tensor:
        """Compute the probability of each class: that of being above all lower steps, and not above its own."""
        answers = self.answers(images)
        above = F.pad(F.logsigmoid(answers).cumsum(dim=1).exp(), (1, 0), value=1.0)  # ONNX has no product of a row
        return above * F.pad((-answers).sigmoid(), (0, 1), value=1.0)
