"""Which frames of a clip are seen in training, and what changes them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenface.config.recipe import Augment
from evenface.preprocessing.augmentation import COLUMNS, augment, to_float
from evenface.training.batches import ImageBank, TrainingBatches, chosen_frames

CPU = torch.device("cpu")


# Which frames are seen.
@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 1000))
def test_one_frame_is_drawn_from_each_stretch(frames, more, seed):
    stored = frames + more
    numbers = np.random.default_rng(seed).random((20, frames), dtype=np.float32)
    numbers[0], numbers[1] = 0, np.nextafter(np.float32(1), np.float32(0))
    for row, own in zip(chosen_frames(stored, frames, numbers), numbers, strict=True):
        for stretch, (frame, number) in enumerate(zip(row, own, strict=True)):
            assert frame == int((stretch + float(number)) * stored / frames)
            assert stretch * stored // frames <= frame < max((stretch + 1) * stored / frames, stretch + 1)
    middles = chosen_frames(stored, frames)
    assert (np.diff(middles) > 0).all()
    if more == 0:
        assert middles.tolist() == list(range(frames))


def batches(frames, *, random=True, stored=7, n=24, rank=0, world=1, seed=3):
    images = np.zeros((n, stored, 2, 2, 1), np.uint8) + np.arange(n, dtype=np.uint8)[:, None, None, None, None]
    images[:, :, 0, 0, 0] = np.arange(stored)
    bank = ImageBank(images, CPU, frames)
    return TrainingBatches(
        bank, np.arange(n), np.arange(n) % 3, batch_size=8, seed=seed, random_frames=random, rank=rank, world=world
    )


def seen(batch):
    return batch.images[..., 0, 0, 0]


def test_frames_are_drawn_anew_in_each_epoch_and_stay_with_their_clip():
    walked = [list(batches(3).epoch(epoch)) for epoch in (0, 0, 1)]
    for one, two, other in zip(*walked, strict=True):
        assert one.images.shape == (8, 3, 2, 2, 1)
        assert (one.images[..., 1, 1, 0] == torch.from_numpy(one.rows)[:, None]).all()
        assert torch.equal(one.images, two.images)
        assert (seen(one).diff(dim=1) >= 0).all()
        assert not torch.equal(seen(one), seen(other))
    middles = batches(3, random=False).epoch(0)
    assert all((seen(batch) == torch.tensor([1, 3, 5])).all() for batch in middles)


def test_frames_are_the_same_from_the_middle_of_an_epoch_and_in_several_processes():
    alone, rest = list(batches(3).epoch(2)), list(batches(3).epoch(2, start=1))
    assert all(torch.equal(one.images, two.images) for one, two in zip(alone[1:], rest, strict=True))
    shares = [list(batches(3, rank=rank, world=2).epoch(2)) for rank in range(2)]
    for step, batch in enumerate(alone):
        assert torch.equal(torch.cat([share[step].images for share in shares]), batch.images)


def test_one_frame_of_a_clip_is_a_still():
    first, other = (next(batches(1, seed=seed).epoch(0)) for seed in (3, 4))
    assert first.images.shape == (8, 2, 2, 1)
    assert not torch.equal(seen(first), seen(other))


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_what_lies_on_the_device_whole_is_what_is_read_piece_by_piece(frames):
    made = batches(frames)
    alone = list(made.epoch(1))
    made.bank.resident = torch.from_numpy(made.bank.images)
    assert all(torch.equal(one.images, two.images) for one, two in zip(alone, made.epoch(1), strict=True))
    rows = np.array([3, 0])
    taken = made.bank.take(rows)
    made.bank.resident = None
    assert torch.equal(taken, made.bank.take(rows))


def test_a_second_batch_draws_frames_of_its_own():
    batch = next(batches(3).epoch(0, second="inverse"))
    assert not torch.equal(seen(batch), seen(batch.second))


# What changes them.
ALL = Augment(
    flip=0.5, rotate=20, shift=0.1, zoom=0.1, shear=0.1, brightness=0.3, contrast=0.3, saturation=0.3, erase=0.7
)


def test_all_frames_of_a_clip_change_alike():
    """Two frames that hold the same pixels hold the same afterwards, and a clip of one picture changes as it does."""
    generator = torch.Generator().manual_seed(0)
    stills = torch.rand(6, 3, 16, 16, generator=generator)
    numbers = torch.rand(6, COLUMNS, generator=generator)
    clips = stills[:, None].repeat(1, 4, 1, 1, 1)
    changed = augment(clips, numbers, ALL)
    expected = augment(stills.clone(), numbers, ALL)
    for frame in changed.unbind(1):
        torch.testing.assert_close(frame, expected)


def test_what_a_frame_adds_to_another_is_scaled_and_not_evened_out():
    """Brightness and contrast are one affine map of grey for the whole clip: a frame's own mean plays no part."""
    clip = torch.rand(1, 3, 1, 8, 8) * 0.2 + torch.tensor([0.3, 0.4, 0.5]).view(1, 3, 1, 1, 1)
    changed = augment(clip.clone(), torch.full((1, COLUMNS), 0.8), Augment(flip=0, brightness=0.2, contrast=0.2))
    x, y = clip.flatten(), changed.flatten()
    design = torch.stack([x, torch.ones_like(x)], dim=1)
    torch.testing.assert_close(design @ torch.linalg.lstsq(design, y).solution, y, atol=1e-5, rtol=0)


def test_clips_become_network_input_frame_by_frame():
    images = torch.randint(256, (2, 3, 4, 5, 1), dtype=torch.uint8)
    frames = torch.stack([to_float(clip) for clip in images])
    assert torch.equal(to_float(images), frames)
    assert to_float(images).flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    kept = torch.rand(2, 3, 7)
    assert to_float(kept) is kept
