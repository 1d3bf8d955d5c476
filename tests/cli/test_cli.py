"""The command line on small data: output, files, errors, exit codes."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.cli.base import RENAMED_OPTIONS, complete
from evenface.config import parse_overrides
from evenface.data.datasets import read_dataset
from evenface.evaluation.predictions import Predictions
from evenface.reporting.model_card import card_of


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*words):
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture(scope="module")
def runs(small_recipe, tmp_path_factory):
    """Two seeds of cross-entropy and one of focal loss, trained by the command line."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in {"ce-0": [], "ce-1": ["seed=1"], "focal": ["loss.name=focal", "loss.alpha=inverse"]}.items():
        result = call("train", small_recipe, *words, "--out", folder / name)
        assert result.exit_code == 0, result.output
        assert "balanced accuracy" in result.stdout
        assert "report.html" in result.stdout
    return folder


def test_a_run_folder_stands_alone(runs):
    run = ef.Run.open(runs / "focal")
    assert {path.name for path in run.folder.iterdir()} == {
        "recipe.yaml",
        "run.json",
        "split.parquet",
        "predictions.parquet",
        "validation.parquet",
        "history.csv",
        "metrics.json",
        "calibration.json",
        "weights.safetensors",
        "last.safetensors",
        "log.txt",
        "model-card.md",
        "report.html",
        "tables",
    }
    assert run.recipe.loss.name == "focal"
    assert len(run.history) == run.recipe.training.epochs
    assert run.facts["environment"]["torch"]


def test_splits_share_no_subject_and_predictions_are_of_the_test_set(runs):
    run = ef.Run.open(runs / "ce-0")
    sides = pd.read_parquet(run.folder / "split.parquet")
    people = {side: set(part["subject"]) for side, part in sides.groupby("side")}
    assert not people["train"] & people["test"]
    assert not people["train"] & people["validation"]
    assert not people["validation"] & people["test"]
    assert set(run.predictions.sample) == set(sides[sides["side"] == "test"]["sample"])


