"""Deviations are stated only while the settings make them true, in every shipped recipe and study."""

import functools
import json
import re

import pytest

from evenface.config import Recipe, dump_recipe, load_recipe, shipped_recipes
from evenface.config.section import OpenSection, part_at, setting
from evenface.studies import load_study, plan, shipped_studies
from evenface.studies.plan import FULL, StudyOptions, make_plan

SMALL = {
    "name": "r",
    "data": {"source": "folder", "root": "/nowhere"},
    "augment": {"flip": 0.0, "erase": 0.5},
    "deviations": [
        "Always.",
        {"text": "Erased.", "while": {"augment.erase": 0.5}},
        {"text": "Adam or SGD.", "while": {"optimizer.name": ["adamw", "sgd"]}},
        {"text": "Uneven as it is.", "while": {"protocol.imbalance": None}},
        {"text": "Range.", "while": {"augment.erase_area": [0.02, 0.25], "augment.flip": 0}},
    ],
}
WORDS = {
    r"\bpx\b": "data.size",
    r"(\d+|[Ff]ew|[Ss]ixty|[Tt]en) epochs": "training.epochs",
    r"bfloat16": "training.precision",
    r"[Ll]earning rate (is|of)": "optimizer.lr",
    r"[Ww]eight decay": "optimizer.weight_decay",
    r"random weights|randomly initialised|Here.*ImageNet|'s ImageNet weights": "network.weights",
    r"\bAdamW|\bSGD|\bLAMB at": "optimizer.name",
    r"[Cc]osine schedule|schedule": "schedule.name",
    r"compact_vgg|\bVGG19,|is Swin-T": "network.name",
    r"(?<!\.)\bflips?\b": "augment.flip",
    r"\berased|Erasing": "augment.erase",
    r"[Pp]atience": "training.patience",
    r"the last one|last epoch|it is the last": "training.checkpoint",
    r"[Bb]atches of": "training.batch_size",
    r"[Dd]ropout": "network.dropout",
    r"\bgrey\b": "data.channels",
    r"training set (has|is reduced|is imbalanced)|counts are": "protocol.imbalance",
    r"\d people\b|^[A-Z]\w+ people (and|with)": "data.people",
    r"PublicTest": "data.test",
    r"[Ff]aces are detected|resizes whole": "data.faces.crop",
    r"(\d %|[Aa] tw?en\w+) .*(validation|checkpoint selection)": "protocol.validation",
    r"stored frames|frames per clip": "data.clips.frames",
    r"subject-independent folds": "protocol.folds",
    r"disjoint cohorts": "protocol.cohorts",
    r"margin of": "method.margin",
}
"""What a deviation speaks of, by its words, and the setting that says so."""


def stated(*overrides):
    return [deviation.text for deviation in load_recipe(SMALL, *overrides).deviations]


def test_a_deviation_is_stated_while_all_settings_of_its_condition_hold():
    assert stated() == ["Always.", "Erased.", "Adam or SGD.", "Uneven as it is.", "Range."]
    assert "Erased." not in stated({"augment": {"erase": 0.0}})
    assert "Adam or SGD." in stated({"optimizer.name": "sgd"})
    assert "Adam or SGD." not in stated({"optimizer": {"name": "lamb"}})
    assert "Uneven as it is." not in stated({"protocol.imbalance": {"factor": 10}})
    assert "Range." not in stated({"augment.flip": 0.5})


def test_what_is_stated_survives_being_written():
    again = load_recipe(json.loads(load_recipe(SMALL).model_dump_json()))
    assert again == load_recipe(SMALL)
    assert "while:\n    augment.erase: 0.5" in dump_recipe(again)


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ({"augment": {"flip": 0.5}}, "augment.erase", 0.5),  # a section is merged
        ({"optimizer": {"name": "sgd"}, "optimizer.lr": 0.1}, "optimizer.lr", 0.1),
        ({"optimizer": {"lr": 0.1}}, "optimizer.weight_decay", 0.3),
        ({"optimizer": {"name": "adamw"}}, "optimizer.weight_decay", 0.01),  # one that is named anew is not
        ({"loss": {"name": "focal"}}, "loss.alpha", None),
        ({"loss": {"gamma": 1.0}}, "loss.alpha", "inverse"),
        ({"data": {"size": 48}}, "data.root", "/nowhere"),
        ({"data": {"source": "csv"}}, "data.root", None),
        ({"data": {"faces": {"crop": "face"}}}, "data.faces.margin", 0.5),
        ({"protocol.imbalance": {"factor": 10}}, "protocol.imbalance.counts", None),
        ({"protocol.imbalance": {"by": "subjects"}}, "protocol.imbalance.counts", {"a": 3, "b": 2}),
        ({"protocol.imbalance.counts": {"a": 1}}, "protocol.imbalance.counts", {"a": 1}),  # classes are no section
        ({"method": {"subclasses": {"a": 1}}}, "method.subclasses", {"a": 1}),
    ],
)
def test_overrides_are_merged_into_sections_unless_they_name_what_a_section_is(settings, key, value):
    content = {
        **SMALL,
        "data": {**SMALL["data"], "faces": {"margin": 0.5}},
        "optimizer": {"weight_decay": 0.3},
        "loss": {"name": "focal", "alpha": "inverse"},
        "method": {"name": "dicc", "subclasses": {"a": 2, "b": 2}},
        "protocol": {"imbalance": {"counts": {"a": 3, "b": 2}}},
    }
    assert setting(load_recipe(content, settings), key) == value


