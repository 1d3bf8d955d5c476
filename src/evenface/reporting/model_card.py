"""Model card of a run: training data, results by group of people, limits, and intended use."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evenface.config import Recipe, shipped_recipes
from evenface.config.predict import RELIABLE
from evenface.config.recipe import DEFAULT_LOSS, MethodSettings
from evenface.data.datasets import dataset_licence
from evenface.data.imbalance import imbalance_factor
from evenface.data.manifest import TARGET_TASKS, attribute_columns, attribute_groups
from evenface.evaluation.bootstrap import Estimate, estimate, units_of
from evenface.evaluation.formatting import UNITS, count_units, listed
from evenface.evaluation.metric_registry import headline_of, label, lower_note
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import Subgroup, at_least
from evenface.evaluation.target_calibration import TargetCalibration, load_calibration
from evenface.evaluation.target_summary import compute_metrics, subgroups_of
from evenface.reporting import summaries
from evenface.reporting.page import PageSection
from evenface.reporting.summaries import ALONE, CLUSTERED, FEW_PEOPLE, ONE_RUN, target_label
from evenface.reporting.tables import Cell, Row, Table, escape_markdown, untested
from evenface.runs import METRICS, Run
from evenface.utils.files import read_json

STATEMENT = (
    "This is research software, not a medical device. Inferring emotions of people from their faces at work and in "
    "education is prohibited in the European Union, except for medical or safety reasons (AI Act, Regulation (EU) "
    "2024/1689, Article 5(1)(f)). That concerns models of facial expression, where emotions such as anger or happiness "
    "are inferred from what they say. It does not concern models of pain: recital 18 counts pain and fatigue as "
    "physical states, not as emotions. Nor does it concern the mere detection of apparent expressions or movements, "
    "such as a smile or a raised brow, unless it is used to infer emotions. This is no legal advice."
)
"""Notice in every model card, at the foot of the page and in the description of its interface."""
INPUTS = {"stills": "single images", "clips": "video clips", "sequences": "sequences of numbers"}
INTENDED = (
    "Research on recognising facial expressions and signs of pain under class imbalance.",
    "Comparing methods under the same protocol, and reproducing a result.",
    "A starting point for a product that its makers test on their own users, for their purpose, under applicable law.",
)
NOT_INTENDED = (
    "Diagnosis, treatment, or any decision about the care of a patient.",
    "Inferring emotions of people at work or in education.",
    "Decisions about individuals: hiring, credit, insurance, policing, migration, lie detection.",
    "Surveillance without knowledge or consent; identification of people.",
    "People, cameras or situations unlike those in the training data, without a test on them.",
)
ALWAYS = (
    "It predicts the labels that annotators of such data would give. What somebody shows is not what somebody feels.",
    "Results are valid for people and images like those in the test set; on others they are usually worse.",
    ONE_RUN,
)
SYNTHETIC = "synthetic people"
"""Start of the note on data that are synthetic people alone."""
RARE = 20
"""Test samples of a class below which its metrics are listed as uncertain."""


def limits_of(card: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Return the limits that follow from a card; ``result`` is what ``metrics_of`` returns."""
    limits = list(card["protocol"]["warnings"])
    results = card["results"]
    limits += _of_drawn(card)
    if results["unit"] != "people":
        limits.append("The people in the samples are unknown: the same may be in training and test set.")
    elif results["units"] == 1:
        limits.append("Tested on one person only: performance on others is unknown.")
    elif results["units"] < FEW_PEOPLE:
        limits.append(f"Tested on {results['units']} people only: the intervals are somewhat too narrow.")
    if "per_target" in result:
        return [*limits, *_of_targets(result), *ALWAYS]
    if result["absent"]:
        limits.append(f"Not tested on {listed(result['absent'])}: no test sample is of it.")
    rare = [
        f"{name} ({entry['support']})" for name, entry in results["per_class"].items() if 0 < entry["support"] < RARE
    ]
    if rare:
        limits.append(f"Few test samples, so results are uncertain for: {listed(rare)}.")
    if result["never_predicted"]:
        limits.append(f"It never predicted {listed(result['never_predicted'])} on the test samples.")
    if not card["subgroups"]:
        limits.append("The data has no age, sex or origin of people: performance on such groups is unknown.")
    return [*limits, *ALWAYS]


