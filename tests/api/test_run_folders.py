"""Run folders are locked by one process at a time, and stay usable after a kill at any moment."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from processes import command_line, fitted, in_process
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config import load_recipe
from evenface.explanation import results
from evenface.reporting.page import Page, PageSection, write_page
from evenface.reporting.tables import Table
from evenface.runs import Run
from evenface.utils import files
from evenface.utils.errors import InputError
from evenface.utils.files import is_vacant, lock_folder

HOLD = "import sys, time\nfrom pathlib import Path\nfrom evenface.utils.files import lock_folder\n"
HOLD += "with lock_folder(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder ``run``."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_locked_folder_is_refused_at_once_with_its_process(holder, tmp_path):
    start = time.monotonic()
    with pytest.raises(InputError) as told, lock_folder(tmp_path / "run"):
        pytest.fail("two hold it")
    assert time.monotonic() - start < 1
    assert f"run is in use by process {holder.pid} on {platform.node()}, since " in str(told.value)


def test_a_lock_ends_with_a_killed_process(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run/.lock").is_file()
    with lock_folder(tmp_path / "run"):
        assert (tmp_path / "run/.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert list((tmp_path / "run").iterdir()) == []


def test_waiting_for_a_lock(holder, tmp_path):
    os.kill(holder.pid, signal.SIGSTOP)  # so that the kill is what frees it
    with pytest.raises(InputError, match="in use"), lock_folder(tmp_path / "run", wait=0.2):
        pytest.fail("two hold it")
    holder.kill()
    with lock_folder(tmp_path / "run", wait=20):
        assert not is_vacant(tmp_path)


def test_folders_created_for_a_lock_are_removed_if_nothing_was_written(tmp_path):
    with lock_folder(tmp_path / "a/b"):
        pass
    assert is_vacant(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with lock_folder(tmp_path / "a/b"):
        (tmp_path / "a/file").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def _raced(folder, counter, times):
    for _ in range(times):
        while True:
            try:
                with lock_folder(folder):
                    value = int(counter.read_text())
                    counter.write_text(str(value + 1))
                    break
            except InputError:
                time.sleep(0.001)


def test_the_lock_excludes_others_though_each_process_removes_its_file(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [in_process(_raced, tmp_path / "run", counter, 40) for _ in range(3)]
    for process in processes:
        process.join(60)
    assert counter.read_text() == "120"


@pytest.mark.parametrize("verb", ["train", "resume", "evaluate", "calibrate"])
def test_commands_that_write_to_a_locked_run_exit_with_2(two_runs, small_recipe, verb):
    run = two_runs / "plain"
    words = {
        "train": ["train", str(small_recipe), "--out", str(run)],
        "resume": ["train", str(run), "--resume"],
        "evaluate": ["evaluate", str(run), "--no-sample-faces"],
        "calibrate": ["calibrate", str(run)],
    }
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    with lock_folder(run):
        done = CliRunner().invoke(app, words[verb])
    assert done.exit_code == 2
    assert re.match(rf"evenface: .*plain is in use by process {os.getpid()} on .*\n  Wait until .*--out", done.output)
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_the_second_of_two_trainings_in_one_folder_exits_with_2(small_recipe, tmp_path):
    words = ["train", small_recipe, "training.epochs=300", "--no-sample-faces", "--out", tmp_path / "run"]
    first = in_process(command_line, words, tmp_path / "screen.txt")
    while not (tmp_path / "run/history.csv").exists() and first.is_alive():
        time.sleep(0.05)
    done = CliRunner().invoke(app, ["train", str(small_recipe), "loss.name=focal", "--out", str(tmp_path / "run")])
    first.kill()
    first.join()
    assert done.exit_code == 2
    assert f"in use by process {first.pid}" in done.output
    assert Run(tmp_path / "run").recipe.loss.name == "cross-entropy"


def _begin_and_die(recipe, out, writes):
    """Train, and be killed while the given file is being written, counted from 1."""
    replace, left = Path.replace, iter(range(1, 100))

    def deadly(self, target):
        if self.name.startswith(".part-") and next(left) == writes:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = deadly
    fitted(recipe, out=out)


@pytest.mark.parametrize("writes", [1, 2, 3])
@pytest.mark.parametrize("resume", [False, True])
def test_a_kill_during_the_first_writes_leaves_a_usable_folder(small_recipe, two_runs, tmp_path, writes, resume):
    out = tmp_path / "run"
    process = in_process(_begin_and_die, small_recipe, out, writes)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert files.stale_files(out)
    words = ["train", str(small_recipe), "training.epochs=1", "--no-sample-faces", "--out", str(out)]
    if writes > 1 and not resume:
        assert "Add --resume" in CliRunner().invoke(app, words).output
        return
    # The recipe is the first that is written; before it is there, other settings may still be said.
    words = [*words, *(["--resume"] if resume else [])] if writes == 1 else ["train", str(out), "--resume"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert Run.open(out).facts["recipe"] == load_recipe(out).model_dump(mode="json")
    assert not files.stale_files(out)


def test_a_folder_that_is_not_a_run_is_refused_with_a_hint(tmp_path):
    (tmp_path / "run").mkdir()
    done = CliRunner().invoke(app, ["train", str(tmp_path / "run"), "--resume"])
    assert done.exit_code == 2
    assert re.search(r"run has no recipe.yaml\n  .*give the recipe again, with --out", done.output)


def _page(*names):
    tables = tuple(Table(name, f"Table {name}", ("a", "b"), (("x", 1.0),)) for name in names)
    return Page("a page", "Title", "", (), (), (), (), (PageSection("Tables", tables=tables),), {})


def test_a_report_replaces_the_tables_of_an_earlier_one_and_nothing_else(tmp_path):
    write_page(_page("one", "two"), tmp_path / "report.html")
    own = {"mine.csv": "1,2", "mine.tex": r"\begin{table}", "two.txt": "notes"}
    for name, text in own.items():
        (tmp_path / "tables" / name).write_text(text)
    write_page(_page("two", "three"), tmp_path / "report.html")
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert names == {"two.csv", "two.tex", "three.csv", "three.tex", *own}
    assert {name: (tmp_path / "tables" / name).read_text() for name in own} == own


def test_an_unfinished_report_is_not_left_beside_tables_of_another(tmp_path, monkeypatch):
    write_page(_page("one"), tmp_path / "report.html")
    monkeypatch.setattr(Table, "save", lambda self, folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_page(_page("two"), tmp_path / "report.html")
    assert [path.name for path in tmp_path.rglob("*")] == ["tables"]


@pytest.mark.parametrize("which", ["run", "study"])
def test_a_comparison_does_not_write_over_the_report_of_a_run_or_study(two_runs, tmp_path, which):
    out = two_runs / "plain" if which == "run" else tmp_path
    (tmp_path / "study.yaml").touch()
    report = (two_runs / "plain/report.html").read_bytes()
    with pytest.raises(InputError, match=f"is a {which} folder; its report would be overwritten"):
        ef.compare([two_runs / "plain", two_runs / "weighted"], out=out, sample_faces=False)
    assert (two_runs / "plain/report.html").read_bytes() == report


def test_explanations_of_two_models_do_not_share_a_folder(tmp_path):
    results.save_record(tmp_path, {"key": "0123456789ab", "file": "one.png"})
    results.check_folder(tmp_path, "0123456789ab")
    with pytest.raises(InputError, match="or with other settings"):
        results.check_folder(tmp_path, "ba9876543210")


def test_a_study_is_run_by_one_process_at_a_time(small_recipe, tmp_path):
    study = {"name": "own", "recipe": str(small_recipe), "factors": {"seeds": {"a": {}, "b": {"seed": 2}}}}
    study |= {"baseline": {"seeds": "a"}, "seeds": 1}
    with lock_folder(tmp_path / "out"), pytest.raises(InputError, match=r"out is in use by process"):
        ef.study(study, out=tmp_path / "out", jobs=1)


def test_threads_of_one_process_exclude_each_other(tmp_path):
    with (
        lock_folder(tmp_path / "run"),
        ThreadPool(1) as pool,
        pytest.raises(InputError, match="in use"),
    ):
        pool.apply(lock_folder(tmp_path / "run").__enter__)


def test_a_claimed_folder_is_locked_by_the_first_of_several_processes(small_recipe, tmp_path, monkeypatch):
    recipe, folder = load_recipe(small_recipe), tmp_path / "out" / "run"
    with Run.claim(folder, recipe, resume=False) as run:
        assert run.folder == folder
        with pytest.raises(InputError, match="in use by process"), Run.claim(folder, recipe, resume=True):
            pass
        monkeypatch.setenv("RANK", "1")
        with Run.claim(folder, recipe, resume=False) as same:
            assert same == run
        monkeypatch.delenv("RANK")
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    with pytest.raises(InputError, match="exists and is no run folder"), Run.claim(folder, recipe, resume=False):
        pass
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
