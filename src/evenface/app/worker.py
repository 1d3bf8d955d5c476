"""Jobs of the page in a worker process, which holds the models and can be killed without harm to the server."""

import contextlib
import shutil
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evenface.app.catalogue import Entry
from evenface.app.judging import Asked, judge
from evenface.app.telling import problem
from evenface.errors import InputError
from evenface.recipes.limits import Limits
from evenface.runs import WEIGHTS
from evenface.workers import WorkerPool

Task = Asked | tuple[Entry, ...]
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