def _of_drawn(card: Mapping[str, Any]) -> list[str]:
    """Return the limits that follow from synthetic people among the training samples."""
    counts = card["imbalance"]["counts"]
    only = [name for name, count in counts.get(summaries.DRAWN, {}).items() if 0 < count == counts["train"][name]]
    lines = [f"Trained on drawn faces alone, without a face of the data, for: {listed(only)}."] if only else []
    if any(note.startswith(SYNTHETIC) for note in card["data"]["notes"]):
        return ["Trained on synthetic people: performance on real ones is unknown.", *lines]
    return lines


def _of_targets(result: Mapping[str, Any]) -> list[str]:
    rare = [f"{name} ({entry['support']})" for name, entry in result["per_target"].items() if entry["support"] < RARE]
    lines = [f"Few test samples, so results are uncertain for: {listed(rare)}."] if rare else []
    if PAIN & set(result["per_target"]):
        lines.append("A pain score from faces is not validated on patients: it is no measure of felt pain.")
    return lines


PAIN = {"pspi", "vas", "opr"}
"""Targets that are pain scores."""
OVERALL = ("balanced_accuracy", "accuracy", "macro_f1", "log_loss", "ece")
BY_CLASS = ("recall", "precision", "f1")
KINDS = {
    "official": "the official split of the data",
    "holdout": "a share of {test:.0%} was held out as test set",
    "kfold": "fold {fold} of {folds} was held out as test set",
    "leave-one-out": "one person, number {fold} in order, was left out as test set",
}


def card_of(run: Run) -> dict[str, Any]:
    """Build the model card of a run.

    Parameters
    ----------
    run : Run
        A finished run.

    Returns
    -------
    dict
        Can be written as JSON. ``name``, ``recipe``, ``about``, ``paper``, ``deviations``, ``evenface``,
        ``statement``, ``precision``; ``task`` (``kind``, ``classes``, ``ordered``, ``input``), ``network``
        (``description``, ``licence``), ``data`` (``description``, ``licence``, ``notes``),
        ``protocol`` (``description``, ``sides``, ``warnings``), ``imbalance`` (``counts``, ``ratio``),
        ``treatment`` (sentences), ``results`` (``unit``, ``units``, ``samples``, ``level``, ``overall``,
        ``per_class`` (of targets ``per_target``), perhaps ``levels`` and ``by_clip``), ``subgroups`` (for each
        attribute), ``calibration`` or None, and the sentences of ``limits``, ``intended`` and ``not_intended``.
        Figures have ``value``, ``low``, ``high``.

    Notes
    -----
    Every number is computed from the stored predictions on the test set: read from ``metrics.json`` where the run has
    been evaluated, else computed by the same function.
    """
    facts, recipe = run.facts, run.recipe
    result = run.metrics if (run.folder / METRICS).is_file() else compute_metrics(run.results)
    if run.auxiliary is not None and "auxiliary" not in result:
        result = result | {"auxiliary": compute_metrics(run.auxiliary)}
    provenance = summaries.provenance([run])
    card: dict[str, Any] = {
        "name": summaries.run_title(run),
        "recipe": recipe.name,
        "about": recipe.about,
        "paper": recipe.paper,
        "deviations": [deviation.text for deviation in recipe.deviations],
        "evenface": facts["environment"]["evenface"],
        "statement": STATEMENT,
        "task": {
            "kind": facts.get("task", "classification"),
            "classes": list(facts.get("targets", facts["classes"])),
            **({"auxiliary": list(run.auxiliary.names)} if run.auxiliary else {}),
            "ordered": isinstance(run.results, Predictions) and run.results.ordered,
            "input": facts.get("content", "stills"),
        },
        "network": {"description": provenance["network"], "licence": _weights(run)},
        "precision": provenance["precision"],
        "data": {"description": provenance["data"], "licence": _licences(run), "notes": list(facts["notes"])},
        "protocol": _protocol(run),
        "imbalance": _imbalance(run),
        "treatment": _treatment_of(run),
        "results": _results(result),
        "subgroups": _subgroups(run),
        "calibration": _calibration(run),
        "intended": list(INTENDED),
        "not_intended": list(NOT_INTENDED),
    }
    if (run.folder / REAL_FACES).is_file():
        card["real_faces"] = read_json(run.folder / REAL_FACES, "Measure it again: python -m tools.make_model.")
    return card | {"limits": limits_of(card, result)}


