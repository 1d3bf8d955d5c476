"""Studies: planned, trained side by side, interrupted, set out, compared."""

import contextlib
import csv
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import stats
from sklearn.metrics import accuracy_score, recall_score
from typer.testing import CliRunner

from evenface import workflows
from evenface.cli import app
from evenface.errors import InputError
from evenface.evaluation.predictions import Predictions
from evenface.studies import load_study, processes, shipped_studies
from evenface.studies.compare import paired
from evenface.studies.plan import Choice, make_plan

RECIPE = {"name": "r", "data": {"source": "folder", "root": "/nowhere"}}
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
        "paper_protocol": {"training.select": "test"},
        "tests": {
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
    """The study, run."""
    return workflows.study(definition, out=tmp_path_factory.mktemp("out") / "pair", jobs=1)


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
            got = [float(row[f"{name}{part}"]) for part in ("", " low", " high", " sd")]
            assert got == pytest.approx([mean, low, high, sd], abs=1e-9)


def test_figures_in_print_stand_in_columns_of_their_own(studied):
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
            c for c in studied.changes if c.metric == "balanced_accuracy" and c.setting == {"rule": rule} and not c.test
        )
        assert change.difference.value == pytest.approx(np.mean(sides[1]) - np.mean(sides[0]), abs=1e-12)
        p = stats.ttest_rel(sides[1], sides[0]).pvalue
        assert (
            math.isnan(change.difference.p)
            or change.difference.p == pytest.approx(p, nan_ok=True)
            or sides[0] == sides[1]
        )


def test_a_finished_study_is_set_out_again_without_training(studied, definition, monkeypatch):
    kept = {path: path.stat().st_mtime_ns for path in studied.folder.glob("runs/*/*/*")}
    for name in ("report.html", "table.csv", "table.md", "differences.csv", "runs.csv"):
        (studied.folder / name).unlink()
    monkeypatch.setattr(processes.subprocess, "Popen", None)
    again = workflows.study(definition, out=studied.folder)
    assert again.lines == studied.lines
    assert workflows.study(studied.folder).lines == studied.lines
    assert {path: path.stat().st_mtime_ns for path in studied.folder.glob("runs/*/*/*")} == kept
    assert all((studied.folder / name).is_file() for name in ("report.html", "table.md", "runs.csv"))


def test_page_and_screen_say_what_must_be_known(studied):
    page = (studied.folder / "report.html").read_text()
    assert "not tested on absent" in page.lower()
    assert "2 pairs of the same seed" in page
    assert "as printed" in page
    assert studied.lines[0] == "pair: 8 runs in 4 cells"
    assert any("larger than noise" in line for line in studied.lines)


def test_a_changed_definition_is_refused(studied, definition):
    before = (studied.folder / "study.yaml").read_bytes()
    for change in ({"training.epochs": 3}, {"loss.name": "focal"}):
        with pytest.raises(InputError, match=f"another definition.*differs in {next(iter(change))}"):
            workflows.study(definition, out=studied.folder, **change)
    fewer = yaml.safe_load(definition.read_text()) | {"factors": {**FACTORS, "rule": {"none": {}}}, "printed": []}
    with pytest.raises(InputError, match="is no part of this one"):
        workflows.study(fewer, out=studied.folder)
    with pytest.raises(InputError, match="is no study"):
        workflows.study(definition, out=definition.parent)
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
    assert workflows.study(old).lines[:-1] == studied.lines[:-1]
    changed = sorted(old.glob("runs/*/*/recipe.yaml"))[0]
    changed.write_text(yaml.safe_dump(yaml.safe_load(changed.read_text()) | {"training": {"epochs": 7}}))
    (old / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InputError, match=r"differs in .*training\.epochs"):
        workflows.study(old)


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
    found = workflows.study(study, out=tmp_path / "onward", jobs=1)
    (first,) = (tmp_path / "onward/start").iterdir()
    assert first.name.startswith("test_resnet-")  # the runs' own network, not the one that the start's recipe names
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
    workflows.study(study, out=tmp_path / "onward", jobs=1)
    assert (first / "weights.safetensors").stat().st_mtime_ns == before


def test_without_a_start_nothing_can_begin_with_it(small_recipe):
    study = {"name": "none", "recipe": str(small_recipe), "factors": {"a": {"b": {"network.weights": "start"}}}}
    with pytest.raises(InputError, match="the study none has no start"):
        make_plan(load_study(study))


