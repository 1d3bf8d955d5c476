"""From sources to rows: samples prepared ahead, asked of in batches, calibrated, averaged over time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenface.evaluation.priors import parse_prior
from evenface.faces.trouble import UnusableError
from evenface.recipes.predict import PredictSettings
from evenface.serving.ahead import ahead
from evenface.serving.inputs import Source
from evenface.serving.model import Model
from evenface.serving.samples import Sample, prepared
from evenface.serving.settings import check_settings

AHEAD = 16
"""Samples that are prepared while the model is busy, at most."""


@dataclass(frozen=True)
class Row:
    """What was said of a sample.

    Parameters
    ----------
    source : Source
        Where it stands.
    sample : Sample
        Without its array.
    probabilities : ndarray of shape (C,), float64, or None
        None where there is no face.
    """

    source: Source
    sample: Sample
    probabilities: np.ndarray | None


@dataclass(frozen=True)
class Ended:
    """No more rows come of a source.

    Parameters
    ----------
    source : Source
        Which one.
    trouble : str
        Why it could not be used, or not to its end; else empty.
    """

    source: Source
    trouble: str = ""


def predicted(
    model: Model, sources: Sequence[Source], settings: PredictSettings, seen: Callable[[Sample], None] | None = None
) -> Iterator[Row | Ended]:
    """Predict sources one after the other.

    Parameters
    ----------
    model : Model
        Who is asked.
    sources : sequence of Source
        Of what.
    settings : PredictSettings
        How.
    seen : callable, optional
        Called with each sample while it still has its array, in the thread that prepares them.

    Yields
    ------
    Row or Ended
        The rows of each source in order of time, and then its end. Batches reach over the ends of sources.

    Raises
    ------
    InputError
        If a setting is of no effect on the model, or something is not installed.

    Notes
    -----
    Samples are found and cropped in a thread of their own, while the model judges those before them. No more than
    :data:`AHEAD` wait for it, and two batches' rows for each other.
    """
    check_settings(settings, model.form)
    rows = _asked(model, ahead(_samples(model, sources, settings, seen), AHEAD), settings)
    return smoothed(rows, settings.smooth) if settings.smooth else rows


def decided(model: Model, scores: np.ndarray, settings: PredictSettings) -> np.ndarray:
    """Turn what :meth:`Model.scores` gave into the probabilities that are written, (B, C): calibrated, corrected."""
    prior = None if settings.prior is None else parse_prior(settings.prior, model.classes)
    return model.calibrated(scores, prior)


def label_of(probabilities: np.ndarray, classes: Sequence[str], abstain: float | None = None) -> str:
    """Name the most probable class; nothing where the model shall abstain."""
    best = int(probabilities.argmax())
    return "" if abstain is not None and probabilities[best] < abstain else classes[best]


def _samples(
    model: Model, sources: Sequence[Source], settings: PredictSettings, seen: Callable[[Sample], None] | None
) -> Iterator[tuple[Source, Sample] | Ended]:
    for source in sources:
        try:
            for sample in prepared(source, model.form, settings):
                if seen is not None:
                    seen(sample)
                yield source, sample
        except UnusableError as error:
            yield Ended(source, str(error))
        else:
            yield Ended(source)


def _asked(
    model: Model, items: Iterable[tuple[Source, Sample] | Ended], settings: PredictSettings
) -> Iterator[Row | Ended]:
    """Ask in batches; what needs no answer waits in its place."""
    waiting: list[tuple[Source, Sample] | Ended] = []
    arrays: list[np.ndarray] = []
    for item in items:
        waiting.append(item)
        if not isinstance(item, Ended) and item[1].array is not None:
            arrays.append(item[1].array)
        if len(arrays) == settings.batch or len(waiting) >= 2 * settings.batch or _live(item):
            yield from _answered(model, waiting, arrays, settings)
            waiting, arrays = [], []
    yield from _answered(model, waiting, arrays, settings)


def _live(item: tuple[Source, Sample] | Ended) -> bool:
    """Whether somebody waits for the answer."""
    return not isinstance(item, Ended) and item[0].kind == "camera"


def _answered(
    model: Model, waiting: list[tuple[Source, Sample] | Ended], arrays: list[np.ndarray], settings: PredictSettings
) -> Iterator[Row | Ended]:
    answers = iter(decided(model, model.scores(np.stack(arrays)), settings)) if arrays else iter(())
    for item in waiting:
        if isinstance(item, Ended):
            yield item
        else:
            source, sample = item
            answer = next(answers) if sample.array is not None else None
            yield Row(source, replace(sample, array=None), answer)


def smoothed(rows: Iterable[Row | Ended], seconds: float) -> Iterator[Row | Ended]:
    """Average the probabilities of each face over time.

    Parameters
    ----------
    rows : iterable of Row or Ended
        As :func:`predicted` gives them.
    seconds : float
        Width of the mean: rows of the same face whose middle is no further than half of it from a row's own middle
        count alike. Pictures, which have no time, stay as they are.

    Yields
    ------
    Row or Ended
        The same, each as soon as all that its mean takes in is there.
    """
    reach = seconds / 2 + 1e-9
    waiting: deque[Row] = deque()
    known: deque[Row] = deque()
    for item in rows:
        if isinstance(item, Ended):
            yield from (_mean(row, known, reach) for row in waiting)
            waiting.clear()
            known.clear()
            yield item
            continue
        now = _middle(item)
        waiting.append(item)
        known.append(item)
        while waiting and _middle(waiting[0]) + reach < now:
            yield _mean(waiting.popleft(), known, reach)
        oldest = _middle(waiting[0])
        while known and _middle(known[0]) < oldest - 2 * reach:
            known.popleft()


def _middle(row: Row) -> float:
    sample = row.sample
    return 0.0 if sample.time is None or sample.until is None else (sample.time + sample.until) / 2


def _mean(row: Row, known: Iterable[Row], reach: float) -> Row:
    if row.probabilities is None or row.sample.time is None:
        return row
    near = [
        other.probabilities
        for other in known
        if other.probabilities is not None
        and other.sample.face == row.sample.face
        and abs(_middle(other) - _middle(row)) <= reach
    ]
    return replace(row, probabilities=np.mean(near, axis=0))
