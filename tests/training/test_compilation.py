"""Compiled training: the same weights by the same names, exactly resumable, refused in a sentence where it cannot."""

import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from processes import fitted, in_process, same_run, train_and_die
from small import CLASS_METHODS, COUNTS, batch, built, loss_for, step_context, task

from evenface.config import load_recipe
from evenface.methods import METHODS, build_method
from evenface.models import build_network
from evenface.training import compilation
from evenface.training.batches import ImageBank, TrainingBatches
from evenface.training.build import check_recipe
from evenface.training.compilation import CompiledForward, check_compiler
from evenface.training.trainer import Trainer
from evenface.utils.errors import InputError

compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
BASE = {"name": "small", "data": {"source": "synthetic"}}


def trainer(folder, *, validate=None, **overrides):
    """Build the trainer of a small network on random images, which a run of two epochs trains."""
    recipe = load_recipe(BASE, {"training.epochs": 2, "training.batch_size": 8, **overrides})
    labels = np.repeat(np.arange(3), COUNTS)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 16, 16, 1), dtype=np.uint8)
    made = TrainingBatches(
        ImageBank(images, torch.device("cpu")), np.arange(len(labels)), labels, batch_size=8, seed=recipe.seed
    )
    folder.mkdir(exist_ok=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trainer(fabric, built("erm"), made, recipe, folder, validate=validate)


@pytest.fixture
def counted(monkeypatch):
    """Replace torch.compile by one that changes nothing and counts the calls of what it made."""
    calls = []

    def compiled(forward, mode, dynamic):
        assert not dynamic

        def counting(*arguments):
            calls.append(mode)
            return forward(*arguments)

        return counting

    monkeypatch.setattr(torch, "compile", compiled)
    return calls


def weights(folder):
    return (folder / "last.safetensors").read_bytes()


def test_steps_are_compiled_and_validation_is_not(tmp_path, counted):
    made = {}
    for setting in ("default", "none"):

        def validate(setting=setting):
            network = made[setting].method.network
            assert "forward" not in vars(network)
            return {"loss": network(batch()[0]).logits.sum().item(), "balanced_accuracy": 0.5}

        made[setting] = trainer(tmp_path / setting, validate=validate, **{"training.compile": setting})
    assert list(made["default"].method.state_dict()) == list(made["none"].method.state_dict())
    for each in made.values():
        each.fit()
        assert counted == ["default"] * 2 * each.batches.steps
    assert list(made["default"].method.state_dict()) == list(made["none"].method.state_dict())
    assert weights(tmp_path / "default") == weights(tmp_path / "none")


@pytest.mark.parametrize(("first", "second"), [("default", "none"), ("none", "default")])
def test_a_checkpoint_of_the_one_is_continued_by_the_other(tmp_path, counted, first, second):
    trainer(tmp_path / "whole").fit()
    begun = trainer(tmp_path / "run", **{"training.compile": first})
    for given in list(begun.batches.epoch(0))[:4]:
        begun.step(given)
    begun._save_checkpoint()
    resumed = trainer(tmp_path / "run", **{"training.compile": second})
    resumed.fit()
    steps = resumed.batches.steps
    assert len(counted) == (4 if first == "default" else 2 * steps - 4)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_every_step_begins_a_new_replay_of_graphs(tmp_path, counted, monkeypatch):
    begun = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(len(counted)))
    forward = CompiledForward(torch.nn.Identity(), "reduce-overhead")
    for _ in range(3):
        with forward.applied():
            forward.network(torch.zeros(1))
            forward.network(torch.zeros(1))  # as methods of two views do
    assert begun == [0, 2, 4]
    assert counted == ["reduce-overhead"] * 6


