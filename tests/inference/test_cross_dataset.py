"""Cross-dataset evaluation: test samples, mapping of classes, files, errors."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import refused
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config.recipe import Data
from evenface.data.leakage import find_contained
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import metrics_of
from evenface.inference.cross_dataset import predict_on
from evenface.methods import METHODS
from evenface.training.build import trained_method
from evenface.utils.files import write_json_with_digest


def draw(path, brightness, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).normal(brightness, 25, (40, 40)).clip(0, 255)
    Image.fromarray(picture.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def trained(small_recipe, tmp_path_factory):
    """A run with the classes calm, fear and happy."""
    return ef.train(small_recipe, out=tmp_path_factory.mktemp("runs") / "ce", sample_faces=False)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, for tests that write into its folder."""
    shutil.copytree(trained.folder, tmp_path / "ce")
    return tmp_path / "ce"


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Another data set with a split, other class names, one class more and one less."""
    root = tmp_path_factory.mktemp("others")
    for side, count in {"train": 2, "test": 5}.items():
        for number, name in enumerate(("Fearful", "Happiness", "Joy")):
            for picture in range(count + number):
                draw(root / side / name / f"{side}{picture}.png", 100 + 50 * number, 100 * number + picture + 7 * count)
    return root


def on(root):
    return {"name": "others", "data": {"source": "folder", "root": str(root)}, "protocol": {"kind": "official"}}


def predicted(run, other, classes=None, everything=False, out=None, **overrides):
    """Predict another dataset, without metrics and report."""
    return predict_on(run, other, classes=classes, everything=everything, out=out, overrides=overrides)


def by_hand(run, path):
    """Predict one image without the data pipeline."""
    import torch

    picture = Image.open(path).convert("L")
    picture = picture.resize((32, 32), Image.Resampling.BOX) if picture.size != (32, 32) else picture
    image = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None, None]
    with torch.inference_mode():
        return trained_method(run).eval().predict(image)[0].numpy()


def test_on_its_own_data_a_run_predicts_the_same_again(trained, tmp_path):
    again = ef.evaluate(trained.folder, on=trained.folder, out=tmp_path / "again", sample_faces=False)
    assert again.predictions.classes == trained.predictions.classes
    assert again.predictions.sample.tolist() == trained.predictions.sample.tolist()
    np.testing.assert_allclose(again.predictions.probabilities, trained.predictions.probabilities, rtol=1e-14)
    assert again.metrics["overall"] == trained.metrics["overall"]
    assert not any("LEAK" in note for note in again.facts["notes"])


def test_shared_classes_of_the_test_set_are_predicted(run, others, tmp_path):
    plain = tmp_path / "plain"
    for path in others.rglob("*.png"):  # of the network's size, so that preparation changes nothing
        (plain / path.relative_to(others)).parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((32, 32)).save(plain / path.relative_to(others))
    got = predicted(run, on(plain))
    assert got.folder == run / "on-others"
    assert got.predictions.classes == ("fear", "happy")
    expected = sorted(
        str(p.relative_to(plain)) for name in ("Fearful", "Happiness") for p in plain.glob(f"test/{name}/*")
    )
    assert got.predictions.sample.tolist() == expected
    for sample, label, row in zip(expected, got.predictions.labels, got.predictions.probabilities, strict=True):
        assert ("fear", "happy")[label] in sample.lower().replace("happiness", "happy")
        _calm, fear, happy = by_hand(ef.Run.open(run), plain / sample)
        assert row == pytest.approx([fear / (fear + happy), happy / (fear + happy)], rel=1e-4)


def test_everything_reported_comes_from_the_stored_predictions(run, others):
    got = ef.evaluate(run, on=on(others))
    kept = Predictions.load(got.folder / "predictions.parquet")
    whole = Predictions.load(got.folder / "unrestricted.parquet")
    assert whole.classes == ("calm", "fear", "happy")
    expected = whole.probabilities[:, 1:] / whole.probabilities[:, 1:].sum(axis=1, keepdims=True)
    assert kept.probabilities == pytest.approx(expected)
    assert (kept.labels + 1).tolist() == whole.labels.tolist()
    assert ef.Run(got.folder).metrics == metrics_of(ef.Run(got.folder).predictions)
    outside = whole.probabilities[:, 0].mean()
    other_class = int((whole.predicted == 0).sum())
    notes = "\n".join(got.facts["notes"])
    assert "trained on folder, tested on others" in notes
    assert "classes of others mapped to those of the run: Fearful is fear, Happiness is happy" in notes
    assert "no such class or the map excludes it: Joy (7 samples)" in notes
    assert (
        "others has no calm: probabilities are restricted to the 2 shared classes and renormalised; "
        f"before, {outside:.1%}" in notes
    )
    assert f"the most probable for {other_class} of {len(whole)} samples" in notes
    assert "in training: subject-independent split" in notes
    assert got.facts["counts"]["test"] == kept.support.tolist()
    assert got.facts["counts"]["train"] == ef.Run.open(run).facts["counts"]["train"][1:]
    page = (got.folder / "report.html").read_text()
    assert "ce on others" in page
    assert "trained on folder, tested on folder" in page
    assert "renormalised" in page


def test_a_class_map_has_precedence_over_names(run, others):
    got = predicted(run, on(others), classes={"Joy": "happy", "Fearful": None, "Happiness": "calm"})
    assert got.facts["map"] == {"Fearful": None, "Happiness": "calm", "Joy": "happy"}
    assert got.predictions.classes == ("calm", "happy")
    assert got.predictions.support.tolist() == [6, 7]


def test_classes_of_the_run_are_merged_before_they_are_matched(run, others, tmp_path):
    plain = predicted(run, on(others), classes={"Joy": "calm"}, out=tmp_path / "plain")
    classes = {"Joy": "calm", "Fearful": "moved", "Happiness": "moved"}
    joined = {"moved": ["fear", "happy"]}
    got = predict_on(run, on(others), classes=classes, merge=joined, out=tmp_path / "joined", overrides={})
    assert got.predictions.classes == ("calm", "moved")
    assert got.facts["merge"] == joined
    assert "classes of the run merged to moved: fear, happy" in got.facts["notes"]
    whole = Predictions.load(plain.folder / "unrestricted.parquet").probabilities
    np.testing.assert_allclose(got.predictions.probabilities, np.stack([whole[:, 0], whole[:, 1:].sum(axis=1)], axis=1))
    train = ef.Run.open(run).facts["counts"]["train"]
    assert got.facts["counts"]["train"] == [train[0], sum(train[1:])]
    with refused("holds another run or evaluation, with other map, merge"):
        predicted(run, on(others), out=got.folder)


def test_all_samples_are_used_only_of_data_the_run_was_not_trained_on(run, others, people_folder):
    got = predicted(run, on(others), everything=True)
    assert len(got.predictions) == 2 + 3 + 5 + 6
    assert any("evaluated on all samples" in note for note in got.facts["notes"])
    with refused("the run was trained on small: it cannot be evaluated on all of its samples"):
        predicted(run, run, everything=True, out=run / "x")
    with refused("the run was trained on folder"):
        predicted(run, "folder", everything=True, out=run / "x", **{"data.root": str(people_folder)})


def test_a_source_is_tested_on_its_official_test_set(run, others, people_folder):
    got = predicted(run, "folder", **{"data.root": str(others)})
    assert got.folder == run / "on-folder"
    assert len(got.predictions) == 5 + 6
    own, other = got.facts["recipe"]["data"], got.facts["on"]["data"]
    assert {key: other[key] for key in Data.model_fields if key not in ("source", "root")} == {
        key: own[key] for key in Data.model_fields if key not in ("source", "root")
    }
    assert "subjects" not in other  # an option of the run's source, not of preparation
    with refused("has no official split into training and test"):
        predicted(run, "folder", out=run / "x", **{"data.root": str(people_folder)})


def test_only_the_official_test_set_is_prepared(run, others):
    def prepared(**settings):
        return len(ef.Run(predicted(run, on(others), out=run / str(len(settings)), **settings).folder).store)

    assert prepared() == 5 + 6 + 7  # Joy is dropped later, as the run has no such class
    # These depend on the other samples: copies in the training set, and the unit that is held out.
    assert prepared(**{"protocol.duplicates": "drop-test"}) == 18 + 2 + 3 + 4
    assert prepared(**{"protocol.kind": "holdout", "protocol.test": 0.5}) == 18 + 9


def test_the_official_test_set_is_that_of_all_samples_prepared(run, others, tmp_path):
    damaged = tmp_path / "others"
    shutil.copytree(others, damaged)
    (damaged / "test" / "Fearful" / "test1.png").write_bytes(b"")
    (damaged / "train" / "Joy" / "train0.png").write_bytes(b"")
    got, whole = (
        predicted(run, on(damaged), out=run / name, **{"protocol.duplicates": name}) for name in ("keep", "drop-test")
    )
    assert got.predictions.sample.tolist() == whole.predictions.sample.tolist()
    np.testing.assert_array_equal(got.predictions.probabilities, whole.predictions.probabilities)
    assert len(got.predictions) == 4 + 6
    assert any("1 sample was skipped" in note for note in got.facts["notes"])


def test_training_images_in_the_test_set_are_reported_and_can_be_dropped(run, others, people_folder, tmp_path):
    sides = pd.read_parquet(run / "split.parquet")
    shutil.copytree(others, tmp_path / "others")
    for side in ("train", "test"):
        sample = sides.loc[(sides["side"] == side) & sides["sample"].str.startswith("happy"), "sample"].iloc[0]
        shutil.copy(people_folder / sample, tmp_path / "others" / "test" / "Happiness" / f"copy-of-{side}.png")
    got = predicted(run, on(tmp_path / "others"))
    assert any(note.startswith("LEAK: the run was trained on 1 of 13 images") for note in got.facts["notes"])
    clean = predicted(run, on(tmp_path / "others"), out=run / "clean", **{"protocol.duplicates": "drop-test"})
    gone = set(got.predictions.sample) - set(clean.predictions.sample)
    assert gone == {"test/Happiness/copy-of-train.png"}
    assert "1 images dropped: the run was trained on them" in clean.facts["notes"]


def test_without_the_runs_store_a_note_states_that_overlap_was_not_checked(run, others, tmp_path):
    facts = json.loads((run / "run.json").read_text())
    write_json_with_digest(run / "run.json", {**facts, "store": str(tmp_path / "gone")})
    got = predicted(run, on(others))
    assert any(note.startswith("overlap with the training data was not checked") for note in got.facts["notes"])


def test_a_second_call_returns_the_first_result_and_other_settings_are_refused(run, others, tmp_path):
    first = predicted(run, on(others))
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    shutil.copytree(others, tmp_path / "moved")
    assert predicted(run, on(tmp_path / "moved")).folder == first.folder
    facts = json.loads((first.folder / "run.json").read_text())
    del facts["on"]["schedule"]  # as a version without this key wrote it
    write_json_with_digest(first.folder / "run.json", facts)
    before[first.folder / "run.json"] = (first.folder / "run.json").stat().st_mtime_ns
    assert predicted(run, on(tmp_path / "moved")).folder == first.folder
    with refused(f"{first.folder} holds another run or evaluation, with other map"):
        predicted(run, on(others), classes={"Joy": "happy"})
    with refused("with other manifest, everything"):
        predicted(run, on(others), everything=True)
    with refused("is itself a cross-dataset evaluation\n  Specify its run: "):
        predicted(first.folder, on(others))
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")} == before
    (first.folder / "predictions.parquet").unlink()  # as after a kill
    assert len(predicted(run, on(others)).predictions) == 11


def test_initial_weights_may_be_deleted(small_recipe, others, run, tmp_path):
    shutil.copy(run / "weights.safetensors", tmp_path / "start.safetensors")
    settings = {"network.weights": str(tmp_path / "start.safetensors"), "training.epochs": 1}
    later = ef.train(small_recipe, out=tmp_path / "later", sample_faces=False, **settings)
    (tmp_path / "start.safetensors").unlink()
    assert len(predicted(later.folder, on(others)).predictions) == 11


def test_runs_are_compared_on_the_other_data(run, others, small_recipe, tmp_path):
    focal = ef.train(
        small_recipe, out=tmp_path / "focal", sample_faces=False, **{"loss.name": "focal", "training.epochs": 1}
    )
    folders = [predicted(folder, on(others)).folder for folder in (run, focal.folder)]
    found = ef.compare(folders, out=tmp_path / "c", sample_faces=False)
    warning, verdict, count = found.lines[:3]
    assert "no method is significantly above chance" in warning  # on so few samples
    assert "focal" in verdict
    assert "11 samples" in count


def test_a_missing_report_is_written_again(run, others):
    folder = predicted(run, on(others)).folder
    assert not (folder / "report.html").is_file()
    again = ef.evaluate(run, on=on(others))
    assert again.metrics == metrics_of(again.predictions)
    assert "data:image/jpeg" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"other": "rafdbb"}, "no recipe 'rafdbb'"),
        ({"classes": {"Fearful": "anger"}}, "the model has no class 'anger'"),
        ({"classes": {"Fearful": None}}, "share only the class happy; expected at least two"),
        ({"classes": "joy"}, "classes must map classes of the dataset to classes of the model, got 'joy'"),
        ({"data.size": 48}, "data.size cannot be 48: the run's network takes 32"),
        ({"data.root": "/nowhere/at/all"}, "the folder /nowhere/at/all does not exist"),
        ({"protocol.kind": "leave-one-out"}, "To evaluate on all samples: --all-samples"),
        ({"protocl.kind": "official"}, "Did you mean protocol?"),
    ],
)
def test_mistakes_leave_nothing_behind(run, others, change, words):
    with refused(words):
        predicted(run, **{"other": on(others), **change})
    assert not list(run.glob("on-*"))


def test_a_folder_without_run_or_weights_is_refused(run, others, tmp_path):
    with refused("is no run folder"):
        predicted(tmp_path, on(others))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with refused("exists and is not a run folder"):
        predicted(run, on(others), out=tmp_path / "mine")
    (run / "weights.safetensors").write_bytes(b"half")
    with refused("weights.safetensors is damaged"):
        predicted(run, on(others))
    (run / "weights.safetensors").unlink()
    with refused("has no weights.safetensors"):
        predicted(run, on(others))


def test_imbalance_of_the_other_recipe_does_not_change_its_test_set(run, others):
    recipe = on(others)
    recipe["protocol"] = {"kind": "official", "imbalance": {"counts": {"Joy": 5000}}}
    assert len(predicted(run, recipe).predictions) == 11


def test_the_command_line(run, others):
    words = [
        "evaluate",
        run,
        "--on",
        "folder",
        f"data.root={others}",
        "--class-map",
        "{Joy: happy}",
        "--no-sample-faces",
    ]
    joined = [*words, "--merge-classes", "{happy: [calm, happy]}", "--out", run / "joined"]
    assert "merged to happy: calm, happy" in CliRunner().invoke(app, [str(word) for word in joined]).stdout
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("balanced accuracy")
    assert "Joy is happy" in result.stdout
    assert f"report  {run / 'on-folder' / 'report.html'}" in result.stdout
    other = CliRunner().invoke(app, [*map(str, words[:5]), "--all-samples"])
    assert other.exit_code == 2
    assert "holds another run or evaluation" in other.output


def test_what_needs_another_dataset_is_refused_without_one(run):
    for argument in ({"all_samples": True}, {"class_map": {"Joy": "happy"}}, {"out": run / "x"}):
        with refused("needs the other dataset"):
            ef.evaluate(run, **argument)
    with refused("data.root is a setting of another dataset"):
        ef.evaluate(run, **{"data.root": "x"})


def test_methods_trained_on_votes_predict_without_them(tmp_path, people_folder, others):
    if "label-distribution" not in METHODS:
        pytest.skip("the method is not registered")
    table = pd.DataFrame({"path": [str(p.relative_to(people_folder)) for p in sorted(people_folder.rglob("*.png"))]})
    table["label"] = table["path"].str.split("/").str[0]
    for name in ("calm", "fear", "happy"):
        table[f"votes_{name}"] = (table["label"] == name) * 3 + 1
    table["path"] = str(people_folder) + "/" + table["path"]
    shutil.copytree(people_folder, tmp_path / "data")
    table["path"] = table["path"].str.replace(str(people_folder), str(tmp_path / "data"))
    table.to_csv(tmp_path / "data" / "samples.csv", index=False)
    recipe = {
        "name": "votes",
        "data": {"source": "csv", "root": str(tmp_path / "data"), "size": 32, "channels": 1},
        "network": {"name": "compact_vgg_16_half"},
        "method": {"name": "label-distribution"},
        "training": {"epochs": 1, "batch_size": 16, "accelerator": "cpu", "precision": "32-true"},
    }
    run = ef.train(recipe, out=tmp_path / "votes", sample_faces=False)
    assert predicted(run.folder, on(others)).predictions.classes == ("fear", "happy")


@given(st.data())
def test_duplicate_images_are_those_of_a_naive_loop(data):
    few = st.lists(st.integers(0, 2), min_size=4, max_size=4)
    images = np.array(data.draw(st.lists(few, min_size=1, max_size=6)), dtype=np.uint8).reshape(-1, 1, 2, 2, 1)
    others = np.array(data.draw(st.lists(few, min_size=1, max_size=6)), dtype=np.uint8).reshape(-1, 1, 2, 2, 1)
    rows = np.array(data.draw(st.lists(st.integers(0, len(images) - 1), unique=True)), dtype=np.int64)
    found = find_contained(images, rows, others, np.arange(len(others)))
    assert found.tolist() == [any((images[row] == other).all() for other in others) for row in rows]
    assert not find_contained(images, rows, others[:, :, :1], np.arange(len(others))).any()
