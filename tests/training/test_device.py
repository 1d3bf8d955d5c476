"""Steps do not wait for the device: losses are read together, batches come from its memory or are copied ahead."""

import contextlib
import weakref

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from small import CLASS_METHODS, COUNTS, batch, built
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evenface.config import load_recipe
from evenface.training import batches as batches_module
from evenface.training import trainer as trainer_module
from evenface.training.batches import ImageBank, TrainingBatches, copied_ahead, permutation, placement
from evenface.training.trainer import Trainer
from evenface.utils.errors import InputError

CPU = torch.device("cpu")
ALL_CHANGES = {
    "augment.rotate": 10,
    "augment.shift": 0.1,
    "augment.zoom": 0.1,
    "augment.brightness": 0.2,
    "augment.contrast": 0.2,
    "augment.erase": 0.5,
}
READING_METHODS = {
    "augmentation-curriculum": "the host applies the operations, and chooses which images are tested",
    "cc-sam": "one backward pass for each class that the batch has",
    "imb-sam": "no second pass for a batch without a rare class",
}
"""Methods whose steps wait for the device by what they are."""


def trainer(folder, name="erm", *, epochs=2, accelerator="cpu", **overrides):
    """Build the trainer of a small network on random images."""
    recipe = load_recipe(
        {"name": "small", "data": {"source": "synthetic"}, "method": name},
        {"training.epochs": epochs, "training.batch_size": 8, **overrides},
    )
    samples = sum(COUNTS)
    labels = np.repeat(np.arange(3), COUNTS)
    images = np.random.default_rng(0).integers(0, 256, (samples, 1, 16, 16, 1), dtype=np.uint8)
    names = np.array([f"sample-{row}" for row in range(samples)])
    fabric = Fabric(accelerator=accelerator, devices=1)
    bank = ImageBank(images, fabric.device)
    made = TrainingBatches(bank, np.arange(samples), labels, names, batch_size=8, seed=recipe.seed)
    lines = []
    return Trainer(fabric, built(name), made, recipe, folder, log=lines.append), lines


def with_nan_at(monkeypatch, method, epoch, step, after=None):
    """Make the loss NaN at one step, and let a later step fail by ``after``."""
    loss = type(method).training_loss

    def failing(self, images, targets):
        value = loss(self, images, targets)
        if after is not None and (self.ctx.epoch, self.ctx.step) > (epoch, step):
            raise after
        return value * torch.nan if (self.ctx.epoch, self.ctx.step) == (epoch, step) else value

    monkeypatch.setattr(type(method), "training_loss", failing)


@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize("step", [0, 4, 6])
def test_a_loss_that_is_not_finite_is_traced_to_its_step_and_samples(tmp_path, monkeypatch, every, step):
    monkeypatch.setattr(trainer_module, "READ_EVERY", every)
    made, lines = trainer(tmp_path)
    with_nan_at(monkeypatch, made.method, 1, step)
    with pytest.raises(InputError, match=rf"the loss became nan at epoch 2, step {step + 1}, on the samples "):
        made.fit()
    drawn = permutation(0, 1, sum(COUNTS))[8 * step : 8 * step + 8]
    expected = " ".join(f"sample-{row}" for row in drawn)
    assert lines[-1] == f"the loss became nan at epoch 2, step {step + 1}, on the samples {expected}"


def test_a_step_that_fails_after_a_nan_is_explained_by_the_nan(tmp_path, monkeypatch):
    made, _ = trainer(tmp_path)
    with_nan_at(monkeypatch, made.method, 0, 2, after=RuntimeError("probability tensor contains nan"))
    with pytest.raises(InputError, match="nan at epoch 1, step 3,"):
        made.fit()


def test_a_step_that_fails_by_itself_fails_as_it_did(tmp_path, monkeypatch):
    made, _ = trainer(tmp_path)
    with_nan_at(monkeypatch, made.method, -1, 0, after=RuntimeError("its own"))
    with pytest.raises(RuntimeError, match="its own"):
        made.fit()


def test_no_checkpoint_is_written_after_a_nan(tmp_path, monkeypatch):
    made, _ = trainer(tmp_path, **{"training.checkpoint_minutes": 1e-9})
    with_nan_at(monkeypatch, made.method, 0, 2)
    with pytest.raises(InputError, match="step 3,"):
        made.fit()
    kept, _ = trainer(tmp_path)
    kept._load_checkpoint()
    assert (kept.state.epoch, kept.state.step) == (0, 2)
    assert all(value.isfinite().all() for value in kept.method.state_dict().values())


