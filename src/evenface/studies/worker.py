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
from pathlib import Path
from typing import Any

from evenface import learner
from evenface.errors import InputError
from evenface.files import disk_error
from evenface.recipes import load_recipe
from evenface.runs import Run


def serve() -> None:
    """Answer each request, a line of JSON, by a line of JSON; leave at the end of standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have had it ignored
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not talk into the answers
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    try:
        _say(answers, {"ready": True})
        while True:
            _say(answers, answer(requests.get()))
            gc.collect()
    except (KeyboardInterrupt, BrokenPipeError):
        # Threads of libraries must not hold up the end, and everything is written.
        os._exit(130)


def _listen(requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGINT)


def _say(answers: Any, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Train a run and test it on further data; say how long it took, or in a sentence what was wrong."""
    start = time.monotonic()
    try:
        train(request["recipe"], Path(request["folder"]), request["tests"])
    except InputError as error:
        return {"failed": str(error)}
    except OSError as error:
        told = disk_error(error, Path(error.filename or request["folder"]))
        if not isinstance(told, InputError):
            traceback.print_exc()
        return {"failed": str(told)}
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"seconds": time.monotonic() - start}


def train(recipe: dict[str, Any], folder: Path, tests: dict[str, dict[str, Any]]) -> None:
    """Train a run, or go on with it, without a report of its own; then test it on each further data set."""
    from evenface.elsewhere import predict_on
    from evenface.fitting import fit

    settings = load_recipe(recipe)
    run = Run.create(folder, settings, resume=True)
    if not run.finished:
        learner.check_parts(settings)
        fit(run, settings)
    for name, test in tests.items():
        predict_on(folder, {"name": name}, classes=test["classes"], overrides=test["set"])
