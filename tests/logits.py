"""What tests of losses share: the losses of classes, counts, and batches of logits and targets."""

import torch

from evenface.losses import LOSSES

CLASS_LOSSES = sorted(name for name, loss in LOSSES.items() if "classification" in loss.tasks)
COUNTS = [4300, 3488, 2612, 430]


def batch(rows: int = 6, classes: int = 4, seed: int = 0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(classes, (rows,), generator=generator)
