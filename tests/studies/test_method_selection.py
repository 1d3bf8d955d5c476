"""Method selection on own data: candidates, independence of the test set, and rejected inputs."""

import json

import numpy as np
import pandas as pd
import pytest
from own import pictures
from typer.testing import CliRunner

from evenface import api
from evenface.cli import app
from evenface.config import load_recipe
from evenface.data.dataset_guess import guess_dataset
from evenface.studies.method_selection import choose, own_recipe
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")

QUICK = {
    "network.name": "compact_vgg_16_half",
    "network.dropout": 0,
    "training.epochs": 6,
    "training.ema_decay": 0,
    "training.accelerator": "cpu",
    "augment.brightness": 0,
    "augment.contrast": 0,
}


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"a": 30}, "at least two classes"),
        ({}, "no images, videos or feature files"),
        ({"a": 60, "b": 9}, "too few training samples: b has"),
    ],
)
def test_too_little_ends_in_one_sentence_and_exit_code_2(tmp_path, counts, told):
    folder = tmp_path / "faces"
    folder.mkdir()
    pictures(folder, counts)
    done = CliRunner().invoke(app, ["train", "--data", str(folder), "--method", "auto", "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert told in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "o").exists()


def test_too_few_people_and_files_that_are_not_images_are_rejected(tmp_path):
    for person in "abc":
        pictures(tmp_path / "few", {"x": 30, "y": 30}, names=f"{person}/{{}}.png", seed=ord(person))
    with pytest.raises(InputError, match="too few people"):
        choose(tmp_path / "few", tmp_path / "o", QUICK)
    for name in ("x", "y"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "1.png").write_text("no picture")
    with pytest.raises(InputError, match="none of 2 images"):
        guess_dataset(tmp_path / "bad")
    with pytest.raises(InputError, match="does not exist"):
        guess_dataset(tmp_path / "absent")
    loose = r"the files in .*few/x/a are not in folders of classes: .*\n.*evenface predict .*few/x/a"
    with pytest.raises(InputError, match=loose):
        guess_dataset(tmp_path / "few" / "x" / "a")


@pytest.mark.parametrize(
    ("task", "reason"),
    [("multilabel", "no method had a higher average precision"), ("regression", "no method had a smaller error")],
)
def test_targets_are_trained_plainly_with_the_reason(task, reason, tmp_path):
    pictures(tmp_path / "faces", {"x": 40})
    scale = 1 if task == "multilabel" else 0.3
    lines = [
        f"faces/x/{path.name},{scale * (n % 2)},{scale * (n % 3 // 2)}"
        for n, path in enumerate(sorted(tmp_path.glob("faces/x/*")))
    ]
    (tmp_path / "units.csv").write_text("\n".join(["path,AU4,AU12", *lines]))
    heard = []
    choice = choose(tmp_path / "units.csv", tmp_path / "o", QUICK, on_message=heard.append)
    assert (choice.name, choice.recipe.method.name, choice.study) == ("erm", "erm", None)
    assert reason in heard[-1]
    kept = json.loads((tmp_path / "o/choice.json").read_text())
    assert (kept["method"], kept["messages"][-1]) == ("erm", heard[-1])
    plain = load_recipe((own_recipe(guess_dataset(tmp_path / "units.csv", QUICK), QUICK)).model_dump(mode="json"))
    assert load_recipe(tmp_path / "o/recipe.yaml").model_dump() == plain.model_dump()
    with pytest.raises(InputError, match="candidates are compared for classes and levels"):
        choose(tmp_path / "units.csv", tmp_path / "o", QUICK, candidates=("focal",))
    quick = QUICK | {"training.epochs": 1}
    done = api.train_folder(tmp_path / "units.csv", method="auto", out=tmp_path / "p", sample_faces=False, **quick)
    assert done.run.facts["task"] == task
    assert done.report.is_file()


UNITS = {
    "network.recurrent": {"dense": 4, "hidden": 4, "top": 4, "dropout": 0.0},
    "data.sequences.frames": 3,
    "optimizer.lr": 1e-2,
    "training.epochs": 8,
    "training.accelerator": "cpu",
    "augment.flip": 0,
}


def units(folder, counts, gap=0.0, seed=0):
    """Write tables of action units, of a level of their own; that of a further class is ``gap`` deviations higher."""
    random = np.random.default_rng(seed)
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            level = 2 + 0.5 * (random.normal() + gap * label)
            values = (level + random.normal(0, 0.1, (5, 1))).repeat(2, axis=1).clip(0, 5)
            pd.DataFrame(values, columns=["AU01_r", "AU04_r"]).to_csv(folder / name / f"{number}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A rare class that plain training neglects, as it is hard to tell: balancing finds it far more often."""
    folder = tmp_path_factory.mktemp("planted")
    units(folder / "train", {"common": 300, "rare": 40}, gap=1.6)
    units(folder / "test", {"common": 40, "rare": 40}, gap=1.6, seed=1)
    out = folder.parent / "auto"
    own = api.train_folder(
        folder, method="auto", out=out, sample_faces=False, candidates=("logit-adjustment",), **UNITS
    )
    return folder, out, own


def test_a_large_difference_is_recommended_and_trained_by(planted):
    _, out, own = planted
    assert own.choice.decision.recommended.name == "logit-adjustment"
    assert own.run.recipe.loss.name == load_recipe(out / "recipe.yaml").loss.name == "logit-adjustment"
    kept = json.loads((out / "choice.json").read_text())
    assert kept["method"] == "logit-adjustment"
    page = own.report.read_text("utf-8")
    assert "Recommended: logit-adjustment." in page
    assert own.run.metrics["overall"]["balanced_accuracy"]["value"] > 0.6


def test_the_selection_uses_no_test_sample(planted):
    _, out, own = planted
    listed = set(pd.read_csv(out / "training.csv")["sample"])
    assert len(listed) == 340
    assert not listed & set(own.run.predictions.sample)
    judged = {name for one in own.choice.study.runs["folder"] for name in samples(out / "choice" / one)}
    assert judged == listed


def test_the_final_run_is_trained_on_the_whole_training_set(planted):
    _, _, own = planted
    assert own.run.facts["counts"]["train"] == [300, 40]
    assert "Trained on the whole training set and tested once" in own.report.read_text("utf-8")


def samples(folder):
    return pd.read_parquet(folder / "split.parquet")["sample"]


def test_labels_of_the_test_set_do_not_change_the_selection(planted):
    folder, out, own = planted
    before = {path: path.read_bytes() for path in (out / "choice").rglob("*.parquet")}
    moved = [folder / "test" / "common" / f"{number}.csv" for number in range(20)]
    try:
        for path in moved:
            path.rename(folder / "test" / "rare" / f"was-{path.name}")
        # Were anything of what is compared another, the study would refuse to go on.
        choice = choose(folder, out, UNITS, candidates=("logit-adjustment",))
    finally:
        for path in moved:
            (folder / "test" / "rare" / f"was-{path.name}").rename(path)
    assert (choice.decision, choice.recipe) == (own.choice.decision, own.choice.recipe)
    assert {path: path.read_bytes() for path in (out / "choice").rglob("*.parquet")} == before


def test_a_repeated_call_trains_nothing(planted):
    folder, out, own = planted
    before = {path: path.stat().st_mtime_ns for path in out.rglob("weights.safetensors")}
    again = api.train_folder(
        folder, method="auto", out=out, sample_faces=False, candidates=("logit-adjustment",), **UNITS
    )
    assert again.choice.decision == own.choice.decision
    assert {path: path.stat().st_mtime_ns for path in out.rglob("weights.safetensors")} == before


def test_a_folder_with_a_selection_on_other_data_is_rejected(planted, tmp_path):
    _, out, _ = planted
    other = units(tmp_path / "other", {"common": 50, "rare": 20})
    with pytest.raises(InputError, match="holds a selection on other data"):
        choose(other, out, UNITS, candidates=("logit-adjustment",))


def test_erm_is_recommended_where_labels_are_random(tmp_path):
    folder = units(tmp_path / "noise", {"common": 150, "rare": 30})
    heard = []
    choice = choose(folder, tmp_path / "auto", UNITS, candidates=("resampling",), on_message=heard.append)
    assert choice.decision.recommended is None
    assert (choice.name, choice.recipe.loss.name, choice.recipe.training.sampling) == ("erm", "cross-entropy", "none")
    assert "No candidate is better by more than noise" in heard[-1]


@pytest.mark.slow
def test_folds_are_subject_independent(tmp_path):
    for person in range(12):
        pictures(tmp_path / "faces", {"common": 20, "rare": 4}, 2, person, names=f"p{person}/{{}}.png")
    quick = QUICK | {"training.epochs": 2}
    choice = choose(tmp_path / "faces", tmp_path / "auto", quick, candidates=("resampling", "focal"))
    assert len(choice.decision.candidates) == 2
    for folder in choice.study.runs["folder"]:
        sides = pd.read_parquet(tmp_path / "auto" / "choice" / folder / "split.parquet")
        assert not set(sides.query("side == 'test'")["subject"]) & set(sides.query("side == 'train'")["subject"])


def test_balanced_classes_need_no_candidate(tmp_path):
    folder = pictures(tmp_path / "even", {"a": 30, "b": 28}, gap=4)
    quick = QUICK | {"training.epochs": 1}
    own = api.train_folder(folder, method="auto", out=tmp_path / "auto", sample_faces=False, **quick)
    assert own.choice.decision is None
    assert not (tmp_path / "auto" / "choice").exists()
    assert "The classes are balanced" in " ".join(own.choice.messages)
    assert own.run.facts["counts"]["validation"] == [0, 0]


def test_a_named_method_trains_on_the_folder(tmp_path):
    folder = pictures(tmp_path / "faces", {"a": 30, "b": 20})
    words = [f"{key}={value}" for key, value in (QUICK | {"training.epochs": 1}).items()]
    done = CliRunner().invoke(
        app,
        [
            "train",
            *words,
            "--data",
            str(folder),
            "--method",
            "focal",
            "--out",
            str(tmp_path / "run"),
            "--no-sample-faces",
        ],
    )
    assert done.exit_code == 0, done.output
    assert load_recipe(tmp_path / "run" / "recipe.yaml").loss.name == "focal"
    assert (tmp_path / "run" / "model-card.md").is_file()


@pytest.mark.parametrize(("names", "told"), [(("focl",), "there is no candidate 'focl'"), ((), "no candidate to try")])
def test_unknown_candidates_and_an_empty_list_are_rejected(tmp_path, names, told):
    with pytest.raises(InputError, match=told):
        api.train_folder(pictures(tmp_path, {"a": 30, "b": 10}), method="auto", out=tmp_path / "o", candidates=names)


def test_what_does_not_go_together_is_refused(tmp_path):
    for words, told in (
        (["train"], "no recipe given"),
        (["train", "demo", "--method", "auto"], "--method requires --data"),
        (["train", "demo", "--method", "auto", "--data", str(tmp_path)], "its own recipe"),
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2
        assert told in done.stderr
