"""Ask a trained run of samples, as it was asked when it was tested itself."""

import functools
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Answers:
    """Outputs of a run's method for N samples.

    Parameters
    ----------
    scores : ndarray of shape (N, C)
        Probabilities, unless the method detects each class by itself.
    output : ndarray of shape (N,), or None
        Predicted place on the scale of the run's classes, of methods that learn one.
    one_vs_rest : bool
        Whether the method detects each class by itself.
    device : str
        Where it was computed.
    """

    scores: np.ndarray
    output: np.ndarray | None
    one_vs_rest: bool
    device: str


def ask(run: Run, store: Store, rows: np.ndarray) -> Answers:
    """Compute the outputs of the run's method as when the run itself was tested."""
    import torch
    from lightning_fabric import Fabric

    from evenface.training.batches import ImageBank
    from evenface.training.inference import output_rows, score_sequences
    from evenface.training.precision import inference_precision

    options = run.recipe.training
    cuda = options.accelerator != "cpu" and torch.cuda.is_available()
    precision = inference_precision(run.precision, "cuda" if cuda else "cpu")
    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
    method = learner.trained_method(run)
    if store.sequences is not None:
        mirror = functools.partial(
            mirrored, points=store.points, kind=run.recipe.augment.flip_landmarks, middle=store.middle
        )
        method.to("cuda" if cuda else "cpu")
        found = score_sequences(
            method,
            store.sequences,
            rows,
            device="cuda" if cuda else "cpu",
            mirror=mirror if options.tta_flip else None,
        )
        return Answers(found, None, method.one_vs_rest, "cuda:0" if cuda else "cpu")
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    method.to(fabric.device)
    faces = ImageBank(store.images, fabric.device, frames_of(run))
    length = BATCHES * options.batch_size
    parts, outputs = [], []
    with progress("predicting", len(rows)) as advance:
        for start in range(0, len(rows), length):
            some = rows[start : start + length]
            found, output = output_rows(fabric, method, faces, some, options.batch_size, mirror=options.tta_flip)
            parts.append(found)
            outputs += [] if output is None else [output]
            advance(len(some))
    joined = np.concatenate(outputs) if outputs else None
    return Answers(np.concatenate(parts), joined, method.one_vs_rest, str(fabric.device))
