"""Comparison of methods on the same samples: differences with intervals and p-values, overall and per class."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, Units, percentile, recall_intervals, units_of
from evenface.evaluation.metric_registry import CLIP, METRICS, Metric, find_metric, headline, reported
from evenface.evaluation.metrics import recall
from evenface.evaluation.paired_tests import ALPHA, CHUNK, McNemar, holm, mcnemar, permuted_sums, swap_p
from evenface.evaluation.predictions import Predictions, align
from evenface.evaluation.probability_metrics import over_defined
from evenface.evaluation.summary import CURVE_SAMPLES, FEWEST_RESAMPLES, Measures, draw_sums, input_of
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions, align_targets
from evenface.evaluation.target_summary import TargetMeasures, measures_of, over_each_target
from evenface.utils.errors import InputError

RECALL = METRICS["recall"]
CURVES = ("probabilities", "target_scores")
"""Inputs of areas under curves and calibration errors."""
CURVE_SWAPS, FEWEST_SWAPS = 499, 199
"""Most and fewest permutations for areas under curves and calibration errors, which cost far more than sums."""
CHEAP_SAMPLES = 2_000
"""Samples of all runs together up to which these metrics are resampled without being asked for."""


@dataclass(frozen=True)
class MethodResult:
    """One method: its runs (seeds), its metrics as means over them, each run's own values, and one metric by class."""

    name: str
    runs: tuple[AnyPredictions, ...]
    overall: dict[str, Estimate]
    per_run: dict[str, tuple[float, ...]]
    by_class: tuple[Estimate, ...]


@dataclass(frozen=True)
class Difference:
    """Candidate minus baseline: value, interval, p of the paired permutation test, p after Holm's correction."""

    name: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float

    @property
    def certain(self) -> bool:
        """Whether the interval excludes zero and the corrected p is at most 0.05."""
        return (self.low > 0 or self.high < 0) and self.p_holm <= ALPHA


