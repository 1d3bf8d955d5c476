"""Which samples of a source are explained: all faces of a picture, and of a video those that show each class most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenface.config.predict import PredictSettings
from evenface.explanation.explanation import Array
from evenface.inference.input_spec import InputSpec
from evenface.inference.model import Model
from evenface.inference.pipeline import PreparedSample, decided, prepared
from evenface.inference.sources import Source
from evenface.preprocessing.landmarks import COUNTS, NAMES
from evenface.preprocessing.sequence_files import column_names


@dataclass(frozen=True)
class SelectedSample:
    """A sample that is explained."""

    sample: PreparedSample
    shares: Array


def choose(model: Model, source: Source, settings: PredictSettings, most: int) -> tuple[list[SelectedSample], int]:
    """Walk through a source and keep what is explained; no more than that and a batch is held in memory."""
    kept: list[SelectedSample] = []
    waiting: list[PreparedSample] = []
    count = 0
    limit = None if source.kind == "picture" else most

    def take() -> None:
        if waiting:
            shares = decided(
                model, model.scores(np.stack([one.array for one in waiting if one.array is not None])), settings
            )
            kept.extend(SelectedSample(*pair) for pair in zip(waiting, shares, strict=True))
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
    """Choose samples in turns: those where each class is most probable, then the second ones, and so on."""
    order = np.argsort(-shares, axis=0, kind="stable")
    chosen: dict[int, None] = {}
    for turn in order:
        for label in np.argsort(-shares[turn, np.arange(shares.shape[1])], kind="stable"):
            if len(chosen) == most:
                return sorted(chosen)
            chosen.setdefault(int(turn[label]))
    return sorted(chosen)


def names_of(form: InputSpec, source: Source) -> tuple[str, ...]:
    """Name the columns of sequences; nothing of points on a face and of arrays, whose columns have numbers."""
    how = form.sequences
    if how is None or form.points in COUNTS:
        return ()
    if form.points == "blendshapes":
        return tuple(NAMES)
    found: Sequence[str] = column_names(source.path, how) if source.kind == "numbers" else ()
    return tuple(found) or tuple(str(i) for i in range(how.shape[0]))