def test_the_papers_protocol_is_said_everywhere(small_recipe, tmp_path):
    study = {
        "name": "one",
        "recipe": str(small_recipe),
        "set": {"training.epochs": 1},
        "factors": {"rule": {"none": {}, "same": {}}},
        "paper_protocol": {"training.select": "test"},
        "baseline": {"rule": "none"},
    }
    found = workflows.study(study, protocol="paper", out=tmp_path / "one", jobs=1)
    assert "weights selected on the test data" in found.lines[0]
    assert "weights selected on the test data" in (found.report).read_text().lower()
    # Both levels say the same: one run serves both cells.
    assert len(found.plan.runs) == 2
    assert len(list((tmp_path / "one").glob("runs/*/*/predictions.parquet"))) == 1
    assert found.runs["accuracy"].nunique() == 1
    assert found.changes[0].unit in ("people", "samples")


def test_killed_and_failed_runs_do_not_keep_others_from_ending(small_recipe, tmp_path):
    factors = {
        "kind": {"good": {}, "bad": {"protocol.imbalance": {"counts": {"nobody": 3}}}, "long": {"training.epochs": 60}}
    }
    study = tmp_path / "three.yaml"
    study.write_text(
        yaml.safe_dump(
            {"name": "three", "recipe": str(small_recipe), "factors": factors, "set": {"training.epochs": 2}}
        )
    )
    out = tmp_path / "out"
    main = "from evenface.cli import main; main()"
    command = [sys.executable, "-c", main, "study", str(study), "--out", str(out), "--jobs", "1"]
    with started(command) as process:
        begun(process, out / "runs/kind-long/seed-0")
        os.kill(child_of(process.pid), signal.SIGKILL)
        screen, told = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert "2 of 3 runs failed" in told
    assert "nobody" in told
    assert "was killed" in told
    assert "1 of 3 runs in 3 cells" in screen
    good = out / "runs/kind-good/seed-0/predictions.parquet"
    kept = good.stat().st_mtime_ns

    log = out / "runs/kind-long/seed-0/log.txt"
    with started(command) as process:
        wait(process, lambda: "resumed" in log.read_text())
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "say the same again" in told
    assert time.monotonic() - start < 20
    assert good.stat().st_mtime_ns == kept
    assert not (log.parent / "predictions.parquet").exists()


