"""Jobs: one is done at a time, some wait, and every one of them ends."""

import contextlib
import queue
import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from evenface.app.access import problem
from evenface.app.catalogue import Entry
from evenface.app.predict_job import PredictRequest, judge
from evenface.app.schemas import JobResponse as Shown
from evenface.config.limits import Limits
from evenface.runs import WEIGHTS
from evenface.utils.errors import InputError
from evenface.utils.workers import MEMORY, WorkerDiedError, WorkerPool

Task = PredictRequest | tuple[Entry, ...]
"""An upload to judge, or runs to compare."""


def job_pool(limits: Limits, folder: Path) -> WorkerPool:
    """Build the pool of the one process that does the jobs; it removes the uploads if the server ends without it."""
    return WorkerPool(
        1,
        name="evenface-jobs",
        threads=None,
        initializer=partial(_limit_memory, limits.memory),
        finalizer=partial(shutil.rmtree, folder, ignore_errors=True),
    )


def answer(task: Task, limits: Limits, step: Callable[[float], None]) -> dict[str, Any]:
    """Do a job in the worker process: ``{"done": result}`` or ``{"failed": {"what", "do"}, "spoiled": bool}``."""
    places = (task.entry.path, task.upload) if isinstance(task, PredictRequest) else tuple(entry.path for entry in task)
    try:
        if isinstance(task, PredictRequest):
            return {
                "done": judge(
                    task, _model(task.entry.path, _changed(task.entry.path), trusted=limits.trust_plugins), limits, step
                )
            }
        from evenface.app.catalogue import compare

        return {"done": compare(task, trust_plugins=limits.trust_plugins)}
    except Exception as error:  # whatever a file did to a decoder, the next one must find a worker
        if not isinstance(error, InputError | MemoryError):
            traceback.print_exc(file=sys.stderr)
        # What such an error leaves behind, memory above all, is not for the next one: it gets a fresh process.
        return {"failed": problem(error, *places), "spoiled": not isinstance(error, InputError)}


def _changed(path: Path) -> int:
    file = path / WEIGHTS if path.is_dir() else path
    return file.stat().st_mtime_ns if file.is_file() else 0


@lru_cache(maxsize=2)
def _model(path: Path, _changed: int, *, trusted: bool) -> Any:
    from evenface.inference import open_model

    return open_model(path, trust_plugins=trusted)


def _limit_memory(memory: int) -> None:
    """Limit the memory of this process, where the system can and no GPU needs more of its addresses."""
    try:
        import resource
    except ImportError:  # Windows
        return
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


State = Literal["waiting", "running", "done", "failed", "cancelled"]


class BusyError(Exception):
    """So many jobs wait that no more are taken."""


@dataclass(eq=False)
class Job:
    """A piece of work."""

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
    """The queue, the thread that takes from it, and the folder of uploads."""

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
        """Put a job into the queue."""
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
