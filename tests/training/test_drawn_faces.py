"""Drawn faces among the training samples: where they are, how they look, what is refused, what a run shows of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config import load_recipe
from evenface.preprocessing.image import read_picture
from evenface.runs import PREDICTIONS, Run
from evenface.studies.definition import load_study
from evenface.studies.plan import make_plan
from evenface.training.batches import ImageBank
from evenface.training.data import TrainingData
from evenface.training.drawn_faces import drawn_expressions
from evenface.utils.errors import InputError
from evenface.utils.files import digest_file

FEW = {"fear": 5, "happy": 3}


def data_of(source, **settings):
    return TrainingData(load_recipe(source, settings))


def official(people_folder, folder):
    """Return a table of the people with an official split."""
    rows = [
        {"path": str(path.relative_to(people_folder)), "label": path.parent.name, "subject": path.name[:3]}
        for path in sorted(people_folder.glob("*/*.png"))
    ]
    table = pd.DataFrame(rows)
    table["split"] = np.select([table["subject"] < "p03", table["subject"] < "p05"], ["test", "validation"], "train")
    table.to_csv(folder / "table.csv", index=False)
    return {"source": "csv", "root": str(people_folder), "table": str(folder / "table.csv"), "size": 32, "channels": 1}


@pytest.mark.parametrize(
    "protocol",
    [
        {"kind": "official"},
        {"kind": "official", "validation": 0},
        {"kind": "holdout", "imbalance": {"factor": 3}},
        {"kind": "holdout", "by": "frame", "imbalance": {"counts": {"fear": 0}, "on": "train"}},
        {"kind": "holdout", "cohorts": 2, "train_fraction": 0.5, "imbalance": {"factor": 4, "on": "all"}},
        {"kind": "kfold", "folds": 3, "fold": 2, "duplicates": "drop-test"},
        {"kind": "leave-one-out", "fold": 4},
    ],
    ids=lambda protocol: "-".join(map(str, [protocol["kind"], *list(protocol)[1:]])),
)
def test_drawn_faces_are_training_samples_under_every_protocol(protocol, small_recipe, people_folder, tmp_path):
    source = official(people_folder, tmp_path) if protocol["kind"] == "official" else {}
    settings = {"data": source, "protocol": protocol} if source else {"protocol": protocol}
    plain = data_of(small_recipe, **settings)
    topped = data_of(small_recipe, **settings, **{"data.synthetic": FEW})
    for side in ("train", "validation", "test"):
        assert getattr(topped.split, side).tolist() == getattr(plain.split, side).tolist()
    table, rows = topped.training_manifest.table, topped.training_rows
    assert not table["synthetic"].iloc[topped.split.validation].any()
    assert not table["synthetic"].iloc[topped.split.test].any()
    assert rows[: -sum(FEW.values())].tolist() == plain.split.train.tolist()
    drawn = table.iloc[rows[-sum(FEW.values()) :]]
    assert drawn["synthetic"].all()
    assert table["synthetic"].sum() == len(drawn)
    named = [topped.manifest.classes[label] for label in drawn["label"]]
    assert {name: named.count(name) for name in named} == FEW
    gains = dict(zip(plain.manifest.classes, (topped.counts - plain.counts).tolist(), strict=True))
    assert gains == {"calm": 0, **FEW}
    assert set(drawn["subject"]).isdisjoint(topped.manifest.table["subject"])
    assert drawn["subject"].str.startswith("synthetic-").all()
    topped.check()


def test_a_class_may_have_drawn_faces_alone(small_recipe):
    nothing = {"protocol.imbalance": {"counts": {"fear": 0}}}
    with pytest.raises(InputError, match="the class fear has no training sample"):
        data_of(small_recipe, **nothing).check()
    data = data_of(small_recipe, **nothing, **{"data.synthetic": FEW})
    data.check()
    assert "the training set has no sample that is not drawn of fear" in data.notes


def images_of(**settings):
    drawn = data_of(**settings).drawn
    return dict(zip(drawn.manifest.table["sample"], map(bytes, drawn.images), strict=True))


def test_faces_depend_on_the_seed_and_those_of_fewer_are_among_those_of_more(small_recipe, monkeypatch, tmp_path):
    few = images_of(source=small_recipe, **{"data.synthetic": FEW, "seed": 3})
    more = images_of(source=small_recipe, **{"data.synthetic": {"fear": 7}})
    fear = {name: image for name, image in few.items() if name.startswith("synthetic/fear/")}
    assert len(fear) == 5
    assert len(more) == len(set(more.values())) == 7
    assert fear.items() <= more.items()
    monkeypatch.setenv("EVENFACE_CACHE", str(tmp_path))
    assert images_of(source=small_recipe, **{"data.synthetic": {"fear": 7}}) == more
    other = images_of(source=small_recipe, **{"data.synthetic": {"fear": 2}, "protocol.seed": 1})
    assert not set(other.values()) & set(more.values())


SYNTHETIC = {"name": "drawn", "data": {"source": "synthetic", "size": 32, "people": 3, "counts": {"fear": 9, "sad": 9}}}


def test_people_drawn_for_training_are_no_people_of_synthetic_data():
    data = data_of(SYNTHETIC, **{"data.look": "tight", "data.synthetic": {"fear": 6}, "protocol.test": 0.4})
    assert not set(map(bytes, data.drawn.images)) & set(map(bytes, data.store.images))
    drawn = data.training_manifest.table[data.training_manifest.table["synthetic"]]
    assert set(drawn["sex"]) <= {"female", "male"}
    assert drawn["age"].notna().all()
    assert drawn["AU1"].isna().all()


@pytest.mark.parametrize("colour", [False, True])
def test_drawn_faces_are_as_grey_and_as_coarse_as_the_real_ones(colour, tmp_path):
    random = np.random.default_rng(0)
    for name in ("fear", "happy"):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = random.integers(0, 255, (40, 52, 3 if colour else 1), dtype=np.uint8)
            image = Image.fromarray(pixels if colour else pixels[..., 0])
            image.save(tmp_path / name / f"{number}.png")
    recipe = {"name": "own", "data": {"source": "folder", "root": str(tmp_path), "size": 64, "channels": 3}}
    drawn = data_of(recipe, **{"data.synthetic": {"fear": 4}}).drawn
    assert drawn.images.shape == (4, 1, 64, 64, 3)
    assert (drawn.images == drawn.images[..., :1]).all() != colour
    files = [read_picture(str(drawn.manifest.root / path)) for path in drawn.manifest.table["path"]]
    assert {file.size for file in files} == {(40, 40)}


def test_faces_are_detected_in_larger_drawn_images_where_they_are_in_real_ones():
    crop = {"data.faces.crop": "face", "data.faces.margin": 0.1, "data.size": 48, "data.render_size": 72}
    data = data_of(SYNTHETIC, **crop, **{"data.synthetic": {"fear": 3}})
    assert data.drawn.images.shape == (3, 1, 48, 48, 3)
    sides = {read_picture(str(data.drawn.manifest.root / path)).size for path in data.drawn.manifest.table["path"]}
    assert sides == {(72, 72)}


@given(st.lists(st.integers(0, 10), min_size=1, max_size=20))
def test_a_bank_reads_drawn_images_after_the_others(rows):
    random = np.random.default_rng(0)
    real, drawn = (random.integers(0, 255, (n, 1, 4, 4, 1), dtype=np.uint8) for n in (7, 4))
    bank = ImageBank(real, torch.device("cpu"), drawn=drawn)
    expected = np.concatenate([real, drawn])[rows][:, 0]
    assert bank.take(np.array(rows)).numpy().tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.synthetic": {"fearful": 5}}, r"folder has no class 'fearful'"),
        ({"data.synthetic": {"calm": 5}}, r"synthetic people cannot show calm"),
        ({"data.synthetic": {"fear": -1}}, r"data\.synthetic\.fear"),
        ({"data.synthetic": {"fear": 5}, "network": {"name": "recurrent"}}, r"learns from sequences"),
        ({"data.synthetic": {"fear": 5}, "data.task": "ordinal"}, r"none are predicted"),
        ({"data.synthetic": {"fear": 5}, "data.targets": ["AU1"]}, r"none are predicted"),
        (
            {
                "data.synthetic": {"fear": 5},
                "data.baseline": {"kind": "subject-mean"},
                "network.temporal.kind": "difference",
            },
            r"data\.baseline is subject-mean",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(settings, message, small_recipe, tmp_path):
    if "network" in settings:  # keys of image networks would be refused first
        settings = settings | {"augment": {}, "training.precision": "32-true"}
    with pytest.raises(InputError, match=message):
        ef.train(small_recipe, out=tmp_path / "run", **settings)
    assert not list(tmp_path.glob("run/*"))


def test_clips_are_refused():
    clips = {"name": "clips", "data": {"source": "synthetic-clips", "people": 2, "frames": 4, "size": 32, "total": 4}}
    clips["data"] |= {"label": "trend", "synthetic": {"rising": 3}}
    with pytest.raises(InputError, match="draws single images, and synthetic-clips has clips"):
        _ = data_of(clips).listed


def test_levels_and_targets_are_refused(small_recipe):
    manifest = data_of(small_recipe).listed
    for other in ({"task": "ordinal"}, {"task": "regression", "targets": ("age",)}):
        with pytest.raises(InputError, match="adds faces to classes of expressions, and folder has none"):
            drawn_expressions({"fear": 3}, replace(manifest, **other))


def test_classes_named_otherwise_are_drawn_but_not_one_expression_twice(people_folder, tmp_path):
    for name, files in (("Fearful", "fear"), ("fear", "fear"), ("happy", "happy")):
        (tmp_path / name).mkdir()
        for path in sorted((people_folder / files).glob("p0[0-3]-*.png")):
            Image.open(path).save(tmp_path / name / path.name)
    recipe = {"name": "own", "data": {"source": "folder", "root": str(tmp_path), "size": 32, "channels": 1}}
    data = data_of(recipe, **{"data.synthetic": {"Fearful": 3}})
    assert [data.manifest.classes[label] for label in data.drawn.manifest.labels] == ["Fearful"] * 3
    with pytest.raises(InputError, match="Fearful and fear are the same expression"):
        _ = data_of(recipe, **{"data.synthetic": {"Fearful": 3, "fear": 1}}).drawn


def test_votes_of_drawn_faces_are_all_for_their_class(people_folder, tmp_path):
    data = official(people_folder, tmp_path)
    table = pd.read_csv(data["table"])
    for name in ("calm", "fear", "happy"):
        table[f"votes_{name}"] = np.where(table["label"] == name, 7, 1.5)
    table.to_csv(data["table"], index=False)
    recipe = {"name": "votes", "data": data, "protocol": {"kind": "official"}, "network": {"name": "test_resnet"}}
    topped = data_of(recipe, **{"data.synthetic": FEW})
    votes = topped.training_manifest.votes(topped.training_rows)
    expected = np.eye(3)[topped.training_manifest.labels[topped.training_rows]] * 10
    np.testing.assert_array_equal(votes[-8:], expected[-8:])
    assert np.isfinite(votes).all()


def test_no_drawn_faces_are_training_as_before(small_recipe, tmp_path):
    runs = []
    for number, settings in enumerate(({}, {"data.synthetic": {"fear": 0}})):
        run = ef.train(
            small_recipe, out=tmp_path / str(number), sample_faces=False, **settings, **{"training.epochs": 1}
        )
        runs.append((digest_file(run.folder / PREDICTIONS), digest_file(run.folder / "split.parquet")))
        assert "synthetic" not in run.facts
    assert len(set(runs)) == 1


@pytest.fixture(scope="module")
def topped_run(people_folder, tmp_path_factory):
    """A run on a folder with drawn faces, trained by the command."""
    folder = tmp_path_factory.mktemp("topped") / "run"
    short = ["training.epochs=1", "network.name=test_resnet", "data.size=32", "--method", "erm"]
    arguments = ["train", "--data", str(people_folder), "--out", str(folder), *short]
    result = CliRunner().invoke(app, [*arguments, "data.synthetic.fear=5", "data.synthetic.happy=3"])
    assert result.exit_code == 0, result.output
    assert "drawn     fear 5, happy 3: faces of synthetic people among the training samples" in result.stderr
    return Run.open(folder)


def test_a_run_marks_drawn_faces_and_counts_them(topped_run):
    table = pd.read_parquet(topped_run.folder / "split.parquet")
    drawn = table[table["synthetic"]]
    assert set(drawn["side"]) == {"train"}
    assert sorted(drawn["row"]) == list(range(8))
    assert topped_run.facts["synthetic"]["counts"] == [0, 5, 3]
    train = table[table["side"] == "train"]
    assert topped_run.facts["counts"]["train"] == np.bincount(train["label"], minlength=3).tolist()
    real = topped_run.split
    assert len(real) == len(table) - 8
    assert "synthetic" not in real
    assert len(topped_run.store) == real["row"].max() + 1
    assert not set(topped_run.predictions.sample) & set(drawn["sample"])


def test_card_and_report_state_the_drawn_faces(topped_run):
    card = (topped_run.folder / "model-card.md").read_text()
    assert "| class | train | drawn, in train | validation | test |" in card
    assert "- Faces of synthetic people drawn for the training set: fear 5, happy 3." in card
    assert "samples (8 of them drawn), " in card
    assert "No imbalance method" not in card
    assert "Trained on synthetic people" not in card
    assert "synthetic: Rendered by evenface" in card
    report = (topped_run.folder / "report.html").read_text()
    assert "aces of 3 synthetic people were drawn and added to the training set: fear 5, happy 3" in report
    assert "drawn, in train" in report


def test_an_ended_run_is_opened_and_another_number_is_another_run(topped_run, people_folder):
    arguments = ["train", str(topped_run.folder), "--resume"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    result = CliRunner().invoke(app, [*arguments, "data.synthetic.fear=6"])
    assert result.exit_code == 2
    assert "begun with other settings: data.synthetic.fear" in result.stderr.replace("\n", " ")


def test_levels_of_a_study_are_numbers_of_drawn_faces():
    study = {
        "name": "numbers",
        "recipe": "p4-fer2013",
        "set": {"data.root": "somewhere"},
        "factors": {
            "added": {"none": {}, "some": {"data.synthetic": {"fear": 50}}, "more": {"data.synthetic.fear": 90}}
        },
    }
    plan = make_plan(load_study(study))
    wanted = [run.recipe.data.synthetic for run in plan.runs]
    assert wanted[:: len(wanted) // 3] == [{}, {"fear": 50}, {"fear": 90}]
    assert len({run.folder for run in plan.runs}) == len(plan.runs)


def test_a_check_states_that_drawn_faces_are_none_of_the_samples(small_recipe):
    findings = ef.check_data(small_recipe, **{"data.synthetic": FEW})
    assert any("drawn for the training set alone" in note for note in findings.notes)
