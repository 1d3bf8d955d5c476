"""What changes pictures changes them by itself, as it says, and nothing where it is off."""

import pytest
import torch

from evenface.config.recipe import Augment
from evenface.preprocessing.augmentation import COLUMNS, augment, to_float


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


POLICIES = [Augment(flip=0, policy="randaugment", operations=3, magnitude=15), Augment(flip=0, policy="trivialaugment")]
by_policy = pytest.mark.parametrize("settings", POLICIES, ids=["randaugment", "trivialaugment"])


def stored(n=6, size=24, channels=3):
    """Images of smooth bytes, as they are stored."""
    rough = torch.rand(n, channels, 4, 4, generator=torch.Generator().manual_seed(2))
    smooth = torch.nn.functional.interpolate(rough, size=(size, size), mode="bilinear")
    return to_float((smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1))


@by_policy
@pytest.mark.parametrize("channels", [1, 3])
def test_a_policy_is_a_function_of_an_images_own_numbers(settings, channels):
    images, drawn = stored(channels=channels), numbers()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    together = augment(images, drawn, settings)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(4)
    alone = torch.cat([augment(images[i : i + 1], drawn[i : i + 1], settings) for i in range(len(images))])
    assert torch.equal(together, alone)
    assert not torch.equal(together, images)
    assert torch.equal((together * 255).round() / 255, together)  # bytes, from 0 to 1
    others = augment(images, numbers().flip(0), settings)
    assert not torch.equal(others, together)


@by_policy
def test_frames_of_a_clip_change_alike(settings):
    clips = stored()[:, None].repeat(1, 3, 1, 1, 1)
    changed = augment(clips, numbers(), settings)
    assert all(torch.equal(changed[:, frame], augment(stored(), numbers(), settings)) for frame in range(3))


@by_policy
def test_operations_are_those_of_pillow(settings, monkeypatch):
    """On the same draws torchvision's class changes a Pillow image by Pillow's own operations."""
    import numpy as np
    from PIL import Image
    from torchvision import transforms

    kinds = {"randaugment": transforms.RandAugment(3, 15), "trivialaugment": transforms.TrivialAugmentWide()}
    seeds, generator = [], torch.default_generator
    wrapped = type("Wrapped", (), {"manual_seed": lambda self, seed: seeds.append(seed) or generator.manual_seed(seed)})
    monkeypatch.setattr(torch, "default_generator", wrapped())
    images = stored(n=24)
    changed = augment(images, numbers(24), settings)
    monkeypatch.undo()
    assert len(set(seeds)) == 24
    near = 0
    for image, own, seed in zip(images, changed, seeds, strict=True):
        pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        torch.manual_seed(seed)
        expected = np.asarray(kinds[settings.policy](Image.fromarray(pixels)), dtype=np.float32) / 255
        near += bool(np.abs(own.permute(1, 2, 0).numpy() - expected).mean() < 0.03)
    assert near >= 22  # rotated edges and equalised histograms are rounded in another way


def test_other_changes_come_after_the_policy():
    images, drawn = stored(), numbers()
    policy = Augment(flip=0, policy="trivialaugment")
    both = augment(images, drawn, ALL.model_copy(update={"policy": "trivialaugment"}))
    torch.testing.assert_close(both, augment(augment(images, drawn, policy), drawn, ALL))
