"""The runs of a study side by side, each in a process that stays for the next one."""

import contextlib
import json
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenface import assembly
from evenface.errors import InputError
from evenface.files import digest
from evenface.progress import progress
from evenface.runs import Run
from evenface.studies.plan import Plan, Planned

PATIENCE = 20.0
"""Seconds that a process has to put a run away when it shall stop."""
LOG = "log.txt"


@dataclass
class Outcome:
    """What came of training: runs that failed, each with the sentence that says why."""

    failed: dict[str, str] = field(default_factory=dict)


def execute(plan: Plan, out: Path, jobs: int | None = None) -> Outcome:
    """Train what has not ended yet; a run that fails does not keep the others from going on.

    Parameters
    ----------
    plan : Plan
        What to train.
    out : Path
        The study's folder.
    jobs : int, optional
        Runs at a time; by default one per GPU, or one per processor core where there is none.

    Returns
    -------
    Outcome

    Raises
    ------
    KeyboardInterrupt
        After all processes have put their runs away.
    """
    waiting = [run for run in plan.trainings if not ended(run, out, plan)]
    outcome = Outcome()
    if not waiting:
        return outcome
    _train_starts(plan, waiting, out, jobs)
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be 1 or more, got {jobs}")
    gpus = _gpus(waiting)
    count = min(jobs or len(gpus) or cores(), len(waiting))
    tasks: queue.SimpleQueue[Planned] = queue.SimpleQueue()
    for run in waiting:
        tasks.put(run)
    clock = _Clock(plan, waiting, count, out)
    with _Processes(count, gpus, out / LOG) as processes:
        done = processes.work(tasks, lambda run: _request(run, plan, out))
        with progress(f"training {plan.study.name}", len(plan.trainings), len(plan.trainings) - len(waiting)) as bar:
            for run, answer in done:
                where = f"{plan.said(run.cell)}, seed {run.seed}" + ("" if run.fold is None else f", fold {run.fold}")
                bar(1)
                if "failed" in answer:
                    outcome.failed[run.folder] = answer["failed"]
                    bar.say(f"failed: {where}: {answer['failed']}")
                    clock.gone(run, None)
                else:
                    clock.gone(run, answer["seconds"])
                    bar.say(f"{clock.place}  {where}  ({duration(answer['seconds'])}){clock.left}")
    return outcome


def _train_starts(plan: Plan, waiting: Sequence[Planned], out: Path, jobs: int | None) -> None:
    """Train first what runs that wait begin with."""
    starts = plan.starts
    if starts is None or all(run.start is None for run in waiting):
        return
    for where, why in execute(starts, out, jobs).failed.items():
        raise InputError(f"{plan.study.name}: what networks start from could not be trained ({where}): {why}")


def ended(run: Planned, out: Path, plan: Plan) -> bool:
    """Whether a run has its predictions, of the further data sets too."""
    folder = out / run.folder
    return Run(folder).finished and all(Run(folder / f"on-{name}").finished for name in plan.tests)


def cores() -> int:
    """Give the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def duration(seconds: float) -> str:
    """Write a time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def prepare_data(plan: Plan, out: Path) -> None:
    """Prepare each data set that runs still ask for once, before several processes do.

    Raises
    ------
    InputError
        If the data are not there or not laid out as their source expects.
    """
    seen = set()
    waiting = [run for run in plan.trainings if not ended(run, out, plan)]
    starts = {run.start.folder: run.start for run in waiting if run.start is not None}
    for run in (*starts.values(), *waiting):
        key = digest(run.recipe.data.model_dump_json())
        if key not in seen:
            seen.add(key)
            try:
                assembly.prepare_store(run.recipe)
            except InputError as error:
                raise InputError(f"{plan.study.name}: {error.message}", error.hint) from error


def _gpus(runs: Sequence[Planned]) -> list[str]:
    """Name the GPUs that runs may have, none where they shall use the processor."""
    if all(run.recipe.training.accelerator == "cpu" for run in runs):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(place) for place in range(torch.cuda.device_count())]


def _request(run: Planned, plan: Plan, out: Path) -> dict[str, Any]:
    tests = {name: {"set": test.set, "classes": test.classes} for name, test in plan.tests.items()}
    return {
        "recipe": run.recipe_in(out).model_dump(mode="json"),
        "folder": str((out / run.folder).resolve()),
        "tests": tests,
    }


