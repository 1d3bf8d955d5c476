"""Compare methods on the same samples: which is better, for which class, and how sure one can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenface.errors import InputError
from evenface.evaluation import metrics
from evenface.evaluation.alignment import align
from evenface.evaluation.continuous import CONTINUOUS, unit_moments
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
from evenface.evaluation.verdict import ALPHA

COMPARED = ("balanced_accuracy", "accuracy", "macro_f1")
"""What is always compared; where all runs say that classes are ordered, :data:`~.metrics.ORDERED` and
:data:`~.continuous.CONTINUOUS` too."""


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
        What was resampled and swapped: ``"people"``, ``"clips"`` or ``"samples"``.
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
    people (all their samples together) where subjects are known, else clips so, else samples. Within a draw a
    method's value is the mean over its runs: the unit of replication is the person (or clip, or sample), and the
    interval says how the result would vary over other people, for these trained networks. How it varies over seeds is
    in ``per_run``.

    *p* is a swap (permutation) test: what two methods said about a unit changes hands by a coin, 4,999 times; for
    macro F1 it is applied to the matrices averaged over runs. Holm's correction runs over the pairs for overall
    metrics, and over the classes of one pair for recall. A difference is called certain if its interval leaves out
    zero *and* its corrected p is at most 0.05.

    *Clips*: where several samples make a clip and have its label, metrics called ``clip_...`` are of the clips, by
    :meth:`~evenface.evaluation.predictions.Predictions.by_clip`. Where every run says that classes are ordered, mean
    absolute error, quadratic-weighted kappa and ICC(3,1), and the metrics of the continuous output, are compared as
    well.
    """
    if len(runs) < 2:
        raise InputError(f"a comparison needs two or more methods, found {len(runs)}")
    groups = {name: (given,) if isinstance(given, Predictions) else tuple(given) for name, given in runs.items()}
    groups = align(groups)
    first = next(iter(groups.values()))[0]
    views = _views(groups, resamples, seed)
    units = views[0].units
    methods = tuple(_method(name, groups[name], views, level) for name in groups)
    pairs = [_pair(methods[0], other, views, seed, level) for other in methods[1:]]
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


@dataclass(frozen=True)
class _View:
    """What is compared: the samples, or the clips that they make together.

    ``stacks`` holds of each method the matrices (U, runs, C, C) or moments (U, runs, 8) of its units, ``drawn`` those
    of the draws (R, runs, ...), ``functions`` the metrics by the names they have in the comparison.
    """

    functions: dict[str, metrics.Metric]
    units: Units
    stacks: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]


def _views(groups: Mapping[str, tuple[Predictions, ...]], resamples: int, seed: int) -> list[_View]:
    """Give the samples, and the clips where several samples make one and have its label."""
    runs = [run for group in groups.values() for run in group]
    sides = {"": groups}
    if runs[0].in_parts and runs[0].mixed is None and all(run.clip is not None for run in runs):
        sides[metrics.CLIP] = {name: tuple(run.by_clip() for run in group) for name, group in groups.items()}
    ordered = all(run.ordered for run in runs)
    functions = {name: metrics.OVERALL[name] for name in COMPARED}
    functions |= metrics.ordered(runs[0].levels) if ordered else {}
    views = []
    for prefix, given in sides.items():
        units = units_of(next(iter(given.values()))[0])
        for sums, named in ((unit_matrices, functions), *([(unit_moments, CONTINUOUS)] if ordered else [])):
            stacks = {name: np.stack([sums(run, units) for run in group], 1) for name, group in given.items()}
            drawn = {name: resample_sums(stack, resamples, seed) for name, stack in stacks.items()}
            views.append(_View({prefix + name: named[name] for name in named}, units, stacks, drawn))
    return views


def _method(name: str, group: tuple[Predictions, ...], views: Sequence[_View], level: float) -> Method:
    """Values of one method."""
    per_run, overall = {}, {}
    for view in views:
        whole = view.stacks[name].sum(axis=0)
        for key, function in view.functions.items():
            per_run[key] = tuple(float(value) for value in function(whole))
            low, high = percentile(function(view.drawn[name]).mean(axis=1), level)
            overall[key] = Estimate(float(np.mean(per_run[key])), float(low), float(high))
    stack, drawn = views[0].stacks[name], views[0].drawn[name]
    value = metrics.recall(stack.sum(axis=0)).mean(axis=0)
    low, high = recall_intervals(stack.mean(axis=1), drawn.mean(axis=1), views[0].units, level)
    recall = tuple(Estimate(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True))
    return Method(name, group, overall, per_run, recall)


def _pair(baseline: Method, candidate: Method, views: Sequence[_View], seed: int, level: float) -> Pair:
    """Differences of two methods, all metrics and the recall of each class."""
    overall = {}
    sides = [_sides(view, baseline.name, candidate.name, seed) for view in views]
    for view, (swapped, whole, drawn) in zip(views, sides, strict=True):
        for key, function in view.functions.items():
            low, high = percentile(function(drawn[1]).mean(axis=1) - function(drawn[0]).mean(axis=1), level)
            p = float(swap_p(function(whole[1]) - function(whole[0]), function(swapped[1]) - function(swapped[0])))
            value = candidate.overall[key].value - baseline.overall[key].value
            overall[key] = Difference(key, value, float(low), float(high), p, p)
    swapped, whole, drawn = sides[0]
    low, high = percentile(metrics.recall(drawn[1]).mean(axis=1) - metrics.recall(drawn[0]).mean(axis=1), level)
    seen = metrics.recall(whole[1]) - metrics.recall(whole[0])
    p_class = swap_p(seen, metrics.recall(swapped[1]) - metrics.recall(swapped[0]))
    columns = zip(baseline.runs[0].classes, seen, low, high, p_class, holm(p_class), strict=True)
    classes = tuple(Difference(name, *(float(value) for value in values)) for name, *values in columns)
    single = len(baseline.runs) == len(candidate.runs) == 1
    right = [method.runs[0].predicted == method.runs[0].labels for method in (baseline, candidate)]
    return Pair(baseline.name, candidate.name, overall, classes, mcnemar(*right) if single else None)


def _sides(view: _View, baseline: str, candidate: str, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Matrices of both methods, averaged over runs: after swapping, whole; and drawn, of each run."""
    means = [view.stacks[name].mean(axis=1, dtype=np.float64) for name in (baseline, candidate)]
    whole = means[0].sum(axis=0), means[1].sum(axis=0)
    return swap_differences(means[0], means[1], seed), whole, (view.drawn[baseline], view.drawn[candidate])


def _correct(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Correct each overall metric's p for the number of pairs."""
    corrected = {key: holm(np.array([pair.overall[key].p for pair in pairs])) for key in pairs[0].overall}
    return tuple(
        replace(
            pair,
            overall={key: replace(found, p_holm=float(corrected[key][i])) for key, found in pair.overall.items()},
        )
        for i, pair in enumerate(pairs)
    )
