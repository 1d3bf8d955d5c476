"""The model card of a run: what it learnt from, how well it does on whom, and what it is for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evenface.config import Recipe
from evenface.config.recipe import MethodSettings
from evenface.data.attributes import attribute_columns, attribute_groups
from evenface.data.datasets import dataset_licence
from evenface.data.imbalance import imbalance_factor
from evenface.evaluation.bootstrap import Estimate, estimate, units_of
from evenface.evaluation.calibration import Calibration
from evenface.evaluation.comparison import Difference
from evenface.evaluation.formatting import UNITS, listed
from evenface.evaluation.metric_registry import label, lower_note
from evenface.evaluation.subgroups import Subgroup, at_least, subgroups
from evenface.evaluation.summary import metrics_of
from evenface.reporting import summary
from evenface.reporting.page import PageSection
from evenface.reporting.tables import Cell, Table
from evenface.reporting.wording import ALONE, FEW_PEOPLE
from evenface.runs import METRICS, Run

STATEMENT = (
    "This is research software, not a medical device. Inferring emotions of people from their faces at work and in "
    "education is prohibited in the European Union, except for medical or safety reasons (AI Act, Regulation (EU) "
    "2024/1689, Article 5(1)(f)). That concerns models of facial expression, where emotions such as anger or happiness "
    "are inferred from what they say. It does not concern models of pain: recital 18 counts pain and fatigue as "
    "physical states, not as emotions. Nor does it concern the mere detection of apparent expressions or movements, "
    "such as a smile or a raised brow, unless it is used to infer emotions. This is no legal advice."
)
"""Stands in every model card, at the foot of the page and in the description of its interface."""
INTENDED = (
    "Research on how expressions and signs of pain can be told from faces where classes are uneven.",
    "Comparing methods on the same protocol, and repeating a result.",
    "A start for a product whose makers test it on their own people, for their own purpose, under the law that holds.",
)
NOT_INTENDED = (
    "Diagnosis, treatment, or any decision about the care of a patient.",
    "Inferring emotions of people at work or in education.",
    "Decisions about single people: hiring, credit, insurance, policing, migration, proof of a lie.",
    "Watching people who do not know of it or have not agreed; telling who somebody is.",
    "People, cameras or situations unlike those it learnt from, without a test on them.",
)
ALWAYS = (
    "It says what people who labelled such data would have said. What somebody shows is not what somebody feels.",
    "Results hold for people and pictures like those tested on; elsewhere they are mostly worse.",
    "One training run: how much another seed would change is not in the intervals.",
)
RARE = 20
"""Test samples of a class below which its figures are uncertain whatever they are."""


def limits_of(card: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Say what limits follow from a card; ``result`` is what ``metrics_of`` gives."""
    found = list(card["protocol"]["warnings"])
    results = card["results"]
    if any("synthetic" in note for note in card["data"]["notes"]):
        found.append("Learnt from people who were drawn: nothing is known of how it does on real ones.")
    if results["unit"] != "people":
        found.append("Whom the samples show is not known: the same people may have been trained and tested on.")
    elif results["units"] == 1:
        found.append("Tested on one person alone: nothing is known of others.")
    elif results["units"] < FEW_PEOPLE:
        found.append(f"Tested on {results['units']} people only: the intervals are somewhat too narrow.")
    if result["absent"]:
        found.append(f"Not tested on {listed(result['absent'])}: no test sample shows it.")
    rare = [
        f"{name} ({entry['support']})" for name, entry in results["per_class"].items() if 0 < entry["support"] < RARE
    ]
    if rare:
        found.append(f"Few test samples, so little is known of: {listed(rare)}.")
    if result["never_predicted"]:
        found.append(f"It never said {listed(result['never_predicted'])} on the test samples.")
    if not card["subgroups"]:
        found.append("The data does not tell age, sex or origin of people: how it does on groups of them is not known.")
    return [*found, *ALWAYS]


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
    said = summary.facts([run])
    card: dict[str, Any] = {
        "name": summary.title(run),
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
    told = {name: dataset_licence(name) for name in dict.fromkeys(names)}
    if len(told) == 1:
        return next(iter(told.values()))
    return " ".join(f"{name}: {said}" for name, said in told.items())


def _weights(recipe: Recipe) -> str:
    """Say what the network started from, and under what terms."""
    network = recipe.network
    if network.weights == "random":
        start = "Learnt from this data alone, from random weights: what the terms of the data say of models holds."
    elif network.weights == "hub":
        from evenface.models.build import licence as of_hub

        start = f"Started from weights of the hub, {of_hub(network.name)}. What the terms of the data say holds too."
    else:
        start = "Started from a file of weights of which evenface does not know the terms."
    if recipe.data.faces.crop == "face" and recipe.data.faces.landmarks == "dlib":
        from evenface.preprocessing.detect import TERMS

        start += f" Eyes are levelled by dlib's points. {TERMS}"
    return start


def _protocol(run: Run) -> dict[str, Any]:
    own = run.recipe.protocol
    kind = KINDS[own.kind].format(test=own.test, fold=own.fold + 1, folds=own.folds)
    if "on" in run.facts:
        kind = f"tested on other data than it learnt from; {kind}"
    counts, people = run.facts["counts"], run.facts["people"]
    sides = {side: {"samples": int(sum(counts[side])), "people": people[side]} for side in counts if sum(counts[side])}
    return {"said": kind, "sides": sides, "warnings": summary.warnings(run)}


def _imbalance(run: Run) -> dict[str, Any]:
    classes, counts = run.facts["classes"], summary.counts(run)
    train = np.asarray(run.facts["counts"]["train"])
    return {
        "counts": {side: dict(zip(classes, values, strict=True)) for side, values in counts.items()},
        "ratio": imbalance_factor(train) if train.all() else None,
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
    for name in attribute_columns(tested):
        groups = attribute_groups(tested[name], name).reindex(predictions.sample)
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


CARD = "model-card.md"
"""Its file in a run folder."""
COMPARED = "Difference is the mean recall less that of everybody else, over the classes that both show."


def markdown(card: Mapping[str, Any]) -> str:
    """Write a card as Markdown.

    Parameters
    ----------
    card : mapping
        What :func:`evenface.reporting.model_card.card_of` gave, or what came back from JSON.
    """
    results = card["results"]
    parts = [
        f"# Model card: {_plain_text(card['name'])}",
        _plain_text(card["about"]),
        card["statement"],
        "## Model",
        _bullets(_model(card)),
        "## Data",
        _bullets([*_data(card), *card["data"]["notes"]]),
        "## Protocol",
        _bullets([*card["protocol"]["warnings"], *_protocol_lines(card)]),
        "## Imbalance",
        _ratio(card),
        _table(counts_table(card)),
        "What was done about it:",
        _bullets(card["treatment"]),
        "## Results",
        _unit(results),
        _table(overall_table(card)),
        _table(classes_table(card)),
        "## Results by group of people",
        *_groups(card),
        "## Calibration",
        _plain_text(_calibration_lines(card)),
        "## Limits",
        _bullets(card["limits"]),
        "## Intended use",
        _bullets(card["intended"]),
        "## Uses that are not intended",
        _bullets(card["not_intended"]),
        f"Written by evenface {card['evenface']} from the run's stored predictions.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(card: Mapping[str, Any]) -> PageSection:
    """Make the part of a run's report that says what the page does not say elsewhere."""
    told = {
        "model": _model(card),
        "data": _data(card),
        "protocol": _protocol_lines(card),
        "imbalance": [_ratio(card), *card["treatment"]],
        "limits": card["limits"],
        "intended for": card["intended"],
        "not for": card["not_intended"],
    }
    return PageSection(
        "Model card", card["statement"], tables=group_tables(card), folded=group_metrics(card), told=told
    )


def counts_table(card: Mapping[str, Any]) -> Table:
    """Show samples of each class on each side."""
    counts = card["imbalance"]["counts"]
    rows = tuple((name, *(side[name] for side in counts.values())) for name in card["task"]["classes"])
    return Table("card-counts", "Samples of each class", ("class", *counts), rows)


def overall_table(card: Mapping[str, Any]) -> Table:
    """Show the main metrics with intervals; of levels and of clips where there are such."""
    results = card["results"]
    entries = {label(key): entry for key, entry in results["overall"].items()}
    entries |= {label(key): entry for key, entry in results.get("levels", {}).items()}
    if "by_clip" in results:
        entries |= {f"{label(key)} by clip": entry for key, entry in results["by_clip"]["overall"].items()}
    rows = tuple((name, estimate(entry)) for name, entry in entries.items())
    return Table("card-overall", "Metrics", ("metric", "value"), rows)


def classes_table(card: Mapping[str, Any]) -> Table:
    """Show each class's metrics with intervals."""
    found = card["results"]["per_class"]
    keys = ("recall", "precision", "f1")
    rows = tuple((name, entry["support"], *(estimate(entry[key]) for key in keys)) for name, entry in found.items())
    return Table("card-classes", "Classes", ("class", "test samples", *keys), rows)


def group_tables(card: Mapping[str, Any]) -> tuple[Table, ...]:
    """Show how it does on the groups of each attribute; of small groups only that they are too small."""
    return tuple(_group_table(one) for one in card["subgroups"])


def group_metrics(card: Mapping[str, Any]) -> tuple[Table, ...]:
    """Show every metric of the groups of each attribute that are large enough."""
    tables = []
    for attribute in card["subgroups"]:
        groups = [group for group in attribute["groups"] if "metrics" in group]
        names = list(dict.fromkeys(name for group in groups for name in group["metrics"]))
        rows: list[tuple[Cell, ...]] = [
            (label(name), *(estimate(group["metrics"][name]) if name in group["metrics"] else "–" for group in groups))
            for name in names
        ]
        title = f"People by {attribute['attribute'].replace('_', ' ')}, every metric"
        header = ("metric", *(group["name"] for group in groups))
        if rows:
            tables.append(
                Table(f"people-{attribute['attribute']}-metrics", title, header, tuple(rows), lower_note(names))
            )
    return tuple(tables)


def _group_table(given: Mapping[str, Any]) -> Table:
    attribute, unit = given["attribute"].replace("_", " "), given["unit"]
    rows: list[tuple[Cell, ...]] = []
    for one in given["groups"]:
        if "metrics" not in one:
            rows.append((one["name"], f"fewer than {given['at_least']}", "–", "–", "–", "–"))
            continue
        change: Cell = "–"
        if "difference" in one:
            found = estimate(one["difference"])
            change = Difference("", found.value, found.low, found.high, float("nan"), float("nan"))
        accuracies = (estimate(one["metrics"][key]) for key in ("balanced_accuracy", "accuracy"))
        rows.append((one["name"], one["units"], one["samples"], *accuracies, change))
    lacking = [f"{one['name']} shows no {', '.join(one['absent'])}" for one in given["groups"] if one["absent"]]
    unknown = [f"{given['unknown']:,} samples tell no {attribute}"] if given["unknown"] else []
    note = (
        f"Intervals are over {unit}. Groups of fewer than {given['at_least']} {unit} are not shown. {COMPARED} Several "
        "groups are looked at, and none of the intervals is corrected for that."
    )
    note += "".join(f" {one[0].upper() + one[1:]}." for one in (*lacking, *unknown))
    header = (attribute, unit, "samples", "balanced accuracy", "accuracy", "difference")
    return Table(f"people-{given['attribute']}", f"People by {attribute}", header, tuple(rows), note)


def _groups(card: Mapping[str, Any]) -> list[str]:
    if not card["subgroups"]:
        return ["The data does not tell age, sex or origin of people, so nothing can be said."]
    return [_table(table) for table in group_tables(card)]


def _model(card: Mapping[str, Any]) -> list[str]:
    task = card["task"]
    order = ", which are steps of one scale" if task["ordered"] else ""
    lines = [
        f"Tells apart {', '.join(task['classes'])}{order}, from {task['input']}.",
        f"Network: {card['network']['said']}.",
        f"Weights: {card['network']['licence']}",
        *([f"Trained in {card['precision']}."] if "precision" in card else []),  # older cards do not say
        f"Recipe: {card['recipe']}" + (f", after {card['paper']}." if card["paper"] else "."),
    ]
    return [*lines, *(f"Deviation: {said}" for said in card["deviations"])]


def _data(card: Mapping[str, Any]) -> list[str]:
    return [f"Data: {card['data']['said']}.", f"Terms: {card['data']['licence']}"]


def _protocol_lines(card: Mapping[str, Any]) -> list[str]:
    own = card["protocol"]
    lines = [f"Protocol: {own['said']}."]
    for side, found in own["sides"].items():
        number = found["people"]
        people = "people not known" if number is None else "1 person" if number == 1 else f"{number:,} people"
        lines.append(f"{side.capitalize()}: {found['samples']:,} samples, {people}.")
    return lines


def _ratio(card: Mapping[str, Any]) -> str:
    ratio = card["imbalance"]["ratio"]
    if ratio is None:
        return "Some class has no training sample."
    return f"The largest class has {ratio:.1f} times as many training samples as the smallest."


def _unit(results: Mapping[str, Any]) -> str:
    if results["units"] == 1 and results["unit"] != "samples":
        text = f"On {results['samples']:,} test samples. {ALONE.format(UNITS[results['unit']])}"
        return text + " Probabilities are as trained, not calibrated."
    text = (
        f"On {results['samples']:,} test samples of {results['units']:,} {results['unit']}; {results['level']:.0%} "
        f"intervals over {results['unit']}."
    )
    if results["unit"] != "samples":
        text += f" All samples of a {UNITS[results['unit']]} are drawn together."
    return text + " Probabilities are as trained, not calibrated."


def _calibration_lines(card: Mapping[str, Any]) -> str:
    found = card["calibration"]
    if found is None:
        return "Not calibrated: too few samples validate, or none."
    fitted = found["fitted_on"]
    prior = ", ".join(f"{name} {share:.3f}" for name, share in found["prior"].items())
    return (
        f"A temperature of {found['temperature']:.3f} was fitted on {fitted['samples']:,.0f} validation samples; there "
        f"it changes the calibration error from {fitted['ece_before']:.3f} to {fitted['ece_after']:.3f}. The "
        f"probabilities hold for this balance of classes, by {found['prior_said']}: {prior}."
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain_text(line)}" for line in lines)


def _table(table: Table) -> str:
    """Write a table with pipes."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(_plain_text, cells)) + " |"

    rule = "|" + "|".join("---" if words else "---:" for words in table.words) + "|"
    lines = [f"{_plain_text(table.title)}:", "", row(table.header), rule, *map(row, table.shown)]
    return "\n".join([*lines, *(["", _plain_text(table.note)] if table.note else [])])


def _plain_text(text: str) -> str:
    """Keep a text from being taken for markup, HTML or Markdown, and on its line."""
    return re.sub(r"([\\`*<|\[\]]|&(?=#?\w+;))", r"\\\1", " ".join(text.split()))


__all__ = ["CARD", "card_of", "markdown", "section"]
