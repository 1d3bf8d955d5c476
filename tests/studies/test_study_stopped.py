"""A study whose runs are killed or fail continues with the others, and resumes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml


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
    assert "run the same command again" in told
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
            if int(fields[1]) == parent and "evenface-study" in (folder / "cmdline").read_text():
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError("there is no child that trains")
