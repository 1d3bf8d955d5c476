"""A network, features and images of fixed numbers, on which public reference programs were run too."""

import math

import torch
from torch import nn

from evenface.losses import build_loss
from evenface.methods import Method, build_method
from evenface.models.backbone import Outputs

LABELS = torch.tensor([0, 0, 1, 2, 0, 1])


def wave(*shape, size=1.0, speed=1.7):
    """Numbers between -size and size that any program can make again."""
    return size * torch.sin(speed * torch.arange(math.prod(shape), dtype=torch.float64) + 0.3).view(shape)


class WaveNetwork(nn.Module):
    """Linear, tanh, linear: 4 inputs, 5 features, 3 classes, in 64 bits."""

    def __init__(self):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
        self.frozen_backbone = False
        with torch.no_grad():
            for number, value in enumerate(self.parameters()):
                value.copy_(wave(*value.shape, size=0.7, speed=1.1 + 0.4 * number))

    def forward(self, inputs):
        features = self.hidden(inputs).tanh()
        return Outputs(self.classifier(features), features, features[:, :, None, None])


def inputs():
    return wave(6, 4, speed=0.9)


def on_waves(name, known, *, alpha=None, **options) -> Method:
    """Build a method on the network, with cross-entropy."""
    return build_method(
        name, WaveNetwork(), build_loss("cross-entropy", known.counts, alpha=alpha), task=known, **options
    )
