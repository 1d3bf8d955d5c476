"""Every registered method in whole runs: killed and resumed, shared out over processes."""

import signal
import socket

import numpy as np
import pytest
from processes import as_rank, fitted, in_process, same_run, train_and_die
from safetensors.torch import load_file, save_file
from small import CLASS_METHODS

from evenface.data.manifest import Manifest
from evenface.methods import METHODS
from evenface.training.trainer import Trainer

# In the plain suite: those that keep more than weights, have stages, or are several networks, and one that is neither.
KEEPING = ("bbn", "crt", "dicc", "one-vs-all", "erm", "fds", "scn")
# In the plain suite: the three that share more than gradients between processes, and one of those that do not.
SHARING = ("dicc", "erm", "fds", "scn")


def every_method(quick):
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in sorted(METHODS)]
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def facts(monkeypatch, cache):
    """Give every data set votes and ordered classes, for the methods that learn from them, and a cache of their own."""
    monkeypatch.setenv("EVENFACE_CACHE", str(cache))

    def votes(manifest, rows):
        return np.eye(len(manifest.classes), dtype=np.float32)[manifest.labels[rows]] * 8 + 1

    monkeypatch.setattr(Manifest, "votes", votes)

    def ordered(manifest):
        if manifest.task == "classification":
            object.__setattr__(manifest, "task", "ordinal")

    monkeypatch.setattr(Manifest, "__post_init__", ordered)


def settings(name):
    task = {} if name in CLASS_METHODS else {"data.task": "regression"}
    return {"method.name": name, "training.epochs": 4, "training.ema_decay": 0.9, **task}


@every_method(KEEPING)
def test_a_killed_run_resumes_bit_for_bit(name, small_recipe, tmp_path):
    few = {**settings(name), "training.batch_size": 36}  # three steps an epoch
    whole = fitted(small_recipe, out=tmp_path / "whole", **few)
    assert np.isfinite(whole.history["train_loss"]).all()
    steps = sum(whole.facts["counts"]["train"]) // 36
    kill = 3 * steps + 2  # in the last epoch: in the second stage of methods that have two
    often = {**few, "training.checkpoint_minutes": 1e-4}
    process = in_process(train_and_die, kill, small_recipe, out=tmp_path / "run", **often)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = fitted(small_recipe, out=tmp_path / "run", resume=True, **often)
    same_run(whole.folder, resumed.folder)


def train_and_keep(rank, port, recipe, **options):
    """Train as one of two processes, and write down what this one ends with."""
    fit = Trainer.fit

    def keeping(self):
        history = fit(self)
        state = {key: value.contiguous() for key, value in self.method.state_dict().items()}
        save_file(state, options["out"].parent / f"rank-{rank}.safetensors")
        return history

    Trainer.fit = keeping
    as_rank(rank, 2, port, recipe, **options)


@every_method(SHARING)
def test_two_processes_end_with_the_same_state(name, small_recipe, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {**settings(name), "network.norm": "group", "training.devices": 2, "training.epochs": 2}
    options |= {"out": tmp_path / "run"}
    processes = [in_process(train_and_keep, rank, port, small_recipe, **options) for rank in range(2)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    one, two = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in range(2))
    assert one.keys() == two.keys()
    # A head's batch norm sees the process's own share; the first process's statistics are those that are kept.
    different = [key for key in one if "running_" not in key and not np.array_equal(one[key], two[key])]
    assert not different
