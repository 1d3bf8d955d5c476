"""Processes of this machine that train the runs of a study, each staying for the next one."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from evenface.studies.crew import GLANCE, PATIENCE, Answer, Request, threads_each

Tasks = queue.SimpleQueue[tuple[int, Request]]
Answers = queue.SimpleQueue[tuple[int, Answer]]


class Processes:
    """Processes that train, each with its share of the cores, or its GPU.

    Parameters
    ----------
    count : int
        How many at a time.
    cores : int
        Processor cores to share.
    gpus : sequence of str
        Names of the GPUs to share, none where the processor trains.
    log : Path
        File that takes what the processes say of errors.
    """

    def __init__(self, count: int, cores: int, gpus: Sequence[str], log: Path) -> None:
        self.count, self.gpus, self.threads = count, gpus, max(1, cores // count)
        self._children: list[subprocess.Popen[str]] = []
        self._lock, self._stopped = threading.Lock(), False
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="evenface-study")
        self._log = log.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let every process put its runs away; one that takes too long, or a second Ctrl-C, ends that."""
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
        self, requests: Sequence[Request], glance: Callable[[], None], say: Callable[[str], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Give the place of each request with its answer, as they come; see :class:`~evenface.studies.crew.Crew`."""
        del say  # a process that is lost is told of in the answer
        tasks, answers = Tasks(), Answers()
        for place, request in enumerate(requests):
            tasks.put((place, request))
        workers = [self._pool.submit(self._worker, number, tasks, answers) for number in range(self.count)]
        for _ in requests:
            while True:
                with contextlib.suppress(queue.Empty):
                    yield answers.get(timeout=GLANCE)
                    break
                glance()
                if all(worker.done() for worker in workers):
                    for worker in workers:
                        worker.result()
                    if answers.empty():
                        return

    def _worker(self, number: int, tasks: Tasks, answers: Answers) -> None:
        child = None
        while not self._stopped:
            try:
                place, request = tasks.get_nowait()
            except queue.Empty:
                break
            child = child if child is not None and child.poll() is None else self._start(number)
            if child is None:
                break
            answer = _ask(child, request, self._log.name)
            if not self._stopped:
                answers.put((place, answer))
        if child is not None:
            _close(child)

    def _start(self, number: int) -> subprocess.Popen[str] | None:
        device = {"CUDA_VISIBLE_DEVICES": self.gpus[number % len(self.gpus)]} if self.gpus else {}
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
                env={**os.environ, **threads_each(self.threads), "PYTHONPATH": paths, **device},
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
            self._children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child


def _ask(child: subprocess.Popen[str], request: Request, log: str) -> Answer:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        answer: Answer = json.loads(child.stdout.readline())
    except (OSError, ValueError):  # a pipe that broke or was closed, or half a line
        code = child.wait()
        killed = "it was killed, perhaps for want of memory; try fewer --jobs"
        why = killed if code == -9 else f"see {Path(log).name}"
        return [{"failed": f"its process ended with {code}: {why}"}] * len(request)
    return answer


def _close(child: subprocess.Popen[str]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
