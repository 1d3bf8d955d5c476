"""Metrics by name, all metrics of a run with intervals (``metrics.json``), and metrics of subgroups."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    Estimate,
    Units,
    draws,
    percentile,
    recall_intervals,
    resample_each,
    unit_matrices,
    unit_moments,
    unit_tables,
    unit_value_bins,
    units_of,
)
from evenface.evaluation.metric_registry import CLIP, METRICS, Metric, find_metric, reported
from evenface.evaluation.metrics import confusion_matrix, divide, mean_over, recall
from evenface.evaluation.predictions import Predictions
from evenface.utils.extras import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

CURVE_RESAMPLES, FEWEST_RESAMPLES = 400, 100
"""Most and fewest draws of areas under curves and calibration errors, which cost far more than those of sums."""
CURVE_SAMPLES = 2_000_000
"""Samples over all such draws beyond which there are fewer than the most."""

_UNIT_SUMS: dict[str, Callable[[Predictions, Units], np.ndarray]] = {
    "confusion": unit_matrices,
    "levels": unit_matrices,
    "training_counts": unit_matrices,
    "moments": unit_moments,
    "value_bins": unit_value_bins,
    "one_vs_rest": unit_tables,
}
"""Input of a metric to the function that computes each unit's contribution to it."""


class Measures:
    """Values and bootstrap draws of metrics, of one run's predictions; what several metrics need is computed once."""

    def __init__(
        self,
        predictions: Predictions,
        units: Units | None = None,
        resamples: int = RESAMPLES,
        seed: int = 0,
        curve_resamples: int | None = None,
    ) -> None:
        self.predictions, self.resamples, self.seed = predictions, resamples, seed
        few = max(FEWEST_RESAMPLES, CURVE_SAMPLES // len(predictions)) if curve_resamples is None else curve_resamples
        self._few = min(resamples, CURVE_RESAMPLES, few)
        self.units = units_of(predictions) if units is None else units
        self._unit_sums: dict[str, np.ndarray] = {}
        self._drawn_sums: dict[str, np.ndarray] = {}
        self._drawn: dict[str, np.ndarray] = {}

    @cached_property
    def confusion(self) -> np.ndarray:
        """The confusion matrix, int64, shape (C, C)."""
        return confusion_matrix(self.predictions.labels, self.predictions.predicted, len(self.predictions.classes))

    def value(self, entry: Metric) -> np.ndarray:
        """Compute a metric, shape () or (C,)."""
        p, labels = self.predictions.probabilities, self.predictions.labels
        if entry.needs == "losses":
            return np.asarray(entry.function(p, labels).mean())
        if entry.needs == "probabilities":
            return np.asarray(entry.function(p, labels))
        if input_of(entry) == "confusion":
            return np.asarray(self.of_sums(entry)(self.confusion))
        whole = Units(np.zeros(len(self.predictions), dtype=np.int64), 1, "samples")
        return np.asarray(self.of_sums(entry)(_UNIT_SUMS[entry.needs](self.predictions, whole)[0]))

    def drawn(self, entry: Metric) -> np.ndarray:
        """Compute a metric in each draw, shape (R,) or (R, C); no draws where its interval is none."""
        return np.empty(0) if entry.interval == "none" else self._draw(entry)

    def of_sums(self, entry: Metric) -> Callable[[np.ndarray], np.ndarray]:
        """Return the metric as a function of what units add up to, such as confusion matrices."""
        if entry.needs == "losses":
            column = 1 + list(self._loss_names).index(entry.name)
            return lambda sums: divide(sums[..., column], sums[..., 0])
        if entry.needs == "levels":
            return partial(entry.function, levels=self.predictions.levels)
        if entry.needs == "training_counts":
            return partial(entry.function, training_counts=np.array(self.predictions.training_counts))
        return entry.function

    def unit_sums(self, entry: Metric) -> np.ndarray:
        """Compute what each unit adds to the input of a metric, shape (U, ...)."""
        key = input_of(entry)
        if key not in self._unit_sums:
            self._unit_sums[key] = (
                self._losses() if key == "losses" else _UNIT_SUMS[entry.needs](self.predictions, self.units)
            )
        return self._unit_sums[key]

    def drawn_sums(self, entry: Metric) -> np.ndarray:
        """Add up the units of each draw, shape (R, ...)."""
        if input_of(entry) not in self._drawn_sums:
            draw_sums([self], [entry])
        return self._drawn_sums[input_of(entry)]

    def estimates(self, entry: Metric, level: float = LEVEL) -> list[Estimate]:
        """Compute a metric with its interval, of each class; a metric of one value gives one estimate."""
        values = np.atleast_1d(self.value(entry))
        if entry.interval == "proportion":
            low, high = recall_intervals(self.unit_sums(entry), self.drawn_sums(entry), self.units, level)
        else:
            low, high = (np.atleast_1d(bound) for bound in percentile(self.drawn(entry), level))
        low, high = np.broadcast_to(low, values.shape), np.broadcast_to(high, values.shape)
        return [Estimate(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]

    @cached_property
    def _loss_names(self) -> tuple[str, ...]:
        return tuple(name for name, entry in METRICS.items() if entry.needs == "losses")

    def _losses(self) -> np.ndarray:
        """Count the samples of each unit and sum their losses, each metric in a column, shape (U, 1 + L)."""
        p, labels = self.predictions.probabilities, self.predictions.labels
        losses = [METRICS[name].function(p, labels) for name in self._loss_names]
        sums = np.zeros((self.units.count, 1 + len(losses)))
        np.add.at(sums, self.units.codes, np.stack([np.ones(len(labels)), *losses], axis=1))
        return sums

    def _draw(self, entry: Metric) -> np.ndarray:
        if entry.name not in self._drawn:
            p = self.predictions.probabilities
            curves = entry.needs == "probabilities"
            if entry.mean is not None and entry.classwise is not None:  # values of each class are computed once
                each = self._draw(METRICS[entry.classwise])
                self._drawn[entry.name] = np.asarray(entry.mean(each, p if curves else self.drawn_sums(entry)))
            elif curves:
                self._drawn[entry.name] = self._draw_curves(entry)
            else:
                self._drawn[entry.name] = np.asarray(self.of_sums(entry)(self.drawn_sums(entry)))
        return self._drawn[entry.name]

    def _draw_curves(self, entry: Metric) -> np.ndarray:
        """Compute a metric of weighted probabilities, each draw being a set of weights of the samples."""
        p, labels = self.predictions.probabilities, self.predictions.labels
        weights = draws(self.units.count, self._few, self.seed, width=len(labels))
        shape = (0, len(self.predictions.classes)) if entry.per_class else (0,)
        return np.concatenate(
            [np.empty(shape), *(entry.function(p, labels, chunk[:, self.units.codes]) for chunk in weights)]
        )


def draw_sums(runs: Sequence[Measures], entries: Sequence[Metric]) -> None:
    """Draw the units once for several runs of the same samples and for the inputs of all these metrics."""
    inputs = {input_of(entry): entry for entry in entries if entry.needs not in ("probabilities", "target_scores")}
    wanted = [(run, key, entry) for run in runs for key, entry in inputs.items()]
    sums = [run.unit_sums(entry) for run, _, entry in wanted]
    drawn = resample_each(sums, runs[0].resamples, runs[0].seed) if sums else []
    for (run, key, _), values in zip(wanted, drawn, strict=True):
        run._drawn_sums[key] = values


def input_of(entry: Metric) -> str:
    """Name the sums over units that a metric is a function of; metrics of one name share them."""
    return "confusion" if _UNIT_SUMS.get(entry.needs) is unit_matrices else entry.needs


def measured(name: str, predictions: Predictions) -> float:
    """Compute a metric by its name.

    Parameters
    ----------
    name : str
        A registered metric of one value. With ``clip_`` before it, the samples of each clip are joined first, by
        :meth:`~evenface.evaluation.predictions.Predictions.by_clip`.
    predictions : Predictions
        Predictions of one run.

    Returns
    -------
    float
        NaN where the metric is not defined: of a continuous output where classes are not ordered, of training counts
        where they are not known, of clips where they are not known or samples of one differ in label or subject.

    Examples
    --------
    >>> labels, p = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    >>> given = Predictions(np.array(["a", "b", "c"]), None, labels, p, ("calm", "pain"), np.array(["A", "B", "B"]))
    >>> round(measured("accuracy", given), 3), measured("clip_accuracy", given)
    (0.667, 0.5)
    """
    if name.startswith(CLIP):
        if predictions.clip is None or predictions.mixed is not None:
            return float("nan")
        return measured(name.removeprefix(CLIP), predictions.by_clip())
    return float(_value(name, predictions))


def measured_each(name: str, predictions: Predictions) -> np.ndarray:
    """Compute a metric of each class by its name, shape (C,); NaN where it is not defined."""
    return np.broadcast_to(_value(name, predictions), len(predictions.classes))


def _value(name: str, predictions: Predictions) -> np.ndarray:
    entry = find_metric(name)
    # studies may request more than reports have: one-vs-rest without scores, distances of unordered classes
    lacking = dict.fromkeys(("moments", "value_bins"), not predictions.ordered)
    lacking |= {"training_counts": predictions.training_counts is None, "run": True}
    lacking |= dict.fromkeys(("target_tables", "target_scores"), True)
    if lacking.get(entry.needs, False):
        return np.asarray(np.nan)
    return Measures(predictions, resamples=0).value(entry)


def metrics_of(
    predictions: Predictions, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Any]:
    """Compute every registered metric and its interval.

    Parameters
    ----------
    predictions : Predictions
        Predictions of one run.
    seed : int, default=0
        Seed of the resampling; the same predictions and seed give the same numbers.
    resamples : int, default=2000
        Bootstrap draws, 0 for values without intervals; areas under curves, which cost far more, use the first 400
        at most (100 on 20,000 samples and more).
    level : float, default=0.95
        Confidence level.

    Returns
    -------
    dict
        ``unit``, ``units``, ``samples``, ``seed``, ``resamples``, ``level``; ``overall`` (metric to value, low,
        high); ``per_class`` (class to ``support`` and such metrics); ``confusion`` (rows: true class);
        ``absent`` (classes not in the truth); ``never_predicted`` (classes in the truth but never predicted).
        Undefined values are None. Of ordered classes also ``levels`` (metric to value, low, high). Where there are
        scores also ``detectors``: ``mean`` and ``per_class``. Where several
        samples make a clip also ``by_clip``, all of this of the clips; or ``mixed``, the first clip whose samples
        differ in label or subject, so that there is no result by clip.
    """
    measures = Measures(predictions, None, resamples, seed)
    scalars, classwise = reported(predictions), reported(predictions, per_class=True)
    draw_sums([measures], [*scalars, *classwise])
    further: dict[str, Any] = {}
    if predictions.ordered:
        further["levels"] = _scalars(measures, [m for m in scalars if m.task != "classification"], level)
    if predictions.scores is not None:
        means = [m for m in scalars if m.needs == "one_vs_rest"]
        names = {m.mean_of: m.name for m in means if m.mean_of}
        each = _classwise(measures, [m for m in classwise if m.needs == "one_vs_rest"], level)
        further["detectors"] = {
            "mean": _scalars(measures, means, level),
            "per_class": {
                cls: {names.get(key, key): value for key, value in entries.items()} for cls, entries in each.items()
            },
        }
    if predictions.in_parts and predictions.mixed is None:
        further["by_clip"] = metrics_of(predictions.by_clip(), seed, resamples, level)
    elif predictions.in_parts:
        further["mixed"] = predictions.mixed
    whole = measures.confusion
    overall = [m for m in scalars if m.task == "classification" and m.needs != "one_vs_rest"]
    by_class = _classwise(measures, [m for m in classwise if m.needs != "one_vs_rest"], level)
    present, guessed = whole.sum(axis=1) > 0, whole.sum(axis=0) > 0
    return {
        "unit": measures.units.name,
        "units": measures.units.count,
        "samples": len(predictions),
        "seed": seed,
        "resamples": resamples,
        "level": level,
        "overall": _scalars(measures, overall, level),
        "per_class": {
            name: {"support": int(whole[i].sum())} | by_class[name] for i, name in enumerate(predictions.classes)
        },
        "confusion": whole.tolist(),
        "absent": [name for name, there in zip(predictions.classes, present, strict=True) if not there],
        "never_predicted": [
            name
            for name, there, chosen in zip(predictions.classes, present, guessed, strict=True)
            if there and not chosen
        ],
        **further,
    }


def _scalars(measures: Measures, entries: Sequence[Metric], level: float) -> dict[str, dict[str, float | None]]:
    return {entry.name: plain(measures.estimates(entry, level)[0]) for entry in entries}


def _classwise(
    measures: Measures, entries: Sequence[Metric], level: float
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Map each class to the metrics of each class."""
    columns = {entry.name: measures.estimates(entry, level) for entry in entries}
    return {
        name: {key: plain(column[i]) for key, column in columns.items()}
        for i, name in enumerate(measures.predictions.classes)
    }


def plain(estimate: Estimate) -> dict[str, float | None]:
    """Return value and interval as in ``metrics.json``; None where not defined."""
    parts = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if math.isnan(part) else part for name, part in parts.items()}


RECALL = METRICS["recall"]

PEOPLE_AT_LEAST = 10
"""Fewest people of a subgroup with metrics: below, intervals are too narrow and people could be identified."""
SAMPLES_AT_LEAST = 100
"""Fewest samples, or clips, of a subgroup where people are not known."""


@dataclass(frozen=True)
class Subgroup:
    """Metrics of one group."""

    name: str
    samples: int
    units: int
    metrics: dict[str, Estimate] = field(default_factory=dict)
    difference: Estimate | None = None
    absent: tuple[str, ...] = ()


def at_least(unit: str) -> int:
    """Return the fewest units of a subgroup with metrics."""
    return PEOPLE_AT_LEAST if unit == "people" else SAMPLES_AT_LEAST


def subgroups(
    predictions: Predictions, groups: Sequence[object], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Subgroup]:
    """Compute every metric of each group, and compare its mean recall with that of all other samples.

    Parameters
    ----------
    predictions : Predictions
        Of N samples.
    groups : sequence of N str or missing
        Group of each sample; samples without a group are excluded.
    seed, resamples : int
        Of the intervals, which resample people where they are known, else clips, else samples.

    Returns
    -------
    list of Subgroup
        Sorted by name. Groups of fewer than 10 people (100 samples, where people are not known) have no figures.
    """
    names = pd.Series(list(groups), dtype="string")
    known = names.notna().to_numpy(dtype=bool)
    results = []
    for name in sorted(names.dropna().unique()):
        own = (names == name).fillna(False).to_numpy(dtype=bool)
        results.append(_subgroup(str(name), predictions.take(own), predictions, known & ~own, seed, resamples))
    return results


def _subgroup(
    name: str, own: Predictions, predictions: Predictions, others: np.ndarray, seed: int, resamples: int
) -> Subgroup:
    units = units_of(own)
    result = Subgroup(name, len(own), units.count)
    if units.count < at_least(units.name):
        return result
    measures = Measures(own, units, resamples, seed)
    estimates = {entry.name: measures.estimates(entry)[0] for entry in reported(own)}
    absent = tuple(label for label, n in zip(own.classes, own.support, strict=True) if not n)
    difference = None
    if others.any():
        rest = predictions.take(others)
        rest_units = units_of(rest)
        if rest_units.count >= at_least(rest_units.name):
            difference = _difference(measures, Measures(rest, rest_units, resamples, seed + 1))
    return replace(result, difference=difference, absent=absent, metrics=estimates)


def _difference(own: Measures, rest: Measures) -> Estimate | None:
    """Compare mean recall over the classes that both have; None where there is none."""
    shared = (own.confusion.sum(axis=1) > 0) & (rest.confusion.sum(axis=1) > 0)
    if not shared.any():
        return None
    value = _mean_recall(own.confusion, shared) - _mean_recall(rest.confusion, shared)
    drawn = _mean_recall(own.drawn_sums(RECALL), shared) - _mean_recall(rest.drawn_sums(RECALL), shared)
    return Estimate(float(value), *map(float, percentile(drawn, LEVEL)))


def _mean_recall(matrices: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Average recall over the given classes, skipping those absent from a draw: (..., C, C) -> (...)."""
    values = recall(matrices)[..., shared]
    return mean_over(values, np.ones(values.shape[-1]))
