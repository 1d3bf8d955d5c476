"""Entry of the metric registry: name, label, function, input, direction and range of a metric."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from evenface.evaluation.predictions import Predictions

Needs = Literal[
    "confusion",
    "levels",
    "training_counts",
    "moments",
    "value_bins",
    "one_vs_rest",
    "losses",
    "probabilities",
    "target_tables",
    "target_scores",
    "run",
]
MetricTask = Literal["classification", "ordinal", "regression", "multilabel"]
NEEDS: dict[str, str] = {
    "confusion": "the confusion matrix, ``f(confusion)``, ``(..., C, C) -> (...)``",
    "levels": "the confusion matrix and the values of the ordered classes, ``f(confusion, levels)``",
    "training_counts": "the confusion matrix and the training samples per class, ``f(confusion, training_counts)``",
    "moments": "sums over true value and continuous output, ``f(moments)``, ``(..., 8) -> (...)``",
    "value_bins": "samples and absolute errors by bin of true value, ``f(bins)``, ``(..., B, 2) -> (...)``",
    "one_vs_rest": "the 2 x 2 table of each class's own score at 0.5, ``f(tables)``, ``(..., C, 2, 2) -> (...)``",
    "losses": "probabilities, one value per sample that is averaged, ``f(probabilities, labels)``, ``(N, C) -> (N,)``",
    "probabilities": "probabilities, ``f(probabilities, labels, weights)`` with weights ``(..., N)``, ``-> (...)``",
    "target_tables": "the 2 x 2 table of each target at its threshold, ``f(tables)``, ``(..., T, 2, 2) -> (..., T)``",
    "target_scores": "one target, ``f(present, score, weights)`` with weights ``(..., N)``, ``-> (...)``",
    "run": "``run.json``, ``f(facts)``; for studies alone",
}
"""What a metric is computed from, and the function that it then is. A metric of each class gives ``(..., C)``."""
CLIP = "clip_"
"""Prefix of a metric that is computed after the samples of each clip are averaged."""

Function = Callable[..., Any]
Mean = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Metric:
    """A registered metric; see :func:`metric` for the fields that are not here."""

    name: str
    label: str
    function: Function
    task: MetricTask
    higher_is_better: bool
    range: tuple[float, float]
    needs: Needs
    per_class: bool
    interval: Literal["bootstrap", "proportion", "none"]
    symmetric: bool
    mean_of: str | None
    aliases: tuple[str, ...]
    applies: "Callable[[Predictions], bool] | None"
    summary: str
    classwise: str | None = None
    """Metric of each class that this one averages by ``mean``."""
    mean: Mean | None = None


METRICS: dict[str, Metric] = {}
"""Every metric by name. Read it through :mod:`evenface.evaluation.metric_registry`, which loads all of them."""
RENAMED: dict[str, str] = {}
"""Former name of a metric to its name."""


def metric(
    name: str,
    *,
    label: str,
    higher_is_better: bool,
    range: tuple[float, float],  # noqa: A002
    task: MetricTask = "classification",
    needs: Needs = "confusion",
    per_class: bool = False,
    averages: Mapping[str, Mean] | None = None,
    mean_of: str | None = None,
    interval: Literal["bootstrap", "proportion", "none"] = "bootstrap",
    symmetric: bool = True,
    aliases: tuple[str, ...] = (),
    formerly: str | None = None,
    applies: "Callable[[Predictions], bool] | None" = None,
) -> Callable[[Function], Function]:
    """Register a metric: reports, comparisons, studies, ``evenface stats``, ``metrics.json`` and the docs then have it.

    Parameters
    ----------
    name : str
        Its name in recipes, studies and files. Must not begin with ``clip_``.
    label : str
        Its name for readers, written as in the middle of a sentence.
    higher_is_better : bool
        Whether a higher value is better.
    range : tuple of two float
        Smallest and largest value; infinite where there is no bound.
    task : {"classification", "ordinal", "regression", "multilabel"}
        Ordinal and regression metrics are defined where the classes are ordered, those of regression also for
        continuous targets, where they are computed for each.
    needs : str
        A key of :data:`NEEDS`: what the function is given.
    per_class : bool, default=False
        Whether the function returns a value for each class, in the last axis.
    averages : mapping of str to callable, optional
        Also register the means of a metric of each class: prefix (``"macro"``, ``"weighted"``) to
        ``mean(values, input)``, such as :func:`~evenface.evaluation.metrics.macro`.
    mean_of : str, optional
        Metric of each class whose macro mean this is.
    interval : {"bootstrap", "proportion", "none"}
        ``proportion`` is the interval of a class's recall, ``none`` gives no interval, as for what resampling biases.
    symmetric : bool, default=True
        Whether the order of the classes does not matter; that of ordinal and regression metrics always does.
    aliases : tuple of str
        Other column names of it, for ``evenface stats``.
    formerly : str, optional
        Name that it had before.
    applies : callable, optional
        Given :class:`~evenface.evaluation.predictions.Predictions`, whether they have it at all; it is left out of
        reports where they have not.

    Raises
    ------
    ValueError
        If the name is taken, or the declaration contradicts itself.

    Examples
    --------
    >>> @metric("hit_rate", label="hit rate", higher_is_better=True, range=(0, 1))
    ... def hit_rate(confusion):
    ...     return confusion.trace(axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))
    >>> METRICS.pop("hit_rate").label
    'hit rate'
    """
    if name.startswith(CLIP):
        raise ValueError(f"metric {name!r}: the prefix {CLIP!r} is reserved for metrics of clips")
    if needs not in NEEDS:
        raise ValueError(f"metric {name!r}: unknown input {needs!r}, known are {', '.join(NEEDS)}")
    if per_class and needs in ("losses", "moments", "run"):
        raise ValueError(f"metric {name!r}: the input {needs!r} gives no value for each class")
    if averages and not per_class:
        raise ValueError(f"metric {name!r}: only a metric of each class has means over classes")

    def register(function: Function) -> Function:
        shared = (task, higher_is_better, (float(range[0]), float(range[1])), needs)
        even = symmetric and task == "classification"
        own = (function, *shared, per_class, interval, even, mean_of, aliases, applies)
        _add(Metric(name, label, *own, _summary(function)), formerly)
        for prefix, mean in (averages or {}).items():
            source = name if prefix == "macro" else None
            derived = (_averaged(function, mean), *shared, False, "bootstrap", even, source, (), applies)
            summary = f"{prefix.capitalize()} mean of `{name}` over the classes present in the truth."
            former = f"{prefix}_{formerly}" if formerly else None
            _add(Metric(f"{prefix}_{name}", f"{prefix} {label}", *derived, summary, name, mean), former)  # type: ignore[arg-type]
        return function

    return register


def _add(entry: Metric, formerly: str | None) -> None:
    old = METRICS.get(entry.name)
    if old is not None and _origin(old.function) != _origin(entry.function):
        raise ValueError(f"duplicate metric {entry.name!r}, defined in {old.function.__module__}")
    METRICS[entry.name] = entry
    if formerly:
        RENAMED[formerly] = entry.name


def _origin(function: Function) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _averaged(function: Function, mean: Mean) -> Function:
    def averaged(values: Any, *rest: Any, **context: Any) -> Any:
        return mean(function(values, *rest, **context), values)

    averaged.__module__, averaged.__qualname__ = function.__module__, f"{function.__qualname__}.{mean.__qualname__}"
    return averaged


def _summary(function: Function) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
