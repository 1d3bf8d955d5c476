"""What tests of networks on clips share: the smallest network of each kind, and clips for it."""

import torch

from evenface.config.recipe import Temporal
from evenface.models import build_network

TINY = {"name": "test_resnet", "classes": 3, "channels": 1, "size": 32}


def network(kind="mean", frames=4, over="frames", **options):
    heads = {"hidden": 6, "heads": 2} if kind == "transformer" else {"hidden": 5}
    temporal = Temporal(kind=kind, over=over, layers=2, dropout=options.pop("drop", 0.0), **heads)
    return build_network(**{**TINY, **options}, temporal=temporal, frames=frames)


def clips(rows=3, frames=4, seed=0):
    return torch.rand(rows, frames, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
