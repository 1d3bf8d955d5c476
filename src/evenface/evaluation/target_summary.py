"""Metrics of predicted targets with intervals (``metrics.json``), over all targets and of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evenface.data.targets import BINS, bin_index
from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, Units, draws, percentile, units_of
from evenface.evaluation.metric_registry import METRICS, Metric, applies, reported
from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import over_defined, precision_recall_curve
from evenface.evaluation.summary import Measures, Subgroup, at_least, draw_sums, metrics_of, plain, subgroups
from evenface.evaluation.target_predictions import HALF, AnyPredictions, TargetPredictions, by_clip
from evenface.utils.extras import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

DECIDED_BY = {"multilabel": "target_f1", "regression": "expected_mae"}
"""Metric of each target that a comparison shows by target."""


def moments_of_targets(predictions: TargetPredictions, units: Units) -> np.ndarray:
    """Sum 1, t, z, t², z², tz, abs(z - t), (z - t)² of each target over each unit, shape (U, T, 8).

    True value t and prediction z are taken less the mean of t; missing targets add nothing.
    """
    known = predictions.known
    centre = np.nanmean(predictions.targets, axis=0, where=known) if known.any() else 0.0
    t, z = np.nan_to_num(predictions.targets - centre), predictions.values - centre
    error = z - t
    columns = np.stack([np.ones_like(t), t, z, t**2, z**2, t * z, np.abs(error), error**2], axis=-1)
    sums = np.zeros((units.count, *columns.shape[1:]))
    np.add.at(sums, units.codes, columns * known[..., None])
    return sums


def bins_of_targets(predictions: TargetPredictions, units: Units) -> np.ndarray:
    """Count samples and sum absolute errors by bin of true value, for each unit and target, shape (U, T, B, 2)."""
    sums = np.zeros((units.count, len(predictions.names), BINS, 2))
    for index, (truth, value) in enumerate(zip(predictions.targets.T, predictions.values.T, strict=True)):
        rows = np.flatnonzero(~np.isnan(truth))
        bins = bin_index(truth[rows])
        added = np.stack([np.ones(len(rows)), np.abs(value[rows] - truth[rows])], axis=1)
        np.add.at(sums[:, index], (units.codes[rows], bins), added)
    return sums


def tables_of_targets(predictions: TargetPredictions, units: Units) -> np.ndarray:
    """Count ``[[TN, FP], [FN, TP]]`` of each target for each unit, float32, shape (U, T, 2, 2)."""
    row, column = np.nonzero(predictions.known)
    true, said = predictions.targets[row, column].astype(int), predictions.present[row, column].astype(int)
    stack = np.zeros((units.count, len(predictions.names), 2, 2), dtype=np.float32)
    np.add.at(stack, (units.codes[row], column, true, said), 1)
    return stack


_UNIT_SUMS: dict[str, Callable[[TargetPredictions, Units], np.ndarray]] = {
    "moments": moments_of_targets,
    "value_bins": bins_of_targets,
    "target_tables": tables_of_targets,
}


class TargetMeasures(Measures):
    """Values and bootstrap draws of metrics of targets; the value of a run is the mean over its targets."""

    predictions: TargetPredictions  # type: ignore[assignment]

    def __init__(self, predictions: TargetPredictions, *arguments: Any, **named: Any) -> None:
        super().__init__(cast(Predictions, predictions), *arguments, **named)

    def value(self, entry: Metric) -> np.ndarray:
        """Compute a metric, shape (); of each target, (T,)."""
        return _joined(entry, self.value_each(entry))

    def value_each(self, entry: Metric) -> np.ndarray:
        """Compute a metric of each target, shape (T,), or () of one that joins targets itself."""
        if entry.mean is not None and entry.classwise is not None:
            return np.asarray(entry.mean(self.value_each(METRICS[entry.classwise]), np.empty(0)))
        if entry.needs == "target_scores":
            return self._curves(entry, None)
        whole = Units(np.zeros(len(self.predictions), dtype=np.int64), 1, "samples")
        return np.asarray(entry.function(_UNIT_SUMS[entry.needs](self.predictions, whole)[0]))

    def drawn(self, entry: Metric) -> np.ndarray:
        """Compute a metric in each draw, shape (R,); of each target, (R, T)."""
        return _joined(entry, self.drawn_each(entry))

    def drawn_each(self, entry: Metric) -> np.ndarray:
        """Compute a metric of each target in each draw, shape (R, T)."""
        if entry.mean is not None and entry.classwise is not None:
            return np.asarray(entry.mean(self.drawn_each(METRICS[entry.classwise]), np.empty(0)))
        if entry.name not in self._drawn:
            self._drawn[entry.name] = (
                np.concatenate([self._curves(entry, weights) for weights in self._weights()])
                if entry.needs == "target_scores"
                else np.asarray(entry.function(self.drawn_sums(entry)))
            )
        return self._drawn[entry.name]

    def estimates_each(self, entry: Metric, level: float = LEVEL) -> list[Estimate]:
        """Compute a metric of each target with its interval."""
        values = self.value_each(entry)
        bounds = percentile(self.drawn_each(entry), level)
        low, high = (np.broadcast_to(bound, values.shape) for bound in bounds)
        return [Estimate(*map(float, numbers)) for numbers in zip(values, low, high, strict=True)]

    def unit_sums(self, entry: Metric) -> np.ndarray:
        """Compute what each unit adds to the input of a metric, shape (U, T, ...)."""
        if entry.needs not in self._unit_sums:
            self._unit_sums[entry.needs] = _UNIT_SUMS[entry.needs](self.predictions, self.units)
        return self._unit_sums[entry.needs]

    def _weights(self) -> Iterator[np.ndarray]:
        """Yield the weights of the samples in each draw, (r, N); first none, so that there is something to join."""
        yield np.empty((0, len(self.predictions)))
        for chunk in draws(self.units.count, self._few, self.seed, width=len(self.predictions)):
            yield chunk[:, self.units.codes]

    def _curves(self, entry: Metric, weights: np.ndarray | None) -> np.ndarray:
        """Compute a metric of scores of each target, over the samples whose target is known."""
        p = self.predictions
        values = []
        for index, rows in enumerate(p.known.T):
            present = p.targets[rows, index] > 0
            chosen = None if weights is None else weights[:, rows]
            values.append(entry.function(present, p.values[rows, index], chosen))
        return np.stack(values, axis=-1)


def over_each_target(entry: Metric) -> bool:
    """Return whether the function of a metric has a value for each target, which a run's value is the mean of."""
    return entry.per_class or entry.needs in ("moments", "value_bins")


