"""What a run folder says of its model, gathered into one dict."""

from typing import Any

import numpy as np

from evenface import reporting
from evenface.cards.limits import INTENDED, NOT_INTENDED, STATEMENT, limits_of
from evenface.data.attributes import attributes_of, groups_of
from evenface.data.sources import licence
from evenface.evaluation.fitted import Calibration
from evenface.evaluation.intervals import Estimate, units_of
from evenface.evaluation.subgroups import Subgroup, at_least, subgroups
from evenface.evaluation.summary import metrics_of
from evenface.imbalance import factor
from evenface.recipes import Recipe
from evenface.recipes.schema import MethodSettings
from evenface.runs import METRICS, Run

OVERALL = ("balanced_accuracy", "accuracy", "macro_f1", "log_loss", "ece")
BY_CLASS = ("recall", "precision", "f1")
KINDS = {
    "official": "as the authors of the data divide it",
    "holdout": "a share of {test:.0%} was held out to test",
    "kfold": "part {fold} of {folds} was held out to test",
    "leave-one-out": "one person, number {fold} in order, was left out to test",
}


def card_of(run: Run) -> dict[str, Any]:
    """Gather what is known of a run's model.

    Parameters
    ----------
    run : Run
        One that has ended.

    Returns
    -------
    dict
        Can be written as JSON. ``name``, ``recipe``, ``about``, ``paper``, ``deviations``, ``evenface``,
        ``statement``, ``precision``; ``task`` (``classes``, ``ordered``, ``input``), ``network`` (``said``,
        ``licence``), ``data`` (``said``, ``licence``, ``notes``), ``protocol`` (``said``, ``sides``, ``warnings``),
        ``imbalance`` (``counts``, ``ratio``), ``treatment`` (sentences), ``results`` (``unit``, ``units``, ``samples``,
        ``level``, ``overall``, ``per_class``, perhaps ``levels`` and ``by_clip``), ``subgroups`` (for each attribute),
        ``calibration`` or None, and the sentences of ``limits``, ``intended`` and ``not_intended``. Figures have
        ``value``, ``low``, ``high``.

    Notes
    -----
    Every figure is of the test samples and comes from the stored predictions: from ``metrics.json`` where the run has
    been evaluated, else by the same function.
    """
    facts, recipe = run.facts, run.recipe
    result = run.metrics if (run.folder / METRICS).is_file() else metrics_of(run.predictions)
    said = reporting.facts([run])
    card: dict[str, Any] = {
        "name": reporting.title(run),
        "recipe": recipe.name,
        "about": recipe.about,
        "paper": recipe.paper,
        "deviations": [deviation.text for deviation in recipe.deviations],
        "evenface": facts["environment"]["evenface"],
        "statement": STATEMENT,
        "task": {
            "classes": list(facts["classes"]),
            "ordered": run.predictions.ordered,
            "input": facts.get("content", "stills"),
        },
        "network": {"said": said["network"], "licence": _weights(recipe)},
        "precision": said["precision"],
        "data": {"said": said["data"], "licence": _licences(run), "notes": list(facts["notes"])},
        "protocol": _protocol(run),
        "imbalance": _imbalance(run),
        "treatment": _treatment(recipe),
        "results": _results(result),
        "subgroups": _subgroups(run),
        "calibration": _calibration(run),
        "intended": list(INTENDED),
        "not_intended": list(NOT_INTENDED),
    }
    return card | {"limits": limits_of(card, result)}


def _licences(run: Run) -> str:
    """Say the terms of the data that was learnt from, and of that which was tested on where it is another."""
    names = [run.recipe.data.source]
    if other := run.facts.get("on"):
        names.append(other["data"]["source"])
    told = {name: licence(name) for name in dict.fromkeys(names)}
    if len(told) == 1:
        return next(iter(told.values()))
    return " ".join(f"{name}: {said}" for name, said in told.items())


def _weights(recipe: Recipe) -> str:
    """Say what the network started from, and under what terms."""
    network = recipe.network
    if network.weights == "random":
        start = "Learnt from this data alone, from random weights: what the terms of the data say of models holds."
    elif network.weights == "hub":
        from evenface.networks.building import licence as of_hub

        start = f"Started from weights of the hub, {of_hub(network.name)}. What the terms of the data say holds too."
    else:
        start = "Started from a file of weights of which evenface does not know the terms."
    if recipe.data.faces.crop == "face" and recipe.data.faces.landmarks == "dlib":
        from evenface.faces.landmarks import TERMS

        start += f" Eyes are levelled by dlib's points. {TERMS}"
    return start