def test_runs_of_a_study_state_what_is_true_of_them():
    study = load_study(
        {
            "name": "s",
            "recipe": SMALL,
            "deviations": [{"text": "Focal.", "while": {"loss.name": "focal"}}, "Of the study."],
            "factors": {"loss": {"plain": {}, "focal": {"loss": {"name": "focal"}, "augment": {"erase": 0.1}}}},
            "sizes": {"quick": {"deviations": [{"text": "Short.", "while": {"training.epochs": 2}}],
                                "set": {"training": {"epochs": 2}}}},
        }
    )  # fmt: skip
    found = make_plan(study, StudyOptions(size="quick"))
    plain, focal = ([deviation.text for deviation in run.recipe.deviations] for run in found.runs)
    assert plain == [*stated(), "Of the study.", "Short."]
    assert focal == [text for text in (*stated(), "Focal.", "Of the study.", "Short.") if text != "Erased."]
    assert found.deviations == ("Focal.", "Of the study.", "Short.")
    longer = make_plan(study, StudyOptions(size="quick", overrides={"training.epochs": 3, "loss": {"name": "focal"}}))
    assert longer.deviations == ("Focal.", "Of the study.")


def known(key):
    """Whether a recipe has the key, or may have it as an option of what a section names."""
    section, parts = Recipe, key.split(".")
    for place, part in enumerate(parts):
        inner = part_at(section, part)
        if inner is None:
            free = part in section.model_fields and "dict" in str(section.model_fields[part].annotation)
            last = place == len(parts) - 1
            return (part in section.model_fields and (last or free)) or issubclass(section, OpenSection)
        section = inner
    return True


@pytest.mark.parametrize("name", shipped_recipes())
def test_conditions_of_shipped_recipes_name_settings_that_exist(name):
    recipe = load_recipe(name)
    assert all(known(key) for deviation in recipe.deviations for key in deviation.while_)
    assert not known("augment.erse")
    assert not known("erase")


@functools.cache
def study_of(name):
    """Load a study with one seed and fold; that others differ in these alone is the plan's own test."""

    def once(part):
        more = {"sizes": {key: once(one) for key, one in part.sizes.items()}} if hasattr(part, "sizes") else {}
        return part.model_copy(update={"seeds": None, "folds": None, **more})

    study = load_study(name)
    parts = {key: {name: once(part) for name, part in getattr(study, key).items()} for key in ("datasets", "sizes")}
    return study.model_copy(update={"seeds": (0,), "folds": None, **parts})


class Form:
    """A study on one data set, at one size and by one protocol: the settings of its runs by what they state."""

    def __init__(self, study, choice):
        runs = make_plan(study, choice).runs
        self.recipes = [run.recipe.model_dump(mode="json") for run in runs]
        self.texts = [{one.text for one in run.recipe.deviations} for run in runs]

    def states(self, text):
        """Whether some run states it."""
        return any(text in texts for texts in self.texts)

    def values(self, key, text):
        """Give what runs that state ``text`` have for a key."""
        recipes = [recipe for recipe, texts in zip(self.recipes, self.texts, strict=True) if text in texts]
        return {json.dumps(value_of(recipe, key), sort_keys=True) for recipe in recipes}


def value_of(content, key):
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


@pytest.mark.parametrize("name", shipped_studies())
def test_every_deviation_of_a_shipped_study_is_true_of_the_runs_that_state_it(name, monkeypatch):
    monkeypatch.setattr(plan, "_text", lambda settings: json.dumps(settings, sort_keys=True))
    study = study_of(name)
    forms = {
        (on, size, protocol): Form(study, StudyOptions(on, size, protocol))
        for on in study.datasets or [None]
        for size in dict.fromkeys((FULL, *study.sizes, *(study.datasets[on].sizes if on else ())))
        for protocol in (("honest", "paper") if study.paper_protocol else ("honest",))
    }
    own = " ".join(shipped_studies()[name].read_text(encoding="utf-8").split())  # without those of what it extends
    dead, wrong = [], []
    for place, deviations, first in sources(study):
        for one in deviations:
            assert all(known(key) for key in one.while_), one
            mine = {key: form for key, form in forms.items() if place(*key[:2])}
            if one.text in own and not any(form.states(one.text) for form in mine.values()):
                dead.append(one.text)
            wrong += changed(one, mine, functools.partial(mine[first].values, text=one.text))
    recipe = load_recipe(study.recipe)
    shipped = recipe.model_dump(mode="json")
    for one in recipe.deviations:
        wrong += changed(one, forms, lambda key: {json.dumps(value_of(shipped, key), sort_keys=True)})
    assert not dead, "stated by no run"
    assert not wrong, "stated where the setting that the words speak of is another"


def sources(study):
    """Give each list of deviations: where it holds, its members, and the form for which it was written."""
    every = next(iter(study.datasets), None)
    yield lambda *_: True, study.deviations, (every, FULL, "honest")
    for on, data in study.datasets.items():
        yield lambda o, _, on=on: o == on, data.deviations, (on, FULL, "honest")
        for size, part in data.sizes.items():
            yield lambda o, s, on=on, size=size: (o, s) == (on, size), part.deviations, (on, size, "honest")
    for size, part in study.sizes.items():
        yield lambda _, s, size=size: s == size, part.deviations, (every, size, "honest")


def changed(one, forms, before):
    """Find settings that a deviation speaks of without a condition, and that are others than it was written for."""
    for words, key in WORDS.items():
        if re.search(words, one.text) and not any(cond == key or cond.startswith(f"{key}.") for cond in one.while_):
            for place, form in forms.items():
                found = form.values(key, one.text)
                if found and not found <= before(key):
                    yield (*place, key, one.text)
