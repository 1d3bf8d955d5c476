"""Build a recipe's loss, and its method on a placeholder network, without any data."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from evenface.config import Recipe
from evenface.losses import LOSS_SELECTIONS, binary_loss_specs, build_loss, build_one_vs_rest
from evenface.methods import METHODS, build_method
from evenface.methods.base import Method, Task
from evenface.models.backbone import Outputs, build_head, fresh_head
from evenface.utils.errors import InputError
from evenface.utils.registry import find


def loss_of(recipe: Recipe, counts: np.ndarray, names: Sequence[str]) -> nn.Module:
    """Build the loss of a recipe; where each class is detected by itself, of one of two classes for each."""
    method = find("method", recipe.method.name, METHODS)
    if method.one_vs_rest:
        return build_one_vs_rest(binary_loss_specs(recipe.loss.name, counts, names, **recipe.loss.options))
    if recipe.loss.name in LOSS_SELECTIONS:
        able = [name for name, known in METHODS.items() if known.one_vs_rest]
        raise InputError(
            f"loss {recipe.loss.name!r} selects a loss for each class against the rest, method {recipe.method.name!r} "
            "has one for all classes",
            f"Set method.name={' or '.join(able)}, or take another loss.",
        )
    scale = recipe.network.head_scale if recipe.network.head == "cosine" else None
    absent = method.allows_absent_classes
    return build_loss(recipe.loss.name, counts, names=names, head_scale=scale, absent=absent, **recipe.loss.options)


def method_on_stand_in(recipe: Recipe, counts: np.ndarray, names: Sequence[str]) -> Method:
    """Build the method of a recipe on a network of a single layer, to ask what the method declares.

    Parameters and errors are those of :func:`loss_of`; a method from outside the package may raise others.
    """
    classes = len(counts)
    task = Task(counts, tuple(names), recipe.training.batch_size, torch.ones(int(counts.sum()), classes), ordered=True)
    loss = loss_of(recipe, counts, names)
    with torch.random.fork_rng(devices=[]):
        head = build_head(recipe.network.head, 2, classes, recipe.network.head_scale)
        network = _StandIn(head, frozen_backbone=recipe.network.freeze == "backbone")
    return build_method(recipe.method.name, network, loss, task=task, **recipe.method.options)


class _StandIn(nn.Module):
    """A network of two features."""

    def __init__(self, classifier: nn.Linear, *, frozen_backbone: bool) -> None:
        super().__init__()
        self.classifier, self.frozen_backbone = classifier, frozen_backbone

    def reset_classifier(self, classes: int | None = None) -> None:
        self.classifier = fresh_head(self.classifier, classes or self.classifier.out_features)

    def forward(self, images: Tensor) -> Outputs:
        features = images.flatten(1)[:, :2]
        return Outputs(self.classifier(features), features, features[:, :, None, None])