def _licences(run: Run) -> str:
    """Return the licence of the training data, and that of the test data where it is another."""
    names = [run.recipe.data.source, *(["synthetic"] if summaries.drawn_faces(run) else [])]
    if other := run.facts.get("on"):
        names.append(other["data"]["source"])
    terms = {name: dataset_licence(name) for name in dict.fromkeys(names)}
    if len(terms) == 1:
        return next(iter(terms.values()))
    return " ".join(f"{name}: {text}" for name, text in terms.items())


def _weights(run: Run) -> str:
    """Return what the weights were initialised from, and their licence."""
    recipe, network = run.recipe, run.recipe.network
    if model := run.facts.get("model"):
        return f"Licence {model['licence']}. Trained on: {model['training_data']}. {_sentence(model['terms'])}"
    if network.weights == "random":
        also = ", and on drawn faces of synthetic people" if summaries.drawn_faces(run) else " only"
        start = f"Trained from random weights on this data{also}: its terms for models apply."
    elif network.weights == "hub":
        from evenface.models.build import licence as hub_licence

        start = f"Initialised with weights of the hub, {hub_licence(network.name)}. The terms of the data apply too."
    elif network.weights in shipped_recipes():
        start = f"Initialised with {network.weights}, which was trained on synthetic people alone."
        start += " The terms of the data apply."
    elif own := run.facts.get("pretraining"):
        images = f"{own['images']:,} unlabelled images of {own['data']}"
        start = (
            f"Initialised with weights pretrained by {own['method']} on {images} for {own['epochs']} epochs; the "
            f"licence of these images is {own['licence']}. The terms of both data sets apply."
        )
    else:
        start = "Initialised with a file of weights whose licence is unknown to evenface."
    if recipe.data.faces.crop == "face" and recipe.data.faces.landmarks == "dlib":
        from evenface.preprocessing.detect_align import TERMS

        start += f" Faces are aligned by dlib's landmarks. {TERMS}"
    return start


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _protocol(run: Run) -> dict[str, Any]:
    own = run.recipe.protocol
    kind = KINDS[own.kind].format(test=own.test, fold=own.fold + 1, folds=own.folds)
    if "on" in run.facts:
        kind = f"tested on another data set than the training data; {kind}"
    counts, people = run.facts["counts"], run.facts["people"]
    sides = {side: {"samples": int(sum(counts[side])), "people": people[side]} for side in counts if sum(counts[side])}
    if drawn := sum(summaries.drawn_faces(run).values()):
        sides["train"]["drawn"] = drawn
    return {"description": kind, "sides": sides, "warnings": summaries.run_warnings(run)}


def _imbalance(run: Run) -> dict[str, Any]:
    classes, counts = summaries.counted_names(run), summaries.class_counts(run)
    train = run.facts["counts"].get("train")
    return {
        "counts": {side: dict(zip(classes, values, strict=True)) for side, values in counts.items()},
        "ratio": imbalance_factor(train) if train and all(train) else None,
        "known": train is not None,
    }


def _treatment_of(run: Run) -> list[str]:
    if "model" in run.facts:
        return ["Unknown to evenface."]
    own = _treatment(run.recipe, run.facts.get("loss"))
    if fused := run.facts.get("fused"):
        by = "values" if fused["by"] == "logits" and run.facts["task"] == "regression" else fused["by"]
        return [f"Late fusion of {len(fused['runs'])} runs by their {by}. Of the first run:", *own]
    return own