def _joined(entry: Metric, values: np.ndarray) -> np.ndarray:
    """Average over targets what is one value of a run but computed of each."""
    means = not entry.per_class and over_each_target(entry)
    return np.asarray(over_defined(values, values)) if means else values


def measures_of(predictions: AnyPredictions, *arguments: Any) -> Measures:
    """Return the measures of predictions of classes, or of targets; arguments as of :class:`Measures`."""
    if isinstance(predictions, TargetPredictions):
        return TargetMeasures(predictions, *arguments)
    return Measures(predictions, *arguments)


def target_metrics_of(
    predictions: TargetPredictions, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Any]:
    """Compute every metric of the task and its interval.

    Parameters
    ----------
    predictions : TargetPredictions
        Predictions of one run.
    seed, resamples, level
        As of :func:`~evenface.evaluation.summary.metrics_of`.

    Returns
    -------
    dict
        ``task``, ``unit``, ``units``, ``samples``, ``seed``, ``resamples``, ``level``; ``overall`` (metric to value,
        low, high: means over the targets); ``per_target`` (target to ``known``, ``support`` and such metrics);
        ``per_subject`` of a regression (metric to mean and standard deviation over the people that have it); and
        ``by_clip``, all of this of the clips, where several samples make a clip with the same targets.
    """
    measures = TargetMeasures(predictions, units_of(predictions), resamples, seed)
    scalars, each = reported(predictions), reported(predictions, per_class=True)
    shown = each if predictions.task == "multilabel" else scalars
    draw_sums([measures], [*scalars, *each])
    columns = {entry.name: measures.estimates_each(entry, level) for entry in shown}
    clips = by_clip(predictions)
    return {
        "task": predictions.task,
        "unit": measures.units.name,
        "units": measures.units.count,
        "samples": len(predictions),
        "seed": seed,
        "resamples": resamples,
        "level": level,
        "overall": {entry.name: plain(measures.estimates(entry, level)[0]) for entry in scalars},
        "per_target": {
            name: {
                "known": int(predictions.known[:, i].sum()),
                "support": int(predictions.support[i]),
                **({} if predictions.thresholds is None else {"threshold": predictions.thresholds[i]}),
                **{key: plain(column[i]) for key, column in columns.items()},
            }
            for i, name in enumerate(predictions.names)
        },
        **({} if predictions.subject is None else {"per_subject": per_subject(predictions, scalars)}),
        **({} if clips is None else {"by_clip": target_metrics_of(clips, seed, resamples, level)}),
    }


