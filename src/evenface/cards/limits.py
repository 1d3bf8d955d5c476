"""What a model must not be taken for: sentences that hold of every model, and those that follow from its card."""

from collections.abc import Mapping
from typing import Any

from evenface.evaluation.formatting import listed
from evenface.evaluation.wording import FEW_PEOPLE

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
