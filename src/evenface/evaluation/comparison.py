"""Compare methods on the same samples: which is better, for which class, and how sure one can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenface.evaluation import metrics
from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, Units, percentile, recall_intervals, units_of
from evenface.evaluation.metric_registry import CLIP, METRICS, Metric, find_metric, reported
from evenface.evaluation.paired_tests import ALPHA, CHUNK, McNemar, holm, mcnemar, swap_differences, swap_p
from evenface.evaluation.predictions import Predictions, align
from evenface.evaluation.summary import RANKING_SAMPLES, Measures, input_of
from evenface.utils.errors import InputError

RECALL = METRICS["recall"]
RANKING_SWAPS, FEWEST_SWAPS = 499, 199
"""Most and fewest swaps for metrics of every sample's probabilities, which cost far more than those of sums."""


@dataclass(frozen=True)
class MethodResult:
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
class MethodPair:
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

    methods: tuple[MethodResult, ...]
    pairs: tuple[MethodPair, ...]
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
    names: Sequence[str] | None = None,
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
    names : sequence of str, optional
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
    interval says how the result would vary over other people, for these trained networks. How it varies over seeds is
    in ``per_run``.

    *p* is a swap (permutation) test: what two methods said about a unit changes hands by a coin, 4,999 times; for
    macro F1 it is applied to the matrices averaged over runs, for areas under curves and the calibration error to the
    predictions of all runs pooled, 499 times at most (199 on many samples). Holm's correction runs over the pairs for
    overall metrics, and over the classes of one pair for recall. A difference is called certain if its interval leaves
    out zero *and* its corrected p is at most 0.05.

    *Clips*: where several samples make a clip and have its label, metrics called ``clip_...`` are of the clips, by
    :meth:`~evenface.evaluation.predictions.Predictions.by_clip`. Metrics of ordered classes are compared where the
    classes of every run are ordered, those of training counts where all runs have the same ones.
    """
    if len(runs) < 2:
        raise InputError(f"a comparison needs two or more methods, found {len(runs)}")
    groups = {name: (given,) if isinstance(given, Predictions) else tuple(given) for name, given in runs.items()}
    groups = align(groups)
    first = next(iter(groups.values()))[0]
    views = _views(groups, resamples, seed, names)
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
    """The samples, or the clips that they make together (prefix ``clip_``): metrics, units, measures of each run."""

    prefix: str
    entries: tuple[Metric, ...]
    units: Units
    runs: dict[str, tuple[Measures, ...]]


def _views(
    groups: Mapping[str, tuple[Predictions, ...]], resamples: int, seed: int, names: Sequence[str] | None
) -> list[_View]:
    """Return the samples, and the clips where several samples make one and have its label."""
    runs = [run for group in groups.values() for run in group]
    sides = {"": groups}
    if runs[0].in_parts and runs[0].mixed is None and all(run.clip is not None for run in runs):
        sides[CLIP] = {name: tuple(run.by_clip() for run in group) for name, group in groups.items()}
    shared = set.intersection(*({entry.name for entry in reported(run)} for run in runs))
    if len({run.training_counts for run in runs}) > 1:
        shared -= {entry.name for entry in METRICS.values() if entry.needs == "training_counts"}
    for name in names or ():
        find_metric(name)
    views = []
    for prefix, side in sides.items():
        units = units_of(next(iter(side.values()))[0])
        samples = len(runs) * len(units.codes)
        measures = {
            name: tuple(Measures(run, units, resamples, seed, samples) for run in group) for name, group in side.items()
        }
        entries = (m for m in METRICS.values() if m.name in shared and (names is None or prefix + m.name in names))
        views.append(_View(prefix, tuple(entries), units, measures))
    return views


def _method(name: str, group: tuple[Predictions, ...], views: Sequence[_View], level: float) -> MethodResult:
    """Values of one method."""
    per_run, overall = {}, {}
    for view in views:
        for entry in view.entries:
            key = view.prefix + entry.name
            per_run[key] = tuple(float(run.value(entry)) for run in view.runs[name])
            low, high = percentile(_drawn(view, name, entry), level)
            overall[key] = Estimate(float(np.mean(per_run[key])), float(low), float(high))
    stack, drawn = _unit_sums(views[0], name, RECALL), _drawn_sums(views[0], name, RECALL)
    value = metrics.recall(stack.sum(axis=0)).mean(axis=0)
    low, high = recall_intervals(stack.mean(axis=1), drawn.mean(axis=1), views[0].units, level)
    recall = tuple(Estimate(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True))
    return MethodResult(name, group, overall, per_run, recall)


def _drawn(view: _View, name: str, entry: Metric) -> np.ndarray:
    """Mean of a metric over the runs of a method, in each draw, shape (R,)."""
    return np.asarray(np.stack([run.drawn(entry) for run in view.runs[name]], axis=-1).mean(axis=-1))


def _unit_sums(view: _View, name: str, entry: Metric) -> np.ndarray:
    """Stack what units add to the input of a metric in each run of a method, shape (U, runs, ...)."""
    return np.stack([run.unit_sums(entry) for run in view.runs[name]], axis=1)


def _drawn_sums(view: _View, name: str, entry: Metric) -> np.ndarray:
    return np.stack([run.drawn_sums(entry) for run in view.runs[name]], axis=1)


def _pair(
    baseline: MethodResult, candidate: MethodResult, views: Sequence[_View], seed: int, level: float
) -> MethodPair:
    """Differences of two methods, all metrics and the recall of each class."""
    names, overall = (baseline.name, candidate.name), {}
    for view in views:
        swaps = _Swaps(view, names, seed)
        for entry in view.entries:
            key = view.prefix + entry.name
            low, high = percentile(_drawn(view, names[1], entry) - _drawn(view, names[0], entry), level)
            p = float(swap_p(*swaps.differences(entry)))
            value = candidate.overall[key].value - baseline.overall[key].value
            overall[key] = Difference(key, value, float(low), float(high), p, p)
    drawn = [metrics.recall(_drawn_sums(views[0], name, RECALL)).mean(axis=1) for name in names]
    low, high = percentile(drawn[1] - drawn[0], level)
    seen, swapped = _Swaps(views[0], names, seed).differences(RECALL)
    p_class = swap_p(seen, swapped)
    columns = zip(baseline.runs[0].classes, seen, low, high, p_class, holm(p_class), strict=True)
    classes = tuple(Difference(name, *(float(value) for value in values)) for name, *values in columns)
    single = len(baseline.runs) == len(candidate.runs) == 1
    right = [method.runs[0].predicted == method.runs[0].labels for method in (baseline, candidate)]
    return MethodPair(baseline.name, candidate.name, overall, classes, mcnemar(*right) if single else None)


class _Swaps:
    """Paired permutation of two methods: each unit's predictions change hands by a coin; equal sums are made once."""

    def __init__(self, view: _View, names: tuple[str, str], seed: int) -> None:
        self.view, self.names, self.seed = view, names, seed
        self._known: dict[str, tuple[tuple[np.ndarray, ...], tuple[np.ndarray, np.ndarray]]] = {}

    def differences(self, entry: Metric) -> tuple[np.ndarray, np.ndarray]:
        """Return candidate minus baseline as seen, shape (...), and after each swap, shape (S, ...)."""
        if entry.needs == "probabilities":
            return self._of_pooled(entry)
        function = self.view.runs[self.names[0]][0].of_sums(entry)
        whole, swapped = self._sums(entry)
        return function(whole[1]) - function(whole[0]), function(swapped[1]) - function(swapped[0])

    def _sums(self, entry: Metric) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, np.ndarray]]:
        """Sum up the inputs of both methods, averaged over runs: whole, and after each swap."""
        key = input_of(entry)
        if key not in self._known:
            means = [_unit_sums(self.view, name, entry).mean(axis=1, dtype=np.float64) for name in self.names]
            whole = tuple(mean.sum(axis=0) for mean in means)
            self._known[key] = whole, swap_differences(means[0], means[1], self.seed)
        return self._known[key]

    def _of_pooled(self, entry: Metric) -> tuple[np.ndarray, np.ndarray]:
        """Differences of a metric of the predictions of all runs of a method together, each run weighing alike."""
        sides = [self.view.runs[name] for name in self.names]
        runs = [run for side in sides for run in side]
        p = np.concatenate([run.predictions.probabilities for run in runs])
        labels = np.concatenate([run.predictions.labels for run in runs])
        codes, n = np.tile(self.view.units.codes, len(runs)), len(self.view.units.codes)
        share = np.repeat([1 / len(side) for side in sides], [n * len(side) for side in sides])
        candidate = np.repeat([False, True], [n * len(side) for side in sides])

        def differences(kept: np.ndarray) -> np.ndarray:
            own = np.where(candidate == kept[:, codes], share, 0.0)
            return np.asarray(entry.function(p, labels, own) - entry.function(p, labels, share - own))

        swaps = min(RANKING_SWAPS, max(FEWEST_SWAPS, RANKING_SAMPLES // len(labels)))
        random, rows = np.random.default_rng(self.seed), max(1, CHUNK // len(labels))
        sizes = [min(rows, swaps - start) for start in range(0, swaps, rows)]
        count = self.view.units.count
        swapped = [differences(random.integers(0, 2, size=(size, count)).astype(bool)) for size in sizes]
        return differences(np.ones((1, count), dtype=bool))[0], np.concatenate(swapped)


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
