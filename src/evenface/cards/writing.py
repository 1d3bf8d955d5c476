"""A model card as Markdown, and as a part of a run's report."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evenface.evaluation.comparison import Difference
from evenface.evaluation.formatting import UNITS
from evenface.evaluation.intervals import estimate
from evenface.evaluation.metric_registry import label, lower_note
from evenface.evaluation.page import Section
from evenface.evaluation.tables import Cell, Table
from evenface.evaluation.wording import ALONE

CARD = "model-card.md"
"""Its file in a run folder."""
COMPARED = "Difference is the mean recall less that of everybody else, over the classes that both show."


def markdown(card: Mapping[str, Any]) -> str:
    """Write a card as Markdown.

    Parameters
    ----------
    card : mapping
        What :func:`evenface.cards.card_of` gave, or what came back from JSON.
    """
    results = card["results"]
    parts = [
        f"# Model card: {_plain(card['name'])}",
        _plain(card["about"]),
        card["statement"],
        "## Model",
        _bullets(_model(card)),
        "## Data",
        _bullets([*_data(card), *card["data"]["notes"]]),
        "## Protocol",
        _bullets([*card["protocol"]["warnings"], *_protocol(card)]),
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
        _plain(_calibration(card)),
        "## Limits",
        _bullets(card["limits"]),
        "## Intended use",
        _bullets(card["intended"]),
        "## Uses that are not intended",
        _bullets(card["not_intended"]),
        f"Written by evenface {card['evenface']} from the run's stored predictions.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(card: Mapping[str, Any]) -> Section:
    """Make the part of a run's report that says what the page does not say elsewhere."""
    told = {
        "model": _model(card),
        "data": _data(card),
        "protocol": _protocol(card),
        "imbalance": [_ratio(card), *card["treatment"]],
        "limits": card["limits"],
        "intended for": card["intended"],
        "not for": card["not_intended"],
    }
    return Section("Model card", card["statement"], tables=group_tables(card), folded=group_metrics(card), told=told)


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


def _protocol(card: Mapping[str, Any]) -> list[str]:
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


def _calibration(card: Mapping[str, Any]) -> str:
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
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _table(table: Table) -> str:
    """Write a table with pipes."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(_plain, cells)) + " |"

    rule = "|" + "|".join("---" if words else "---:" for words in table.words) + "|"
    lines = [f"{_plain(table.title)}:", "", row(table.header), rule, *map(row, table.shown)]
    return "\n".join([*lines, *(["", _plain(table.note)] if table.note else [])])


def _plain(text: str) -> str:
    """Keep a text from being taken for markup, HTML or Markdown, and on its line."""
    return re.sub(r"([\\`*<|\[\]]|&(?=#?\w+;))", r"\\\1", " ".join(text.split()))
