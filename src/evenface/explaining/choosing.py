"""Which samples of a source are explained: all faces of a picture, and of a video those that show each class most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenface.explaining.base import Array
from evenface.faces.blendshapes import NAMES
from evenface.faces.numbers import column_names
from evenface.faces.points import COUNTS
from evenface.recipes.predict import PredictSettings
from evenface.serving.form import Form
from evenface.serving.inputs import Source
from evenface.serving.model import Model
from evenface.serving.pipeline import decided
from evenface.serving.samples import Sample, prepared


@dataclass(frozen=True)
class Chosen:
    """A sample that is explained.

    Parameters
    ----------
    sample : Sample
        With its array.
    shares : ndarray of shape (C,)
        Its probabilities.
    """

    sample: Sample
    shares: Array


def choose(model: Model, source: Source, settings: PredictSettings, most: int) -> tuple[list[Chosen], int]:
    """Walk through a source and keep what is explained; no more than that and a batch is held in memory.

    Parameters
    ----------
    model : Model
        Who is asked.
    source : Source
        A picture, of which all faces are kept; or a clip or file of numbers.
    settings : PredictSettings
        How samples are prepared.
    most : int
        Samples of a clip or file that are kept, those where each class is most probable first.

    Returns
    -------
    chosen : list of Chosen
        In order of time.
    count : int
        Samples with a face that there are.

    Raises
    ------
    UnusableError
        If the source cannot be used.
    """
    kept: list[Chosen] = []
    waiting: list[Sample] = []
    count = 0
    limit = None if source.kind == "picture" else most

    def take() -> None:
        if waiting:
            shares = decided(
                model, model.scores(np.stack([one.array for one in waiting if one.array is not None])), settings
            )
            kept.extend(Chosen(*pair) for pair in zip(waiting, shares, strict=True))
            waiting.clear()
            if limit is not None:
                kept[:] = [kept[i] for i in peaks(np.stack([one.shares for one in kept]), limit)]

    for sample in prepared(source, model.form, settings):
        if sample.array is not None:
            waiting.append(sample)
            count += 1
        if len(waiting) == settings.batch:
            take()
    take()
    return sorted(kept, key=lambda one: (one.sample.frame, one.sample.face or 0)), count


def peaks(shares: Array, most: int) -> list[int]:
    """Choose samples in turns: those where each class is most probable, then the second ones, and so on.

    Parameters
    ----------
    shares : ndarray of shape (N, C)
        Probabilities.
    most : int
        How many, at least 1.

    Returns
    -------
    list of int
        Which rows, in their order. In a turn, the class with the highest probability comes first; of equal ones the
        first row.
    """
    order = np.argsort(-shares, axis=0, kind="stable")
    chosen: dict[int, None] = {}
    for turn in order:
        for label in np.argsort(-shares[turn, np.arange(shares.shape[1])], kind="stable"):
            if len(chosen) == most:
                return sorted(chosen)
            chosen.setdefault(int(turn[label]))
    return sorted(chosen)


def names_of(form: Form, source: Source) -> tuple[str, ...]:
    """Name the columns of sequences; nothing of points on a face and of arrays, whose columns have numbers."""
    how = form.sequencing
    if how is None or form.points in COUNTS:
        return ()
    if form.points == "blendshapes":
        return tuple(NAMES)
    found: Sequence[str] = column_names(source.path, how) if source.kind == "numbers" else ()
    return tuple(found) or tuple(str(i) for i in range(how.shape[0]))
