"""Ask a trained run of samples, as it was asked when it was tested itself."""

import functools

import numpy as np

from evenface import learner
from evenface.faces.store import Store
from evenface.faces.symmetry import mirrored
from evenface.progress import progress
from evenface.runs import Run

BATCHES = 16
"""Batches between two moves of the progress bar."""


def frames_of(run: Run) -> int:
    """Give how many frames of a sample the run's network sees."""
    return int(run.facts.get("frames", 1))  # runs from before there were clips do not say


def ask(run: Run, store: Store, rows: np.ndarray) -> tuple[np.ndarray, bool, str]:
    """Ask the run's method as when the run itself was tested; say whether it detects classes, and on what device."""
    import torch
    from lightning_fabric import Fabric

    from evenface.training.batches import Faces
    from evenface.training.inference import score_rows, score_sequences
    from evenface.training.precision import inference_precision

    options = run.recipe.training
    cuda = options.accelerator != "cpu" and torch.cuda.is_available()
    precision = inference_precision(run.precision, "cuda" if cuda else "cpu")
    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
    method = learner.trained_method(run)
    if store.sequences is not None:
        mirror = functools.partial(mirrored, points=store.points, kind=run.recipe.augment.mirror, middle=store.middle)
        method.to("cuda" if cuda else "cpu")
        found = score_sequences(
            method,
            store.sequences,
            rows,
            device="cuda" if cuda else "cpu",
            mirror=mirror if options.mirror else None,
        )
        return found, method.detects, "cuda:0" if cuda else "cpu"
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    method.to(fabric.device)
    faces = Faces(store.images, fabric.device, frames_of(run))
    length = BATCHES * options.batch_size
    parts = []
    with progress("predicting", len(rows)) as advance:
        for start in range(0, len(rows), length):
            some = rows[start : start + length]
            parts.append(score_rows(fabric, method, faces, some, options.batch_size, mirror=options.mirror))
            advance(len(some))
    return np.concatenate(parts), method.detects, str(fabric.device)
