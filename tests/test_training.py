"""Parts of the training loop: order, augmentation, schedules, optimisers, checkpoints."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import nn

from evenface.augment import COLUMNS, augment, to_float
from evenface.errors import InputError
from evenface.methods.base import Stage
from evenface.recipes.schema import Augment, Optimizer, Schedule
from evenface.training.averaging import Average
from evenface.training.batches import Faces, TrainingBatches
from evenface.training.checkpoint import load_state, save_state, save_weights
from evenface.training.optimizers import build_optimizer
from evenface.training.randomness import permutation, seed_step, uniforms
from evenface.training.schedules import rate_factor, standing
from evenface.training.stages import spans


def batches(n=50, batch_size=8, sampling="none", rank=0, world=1, seed=3):
    images = np.arange(n, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 1, 4, 4, 1), np.uint8)
    labels = np.arange(n) % 3
    faces = Faces(images, torch.device("cpu"))
    return TrainingBatches(
        faces, np.arange(n), labels, batch_size=batch_size, seed=seed, sampling=sampling, rank=rank, world=world
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
    faces = Faces(np.zeros((1000, 1, 4, 4, 1), np.uint8), torch.device("cpu"))
    made = TrainingBatches(faces, np.arange(1000), labels, batch_size=10, seed=0, sampling="inverse")
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


def pictures(n=6, size=16, channels=1):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def numbers(n=6):
    return torch.rand(n, COLUMNS, generator=torch.Generator().manual_seed(1))


OFF = Augment(flip=0)
ALL = Augment(
    flip=0.5, rotate=20, shift=0.1, zoom=0.1, shear=0.1, brightness=0.3, contrast=0.3, saturation=0.3, erase=0.5
)


def test_nothing_changes_where_everything_is_off():
    assert torch.equal(augment(pictures(), numbers(), OFF), pictures())


def test_flip_is_the_mirror_picture_with_and_without_resampling():
    always = augment(pictures(), numbers(), Augment(flip=1))
    resampled = augment(pictures(), numbers(), Augment(flip=1, zoom=1e-9))
    assert torch.equal(always, pictures().flip(-1))
    torch.testing.assert_close(resampled, always, atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_changes_alike_in_any_company(channels):
    images, drawn = pictures(channels=channels), numbers()
    together = augment(images.clone(), drawn, ALL)
    alone = torch.cat([augment(images[i : i + 1].clone(), drawn[i : i + 1], ALL) for i in range(len(images))])
    torch.testing.assert_close(together, alone)
    assert together.min() >= 0
    assert together.max() <= 1


def test_shift_moves_by_whole_pixels_where_it_should():
    drawn = torch.full((1, COLUMNS), 0.5)
    drawn[:, 4] = 1.0  # as far as it goes to one side
    images = pictures(1)
    moved = augment(images.clone(), drawn, Augment(flip=0, shift=0.25))
    torch.testing.assert_close(moved[..., :-4], images[..., 4:], atol=1e-4, rtol=0)


def test_a_quarter_turn_is_torch_rot90():
    drawn = torch.full((1, COLUMNS), 0.5)
    drawn[:, 1] = 1.0
    images = pictures(1)
    turned = augment(images.clone(), drawn, Augment(flip=0, rotate=90))
    torch.testing.assert_close(turned, images.rot90(1, (-2, -1)), atol=1e-4, rtol=0)


def test_erasing_covers_the_area_that_was_asked_for():
    drawn = torch.rand(200, COLUMNS, generator=torch.Generator().manual_seed(4))
    images = pictures(200, 64)
    changed = (augment(images.clone(), drawn, Augment(flip=0, erase=1, erase_area=(0.1, 0.2))) != images).float()
    shares = changed.mean(dim=(1, 2, 3))
    assert 0.08 < shares.min() < 0.12
    assert 0.18 < shares.max() < 0.22


def test_brightness_scales_the_mean_and_contrast_keeps_it():
    images = pictures() * 0.2 + 0.4
    bright = augment(images.clone(), numbers(), Augment(flip=0, brightness=0.2))
    factors = 1 + (2 * numbers()[:, 6] - 1) * 0.2
    torch.testing.assert_close(bright.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)) * factors)
    contrasted = augment(images.clone(), numbers(), Augment(flip=0, contrast=0.5))
    torch.testing.assert_close(contrasted.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)))


def test_stored_bytes_become_numbers_from_0_to_1():
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 3, 1)
    assert to_float(images).flatten().tolist() == pytest.approx([0, 1, 0.2])


def torch_rates(make, epochs, losses=None):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([losses[epoch]] if losses else []))
    return rates


def our_rates(settings, epochs, losses=()):
    return [rate_factor(settings, epoch * 5, 5, epochs, losses[:epoch]) for epoch in range(epochs)]


def test_step_and_exponential_are_torch_s():
    step = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 20, 0.1), 50)
    assert our_rates(Schedule(name="step", every=20, gamma=0.1), 50) == pytest.approx(step)
    exponential = torch_rates(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 50)
    assert our_rates(Schedule(name="exponential", gamma=0.9), 50) == pytest.approx(exponential)


@given(st.lists(st.floats(0.01, 10), min_size=12, max_size=40), st.integers(0, 4))
def test_plateau_is_torch_s(losses, patience):
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=patience, eps=0),
        len(losses),
        losses,
    )
    ours = our_rates(Schedule(name="plateau", gamma=0.5, patience=patience), len(losses), losses)
    assert ours == pytest.approx(expected)


def test_cosine_rises_linearly_and_ends_at_its_share():
    settings = Schedule(name="cosine", warmup_epochs=2, final=0.1)
    rates = [rate_factor(settings, step, 10, 10) for step in range(100)]
    assert rates[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert rates[20] == 1
    assert rates[60] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert rate_factor(settings, 100, 10, 10) == pytest.approx(0.1)
    assert all(one >= other for one, other in itertools.pairwise(rates[20:]))


def test_best_is_the_earliest_best_and_patience_counts_from_it():
    figures = [0.1, 0.5, math.nan, 0.5, 0.4]
    assert standing(figures, larger_is_better=True, patience=4).best == 1
    assert not standing(figures, larger_is_better=True, patience=4).stop
    assert standing(figures, larger_is_better=True, patience=3).stop
    assert standing(figures, larger_is_better=False, patience=None).best == 0
    assert standing([math.nan], larger_is_better=True, patience=None).best == 0


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lamb", "adabelief", "novograd"])
def test_every_optimiser_finds_the_foot_of_a_valley(name):
    torch.manual_seed(0)
    layer = nn.Linear(4, 1)
    optimizer = build_optimizer([layer], Optimizer(name=name, lr=0.05, weight_decay=0.0))
    x = torch.randn(64, 4)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 3.0])[:, None] + 1
    first = float((layer(x) - y).square().mean().detach())
    for _ in range(400):
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05 * first


def test_biases_and_scales_are_spared_from_decay():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    spared = build_optimizer([network], Optimizer(weight_decay=0.1))
    decay = {group["weight_decay"]: sum(p.numel() for p in group["params"]) for group in spared.param_groups}
    assert decay == {0.1: 6, 0.0: 6}
    everything = build_optimizer([network], Optimizer(weight_decay=0.1, decay="all"))
    assert [group["weight_decay"] for group in everything.param_groups] == [0.1]


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
        assert one.rows.tolist() == two.rows.tolist() == two.places.tolist()
        assert len(two.second.rows) == len(two.rows)
        assert two.second.targets.tolist() == (two.second.rows % 3).tolist()
        assert not torch.equal(two.second.numbers, two.numbers)
    rest = list(batches().epoch(1, start=3, second="reversed"))
    assert rest[0].second.rows.tolist() == beside[3].second.rows.tolist()


def test_a_stage_takes_its_own_sampling():
    labels = np.repeat([0, 1], [90, 10])
    faces = Faces(np.zeros((100, 1, 4, 4, 1), np.uint8), torch.device("cpu"))
    made = TrainingBatches(faces, np.arange(100), labels, batch_size=10, seed=0)
    drawn = np.concatenate([b.targets.numpy() for epoch in range(20) for b in made.epoch(epoch, sampling="inverse")])
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)  # standard deviation 0.011


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=4), st.integers(4, 60))
def test_stages_cover_all_epochs_each_at_least_one(shares, epochs):
    found = spans([Stage(share / sum(shares)) for share in shares], epochs)
    assert [span.index for span in found] == list(range(len(shares)))
    assert found[0].first == 0
    assert found[-1].end == epochs
    assert all(one.end == two.first for one, two in itertools.pairwise(found))
    assert all(span.end > span.first for span in found)


def test_more_stages_than_epochs_are_refused():
    with pytest.raises(InputError, match="2 stages of whole epochs"):
        spans([Stage(0.5), Stage(0.5)], 1)


def test_the_average_is_the_recursion_written_out_and_gives_the_weights_back():
    module = nn.BatchNorm1d(3)
    average, expected = Average(module, 0.7), {k: v.clone().double() for k, v in module.state_dict().items()}
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
