"""What tests of methods share: a quick network of the form of real ones, a task, a batch."""

import torch
from torch import nn

from evenface.losses import binary_loss_specs, build_loss, build_one_vs_rest
from evenface.methods import METHODS, Method, StepContext, Task, build_method
from evenface.methods.base import TrainingPeople
from evenface.models.backbone import Outputs

CLASS_METHODS = sorted(name for name, method in METHODS.items() if "classification" in method.tasks)
COUNTS = [30, 20, 10]
CLASSES = ("happy", "sad", "fear")


class Small(nn.Module):
    """A network of one convolution: quick, and of the same form as a real one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.classifier = nn.Linear(8, 3)
        self.frozen_backbone = False

    def train(self, mode=True):
        super().train(mode)
        if self.frozen_backbone:
            self.norm.eval()
        return self

    def forward(self, images):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.frozen_backbone and self.training)):
            maps = self.norm(self.conv(images)).relu()
        features = maps.mean(dim=(2, 3))
        return Outputs(self.classifier(features), features, maps)

    def reset_classifier(self, classes=None):
        self.classifier = nn.Linear(8, classes or self.classifier.out_features)


def task(counts=COUNTS, votes=None) -> Task:
    """Tell of a training set of these counts; annotators' votes are drawn where none are given."""
    if votes is None:
        votes = torch.randint(0, 11, (sum(counts), len(counts)), generator=torch.Generator().manual_seed(5))
    people = {"subject": [f"p{i % 5}" for i in range(sum(counts))], "sex": ["f", "m"] * (sum(counts) // 2)}
    names, labels = CLASSES[: len(counts)], [k for k, n in enumerate(counts) for _ in range(n)]
    return Task(counts, names, batch_size=8, votes=votes, ordered=True, people=TrainingPeople(people, labels, names))


def batch(rows: int = 4):
    """Give images and targets of a batch, always the same."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(rows, 1, 16, 16, generator=generator), torch.randint(3, (rows,), generator=generator)


def step_context(rows: int = 4, epoch: int = 0, step: int = 0) -> StepContext:
    """Say that a step of a batch is taken in a run of ten epochs of five steps."""
    images, targets = batch(rows)
    return StepContext(epoch, step, 10, 5, torch.arange(rows), (images.flip(0), targets.flip(0)))


def loss_for(name: str, alpha: str | None = None) -> nn.Module:
    """Build a loss that the method accepts."""
    if name == "one-vs-all":
        return build_one_vs_rest(binary_loss_specs("focal", COUNTS, CLASSES, alpha=alpha))
    return build_loss("cross-entropy" if METHODS[name].class_weights_only else "focal", COUNTS, alpha=alpha)


def built(name: str = "erm", alpha: str | None = "inverse", votes=None, **options) -> Method:
    """Build a method of that name on the small network, ready for its first step on :func:`batch`."""
    torch.manual_seed(0)
    method = build_method(name, Small(), loss_for(name, alpha), task=task(votes=votes), **options)
    method.ctx = step_context()
    return method
