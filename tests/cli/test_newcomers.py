"""What somebody types who has not read the manual: it works, or is answered with the words that do."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config import load_recipe
from evenface.config.renamed import SYNONYMS, VALUES
from evenface.config.section import setting
from evenface.config.yaml import setting_of_value
from evenface.utils.errors import InputError

SMALL = {"name": "small", "data": {"source": "folder"}}
QUICK = ("network.name=test_resnet", "training.epochs=1", "data.size=32")


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("epochs=3", "unknown key epochs\n  Did you mean training.epochs?"),
        ("lr=3", "unknown key lr\n  Did you mean optimizer.lr?"),
        ("crop=face", "unknown key crop\n  Did you mean data.faces.crop?"),
        (
            "frames=3",
            "unknown key frames\n  Did you mean data.clips.frames or data.sequences.frames or data.baseline.frames?",
        ),
        ("device=cuda", "unknown key device\n  Did you mean training.accelerator?"),
        ("optimizer.epochs=3", "unknown key optimizer.epochs\n  Did you mean training.epochs?"),
        ("training.epochs=many", "training.epochs: input should be a valid integer"),
        ("protocol=loso", "protocol is a section with keys, got 'loso'\n  Did you mean protocol.kind=leave-one-out?"),
        ("loso", "'loso' is not a setting\n  Did you mean protocol.kind=leave-one-out?"),
        ("cuda", "'cuda' is not a setting\n  Did you mean training.accelerator=cuda?"),
        ("kfold", "'kfold' is not a setting\n  Did you mean protocol.kind=kfold?"),
        ("loss.nam=focal", "loss 'cross-entropy' has no option 'nam'\n  Did you mean name?"),
        ("method.nmae=mixup", "method 'erm' has no option 'nmae'\n  Did you mean name?"),
        ("data.protocl=holdout", "source 'synthetic-demo' has no option 'protocl'"),
        ("data.chanels=1", "source 'synthetic-demo' has no option 'chanels'\n  Did you mean channels?"),
        ("nonsense", "'nonsense' is not a setting\n  Write key=value"),
    ],
)
def test_a_setting_in_other_words_is_answered_with_the_recipes_own(words, answer):
    result = call("train", "demo", words)
    assert result.exit_code == 2
    assert result.output.startswith(f"evenface: {answer}")


def test_keys_and_values_of_other_tools_lead_to_ones_that_exist():
    recipe = load_recipe(SMALL)
    content = recipe.model_dump()
    for other, key in SYNONYMS.items():
        section, _, last = key.rpartition(".")
        assert last in (content[section] if section else content), other
    for word, value in VALUES.items():
        key, _, meant = str(setting_of_value(type(recipe), word)).partition("=")
        assert meant == value
        assert setting(load_recipe(SMALL, {key: meant}), key) == value


def test_an_invalid_key_of_a_file_names_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"epochs": 3}))
    assert call("train", path, "seed=1").output.startswith(f"evenface: {path}: unknown key epochs")


def test_studies_and_recipes_in_each_others_place_are_told_the_command(small_recipe, tmp_path):
    study = tmp_path / "study-of-mine.yaml"
    study.write_text(yaml.safe_dump({"name": "s", "recipe": "demo", "factors": {"loss": {"a": {}}}}))
    for source in ("p5-focal", study):
        assert call("train", source).output == (
            f"evenface: {source} is a study, not a recipe\n  Train its runs: evenface study {source}\n"
        )
    for source in ("demo", small_recipe):
        assert call("study", source).output == (
            f"evenface: {source} is a recipe, not a study\n  Train it: evenface train {source}\n"
        )


def test_data_in_place_of_a_recipe_are_trained_on_and_numbered(people_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*QUICK, "data.subjects='^([^-]+)-'"]
    first = call("train", people_folder, *words)
    assert first.exit_code == 0, first.output
    folder = Path("runs") / f"{people_folder.name}-erm"
    assert f"report  {folder}/report.html" in first.stdout
    before = (folder / "predictions.parquet").stat().st_mtime_ns
    foreign = Path(f"{folder}-2")
    foreign.mkdir()
    (foreign / "notes.txt").touch()
    assert call("train", people_folder, *words, "--resume").exit_code == 0, "the run, not a folder that holds none"
    assert sorted(path.name for path in Path("runs").iterdir()) == [folder.name, foreign.name]
    shutil.rmtree(foreign)
    table = tmp_path / "mine.csv"
    shutil.copytree(people_folder, tmp_path / "faces")
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "label"])
        lines.writerows([path.relative_to(tmp_path), path.parent.name] for path in sorted(tmp_path.glob("faces/*/*")))
    monkeypatch.setattr("evenface.training.fit.fit", lambda run, _recipe: (_ for _ in ()).throw(InputError(run.folder)))
    again = call("train", people_folder, *words)
    assert again.output.splitlines()[-1] == f"evenface: {folder}-2", "a second run beside the first"
    assert call("train", table, *QUICK).output.splitlines()[-1] == "evenface: runs/mine-erm"
    with pytest.raises(InputError, match=f"{folder}-2"):
        ef.train(folder)
    assert (folder / "predictions.parquet").stat().st_mtime_ns == before


def test_data_in_place_of_a_recipe_are_checked_and_prepared(people_folder):
    checked = call("data", "check", people_folder)
    assert checked.exit_code == 0, checked.output
    images = len(list(people_folder.glob("*/*.png")))
    assert f"note: {images} images in one folder per class." in checked.stdout
    assert call("prepare", people_folder).stdout.startswith(f"{images} ")


def test_a_data_folder_named_like_a_recipe_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "a.txt").touch()
    assert load_recipe("demo").name == "demo"


def commands(command, *words):
    yield words
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *words, name)


@pytest.mark.parametrize("words", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_usage_marks_each_argument_once(words):
    usage = call(*words, "--help").output.partition("\n")[0]
    assert not re.search(r"\[\[|\.\.\.[\]}.]", usage), usage


def test_plain_training_is_the_default_of_both_and_names_the_selection_where_classes_are_imbalanced(
    people_folder, tmp_path, monkeypatch
):
    trained = []
    monkeypatch.setattr("evenface.training.fit.fit", lambda run, recipe: trained.append(recipe) or stop(run))
    even = tmp_path / "even"
    for name in ("calm", "fear"):
        shutil.copytree(people_folder / "fear", even / name)

    def stop(run):
        raise InputError(str(run.folder))

    for data, words, method, named in (
        (people_folder, {}, "erm", True),
        (even, {}, "erm", False),
        (people_folder, {"method.name": "mixup"}, "mixup", False),
    ):
        messages = []
        settings = {"network.name": "test_resnet", "data.size": 32, **words}
        with pytest.raises(InputError):
            ef.train_folder(data, out=tmp_path / f"a{len(trained)}", on_message=messages.append, **settings)
        options = [f"{key}={value}" for key, value in settings.items()]
        assert ("(largest class / smallest): 3.0. This training has no" in " ".join(messages)) is named
        shown = call("train", data, *options, "--out", tmp_path / f"b{len(trained)}")
        assert [recipe.method.name for recipe in trained[-2:]] == [method, method]
        assert ("--method auto" in " ".join(messages)) is ("--method auto" in shown.output) is named
    with pytest.raises(InputError, match="candidates and jobs are settings of method='auto'"):
        ef.train_folder(people_folder, out=tmp_path / "d", jobs=2)


def test_a_skipped_file_is_named_once(tmp_path):
    words = []
    for name in ("broken.png", "other.png"):
        words.append(tmp_path / name)
        words[-1].write_text("no image")
    Image.new("RGB", (64, 64)).save(tmp_path / "blank.png")
    for more in ([], [tmp_path / "blank.png"]):
        output = call("predict", *words, *more).output
        assert [output.count(str(path)) for path in words] == [1, 1]


def test_a_model_file_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "junk.onnx").write_text("no model")
    Image.new("RGB", (64, 64)).save(tmp_path / "blank.png")
    done = call("predict", tmp_path / "blank.png", "--model", tmp_path / "junk.onnx")
    assert done.exit_code == 2
    assert done.output.startswith(f"evenface: {tmp_path / 'junk.onnx'} is no ONNX file, or is damaged\n  Copy it again")


def test_version_help_and_completion():
    assert call("--version").output == f"evenface {ef.__version__}\n"
    assert call("-h").output == call("--help").output
    assert call("data", "check", "-h").output == call("data", "check", "--help").output
    words = {"_EVENFACE_COMPLETE": "complete_bash", "COMP_WORDS": "evenface train fer2013-f", "COMP_CWORD": "2"}
    command = [sys.executable, "-c", "from evenface.cli import main; main()"]
    done = subprocess.run(command, env={**os.environ, **words}, capture_output=True, text=True, check=True)
    assert "fer2013-factor10" in done.stdout.split()


def test_quiet_prints_results_only_and_verbose_the_log(small_recipe, tmp_path):
    out = tmp_path / "run"
    quiet = call("train", small_recipe, "training.epochs=1", "--out", out, "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert quiet.stdout.splitlines()[-1].startswith("next")
    verbose = call("-v", "train", small_recipe, "training.epochs=1", "--out", tmp_path / "verbose")
    logged = (out / "log.txt").read_text().splitlines()[0].split("  ", 1)[1]
    assert logged in verbose.stderr
    assert "Traceback" in call("train", "demo", "x", "-v").stderr
    assert "Traceback" not in call("train", "demo", "x").stderr


def test_a_training_states_its_data_and_network_and_tabulates_epochs(small_recipe, tmp_path):
    shown = call("train", small_recipe, "training.epochs=2", "--out", tmp_path / "run").stderr.splitlines()
    run = ef.Run(tmp_path / "run")
    logged = (run.folder / "log.txt").read_text().splitlines()[0].split("  ", 1)[1]
    assert not any(logged in line for line in shown), "only if verbose"
    sides = run.split.groupby("side")
    sizes, people = sides.size(), sides["subject"].nunique()
    order = ("train", "validation", "test")
    assert shown[0] == f"samples   {', '.join(f'{side} {sizes[side]}' for side in order)}"
    assert shown[1] == f"subjects  {', '.join(f'{side} {people[side]}' for side in order)}"
    counts = zip(run.facts["classes"], run.facts["counts"]["train"], strict=True)
    assert shown[2] == f"classes   {', '.join(f'{name} {count}' for name, count in counts)}"
    network = ef.models.build_network(run.recipe.network.name, classes=3, channels=1, size=run.recipe.data.size)
    assert f" {sum(part.numel() for part in network.parameters()):,} parameters" in shown[3]
    assert shown[5].split() == ["epoch", "loss", "validation", "loss", "balanced", "accuracy", "images/s"]
    rows = [line.split() for line in shown[6:]]
    history = run.history
    assert [row[:4] for row in rows] == [
        [
            f"{one.epoch}/2",
            f"{one.train_loss:.4f}",
            f"{one.validation_loss:.4f}",
            f"{one.validation_balanced_accuracy:.3f}",
        ]
        for one in history.itertuples()
    ]
    first = history["validation_balanced_accuracy"]
    assert [row[-1] == "best" for row in rows] == [True, bool(first[1] > first[0])]


def mean_recall(predictions):
    guessed, labels = predictions.probabilities.argmax(axis=1), predictions.labels
    return np.mean([np.mean(guessed[labels == one] == one) for one in np.unique(labels)])


@pytest.mark.usefixtures("forked_workers")
def test_cross_validation_tabulates_the_mean_over_all_folds(small_recipe, tmp_path):
    result = ef.cross_validate(small_recipe, 3, out=tmp_path / "cv", jobs=1, **{"training.epochs": 1})
    runs = [ef.Run(path.parent) for path in sorted((tmp_path / "cv").glob("runs/*/*/predictions.parquet"))]
    tested = [set(run.predictions.sample) for run in runs]
    assert len(runs) == 3
    assert sum(map(len, tested)) == len(set.union(*tested)) == len(runs[0].split), "every sample is tested once"
    values = np.array([mean_recall(run.predictions) for run in runs])
    half = scipy.stats.t.ppf(0.975, 2) * values.std(ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    shown = f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]"
    assert shown in " ".join(result.lines)
    assert not any("compared" in line for line in result.lines)


def test_the_figures_of_a_report_are_written_as_files(two_runs, tmp_path):
    runs = [shutil.copytree(two_runs / name, tmp_path / name) for name in ("plain", "weighted")]
    assert not any((run / "figures").exists() for run in runs)
    assert call("evaluate", runs[0], "--figures", "pdf", "--figures", "png").exit_code == 0
    assert call("compare", *runs, "--out", tmp_path / "c", "--figures", "svg").exit_code == 0
    begins = {".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<?xml"}
    for folder, kinds in ((runs[0], {".pdf", ".png"}), (tmp_path / "c", {".svg"})):
        files = list((folder / "figures").iterdir())
        assert {path.suffix for path in files} == kinds
        assert len(files) == len(kinds) * (folder / "report.html").read_text("utf-8").count("<svg role")
        assert all(path.read_bytes().startswith(begins[path.suffix]) for path in files)
    assert call("evaluate", runs[0], "--figures", "gif").exit_code == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["demo", "--cv", "1"], "2 folds or more"),
        (["demo", "--cv", "x"], "no number of folds"),
        (["--cv", "5"], "--cv needs a recipe"),
        (["demo", "--cv", "5", "--method", "focal"], "--method does not apply"),
    ],
)
def test_an_invalid_cross_validation_is_refused(words, answer):
    result = call("train", *words)
    assert (result.exit_code, answer in result.output) == (2, True)
