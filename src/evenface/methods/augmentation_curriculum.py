"""Curriculum of data augmentation (CUDA): each class is augmented as strongly as the network can follow."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Task, all_gather_cat, frozen_eval
from evenface.preprocessing.augmentation import operate

LEVELS = 10
"""The highest level: ten operations on an image, of a third of their full strength."""


class AugmentationCurriculum(Method):
    r"""Curriculum of data augmentation for long-tailed recognition (CUDA).

    .. math:: L_c \leftarrow \begin{cases} L_c + 1 & r_{cl} > \gamma \text{ for all } l = 0, \ldots, L_c \\
        L_c - 1 & \text{otherwise} \end{cases}

    where :math:`r_{cl}` is the share of right answers to images of class c that were augmented at level l. An image of
    class c is augmented at the level :math:`L_c`, from 0 to 10, with a probability: by as many random operations, of
    that strength.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its counts determine when a class is tested.
    threshold : float, default=0.6
        :math:`\gamma`, from 0 to below 1.
    trials : int, default=10
        Images of each class that are tested in an epoch, each l + 1 times at level l; at least 1.
    probability : float, default=0.5
        Of augmenting an image, from 0 to 1.

    Attributes
    ----------
    levels : Tensor of shape (C,)
        Level of each class, 0 in the beginning.

    Raises
    ------
    ValueError
        If an option is out of range.

    Notes
    -----
    A class is tested on the last batches of an epoch, in which twice ``trials`` images of it are expected, by the
    network in evaluation mode, and its level moves when the next epoch begins. The source draws images for the test at
    that moment. Operations are torchvision's of RandAugment; the authors' public program has 22 of Pillow. They come
    after the recipe's augmentation. A class that had no image in its batches keeps its level.
    Images as they are belong more often to classes of level 0 than in the data, which shifts probabilities.

    References
    ----------
    Ahn, Ko and Yun, *CUDA: curriculum of data augmentation for long-tailed recognition*, ICLR 2023, algorithms 1 and 2.
    """

    cached_features = False
    compiles = False
    levels: Tensor
    results: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        threshold: float = 0.6,
        trials: int = 10,
        probability: float = 0.5,
    ) -> None:
        super().__init__(network, loss)
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be from 0 to below 1, got {threshold}")
        if trials < 1:
            raise ValueError(f"trials must be a whole number of at least 1, got {trials}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, got {probability}")
        self.threshold, self.trials, self.probability, self.names = threshold, trials, probability, task.names
        self.window = np.minimum(1, 2 * trials / np.maximum(np.asarray(task.counts), 1)).tolist()
        self.training_only = (*self.training_only, "levels", "results")
        classes = len(task.names)
        self.register_buffer("levels", torch.zeros(classes, dtype=torch.int64))
        # Right answers, and tests, of each class at each level in this epoch.
        self.register_buffer("results", torch.zeros(2, classes, LEVELS + 1, dtype=torch.int64))

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Test the classes that are due, and give the loss of the augmented images, one value per sample."""
        if self.ctx.step == 0 and self.ctx.epoch > 0:
            self._move_levels()
        self._test(images, targets)
        chosen = torch.rand(len(images)) < self.probability
        levels = torch.where(chosen, self.levels[targets].cpu(), 0)
        return self.network_loss(augmented(images, levels.tolist()), targets)

    def training_notes(self, epochs: int) -> list[str]:  # noqa: ARG002  for the base
        """Return the level that each class ended at."""
        ends = ", ".join(f"{name} {level}" for name, level in zip(self.names, self.levels.tolist(), strict=True))
        return [f"levels of augmentation in the last epoch, of {LEVELS}: {ends}"]

    def _move_levels(self) -> None:
        """Move each class that was tested up or down a level, and begin its results again."""
        right, tests = self.results
        above = torch.arange(LEVELS + 1, device=right.device) > self.levels[:, None]
        passed = ((right > self.threshold * tests) | above).all(dim=1)
        step = torch.where(passed, 1, -1) * (tests[:, 0] > 0)
        self.levels.copy_((self.levels + step).clamp(0, LEVELS))
        self.results.zero_()

    @torch.no_grad()
    def _test(self, images: Tensor, targets: Tensor) -> None:
        """Test images of the classes that are due at each level up to that of their class."""
        rows, levels = self._due(targets.tolist())
        found = torch.zeros_like(self.results)
        for start in range(0, len(rows), len(images)):
            index = torch.tensor(rows[start : start + len(images)], device=images.device)
            tested = levels[start : start + len(images)]
            with frozen_eval(self.network):
                answers = self.network(augmented(images[index], tested)).logits.argmax(dim=1)
            places = (targets[index], torch.tensor(tested, device=images.device))
            for table, values in zip(found, (answers == places[0], torch.ones_like(index)), strict=True):
                table.index_put_(places, values.to(torch.int64), accumulate=True)
        self.results += all_gather_cat(found[None]).sum(dim=0)

    def _due(self, targets: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the rows of the batch to test, each as often as it is due, and the level of each test."""
        left = (self.trials - self.results[1, :, 0]).tolist()
        highest, steps = self.levels.tolist(), self.ctx.steps
        rows: list[int] = []
        levels: list[int] = []
        for row, label in enumerate(targets):
            if left[label] > 0 and steps - self.ctx.step <= math.ceil(self.window[label] * steps):
                left[label] -= 1
                due = [level for level in range(highest[label] + 1) for _ in range(level + 1)]
                rows += [row] * len(due)
                levels += due
        return rows, levels


def augmented(images: Tensor, levels: Sequence[int]) -> Tensor:
    """Return images or clips changed by as many random operations as their level, of that strength; level 0 is as is.

    Strengths are those of RandAugment in 30 steps; the draws are by torch's generator.
    """
    from torchvision.transforms import RandAugment

    pairs = zip(images, levels, strict=True)
    return torch.stack([operate(image, RandAugment(level, level)) if level else image for image, level in pairs])
