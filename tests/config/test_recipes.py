"""Recipes: every key checked, every mistake answered with the nearest right key."""

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from evenface.audit import load_claims
from evenface.config import Recipe, dump_recipe, load_recipe, parse_overrides, shipped_recipes
from evenface.config.renamed import RECIPE_KEYS, STUDY_KEYS
from evenface.config.section import part_at
from evenface.config.yaml import parse_yaml
from evenface.runs import Run
from evenface.studies import load_study
from evenface.utils.errors import InputError

SMALL = {"name": "small", "data": {"source": "folder", "root": "faces"}}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"optimizer.lrr": 1.0}, "Did you mean optimizer.lr?"),
        ({"optimiser.lr": 1.0}, "Did you mean optimizer?"),
        ({"lr": 1.0}, "Did you mean optimizer.lr?"),
        ({"protocol.imbalance.factr": 10}, "Did you mean protocol.imbalance.factor?"),
        ({"training.epochs": 0}, "training.epochs"),
        ({"training.precision": "bf16"}, "bf16-mixed"),
        ({"protocol.imbalance": {}}, "either factor or counts"),
        ({"name": "a/b"}, "name"),
        ({"data": {"source": None}}, "data.source"),
        ({"seed.x": 1}, "is a value, not a section"),
    ],
)
def test_a_mistake_is_answered_with_where_and_what(overrides, said):
    base = {**SMALL, "seed": 1}
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        load_recipe(base, overrides)


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def has_key(model, key):
    *sections, last = key.split(".")
    for name in sections:
        model = part_at(model, name)
    return last in model.model_fields


@pytest.mark.parametrize(("old", "new"), RECIPE_KEYS.items())
def test_a_renamed_key_is_answered_with_one_sentence_that_names_the_new_one(tmp_path, old, new):
    assert [has_key(Recipe, key) for key in (old, new)] == [False, True]
    said = f"the key {old} was renamed to {new}"
    section, _, last = old.rpartition(".")
    path, base = tmp_path / "recipe.yaml", {"name": "small", "data": {"source": "folder"}}
    path.write_text(yaml.safe_dump(base | {key: {**base.get(key, {}), **v} for key, v in nested(old, 1).items()}))
    deviation = {"text": "Differs.", "while": {old: 1}}
    for source, overrides, where in (
        (SMALL, {old: 1}, ""),
        (SMALL, {section: {last: 1}}, ""),
        (path, {}, f"{path}: "),
        (tmp_path, {}, f"{path}: "),  # a run folder
        (SMALL, {"deviations": [deviation]}, "deviations.0.while: "),
    ):
        with pytest.raises(InputError) as raised:
            load_recipe(source, overrides)
        assert str(raised.value) == where + said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"select": "last"}}, "the key training.select was renamed to training.checkpoint"),
        ({"method": "plain"}, "the method 'plain' was renamed to 'erm'"),
        ({"training": {"colour": 1}}, "unknown key training.colour"),
    ],
)
def test_an_old_run_folder_is_refused_with_the_new_name_and_what_to_do(tmp_path, change, message):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"name": "old", "data": {"source": "folder"}, **change}))
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "predictions.parquet").touch()
    with pytest.raises(InputError) as raised:
        Run.open(tmp_path)
    assert message in raised.value.message
    assert raised.value.hint.endswith("If an earlier version of evenface wrote this run, train it again.")


@pytest.mark.parametrize(("old", "new"), STUDY_KEYS.items())
def test_a_renamed_key_of_a_study_is_answered_likewise(old, new):
    section, _, last = old.rpartition(".")
    wrong = {last: {}}
    if section:
        wrong = {section: {**wrong} if section == "statistics" else [{"cell": {"f": "a"}, "accuracy": 0.5, last: "x"}]}
    with pytest.raises(InputError, match=f"the key .*{last} was renamed to {new}"):
        load_study({"name": "s", "recipe": SMALL, "factors": {"f": {"a": {}, "b": {}}}, **wrong})


def test_every_renamed_key_stands_in_the_changelog():
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [old for old, new in (RECIPE_KEYS | STUDY_KEYS).items() if f"| `{old}` | `{new}`" not in text] == []


def test_overrides_reach_their_place_and_nothing_else():
    plain, changed = load_recipe(SMALL), load_recipe(SMALL, {"optimizer.lr": 0.5, "loss.gamma": 3.0})
    assert changed.optimizer.lr == 0.5
    assert changed.loss.options == {"gamma": 3.0}
    assert changed.model_copy(update={"optimizer": plain.optimizer, "loss": plain.loss}) == plain


def test_what_is_written_reads_back_the_same(tmp_path):
    recipe = load_recipe(SMALL, {"protocol.imbalance": {"counts": {"a": 3, "b": 1}}, "data.people": 4})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert load_recipe(tmp_path) == recipe