def _protocol(run: Run) -> dict[str, Any]:
    own = run.recipe.protocol
    kind = KINDS[own.kind].format(test=own.test, fold=own.fold + 1, folds=own.folds)
    if "on" in run.facts:
        kind = f"tested on other data than it learnt from; {kind}"
    counts, people = run.facts["counts"], run.facts["people"]
    sides = {side: {"samples": int(sum(counts[side])), "people": people[side]} for side in counts if sum(counts[side])}
    return {"said": kind, "sides": sides, "warnings": reporting.warnings(run)}


def _imbalance(run: Run) -> dict[str, Any]:
    classes, counts = run.facts["classes"], reporting.counts(run)
    train = np.asarray(run.facts["counts"]["train"])
    return {
        "counts": {side: dict(zip(classes, values, strict=True)) for side, values in counts.items()},
        "ratio": factor(train) if train.all() else None,
    }


def _treatment(recipe: Recipe) -> list[str]:
    """Say what was done about uneven classes, a sentence each; nothing is a sentence too."""

    def with_options(part: Any) -> str:
        options = ", ".join(f"{key} {value}" for key, value in part.options.items())
        return f"{part.name} ({options})" if options else str(part.name)

    said = []
    if recipe.method != MethodSettings():
        said.append(f"Method: {with_options(recipe.method)}.")
    said.append(f"Loss: {with_options(recipe.loss)}.")
    if recipe.training.sampling != "none":
        said.append(f"Sampling: {recipe.training.sampling}.")
    if said == ["Loss: cross-entropy."]:
        said.append("Nothing was done about uneven classes: plain training.")
    if recipe.protocol.imbalance is not None:
        said.append("The classes of the data were made uneven on purpose; see the notes on the data.")
    return said


def _results(result: dict[str, Any]) -> dict[str, Any]:
    """Keep of all metrics those that a card shows."""

    def few(found: dict[str, Any]) -> dict[str, Any]:
        return {
            **{key: found[key] for key in ("unit", "units", "samples", "level", "resamples")},
            "overall": {key: found["overall"][key] for key in OVERALL},
        }

    kept = few(result) | {
        "per_class": {
            name: {"support": entry["support"], **{key: entry[key] for key in BY_CLASS}}
            for name, entry in result["per_class"].items()
        }
    }
    if "levels" in result:
        kept["levels"] = result["levels"]
    if "by_clip" in result:
        kept["by_clip"] = few(result["by_clip"])
    return kept


def _subgroups(run: Run) -> list[dict[str, Any]]:
    """Judge the groups of every attribute that the data tells of its people."""
    sides = run.split
    tested = sides[sides["side"] == "test"].set_index("sample")
    predictions = run.predictions
    unit = units_of(predictions).name
    found = []
    for name in attributes_of(tested):
        groups = groups_of(tested[name], name).reindex(predictions.sample)
        judged = subgroups(predictions, list(groups))
        found.append(
            {
                "attribute": name,
                "unit": unit,
                "at_least": at_least(unit),
                "unknown": int(groups.isna().sum()),
                "groups": [_plain(one) for one in judged],
            }
        )
    return found


def _plain(group: Subgroup) -> dict[str, Any]:
    if not group.metrics:
        return {"name": group.name, "absent": list(group.absent)}
    change = {} if group.difference is None else {"difference": _figures(group.difference)}
    return {
        "name": group.name,
        "samples": group.samples,
        "units": group.units,
        "metrics": {name: _figures(estimate) for name, estimate in group.metrics.items()},
        **change,
        "absent": list(group.absent),
    }


def _figures(estimate: Estimate) -> dict[str, float | None]:
    parts = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if part != part else float(part) for name, part in parts.items()}


def _calibration(run: Run) -> dict[str, Any] | None:
    found = Calibration.load(run.folder)
    if found is None:
        return None
    return {
        "temperature": found.temperature,
        "of": found.of,
        "fitted_on": dict(found.fitted_on),
        "prior": dict(zip(found.classes, map(float, found.prior), strict=True)),
        "prior_said": found.prior_said,
    }