def test_metrics_are_functions_of_the_stored_predictions(runs):
    run = ef.Run.open(runs / "ce-0")
    predictions = Predictions.load(run.folder / "predictions.parquet")
    right = predictions.probabilities.argmax(axis=1) == predictions.labels
    by_class = [right[predictions.labels == label].mean() for label in range(3)]
    assert run.metrics["overall"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert run.metrics["overall"]["balanced_accuracy"]["value"] == pytest.approx(np.mean(by_class))


@pytest.mark.usefixtures("real_figures")
def test_evaluate_restores_what_was_deleted(runs):
    run = ef.Run.open(runs / "ce-1")
    before = (run.folder / "metrics.json").read_text()
    for name in ("metrics.json", "report.html"):
        (run.folder / name).unlink()
    assert call("evaluate", run.folder, "--no-sample-faces").exit_code == 0
    assert (run.folder / "metrics.json").read_text() == before
    assert "data:image/jpeg" not in (run.folder / "report.html").read_text()


def test_compare_treats_seeds_as_one_method(runs, tmp_path):
    result = call("compare", runs / "ce-0", runs / "ce-1", runs / "focal", "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output
    first, second, *_ = result.stdout.splitlines()
    assert first.startswith("balanced accuracy")
    assert "cross-entropy" in first
    assert "focal" in first
    assert second.startswith("difference")
    assert (tmp_path / "c" / "report.html").is_file()
    assert list((tmp_path / "c" / "tables").glob("*.tex"))


def test_the_same_seed_gives_the_same_weights(small_recipe, runs, tmp_path):
    again = ef.train(small_recipe, out=tmp_path / "again")
    assert (again.folder / "weights.safetensors").read_bytes() == (runs / "ce-0" / "weights.safetensors").read_bytes()
    assert (runs / "ce-1" / "weights.safetensors").read_bytes() != (runs / "ce-0" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["loss.name=cefl", "loss.gamma=1.5", "training.sampling=effective", "training.checkpoint=last"],
        ["optimizer.name=lamb", "schedule.name=plateau", "schedule.patience=1", "optimizer.clip_norm=1.0"],
        ["protocol.kind=kfold", "protocol.folds=3", "protocol.fold=2", "protocol.validation=0"],
        ["protocol.imbalance={factor: 6}", "network.norm=group", "training.patience=1"],
        ["protocol.kind=leave-one-out", "data.channels=3", "training.precision=bf16-mixed", "schedule.name=step"],
        ["training.loggers=[tensorboard]", "loss.name=class-balanced", "optimizer.name=sgd", "network.norm=frozen"],
    ],
)
def test_training_completes_with_many_settings(small_recipe, tmp_path, words):
    run = ef.train(
        small_recipe, out=tmp_path / "run", sample_faces=False, **parse_overrides([*words, "training.epochs=2"])
    )
    sums = run.predictions.probabilities.sum(axis=1)
    assert sums == pytest.approx(np.ones(len(sums)))
    assert ("tensorboard" in words[0]) == (run.folder / "tensorboard").is_dir()


def test_induced_imbalance_affects_the_training_set_only(small_recipe, tmp_path, runs):
    run = ef.train(small_recipe, out=tmp_path / "r", **{"protocol.imbalance": {"factor": 8}, "training.epochs": 1})
    whole = ef.Run.open(runs / "ce-0").facts["counts"]
    counts = run.facts["counts"]
    assert counts["test"] == whole["test"]
    together = np.add(counts["train"], counts["validation"])
    assert max(together) / min(together) == pytest.approx(8, rel=0.15)
    assert any("imbalance" in note for note in run.facts["notes"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lrr=1"], "Did you mean optimizer.lr?"),
        (["loss.name=focl"], "Did you mean focal?"),
        (["loss.name=focal", "loss.gama=1"], "gamma"),
        (["network.name=resnet19"], "resnet18"),
        (["method.name=er"], "erm"),
        (["data.root=/nowhere/at/all"], "/nowhere/at/all"),
        (["data.sujects=x"], "subjects"),
        (["data.source=foldr"], "folder"),
        (["protocol.kind=official"], "split"),
        (["protocol.imbalance={counts: {calm: 5000}}"], "calm"),
        (["training.batch_size=15", "training.devices=2"], "not divisible"),
        (["network.weights=/nowhere/w.safetensors"], "w.safetensors"),
        (["nonsense"], "key=value"),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_written(small_recipe, tmp_path, words, said):
    out = tmp_path / "run"
    assert said in refused("train", small_recipe, *words, "--out", out)
    assert not out.exists()


def test_folders_without_two_classes_are_refused(small_recipe, tmp_path):
    empty, single = tmp_path / "empty", tmp_path / "single"
    empty.mkdir()
    (single / "happy").mkdir(parents=True)
    (single / "happy" / "a.png").write_bytes(b"no picture")
    assert "empty" in refused("train", small_recipe, f"data.root={empty}", "--out", tmp_path / "r")
    assert "two classes" in refused("train", small_recipe, f"data.root={single}", "--out", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_unreadable_images_are_rejected_and_counted(small_recipe, people_folder, tmp_path):
    folder = tmp_path / "people"
    shutil.copytree(people_folder, folder)
    good = (folder / "happy" / "p00-0.png").read_bytes()
    (folder / "happy" / "p00-91.png").write_bytes(good[: len(good) // 2])
    (folder / "happy" / "p00-92.png").write_bytes(b"")
    (folder / "calm" / "p01-93.jpg").write_bytes(b"%PDF-1.4 not a picture")
    result = call("prepare", small_recipe, f"data.root={folder}")
    assert result.exit_code == 0
    assert "216 faces, 3 skipped" in result.stdout


def test_an_existing_run_is_not_overwritten(small_recipe, runs, tmp_path):
    before = (runs / "ce-0" / "weights.safetensors").stat().st_mtime_ns
    assert "--resume" in refused("train", small_recipe, "--out", runs / "ce-0")
    assert "other settings: loss" in refused(
        "train", small_recipe, "loss.name=focal", "--resume", "--out", runs / "ce-0"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    assert "no run folder" in refused("train", small_recipe, "--out", tmp_path / "mine")
    assert call("train", runs / "ce-0", "--resume").exit_code == 0
    assert (runs / "ce-0" / "weights.safetensors").stat().st_mtime_ns == before


def test_compare_refuses_what_cannot_be_compared(runs, small_recipe, tmp_path):
    other = ef.train(small_recipe, out=tmp_path / "o", **{"protocol.seed": 5, "training.epochs": 1})
    assert "same" in refused("compare", runs / "ce-0", other.folder, "--out", tmp_path / "c")
    assert "two or more" in refused("compare", runs / "ce-0", runs / "ce-1", "--out", tmp_path / "c")
    assert "twice" in refused("compare", runs / "ce-0", runs / "ce-0", "--out", tmp_path / "c")
    assert "no run folder" in refused("compare", tmp_path, runs / "ce-0", "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_loss_that_is_not_finite_stops_with_the_samples(small_recipe, tmp_path):
    said = refused(
        "train",
        small_recipe,
        "network.name=test_resnet",
        "optimizer.lr=1000",
        "optimizer.name=sgd",
        "schedule.name=constant",
        "--out",
        tmp_path / "r",
    )
    assert "epoch 1, step" in said
    assert ".png" in said
    assert "lower optimizer.lr" in said
    assert not (tmp_path / "r" / "predictions.parquet").exists()


def test_data_check_reports_leakage_first(people_folder, small_recipe, tmp_path):
    folder = tmp_path / "split"
    for side in ("train", "test"):
        shutil.copytree(people_folder, folder / side)
    words = [f"data.root={folder}", "data.subjects=null", "protocol.kind=official"]
    result = call("data", "check", small_recipe, *words, "--out", tmp_path / "found")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("leakage: 216 test images also in train")
    assert len(pd.read_csv(tmp_path / "found" / "copies.csv")) == 432


def command_named(name):
    return complete(typer.main.get_command(app).commands[name], {"add_completion": False})


def test_renamed_commands_options_and_functions_name_the_new_form():
    assert refused("transfer", "runs/a", "--on", "x") == (
        "evenface: the command transfer was replaced by: evenface evaluate RUN --on DATASET\n"
    )
    for command, options in RENAMED_OPTIONS.items():
        known = {option for part in command_named(command).params for option in part.opts + part.secondary_opts}
        for old, new in options.items():
            assert refused(command, "x", f"{old}=1") == f"evenface: the option {old} was renamed to {new}\n"
            assert old not in known
            assert new in known
    with pytest.raises(AttributeError, match="evaluate\\(run, on="):
        _ = ef.transfer


def test_recipes_are_listed_and_printed():
    listed = call("recipes").stdout
    assert "fer2013-factor10" in listed
    assert yaml.safe_load(call("recipes", "demo").stdout)["name"] == "demo"
    assert "no recipe" in refused("recipes", "nothing")


def test_doctor_names_what_is_missing(monkeypatch):
    import importlib.metadata

    real = importlib.metadata.version

    def version(name):
        if name == "onnx":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    said = call("doctor").stdout
    assert "evenface[export]" in said
    assert "torch" in said


def test_help_imports_nothing_heavy():
    code = """
import sys
sys.argv = ["evenface", "--help"]
try:
    import evenface.cli
    evenface.cli.main()
except SystemExit:
    heavy = ("torch", "numpy", "pandas", "rich", "pydantic", "matplotlib", "importlib.metadata")
    print([name for name in heavy if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_metrics_file_is_plain_json(runs):
    content = json.loads((runs / "ce-0" / "metrics.json").read_text())
    assert content["unit"] == "people"


def test_skipped_files_are_reported_on_the_screen(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(tmp_path / f"{i}.png")
    lines = [f"{i}.png,{i % 2},p{i}" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,subject", *lines, "gone.png,1,p1"]))
    (tmp_path / "r.yaml").write_text(f"name: r\ndata: {{source: csv, root: {tmp_path}, size: 32}}\n")
    said = "1 of 13 files listed in t.csv do not exist, such as gone.png"
    assert f"note  {said}" in call("prepare", tmp_path / "r.yaml").stdout.splitlines()
    assert f"note: {said}" in call("data", "check", tmp_path / "r.yaml").stdout.splitlines()


def test_characters_outside_the_screens_encoding_are_escaped(tmp_path):
    (tmp_path / "r.yaml").write_text("name: q\nabout: 悲しい\ndata: {source: folder}\n", encoding="utf-8")
    code = (
        f"import sys; sys.argv[1:] = ['recipes', {str(tmp_path / 'r.yaml')!r}]; from evenface.cli import main; main()"
    )
    screen = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, env=screen, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"about: \\u60b2\\u3057\\u3044" in ended.stdout


def test_pseudo_subjects_are_proposed_and_a_split_by_them_is_marked(small_recipe, tmp_path):
    root = read_dataset("synthetic-demo", tmp_path / "demo").root
    for path in sorted(root.glob("*/*.png")):
        if int(path.stem[1:5]) > 19:
            path.unlink()
    words = [f"data.root={root}", "data.subjects=null", "protocol.test=0.3"]
    original = min(path.relative_to(root).as_posix() for path in root.glob("happy/*.png"))
    shutil.copy(root / original, root / "happy" / "copy.png")
    checked = call("data", "check", small_recipe, *words, "--out", tmp_path / "found")
    assert checked.exit_code == 0, checked.output
    lines = checked.stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("pseudo-subjects: "))
    assert "a guess by similarity" in lines[lines.index(line) + 1]
    table = pd.read_csv(tmp_path / "found" / "pseudo_subjects.csv")
    faces = len(list(root.glob("*/*.png")))
    clusters = faces - len(table) + table["group"].nunique()
    assert f"{clusters:,} clusters of similar faces, {table['group'].nunique()} of several faces" in line
    pair = table[table["group"] == table["group"][table["path"] == "happy/copy.png"].iloc[0]]
    assert original in set(pair["path"])
    words += ["protocol.by=pseudo-subject", "training.epochs=1"]
    trained = call("train", small_recipe, *words, "--out", tmp_path / "run")
    assert trained.exit_code == 0, trained.output
    warning = "WARNING: people are clusters of similar faces, not known subjects"
    assert warning in trained.stdout
    assert warning in (tmp_path / "run" / "report.html").read_text()
    split = ef.Run.open(tmp_path / "run").split.set_index("sample")["side"]
    assert split[pair["sample"]].nunique() == 1
    assert any(note.startswith(warning) for note in card_of(ef.Run.open(tmp_path / "run"))["protocol"]["warnings"])
