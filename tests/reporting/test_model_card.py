"""Model cards: numbers are those of the run, groups are recomputed by hand, and small groups are not listed."""

import inspect
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sealed import unsealed
from sklearn.metrics import accuracy_score, balanced_accuracy_score

import evenface as ef
from evenface.data.datasets import DATASETS, dataset_licence, dataset_reader
from evenface.data.manifest import attribute_columns, attribute_groups
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import subgroups
from evenface.reporting import model_card
from evenface.reporting.model_card import STATEMENT
from evenface.reporting.summaries import target_label
from evenface.reporting.tables import escape_markdown
from evenface.runs import METRICS, REPORT, Run


@pytest.mark.parametrize("name", DATASETS)
def test_every_source_states_its_terms(name):
    said = dataset_licence(name)
    assert len(said) > 20
    module = inspect.getmodule(dataset_reader(name))
    sources = {other for other in DATASETS if inspect.getmodule(dataset_reader(other)) is module}
    facts = module.FACTS if isinstance(module.FACTS, dict) else dict.fromkeys(sources, module.FACTS)
    assert set(facts) == sources
    assert said == f"{facts[name].terms}{': ' + facts[name].address if facts[name].address else '.'}"
    assert all(len(fact) > 5 for fact in (facts[name].about, facts[name].targets, facts[name].needs))
    if "research only" in said:
        assert "http" in said  # where the terms are to be read


def test_the_page_of_the_card_names_the_terms_of_every_source():
    page = (Path(__file__).parents[2] / "docs" / "model-card.md").read_text("utf-8")
    assert all(dataset_licence(name) in page and f"`{name}`" in page for name in DATASETS)


# --- groups of people


def made_up(people, seed=0, each=6, known=True):
    """Predictions of ``people`` with ``each`` samples of three classes; those of even number are got right more."""
    random = np.random.default_rng(seed)
    subject = np.repeat([f"p{number:02}" for number in range(people)], each)
    labels = np.tile(np.arange(each) % 3, people)
    right = random.random(len(labels)) < np.where(np.repeat(np.arange(people) % 2, each) == 0, 0.9, 0.5)
    said = np.where(right, labels, (labels + 1) % 3)
    names = np.array([f"s{number}" for number in range(len(labels))])
    groups = np.where(np.repeat(np.arange(people) % 2, each) == 0, "even", "odd")
    return Predictions(names, subject if known else None, labels, np.eye(3)[said], ("a", "b", "c")), groups


def test_a_group_is_judged_by_its_own_samples():
    predictions, groups = made_up(30)
    found = {one.name: one for one in subgroups(predictions, groups)}
    for name, one in found.items():
        own = groups == name
        truth, said = predictions.labels[own], predictions.predicted[own]
        assert (one.samples, one.units) == (own.sum(), 15)
        assert one.metrics["accuracy"].value == pytest.approx(accuracy_score(truth, said))
        assert one.metrics["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(truth, said))
    gap = found["even"].metrics["balanced_accuracy"].value - found["odd"].metrics["balanced_accuracy"].value
    assert found["even"].difference.value == pytest.approx(gap)
    assert found["odd"].difference.value == pytest.approx(-gap)
    assert found["even"].difference.low > 0 > found["odd"].difference.high


def test_intervals_of_a_group_resample_its_people():
    predictions, groups = made_up(40, each=9)
    one = next(one for one in subgroups(predictions, groups, resamples=4000) if one.name == "even")
    own = predictions.take(groups == "even")
    by_person = pd.Series(own.predicted == own.labels).groupby(own.subject).mean().to_numpy()
    random = np.random.default_rng(1)
    means = by_person[random.integers(0, len(by_person), (4000, len(by_person)))].mean(axis=1)
    assert (one.metrics["accuracy"].low, one.metrics["accuracy"].high) == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.01
    )


@pytest.mark.parametrize(("people", "shown"), [(18, False), (20, True)])
def test_groups_of_fewer_than_ten_people_have_no_figures(people, shown):
    predictions, groups = made_up(people)
    assert all(bool(one.metrics) == shown for one in subgroups(predictions, groups))


def test_where_people_are_not_known_a_hundred_samples_are_asked_for():
    few, groups = made_up(30, known=False)
    assert all(not one.metrics for one in subgroups(few, groups))
    many, groups = made_up(40, known=False)
    assert all(one.metrics and one.units == one.samples for one in subgroups(many, groups))


def test_those_of_no_known_group_are_nobody_else():
    predictions, groups = made_up(40)
    unknown = np.arange(len(groups)) >= 120
    given = np.where(unknown, None, groups)
    found = subgroups(predictions, given)
    apart = subgroups(predictions.take(~unknown), groups[~unknown])
    assert [one.difference.value for one in found] == [one.difference.value for one in apart]


