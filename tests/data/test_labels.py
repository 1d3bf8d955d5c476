"""Classes of two data sets answer to each other by name, and probabilities are restricted honestly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import refused

from evenface.data.datasets import affectnet, expression_folders, fer2013, rafdb
from evenface.data.labels import EXPRESSIONS, SYNONYMS, canonical_name, match_classes, merge_classes


def test_every_form_leads_to_one_word_and_every_word_to_itself():
    forms = [form for word, others in SYNONYMS.items() for form in (word, *others)]
    assert len(forms) == len(set(forms))
    assert set(SYNONYMS) == set(EXPRESSIONS)
    assert [canonical_name(f" {word.upper()} ") for word in EXPRESSIONS] == list(EXPRESSIONS)
    assert canonical_name("Happiness") == "happy"
    assert canonical_name("Joy") == "joy"


@pytest.mark.parametrize("source", [rafdb, expression_folders])
def test_the_seven_expressions_are_the_same_in_all_sources(source):
    assert source.CLASSES == fer2013.CLASSES == EXPRESSIONS[:7]
    assert {canonical_name(name) for name in fer2013.PLUS_CLASSES} == set(affectnet.CODES) == set(EXPRESSIONS)


def test_classes_are_matched_by_word():
    found = match_classes(fer2013.CLASSES, fer2013.PLUS_CLASSES)
    assert found.named == {
        "neutral": "neutral",
        "happiness": "happy",
        "surprise": "surprise",
        "sadness": "sad",
        "anger": "angry",
        "disgust": "disgust",
        "fear": "fear",
        "contempt": None,
    }
    assert found.shared == fer2013.CLASSES
    assert found.only_target == ("contempt",)
    assert found.only_model == ()
    labels = np.arange(8)
    assert [fer2013.PLUS_CLASSES[i] for i in labels[found.labels(labels) < 0]] == ["contempt"]
    back = match_classes(fer2013.PLUS_CLASSES, fer2013.CLASSES)
    assert back.only_model == ("contempt",)
    assert back.shared == fer2013.PLUS_CLASSES[:7]


def test_a_map_goes_before_names():
    model, target = ("calm", "happy", "sad"), ("neutral", "joy", "happy", "sad")
    assert match_classes(model, target).named == {"neutral": None, "joy": None, "happy": "happy", "sad": "sad"}
    found = match_classes(model, target, {"neutral": "calm", "joy": "happy", "sad": None})
    assert found.named == {"neutral": "calm", "joy": "happy", "happy": "happy", "sad": None}
    assert found.shared == ("calm", "happy")
    assert found.labels(np.array([0, 1, 2, 3])).tolist() == [0, 1, 1, -1]
    assert match_classes(("0", "1"), ("0", "2"), {2: 1}).named == {"0": "0", "2": "1"}


def test_the_very_same_name_goes_before_another_form():
    assert match_classes(("anger", "angry", "sad"), ("angry", "sad")).named == {"angry": "angry", "sad": "sad"}
    with refused("the class Angry of the dataset matches anger and angry of the model"):
        match_classes(("anger", "angry", "sad"), ("Angry", "sad"))


@pytest.mark.parametrize(
    ("model", "target", "classes", "words"),
    [
        (
            ("a", "b"),
            ("b", "c"),
            None,
            "the model (a, b) and the dataset (b, c) share only the class b; expected at least two",
        ),
        (("a", "b"), ("c", "d"), None, "share no class; expected at least two"),
        (("a", "b"), ("c", "d"), {"c": "a", "d": "a"}, "share only the class a"),
        (("a", "b"), ("a", "b"), {"x": "a"}, "the dataset has no class 'x'\n  It has a, b."),
        (("a", "b"), ("a", "b"), {"a": "x"}, "the model has no class 'x'"),
    ],
)
def test_what_cannot_be_mapped_is_said(model, target, classes, words):
    with refused(words):
        match_classes(model, target, classes)


@given(st.data())
def test_restricting_is_conditioning_on_the_shared_classes(data):
    model = tuple("abcdef"[: data.draw(st.integers(2, 6))])
    shared = data.draw(st.lists(st.sampled_from(model), min_size=2, unique=True))
    found = match_classes(model, shared)
    weights = data.draw(st.lists(st.floats(0, 1), min_size=len(model), max_size=len(model)))
    total = sum(weights)
    row = [w / total for w in weights] if total > 1e-6 else [1 / len(model)] * len(model)
    got = found.restrict(np.array([row]))[0]
    assert found.shared == tuple(sorted(shared))
    assert sum(got) == pytest.approx(1)
    mass = sum(p for name, p in zip(model, row, strict=True) if name in shared)
    for name, value in zip(found.shared, got, strict=True):
        assert value == pytest.approx(row[model.index(name)] / mass if mass > 0 else 1 / len(shared))


MODEL = ("BL1", "PA1", "PA2", "PA3", "PA4")


@given(st.data())
def test_joined_classes_have_the_sum_of_their_probabilities(data):
    names = data.draw(st.lists(st.sampled_from("xyz"), min_size=5, max_size=5).filter(lambda own: len(set(own)) > 1))
    members = {name: [c for c, own in zip(MODEL, names, strict=True) if own == name] for name in set(names)}
    p = np.random.default_rng(0).dirichlet(np.ones(5), 4)
    found = merge_classes(MODEL, members)
    assert set(found.classes) == set(names)
    assert list(found.classes) == sorted(set(names), key=names.index)
    for place, name in enumerate(found.classes):
        np.testing.assert_allclose(found.sum(p)[:, place], sum(p[:, MODEL.index(c)] for c in members[name]))
    assert found.groups == members
    assert found.in_order == (names == sorted(names, key=names.index))


def test_classes_that_are_not_named_stay():
    found = merge_classes(MODEL, {"pain": MODEL[1:]})
    assert (found.classes, found.groups) == (("BL1", "pain"), {"pain": list(MODEL[1:])})
    assert found.sum([7, 1, 2, 3, 4]).tolist() == [7, 10]
    assert merge_classes(MODEL).classes == MODEL
    assert merge_classes(MODEL).groups == {}
    assert merge_classes(MODEL, {"BL1": ["BL1", "PA1"], "none": "PA4"}).classes == ("BL1", "PA2", "PA3", "none")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"pain": ["PA9"]}, "merge: the model has no class 'PA9'"),
        ({"pain": ["PA1"], "more": ["PA1"]}, "the class PA1 is listed twice"),
        ({"BL1": ["PA1", "PA2"]}, "the new class BL1 has the name of a class of the model"),
        ({"all": MODEL}, "after merging, found only all"),
        ({"pain": []}, "merge must map each new class"),
        ("pain", "merge must map each new class to classes of the run, got 'pain'"),
        ({"pain": 3}, "merge must map each new class"),
    ],
)
def test_what_cannot_be_joined_is_said(classes, words):
    with refused(words):
        merge_classes(MODEL, classes)