@pytest.mark.parametrize(
    ("word", "value"),
    [("a=1e-3", 1e-3), ("a=[1, 2]", [1, 2]), ("a=null", None), ("a=x", "x"), ("a=true", True), ("a=b=c", "b=c")],
)
def test_words_of_the_command_line_are_yaml(word, value):
    assert parse_overrides([word]) == {"a": value}


@pytest.mark.parametrize("word", ["a", "=1", "a=[1"])
def test_words_that_are_no_settings_are_refused(word):
    with pytest.raises(InputError):
        parse_overrides([word])


@pytest.mark.parametrize("content", ["- 1", "a: [", "\xff\xfe", ""])
def test_files_that_hold_no_recipe_are_refused(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"bad\.yaml"):
        load_recipe(path)


def test_a_table_in_place_of_a_recipe_is_data(tmp_path):
    path = tmp_path / "faces.csv"
    path.write_text("path,label\na.png,happy\n")
    with pytest.raises(InputError, match=r"faces\.csv is a table, not a recipe\n.*--data .*faces\.csv"):
        load_recipe(path)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InputError, match="fer2013-factor10"):
        load_recipe("fer2013-factor1")


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_say_what_they_are(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert recipe.paper or recipe.deviations


def test_numbers_such_as_1e_3_are_numbers_in_files_too(tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(SMALL) + "optimizer:\n  lr: 1e-3\n")
    assert load_recipe(tmp_path / "r.yaml").optimizer.lr == 1e-3


@pytest.mark.parametrize(
    ("text", "value"), [("on", "on"), ("true", True), ("1e3", 1000.0), ("12", 12), ("-0.5", -0.5), ("x1", "x1")]
)
def test_words_are_words_and_numbers_numbers(text, value):
    found = parse_overrides([f"a={text}"])["a"]
    assert found == value
    assert type(found) is type(value)


def test_the_side_of_the_imbalance_and_classes_named_by_digits(tmp_path):
    text = yaml.safe_dump(SMALL) + "protocol:\n  imbalance:\n    on: all\n    counts: {0: 30, 1: 3}\n"
    (tmp_path / "r.yaml").write_text(text)
    imbalance = load_recipe(tmp_path / "r.yaml").protocol.imbalance
    assert imbalance.on == "all"
    assert imbalance.counts == {"0": 30, "1": 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: q\ntraining: {epochs: 3}\ndata: {source: folder}\ntraining: {batch_size: 32}\n", 4),
        ("name: q\ndata:\n  source: folder\n  faces: {crop: face, crop: none}\n", 4),
        ("name: q\ndata: {source: folder}\nsearch:\n  over:\n    - {a: 1, 'a': 2}\n", 5),
    ],
)
def test_a_key_that_stands_twice_is_refused_at_any_depth(tmp_path, text, line):
    (tmp_path / "twice.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"twice\.yaml, line {line}: duplicate key"):
        load_recipe(tmp_path / "twice.yaml")


def test_keys_are_compared_by_value_and_merges_may_be_replaced():
    for text in ("1: a\n1.0: b", "null: a\n~: b", "0x1: a\n1: b", "<<: {a: 1}\n<<: {b: 1}"):
        with pytest.raises(yaml.YAMLError, match="duplicate key"):
            parse_yaml(text)
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}")["b"] == {"x": 3, "y": 2}
    assert parse_yaml("'1': a\n1: b") == {"1": "a", 1: "b"}


def test_a_file_of_claims_and_the_command_line_refuse_keys_that_stand_twice(tmp_path):
    (tmp_path / "c.yaml").write_text("name: a\nabout: b\nname: c\n")
    with pytest.raises(InputError, match=r"c\.yaml, line 3: duplicate key name"):
        load_claims(tmp_path / "c.yaml")
    with pytest.raises(InputError, match=r"duplicate setting optimizer\.lr"):
        parse_overrides(["optimizer.lr=1", "seed=0", "optimizer.lr=2"])


def test_every_key_is_described():
    def keys(section, prefix=""):
        for name, field in section.model_fields.items():
            parts = [part for part in (get_args(field.annotation) or (field.annotation,)) if isinstance(part, type)]
            inner = [part for part in parts if issubclass(part, BaseModel)]
            yield from (key for part in inner for key in keys(part, f"{prefix}{name}."))
            if not inner:
                yield f"{prefix}{name}", field.description

    schema = Recipe.model_json_schema()
    assert set(schema["properties"]) >= {"data", "protocol", "network", "method", "loss", "optimizer", "training"}
    assert all(section.get("description") for name, section in schema["$defs"].items() if name[0].isupper())
    assert len(dict(keys(Recipe))) > 100
    assert [key for key, description in keys(Recipe) if not description] == []
