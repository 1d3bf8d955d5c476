"""Damaged files are detected and reported in a sentence: single bits, truncated files, files of old versions."""

import json
import math
import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config.yaml import parse_yaml
from evenface.evaluation.target_calibration import load_calibration
from evenface.models.weights import _read
from evenface.preprocessing.store import Store
from evenface.runs import Run
from evenface.training import data
from evenface.training.checkpoint import load_state, save_state
from evenface.training.tuning import Trial, TrialStorage
from evenface.utils import files
from evenface.utils.errors import InputError
from evenface.utils.files import JsonObject, block_checksums, find_damaged_block, read_json, write_json_with_digest

KEPT = Path(__file__).parents[2] / "benchmarks/results"


def _predictions(found):
    names = ("sample", "subject", "labels", "classes", "ordered", "clip")
    return [found.probabilities.tobytes(), *(str(getattr(found, name)) for name in names)]


READ = {
    "recipe.yaml": lambda run: run.recipe.model_dump_json(),
    "run.json": lambda run: json.dumps([run.facts, run.facts["classes"]]),
    "split.parquet": lambda run: run.split.to_csv(),
    "predictions.parquet": lambda run: _predictions(run.predictions),
    "validation.parquet": lambda run: _predictions(run.validation),
    "metrics.json": lambda run: json.dumps([run.metrics, run.metrics["overall"]]),
    "calibration.json": lambda run: json.dumps(load_calibration(run.folder).as_dict()),
    "history.csv": lambda run: run.history.to_csv(),
    "weights.safetensors": lambda run: {name: value.tolist() for name, value in _read(run.weights)[0].items()},
    "last.safetensors": lambda run: run.verify(),
}
STORED = {
    "images.npy": lambda store: np.asarray(store.images).tobytes(),
    "manifest.parquet": lambda store: (store.manifest.hash, store.manifest.table.to_csv(), store.manifest.notes),
    "quarantine.csv": lambda store: store.quarantine.to_csv(),
    "store.json": lambda store: (store.key, store.lost, store.points),
}


@pytest.fixture(scope="module")
def whole(two_runs, tmp_path_factory):
    """A run folder and its store, which tests damage and restore."""
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(two_runs / "plain", folder / "run")
    shutil.copytree(Run(folder / "run").store.path, folder / "store")
    return folder


def test_a_changed_letter_in_the_key_of_the_digest_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    write_json_with_digest(path, {"value": 1})
    path.write_text(path.read_text().replace('"digest"', '"dkgest"').replace("1", "3"))
    with pytest.raises(InputError, match="damaged"):
        read_json(path)


def _flips(path, read, flips):
    """Flip single bits of a file, one at a time; return how often that was detected."""
    content, drawn, noticed = path.read_bytes(), random.Random(path.name), 0
    before = read()
    try:
        for place in drawn.sample(range(8 * len(content)), min(flips, 8 * len(content))):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            try:
                assert read() == before, f"bit {place} of {path.name} changed what was read"
            except InputError as error:
                assert path.name in error.message  # noqa: PT017, other errors shall come through
                noticed += 1
    finally:
        path.write_bytes(content)
    return noticed


@pytest.mark.parametrize("name", READ)
def test_a_flipped_bit_of_a_run_is_detected_or_harmless(whole, name):
    noticed = _flips(whole / "run" / name, lambda: READ[name](Run(whole / "run")), 4 if "safetensors" in name else 25)
    assert noticed


@pytest.mark.parametrize("name", STORED)
def test_a_flipped_bit_of_a_store_is_detected_or_harmless(whole, name):
    assert _flips(whole / "store" / name, lambda: STORED[name](Store.open(whole / "store")), 25)


def test_a_flipped_bit_of_a_checkpoint_or_weights_file_is_detected(tmp_path):
    state = {"step": 3, "moments": [torch.arange(6.0).reshape(2, 3), torch.ones(2, dtype=torch.bfloat16)], "rate": 0.1}
    path = tmp_path / "checkpoint.safetensors"
    save_state(path, state)
    assert _flips(path, lambda: str(load_state(path)), 200) > 100
    assert _flips(path, lambda: str(_read(path)[0]), 200) > 100