@contextlib.contextmanager
def started(command: list[str]):
    """Start a process that ends with the block at the latest; its children end with it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def begun(process: subprocess.Popen, folder: Path) -> None:
    """Wait until a run has ended some epochs."""
    history = folder / "history.csv"
    wait(process, lambda: history.is_file() and len(history.read_text().splitlines()) > 3)


def wait(process: subprocess.Popen, reached) -> None:
    end = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def child_of(parent: int) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and "studies.worker" in (folder / "cmdline").read_text():
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError("there is no child that trains")


names = st.text("abcXYZ019.+-_ /ä", min_size=1, max_size=8)


@given(
    st.dictionaries(names, st.lists(names, min_size=1, max_size=3, unique=True), min_size=1, max_size=3),
    st.integers(1, 3),
    st.none() | st.integers(1, 3),
    st.data(),
)
def test_plans_cross_everything_once(factors, seeds, folds, data):
    levels = {
        name: {level: {"optimizer.lr": 0.1 / (1 + place), f"data.{f}": level} for place, level in enumerate(own)}
        for f, (name, own) in enumerate(factors.items())
    }
    left_out = data.draw(
        st.lists(
            st.fixed_dictionaries({}, optional={name: st.sampled_from(own) for name, own in factors.items()}),
            max_size=2,
        )
    )
    study = load_study(
        {
            "name": "s",
            "recipe": RECIPE,
            "factors": levels,
            "seeds": seeds,
            "leave_out": left_out,
            **({} if folds is None else {"folds": folds, "set": {"protocol.kind": "kfold"}}),
        }
    )
    cells = [dict(zip(factors, cell, strict=True)) for cell in itertools.product(*factors.values())]
    kept = [cell for cell in cells if not any(match.items() <= cell.items() for match in left_out)]
    if not kept:
        with pytest.raises(InputError, match="leaves out every cell"):
            make_plan(study)
        return
    plan = make_plan(study)
    assert plan.cells == [tuple(cell.values()) for cell in kept]
    assert len(plan.runs) == len(kept) * seeds * (folds or 1)
    assert len({(run.cell, run.repeat) for run in plan.runs}) == len(plan.runs)
    folders = [run.folder for run in plan.trainings]
    assert len({folder.lower() for folder in folders}) >= len({run.folder.lower() for run in plan.runs})
    assert len(set(folders)) == len(folders) == len(plan.runs)
    assert all(run.recipe.seed == run.seed and run.recipe.protocol.fold == (run.fold or 0) for run in plan.runs)


def test_later_settings_win_over_earlier_ones():
    study = load_study(
        {
            "name": "s",
            "recipe": RECIPE,
            "set": {"optimizer.lr": 1, "network.dropout": 0.1, "loss.name": "focal", "loss.gamma": 3},
            "factors": {
                "a": {"1": {"loss": {"name": "cross-entropy"}}, "2": {"loss.gamma": 4}},
                "b": {"x": {"training.epochs": 7}, "y": {}},
            },
            "when": [{"if": {"a": [1, 2], "b": "x"}, "set": {"training.epochs": 8}}],
            "on": {
                "d": {"set": {"optimizer.lr": 2}, "sizes": {"quick": {"seeds": 4, "set": {"network.dropout": 0.3}}}},
                "e": {"factors": {"b": {"z": {}}}},
            },
            "sizes": {"quick": {"seeds": [7], "set": {"network.dropout": 0.2, "optimizer.lr": 3}}},
            "paper_protocol": {"training.epochs": 9},
        }
    )
    runs = {run.cell: run.recipe for run in make_plan(study).runs}
    assert runs["1", "x"].loss.model_dump() == {"name": "cross-entropy"}
    assert runs["2", "x"].loss.options == {"gamma": 4}
    assert (runs["1", "x"].training.epochs, runs["1", "y"].training.epochs, runs["1", "y"].optimizer.lr) == (8, 20, 2)
    quick = make_plan(study, Choice(size="quick", protocol="paper", overrides={"optimizer.lr": 5}))
    assert {run.seed for run in quick.runs} == {0, 1, 2, 3}
    assert {(r.recipe.optimizer.lr, r.recipe.network.dropout, r.recipe.training.epochs) for r in quick.runs} == {
        (5, 0.3, 9)
    }
    assert make_plan(study, Choice(on="e")).cells == [("1", "z"), ("2", "z")]


def test_a_study_extends_another(tmp_path):
    under = {
        "name": "under",
        "about": "a",
        "recipe": RECIPE,
        "factors": {"f": {"1": {}, "2": {}}},
        "seeds": 3,
        "on": {"d": {"set": {"x": 1, "y": 1}}, "e": {}},
    }
    (tmp_path / "under.yaml").write_text(yaml.safe_dump(under, sort_keys=False))
    over = {"name": "over", "extends": "under.yaml", "seeds": 1, "on": {"g": {}, "d": {"set": {"y": 2}}}}
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over, sort_keys=False))
    study = load_study(tmp_path / "over.yaml")
    assert (study.name, study.about, study.seeds, list(study.factors["f"])) == ("over", "", (0,), ["1", "2"])
    assert list(study.on) == ["g", "d", "e"]
    assert study.on["d"].set == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 3}, "unknown key seed\n  Did you mean seeds"),
        ({"leave_out": [{"rul": "none"}]}, "leave_out names 'rul'.*Did you mean rule"),
        ({"when": [{"if": {}, "sett": {}}]}, "unknown key when.0.sett|when.0.set is missing"),
        ({"metrics": ["acuracy"]}, "Did you mean accuracy"),
        ({"printed": [{"cell": {}, "accuracy": 61}]}, "share from 0 to 1"),
        ({"printed": [{"cell": {"rule": "nne"}, "accuracy": 0.6}]}, "printed: rule names 'nne'"),
        ({"baseline": {"rule": "nne"}}, "Did you mean none"),
        ({"seeds": 0}, "give a number from 1 on"),
        ({"factors": {"f": {}}}, "at least 1"),
    ],
)
def test_a_wrong_definition_is_refused_in_a_sentence(change, said):
    with pytest.raises(InputError, match=f"(?s){said}"):
        load_study({"name": "s", "recipe": RECIPE, "factors": FACTORS} | change)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["p4-tabl1"], "no study 'p4-tabl1'"),
        (["{study}", "--on", "mars"], "there is no data set"),
        (["{study}", "--size", "huge"], "there is no size"),
        (["{study}", "training.epoch=3"], "unknown key training.epoch\n  Did you mean epochs"),
        (["{study}", "tests.otters.data.root=x"], "Did you mean others"),
        (["{study}", "training.devices=2"], "one device each"),
        (["{study}", "data.root=/no/such/folder"], "/no/such/folder"),
    ],
)
def test_wrong_words_end_in_a_sentence(definition, tmp_path, words, said):
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


def test_the_paired_test_is_scipys():
    base, value = np.array([0.5, 0.52, 0.49, 0.6]), np.array([0.55, 0.53, 0.56, 0.61])
    found, expected = paired(base, value, "accuracy"), stats.ttest_rel(value, base)
    assert found.p == pytest.approx(expected.pvalue)
    assert [found.low, found.high] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert math.isnan(paired(base, base + 0.25, "accuracy").p)  # the same change each time: noise is not known
    assert paired(base, base, "accuracy").p == 1
