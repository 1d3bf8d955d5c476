"""Recurrent networks of sequences: dense on each step, norm, GRU or LSTM, dropout, dense, classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evenface.config.recipe import Recurrent
from evenface.models.backbone import Outputs


class SequenceNetwork(nn.Module):
    """A recurrent network of sequences of numbers.

    Notes
    -----
    The dense layer on the steps has no activation, as its source names none, and no bias where a norm follows, which
    would take it away again. ``shared`` is one batch norm of F channels over samples and steps; ``step`` one of T
    times F channels over samples. Batch norm is torch's: momentum 0.1, eps 1e-5.
    """

    def __init__(self, settings: Recurrent, inputs: int, steps: int, outputs: int) -> None:
        super().__init__()
        self.settings, self.inputs, self.steps, self.outputs = settings, inputs, steps, outputs
        self.dense = nn.Linear(inputs, settings.dense, bias=settings.norm == "none")
        channels = {"shared": settings.dense, "step": steps * settings.dense, "none": 0}[settings.norm]
        self.norm = nn.BatchNorm1d(channels) if channels else nn.Identity()
        kind = nn.GRU if settings.kind == "gru" else nn.LSTM
        self.recurrent = kind(settings.dense, settings.hidden, batch_first=True)
        self.dropout = nn.Dropout(settings.dropout)
        self.top = nn.Linear(settings.hidden, settings.top)
        self.classifier = nn.Linear(settings.top, outputs)

    def forward(self, sequences: Tensor) -> Outputs:
        """Return logits ``(B, C)`` and features ``(B, R)`` of sequences ``(B, T, D')`` or ``(B, T, P, D)``."""
        steps = self.dense(sequences.flatten(2))
        if self.settings.norm == "shared":
            steps = self.norm(steps.flatten(0, 1)).view_as(steps)
        elif self.settings.norm == "step":
            steps = self.norm(steps.flatten(1)).view_as(steps)
        last = self.recurrent(steps)[0][:, -1]
        features = self.top(self.dropout(last)).relu()
        return Outputs(self.classifier(features), features, features.new_empty(0))


def initialised(settings: Recurrent, inputs: int, steps: int, outputs: int, seed: int) -> SequenceNetwork:
    """Build a network whose weights, torch's usual ones, are a pure function of its shape and ``seed``."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return SequenceNetwork(settings, inputs, steps, outputs)


class OneVsRestNetwork(nn.Module):
    """C networks, each of one class against the rest."""

    def __init__(self, networks: Sequence[SequenceNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, sequences: Tensor) -> Outputs:
        """Return logits ``(B, C)`` and all features, joined, of sequences ``(B, T, P, D)``."""
        found = [network(sequences) for network in self.networks]
        features = torch.cat([one.features for one in found], dim=1)
        return Outputs(torch.cat([one.logits for one in found], dim=1), features, features.new_empty(0))