@pytest.mark.parametrize("every", [1, 3])
def test_losses_are_the_same_however_often_they_are_read(tmp_path, monkeypatch, every):
    monkeypatch.setattr(trainer_module, "READ_EVERY", every)
    often, _ = trainer(tmp_path)
    often.fit()
    monkeypatch.setattr(trainer_module, "READ_EVERY", 50)
    (tmp_path / "checkpoint.safetensors").unlink()
    rarely, _ = trainer(tmp_path)
    rarely.fit()
    losses = [[row["train_loss"] for row in made.state.history] for made in (often, rarely)]
    assert losses[0] == losses[1]


# ---- what reads the device's memory

HOST = {"item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__len_hint__"}
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "is_nonzero"}


class Reads(TorchDispatchMode):
    """Collect what makes the host wait for values that depend on ``held`` tensors, as those on a device would.

    Every tensor is on the CPU here: those that are computed from parameters, buffers or a batch take the place of
    tensors on a device. Numbers that a method draws on the host are none of them.
    """

    def __init__(self, held):
        super().__init__()
        self.found, self.quiet = [], False
        self.held = weakref.WeakSet(tensor.untyped_storage() for tensor in held)

    def holds(self, tensor):
        return tensor.untyped_storage() in self.held

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if any(self.holds(value) for value in given):
            name = function.overloadpacket.__name__
            masked = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
                value.dtype == torch.bool for value in given[1:]
            )
            if (name in WAITING or masked) and not self.quiet:
                self.found.append(name)
            self.held.update(v.untyped_storage() for v in tree_leaves(result) if isinstance(v, torch.Tensor))
        return result


class HostReads(TorchFunctionMode):
    """Collect calls from Python that read a tensor without an operation: ``tolist``, ``numpy`` and their kin."""

    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        before = self.reads.quiet
        # On a CPU these check values, on a GPU they do not.
        self.reads.quiet = before or name in ("one_hot", "multinomial")
        if name in HOST and isinstance(args[0], torch.Tensor) and self.reads.holds(args[0]):
            self.reads.found.append(name)
            self.reads.quiet = True
        try:
            return function(*args, **(kwargs or {}))
        finally:
            self.reads.quiet = before


def reads_of_steps(made, count):
    """Return what each of the first ``count`` steps reads."""
    method = made.method
    found = []
    made.model.train()
    for given in made.batches.epoch(0, second=method.second_sampling):
        seconds = () if given.second is None else (given.second.images, given.second.targets, given.second.numbers)
        state = [value for group in made.optimizer.state.values() for value in group.values()]
        held = [
            *method.parameters(),
            *method.buffers(),
            *(value for value in (*state, *made.ema.state.values()) if isinstance(value, torch.Tensor)),
            *(given.images, given.targets, given.numbers, given.indices, *seconds),
            *(value for value in vars(method).values() if isinstance(value, torch.Tensor)),
        ]
        reads = Reads(held)
        with reads, HostReads(reads):
            made.step(given)
        found.append(reads.found)
        if len(found) == count:
            return found
    raise AssertionError


def test_a_reading_is_seen_by_the_test_itself(tmp_path, monkeypatch):
    made, _ = trainer(tmp_path)
    weights = made.method.network.classifier.weight
    step = made.step
    for read in (
        lambda: weights.sum().item(),
        lambda: weights.tolist(),
        lambda: weights[weights > 0],
        lambda: bool((weights > 0).any()),
        lambda: weights.detach().numpy(),
        lambda: weights.unique(),
    ):
        monkeypatch.setattr(made, "step", lambda batch, read=read: (step(batch), read()))
        assert all(len(found) >= 1 for found in reads_of_steps(made, 1))
    monkeypatch.setattr(made, "step", lambda batch: (step(batch), torch.rand(3).tolist()))  # drawn on the host
    assert reads_of_steps(made, 1) == [[]]


@pytest.mark.parametrize("overrides", [{}, {"optimizer.clip_norm": 1.0, "training.ema_decay": 0.9}, ALL_CHANGES])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lamb", "adabelief"])
def test_steps_between_readings_read_nothing_and_the_reading_reads_once(tmp_path, monkeypatch, optimizer, overrides):
    monkeypatch.setattr(trainer_module, "READ_EVERY", 3)
    made, _ = trainer(tmp_path, **{"optimizer.name": optimizer, **overrides})
    assert reads_of_steps(made, 6) == [[], [], ["tolist"], [], [], ["tolist"]]


@pytest.mark.parametrize("name", CLASS_METHODS)
def test_methods_read_nothing_in_a_step(tmp_path, name):
    made, _ = trainer(tmp_path, name, epochs=4)
    found = reads_of_steps(made, 2)
    assert any(found) == (name in READING_METHODS), found


