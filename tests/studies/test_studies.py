"""Studies: parallel training, tables, comparisons."""

import csv
import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from scipy import stats
from sealed import unsealed
from sklearn.metrics import accuracy_score, recall_score
from typer.testing import CliRunner

from evenface import api
from evenface.cli import app
from evenface.evaluation.predictions import Predictions
from evenface.studies import load_study, shipped_studies
from evenface.studies.plan import make_plan
from evenface.utils import workers
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")

FACTORS = {
    "loss": {"plain": {}, "balanced": {"loss": {"name": "class-balanced"}}},
    "rule": {"none": {}, "inverse": {"training.sampling": "inverse"}},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread_each():
    """Children take the number of threads from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory) -> Path:
    """Pictures of other people, whose classes have other names."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("others")
    random = np.random.default_rng(7)
    for label, name in enumerate(("peaceful", "fear", "happy")):
        (folder / name).mkdir()
        for number in range(8):
            picture = random.normal(60 + 60 * label, 25, (32, 32)).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"q{number}-0.png")
    return folder


@pytest.fixture(scope="module")
def definition(small_recipe, other_folder, tmp_path_factory) -> Path:
    """A study of two by two cells, two seeds each, tested on a second data set too."""
    other = {
        "data": {"source": "folder", "root": str(other_folder), "subjects": "^(q[0-9]+)-"},
        "protocol": {"kind": "holdout", "test": 0.5, "validation": 0.0},
    }
    study = {
        "name": "pair",
        "about": "two losses, two samplings",
        "recipe": str(small_recipe),
        "set": {"training.epochs": 2},
        "factors": FACTORS,
        "seeds": 2,
        "metrics": ["balanced_accuracy", "accuracy", "log_loss", "recall", "training_seconds"],
        "baseline": {"loss": "plain"},
        "paper_protocol": {"training.checkpoint": "test"},
        "test_sets": {
            "others": {"set": other, "classes": {"peaceful": "calm"}},
            "absent": {"set": {"data": {"source": "rafdb"}}},
        },
        "printed": [
            {"cell": {"loss": "plain", "rule": "none"}, "accuracy": 0.6},
            {"cell": {"loss": "balanced", "rule": "none"}, "accuracy": 0.7},
        ],
        "quoted": [{"cell": {"loss": "magic"}, "accuracy": 0.9, "source": "Someone 2020"}],
    }
    path = tmp_path_factory.mktemp("studies") / "pair.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def studied(definition, tmp_path_factory):
    """The study, run: first two of its four cells."""
    out = tmp_path_factory.mktemp("out") / "pair"
    part = api.study(definition, out=out, only={"rule": ["none"]}, jobs=1)
    assert part.plan.cells == [("plain", "none"), ("balanced", "none")]
    assert "1 of 2 levels of rule: none" in part.report.read_text("utf-8")
    assert len(list(out.glob("runs/*/seed-*"))) == len(part.plan.runs) == 4
    return api.study(definition, out=out, jobs=1)