def test_a_compiler_that_fails_ends_in_a_sentence_and_other_errors_stay(monkeypatch):
    class FailedError(RuntimeError):
        __module__ = "torch._inductor.exc"

    for error, expected in (
        (FailedError("no header omp.h\nlong trace"), InputError),
        (ValueError("its own"), ValueError),
    ):

        def failing(*_arguments, error=error):
            raise error

        monkeypatch.setattr(torch, "compile", lambda _forward, failing=failing, **_options: failing)
        forward = CompiledForward(torch.nn.Identity(), "default")
        with pytest.raises(expected) as caught, forward.applied():
            forward.network(torch.zeros(1))
        assert "long trace" not in str(caught.value)
        assert "forward" not in vars(forward.network)
        if expected is InputError:
            assert "cannot compile this network here: no header omp.h" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method.name": "manifold-mixup"}, "method 'manifold-mixup' changes the network, or"),
        ({"method.name": "augmentation-curriculum"}, "or the number of images, from step to step"),
        ({"training.devices": 2}, "training.compile is for one device"),
        ({"training.nodes": 2}, "training.compile is for one device"),
        ({"network.gradient_checkpointing": True}, "network.gradient_checkpointing cannot be combined"),
        ({"network.name": "recurrent", "data.sequences.source": "mesh"}, "training.compile has no effect on seq"),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_any_data_are_read(settings, message):
    recipe = load_recipe(BASE, {"training.compile": "default", **settings})
    with pytest.raises(InputError, match=message):
        check_recipe(recipe)
    check_recipe(load_recipe(BASE, {"training.compile": "default"}))


@pytest.mark.parametrize(
    ("setting", "accelerator", "platform", "missing", "message"),
    [
        ("default", "cpu", "win32", "", "not supported on Windows"),
        ("reduce-overhead", "cpu", "linux", "", "reduce-overhead replays CUDA graphs, which need a GPU"),
        ("default", "cpu", "linux", "g++", r"needs a C\+\+ compiler, and there is no g\+\+"),
        ("default", "cpu", "darwin", "clang++", r"there is no clang\+\+"),
        ("default", "cuda", "linux", "triton", "needs triton on a GPU"),
        ("default", "cuda", "linux", "7.0", "this one has 6.1"),
        ("reduce-overhead", "cuda", "linux", "", None),
        ("default", "cpu", "linux", "", None),
        ("none", "cpu", "win32", "g++", None),
    ],
)
def test_a_machine_that_cannot_compile_is_told_what_it_lacks(
    monkeypatch, setting, accelerator, platform, missing, message
):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None if name == missing else f"/usr/bin/{name}")
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda name: None if name == missing else name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1) if missing == "7.0" else (9, 0))
    if message is None:
        check_compiler(setting, accelerator)
        return
    with pytest.raises(InputError, match=message) as caught:
        check_compiler(setting, accelerator)
    assert "training.compile" in str(caught.value)


def stepped(name, compiled, steps=4):
    """Return the losses of some steps of a method on a small ResNet."""
    network = build_network("test_resnet", classes=3, channels=1, size=32, dropout=0.1, seed=0)
    method = build_method(name, network, loss_for(name, "inverse"), task=task())
    method.ctx = step_context(8)
    forward = CompiledForward(method.network, "default" if compiled else "none")
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for step in range(steps):
        if step == steps - 2 and len(method.stages) > 1:
            method.begin_stage(1)
        torch.manual_seed(step)
        optimizer.zero_grad()
        with forward.applied():
            loss = method(*batch(8)).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "erm" else pytest.mark.slow)
        for name in CLASS_METHODS
        if METHODS[name].compiles
    ],
)
def test_a_method_on_a_compiled_network_computes_the_same_losses(monkeypatch, name):
    """Traced for forward and backward by torch's compiler, and run by the same kernels: the same to the bit."""
    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda forward, mode, dynamic: compile_(forward, backend="aot_eager", dynamic=dynamic)
    )
    torch.compiler.reset()
    assert stepped(name, True) == stepped(name, False)


@compiles
@pytest.mark.slow
def test_a_compiled_run_that_was_killed_resumes_bit_for_bit(small_recipe, tmp_path):
    # The third epoch has other images; compiled code would draw other masks of dropout.
    without = {"training.start_size": 24, "network.dropout": 0.0}
    settings = {**without, "training.compile": "default"}
    whole = fitted(small_recipe, out=tmp_path / "whole", **settings)
    often = {**settings, "training.checkpoint_minutes": 1e-4}
    process = in_process(train_and_die, 14, small_recipe, out=tmp_path / "run", **often)
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    shutil.copytree(tmp_path / "run", tmp_path / "resumed-plain")
    resumed = fitted(small_recipe, out=tmp_path / "run", resume=True, **often)
    same_run(whole.folder, resumed.folder)
    for folder, resume in (("resumed-plain", True), ("plain", False)):  # other code for the same sums
        other = fitted(small_recipe, out=tmp_path / folder, resume=resume, **without)
        assert whole.history["train_loss"].to_numpy() == pytest.approx(other.history["train_loss"].to_numpy(), rel=1e-2)
