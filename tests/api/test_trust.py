"""Untrusted run folders: no code is executed or unpickled, no link followed, no foreign data shown."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.losses import LOSSES
from evenface.reporting import summaries
from evenface.runs import Run
from evenface.utils.errors import InputError
from evenface.utils.files import DIGEST_KEY, digest_file, safe_file_name

EXAMPLE = Path(__file__).parents[2] / "examples/custom_loss.py"
EVIL = "from pathlib import Path\nPath({!r}).touch()\n"


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    known = dict(LOSSES)
    yield
    LOSSES.clear()
    LOSSES.update(known)


@pytest.fixture
def foreign(two_runs, small_recipe, tmp_path):
    """An untrusted run folder, whose recipe names a plugin that creates the file ``mark`` when it is executed."""
    run = tmp_path / "theirs"
    shutil.copytree(two_runs / "plain", run)
    plugin = str(run / "nice.py")
    Path(plugin).write_text(EVIL.format(str(tmp_path / "mark")))
    content = yaml.safe_load((run / "recipe.yaml").read_text()) | {"plugins": [plugin]}
    (run / "recipe.yaml").write_text(yaml.safe_dump(content))
    _change(run, recipe=content)
    study = {"name": "own", "factors": {"kind": {"a": {}, "b": {"seed": 2}}}, "baseline": {"kind": "a"}, "seeds": 1}
    (tmp_path / "follows.yaml").write_text(yaml.safe_dump(study | {"recipe": str(run)}))
    (tmp_path / "study").mkdir()
    whole = study | {"recipe": str(small_recipe), "set": {"plugins": [plugin]}}
    (tmp_path / "study/study.yaml").write_text(yaml.safe_dump({"study": whole, "runs": {}}))
    (tmp_path / "begun").mkdir()
    for name in ("recipe.yaml", "run.json", "split.parquet"):
        shutil.copy(run / name, tmp_path / "begun")
    return run


def _change(run, **facts):
    """Change the metadata of a run, with valid digests."""
    known = {key: value for key, value in json.loads((run / "run.json").read_text()).items() if key != DIGEST_KEY}
    files = {
        name: of for name, of in known["digests"].items() if (run / name).is_file() and digest_file(run / name) == of
    }
    (run / "run.json").write_text(json.dumps(known | {"digests": files} | facts))


OPENING = {
    "predict": ["predict", "{picture}", "--model", "theirs"],
    "explain": ["explain", "{picture}", "--model", "theirs"],
    "export": ["export", "theirs"],
    "evaluate": ["evaluate", "theirs", "--no-sample-faces"],
    "calibrate": ["calibrate", "theirs"],
    "compare": ["compare", "theirs", "{other}"],
    "compare as second": ["compare", "{other}", "theirs"],
    "evaluate --on": ["evaluate", "theirs", "--on", "{recipe}"],
    "train": ["train", "theirs", "--out", "again"],
    "train by its file": ["train", "theirs/recipe.yaml", "--out", "again"],
    "resume": ["train", "begun", "--resume"],
    "train on other data": ["train", "theirs", "--data", "{data}", "--method", "erm", "--out", "again"],
    "study of a run folder": ["study", "follows.yaml", "--jobs", "1"],
    "study folder": ["study", "study", "--jobs", "1"],
}


@pytest.mark.parametrize("verb", OPENING)
def test_plugin_code_of_a_run_folder_is_not_executed_by_default(foreign, two_runs, small_recipe, people_folder, verb):
    picture = next((people_folder / "calm").iterdir())
    places = {"picture": picture, "other": two_runs / "weighted", "recipe": small_recipe, "data": people_folder}
    before = sorted(map(str, foreign.parent.rglob("*")))
    done = CliRunner().invoke(app, [word.format(**places) for word in OPENING[verb]])
    assert done.exit_code == 2, done.output
    assert "names code, which is not run unasked: " in done.output
    assert "--trust-plugins" in done.output
    assert sorted(map(str, foreign.parent.rglob("*"))) == before


def test_a_run_folder_in_the_home_directory_is_not_trusted_either(foreign, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in ("~/theirs", "~/theirs/recipe.yaml"):
        with pytest.raises(InputError, match="names code, which is not run unasked"):
            ef.train(source, out="again")
    assert not Path("mark").exists()


@pytest.mark.parametrize("verb", ["predict", "evaluate", "resume"])
def test_trusted_plugin_code_is_executed(foreign, people_folder, verb):
    picture = next((people_folder / "calm").iterdir())
    words = [word.format(picture=picture) for word in OPENING[verb]]
    done = CliRunner().invoke(app, [*words, "--trust-plugins"])
    assert done.exit_code == 0, done.output
    assert Path("mark").exists()


def test_plugins_named_in_the_call_itself_are_the_callers_own(foreign):
    shutil.copy(EXAMPLE, "mine.py")
    done = CliRunner().invoke(app, ["train", "begun", "plugins=mine.py", "--no-sample-faces", "--out", "again"])
    assert done.exit_code == 0, done.output
    assert not Path("mark").exists()


@pytest.mark.parametrize("trusted", [False, True])
def test_the_page_executes_plugin_code_only_if_started_so(foreign, trusted):
    pytest.importorskip("fastapi")
    from pages import picture

    from evenface.app.catalogue import Entry
    from evenface.app.jobs import _model, run_task
    from evenface.app.predict_job import PredictRequest
    from evenface.config.limits import Limits

    _model.cache_clear()
    Path("a.png").write_bytes(picture())
    entry = Entry("0" * 16, "run", foreign, "theirs")
    limits = Limits(trust_plugins=trusted)
    compared = run_task((entry, entry), limits, lambda share: None)
    judged = run_task(PredictRequest(entry, Path("a.png"), {}), limits, lambda share: None)
    assert Path("mark").exists() == trusted
    assert ("done" in judged) == trusted
    if not trusted:
        assert all("names code, which is not run unasked" in one["failed"]["what"] for one in (compared, judged))


@pytest.mark.parametrize("text", ["!!python/object/apply:os.mkdir [mark]", "plugins: !!python/name:os.mkdir"])
def test_yaml_tags_create_no_objects(foreign, text):
    (foreign / "recipe.yaml").write_text(text)
    done = CliRunner().invoke(app, ["evaluate", "theirs"])
    assert done.exit_code == 2
    assert "could not determine a constructor for the tag" in done.output
    assert not Path("mark").exists()


def test_pickled_weights_are_not_unpickled(two_runs, people_folder):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, ("mark",))

    shutil.copytree(two_runs / "plain", "run")
    Path("run/weights.safetensors").write_bytes(pickle.dumps(Evil()))
    done = CliRunner().invoke(app, ["predict", str(next((people_folder / "calm").iterdir())), "--model", "run"])
    assert done.exit_code == 2
    assert "weights.safetensors" in done.output
    assert not Path("mark").exists()


def test_faces_of_a_store_with_other_samples_are_not_shown(foreign):
    assert summaries.sample_faces(Run(foreign))
    _change(foreign, manifest="0" * 32)  # of other samples than those of the store
    assert summaries.sample_faces(Run(foreign)) is None
    assert "holds other samples" in (foreign / "log.txt").read_text()


def test_nothing_is_written_through_links_in_a_run_folder(foreign, tmp_path):
    for name in ("log.txt", "metrics.json"):
        (tmp_path / name).write_text("mine")
        (foreign / name).unlink()
        (foreign / name).symlink_to(tmp_path / name)
    with pytest.raises(InputError, match="is a symbolic link"):
        Run(foreign).log("a line")
    shutil.rmtree(foreign / "tables")
    (tmp_path / "elsewhere").mkdir()
    (foreign / "tables").symlink_to(tmp_path / "elsewhere")
    done = CliRunner().invoke(app, ["evaluate", "theirs", "--no-sample-faces", "--trust-plugins"])
    assert done.exit_code == 2
    assert "tables is a symbolic link" in done.output
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert {(tmp_path / name).read_text() for name in ("log.txt", "metrics.json")} == {"mine"}


def test_recipe_names_cannot_leave_the_output_folder():
    assert safe_file_name("on-../../x") == "on-.._.._x"
    assert safe_file_name("../x") == "_x"
    assert safe_file_name("..") == "_"
