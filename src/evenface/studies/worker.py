"""The process that trains runs of a study, one after the other: importing torch costs more than a small run.

It is a plain child on pipes, as the readers of :mod:`evenface.faces.worker` are and for the same reasons. The end of
its standard input tells it to stop, whether the parent closed it or was killed: what is being trained is kept as
after Ctrl-C, and goes on when the study does.
"""

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from evenface import learner
from evenface.errors import InputError
from evenface.files import disk_error, lock_folder
from evenface.kinds import of_sequences
from evenface.recipes import load_recipe
from evenface.runs import Run
from evenface.studies.crew import PATIENCE, Answer, Request
from evenface.studies.underway import tell_share


def serve() -> None:
    """Answer each request, a line of JSON, by a line of JSON; leave at the end of standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have had it ignored
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not talk into the answers
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    try:
        _say(answers, {"ready": True})
        while True:
            _say(answers, answer(requests.get()))
            gc.collect()
    except (KeyboardInterrupt, BrokenPipeError):
        # Threads of libraries must not hold up the end, and everything is written.
        os._exit(130)


def _listen(requests: queue.SimpleQueue[Request]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGINT)


def _say(answers: Any, content: Any) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def answer(request: Request) -> Answer:
    """Train runs as one and test them on further data; say of each how long it took, or in a sentence what was wrong.

    One that fails does not lose the others: they are trained by halves, until it is alone.
    """
    start = time.monotonic()
    try:
        train(request)
    except Exception as error:
        if len(request) > 1:
            middle = len(request) // 2
            return answer(request[:middle]) + answer(request[middle:])
        return [{"failed": _sentence(error, Path(request[0]["folder"]))}]
    return [{"seconds": (time.monotonic() - start) / len(request)}] * len(request)


def _sentence(error: Exception, folder: Path) -> str:
    told = disk_error(error, Path(error.filename or folder)) if isinstance(error, OSError) else error
    if isinstance(told, InputError):
        return str(told)
    traceback.print_exception(error)
    return str(told) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def train(request: Request) -> None:
    """Train runs, or go on with them, without reports of their own; then test each on each further data set."""
    from evenface.elsewhere import predict_on
    from evenface.fitting import fit

    with ExitStack() as held:
        runs = []
        for one in request:
            settings = load_recipe(one["recipe"])
            held.enter_context(lock_folder(Path(one["folder"]), wait=PATIENCE))
            run = Run.create(Path(one["folder"]), settings, resume=True)
            if not run.finished:
                learner.check_recipe(settings)
                runs.append((run, settings))
        if runs and of_sequences(runs[0][1]):
            from evenface.fitting import fit_sequences

            share, searches = Path(request[0]["share"]), Path(request[0]["searches"])
            fit_sequences(runs, report=lambda done: tell_share(share, done), searches=searches)
        elif runs:
            fit(*runs[0])
    for one in request:
        for name, test in one["tests"].items():
            predict_on(
                Path(one["folder"]),
                {"name": name},
                classes=test["classes"],
                merge=test["merge"],
                overrides=test["set"],
                trust_plugins=True,
            )