class _Clock:
    """How many runs have ended, and how long the rest may take, by what runs of their cells took."""

    def __init__(self, plan: Plan, waiting: Sequence[Planned], jobs: int, out: Path) -> None:
        self.total, self.waiting, self.jobs = len(plan.trainings), {run.folder: run for run in waiting}, jobs
        self.times: dict[tuple[str, ...], list[float]] = {}
        for run in plan.trainings:
            opened = Run(out / run.folder)
            if opened.finished and "training_seconds" in opened.facts:
                self.times.setdefault(run.cell, []).append(float(opened.facts["training_seconds"]))

    def gone(self, run: Planned, seconds: float | None) -> None:
        self.waiting.pop(run.folder)
        if seconds is not None:
            self.times.setdefault(run.cell, []).append(seconds)

    @property
    def place(self) -> str:
        return f"{self.total - len(self.waiting):>{len(str(self.total))}}/{self.total}"

    @property
    def left(self) -> str:
        if not self.waiting or not self.times:
            return ""
        typical = statistics.fmean(time for times in self.times.values() for time in times)
        rest = sum(statistics.fmean(self.times.get(run.cell, [typical])) for run in self.waiting.values())
        return f"; about {duration(rest / min(self.jobs, len(self.waiting)))} left"


class _Processes:
    """Processes that train, each with its share of the cores, or its GPU."""

    def __init__(self, count: int, gpus: Sequence[str], log: Path) -> None:
        self.count, self.gpus, self.threads = count, gpus, max(1, cores() // count)
        self._children: list[subprocess.Popen[str]] = []
        self._lock, self._stopped = threading.Lock(), False
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="evenface-study")
        self._log = log.open("a", encoding="utf-8")

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *_: object) -> None:
        """Let every process put its run away; one that takes too long, or a second Ctrl-C, ends that."""
        with self._lock:
            self._stopped = True
        try:
            for child in self._children:
                _close(child)
            end = time.monotonic() + PATIENCE
            for child in self._children:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.1, end - time.monotonic()))
        finally:
            for child in self._children:
                child.kill()
                child.wait()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._log.close()

    def work(
        self, tasks: "queue.SimpleQueue[Planned]", request: Callable[[Planned], dict[str, Any]]
    ) -> Iterator[tuple[Planned, dict[str, Any]]]:
        """Give each task with its answer, as they come."""
        answers: queue.SimpleQueue[tuple[Planned, dict[str, Any]]] = queue.SimpleQueue()
        total = tasks.qsize()
        workers = [self._pool.submit(self._worker, place, tasks, request, answers) for place in range(self.count)]
        for _ in range(total):
            while True:
                with contextlib.suppress(queue.Empty):
                    yield answers.get(timeout=0.5)
                    break
                if all(worker.done() for worker in workers):
                    for worker in workers:
                        worker.result()
                    if answers.empty():
                        return

    def _worker(
        self,
        place: int,
        tasks: "queue.SimpleQueue[Planned]",
        request: Callable[[Planned], dict[str, Any]],
        answers: "queue.SimpleQueue[tuple[Planned, dict[str, Any]]]",
    ) -> None:
        child = None
        while not self._stopped:
            try:
                run = tasks.get_nowait()
            except queue.Empty:
                break
            child = child if child is not None and child.poll() is None else self._start(place)
            if child is None:
                break
            answer = _ask(child, request(run))
            if not self._stopped:
                answers.put((run, answer))
        if child is not None:
            _close(child)

    def _start(self, place: int) -> subprocess.Popen[str] | None:
        # Threads that the user chose stay, and count for the libraries that nothing was said of: more of them than
        # cores would wait for each other all the time.
        count = os.environ.get("OMP_NUM_THREADS", str(self.threads))
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
        device = {"CUDA_VISIBLE_DEVICES": self.gpus[place % len(self.gpus)]} if self.gpus else {}
        paths = os.pathsep.join(path for path in sys.path if path)
        with self._lock:
            if self._stopped:
                return None
            child = subprocess.Popen(
                [sys.executable, "-P", "-c", "from evenface.studies.worker import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                env={**threads, **os.environ, "PYTHONPATH": paths, **device},
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
            self._children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child


def _ask(child: subprocess.Popen[str], request: dict[str, Any]) -> dict[str, Any]:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        answer: dict[str, Any] = json.loads(child.stdout.readline())
    except (OSError, ValueError):  # a pipe that broke or was closed, or half a line
        code = child.wait()
        why = "it was killed, perhaps for want of memory; try fewer --jobs" if code == -9 else f"see {LOG}"
        return {"failed": f"its process ended with {code}: {why}"}
    return answer


def _close(child: subprocess.Popen[str]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
