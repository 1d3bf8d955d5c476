"""What tests of killed and shared runs share: processes that train and die, and runs compared to the bit."""

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch

from evenface.cli import main
from evenface.config import load_recipe
from evenface.runs import Run
from evenface.training.fit import fit
from evenface.training.trainer import Trainer
from evenface.utils import workers

FORK_FAILED = 97
FORK = multiprocessing.get_context("fork")  # imports need not be paid again in every process


def in_process(target, *arguments, **options):
    process = FORK.Process(target=target, args=arguments, kwargs=options)
    process.start()
    return process


def fitted(recipe, *, out, resume=False, **overrides):
    """Train and predict as :func:`evenface.train` does, and leave out the report, which takes longer than both."""
    settings = load_recipe(recipe, overrides)
    with Run.claim(out, settings, resume=resume) as run:
        fit(run, settings)
    return Run(run.folder)


def train_and_die(kill, *arguments, **options):
    """Train, and be killed at the end of the given step."""
    step, done = Trainer.step, itertools.count(1)

    def deadly(self, batch):
        value = step(self, batch)
        if next(done) == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    Trainer.step = deadly
    fitted(*arguments, **options)


def same_run(one: Path, other: Path) -> None:
    for name in ("weights.safetensors", "last.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("predictions.parquet", "validation.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(one / name), pd.read_parquet(other / name), check_exact=True)
    losses = [pd.read_csv(folder / "history.csv").drop(columns="images_per_second") for folder in (one, other)]
    pd.testing.assert_frame_equal(*losses, check_exact=True)


def as_rank(rank, world, port, *arguments, **options):
    """Train as one of several processes, started as torchrun starts them."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    torch.set_num_threads(1)
    fitted(*arguments, **options)


def command_line(words, screen: Path):
    """Run the command line as a shell does, and write what it prints to a file."""
    sys.argv = ["evenface", *map(str, words)]
    with screen.open("w") as file:
        sys.stdout = sys.stderr = file
        main()


class ForkedWorker:
    """A process of a worker pool, forked where the pool starts a new interpreter: imports need not be paid again.

    Used in place of :class:`subprocess.Popen`, by the fixture ``forked_workers``. A process of many threads cannot
    always be forked: after one fork that failed, :meth:`start` starts new interpreters.
    """

    pipes: ClassVar[list[Connection]] = []
    failed: ClassVar[bool] = False

    @classmethod
    def start(cls, command, **options):
        return subprocess.Popen(command, **options) if cls.failed else cls(command, **options)

    def __init__(self, command, *, stdout, env, pass_fds, **_):
        self._process = in_process(self._serve, ["-c", *command[4:]], env, pass_fds, stdout)

    @classmethod
    def pipe(cls, duplex=True):
        pair = Pipe(duplex)
        cls.pipes = [one for one in cls.pipes if not one.closed] + list(pair)
        return pair

    @classmethod
    def _serve(cls, argv, environment, handles, output):
        try:
            cls._become(environment, handles, output)
            sys.argv = argv
            workers.serve()
        except BaseException:  # exceptions of tasks are their answers
            traceback.print_exc()
            os._exit(FORK_FAILED)

    @classmethod
    def _become(cls, environment, handles, output):
        os.setsid()
        gc.freeze()  # what the tests imported is not searched again
        if output is not None:
            file = os.open(os.devnull, os.O_WRONLY) if output == subprocess.DEVNULL else output.fileno()
            os.dup2(file, 1)
            os.dup2(file, 2)
        for pipe in cls.pipes:  # or the worker would not notice that the pool closed its ends
            if not pipe.closed and pipe.fileno() not in handles:
                with contextlib.suppress(OSError):  # another thread was closing it while this process was forked
                    pipe.close()
        os.environ.clear()
        os.environ.update(environment)

    @property
    def pid(self):
        return self._process.pid

    def poll(self):
        if self._process.exitcode == FORK_FAILED:
            type(self).failed = True
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("a forked worker", timeout)
        return self.poll()

    def kill(self):
        self._process.kill()
