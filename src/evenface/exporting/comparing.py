"""How far an exported file is from its run: in what it says, in how fast it says it, and in how often it is right."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evenface import assembly
from evenface.errors import InputError
from evenface.evaluation.comparison import Comparison, Pair, compare
from evenface.evaluation.formatting import signed, with_interval
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.scores import shares
from evenface.exporting.samples import Samples
from evenface.progress import Bar
from evenface.runs import PREDICTIONS, VALIDATION, Run
from evenface.serving.model import Model

BATCH = 32
MOST = 500
"""Test and validation samples that a file is compared with its run on."""


class Answering(Model):
    """A model in everything but its answer, which is a function's.

    Parameters
    ----------
    like : Model
        What it is like.
    answer : callable
        Takes a batch and gives scores, as :meth:`Model.ask`.
    """

    def __init__(self, like: Model, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        for name in ("name", "key", "classes", "ordered", "form", "one_vs_rest", "calibration", "prior"):
            setattr(self, name, getattr(like, name))
        self._answer = answer

    def ask(self, batch: np.ndarray) -> np.ndarray:
        """Give the raw answer; see :meth:`Model.ask`."""
        return np.asarray(self._answer(batch), dtype=np.float64)


@dataclass(frozen=True)
class Parity:
    """How far a file's answers are from its run's.

    Parameters
    ----------
    samples : int
        Test and validation samples of the run that both were asked of.
    largest : float
        Largest difference of a score from that of the run's network in 32 bits on the CPU.
    stored : float
        Largest difference of a probability from that in the run's stored predictions.
    agreeing : int
        Samples whose most probable class is that of the stored predictions.
    precision : str
        In which the run was trained and tested.
    """

    samples: int
    largest: float
    stored: float
    agreeing: int
    precision: str

    @property
    def lines(self) -> list[str]:
        """Two lines for the screen."""
        each = "differ" if self.samples != 1 else "differs"
        return [
            f"parity  on {self.samples:,} of the run's test and validation samples, scores {each} by at most "
            f"{self.largest:.1e} from its network's in 32 bits",
            f"        from what the run stored ({self.precision}), probabilities by at most {self.stored:.1e}; "
            f"the same class for {self.agreeing:,} of {self.samples:,}",
        ]


def parity(run: Run, reference: Model, file: Model, samples: Samples, bar: Bar) -> Parity:
    """Ask a run's network and a file of the same samples.

    Parameters
    ----------
    run : Run
        Its stored predictions are the second thing that is compared.
    reference : Model
        The run's network in 32 bits.
    file : Model
        What was exported.
    samples : Samples
        Of the run.
    bar : Bar
        Moved once for each batch.
    """
    rows = samples.rows("test", "validation", most=MOST)
    known = stored_probabilities(run, samples, rows)
    largest = stored = 0.0
    agreeing = 0
    for start in range(0, len(rows), BATCH):
        batch, said = samples.take(rows[start : start + BATCH]), known[start : start + BATCH]
        seen = file.form.seen(batch)
        largest = max(largest, _distance(reference.ask(seen), file.ask(seen)))
        found = file.probabilities(batch)
        stored = max(stored, _distance(found, said))
        agreeing += int((found.argmax(axis=1) == said.argmax(axis=1)).sum())
        bar(1)
    return Parity(len(rows), largest, stored, agreeing, run.precision)


def batches_of(samples: Samples) -> int:
    """Count the batches that :func:`parity` asks of."""
    return -(-len(samples.rows("test", "validation", most=MOST)) // BATCH)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference; endless where something is no number."""
    largest = float(np.abs(one - other).max())
    return largest if np.isfinite(largest) else float("inf")


def stored_probabilities(run: Run, samples: Samples, rows: np.ndarray) -> np.ndarray:
    """Give what the run stored of samples at ``rows``, (N, C)."""
    known: dict[str, np.ndarray] = {}
    for name in (PREDICTIONS, VALIDATION):
        if (run.folder / name).is_file():
            said = Predictions.load(run.folder / name)
            known |= dict(zip(said.sample, said.probabilities, strict=True))
    names = samples.manifest.table["sample"].iloc[rows]
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"the run {run.folder} has no prediction of its sample {missing[0]}", "Train it again.")
    return np.stack([known[name] for name in names])


@dataclass(frozen=True)
class Cost:
    """What fewer bits cost on validation data.

    Parameters
    ----------
    comparison : Comparison
        The file in 32 bits against that in 8.
    """

    comparison: Comparison

    @property
    def pair(self) -> Pair:
        """The 8 bits minus the 32."""
        return self.comparison.pairs[0]

    @property
    def balanced_accuracy(self) -> float:
        """How much balanced accuracy is lost; below 0 where it rose."""
        return -self.pair.overall["balanced_accuracy"].value

    @property
    def lines(self) -> list[str]:
        """A line for each figure."""
        first, second = self.comparison.methods
        lines = []
        for name in ("balanced_accuracy", "accuracy"):
            change = self.pair.overall[name]
            lines.append(
                f"int8    validation {name.replace('_', ' ')} {with_interval(first.overall[name])}, in 8 bits "
                f"{with_interval(second.overall[name])}, difference {signed(change.value)} "
                f"[{signed(change.low)}, {signed(change.high)}] over {self.comparison.units:,} {self.comparison.unit}"
            )
        return lines


def cost(models: Sequence[Model], samples: Samples, bar: Bar) -> Cost:
    """Judge a file in 32 bits and one in 8 on all validation samples.

    Parameters
    ----------
    models : sequence of two Model
        That in 32 bits first.
    samples : Samples
        With some that validate.
    bar : Bar
        Moved once for each batch of :data:`BATCH`.
    """
    rows = samples.rows("validation")
    scores: list[list[np.ndarray]] = [[], []]
    for start in range(0, len(rows), BATCH):
        batch = samples.take(rows[start : start + BATCH])
        for model, found in zip(models, scores, strict=True):
            found.append(model.scores(batch))
        bar(1)
    whole = [np.concatenate(found) for found in scores]
    named = {
        name: assembly.predictions(samples.manifest, rows, shares(said), scores=said if models[0].one_vs_rest else None)
        for name, said in zip(("32 bits", "8 bits"), whole, strict=True)
    }
    return Cost(compare(named))


def latencies(models: Mapping[str, Model], batch: np.ndarray, *, seconds: float = 1.0) -> dict[str, float]:
    """Measure how long models take for a batch, in turns.

    Parameters
    ----------
    models : mapping of str to Model
        Asked one after the other in each round, after a round that does not count.
    batch : ndarray
        As the networks see it.
    seconds : float
        How long rounds go on, at least three of them and at most a hundred.

    Returns
    -------
    dict of str to float
        Median milliseconds.
    """
    spent: dict[str, list[float]] = {name: [] for name in models}
    begin = time.perf_counter()
    for number in range(101):
        for name, model in models.items():
            start = time.perf_counter()
            model.ask(batch)
            if number:
                spent[name].append(1000 * (time.perf_counter() - start))
        if number == 0:
            begin = time.perf_counter()
        elif number >= 3 and time.perf_counter() - begin > seconds:
            break
    return {name: statistics.median(times) for name, times in spent.items()}
