"""Jobs: one is done at a time, some wait, and every one of them ends."""

import contextlib
import queue
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evenface.app.shapes import Job as Shown
from evenface.app.telling import problem
from evenface.app.worker import Task, answer, job_pool
from evenface.errors import InputError
from evenface.recipes.limits import Limits
from evenface.workers import MEMORY, WorkerDiedError

State = Literal["waiting", "running", "done", "failed", "cancelled"]


class BusyError(Exception):
    """So many jobs wait that no more are taken."""


@dataclass(eq=False)
class Job:
    """A piece of work.

    Parameters
    ----------
    kind : {"prediction", "comparison"}
        What comes of it.
    task : Asked or tuple of Entry
        What to do.
    folder : Path or None
        Where its upload lies; removed when it ends.
    keep : callable or None
        Told of the upload's folder and the result before that.
    """

    kind: Literal["prediction", "comparison"]
    task: Task
    folder: Path | None = None
    keep: Callable[[Path, dict[str, Any]], None] | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = "waiting"
    share: float = 0.0
    error: dict[str, str] | None = None
    result: dict[str, Any] | None = None
    begun: float = 0.0
    cancelled: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """The queue, the thread that takes from it, and the folder of uploads.

    Parameters
    ----------
    limits : Limits
        How many wait, how long one may take.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.folder = Path(tempfile.mkdtemp(prefix="evenface-"))
        self._pool = job_pool(limits, self.folder)
        self._waiting: queue.Queue[Job | None] = queue.Queue(limits.waiting)
        self._jobs: dict[str, Job] = {}
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="evenface-jobs", daemon=True)
        self._thread.start()

    def upload_folder(self) -> Path:
        """Make a folder for an upload."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def add(self, job: Job) -> Job:
        """Put a job into the queue.

        Raises
        ------
        BusyError
            If too many wait.
        """
        if self._stopped.is_set():
            raise BusyError
        with self._lock:
            ended = [key for key, one in self._jobs.items() if one.ended.is_set()]
            for key in ended[: max(0, len(ended) - self.limits.kept + 1)]:
                del self._jobs[key]
            try:
                self._waiting.put_nowait(job)
            except queue.Full:
                raise BusyError from None
            self._jobs[job.id] = job
        return job

    def get(self, key: str) -> Job | None:
        """Give a job."""
        return self._jobs.get(key)

    def drop(self, job: Job) -> None:
        """Give a job up if it has not ended, and forget it; who waits for it is told."""
        with self._lock:
            job.cancelled = True
            if job.state == "waiting":
                self._end(job, "cancelled")
                self._leave(job)
            self._jobs.pop(job.id, None)

    def _leave(self, job: Job) -> None:
        """Make room in the queue for others: jobs that were given up would else fill it."""
        with self._waiting.mutex, contextlib.suppress(ValueError):
            self._waiting.queue.remove(job)
            self._waiting.not_full.notify()

    def shown(self, job: Job) -> Shown:
        """Say how far a job is."""
        others = [one for one in list(self._jobs.values()) if not one.ended.is_set()]
        before = others.index(job) if job in others else 0
        said = {"id": job.id, "kind": job.kind, "state": job.state, "before": before, "done": job.share}
        return Shown.model_validate({**said, "error": job.error, **({job.kind: job.result} if job.result else {})})

    @property
    def stopping(self) -> bool:
        """Whether all jobs are given up."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Give all jobs up, without waiting for it."""
        self._stopped.set()
        for job in list(self._jobs.values()):
            job.cancelled = True

    def close(self) -> None:
        """Give all jobs up, and remove all that was uploaded."""
        self.stop()
        with contextlib.suppress(queue.Full):  # else the thread wakes by what it takes
            self._waiting.put_nowait(None)
        self._thread.join(10)
        self._pool.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self) -> None:
        with contextlib.suppress(InputError):
            self._pool.start()
        while not self._stopped.is_set():
            job = self._waiting.get()
            with self._lock:
                if job is None or job.cancelled:
                    continue
                job.state, job.begun = "running", time.monotonic()
            self._do(job)
        for job in list(self._jobs.values()):
            self._end(job, "cancelled")

    def _do(self, job: Job) -> None:
        def stopped() -> bool:
            return job.cancelled or time.monotonic() - job.begun > self.limits.timeout

        def step(share: float) -> None:
            job.share = share

        try:
            answered = self._pool.call(answer, job.task, self.limits, progress=step, stop=stopped, tries=2)
            if answered.get("spoiled"):
                self._pool.end_idle()
            if "failed" in answered:
                job.error = answered["failed"]
                self._end(job, "failed")
                return
            if job.keep is not None and job.folder is not None:
                job.keep(job.folder, answered["done"])
            job.result = answered["done"]
            self._end(job, "done")
        except WorkerDiedError as error:
            self._give_up(job, error)
        except Exception as error:  # the queue goes on whatever happens
            job.error = problem(error)
            self._end(job, "failed")

    def _give_up(self, job: Job, error: WorkerDiedError) -> None:
        if job.cancelled:
            self._end(job, "cancelled")
            return
        if time.monotonic() - job.begun > self.limits.timeout:
            what, do = f"This took more than {self.limits.timeout:g} seconds", "Give something shorter or smaller."
        elif error.killed:
            what, do = f"The process of jobs was killed: {MEMORY}", "Give something smaller."
        elif job.kind == "prediction":
            what, do = "A decoder broke down on this file", "Give another one."
        else:
            what, do = "The process of jobs ended in the middle of this", "Try again, with fewer runs."
        job.error = problem(InputError(what, do))
        self._end(job, "failed")

    def _end(self, job: Job, state: State) -> None:
        """Remove the upload, then say how a job ended."""
        if job.ended.is_set():
            return
        if job.folder is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state = state
        job.ended.set()