@dataclass(frozen=True)
class MethodPair:
    """A candidate against the baseline, judged by the metric ``main``; ``mcnemar`` only where both have one run."""

    baseline: str
    candidate: str
    main: str
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
        Names of the classes, or of the targets.
    support : tuple of int
        Samples of each class; those in which a target is present, or known.
    main, each : str
        Metric that the comparison is decided by, and the one of each class.
    unit : str
        What was resampled and swapped: ``"people"``, ``"clips"`` or ``"samples"``.
    units, samples : int
        How many of them.
    level : float
        Confidence level of the intervals.
    seed, resamples : int
        Of the resampling.
    """

    methods: tuple[MethodResult, ...]
    pairs: tuple[MethodPair, ...]
    classes: tuple[str, ...]
    support: tuple[int, ...]
    main: str
    each: str
    unit: str
    units: int
    samples: int
    level: float
    seed: int
    resamples: int


def compare(
    runs: Mapping[str, AnyPredictions | Sequence[AnyPredictions]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    metrics: Sequence[str] | None = None,
) -> Comparison:
    """Compare methods on the same samples, each with the first one.

    Parameters
    ----------
    runs : mapping of str to Predictions or TargetPredictions, or a sequence of them
        Name of each method and its predictions; several are runs of that method with other seeds.
    resamples : int, default=2000
        Bootstrap samples.
    seed : int, default=0
        Seed of the draws.
    level : float, default=0.95
        Confidence level of the intervals.
    metrics : sequence of str, optional
        Metrics to compare, with ``clip_`` before those of clips; by default every registered one that all runs have.

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
    interval describes how the result would vary over other people, for these trained networks. The
    values of single seeds are in ``per_run``.

    *p* is that of a paired permutation test: the predictions of the two methods for a unit are exchanged at random,
    4,999 times, on confusion matrices averaged over runs. Holm's correction runs over the pairs for overall
    metrics, and over the classes of one pair for recall. A difference is called certain if its interval excludes zero
    *and* its corrected p is at most 0.05.

    *Areas under curves and calibration errors* cost far more than sums over units. Where all runs together have more
    than 2,000 samples they have values alone, unless ``metrics`` names what to compare; else they have intervals of at
    most 400 draws and a p of at most 499 permutations of the predictions of all runs pooled.

    *Clips*: where clips have several samples of one label, metrics called ``clip_...`` are of the clips, by
    :meth:`~evenface.evaluation.predictions.Predictions.by_clip`. Metrics of ordered classes are compared where the
    classes of every run are ordered, those of training counts where all runs have the same ones.
    """
    if len(runs) < 2:
        raise InputError(f"a comparison needs two or more methods, found {len(runs)}")
    groups = _aligned({name: tuple(given) if isinstance(given, Sequence) else (given,) for name, given in runs.items()})
    first = next(iter(groups.values()))[0]
    views = _views(groups, resamples, seed, metrics)
    units = views[0].units
    methods = tuple(_method(name, groups[name], views, level) for name in groups)
    permutations = [_Permutations(view, seed) for view in views]
    pairs = [_pair(methods[0], other, permutations, level) for other in methods[1:]]
    return Comparison(
        methods,
        _correct(pairs),
        names_of(first),
        tuple(int(n) for n in first.support),
        headline(first)[0],
        each_of(first).name,
        units.name,
        units.count,
        len(first),
        level,
        seed,
        resamples,
    )


def _aligned(groups: Mapping[str, tuple[AnyPredictions, ...]]) -> dict[str, tuple[AnyPredictions, ...]]:
    """Reorder every run as the first; all predict classes, or all predict targets."""
    of_targets = {name: [r for r in group if isinstance(r, TargetPredictions)] for name, group in groups.items()}
    if not any(of_targets.values()):
        return dict(align({name: cast(tuple[Predictions, ...], group) for name, group in groups.items()}))
    for name, group in groups.items():
        if len(of_targets[name]) < len(group):
            raise InputError(f"{name} predicts classes, others predict targets", "Compare runs of one task.")
    return dict(align_targets({name: tuple(group) for name, group in of_targets.items()}))


def names_of(predictions: AnyPredictions) -> tuple[str, ...]:
    """Return the names of the classes, or of the targets."""
    return predictions.names if isinstance(predictions, TargetPredictions) else predictions.classes


def each_of(predictions: AnyPredictions) -> Metric:
    """Return the metric of each class, or of each target, that comparisons show."""
    if isinstance(predictions, TargetPredictions):
        return METRICS["target_average_precision" if predictions.task == "multilabel" else "ccc"]
    return RECALL


@dataclass(frozen=True)
class _View:
    """Metrics, units and measures of the samples, or of the clips that they form (prefix ``clip_``)."""

    prefix: str
    entries: tuple[Metric, ...]
    units: Units
    runs: dict[str, tuple[Measures, ...]]
    curves: bool
    """Whether areas under curves and calibration errors are resampled."""


def _views(
    groups: Mapping[str, tuple[AnyPredictions, ...]], resamples: int, seed: int, metrics: Sequence[str] | None
) -> list[_View]:
    """Return the samples, and the clips where several samples make one and have its label."""
    runs = [run for group in groups.values() for run in group]
    sides = {"": groups}
    of_classes = [run for run in runs if isinstance(run, Predictions)]
    if of_classes and of_classes[0].in_parts and all(run.clip is not None and not run.mixed for run in of_classes):
        sides[CLIP] = {name: tuple(run.by_clip() for run in group) for name, group in groups.items()}  # type: ignore[union-attr]
    shared = set.intersection(*({entry.name for entry in reported(run)} for run in runs))
    if len({run.training_counts for run in of_classes}) > 1:
        shared -= {entry.name for entry in METRICS.values() if entry.needs == "training_counts"}
    for name in metrics or ():
        find_metric(name)
    views = []
    for prefix, side in sides.items():
        units = units_of(next(iter(side.values()))[0])
        samples = len(runs) * len(units.codes)
        curves = metrics is not None or samples <= CHEAP_SAMPLES
        few = max(FEWEST_RESAMPLES, CURVE_SAMPLES // samples) if curves else 0
        measures = {
            name: tuple(measures_of(run, units, resamples, seed, few) for run in group) for name, group in side.items()
        }
        entries = tuple(
            m for m in METRICS.values() if m.name in shared and (metrics is None or prefix + m.name in metrics)
        )
        draw_sums([run for group in measures.values() for run in group], [each_of(runs[0]), *entries])
        views.append(_View(prefix, entries, units, measures, curves))
    return views


def _method(name: str, group: tuple[AnyPredictions, ...], views: Sequence[_View], level: float) -> MethodResult:
    """Compute the metrics of one method with their intervals."""
    per_run, overall = {}, {}
    for view in views:
        for entry in view.entries:
            key = view.prefix + entry.name
            per_run[key] = tuple(float(run.value(entry)) for run in view.runs[name])
            low, high = percentile(_drawn(view, name, entry), level)
            overall[key] = Estimate(float(np.mean(per_run[key])), float(low), float(high))
    own = views[0].runs[name]
    if isinstance(own[0], TargetMeasures):
        entry = each_of(group[0])
        value = np.mean([run.value_each(entry) for run in own], axis=0)  # type: ignore[attr-defined]
        low, high = percentile(_drawn_each(views[0], name), level)
    else:
        stack, drawn = _unit_sums(views[0], name, RECALL), _drawn_sums(views[0], name, RECALL)
        value = recall(stack.sum(axis=0)).mean(axis=0)
        low, high = recall_intervals(stack.mean(axis=1), drawn.mean(axis=1), views[0].units, level)
    by_class = tuple(Estimate(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True))
    return MethodResult(name, group, overall, per_run, by_class)


def _drawn_each(view: _View, name: str) -> np.ndarray:
    """Compute the metric of each class or target, as mean over the runs of a method, in each draw, shape (R, C)."""
    runs = view.runs[name]
    if isinstance(runs[0], TargetMeasures):
        entry = each_of(runs[0].predictions)
        return np.asarray(np.mean([run.drawn_each(entry) for run in runs], axis=0))  # type: ignore[attr-defined]
    return np.asarray(recall(_drawn_sums(view, name, RECALL)).mean(axis=1))


def _drawn(view: _View, name: str, entry: Metric) -> np.ndarray:
    """Compute the mean of a metric over the runs of a method in each draw, shape (R,)."""
    return np.asarray(np.stack([run.drawn(entry) for run in view.runs[name]], axis=-1).mean(axis=-1))


def _unit_sums(view: _View, name: str, entry: Metric) -> np.ndarray:
    """Stack the contributions of units to the input of a metric for each run of a method, shape (U, runs, ...)."""
    return np.stack([run.unit_sums(entry) for run in view.runs[name]], axis=1)


def _drawn_sums(view: _View, name: str, entry: Metric) -> np.ndarray:
    """Stack the input of a metric in each draw for each run of a method, shape (R, runs, ...)."""
    return np.stack([run.drawn_sums(entry) for run in view.runs[name]], axis=1)


def _pair(
    baseline: MethodResult, candidate: MethodResult, permutations: "Sequence[_Permutations]", level: float
) -> MethodPair:
    """Compare two methods by all metrics and by the recall of each class."""
    names, overall = (baseline.name, candidate.name), {}
    for permuted in permutations:
        view = permuted.view
        for entry in view.entries:
            key = view.prefix + entry.name
            low, high = percentile(_drawn(view, names[1], entry) - _drawn(view, names[0], entry), level)
            tested = view.curves or entry.needs not in CURVES
            p = float(swap_p(*permuted.differences(entry, candidate.name))) if tested else math.nan
            value = candidate.overall[key].value - baseline.overall[key].value
            overall[key] = Difference(key, value, float(low), float(high), p, p)
    drawn = [_drawn_each(permutations[0].view, name) for name in names]
    low, high = percentile(drawn[1] - drawn[0], level)
    seen, swapped = permutations[0].differences_each(candidate.name)
    p_class = swap_p(seen, swapped)
    columns = zip(names_of(baseline.runs[0]), seen, low, high, p_class, holm(p_class), strict=True)
    classes = tuple(Difference(name, *(float(value) for value in values)) for name, *values in columns)
    single = len(baseline.runs) == len(candidate.runs) == 1
    firsts = [method.runs[0] for method in (baseline, candidate)]
    right = [run.predicted == run.labels for run in firsts if isinstance(run, Predictions)]
    test = mcnemar(*right) if single and right else None
    return MethodPair(baseline.name, candidate.name, headline(firsts[0])[0], overall, classes, test)


class _Permutations:
    """Paired permutation of the first method with each other one: each unit's predictions are exchanged by a coin."""

    def __init__(self, view: _View, seed: int) -> None:
        self.view, self.seed = view, seed
        self.baseline, *self.candidates = view.runs
        self._sums: dict[tuple[str, str], tuple[tuple[np.ndarray, np.ndarray], ...]] = {}
        self._pooled: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._classwise: dict[tuple[str, str], tuple[tuple[np.ndarray, np.ndarray], ...]] = {}

    def differences(self, entry: Metric, candidate: str) -> tuple[np.ndarray, np.ndarray]:
        """Return candidate minus baseline as observed, shape (...), and after each permutation, shape (S, ...)."""
        if entry.needs == "probabilities":
            return self._of_pooled(entry, candidate)
        each = self._each(entry, candidate)
        joined = isinstance(self.view.runs[self.baseline][0], TargetMeasures) and (
            entry.classwise is not None or over_each_target(entry)
        )
        return (over_defined(each[0], each[0]), over_defined(each[1], each[1])) if joined else each

    def differences_each(self, candidate: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of the metric of each class or target, shapes (C,) and (S, C)."""
        return self._each(each_of(self.view.runs[candidate][0].predictions), candidate)

    def _each(self, entry: Metric, candidate: str) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(self.view.runs[candidate][0], TargetMeasures) and entry.classwise is not None:
            entry = METRICS[entry.classwise]
        if entry.needs == "target_scores":
            if (entry.name, candidate) not in self._pooled:
                self._pooled[entry.name, candidate] = self._of_pooled(entry, candidate)
            return self._pooled[entry.name, candidate]
        (first, first_permuted), (second, second_permuted) = self._values(entry, candidate)
        return second - first, second_permuted - first_permuted

    def _values(self, entry: Metric, candidate: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Compute a metric of both methods, each as observed and after each permutation."""
        sums = self._summed(entry, candidate)
        if entry.mean is None or entry.classwise is None:
            function = self.view.runs[self.baseline][0].of_sums(entry)
            return tuple((function(observed), function(permuted)) for observed, permuted in sums)
        if (entry.classwise, candidate) not in self._classwise:
            self._classwise[entry.classwise, candidate] = self._values(METRICS[entry.classwise], candidate)
        sides = zip(self._classwise[entry.classwise, candidate], sums, strict=True)
        return tuple(tuple(map(entry.mean, values, inputs)) for values, inputs in sides)

    def _summed(self, entry: Metric, candidate: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Sum the input of a metric over the units, averaged over runs: observed, and after each permutation."""
        key = input_of(entry)
        if (key, candidate) not in self._sums:
            # losses of nearly all units differ: there, one set of coins serves every candidate
            others = [candidate] if key == "confusion" else self.candidates
            base, *means = (
                _unit_sums(self.view, name, entry).mean(axis=1, dtype=np.float64) for name in (self.baseline, *others)
            )
            for name, mean, permuted in zip(others, means, permuted_sums(base, means, self.seed), strict=True):
                observed = base.sum(axis=0), mean.sum(axis=0)
                self._sums[key, name] = tuple(zip(observed, permuted, strict=True))
        return self._sums[key, candidate]

    def _of_pooled(self, entry: Metric, candidate: str) -> tuple[np.ndarray, np.ndarray]:
        """Return differences of a metric of the pooled predictions of all runs of a method, runs weighing equally."""
        sides = [self.view.runs[name] for name in (self.baseline, candidate)]
        runs = [run for side in sides for run in side]
        function, samples = _of_joined(entry, [run.predictions for run in runs])
        codes, n = np.tile(self.view.units.codes, len(runs)), len(self.view.units.codes)
        share = np.repeat([1 / len(side) for side in sides], [n * len(side) for side in sides])
        second = np.repeat([False, True], [n * len(side) for side in sides])

        def differences(kept: np.ndarray) -> np.ndarray:
            own = np.where(second == kept[:, codes], share, 0.0)
            return np.asarray(function(own) - function(share - own))

        swaps = min(CURVE_SWAPS, max(FEWEST_SWAPS, CURVE_SAMPLES // samples))
        random, rows = np.random.default_rng(self.seed), max(1, CHUNK // samples)
        sizes = [min(rows, swaps - start) for start in range(0, swaps, rows)]
        count = self.view.units.count
        permuted = [differences(random.integers(0, 2, size=(size, count)).astype(bool)) for size in sizes]
        return differences(np.ones((1, count), dtype=bool))[0], np.concatenate(permuted)


def _of_joined(entry: Metric, runs: Sequence[AnyPredictions]) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Return a metric of curves of all these predictions as a function of weights, (S, N), and their number N."""
    if isinstance(runs[0], TargetPredictions):
        targets, values = (np.concatenate([getattr(run, name) for run in runs]) for name in ("targets", "values"))
        known = ~np.isnan(targets)

        def of_targets(weights: np.ndarray) -> np.ndarray:
            columns = [
                entry.function(targets[rows, i] > 0, values[rows, i], weights[:, rows])
                for i, rows in enumerate(known.T)
            ]
            return np.stack(columns, axis=-1)

        return of_targets, len(targets)
    p, labels = (np.concatenate([getattr(run, name) for run in runs]) for name in ("probabilities", "labels"))
    return lambda weights: np.asarray(entry.function(p, labels, weights)), len(labels)


def _correct(pairs: Sequence[MethodPair]) -> tuple[MethodPair, ...]:
    """Correct each overall metric's p for the number of pairs."""
    corrected = {key: holm(np.array([pair.overall[key].p for pair in pairs])) for key in pairs[0].overall}
    return tuple(
        replace(
            pair,
            overall={key: replace(found, p_holm=float(corrected[key][i])) for key, found in pair.overall.items()},
        )
        for i, pair in enumerate(pairs)
    )