@pytest.mark.parametrize("name", ["crt", "frozen-then-tuned"])
def test_the_second_stage_reads_nothing_either_after_resuming_too(tmp_path, name):
    """The stage is known on the host, also where the method's state was loaded in place of :meth:`begin_stage`."""
    first, _ = trainer(tmp_path, name)
    first.method.begin_stage(1)
    made, _ = trainer(tmp_path, name)
    made.method.load_state_dict(first.method.state_dict())
    images, targets = batch(8)
    losses = [own.method(images, targets) for own in (first, made)]
    assert torch.equal(*losses)
    assert reads_of_steps(made, 2) == [[], []]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("free", [10**12, 0])  # images in GPU memory, or copied ahead
def test_steps_on_a_gpu_never_wait_by_torchs_own_check(tmp_path, monkeypatch, free):
    monkeypatch.setattr(batches_module, "free_gpu_memory", lambda _device: free)
    made, _ = trainer(tmp_path, accelerator="cuda", **{"optimizer.clip_norm": 1.0, **ALL_CHANGES})
    for number, given in enumerate(made.batches.epoch(0)):
        torch.cuda.set_sync_debug_mode("error" if number else "default")  # the first step loads libraries
        try:
            made.step(given)
        finally:
            torch.cuda.set_sync_debug_mode("default")


# ---- batches


def batches(*, frames=1, stored=1, sampling="none", baselines=False, n=50):
    images = np.random.default_rng(1).integers(0, 256, (n, stored, 4, 4, 1), dtype=np.uint8)
    first = (images[:5, 0], np.arange(n) % 5) if baselines else (None, None)
    return TrainingBatches(
        ImageBank(images, CPU, frames, *first),
        np.arange(n)[::-1].copy(),
        np.arange(n) % 3,
        batch_size=8,
        seed=3,
        sampling=sampling,
        random_frames=True,
    )


def same_batches(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.rows.tolist() == b.rows.tolist()
        for name in ("images", "targets", "numbers", "indices"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert (a.second is None) == (b.second is None)
        if a.second is not None:
            same_batches([a.second], [b.second])


@pytest.mark.parametrize("kind", [{}, {"frames": 2, "stored": 6}, {"frames": 2, "stored": 2, "baselines": True}])
@pytest.mark.parametrize("second", [None, "reversed"])
def test_images_in_the_devices_memory_give_the_same_batches(monkeypatch, kind, second):
    read = batches(**kind, sampling="inverse")
    monkeypatch.setattr(batches_module, "free_gpu_memory", lambda _device: 10**9)
    held = batches(**kind, sampling="inverse")
    assert read.bank.resident is None
    assert held.bank.resident is not None
    monkeypatch.setattr(held.bank, "images", None)  # nothing is read from the store any more
    same_batches(read.epoch(1, 2, second=second), held.epoch(1, 2, second=second))
    rows = np.array([3, 1, 4])
    assert torch.equal(read.bank.take(rows), held.bank.take(rows))


def test_images_stay_in_the_store_where_they_would_fill_a_gpu(monkeypatch):
    size = 50 * 4 * 4
    for free, fits in ((4 * size, False), (4 * size + 4, True)):
        monkeypatch.setattr(batches_module, "free_gpu_memory", lambda _device, free=free: free)
        bank = batches().bank
        assert (bank.resident is not None) == fits
        assert bank.placement.startswith("all images are in GPU memory" if fits else "images are copied to the GPU 4")
    assert placement(5 * 10**9, 8 * 10**9) == (
        "images are copied to the GPU 4 batches ahead: all are 5,000 MB, more than 25% of 8,000 MB free"
    )
    assert placement(5, 0) == ""


@pytest.mark.parametrize("second", [None, "reversed"])
def test_batches_are_copied_ahead_and_waited_for_one_by_one(monkeypatch, second):
    """With a stream that writes down what it is asked for: there is none on a CPU."""
    asked = []

    class Stream:
        device = CPU

        def __init__(self, name):
            self.name = name

        def __getattr__(self, verb):
            return lambda *what: asked.append((self.name, verb, *what)) or len(asked)

    current = Stream("current")
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: current)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: asked.append((stream.name, "keeps", tensor))
    )
    made = batches()
    ahead = copied_ahead(made.epoch(2, second=second), Stream("copy"))
    first = next(ahead)
    same_batches([first], [next(made.epoch(2, second=second))])
    assert asked[0] == ("copy", "wait_stream", current)
    waited = [entry for entry in asked if entry[1] == "wait_event"]
    assert len(waited) == 1  # for the first batch alone, though others were copied
    event = waited[0][2]
    assert asked[event - 1][:2] == ("copy", "record_event")
    kept = [entry[2] for entry in asked if entry[1] == "keeps"]
    used = [first] if second is None else [first, first.second]
    assert all(
        any(own is tensor for tensor in kept)
        for part in used
        for own in (part.images, part.targets, part.numbers, part.indices)
    )
    same_batches([first, *ahead], made.epoch(2, second=second))
