"""Random numbers as a pure function of (seed, purpose, epoch, step), so that resuming needs no saved state."""

import numpy as np

from evenface.utils.files import digest


def key(seed: int, *parts: object) -> int:
    """Derive a 63-bit seed from a run's seed and the purpose of the numbers."""
    return int(digest(str(seed), *(str(part) for part in parts))[:15], 16)


def uniforms(seed: int, purpose: str, epoch: int, rows: int, columns: int = 1) -> np.ndarray:
    """Draw the numbers of one epoch."""
    return np.random.default_rng(key(seed, purpose, epoch)).random((rows, columns), dtype=np.float32)


def permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return the order of one epoch, int64, shape (rows,)."""
    return np.random.default_rng(key(seed, "order", epoch)).permutation(rows)


def seed_stage(seed: int, stage: int) -> None:
    """Seed torch for weights that a stage of a method initialises, the same in all processes."""
    import torch

    torch.manual_seed(key(seed, "stage", stage))


def seed_step(seed: int, epoch: int, step: int, rank: int = 0) -> None:
    """Seed torch for one training step, for dropout and everything else that a network draws."""
    import torch

    torch.manual_seed(key(seed, "step", epoch, step, rank))