def test_a_group_that_lacks_a_class_is_compared_on_those_that_both_show():
    predictions, groups = made_up(40)
    kept = ~((groups == "odd") & (predictions.labels == 2))
    odd = next(one for one in subgroups(predictions.take(kept), groups[kept]) if one.name == "odd")
    assert odd.absent == ("c",)

    def recall(group, label):
        own = (groups == group) & (predictions.labels == label)
        return (predictions.predicted[own] == label).mean()

    means = [np.mean([recall(group, label) for label in (0, 1)]) for group in ("odd", "even")]
    assert odd.difference.value == pytest.approx(means[0] - means[1])


def test_ages_are_put_into_bands_and_other_attributes_stay():
    ages = attribute_groups(pd.Series([3, 17.9, 18, 44.9, 45, 99, None]), "age")
    assert ages.fillna("").tolist() == [
        "under 18",
        "under 18",
        "18 to 29",
        "30 to 44",
        "45 to 59",
        "60 and over",
        "",
    ]
    assert attribute_groups(pd.Series([1.0, 6.0, None]), "skin_tone").fillna("").tolist() == ["1", "6", ""]
    table = pd.DataFrame({"sex": ["female", None], "age": [None, None], "pose": [1, 2]})
    assert attribute_columns(table) == ["sex"]


# --- the card of a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on 24 people in a table that tells their sex and age; half of them test."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("told")
    random, rows = np.random.default_rng(0), []
    for person in range(48):
        for label, (name, count) in enumerate({"calm": 4, "joy|x": 1}.items()):
            for number in range(count):
                path = f"p{person}-{label}-{number}.png"
                pixels = random.normal(80 + 80 * label, 30, (32, 32)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / path)
                sex = "female" if person % 3 else "male"
                rows.append({"path": path, "label": name, "subject": f"p{person}", "sex": sex, "age": 20 + person})
    pd.DataFrame(rows).to_csv(folder / "faces.csv", index=False)
    recipe = {
        "name": "told",
        "data": {"source": "csv", "root": str(folder), "size": 32, "channels": 1},
        "protocol": {"test": 0.5, "validation": 0.3},
        "network": {"name": "compact_vgg_16_half"},
        "loss": {"name": "focal", "gamma": 1.5},
        "training": {
            "epochs": 2,
            "batch_size": 16,
            "accelerator": "cpu",
            "precision": "32-true",
            "sampling": "inverse",
        },
    }
    return ef.train(recipe, out=tmp_path_factory.mktemp("run") / "told", sample_faces=False)


def test_a_card_can_be_written_as_json_and_read_back(run):
    card = model_card.card_of(run)
    again = json.loads(json.dumps(card, allow_nan=False))
    assert again == card
    assert model_card.markdown(again) == model_card.markdown(card)


def test_training_writes_the_card_and_shows_it_in_the_report(run):
    card = model_card.card_of(run)
    assert (run.folder / model_card.CARD).read_text("utf-8") == model_card.markdown(card)
    page = (run.folder / REPORT).read_text("utf-8")
    assert "not a medical device" in page
    assert "Article 5(1)(f)" in page
    assert all(f"People by {one}" in page for one in ("age", "sex"))


def test_the_legal_notice_is_the_same_everywhere_and_pain_is_no_emotion():
    """AI Act, Article 5(1)(f) and recital 18: emotions at work and in education, not physical states."""
    root = Path(__file__).parents[2]
    for name in ("README.md", "docs/model-card.md"):
        text = " ".join((root / name).read_text("utf-8").split())
        assert STATEMENT.partition(". ")[2] in text, name
    prohibited, exempt = STATEMENT.split("It does not concern")
    assert "models of facial expression" in prohibited
    assert "pain" not in prohibited
    assert "pain and fatigue as physical states, not as emotions" in exempt
    assert "unless it is used to infer emotions" in exempt


def test_figures_of_a_card_are_those_of_the_metrics(run):
    card = model_card.card_of(run)
    for key, entry in card["results"]["overall"].items():
        assert entry == run.metrics["overall"][key]
    for name, entry in card["results"]["per_class"].items():
        assert entry == {key: run.metrics["per_class"][name][key] for key in entry}


def test_a_card_without_metrics_computes_the_same(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "told")
    (tmp_path / "told" / METRICS).unlink()
    assert model_card.card_of(Run.open(tmp_path / "told")) == model_card.card_of(run)


def test_groups_of_a_card_are_those_of_the_table(run):
    groups = {one["attribute"]: one for one in model_card.card_of(run)["subgroups"]}
    tested = pd.read_parquet(run.folder / "split.parquet").query("side == 'test'").set_index("sample")
    said = pd.Series(run.predictions.predicted == run.predictions.labels, run.predictions.sample)
    sexes = {one["name"]: one for one in groups["sex"]["groups"]}
    for name in ("female", "male"):
        own = tested[tested["sex"] == name]
        people = own["subject"].nunique()
        if people < 10:
            assert "metrics" not in sexes[name]
            assert "units" not in sexes[name]
        else:
            assert sexes[name]["units"] == people
            assert sexes[name]["metrics"]["accuracy"]["value"] == pytest.approx(said[own.index].mean())
    assert any("metrics" in one for one in sexes.values())
    assert any("metrics" not in one for one in groups["age"]["groups"])
    assert "fewer than 10" in model_card.markdown(model_card.card_of(run))


