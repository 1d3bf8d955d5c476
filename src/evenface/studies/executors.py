"""Executors that train the runs of a study: worker processes of this machine, or a Ray cluster."""

import contextlib
import gc
import logging
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from evenface.utils.errors import InputError
from evenface.utils.files import disk_error
from evenface.utils.progress import ProgressBar, progress
from evenface.utils.workers import TICK_SECONDS, WorkerDiedError, WorkerPool, thread_environment

ExecutorName = Literal["local", "ray"]
Request = list[dict[str, Any]]
"""Runs that are trained as one stack, each with ``recipe``, ``folder`` and ``tests`` on further data.

``progress`` is the progress file, ``searches`` the database of hyperparameter searches.
"""
Answer = list[dict[str, Any]]
"""For each run its ``seconds``, or under ``failed`` the reason why it was not trained."""
GRACE_SECONDS = 20.0
"""Time in which a worker saves its runs when it is stopped."""
MAX_ATTEMPTS = 3
"""Times that runs are started whose Ray worker was lost each time."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Object store of a local Ray cluster; runs exchange little."""
ADDRESS = "RAY_ADDRESS"


class Executor(Protocol):
    """Workers that train; leaving the block lets each save its runs."""

    count: int
    """Number of parallel workers."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def train(
        self, requests: Sequence[Request], tick: Callable[[], None], log: Callable[[str], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each request with its answer, in order of completion.

        Parameters
        ----------
        requests : sequence of Request
            Groups of runs to train.
        tick : callable
            Called every half second.
        log : callable
            Receives lines for the console.
        """
        ...


