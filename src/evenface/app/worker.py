"""The process that does the jobs: it holds the models, and may be ended at any time without harm to the page."""

import contextlib
import multiprocessing
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evenface.app.catalogue import Entry
from evenface.app.judging import Asked, judge
from evenface.app.limits import Limits
from evenface.app.telling import problem
from evenface.errors import InputError
from evenface.runs import WEIGHTS

Task = Asked | tuple[Entry, ...]
"""An upload to judge, or runs to compare."""


class EndedError(Exception):
    """The process ended in the middle of a task; ``code`` is how, none where it was ended on purpose."""

    code: int | None = None


class Worker:
    """A process that does one task after the other.

    Parameters
    ----------
    limits : Limits
        What is refused.
    folder : Path
        Where uploads lie; the process removes it if this one ends without doing so.
    """

    def __init__(self, limits: Limits, folder: Path) -> None:
        self.limits, self.folder = limits, folder
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start the process, if it is not there."""
        if self._process is not None and self._process.is_alive():
            return
        # Started anew, not forked: threads of this process, or a GPU, would not survive that.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, self.limits, self.folder), name="evenface-jobs", daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, task: Task, stopped: Callable[[], bool], step: Callable[[float], None]) -> dict[str, Any]:
        """Have a task done.

        Parameters
        ----------
        task : Asked or tuple of Entry
            What to do.
        stopped : callable
            Asked ten times a second whether to give up.
        step : callable
            Told the share that is done.

        Returns
        -------
        dict
            ``{"done": result}`` or ``{"failed": {"what", "do"}}``.

        Raises
        ------
        EndedError
            If it was given up, or the process died.
        """
        self.start()
        assert self._pipe is not None
        try:
            self._pipe.send(task)
            while True:
                if not self._pipe.poll(0.1):
                    if stopped():
                        raise EndedError
                    continue
                answer: dict[str, Any] = self._pipe.recv()
                if "step" not in answer:
                    if answer.pop("spoiled", False):
                        self.end()
                    return answer
                step(answer["step"])
                if stopped():
                    raise EndedError
        except EndedError:
            self.end()
            raise
        except (EOFError, OSError) as error:
            ended = EndedError()
            self._process.join(5)
            ended.code = self._process.exitcode
            self.end()
            raise ended from error

    def end(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
        self._process = None


def _work(pipe: Connection, limits: Limits, folder: Path) -> None:
    """Do tasks until nobody gives any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process of the page
    _bound(limits.memory)
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            pipe.send(_answer(task, limits, lambda share: pipe.send({"step": share})))
    shutil.rmtree(folder, ignore_errors=True)


def _answer(task: Task, limits: Limits, step: Callable[[float], None]) -> dict[str, Any]:
    places = (task.entry.path, task.upload) if isinstance(task, Asked) else tuple(entry.path for entry in task)
    try:
        if isinstance(task, Asked):
            return {
                "done": judge(
                    task, _model(task.entry.path, _changed(task.entry.path), trusted=limits.trust_plugins), limits, step
                )
            }
        from evenface.app.comparing import compare

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
    from evenface.serving.opening import open_model

    return open_model(path, trust_plugins=trusted)


def _bound(memory: int) -> None:
    """Let the process take so much memory, where the system can say so and no GPU needs more of its addresses."""
    try:
        import resource
    except ImportError:  # Windows
        return
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
