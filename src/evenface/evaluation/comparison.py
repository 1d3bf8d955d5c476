"""Compare methods on the same samples: which is better, for which class, and how sure one can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenface.errors import InputError
from evenface.evaluation import metrics
from evenface.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Estimate,
    Units,
    percentile,
    recall_intervals,
    resample_sums,
    unit_matrices,
    units_of,
)
from evenface.evaluation.paired import McNemar, holm, mcnemar, swap_differences, swap_p
from evenface.evaluation.predictions import Predictions

COMPARED = ("balanced_accuracy", "accuracy", "macro_f1")
ALPHA = 0.05


@dataclass(frozen=True)
class Method:
    """One method: its runs (seeds), its metrics as means over them, and each run's own values."""

    name: str
    runs: tuple[Predictions, ...]
    overall: dict[str, Estimate]
    per_run: dict[str, tuple[float, ...]]
    recall: tuple[Estimate, ...]


@dataclass(frozen=True)
class Difference:
    """Candidate minus baseline: value, interval, p of the swap test, p after Holm's correction."""

    name: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero and the corrected p is at most 0.05."""
        return (self.low > 0 or self.high < 0) and self.p_holm <= ALPHA


@dataclass(frozen=True)
class Pair:
    """A candidate against the baseline; ``mcnemar`` only where both have one run."""

    baseline: str
    candidate: str
    overall: dict[str, Difference]
    classes: tuple[Difference, ...]
    mcnemar: McNemar | None


@dataclass(frozen=True)
class Comparison:
    """Methods tried on the same samples, the first one being the baseline of every pair.

    Parameters
    ----------
    methods : tuple of Method
        Each method's own values.
    pairs : tuple of Pair
        Every other method against the first.
    classes : tuple of str
        Names of the classes.
    support : tuple of int
        Samples of each class.
    unit : str
        What was resampled and swapped: ``"people"`` or ``"samples"``.
    units, samples : int
        How many of them.
    level : float
        Confidence level of the intervals.
    seed, resamples : int
        Of the resampling.
    """

    methods: tuple[Method, ...]
    pairs: tuple[Pair, ...]
    classes: tuple[str, ...]
    support: tuple[int, ...]
    unit: str
    units: int
    samples: int
    level: float
    seed: int
    resamples: int


def compare(
    runs: Mapping[str, Predictions | Sequence[Predictions]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Comparison:
    """Compare methods on the same samples, each with the first one.

    Parameters
    ----------
    runs : mapping of str to Predictions or a sequence of them
        Name of each method and its predictions; several are runs of that method with other seeds.
    resamples : int, default=2000
        Bootstrap draws.
    seed : int, default=0
        Seed of the draws.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If there are fewer than two methods, or their samples, subjects, labels or classes differ.

    Notes
    -----
    *Intervals* are percentile intervals over one set of draws for all methods, so differences are paired. A draw takes
    people (all their samples together) where subjects are known, else samples. Within a draw a method's value is the
    mean over its runs: the unit of replication is the person (or sample), and the interval says how the result
    would vary over other people, for these trained networks. How it varies over seeds is in ``per_run``.

    *p* is a swap (permutation) test: what two methods said about a unit changes hands by a coin, 4,999 times; for
    macro F1 it is applied to the matrices averaged over runs. Holm's correction runs over the pairs for overall
    metrics, and over the classes of one pair for recall. A difference is called certain if its interval leaves out
    zero *and* its corrected p is at most 0.05.
    """
    if len(runs) < 2:
        raise InputError(f"a comparison needs two or more methods, found {len(runs)}")
    groups = {name: (given,) if isinstance(given, Predictions) else tuple(given) for name, given in runs.items()}
    groups = _align(groups)
    first = next(iter(groups.values()))[0]
    units = units_of(first)
    stacks = {name: np.stack([unit_matrices(run, units) for run in group], 1) for name, group in groups.items()}
    drawn = {name: resample_sums(stack, resamples, seed) for name, stack in stacks.items()}
    methods = tuple(_method(name, groups[name], stacks[name], drawn[name], units, level) for name in groups)
    baseline = methods[0]
    pairs = [
        _pair(
            baseline,
            other,
            stacks[baseline.name],
            stacks[other.name],
            drawn[baseline.name],
            drawn[other.name],
            seed,
            level,
        )
        for other in methods[1:]
    ]
    return Comparison(
        methods,
        _correct(pairs),
        first.classes,
        tuple(int(n) for n in first.support),
        units.name,
        units.count,
        len(first),
        level,
        seed,
        resamples,
    )


def _align(groups: dict[str, tuple[Predictions, ...]]) -> dict[str, tuple[Predictions, ...]]:
    """Bring every run into the order of the first; refuse runs that saw other samples."""
    for name, group in groups.items():
        if not group:
            raise InputError(f"{name} has no run")
    first_name, first = next((name, group[0]) for name, group in groups.items())
    place = {sample: row for row, sample in enumerate(first.sample)}
    return {
        name: tuple(_in_order(run, name, first, first_name, place) for run in group) for name, group in groups.items()
    }


def _in_order(run: Predictions, name: str, first: Predictions, first_name: str, place: dict[str, int]) -> Predictions:
    if run.classes != first.classes:
        raise InputError(
            f"{name} knows the classes {', '.join(run.classes)}; {first_name} knows {', '.join(first.classes)}",
            "Compare runs of one data set with the classes in one order.",
        )
    strange = [sample for sample in run.sample if sample not in place]
    lacking = set(place) - set(run.sample)
    if strange or lacking:
        example = f"{strange[0]!r} is not in {first_name}" if strange else f"{min(lacking)!r} is only in {first_name}"
        raise InputError(
            f"{name} and {first_name} were tested on other samples: {example} "
            f"({len(strange) + len(lacking)} such samples)",
            "Compare runs with the same protocol and the same fold.",
        )
    rows = np.empty(len(run), dtype=np.int64)
    rows[[place[sample] for sample in run.sample]] = np.arange(len(run))
    run = run.take(rows)
    differ = np.flatnonzero(run.labels != first.labels)
    if len(differ):
        row = int(differ[0])
        raise InputError(
            f"{name} and {first_name} disagree on the true class of {len(differ)} samples; {run.sample[row]!r} is "
            f"{run.classes[run.labels[row]]} and {first.classes[first.labels[row]]}"
        )
    if _names(run.subject) != _names(first.subject):
        raise InputError(f"{name} and {first_name} disagree on whom the samples show")
    return run


def _names(subject: np.ndarray | None) -> list[str] | None:
    return None if subject is None else [str(name) for name in subject]


def _method(
    name: str, group: tuple[Predictions, ...], stack: np.ndarray, drawn: np.ndarray, units: Units, level: float
) -> Method:
    """Values of one method; ``stack`` is (U, runs, C, C), ``drawn`` (R, runs, C, C)."""
    whole = stack.sum(axis=0)
    per_run = {key: tuple(float(v) for v in metrics.OVERALL[key](whole)) for key in COMPARED}
    overall = {}
    for key in COMPARED:
        low, high = percentile(metrics.OVERALL[key](drawn).mean(axis=1), level)
        overall[key] = Estimate(float(np.mean(per_run[key])), float(low), float(high))
    value = metrics.recall(whole).mean(axis=0)
    low, high = recall_intervals(stack.mean(axis=1), drawn.mean(axis=1), units, level)
    recall = tuple(Estimate(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True))
    return Method(name, group, overall, per_run, recall)


def _pair(
    baseline: Method,
    candidate: Method,
    stack_a: np.ndarray,
    stack_b: np.ndarray,
    drawn_a: np.ndarray,
    drawn_b: np.ndarray,
    seed: int,
    level: float,
) -> Pair:
    mean_a, mean_b = stack_a.mean(axis=1, dtype=np.float64), stack_b.mean(axis=1, dtype=np.float64)
    swapped_a, swapped_b = swap_differences(mean_a, mean_b, seed)
    whole_a, whole_b = mean_a.sum(axis=0), mean_b.sum(axis=0)
    overall = {}
    for key in COMPARED:
        function = metrics.OVERALL[key]
        low, high = percentile(function(drawn_b).mean(axis=1) - function(drawn_a).mean(axis=1), level)
        p = float(swap_p(function(whole_b) - function(whole_a), function(swapped_b) - function(swapped_a)))
        value = candidate.overall[key].value - baseline.overall[key].value
        overall[key] = Difference(key, value, float(low), float(high), p, p)
    low, high = percentile(metrics.recall(drawn_b).mean(axis=1) - metrics.recall(drawn_a).mean(axis=1), level)
    seen = metrics.recall(whole_b) - metrics.recall(whole_a)
    p_class = swap_p(seen, metrics.recall(swapped_b) - metrics.recall(swapped_a))
    columns = zip(baseline.runs[0].classes, seen, low, high, p_class, holm(p_class), strict=True)
    classes = tuple(Difference(name, *(float(value) for value in values)) for name, *values in columns)
    single = len(baseline.runs) == len(candidate.runs) == 1
    right = [method.runs[0].predicted == method.runs[0].labels for method in (baseline, candidate)]
    return Pair(baseline.name, candidate.name, overall, classes, mcnemar(*right) if single else None)


def _correct(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Correct each overall metric's p for the number of pairs."""
    corrected = {key: holm(np.array([pair.overall[key].p for pair in pairs])) for key in COMPARED}
    return tuple(
        replace(
            pair,
            overall={key: replace(pair.overall[key], p_holm=float(corrected[key][i])) for key in COMPARED},
        )
        for i, pair in enumerate(pairs)
    )