def _treatment(recipe: Recipe, loss: str | None = None) -> list[str]:
    """Return how imbalance was treated, a sentence for each measure, or that it was not."""

    def with_options(part: Any) -> str:
        options = ", ".join(f"{key} {value}" for key, value in part.options.items())
        return f"{part.name} ({options})" if options else str(part.name)

    lines = []
    if recipe.method != MethodSettings():
        lines.append(f"Method: {with_options(recipe.method)}.")
    used = recipe.loss if loss is None else recipe.loss.model_copy(update={"name": loss})
    lines.append(f"Loss: {with_options(used)}.")
    if recipe.training.sampling != "none":
        lines.append(f"Sampling: {recipe.training.sampling}.")
    drawn = ", ".join(f"{name} {count:,}" for name, count in recipe.data.synthetic.items() if count)
    if drawn:
        lines.append(f"Faces of synthetic people drawn for the training set: {drawn}.")
    if lines in (["Loss: cross-entropy."], *([f"Loss: {name}."] for name in DEFAULT_LOSS.values())):
        lines.append("No imbalance method: empirical risk minimisation.")
    if recipe.protocol.imbalance is not None:
        lines.append("The training data was subsampled to be imbalanced; see the notes on the data.")
    return lines


def _results(result: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics that a card shows."""

    def selected(metrics: dict[str, Any]) -> dict[str, Any]:
        return {
            **{key: metrics[key] for key in ("unit", "units", "samples", "level", "resamples")},
            "overall": {key: metrics["overall"][key] for key in OVERALL},
        }

    if "per_target" in result:
        keys = ("unit", "units", "samples", "level", "resamples", "overall", "per_target")
        return {key: result[key] for key in keys}
    kept = selected(result) | {
        "per_class": {
            name: {"support": entry["support"], **{key: entry[key] for key in BY_CLASS}}
            for name, entry in result["per_class"].items()
        }
    }
    if "auxiliary" in result:
        kept["auxiliary"] = _results(result["auxiliary"])
    if "levels" in result:
        kept["levels"] = result["levels"]
    if "by_clip" in result:
        kept["by_clip"] = selected(result["by_clip"])
    return kept


def _subgroups(run: Run) -> list[dict[str, Any]]:
    """Compute metrics of the groups of every attribute of people in the data."""
    sides = run.split
    tested = sides[sides["side"] == "test"].set_index("sample")
    predictions = run.results
    unit = units_of(predictions).name
    attributes = []
    for name in attribute_columns(tested):
        groups = attribute_groups(tested[name], name).reindex(predictions.sample)
        attributes.append(
            {
                "attribute": name,
                "unit": unit,
                "at_least": at_least(unit),
                "unknown": int(groups.isna().sum()),
                "groups": [_group(group) for group in subgroups_of(predictions, list(groups))],
            }
        )
    return attributes


def _group(group: Subgroup) -> dict[str, Any]:
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
    calibration = load_calibration(run.folder)
    if calibration is None:
        return None
    if isinstance(calibration, TargetCalibration):
        return calibration.as_dict()
    return {
        "temperature": calibration.temperature,
        "of": calibration.of,
        "fitted_on": dict(calibration.fitted_on),
        "prior": dict(zip(calibration.classes, map(float, calibration.prior), strict=True)),
        "prior_source": calibration.prior_said,
    }


CARD, REAL_FACES = "model-card.md", "real-faces.json"
"""Files of the card in a run folder, and of results on real faces that a run of synthetic people may have."""
COMPARED = "Difference: mean recall minus that of all other people, over the classes that both have."


def markdown(card: Mapping[str, Any]) -> str:
    """Return a card as Markdown.

    Parameters
    ----------
    card : mapping
        Result of :func:`evenface.reporting.model_card.card_of`, also after a round trip through JSON.
    """
    results = card["results"]
    parts = [
        f"# Model card: {escape_markdown(card['name'])}",
        escape_markdown(card["about"]),
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
        "Treatment:",
        _bullets(card["treatment"]),
        "## Results",
        _unit(results),
        _table(overall_table(card)),
        _table(classes_table(card)),
        *([_table(auxiliary_table(card))] if "auxiliary" in results else []),
        *_real_faces(card),
        "## Results by group of people",
        *_groups(card),
        "## Calibration",
        escape_markdown(_calibration_lines(card)),
        "## Limits",
        _bullets(card["limits"]),
        "## Intended use",
        _bullets(card["intended"]),
        "## Uses not intended",
        _bullets(card["not_intended"]),
        f"Written by evenface {card['evenface']} from the run's stored predictions.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(card: Mapping[str, Any]) -> PageSection:
    """Return the section of a run's report with what is not in its other sections."""
    definitions = {
        "model": _model(card),
        "data": _data(card),
        "protocol": _protocol_lines(card),
        "imbalance": [_ratio(card), *card["treatment"]],
        "limits": card["limits"],
        "intended for": card["intended"],
        "not for": card["not_intended"],
    }
    return PageSection(
        "Model card",
        card["statement"],
        tables=(*([auxiliary_table(card)] if "auxiliary" in card["results"] else []), *group_tables(card)),
        folded=group_metrics(card),
        definitions=definitions,
    )


def counts_table(card: Mapping[str, Any]) -> Table:
    """List the samples of each class in each split."""
    counts = card["imbalance"]["counts"]
    names = list(next(iter(counts.values()), {}))
    rows = tuple((name, *(side[name] for side in counts.values())) for name in names)
    kind = {"multilabel": "target", "regression": "stratum"}.get(card["task"].get("kind", ""), "class")
    return Table("card-counts", f"Samples of each {kind}", (kind, *counts), rows)


def overall_table(card: Mapping[str, Any]) -> Table:
    """List the main metrics with intervals; of levels and by clip where there are such."""
    results = card["results"]
    entries = {target_label(key): entry for key, entry in results["overall"].items()}
    entries |= {label(key): entry for key, entry in results.get("levels", {}).items()}
    if "by_clip" in results:
        entries |= {f"{label(key)} by clip": entry for key, entry in results["by_clip"]["overall"].items()}
    rows = tuple((name, estimate(entry)) for name, entry in entries.items())
    return Table("card-overall", "Metrics", ("metric", "value"), rows)


def classes_table(card: Mapping[str, Any]) -> Table:
    """List metrics of each class, or of each target, with intervals."""
    if "per_target" in card["results"]:
        targets = card["results"]["per_target"]
        keys = [key for key in next(iter(targets.values())) if key not in ("known", "support", "threshold")]
        entries = tuple((name, e["support"], *(estimate(e[key]) for key in keys)) for name, e in targets.items())
        return Table("card-targets", "Targets", ("target", "test samples", *map(target_label, keys)), entries)
    rows = tuple(
        (name, entry["support"], *(estimate(entry[key]) for key in BY_CLASS))
        for name, entry in card["results"]["per_class"].items()
    )
    return Table("card-classes", "Classes", ("class", "test samples", *map(label, BY_CLASS)), rows)


def auxiliary_table(card: Mapping[str, Any]) -> Table:
    """List metrics of each auxiliary target with intervals."""
    table = classes_table({"results": card["results"]["auxiliary"]})
    return replace(table, name="card-auxiliary", title="Targets beside the classes")


def _real_faces(card: Mapping[str, Any]) -> list[str]:
    """Return the results on real faces, where a model of synthetic people was tested on them."""
    if (real := card.get("real_faces")) is None:
        return []
    intervals = {name: f"[{low:.3f}, {high:.3f}]" for name, (low, high) in real["intervals"].items()}
    recall = [(name, f"{value:.3f} {intervals[name]}") for name, value in real["recall"].items()]
    units = [
        (name, f"{value:.3f} {intervals[name]}", "yes" if value >= RELIABLE else "no")
        for name, value in real["units"].items()
    ]
    return [
        "## Results on real faces",
        f"On {real['samples']:,} real faces of {escape_markdown(real['data'])}, which had no part in training: "
        f"balanced accuracy {real['balanced_accuracy']:.3f} {intervals['balanced_accuracy']}, accuracy "
        f"{real['accuracy']:.3f} {intervals['accuracy']} (95 % intervals over faces).",
        _table(Table("card-real-classes", "Recall of each class", ("class", "recall"), tuple(recall))),
        _table(
            Table(
                "card-real-units",
                "Units, by the classes that imply them against neutral",
                ("unit", "ROC-AUC", "shown unasked"),
                tuple(units),
                "Units without a class that implies them were not measured, and are not shown unasked.",
            )
        ),
    ]


def group_tables(card: Mapping[str, Any]) -> tuple[Table, ...]:
    """List the main metrics of the groups of each attribute; groups that are too small are listed without."""
    keys = headline_of(card["task"].get("kind", "classification"))[:2]
    return tuple(_group_table(attribute, keys) for attribute in card["subgroups"])


def group_metrics(card: Mapping[str, Any]) -> tuple[Table, ...]:
    """List all metrics of the groups of each attribute that are large enough."""
    tables = []
    for attribute in card["subgroups"]:
        groups = [group for group in attribute["groups"] if "metrics" in group]
        names = list(dict.fromkeys(name for group in groups for name in group["metrics"]))
        rows: list[Row] = [
            (label(name), *(estimate(group["metrics"][name]) if name in group["metrics"] else "–" for group in groups))
            for name in names
        ]
        title = f"People by {attribute['attribute'].replace('_', ' ')}, all metrics"
        header = ("metric", *(group["name"] for group in groups))
        if rows:
            tables.append(
                Table(f"people-{attribute['attribute']}-metrics", title, header, tuple(rows), lower_note(names))
            )
    return tuple(tables)


def _group_table(attribute: Mapping[str, Any], keys: Sequence[str]) -> Table:
    name, unit = attribute["attribute"].replace("_", " "), attribute["unit"]
    rows: list[Row] = []
    for group in attribute["groups"]:
        if "metrics" not in group:
            rows.append((group["name"], f"fewer than {attribute['at_least']}", "–", "–", "–", "–"))
            continue
        change: Cell = untested(estimate(group["difference"])) if "difference" in group else "–"
        accuracies = (estimate(group["metrics"][key]) for key in keys)
        rows.append((group["name"], group["units"], group["samples"], *accuracies, change))
    lacking = [f"{g['name']} has no {', '.join(g['absent'])}" for g in attribute["groups"] if g["absent"]]
    unknown = [f"{attribute['unknown']:,} samples have no {name}"] if attribute["unknown"] else []
    note = (
        f"Intervals are over {unit}. Groups of fewer than {attribute['at_least']} {unit} are not shown. {COMPARED} "
        "The intervals are not corrected for the number of groups."
    )
    note += "".join(f" {text[0].upper() + text[1:]}." for text in (*_worst(attribute, keys[0]), *lacking, *unknown))
    header = (name, unit, "samples", *map(target_label, keys), "difference")
    return Table(f"people-{attribute['attribute']}", f"People by {name}", header, tuple(rows), note)


def _worst(attribute: Mapping[str, Any], metric: str) -> list[str]:
    """Name the group with the lowest value of a metric, where there are several."""
    values = {
        group["name"]: group["metrics"][metric]["value"]
        for group in attribute["groups"]
        if metric in group.get("metrics", {}) and group["metrics"][metric]["value"] is not None
    }
    if len(values) < 2:
        return []
    name = min(values, key=lambda group: values[group])
    return [f"worst group: {name}, {target_label(metric)} {values[name]:.3f}"]


def _groups(card: Mapping[str, Any]) -> list[str]:
    if not card["subgroups"]:
        return ["The data has no age, sex or origin of people, so results by group are unknown."]
    return [_table(table) for table in group_tables(card)]


def _model(card: Mapping[str, Any]) -> list[str]:
    task = card["task"]
    order = " (ordered)" if task["ordered"] else ""
    kinds = {"multilabel": "Targets, each present or not", "regression": "Targets, as numbers"}
    what = kinds.get(task.get("kind", ""), "Classes")
    lines = [
        f"{what}: {', '.join(task['classes'])}{order}. Input: {INPUTS[task['input']]}.",
        *([f"Beside the classes: {', '.join(task['auxiliary'])}."] if "auxiliary" in task else []),
        f"Network: {card['network']['description']}.",
        f"Weights: {card['network']['licence']}",
        *([f"Trained in {card['precision']}."] if "precision" in card else []),  # older cards lack it
        f"Recipe: {card['recipe']}" + (f", after {card['paper']}." if card["paper"] else "."),
    ]
    return [*lines, *(f"Deviation: {text}" for text in card["deviations"])]


def _data(card: Mapping[str, Any]) -> list[str]:
    return [f"Data: {card['data']['description']}.", f"Licence: {card['data']['licence']}"]


def _protocol_lines(card: Mapping[str, Any]) -> list[str]:
    own = card["protocol"]
    lines = [f"Protocol: {own['description']}."]
    for side, entry in own["sides"].items():
        people = "people unknown" if entry["people"] is None else count_units(entry["people"], "people")
        drawn = f" ({entry['drawn']:,} of them drawn)" if "drawn" in entry else ""
        lines.append(f"{side.capitalize()}: {entry['samples']:,} samples{drawn}, {people}.")
    return lines


def _ratio(card: Mapping[str, Any]) -> str:
    ratio = card["imbalance"]["ratio"]
    if card["task"].get("kind") in TARGET_TASKS:
        return "Strata are combinations of targets, or bins of the value, which splits and sampling balance."
    if not card["imbalance"].get("known", True):  # older cards lack it
        return "Its training samples are unknown to evenface."
    if ratio is None:
        return "At least one class has no training sample."
    return f"The largest class has {ratio:.1f} times as many training samples as the smallest."


def _unit(results: Mapping[str, Any]) -> str:
    if results["units"] == 1 and results["unit"] != "samples":
        text = f"On {results['samples']:,} test samples. {ALONE.format(UNITS[results['unit']], results['unit'])}"
        return text + " Probabilities are as trained, not calibrated."
    units = count_units(results["units"], results["unit"])
    of = "" if results["unit"] == "samples" else f" of {units}"
    text = f"On {results['samples']:,} test samples{of}; {results['level']:.0%} intervals over {results['unit']}."
    if results["unit"] != "samples":
        text += f" {CLUSTERED.format(UNITS[results['unit']])}"
    return text + " Probabilities are as trained, not calibrated."


def _calibration_lines(card: Mapping[str, Any]) -> str:
    calibration = card["calibration"]
    if card["task"].get("kind") == "regression":
        return "Values of a regression have no probabilities to calibrate."
    if calibration is None:
        return "Not calibrated: no or too few validation samples."
    if "targets" in calibration:
        return _target_calibration_lines(calibration["targets"])
    fitted = calibration["fitted_on"]
    prior = ", ".join(f"{name} {share:.3f}" for name, share in calibration["prior"].items())
    return (
        f"A temperature of {calibration['temperature']:.3f} was fitted on {fitted['samples']:,.0f} validation samples; "
        f"there it changes the calibration error from {fitted['ece_before']:.3f} to {fitted['ece_after']:.3f}. The "
        f"probabilities are calibrated for this class prior, by {calibration['prior_source']}: {prior}."
    )


def _target_calibration_lines(targets: Mapping[str, Mapping[str, float]]) -> str:
    fitted = {name: entry for name, entry in targets.items() if "ece_after" in entry}
    changes = [f"{name} from {entry['ece_before']:.3f} to {entry['ece_after']:.3f}" for name, entry in fitted.items()]
    samples = max(entry["samples"] for entry in fitted.values())
    left = [f"{name} ({entry['positives']:.0f})" for name, entry in targets.items() if name not in fitted]
    return (
        f"Slope and intercept of each target's logit (Platt scaling) were fitted on {samples:,.0f} validation samples; "
        f"there they change the calibration error of {'; '.join(changes)}."
        + (f" Not calibrated, by the number of validation samples with them: {', '.join(left)}." if left else "")
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _table(table: Table) -> str:
    """Return a table with its title and note as Markdown."""
    lines = [f"{escape_markdown(table.title)}:", "", table.markdown()]
    return "\n".join([*lines, *(["", escape_markdown(table.note)] if table.note else [])])


__all__ = ["CARD", "card_of", "markdown", "section"]
