"""Probabilities for many stored faces, shared out over the processes."""

import numpy as np
import torch
from lightning_fabric import Fabric

from evenface.augment import to_float
from evenface.evaluation.metrics import accuracy, balanced_accuracy, confusion_matrix, macro_f1
from evenface.evaluation.scores import log_loss
from evenface.methods.base import Method
from evenface.training.batches import Faces


@torch.inference_mode()
def predict_rows(
    fabric: Fabric, method: Method, faces: Faces, rows: np.ndarray, batch_size: int, *, mirror: bool = False
) -> np.ndarray:
    """Predict the faces at ``rows``, without augmentation.

    Parameters
    ----------
    fabric : Fabric
        Launched; every process takes part and gets the whole result.
    method : Method
        Set to evaluation mode while predicting, and back.
    faces : Faces
        Pictures by row.
    rows : ndarray of shape (N,)
        Which ones.
    batch_size : int
        Faces at a time in each process.
    mirror : bool, default=False
        Whether the probabilities of a face or a clip and of its mirror are averaged.

    Returns
    -------
    ndarray of shape (N, C)
        Probabilities, float64, each row summing to 1.
    """
    world, rank = fabric.world_size, fabric.global_rank
    # Every process needs the same number of rows to gather: the list is filled up with its own first row.
    filled = np.concatenate([rows, np.repeat(rows[:1], -len(rows) % world)])
    mine = filled[rank::world]
    was_training = method.training
    method.eval()
    parts = []
    for start in range(0, len(mine), batch_size):
        images = to_float(faces.take(mine[start : start + batch_size]))
        with fabric.autocast():
            found = method.predict(images).double()
            parts.append((found + method.predict(images.flip(-1)).double()) / 2 if mirror else found)
    method.train(was_training)
    shares = [torch.cat(parts)]
    if world > 1:
        shares = [torch.empty_like(shares[0]) for _ in range(world)]
        torch.distributed.all_gather(shares, torch.cat(parts))
    together = torch.stack(shares, dim=1).reshape(len(filled), -1)[: len(rows)].cpu().numpy()
    return np.asarray(together / together.sum(axis=1, keepdims=True))


def figures(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Judge validation predictions by the figures that training can go by.

    Returns
    -------
    dict
        ``loss`` (mean negative log probability of the true class), ``accuracy``, ``balanced_accuracy``, ``macro_f1``.
    """
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "loss": float(np.mean(log_loss(probabilities, labels))),
        "accuracy": float(accuracy(confusion)),
        "balanced_accuracy": float(balanced_accuracy(confusion)),
        "macro_f1": float(macro_f1(confusion)),
    }