def per_subject(predictions: TargetPredictions, entries: list[Metric]) -> dict[str, dict[str, Any]]:
    """Compute metrics within each subject: number of subjects that have it, mean and standard deviation over them."""
    subjects = np.asarray(predictions.subject).astype(str)
    values: dict[str, list[float]] = {entry.name: [] for entry in entries}
    for name in np.unique(subjects):
        own = TargetMeasures(predictions.take(subjects == name), None, 0)
        for entry in entries:
            values[entry.name].append(float(own.value(entry)))
    result = {}
    for name, numbers in values.items():
        known = np.array(numbers)[~np.isnan(numbers)]
        spread = float(known.std(ddof=1)) if len(known) > 1 else None
        result[name] = {"people": len(known), "mean": float(known.mean()) if len(known) else None, "sd": spread}
    return result


def subgroups_of(
    predictions: AnyPredictions, groups: Sequence[object], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Subgroup]:
    """Compute every metric of each group; see :func:`~evenface.evaluation.summary.subgroups`.

    Of targets no difference from the others is computed.
    """
    if not isinstance(predictions, TargetPredictions):
        return subgroups(predictions, groups, seed=seed, resamples=resamples)
    names = pd.Series(list(groups), dtype="string")
    results = []
    for name in sorted(names.dropna().unique()):
        own = predictions.take((names == name).fillna(False).to_numpy(dtype=bool))
        units = units_of(own)
        group = Subgroup(str(name), len(own), units.count)
        if units.count >= at_least(units.name):
            measures = TargetMeasures(own, units, resamples, seed)
            group = replace(group, metrics={entry.name: measures.estimates(entry)[0] for entry in reported(own)})
        results.append(group)
    return results


def measured_targets(name: str, predictions: TargetPredictions) -> float:
    """Compute a metric of a run of targets by its name; NaN where the task does not have it."""
    entry = METRICS.get(name)
    if entry is None or entry not in reported(predictions):
        return float("nan")
    return float(TargetMeasures(predictions, None, 0).value(entry))


def measured_targets_each(name: str, predictions: TargetPredictions) -> np.ndarray:
    """Compute a metric of each target by its name, shape (T,); NaN where the task does not have it."""
    entry, shape = METRICS.get(name), len(predictions.names)
    if entry is None or not applies(entry, predictions):
        return np.full(shape, np.nan)
    return np.broadcast_to(TargetMeasures(predictions, None, 0).value_each(entry), shape)


def compute_metrics(
    predictions: AnyPredictions, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Any]:
    """Compute every metric of classes or of targets: the content of ``metrics.json``."""
    if isinstance(predictions, TargetPredictions):
        return target_metrics_of(predictions, seed, resamples, level)
    return metrics_of(predictions, seed, resamples, level)


def best_thresholds(predictions: TargetPredictions) -> tuple[float, ...]:
    """Return the probability from which predicting each target gives the highest F1; 0.5 where it is never present.

    Of equally good thresholds the one in the middle between two neighbouring probabilities is taken.
    """
    chosen = []
    for truth, score in zip(predictions.targets.T, predictions.values.T, strict=True):
        known = ~np.isnan(truth)
        curve = precision_recall_curve(truth[known] > 0, score[known])
        if not (truth[known] > 0).any():
            chosen.append(HALF)
            continue
        f1 = np.nan_to_num(divide(2 * curve.precision * curve.recall, curve.precision + curve.recall))
        best = int(f1.argmax())
        below = curve.threshold[best + 1] if best + 1 < len(f1) else 0.0
        chosen.append(float((curve.threshold[best] + below) / 2))
    return tuple(chosen)
