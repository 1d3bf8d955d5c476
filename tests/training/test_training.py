"""Parts of the training loop: order, checkpoints, stages, averages."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import nn
from torchvision.transforms.functional import resize

from evenface.methods.base import Stage
from evenface.preprocessing.augmentation import resized
from evenface.training.batches import ImageBank, TrainingBatches, permutation, seed_step, uniforms
from evenface.training.batches import key as seed_of
from evenface.training.checkpoint import load_state, save_state, save_weights
from evenface.training.optimizers import EMA, image_side
from evenface.training.trainer import stage_epochs
from evenface.utils.errors import InputError


def batches(n=50, batch_size=8, sampling="none", rank=0, world=1, seed=3):
    images = np.arange(n, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 1, 4, 4, 1), np.uint8)
    labels = np.arange(n) % 3
    bank = ImageBank(images, torch.device("cpu"))
    return TrainingBatches(
        bank, np.arange(n), labels, batch_size=batch_size, seed=seed, sampling=sampling, rank=rank, world=world
    )


@given(st.integers(9, 60), st.integers(2, 16), st.integers(0, 5))
def test_an_epoch_visits_samples_once_and_pictures_go_with_labels(n, batch_size, epoch):
    made = batches(n, batch_size)
    walked = list(made.epoch(epoch))
    rows = np.concatenate([batch.rows for batch in walked])
    assert len(walked) == made.steps
    assert len(set(rows)) == len(rows) == n // made.batch_size * made.batch_size
    for batch in walked:
        assert batch.images[:, 0, 0, 0].tolist() == batch.rows.tolist()
        assert batch.targets.tolist() == (batch.rows % 3).tolist()


def test_an_epoch_entered_in_the_middle_goes_on_as_if_walked_from_the_start():
    whole, rest = list(batches().epoch(2)), list(batches().epoch(2, start=4))
    for one, other in zip(whole[4:], rest, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert torch.equal(one.numbers, other.numbers)


@pytest.mark.parametrize("sampling", ["none", "inverse"])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_same_batches(world, sampling):
    alone = list(batches(sampling=sampling).epoch(1))
    shares = [list(batches(sampling=sampling, rank=rank, world=world).epoch(1)) for rank in range(world)]
    for step, batch in enumerate(alone):
        together = np.concatenate([share[step].rows for share in shares])
        numbers = torch.cat([share[step].numbers for share in shares])
        assert together.tolist() == batch.rows.tolist()
        assert torch.equal(numbers, batch.numbers)


def test_resampling_by_inverse_frequency_evens_the_classes():
    labels = np.repeat([0, 1], [900, 100])
    bank = ImageBank(np.zeros((1000, 1, 4, 4, 1), np.uint8), torch.device("cpu"))
    made = TrainingBatches(bank, np.arange(1000), labels, batch_size=10, seed=0, sampling="inverse")
    drawn = np.concatenate([labels[made.order(epoch)] for epoch in range(20)])
    # 20,000 draws at one half: the standard deviation of the share is 0.0035.
    assert drawn.mean() == pytest.approx(0.5, abs=0.015)


@given(st.integers(0, 2**31), st.integers(0, 100))
def test_random_numbers_are_functions_of_seed_and_epoch(seed, epoch):
    first = uniforms(seed, "augment", epoch, 5, 3)
    assert np.array_equal(first, uniforms(seed, "augment", epoch, 5, 3))
    assert not np.array_equal(first, uniforms(seed, "augment", epoch + 1, 5, 3))
    assert not np.array_equal(first, uniforms(seed, "sampling", epoch, 5, 3))
    assert sorted(permutation(seed, epoch, 20)) == list(range(20))


def test_steps_seed_dropout():
    def draw(*place):
        seed_step(7, *place)
        return torch.rand(4)

    assert torch.equal(draw(1, 2), draw(1, 2))
    assert not torch.equal(draw(1, 2), draw(1, 3))
    assert not torch.equal(draw(1, 2, 0), draw(1, 2, 1))
    drawn = draw(1, 2)
    torch.manual_seed(seed_of(7, "step", 1, 2, 0))
    assert torch.equal(drawn, torch.rand(4))


def test_a_state_comes_back_bit_by_bit(tmp_path):
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "number": 0.1 + 0.2,
        "list": [1, {"a": None}],
        "tied": [layer.weight] * 2,
    }
    save_state(tmp_path / "s.safetensors", state)
    back = load_state(tmp_path / "s.safetensors")
    assert back["number"] == state["number"]
    assert back["list"] == state["list"]
    assert torch.equal(back["tied"][0], layer.weight)
    for key, entry in state["optimizer"]["state"].items():
        assert all(torch.equal(back["optimizer"]["state"][key][name], value) for name, value in entry.items())
    optimizer.load_state_dict(back["optimizer"])


def test_a_full_disk_is_said_in_a_sentence_when_weights_are_written(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("evenface.training.checkpoint.save_file", full)
    for save in (lambda path: save_weights(path, {"w": torch.ones(2)}, {}), lambda path: save_state(path, {})):
        with pytest.raises(InputError, match="disk is full"):
            save(tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "s.safetensors"
    save_state(path, {"epoch": 1, "w": torch.ones(2)})

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evenface.training.checkpoint.save_file", full)
    with pytest.raises(InputError, match="disk is full"):
        save_state(path, {"epoch": 2, "w": torch.zeros(2)})
    assert load_state(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_checkpoint_is_said_to_be_one(tmp_path, content):
    (tmp_path / "c.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"c\.safetensors"):
        load_state(tmp_path / "c.safetensors")


def test_second_batches_come_from_their_own_draws_and_leave_the_first_alone():
    alone, beside = list(batches().epoch(1)), list(batches().epoch(1, second="reversed"))
    for one, two in zip(alone, beside, strict=True):
        assert one.rows.tolist() == two.rows.tolist() == two.indices.tolist()
        assert len(two.second.rows) == len(two.rows)
        assert two.second.targets.tolist() == (two.second.rows % 3).tolist()
        assert not torch.equal(two.second.numbers, two.numbers)
    rest = list(batches().epoch(1, start=3, second="reversed"))
    assert rest[0].second.rows.tolist() == beside[3].second.rows.tolist()


def test_a_stage_takes_its_own_sampling():
    labels = np.repeat([0, 1], [90, 10])
    bank = ImageBank(np.zeros((100, 1, 4, 4, 1), np.uint8), torch.device("cpu"))
    made = TrainingBatches(bank, np.arange(100), labels, batch_size=10, seed=0)
    drawn = np.concatenate([b.targets.numpy() for epoch in range(20) for b in made.epoch(epoch, sampling="inverse")])
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)  # standard deviation 0.011


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=4), st.integers(4, 60))
def test_stages_cover_all_epochs_each_at_least_one(shares, epochs):
    found = stage_epochs([Stage(share / sum(shares)) for share in shares], epochs)
    assert [span.index for span in found] == list(range(len(shares)))
    assert found[0].first == 0
    assert found[-1].end == epochs
    assert all(one.end == two.first for one, two in itertools.pairwise(found))
    assert all(span.end > span.first for span in found)


def test_more_stages_than_epochs_are_refused():
    with pytest.raises(InputError, match="2 stages of whole epochs"):
        stage_epochs([Stage(0.5), Stage(0.5)], 1)


def test_the_average_is_the_recursion_written_out_and_gives_the_weights_back():
    module = nn.BatchNorm1d(3)
    average, expected = EMA(module, 0.7), {k: v.clone().double() for k, v in module.state_dict().items()}
    for step in range(8):
        with torch.no_grad():
            module.weight.normal_()
            module.num_batches_tracked += 1
            module.running_mean.normal_()
        average.update(step)
        share = min(0.7, (1 + step) / (10 + step))
        for key in ("weight", "running_mean"):
            expected[key] = share * expected[key] + (1 - share) * module.state_dict()[key].double()
    kept = module.weight.detach().clone()
    with average.applied():
        for key in ("weight", "running_mean"):
            torch.testing.assert_close(module.state_dict()[key].double(), expected[key], rtol=1e-5, atol=1e-6)
        assert int(module.num_batches_tracked) == 8
    assert torch.equal(module.weight, kept)


@given(st.integers(8, 64), st.integers(1, 64), st.integers(1, 60))
def test_images_grow_from_their_first_side_to_the_full_one_by_two_thirds_of_the_epochs(start, more, epochs):
    full = start + more
    sides = [image_side(start, full, epoch, epochs) for epoch in range(epochs)]
    assert sides[0] == start
    assert sides == sorted(sides)
    assert all(side == full or (side - start) % 8 == 0 for side in sides)
    assert all(side == full for epoch, side in enumerate(sides) if epoch >= epochs * 2 / 3)


def test_small_images_are_those_that_torchvision_resizes_frame_by_frame():
    clips = torch.rand(2, 3, 1, 16, 16)
    small = resized(clips, 8)
    for clip, own in zip(clips, small, strict=True):
        for frame, other in zip(clip, own, strict=True):
            torch.testing.assert_close(resize(frame, [8, 8], antialias=True), other)
    torch.testing.assert_close(resized(clips[:, 0], 8), small[:, 0])
