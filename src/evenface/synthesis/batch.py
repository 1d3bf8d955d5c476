"""What filling a folder with pictures and with clips have in common: settings, processes, one thread each."""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

from evenface.errors import InputError

_CHUNK = 24
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class OfPerson(Protocol):
    """Anything to draw of one person."""

    @property
    def person(self) -> int:
        """The person's number."""


Wanted = TypeVar("Wanted", bound=OfPerson)


def check_settings(folder: Path, settings: dict[str, object], suffix: str) -> None:
    """Refuse a folder that holds files of other settings, or files of that suffix and no settings.

    Raises
    ------
    InputError
        Naming the settings that differ.
    """
    path = folder / "settings.json"
    if not path.exists():
        if folder.is_dir() and any(folder.glob(f"*/*{suffix}")):
            raise InputError(f"{folder} holds files that were not made here", "Choose another folder.")
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} cannot be read", "Delete the folder, or choose another.") from error
    if old != settings:
        other = [name for name in settings if not isinstance(old, dict) or old.get(name) != settings[name]]
        raise InputError(
            f"{folder} holds what was made with other settings ({', '.join(other)})",
            "Choose another folder, or delete it.",
        )


def draw_all(draw: Callable[[Sequence[Wanted]], int], wanted: Sequence[Wanted], workers: int) -> Iterator[int]:
    """Draw all that is wanted, in this process or in several, and say how many are done as they are.

    Parameters
    ----------
    draw : callable
        Draws pieces of one person and gives their number; must be picklable with more than one worker.
    wanted : sequence
        In order of people. A person's head and skin are made once per piece.
    workers : int
        Processes.

    Raises
    ------
    InputError
        If a process is killed.
    """
    people = (list(own) for _, own in groupby(wanted, key=lambda one: one.person))
    pieces = [own[at : at + _CHUNK] for own in people for at in range(0, len(own), _CHUNK)]
    if workers <= 1 or len(pieces) < 2:
        for one in wanted:
            yield draw([one])
        return
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
        pool = ProcessPoolExecutor(min(workers, len(pieces)), mp_context=context, initializer=_start_worker)
        try:
            futures = [pool.submit(draw, piece) for piece in pieces]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process that draws faces was stopped from outside",
                "Memory may be short: ask for fewer workers. Call again: what is finished is kept.",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started inside compute on one thread; they inherit it through the environment."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