def test_weights_without_checksum_are_read(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", metadata={"digest": "of their own"})
    assert _read(tmp_path / "a.safetensors")[0]["a"].tolist() == [1, 1]


def _damaged(content):
    middle = len(content) // 2
    return {
        "half": content[:middle],
        "empty": b"",
        "garbage": random.Random(0).randbytes(200),
        "missing": None,
        "other": b"{}",
        "zeros": content[:middle] + bytes(len(content) - middle),
    }


VERBS = {
    "predict": ["predict", "{picture}", "--model", "run", "--csv", "{tmp}/p.csv"],
    "explain": ["explain", "{picture}", "--model", "run", "--out", "{tmp}/e", "--method", "occlusion", "--no-check"],
    "evaluate": ["evaluate", "run"],
    "calibrate": ["calibrate", "run"],
    "compare": ["compare", "run", "{other}", "--out", "{tmp}/c"],
    "evaluate --on": ["evaluate", "run", "--on", "{recipe}", "--out", "{tmp}/t"],
    "train": ["train", "run", "--resume"],
}
NEEDED = {
    "predict": "weights.safetensors",
    "explain": "recipe.yaml",
    "evaluate": "history.csv",
    "calibrate": "validation.parquet",
    "compare": "predictions.parquet",
    "evaluate --on": "split.parquet",
    "train": "run.json",
}


def _said(verb, monkeypatch, whole, places):
    monkeypatch.chdir(whole)
    done = CliRunner().invoke(app, [word.format(**places) for word in VERBS[verb]])
    assert done.exception is None or isinstance(done.exception, SystemExit), (verb, done.exception)
    assert done.exit_code in (0, 2)
    assert done.exit_code == 0 or "evenface: " in "".join(done.output.splitlines(keepends=True)[-2:])
    return done


@pytest.fixture
def places(two_runs, small_recipe, people_folder, tmp_path):
    picture = next((people_folder / "calm").iterdir())
    return {"picture": picture, "other": two_runs / "weighted", "recipe": small_recipe, "tmp": tmp_path}


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_reports_damage_in_a_sentence(whole, places, monkeypatch, verb):
    path = whole / "run" / NEEDED[verb]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    try:
        done = _said(verb, monkeypatch, whole, places)
    finally:
        path.write_bytes(content)
    assert done.exit_code == 2
    assert f"{path.name} is damaged" in done.output


@pytest.mark.parametrize("name", READ)
def test_truncated_empty_or_replaced_files_are_reported(whole, name):
    path = whole / "run" / name
    content = path.read_bytes()
    try:
        for kind, damaged in _damaged(content).items():
            path.unlink(missing_ok=True)
            if damaged is not None:
                path.write_bytes(damaged)
            elif name == "calibration.json":  # absent where too few samples validate
                continue
            with pytest.raises(InputError) as told:
                READ[name](Run(whole / "run"))
            assert name in told.value.message, kind
            assert told.value.hint
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", [name for name in READ if name != "last.safetensors"])
def test_damaged_runs_without_digests_are_reported_in_a_sentence(whole, tmp_path, name):
    """Runs of older versions have none; what is read of them is correct or reported as damaged."""
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    for file in ("run.json", "metrics.json", "calibration.json"):
        known = json.loads((run / file).read_text())
        kept = {key: value for key, value in known.items() if key not in ("digest", "digests")}
        (run / file).write_text(json.dumps(kept))
    before, content = READ[name](Run(run)), (run / name).read_bytes()
    for kind, damaged in _damaged(content).items():
        if damaged is None or (name == "recipe.yaml" and kind in ("half", "zeros", "other")):
            continue  # a recipe that lacks its end is a recipe
        (run / name).write_bytes(damaged)
        try:
            found = READ[name](Run(run))
        except InputError:
            continue
        assert found == before or name in ("run.json", "metrics.json", "history.csv"), kind


@pytest.mark.parametrize(
    ("folder", "verb"),
    [
        ("fer2013-best/seed-0", "predict"),
        ("p1-heads-synthetic-quick/runs/*/*", "predict"),
        ("p3-tables-synthetic-quick/runs/*/*", "evaluate"),
        ("p1-heads-synthetic-quick/runs/*/*", "evaluate --on"),
    ],
)
def test_runs_with_missing_files_are_reported_in_a_sentence(places, monkeypatch, tmp_path, folder, verb):
    run = next(KEPT.glob(folder))
    shutil.copytree(run, tmp_path / "run")
    _said(verb, monkeypatch, tmp_path, places)


def test_a_missing_key_is_reported_with_its_file(tmp_path):
    write_json_with_digest(tmp_path / "a.json", {"counts": {"train": [1]}})
    content = read_json(tmp_path / "a.json")
    assert content == {"counts": {"train": [1]}}
    assert isinstance(content["counts"], JsonObject)
    with pytest.raises(InputError, match=r"a\.json has no key 'test'"):
        content["counts"]["test"]


@pytest.mark.parametrize(
    ("key", "value"), [("classes", "abc"), ("counts", {"train": "many"}), ("store", 5), ("notes", 7), ("people", [])]
)
def test_metadata_of_a_wrong_type_are_reported(whole, tmp_path, key, value):
    shutil.copytree(whole / "run", tmp_path / "run")
    known = json.loads((tmp_path / "run/run.json").read_text())
    known.pop("digest")
    (tmp_path / "run/run.json").write_text(json.dumps(known | {key: value}))
    with pytest.raises(InputError, match=rf"run\.json is damaged: {key}"):
        str(Run(tmp_path / "run").facts)


def test_files_changed_on_purpose_can_be_accepted(whole, tmp_path):
    path = tmp_path / "run.json"
    known = json.loads((whole / "run/run.json").read_text()) | {"seed": 99}
    path.write_text(json.dumps(known))
    with pytest.raises(InputError, match="remove the key digest from it"):
        read_json(path)
    path.write_text(json.dumps({name: value for name, value in known.items() if name != "digest"}))
    assert read_json(path)["seed"] == 99


def test_a_large_array_is_sampled_when_opened_and_verified_before_training(whole, small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 512)
    path = tmp_path / "array"
    path.write_bytes(random.Random(0).randbytes(100 * 512 + 7))
    known = block_checksums(path)
    assert len(known) == 101
    content = bytearray(path.read_bytes())
    content[50 * 512 + 3] ^= 1
    path.write_bytes(content)
    assert find_damaged_block(path, known, whole=False) is None
    assert find_damaged_block(path, known, whole=True) == 50
    assert find_damaged_block(path, known[:-1], whole=False) == 100
    monkeypatch.undo()
    store, looked = Store.open(whole / "store"), []
    monkeypatch.setattr(Store, "verify", lambda self: looked.append(self.path))
    data.split_store(Run(whole / "run").recipe, store)
    assert looked == [whole / "store"]


def _trials(path):
    kept = TrialStorage(path)
    kept.begin("one", "told", larger=True)
    return kept.trials("one")


def test_damaged_trials_of_a_search_are_detected(tmp_path):
    pytest.importorskip("optuna")
    from evenface.config.recipe_checks import SearchRange

    path = tmp_path / "search.sqlite"
    trial = Trial(0, {"optimizer.lr": 0.125}, (0.5, math.inf, 0.75), 0.75, "complete")
    kept = TrialStorage(path)
    kept.begin("one", "told", larger=True)
    kept.add("one", [SearchRange("optimizer.lr", 0.001, 1.0, log=True, whole=False)], [trial])
    assert kept.trials("one") == [trial]
    kept.close()
    content = path.read_bytes()
    with sqlite3.connect(path) as base:
        base.execute("UPDATE trial_params SET param_value = 0.25")
    base.close()
    changed = TrialStorage(path)
    with pytest.raises(InputError, match=r"search\.sqlite is damaged, or cannot be used: trial 0 is not as"):
        changed.trials("one")
    changed.close()
    for damaged in (content[: len(content) // 2], random.Random(0).randbytes(4096)):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"search\.sqlite is damaged, or cannot be used"):
            _trials(path)


YAML = {
    "an alias of what it stands in": "&a {b: *a}",
    "a list that holds itself": "a: &a [1, *a]",
    "a bomb": "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]),
    "3,000 brackets": "a: " + "[" * 3000 + "]" * 3000,
    "3,000 open brackets": "a: " + "[" * 3000,
    "deep by indents": "\n".join(f"{' ' * n}a{n}:" for n in range(300)),
    "deep by aliases": "\n".join(["a0: &a0 x", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200))]),
    "a date that cannot be": "a: 2001-99-99",
    "a number of 5,000 digits": f"a: {'1' * 5000}",
}


@pytest.mark.parametrize("name", YAML)
def test_yaml_is_bounded(tmp_path, name):
    path = tmp_path / "mine.yaml"
    path.write_text(YAML[name])
    for words in (["train", str(path)], ["study", str(path)], ["audit", "claims", str(path)]):
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.exception
        assert len(done.output.splitlines()) <= 2


def test_ordinary_yaml_aliases_are_read():
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    nested = 1
    for _ in range(40):
        nested = [nested]
    assert parse_yaml(yaml.safe_dump(nested)) == nested


def test_cyclic_links_are_followed_once(people_folder, two_runs, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("calm", "fear", "happy"):
        shutil.copytree(people_folder / name, tmp_path / "data" / name)
        (tmp_path / "data" / name / "back").symlink_to(tmp_path / "data")
    (tmp_path / "data/self").symlink_to(tmp_path / "data/self")
    recipe = Run(two_runs / "plain").recipe.model_dump(mode="json")
    recipe["data"]["root"] = str(tmp_path / "data")
    for call in (
        lambda: ef.prepare(recipe),
        lambda: ef.predict(tmp_path / "data", two_runs / "plain", out=tmp_path / "p.csv"),
    ):
        try:
            found = call()
        except InputError:
            continue
        assert len(getattr(found, "manifest", range(216))) == 216
