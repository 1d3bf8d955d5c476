"""What somebody types who has not read the manual: it works, or is answered with the words that do."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config import load_recipe
from evenface.config.renamed import SYNONYMS, VALUES
from evenface.config.section import setting
from evenface.config.yaml import setting_of_value
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("empty_figures")
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
        ("frames=3", "unknown key frames\n  Did you mean data.clips.frames or data.sequences.frames?"),
        ("device=cuda", "unknown key device\n  Did you mean training.accelerator?"),
        ("optimizer.epochs=3", "unknown key optimizer.epochs\n  Did you mean training.epochs?"),
        ("training.epochs=many", "training.epochs: input should be a valid integer"),
        ("protocol=loso", "protocol is a section with keys, got 'loso'\n  Did you mean protocol.kind=leave-one-out?"),
        ("loso", "'loso' is not a setting\n  Did you mean protocol.kind=leave-one-out?"),
        ("cuda", "'cuda' is not a setting\n  Did you mean training.accelerator=cuda?"),
        ("kfold", "'kfold' is not a setting\n  Did you mean protocol.kind=kfold?"),
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
    assert call("train", people_folder, *words, "--resume").exit_code == 0
    assert [path.name for path in Path("runs").iterdir()] == [folder.name]
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
    usual = call("train", small_recipe, "training.epochs=1", "--out", tmp_path / "usual")
    verbose = call("-v", "train", small_recipe, "training.epochs=1", "--out", tmp_path / "verbose")
    logged = (out / "log.txt").read_text().splitlines()[0].split("  ", 1)[1]
    assert logged in verbose.stderr
    assert logged not in usual.stderr
    assert "Traceback" in call("train", "demo", "x", "-v").stderr
    assert "Traceback" not in call("train", "demo", "x").stderr
