"""Networks of one logit each, read as one network of as many classes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evenface.networks.backbone import Outputs
from evenface.networks.recurrent import SequenceNetwork


class Detectors(nn.Module):
    """C networks, each of one class against the rest.

    Parameters
    ----------
    networks : sequence of SequenceNetwork
        With one output each; their widths may differ.
    """

    def __init__(self, networks: Sequence[SequenceNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, sequences: Tensor) -> Outputs:
        """Give logits ``(B, C)`` and all features, joined, of sequences ``(B, T, P, D)``."""
        found = [network(sequences) for network in self.networks]
        features = torch.cat([one.features for one in found], dim=1)
        return Outputs(torch.cat([one.logits for one in found], dim=1), features, features.new_empty(0))
