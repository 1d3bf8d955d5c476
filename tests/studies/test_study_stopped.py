"""A study whose runs are killed or fail continues with the others, and resumes."""

import contextlib
import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import yaml
from processes import in_process

from evenface.cli import main

pytestmark = pytest.mark.usefixtures("forked_workers")


def test_killed_and_failed_runs_do_not_keep_others_from_ending(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # children take it from the environment
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
    screens = tmp_path / "out.txt", tmp_path / "errors.txt"
    words = ["evenface", "study", str(study), "--out", str(out), "--jobs", "1"]
    with started(words, *screens) as process:
        begun(process, out / "runs/kind-long/seed-0")
        os.kill(child_of(process.pid), signal.SIGKILL)
        process.join(120)
    screen, told = (path.read_text() for path in screens)
    assert process.exitcode == 2, told
    assert "2 of 3 runs failed" in told
    assert "nobody" in told
    assert "was killed" in told
    assert "1 of 3 runs in 3 cells" in screen
    good = out / "runs/kind-good/seed-0/predictions.parquet"
    kept = good.stat().st_mtime_ns

    log = out / "runs/kind-long/seed-0/log.txt"
    with started(words, *screens) as process:
        wait(process, lambda: "resumed" in log.read_text())
        start = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
    told = screens[1].read_text()
    assert process.exitcode == 130, told
    assert "run the same command again" in told
    assert time.monotonic() - start < 20
    assert good.stat().st_mtime_ns == kept
    assert not (log.parent / "predictions.parquet").exists()


@contextlib.contextmanager
def started(words: list[str], out: Path, errors: Path):
    """Start a process that ends with the block at the latest; its children end with it."""
    process = in_process(command, words, out, errors)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def command(words: list[str], out: Path, errors: Path) -> None:
    """Run the command line as a shell does, and write what it prints to files."""
    os.setsid()
    sys.argv = words
    with out.open("w") as sys.stdout, errors.open("w") as sys.stderr:
        main()


def begun(process: BaseProcess, folder: Path) -> None:
    """Wait until a run has ended some epochs."""
    history = folder / "history.csv"
    wait(process, lambda: history.is_file() and len(history.read_text().splitlines()) > 3)


def wait(process: BaseProcess, reached) -> None:
    end = time.monotonic() + 120
    while not reached():
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.02)


def child_of(parent: int) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError("there is no child that trains")