class LocalExecutor:
    """Worker processes of this machine, each with its share of the cores, or its GPU."""

    def __init__(self, count: int, cores: int, gpus: Sequence[str], log: Path) -> None:
        self.count = count
        self._log = log.open("a", encoding="utf-8")
        self._pool = WorkerPool(
            count,
            name="evenface-study",
            threads=max(1, cores // count),
            environment=[{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus],
            grace=GRACE_SECONDS,
            log=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._log:
            self._pool.close()

    def train(
        self, requests: Sequence[Request], tick: Callable[[], None], log: Callable[[str], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each request with its answer; see :meth:`Executor.train`."""
        del log  # a process that died is reported in the answer
        return self._pool.map_unordered(self._train, requests, tick)

    def _train(self, request: Request) -> Answer:
        try:
            return self._pool.call(train_request, request)
        except WorkerDiedError as error:
            hint = "try fewer --jobs" if error.killed else f"see {Path(self._log.name).name}"
            return [{"failed": f"{error}; {hint}"}] * len(request)


class RayExecutor:
    """Workers of a Ray cluster: of the one that is connected, of the one at ``RAY_ADDRESS``, or of one started here.

    Notes
    -----
    Workers read and write the study's folder themselves: all machines must see it under the same path.
    A cluster started here ends with the block. Its usage statistics and its dashboard are off.
    """

    def __init__(self, jobs: int | None, most: int, *, cores: int, gpu: bool, log: Path) -> None:
        self._ray, self._own = _connect(cores, gpu)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes) if gpu else 0
        every = sum(int(node.get("CPU", 0)) for node in nodes)
        self.count = max(1, min(jobs or gpus or every, most))
        threads = max(1, min(every // self.count, *(int(node.get("CPU", 1)) for node in nodes)))
        kept = {key: value for key, value in os.environ.items() if key.startswith("EVENFACE_")}
        self._train = self._ray.remote(_train).options(
            num_cpus=threads,
            num_gpus=1 / -(-self.count // gpus) if gpus else 0,
            max_retries=0,
            runtime_env={"env_vars": {**kept, **thread_environment(threads)}},
        )
        self._log = str(log.resolve())
        self._running: dict[Any, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let every worker save its runs; stop waiting after the grace period or a second Ctrl-C."""
        try:
            for reference in self._running:
                self._ray.cancel(reference)
            if self._running:
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE_SECONDS)
        finally:
            for reference in self._running:
                self._ray.cancel(reference, force=True)
            if self._own:
                self._ray.shutdown()

    def train(
        self, requests: Sequence[Request], tick: Callable[[], None], log: Callable[[str], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each request with its answer; see :meth:`Executor.train`."""
        waiting, attempts = list(range(len(requests)))[::-1], [0] * len(requests)
        while waiting or self._running:
            while waiting and len(self._running) < self.count:
                index = waiting.pop()
                attempts[index] += 1
                self._running[self._train.remote(requests[index], str(Path.cwd()), self._log)] = index
            ended, _ = self._ray.wait(list(self._running), timeout=TICK_SECONDS)
            tick()
            for reference in ended:
                index = self._running.pop(reference)
                answer = self._answer(reference, requests[index])
                if isinstance(answer, list):
                    yield index, answer
                elif attempts[index] < MAX_ATTEMPTS:
                    log(f"a worker was lost ({answer}); its runs are started again")
                    waiting.append(index)
                else:
                    why = f"its worker was lost {MAX_ATTEMPTS} times, at last: {answer}"
                    yield index, [{"failed": why}] * len(requests[index])

    def _answer(self, reference: Any, request: Request) -> Answer | str:
        """Return a worker's answer, or the name of the error by which it was lost."""
        from ray.exceptions import RayError, RayTaskError

        try:
            answer: Answer = self._ray.get(reference)
        except RayTaskError as error:
            why = str(error.cause or error).splitlines()[-1]
            return [{"failed": f"a worker could not start: {why}"}] * len(request)
        except RayError as error:
            return type(error).__name__
        return answer


def import_ray() -> Any:
    """Return Ray; an InputError that names the extra if it is not installed."""
    try:
        import ray
    except ImportError:
        raise InputError(
            "--executor ray needs Ray, which is not installed", "Install it: pip install 'evenface[cluster]'."
        ) from None
    return ray


def _connect(cores: int, gpu: bool) -> tuple[Any, bool]:
    """Return Ray connected to a cluster, and whether the cluster is of this study alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = import_ray()
    if ray.is_initialized():
        return ray, False
    address = os.environ.get(ADDRESS)
    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, **({} if gpu else {"num_gpus": 0})}
    kind: dict[str, Any] = {"address": address} if address else {"address": "local", "num_cpus": cores, **own}
    with progress("starting a Ray cluster" if not address else "connecting to the Ray cluster", 1):
        for last in (False, False, True):
            try:
                ray.init(**kind, log_to_driver=False, logging_level=logging.ERROR)
                break
            except Exception as error:  # Ray raises no specific class, and times out on a busy machine
                ray.shutdown()
                if address or last:
                    where = f"the Ray cluster at {address} ({ADDRESS})" if address else "a Ray cluster here"
                    raise InputError(
                        f"{where} does not start or respond: {str(error).splitlines()[0]}",
                        "Check it with ray status, or leave out --executor ray.",
                    ) from error
    return ray, True


def _train(request: Request, directory: str, log: str) -> Answer:
    """Train in the directory of the caller, so that relative paths mean the same; runs in a Ray worker."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # how Ray cancels
    try:
        output = Path(log).open("a", encoding="utf-8")  # noqa: SIM115
        os.chdir(directory)
    except OSError as error:
        why = f"{error.filename} not found on {os.uname().nodename}: all machines must share the same folders"
        return [{"failed": why}] * len(request)
    with output, contextlib.redirect_stderr(output):
        return train_request(request)


def train_request(request: Request) -> Answer:
    """Train a group of runs and test them on further data; return the time of each, or why it failed.

    If a group fails, its halves are trained, until the failing run is alone.
    """
    start = time.monotonic()
    try:
        _train_together(request)
    except Exception as error:
        if len(request) > 1:
            middle = len(request) // 2
            return train_request(request[:middle]) + train_request(request[middle:])
        return [{"failed": _sentence(error, Path(request[0]["folder"]))}]
    finally:
        gc.collect()
    return [{"seconds": (time.monotonic() - start) / len(request)}] * len(request)


def _sentence(error: Exception, folder: Path) -> str:
    shown = disk_error(error, Path(error.filename or folder)) if isinstance(error, OSError) else error
    if isinstance(shown, InputError):
        return str(shown)
    traceback.print_exception(error)
    return str(shown) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _train_together(request: Request) -> None:
    """Train or resume runs, without reports; then test each on each further data set."""
    from evenface.config import load_recipe
    from evenface.inference.cross_dataset import predict_on
    from evenface.runs import Run
    from evenface.training.fit import fit
    from evenface.training.stacked.runs import fit_sequences

    with ExitStack() as locks:
        runs = []
        for item in request:
            settings = load_recipe(item["recipe"])
            run = locks.enter_context(Run.claim(item["folder"], settings, resume=True, wait=GRACE_SECONDS))
            if not run.finished:
                runs.append((run, settings))
        if runs and runs[0][1].modality == "sequences":
            file, searches = Path(request[0]["progress"]), Path(request[0]["searches"])
            fit_sequences(runs, report=lambda done: write_progress(file, done), searches=searches)
        elif runs:
            fit(*runs[0])
    for item in request:
        for name, test in item["tests"].items():
            predict_on(
                Path(item["folder"]),
                {"name": name},
                classes=test["classes"],
                merge=test["merge"],
                overrides=test["set"],
                trust_plugins=True,
            )


def write_progress(file: Path, share: float) -> None:
    """Write the share done, 0 to 1, into a progress file; errors are ignored."""
    with contextlib.suppress(OSError):
        beside = file.with_suffix(".new")
        beside.write_text(f"{share:.4f}", encoding="utf-8")
        beside.replace(file)


class ProgressFiles:
    """Progress files of groups of runs, in a temporary folder; they advance a progress bar."""

    def __init__(self, folder: Path, sizes: Sequence[int], bar: ProgressBar) -> None:
        self.folder, self.bar = folder, bar
        self.left = dict(enumerate(sizes))
        self.shown = dict.fromkeys(self.left, 0)

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)  # left by a killed process
        self.folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def file(self, group: int) -> Path:
        """Return the progress file of a group."""
        return self.folder / f"{group}.txt"

    def update(self) -> None:
        """Advance the bar by the share done of each group."""
        for group, size in self.left.items():
            with contextlib.suppress(OSError, ValueError):
                done = int(size * min(1.0, float(self.file(group).read_text(encoding="utf-8"))))
                self.bar(max(0, done - self.shown[group]))
                self.shown[group] = max(done, self.shown[group])

    def finish(self, group: int) -> None:
        """Advance the bar by all runs of a group."""
        self.bar(self.left.pop(group) - self.shown[group])
