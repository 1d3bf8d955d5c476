"""Pool of worker processes: ordered results, a crash that names its input, retries, limits, Ctrl-C.

The workers are child processes on pipes. Unlike those of :mod:`multiprocessing` with the start method ``spawn``, they
do not import the caller's script, which therefore needs no ``__main__`` guard, and they can be asked to save their work
before they end.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing.connection import Connection, Pipe
from typing import IO, Any, Self, TypeVar

from evenface.utils.errors import InputError

MEMORY = "most likely it ran out of memory"
MEMORY_HINT = "Free some memory, and run the command again."
LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
POLL_SECONDS = 0.1
TICK_SECONDS = 0.5
EXIT_SECONDS = 5.0
"""Seconds that a process may take to end after its pipe broke."""
STARTS = 3
"""How often a process is started that ends before its first task, as where memory is short for a moment."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDiedError(Exception):
    """A worker process ended in the middle of a task."""

    def __init__(self, code: int | None) -> None:
        killed = f"its process was killed (signal 9): {MEMORY}"
        super().__init__(killed if code == -signal.SIGKILL else f"its process ended with code {code}")
        self.code = code

    @property
    def killed(self) -> bool:
        """Whether it was ended by signal 9, as by a system that is out of memory."""
        return self.code == -signal.SIGKILL


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_environment(threads: int) -> dict[str, str]:
    """Return environment variables that set the number of threads of numerical libraries.

    Values set by the user take precedence; ``OMP_NUM_THREADS`` also applies to the other libraries, as more
    threads than cores slow each other down.
    """
    count = os.environ.get("OMP_NUM_THREADS", str(threads))
    variables = {name: os.environ.get(name, count) for name in LIBRARIES}
    return {**variables, "OPENCV_FOR_THREADS_NUM": os.environ.get("OPENCV_FOR_THREADS_NUM", str(threads))}