def naive(folder: Path) -> dict[str, float]:
    """Metrics of a run by scikit-learn, from its stored predictions."""
    found = Predictions.load(folder / "predictions.parquet")
    picked = found.probabilities[np.arange(len(found)), found.labels]
    return {
        "balanced_accuracy": recall_score(found.labels, found.predicted, average="macro"),
        "accuracy": accuracy_score(found.labels, found.predicted),
        "log_loss": -np.log(np.maximum(picked, 1e-12)).mean(),
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_table_is_that_of_the_predictions(studied):
    table = {(row["tested on"], row["loss"], row["rule"]): row for row in rows_of(studied.folder / "table.csv")}
    for loss, rule, test in itertools.product(("plain", "balanced"), ("none", "inverse"), ("own data", "others")):
        folders = [studied.folder / f"runs/loss-{loss}_rule-{rule}/seed-{seed}" for seed in (0, 1)]
        values = pd.DataFrame([naive(folder / "on-others" if test == "others" else folder) for folder in folders])
        row = table[test, loss, rule]
        assert row["runs"] == "2"
        for metric in values:
            name = metric.replace("_", " ")
            mean, sd = values[metric].mean(), values[metric].std()
            low, high = stats.t.interval(0.95, 1, mean, sd / math.sqrt(2)) if sd else (mean, mean)
            low, high = max(low, 0), high if metric == "log_loss" else min(high, 1)
            got = [float(row[f"{name}{part}"]) for part in ("", " low", " high", " sd")]
            assert got == pytest.approx([mean, low, high, sd], abs=1e-9)


def test_printed_values_are_in_columns_of_their_own(studied):
    table = {(row["tested on"], row["loss"], row["rule"]): row for row in rows_of(studied.folder / "table.csv")}
    assert table["own data", "plain", "none"]["accuracy as printed"] == "0.6"
    assert table["own data", "plain", "inverse"]["accuracy as printed"] == ""
    assert table["others", "plain", "none"]["accuracy as printed"] == ""
    magic = table["own data", "magic", ""]
    assert (magic["accuracy quoted"], magic["accuracy"], magic["source"]) == ("0.9", "", "Someone 2020")
    changed = [
        row
        for row in rows_of(studied.folder / "differences.csv")
        if row["setting"] == "rule none" and row["metric"] == "accuracy" and row["tested on"] == "own data"
    ]
    assert float(changed[0]["difference as printed"]) == pytest.approx(0.1)


def test_differences_are_paired_by_seed(studied):
    folder = studied.folder / "runs"
    for rule in ("none", "inverse"):
        sides = [
            [naive(folder / f"loss-{loss}_rule-{rule}/seed-{seed}")["balanced_accuracy"] for seed in (0, 1)]
            for loss in ("plain", "balanced")
        ]
        change = next(
            c
            for c in studied.differences
            if c.metric == "balanced_accuracy" and c.setting == {"rule": rule} and not c.test
        )
        assert change.difference.value == pytest.approx(np.mean(sides[1]) - np.mean(sides[0]), abs=1e-12)
        p = stats.ttest_rel(sides[1], sides[0]).pvalue
        assert (
            math.isnan(change.difference.p)
            or change.difference.p == pytest.approx(p, nan_ok=True)
            or sides[0] == sides[1]
        )


def test_a_finished_study_is_set_out_again_without_training(studied, definition, monkeypatch, real_figures):
    kept = {path: path.stat().st_mtime_ns for path in studied.folder.glob("runs/*/*/*")}
    for name in ("report.html", "table.csv", "table.md", "differences.csv", "runs.csv"):
        (studied.folder / name).unlink()
    monkeypatch.setattr(workers, "subprocess", None)
    again = api.study(definition, out=studied.folder)
    assert again.lines == studied.lines
    real_figures.on = False  # drawn once
    assert api.study(studied.folder).lines == studied.lines
    assert {path: path.stat().st_mtime_ns for path in studied.folder.glob("runs/*/*/*")} == kept
    assert all((studied.folder / name).is_file() for name in ("report.html", "table.md", "runs.csv"))


def test_page_and_screen_say_what_must_be_known(studied):
    page = (studied.folder / "report.html").read_text()
    assert "not tested on absent" in page.lower()
    assert "2 pairs of the same seed" in page
    assert "as printed" in page
    assert studied.lines[0] == "pair: 8 runs in 4 cells"
    assert any("differences is larger than" in line for line in studied.lines)
    assert any(line.startswith("  no verdict from ") and "balanced instead of" in line for line in studied.lines)


def test_a_changed_definition_is_refused(studied, definition):
    before = (studied.folder / "study.yaml").read_bytes()
    for change in ({"training.epochs": 3}, {"loss.name": "focal"}):
        with pytest.raises(InputError, match=f"another definition.*differs in {next(iter(change))}"):
            api.study(definition, out=studied.folder, **change)
    fewer = yaml.safe_load(definition.read_text()) | {"factors": {**FACTORS, "rule": {"none": {}}}, "printed": []}
    with pytest.raises(InputError, match="is not among its runs"):
        api.study(fewer, out=studied.folder)
    with pytest.raises(InputError, match="is not a study folder"):
        api.study(definition, out=definition.parent)
    assert (studied.folder / "study.yaml").read_bytes() == before


def test_a_folder_of_an_older_version_is_known_again(studied, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(studied.folder, old)
    content = yaml.safe_load((old / "study.yaml").read_text())
    content["runs"] = dict.fromkeys(content["runs"], "of another version")
    (old / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for path in old.glob("runs/*/*/recipe.yaml"):
        recipe = yaml.safe_load(path.read_text())
        del recipe["plugins"]  # as written before there was such a key
        recipe["data"]["root"] = "elsewhere"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        unsealed(path.parent)
    assert api.study(old).lines[:-1] == studied.lines[:-1]
    changed = sorted(old.glob("runs/*/*/recipe.yaml"))[0]
    changed.write_text(yaml.safe_dump(yaml.safe_load(changed.read_text()) | {"training": {"epochs": 7}}))
    (old / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    again = api.study(old)
    note, *lines = again.lines
    assert note.startswith("note  the runs were trained by another version of evenface, with other values of ")
    assert "training.epochs" in note
    assert lines[:-1] == studied.lines[:-1]
    assert note.removeprefix("note  t") in again.report.read_text("utf-8")
    assert yaml.safe_load((old / "study.yaml").read_text()) == content, "what was trained stays on record"
    with pytest.raises(InputError, match=r"another definition.*differs in .*training\.epochs"):
        api.study(old, **{"training.epochs": 3})
    (changed.parent / "predictions.parquet").unlink()
    with pytest.raises(InputError, match=r"another version of evenface began .*differs in .*training\.epochs"):
        api.study(old)


def test_runs_begin_with_the_weights_of_the_studys_start(small_recipe, tmp_path):
    content = yaml.safe_load(small_recipe.read_text())
    still = {"training.epochs": 1, "optimizer.lr": 1e-12, "augment.flip": 0.0}
    study = {
        "name": "onward",
        "recipe": str(small_recipe),
        "start": {**content, "seed": 5, "network": {"name": "resnet18"}},
        "set": still,
        "factors": {"begin": {"start": {"network.weights": "start"}, "random": {"network.weights": "random"}}},
    }
    found = api.study(study, out=tmp_path / "onward", jobs=1)
    (first,) = (tmp_path / "onward/start").iterdir()
    assert first.name.startswith("compact_vgg_16_half-")  # the runs' own network, not the one of the start's recipe
    given = load_file(first / "weights.safetensors")
    weights = {
        begin: load_file(tmp_path / f"onward/runs/begin-{begin}/seed-0/weights.safetensors")
        for begin in ("start", "random")
    }
    learnt = [name for name in given if "backbone" in name and name.endswith(".weight")]
    assert all(torch.allclose(given[name], weights["start"][name], atol=1e-6) for name in learnt)
    assert not any(
        torch.allclose(given[name], weights["random"][name], atol=1e-3) for name in learnt if given[name].ndim > 1
    )
    assert len(found.runs) == 2  # what others start from is no run of the study
    before = (first / "weights.safetensors").stat().st_mtime_ns
    moved = shutil.move(tmp_path / "onward", tmp_path / "moved")
    record = yaml.safe_load((moved / "study.yaml").read_text())
    record["runs"] = dict.fromkeys(record["runs"], "of another version")  # so that settings are compared
    (moved / "study.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    assert api.study(moved, jobs=1).lines == found.lines, "without a note: the weights are those of its own start"
    assert (moved / "start" / first.name / "weights.safetensors").stat().st_mtime_ns == before


def test_without_a_start_nothing_can_begin_with_it(small_recipe):
    study = {"name": "none", "recipe": str(small_recipe), "factors": {"a": {"b": {"network.weights": "start"}}}}
    with pytest.raises(InputError, match="the study none has no start run"):
        make_plan(load_study(study))


def test_the_papers_protocol_is_stated_in_every_output(small_recipe, tmp_path):
    study = {
        "name": "one",
        "recipe": str(small_recipe),
        "set": {"training.epochs": 1},
        "factors": {"rule": {"none": {}, "same": {}}},
        "paper_protocol": {"training.checkpoint": "test"},
        "baseline": {"rule": "none"},
    }
    found = api.study(study, protocol="paper", out=tmp_path / "one", jobs=1)
    assert "weights selected on the test data" in found.lines[0]
    assert "weights selected on the test data" in (found.report).read_text().lower()
    # Both levels say the same: one run serves both cells.
    assert len(found.plan.runs) == 2
    assert len(list((tmp_path / "one").glob("runs/*/*/predictions.parquet"))) == 1
    assert found.runs["accuracy"].nunique() == 1
    assert found.differences[0].unit in ("people", "samples")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["p4-tabl1"], "no study 'p4-tabl1'"),
        (["{study}", "--on", "mars"], "there is no data set"),
        (["{study}", "--size", "huge"], "there is no size"),
        (["{study}", "training.epoch=3"], "unknown key training.epoch\n  Did you mean training.epochs"),
        (["{study}", "test_sets.otters.data.root=x"], "Did you mean others"),
        (["{study}", "training.devices=2"], "one device each"),
        (["{study}", "data.root=/no/such/folder"], "/no/such/folder"),
    ],
)
def test_invalid_arguments_give_an_error_message(definition, tmp_path, words, said):
    filled = [word.format(study=definition) for word in words]
    result = CliRunner().invoke(app, ["study", *filled, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_studies_are_listed_printed_and_planned(definition):
    listed = CliRunner().invoke(app, ["studies"]).stdout
    assert all(name in listed for name in shipped_studies())
    assert CliRunner().invoke(app, ["studies", str(definition)]).stdout == definition.read_text()
    planned = CliRunner().invoke(app, ["study", str(definition), "--plan"]).stdout
    assert "8 runs to train" in planned


def test_a_reason_why_many_runs_failed_is_given_once(small_recipe, tmp_path):
    study = {"name": "none", "recipe": str(small_recipe), "factors": {"kind": {"a": {}, "b": {"loss.name": "focal"}}}}
    study["set"] = {"protocol.imbalance": {"counts": {"nobody": 3}}}
    (tmp_path / "none.yaml").write_text(yaml.safe_dump(study))
    result = CliRunner().invoke(
        app, ["study", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    )
    assert result.exit_code == 2
    assert "every run of none failed; runs/kind-a/seed-0: " in result.output
    assert result.output.count("nobody") == 2, result.output  # as it happened, and in the end
    assert "failed: kind b, seed 0: as before" in result.output
