"""Studies on a Ray cluster give the same results as local ones, also when workers die; groups trained as one stack."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from evenface import api
from evenface.cli import app
from evenface.runs import Run
from evenface.studies import executors, load_study
from evenface.studies.executors import MAX_ATTEMPTS, ProgressFiles, RayExecutor, train_request, write_progress
from evenface.studies.plan import MOST, grouped, make_plan
from evenface.training.stacked import runs
from evenface.utils.errors import InputError
from evenface.utils.progress import ProgressBar

SEQUENCES = {
    "name": "s",
    "data": {"source": "sequences", "root": "/nowhere"},
    "network": {"name": "recurrent"},
    "method": {"name": "one-vs-all"},
}


def plan_of(recipe, factors, **more):
    return make_plan(load_study({"name": "s", "recipe": recipe, "factors": factors, **more}))


def test_image_runs_train_alone_and_sequences_of_one_shape_as_one_stack():
    pictures = {"name": "p", "data": {"source": "folder", "root": "/nowhere"}}
    plan = plan_of(pictures, {"rate": {"a": {}, "b": {"optimizer.lr": 0.1}}}, seeds=3)
    everything = {run.folder for run in plan.trainings}
    assert [len(group) for group in grouped(plan.trainings, everything, 1)] == [1] * 6

    factors = {
        "kind": {"gru": {}, "lstm": {"network.recurrent.kind": "lstm"}},
        "loss": {"plain": {}, "focal": {"loss": {"name": "focal"}}},
        "size": {"small": {"network.recurrent.hidden": 32}, "large": {"network.recurrent.hidden": 128}},
    }
    plan = plan_of({**SEQUENCES, "protocol": {"cohorts": 3, "cohort": 1}}, factors, seeds=5)
    everything = {run.folder for run in plan.trainings}
    groups = grouped(plan.trainings, everything, 1)
    assert sorted(len(group) for group in groups) == [20, 20]
    assert all(len({run.cell[0] for run in group}) == 1 for group in groups)
    assert {run.folder for group in groups for run in group} == everything
    assert sorted(len(group) for group in grouped(plan.trainings, everything, 4)) == [5] * 8  # work for each worker


def test_groups_are_bounded_and_stay_the_same_when_a_study_goes_on():
    plan = plan_of(SEQUENCES, {"loss": {"plain": {}, "focal": {"loss": {"name": "focal"}}}}, seeds=40)
    folders = [run.folder for run in plan.trainings]
    whole = grouped(plan.trainings, set(folders), 1)
    assert max(map(len, whole)) == MOST // 6
    left = set(folders[1::2])
    assert grouped(plan.trainings, left, 1) == [[run for run in group if run.folder in left] for group in whole]
    assert grouped(plan.trainings, set(), 1) == []


def test_one_run_that_fails_does_not_lose_those_that_train_with_it(monkeypatch, tmp_path):
    trained = []

    def fit_sequences(runs, *, report, searches):
        assert searches == tmp_path / "search.sqlite"
        report(0.5)
        if any(recipe.seed == 5 for _, recipe in runs):
            raise InputError("the fifth is bad")
        trained.extend((recipe.seed, len(runs)) for _, recipe in runs)

    monkeypatch.setattr(runs, "fit_sequences", fit_sequences)
    request = [
        {
            "recipe": {**SEQUENCES, "seed": seed},
            "folder": str(tmp_path / str(seed)),
            "tests": {},
            "progress": str(tmp_path / "progress.txt"),
            "searches": str(tmp_path / "search.sqlite"),
        }
        for seed in range(8)
    ]
    answers = train_request(request)
    assert ["failed" in answer for answer in answers] == [seed == 5 for seed in range(8)]
    assert answers[5]["failed"].startswith("the fifth is bad")
    assert trained == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 1), (6, 2), (7, 2)]


def test_the_bar_moves_by_what_groups_say_and_ends_at_the_number_of_runs(tmp_path):
    moved = []
    with ProgressFiles(tmp_path / "progress", [10, 4], ProgressBar(moved.append, print)) as files:
        files.update()
        assert sum(moved) == 0
        write_progress(files.file(0), 0.55)
        write_progress(files.file(1), 0.5)
        files.update()
        files.update()
        assert sum(moved) == 5 + 2
        write_progress(files.file(0), 0.2)  # trained again after it was lost
        files.update()
        assert sum(moved) == 5 + 2
        files.finish(1)
        files.finish(0)
    assert sum(moved) == 14
    assert min(moved) >= 0
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_ray_names_the_package_to_install(monkeypatch, small_recipe, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    study = tmp_path / "s.yaml"
    study.write_text(yaml.safe_dump({"name": "s", "recipe": str(small_recipe), "factors": {"a": {"b": {}}}}))
    words = ["study", str(study), "--executor", "ray", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "needs Ray, which is not installed" in result.stderr
    assert "evenface[cluster]" in result.stderr


@pytest.mark.parametrize(("address", "tries"), [(None, 3), ("nowhere:1", 1)])
def test_a_cluster_that_does_not_start_gives_an_error(monkeypatch, address, tries):
    import ray

    begun = []

    def init(**settings):
        begun.append(settings["address"])
        raise Exception("timed out during startup")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"{address or 'here'}.*timed out"):
        RayExecutor(None, 3, cores=2, gpu=False, log=Path("log.txt"))
    assert begun == [address or "local"] * tries


class FakeRay:
    """A cluster in this process, whose workers are lost as often as is said."""

    def __init__(self, lost):
        self.lost, self.begun, self.cancelled = dict(lost), [], []

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]

    def remote(self, _function):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.start))

    def start(self, request, *_):
        self.begun.append(request[0]["folder"])
        return len(self.begun) - 1

    def wait(self, references, **_):
        return references[:1], references[1:]

    def get(self, reference):
        from ray.exceptions import WorkerCrashedError

        folder = self.begun[reference]
        if self.lost.get(folder, 0):
            self.lost[folder] -= 1
            raise WorkerCrashedError
        return [{"seconds": 1.0}]

    def cancel(self, reference, force=False):
        self.cancelled.append((reference, force))


def test_a_lost_worker_costs_another_try_and_no_more_than_some(monkeypatch, tmp_path):
    fake = FakeRay({"b": 1, "c": MAX_ATTEMPTS})
    monkeypatch.setattr(executors, "_connect", lambda cores, gpu: (fake, False))
    requests = [[{"folder": name}] for name in "abc"]
    said = []
    with RayExecutor(None, 3, cores=2, gpu=False, log=tmp_path / "log.txt") as executor:
        assert executor.count == 2
        answers = dict(executor.train(requests, lambda: None, said.append))
    assert answers[0] == answers[1] == [{"seconds": 1.0}]
    assert f"lost {MAX_ATTEMPTS} times" in answers[2][0]["failed"]
    assert sorted(fake.begun) == ["a", "b", "b", *["c"] * MAX_ATTEMPTS]
    assert len(said) == MAX_ATTEMPTS
    assert fake.cancelled == []


def test_ctrl_c_cancels_what_is_under_way_gently_first(monkeypatch, tmp_path):
    fake = FakeRay({})
    monkeypatch.setattr(executors, "_connect", lambda cores, gpu: (fake, False))

    def press():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), RayExecutor(2, 3, cores=2, gpu=False, log=tmp_path / "log.txt") as executor:
        list(executor.train([[{"folder": name}] for name in "abc"], press, print))
    assert fake.cancelled == [(0, False), (1, False), (0, True), (1, True)]


def workers() -> list[int]:
    """Processes that train a run for Ray."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if "ray::_train" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait(process, reached):
    end = time.monotonic() + 600
    while not reached():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_study_whose_worker_is_killed_ends_complete_and_equal_to_that_of_this_machine(small_recipe, tmp_path):
    study = {
        "name": "two",
        "recipe": str(small_recipe),
        "set": {"training.epochs": 25},
        "factors": {"loss": {"plain": {}, "balanced": {"loss": {"name": "class-balanced"}}}},
    }
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(study))
    here = api.study(path, out=tmp_path / "here", jobs=2)
    out = tmp_path / "there"
    main = "from evenface.cli import main; main()"
    command = [sys.executable, "-c", main, "study", str(path), "--executor", "ray", "--jobs", "2", "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    first = out / "runs/loss-plain/seed-0"
    before = set(workers())
    with subprocess.Popen(command, **pipes) as process:
        try:
            wait(process, lambda: (first / "history.csv").is_file())
            victims = [pid for pid in workers() if pid not in before]
            os.kill(victims[0], signal.SIGKILL)
            screen, told = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 0, told
    assert "a worker was lost" in told
    assert "2 runs in 2 cells" in screen
    for run in here.plan.trainings:
        mine, theirs = (Run(folder / run.folder).predictions for folder in (here.folder, out))
        np.testing.assert_array_equal(mine.sample, theirs.sample)
        np.testing.assert_array_equal(mine.probabilities, theirs.probabilities)
    assert not set(workers()) - before


@pytest.mark.slow
def test_ctrl_c_puts_away_what_a_cluster_trains_and_the_same_command_goes_on(small_recipe, tmp_path):
    study = {"name": "one", "recipe": str(small_recipe), "set": {"training.epochs": 40}, "factors": {"a": {"b": {}}}}
    path, out = tmp_path / "one.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(study))
    main = "from evenface.cli import main; main()"
    command = [sys.executable, "-c", main, "study", str(path), "--executor", "ray", "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    folder = out / "runs/a-b/seed-0"
    with subprocess.Popen(command, **pipes) as process:
        try:
            wait(process, lambda: (folder / "history.csv").is_file())
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130, told
    assert not (folder / "predictions.parquet").exists()
    assert (folder / "checkpoint.safetensors").exists()
    api.study(path, out=out)
    assert "resumed" in (folder / "log.txt").read_text()