def test_a_card_lists_treatment_imbalance_and_licence(run):
    card = model_card.card_of(run)
    assert card["treatment"] == ["Loss: focal (gamma 1.5).", "Sampling: inverse."]
    assert card["imbalance"]["ratio"] == pytest.approx(4, abs=0.01)
    assert card["data"]["licence"] == dataset_licence("csv")
    assert card["protocol"]["sides"]["test"] == {"samples": len(run.predictions), "people": run.predictions.people}
    assert card["network"]["licence"].startswith("Trained from random weights on this data only")
    text = model_card.markdown(card)
    assert "joy\\|x" in text  # a class's name breaks no table
    tables = [line for line in text.split("\n") if line.startswith("| joy")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {5, 6}


def test_a_card_names_a_file_of_weights_but_no_folder_of_this_machine(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    text = recipe.read_text("utf-8").replace("weights: random", "weights: /somewhere/of/mine/faces.safetensors")
    recipe.write_text(text, encoding="utf-8")
    unsealed(recipe.parent)
    text = model_card.markdown(model_card.card_of(ef.Run.open(recipe.parent)))
    assert "faces.safetensors" in text
    assert "of/mine" not in text
    assert run.recipe.data.root not in text


def test_erm_is_listed_as_no_imbalance_method(small_recipe, tmp_path):
    plain = ef.train(small_recipe, out=tmp_path / "plain", sample_faces=False, **{"training.epochs": 1})
    card = model_card.card_of(plain)
    assert card["treatment"][-1] == "No imbalance method: empirical risk minimisation."
    assert card["subgroups"] == []
    assert any("unknown" in line for line in card["limits"])
    assert any("people only" in line for line in card["limits"])


def test_a_card_can_be_shown_without_torch(run, tmp_path):
    path = tmp_path / "card.json"
    path.write_text(json.dumps(model_card.card_of(run)))
    code = (
        "import sys, json\n"
        "for name in ('torch', 'timm', 'torchvision', 'matplotlib'): sys.modules[name] = None\n"
        "from evenface.reporting.model_card import markdown\n"
        f"print(markdown(json.load(open({str(path)!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("# Model card: told")


def test_sources_name_no_licence_by_guess():
    """Sources of a user's own files say that evenface does not know."""
    for name in ("folder", "csv", "clips", "clip-folder", "landmarks", "sequences"):
        assert "unknown to evenface" in dataset_licence(name)


PIECES = [*"[](){}<>*_`~|\\&;:!?/#^+-=.0aX ", "[x]", "](", "&lt;", "http://a", "<b>", "**", "0.3", "\u2212", "é"]


def test_no_text_of_a_card_is_taken_for_markup():
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    texts = ["<script>alert(1)</script>", "[x](javascript:alert(1))", "![](http://a/b.png)", "12) a", "[a]: b", "a\\"]
    texts += ["".join(random.Random(seed).choices(PIECES, k=8)) for seed in range(2000)]
    for text in (" ".join(text.split()) for text in texts if text.strip()):
        item = parser.parse(f"- {escape_markdown(text)}\n")
        assert [token.type for token in item if token.level == 2] == ["paragraph_open", "paragraph_close"], text
        table = parser.parse(f"| a | b |\n|---|---|\n| {escape_markdown(text)} | end |\n")
        for blocks, position in ((item, 0), (table, 2)):
            tokens = [token.children for token in blocks if token.type == "inline"][position]
            assert [token.type for token in tokens if token.type not in ("text", "text_special")] == [], text
            assert "".join(token.content for token in tokens) == text


def test_what_needs_no_escape_has_none():
    for text in (
        "0.542 [0.501, 0.583]",
        "p < 0.05",
        "2 * 3",
        "snake_case",
        r"C:\Users",
        "Q&A",
        "(a) [b] c-d",
        "+0.049",
        "-1",
    ):
        assert escape_markdown(text) == text


def test_the_worst_group_is_named():
    def group(name, value):
        return {
            "name": name,
            "units": 12,
            "samples": 50,
            "absent": [],
            "metrics": {"balanced_accuracy": figures(value)},
        }

    def figures(value):
        return {"value": value, "low": value, "high": value}

    groups = [group("f", 0.7), group("m", 0.6), {"name": "x", "absent": []}]
    for each in groups[:2]:
        each["metrics"]["accuracy"] = figures(0.5)
    attribute = {"attribute": "sex", "unit": "people", "at_least": 10, "unknown": 0, "groups": groups}
    card = {"task": {"kind": "classification"}, "subgroups": [attribute]}
    (table,) = model_card.group_tables(card)
    assert "Worst group: m, balanced accuracy 0.600." in table.note
    attribute["groups"] = groups[:1]
    assert "Worst" not in model_card.group_tables(card)[0].note
    attribute["groups"] = [{"name": "f", "absent": []}]
    (small,) = model_card.group_tables({"task": {"kind": "regression"}, "subgroups": [attribute]})
    assert small.header[3:5] == (target_label("ccc"), target_label("expected_mae"))
