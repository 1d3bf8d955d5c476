"""Job queue of the page: one job runs at a time, in a worker process, with limits on time and memory."""

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

from evenface.app.catalogue import Entry
from evenface.app.predict_job import PredictRequest, predict_upload
from evenface.app.schemas import JobResponse, error_message
from evenface.config.limits import Limits
from evenface.runs import WEIGHTS
from evenface.utils.errors import InputError
from evenface.utils.workers import MEMORY, WorkerDiedError, WorkerPool

Task = PredictRequest | tuple[Entry, ...]
"""An upload to predict on, or runs to compare."""


def job_pool(limits: Limits, folder: Path) -> WorkerPool:
    """Build the pool of the single worker process, which deletes the uploads if the server dies."""
    return WorkerPool(
        1,
        name="evenface-jobs",
        threads=None,
        initializer=partial(_limit_memory, limits.memory),
        finalizer=partial(shutil.rmtree, folder, ignore_errors=True),
    )


def run_task(task: Task, limits: Limits, step: Callable[[float], None]) -> dict[str, Any]:
    """Run a task in the worker process.

    Returns ``{"done": result}``, or ``{"failed": {"what", "do"}, "spoiled": bool}``, where spoiled requires a new
    process.
    """
    if isinstance(task, PredictRequest):
        paths = (task.entry.path, task.upload, *([task.baseline] if task.baseline else []))
    else:
        paths = tuple(entry.path for entry in task)
    try:
        if isinstance(task, PredictRequest):
            model = _model(task.entry.path, _changed(task.entry.path), trusted=limits.trust_plugins)
            return {"done": predict_upload(task, model, limits, step)}
        from evenface.app.catalogue import compare

        return {"done": compare(task, trust_plugins=limits.trust_plugins)}
    except Exception as error:  # whatever a file does to a decoder, the worker must stay available
        if not isinstance(error, InputError | MemoryError):
            traceback.print_exc(file=sys.stderr)
        # Other errors may leave memory or libraries in a bad state: the next job gets a new process.
        return {"failed": error_message(error, *paths), "spoiled": not isinstance(error, InputError)}


def _changed(path: Path) -> int:
    file = path / WEIGHTS if path.is_dir() else path
    return file.stat().st_mtime_ns if file.is_file() else 0


@lru_cache(maxsize=2)
def _model(path: Path, _changed: int, *, trusted: bool) -> Any:
    from evenface.inference import open_model

    return open_model(path, trust_plugins=trusted)


def _limit_memory(memory: int) -> None:
    """Limit the memory of this process if the system supports it; not with a GPU, which needs more address space."""
    try:
        import resource
    except ImportError:  # Windows
        return
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


State = Literal["waiting", "running", "done", "failed", "cancelled"]


class QueueFullError(Exception):
    """The queue accepts no more jobs."""


@dataclass(eq=False)
class Job:
    """A task with its state, result and upload folder."""

    kind: Literal["prediction", "comparison"]
    task: Task
    folder: Path | None = None
    save: Callable[[Path, dict[str, Any]], None] | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = "waiting"
    share: float = 0.0
    error: dict[str, str] | None = None
    result: dict[str, Any] | None = None
    started: float = 0.0
    cancelled: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """The queue, the thread that runs it, and the folder of uploads."""

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
        """Create a folder for an upload."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def add(self, job: Job) -> Job:
        """Add a job to the queue."""
        if self._stopped.is_set():
            raise QueueFullError
        with self._lock:
            ended = [key for key, other in self._jobs.items() if other.ended.is_set()]
            for key in ended[: max(0, len(ended) - self.limits.kept + 1)]:
                del self._jobs[key]
            try:
                self._waiting.put_nowait(job)
            except queue.Full:
                raise QueueFullError from None
            self._jobs[job.id] = job
        return job

    def get(self, key: str) -> Job | None:
        """Return the job with an id."""
        return self._jobs.get(key)

    def cancel(self, job: Job) -> None:
        """Cancel a job if it has not ended, and delete it; requests that wait for it are answered."""
        with self._lock:
            job.cancelled = True
            if job.state == "waiting":
                self._end(job, "cancelled")
                self._remove_waiting(job)
            self._jobs.pop(job.id, None)

    def _remove_waiting(self, job: Job) -> None:
        """Remove a cancelled job from the queue, which would otherwise stay full."""
        with self._waiting.mutex, contextlib.suppress(ValueError):
            self._waiting.queue.remove(job)
            self._waiting.not_full.notify()

    def response(self, job: Job) -> JobResponse:
        """Return state, progress and result of a job."""
        active = [other for other in list(self._jobs.values()) if not other.ended.is_set()]
        before = active.index(job) if job in active else 0
        content = {"id": job.id, "kind": job.kind, "state": job.state, "before": before, "done": job.share}
        result = {job.kind: job.result} if job.result else {}
        return JobResponse.model_validate({**content, "error": job.error, **result})

    @property
    def running(self) -> bool:
        """Whether jobs are accepted and the thread that runs them is alive."""
        return self._thread.is_alive() and not self.stopping

    @property
    def stopping(self) -> bool:
        """Whether all jobs are being cancelled."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Cancel all jobs without waiting."""
        self._stopped.set()
        for job in list(self._jobs.values()):
            job.cancelled = True

    def close(self) -> None:
        """Cancel all jobs, end the worker process and delete all uploads."""
        self.stop()
        with contextlib.suppress(queue.Full):  # a full queue wakes the thread by itself
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
                job.state, job.started = "running", time.monotonic()
            self._run_job(job)
        for job in list(self._jobs.values()):
            self._end(job, "cancelled")

    def _run_job(self, job: Job) -> None:
        def stop() -> bool:
            return job.cancelled or self._timed_out(job)

        def step(share: float) -> None:
            job.share = share

        try:
            answer = self._pool.call(run_task, job.task, self.limits, progress=step, stop=stop, tries=2)
            if answer.get("spoiled"):
                self._pool.end_idle()
            if "failed" in answer:
                job.error = answer["failed"]
                self._end(job, "failed")
                return
            if job.save is not None and job.folder is not None:
                job.save(job.folder, answer["done"])
            job.result = answer["done"]
            self._end(job, "done")
        except WorkerDiedError as error:
            self._end_after_crash(job, error)
        except Exception as error:  # the queue must continue
            job.error = error_message(error)
            self._end(job, "failed")

    def _timed_out(self, job: Job) -> bool:
        return time.monotonic() - job.started > self.limits.timeout

    def _end_after_crash(self, job: Job, error: WorkerDiedError) -> None:
        if job.cancelled:
            self._end(job, "cancelled")
            return
        if self._timed_out(job):
            what, do = f"The job took more than {self.limits.timeout:g} seconds", "Use a shorter or smaller file."
        elif error.killed:
            what, do = f"The worker process was killed: {MEMORY}", "Use a smaller file."
        elif job.kind == "prediction":
            what, do = "A decoder crashed on this file", "Use another file."
        else:
            what, do = "The worker process ended unexpectedly", "Try again with fewer runs."
        job.error = error_message(InputError(what, do))
        self._end(job, "failed")

    def _end(self, job: Job, state: State) -> None:
        """Delete the upload, then publish how a job ended."""
        if job.ended.is_set():
            return
        if job.folder is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state = state
        job.ended.set()
