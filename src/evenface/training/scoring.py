"""Predict stored samples, shared out over the processes."""

from collections.abc import Callable

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from evenface.evaluation.metrics import accuracy, balanced_accuracy, confusion_matrix, macro_f1
from evenface.evaluation.probability_metrics import log_loss, shares
from evenface.methods.base import Method
from evenface.preprocessing.augmentation import to_float
from evenface.training.batches import ImageBank

BATCH = 256
"""Sequences that are predicted at a time."""


def predict_rows(
    fabric: Fabric, method: Method, bank: ImageBank, rows: np.ndarray, batch_size: int, *, mirror: bool = False
) -> np.ndarray:
    """Predict the images at ``rows``, without augmentation; parameters are those of :func:`score_rows`."""
    return shares(score_rows(fabric, method, bank, rows, batch_size, mirror=mirror))


def score_rows(
    fabric: Fabric, method: Method, bank: ImageBank, rows: np.ndarray, batch_size: int, *, mirror: bool = False
) -> np.ndarray:
    """Return the scores of :func:`output_rows` alone, shape (N, C)."""
    return output_rows(fabric, method, bank, rows, batch_size, mirror=mirror)[0]


@torch.inference_mode()
def output_rows(
    fabric: Fabric, method: Method, bank: ImageBank, rows: np.ndarray, batch_size: int, *, mirror: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute a method's scores of the images at ``rows``, without augmentation."""
    world, rank = fabric.world_size, fabric.global_rank
    # Every process needs the same number of rows to gather: the list is filled up with its own first row.
    filled = np.concatenate([rows, np.repeat(rows[:1], -len(rows) % world)])
    mine = filled[rank::world]
    was_training = method.training
    method.eval()
    parts = []
    placed = False
    for start in range(0, len(mine), batch_size):
        images = to_float(bank.take(mine[start : start + batch_size]))
        with fabric.autocast():
            scores, placed = _joined(*method.outputs(images))
            parts.append((scores + _joined(*method.outputs(images.flip(-1)))[0]) / 2 if mirror else scores)
    method.train(was_training)
    gathered = [torch.cat(parts)]
    if world > 1:
        gathered = [torch.empty_like(gathered[0]) for _ in range(world)]
        torch.distributed.all_gather(gathered, torch.cat(parts))
    together = torch.stack(gathered, dim=1).reshape(len(filled), -1)[: len(rows)].cpu().numpy()
    return (together[:, :-1], together[:, -1]) if placed else (together, None)


def _joined(scores: Tensor, output: Tensor | None) -> tuple[Tensor, bool]:
    """Join scores and output in one table, so that processes gather once; return whether there is an output."""
    if output is None:
        return scores.double(), False
    return torch.cat([scores.double(), output.double()[:, None]], dim=1), True


@torch.inference_mode()
def score_sequences(
    method: Method,
    sequences: np.ndarray,
    rows: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    mirror: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Compute a method's scores of the sequences at ``rows``."""
    was_training = method.training
    method.eval()
    parts = []
    for start in range(0, len(rows), batch_size):
        batch = torch.from_numpy(np.array(sequences[rows[start : start + batch_size]])).to(device)
        scores = method.scores(batch).double()
        parts.append((scores + method.scores(mirror(batch)).double()) / 2 if mirror else scores)
    method.train(was_training)
    return np.asarray(torch.cat(parts).cpu().numpy())


def validation_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute the validation metrics that checkpoints and early stopping can monitor."""
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "loss": float(np.mean(log_loss(probabilities, labels))),
        "accuracy": float(accuracy(confusion)),
        "balanced_accuracy": float(balanced_accuracy(confusion)),
        "macro_f1": float(macro_f1(confusion)),
    }
