"""The pool of worker processes: order, errors, crashes, retries, limits, Ctrl-C, and a parent that is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import tasks
from stores import await_death, children_of
from tasks import die, fail, fail_oddly, linger, square, steps, variable

from evenface.utils.errors import InputError
from evenface.utils.workers import WorkerDiedError, WorkerPool, thread_environment


@pytest.fixture
def pool():
    with WorkerPool(2, name="test") as opened:
        yield opened


def wait_for(path):
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_results_come_in_order_or_as_they_end(pool):
    assert list(pool.map(partial(pool.call, square), range(7))) == [number**2 for number in range(7)]
    found = list(pool.map_unordered(partial(pool.call, square), range(7)))
    assert sorted(found) == [(number, number**2) for number in range(7)]
    assert found[0] != (0, 0)


def test_few_results_wait_however_many_items_there_are(pool):
    taken = []
    results = pool.map(partial(pool.call, square), (taken.append(number) or number for number in range(100)))
    assert next(results) == 0
    assert len(taken) == 2 * pool.count + 1


def test_errors_are_those_of_the_function(pool):
    with pytest.raises(InputError) as told:
        pool.call(fail, InputError("what", "do"))
    assert (told.value.message, told.value.hint) == ("what", "do")
    assert "in fail" in told.value.__notes__[0]
    with pytest.raises(FileNotFoundError, match="gone") as lost:  # not taken for a broken pipe
        pool.call(fail, FileNotFoundError(2, "gone", "a.png"))
    assert lost.value.filename == "a.png"
    with pytest.raises(RuntimeError, match="OddError: 1 and 2"):  # cannot be pickled whole
        pool.call(fail_oddly)
    with pytest.raises(TypeError, match="pickle"):
        pool.call(threading.Lock)


@pytest.mark.parametrize(("by", "says"), [(signal.SIGKILL, "memory"), (signal.SIGSEGV, "code -11")])
def test_a_crash_costs_the_task_that_crashed_and_no_other(pool, tmp_path, by, says):
    def task(name):
        try:
            return pool.call(die, tmp_path, 1, by) if name == "bomb" else pool.call(square, 3)
        except WorkerDiedError as error:
            return f"{name}: {error}"

    results = list(pool.map(task, ["a", "bomb", "b", "c"]))
    assert (results[0], results[2], results[3]) == (9, 9, 9)
    assert results[1].startswith("bomb: ")
    assert says in results[1]


def test_another_try_is_made_in_a_fresh_process(pool, tmp_path):
    before = {pool.call(os.getpid) for _ in range(2)}
    assert pool.call(die, tmp_path, 2, signal.SIGKILL, tries=3) not in before
    with pytest.raises(WorkerDiedError) as died:
        pool.call(die, tmp_path, 99, signal.SIGKILL, tries=2)
    assert died.value.killed
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for child processes in /proc")
def test_a_task_can_be_alone(pool):
    def pids():
        return {pid for pid in children_of(os.getpid()) if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()}

    assert len({pool.call(os.getpid) for _ in range(4)}) == 2
    alone = pool.call_alone(os.getpid)
    assert pids() == {alone}
    pool.end_idle()
    assert pids() == set()


def test_a_limit_ends_a_task_and_the_next_one_is_done(pool, tmp_path):
    start = time.monotonic()
    with pytest.raises(WorkerDiedError) as died:
        pool.call(linger, tmp_path / "begun", stop=lambda: time.monotonic() > start + 0.5, tries=5)
    assert died.value.code is None
    assert time.monotonic() - start < 5
    assert [pool.call(square, 4) for _ in range(3)] == [16] * 3


def test_progress_arrives_in_order(pool):
    seen = []
    assert pool.call(steps, 5, progress=seen.append) == 5
    assert seen == [0, 1, 2, 3, 4]


def test_each_process_has_its_environment_and_as_many_threads_as_are_said(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with WorkerPool(2, name="test", threads=3, environment=[{"DEVICE": "0"}, {"DEVICE": "1"}]) as pool:
        assert {pool.call(variable, "DEVICE") for _ in range(4)} == {"0", "1"}
        assert pool.call(variable, "OPENBLAS_NUM_THREADS") == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert thread_environment(3)["MKL_NUM_THREADS"] == "5"


def test_leaving_lets_a_task_save_its_work_within_its_time(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    start = time.monotonic()

    def interrupt():
        if all(path.exists() for path in paths):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), WorkerPool(2, name="test", grace=10) as pool:
        list(pool.map_unordered(partial(pool.call, linger), paths, interrupt))
    assert [path.read_text() for path in paths] == ["saved"] * 2
    assert time.monotonic() - start < 9


def test_a_pool_that_was_closed_starts_nothing():
    with WorkerPool(1, name="reading") as pool:
        pass
    with pytest.raises(RuntimeError, match="reading: the pool was closed"):
        pool.call(square, 1)


def test_a_process_that_does_not_start_is_said_with_its_reason(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with WorkerPool(1, name="reading") as pool, pytest.raises(InputError) as told:
        pool.call(square, 1)
    assert told.value.message == "reading: a worker process did not start: its process ended with code 1"
    monkeypatch.setattr(sys, "executable", "/bin/absent")
    with WorkerPool(1, name="reading") as pool, pytest.raises(InputError, match="did not start: No such file"):
        pool.call(square, 1)


def test_a_process_that_ends_before_its_first_task_is_started_again(tmp_path, monkeypatch):
    shell = f'test -e {tmp_path}/tried || {{ touch {tmp_path}/tried; exit 1; }}\nexec {sys.executable} "$@"\n'
    (tmp_path / "python").write_text(f"#!/bin/sh\n{shell}")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with WorkerPool(1, name="reading") as pool:
        assert pool.call(square, 3) == 9
    assert (tmp_path / "tried").exists()


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
from tasks import linger, mark, square
from evenface.utils.workers import WorkerPool
folder = Path(sys.argv[1])
with WorkerPool(2, name="test", finalizer=partial(mark, folder / "left"), grace=float(sys.argv[2])) as pool:
    print(pool.call(square, 3), flush=True)
    list(pool.map(partial(pool.call, linger), [folder / "a", folder / "b"]))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize("grace", [0, 10])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent_and_a_script_needs_no_guard(tmp_path, by, grace):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(tasks.__file__).parent)))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, str(script), str(tmp_path), str(grace)], **pipes) as process:
        for name in "ab":
            wait_for(tmp_path / name)
        children = children_of(process.pid)
        assert len(children) == 2
        os.killpg(process.pid, by)  # as Ctrl-C on a terminal does
        out, errors = process.communicate(timeout=20)
    await_death(children)
    assert out == "9\n"  # the script ran once
    assert errors.count("Traceback") == (by == signal.SIGINT)
    assert "KeyboardInterrupt" in errors or by == signal.SIGKILL
    assert [(tmp_path / name).read_text() for name in "ab"] == (["saved"] * 2 if grace else [""] * 2)
    assert (tmp_path / "left").exists() or (by == signal.SIGINT and not grace)