class WorkerPool:
    """Pool of processes that run functions; each process is reused, and all end with the ``with`` block.

    Functions, arguments and results are pickled; functions must be importable from their module. Exceptions of a
    function are raised in the caller.
    """

    def __init__(
        self,
        count: int,
        *,
        name: str,
        threads: int | None = 1,
        environment: Sequence[Mapping[str, str]] = (),
        initializer: Callable[[], object] | None = None,
        finalizer: Callable[[], object] | None = None,
        grace: float = 0.0,
        log: IO[Any] | int | None = None,
    ) -> None:
        self.count, self.name, self.grace, self.log = count, name, grace, log
        self.settings = pickle.dumps((initializer, finalizer, grace))
        self.closed, self.lock, self._alone = False, threading.Lock(), threading.Lock()
        common = {} if threads is None else thread_environment(threads)
        each = environment or ({},)
        self._workers = [_Worker(self, {**common, **each[number % len(each)]}) for number in range(count)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, allowing them ``grace`` seconds to finish; a second Ctrl-C kills them."""
        with self.lock:
            self.closed = True
        running = [(worker.process, worker.tasks) for worker in self._workers if worker.process is not None]
        try:
            if self.grace:
                for _, tasks in running:
                    tasks.close()
                end = time.monotonic() + self.grace
                for process, _ in running:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(0.1, end - time.monotonic()))
        finally:
            for process, _ in running:
                process.kill()
            self._threads.shutdown(wait=True, cancel_futures=True)
            for worker in self._workers:
                worker.end()

    def start(self) -> None:
        """Start all processes before the first task needs them, without waiting for them."""
        for worker in self._workers:
            worker.start()

    def call(
        self,
        function: Callable[..., Result],
        *arguments: Any,
        progress: Callable[[Any], None] | None = None,
        stop: Callable[[], bool] | None = None,
        tries: int = 1,
    ) -> Result:
        """Run a function in an idle process and wait for its result; may be called from several threads."""
        task = pickle.dumps((function, arguments, progress is not None))
        while True:
            worker, tries = self._idle.get(), tries - 1
            try:
                result: Result = worker.run(task, progress, stop)
                return result
            except WorkerDiedError as error:
                if not tries or error.code is None:
                    raise
            finally:
                self._idle.put(worker)

    def call_alone(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function in a new process while no other process of the pool exists, so that it has all the memory."""
        with self._alone:
            workers = [self._idle.get() for _ in self._workers]
            try:
                for worker in workers:
                    worker.end()
                result: Result = workers[0].run(pickle.dumps((function, arguments, False)), None, None)
                return result
            finally:
                for worker in workers:
                    self._idle.put(worker)

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``task(item)`` in order; the tasks run in threads of this process and use :meth:`call`.

        At most ``2 * count`` results are buffered, which bounds the memory.
        """
        futures: deque[Future[Result]] = deque()
        for item in items:
            futures.append(self._threads.submit(task, item))
            if len(futures) > 2 * self.count:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()

    def map_unordered(
        self, task: Callable[[Item], Result], items: Iterable[Item], tick: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[int, Result]]:
        """Yield ``(index, task(item))`` in order of completion; see :meth:`map`.

        ``tick`` is called every half second. Processes without remaining tasks are ended.
        """
        indices = {self._threads.submit(task, item): index for index, item in enumerate(items)}
        while indices:
            done, _ = wait(indices, TICK_SECONDS, FIRST_COMPLETED)
            tick()
            for future in done:
                yield indices.pop(future), future.result()
            if len(indices) < self.count:
                self.end_idle()

    def end_idle(self) -> None:
        """End idle processes; later tasks start new ones."""
        for _ in range(self._idle.qsize()):
            with contextlib.suppress(queue.Empty):
                worker = self._idle.get_nowait()
                worker.end()
                self._idle.put(worker)


class _Worker:
    """One process of a pool, restarted after it ended."""

    tasks: Connection
    answers: Connection

    def __init__(self, pool: WorkerPool, environment: Mapping[str, str]) -> None:
        self.pool, self.environment = pool, environment
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False

    def run(self, task: bytes, progress: Callable[[Any], None] | None, stop: Callable[[], bool] | None) -> Any:
        """Send a task, and return its result or raise its exception; a process that ends before that starts again."""
        left = STARTS
        while True:
            try:
                return self._run(task, progress, stop)
            except WorkerDiedError as error:
                if self.ready or error.code is None or self.pool.closed:
                    raise
                left -= 1
                if not left:
                    hint = MEMORY_HINT if error.killed else "Run the command again."
                    raise InputError(f"{self.pool.name}: a worker process did not start: {error}", hint) from error
            time.sleep(TICK_SECONDS)

    def _run(self, task: bytes, progress: Callable[[Any], None] | None, stop: Callable[[], bool] | None) -> Any:
        self.start()
        try:
            with contextlib.suppress(OSError):  # a process that died meanwhile is detected when its answer is read
                self.tasks.send_bytes(task)
            while True:
                kind, value = self._receive(stop)
                if kind in ("result", "error"):
                    break
                self.ready = True
                if kind == "progress" and progress is not None:
                    progress(value)
        except BaseException:  # also on Ctrl-C: a late answer must not be mistaken for that of the next task
            self.end()
            raise
        if kind == "error":
            raise value
        return value

    def _receive(self, stop: Callable[[], bool] | None) -> tuple[str, Any]:
        try:
            while not self.answers.poll(None if stop is None else POLL_SECONDS):
                if stop is not None and stop():
                    raise WorkerDiedError(None)
            message: tuple[str, Any] = self.answers.recv()
        except (EOFError, OSError) as error:
            raise WorkerDiedError(self.end(EXIT_SECONDS)) from error
        if message[0] == "progress" and stop is not None and stop():
            raise WorkerDiedError(None)
        return message

    def start(self) -> None:
        """Start the process if it does not run, without waiting until it is ready."""
        if self.process is not None and self.process.poll() is None:
            return
        self.end()
        self.ready = False
        theirs, self.tasks = Pipe(duplex=False)
        self.answers, answers = Pipe(duplex=False)
        paths = os.pathsep.join(path for path in sys.path if path)
        code = "from evenface.utils.workers import serve; serve()"
        handles = (theirs.fileno(), answers.fileno())
        with theirs, answers, self.pool.lock:
            if self.pool.closed:
                raise RuntimeError(f"{self.pool.name}: the pool was closed")
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-c", code, self.pool.name, *map(str, handles)],
                    stdin=subprocess.DEVNULL,
                    stdout=self.pool.log,
                    stderr=self.pool.log,
                    env={**os.environ, **self.environment, "PYTHONPATH": paths},
                    pass_fds=handles,
                    start_new_session=True,  # the parent handles Ctrl-C
                )
            except OSError as error:
                raise InputError(
                    f"{self.pool.name}: a worker process did not start: {error.strerror or error}", MEMORY_HINT
                ) from error
        with contextlib.suppress(OSError):
            self.tasks.send_bytes(self.pool.settings)

    def end(self, wait_seconds: float = 0.0) -> int | None:
        """Kill the process if it does not end within ``wait_seconds``, and return its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        if not self.pool.closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait_seconds)
        process.kill()
        for pipe in (self.tasks, self.answers):
            pipe.close()
        return process.wait()


def serve() -> None:
    """Run tasks from the pipe until it is closed; main function of a worker process."""
    tasks, answers = Connection(int(sys.argv[2]), writable=False), Connection(int(sys.argv[3]), readable=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background ignores it
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    leave: Callable[[], object] = int
    try:
        initializer, finalizer, grace = pickle.loads(tasks.recv_bytes())
        leave = finalizer or leave
        threading.Thread(target=_listen, args=(tasks, waiting, leave, grace), daemon=True).start()
        if initializer is not None:
            initializer()
        answers.send(("ready", None))
        while True:
            _run(waiting.get(), answers)
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        leave()
        os._exit(130)  # threads of libraries must not delay the exit


def _listen(tasks: Connection, waiting: "queue.SimpleQueue[bytes]", leave: Callable[[], object], grace: float) -> None:
    """Queue incoming tasks; exit when the pipe is closed, as the pool or the parent ended."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            waiting.put(tasks.recv_bytes())
    if grace:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(grace)
    leave()
    os._exit(1)


def _run(task: bytes, answers: Connection) -> None:
    """Run a task, and send its result or exception."""

    def report(value: Any) -> None:
        answers.send(("progress", value))

    try:
        function, arguments, reports = pickle.loads(task)
        answer = pickle.dumps(("result", function(*arguments, report) if reports else function(*arguments)))
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        answer = _error(error)
    answers.send_bytes(answer)


def _error(error: Exception) -> bytes:
    """Pickle an exception, or a RuntimeError with its message if it cannot be pickled."""
    try:
        answer = pickle.dumps(("error", error))
        pickle.loads(answer)
    except Exception:
        answer = pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))
    return answer
