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
