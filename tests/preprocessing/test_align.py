"""Faces are turned level and cropped, to a part of a pixel."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from evenface.preprocessing.detect_align import Face, Square, _fitted, _part, _sampled, cut, square_of


def spots(places, size=(320, 300), width=4.0) -> Image.Image:
    """A dark picture with a soft bright spot at each place; a pixel's middle lies at half a pixel."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * width**2)) for px, py in places)
    return Image.fromarray((light * 250).clip(0, 255).astype(np.uint8))


def middle(image: Image.Image) -> tuple[float, float]:
    """Centre of mass of the light, in pixels."""
    light = np.asarray(image, dtype=float)
    x, y = np.arange(light.shape[1]) + 0.5, np.arange(light.shape[0]) + 0.5
    return (light.sum(0) @ x) / light.sum(), (light.sum(1) @ y) / light.sum()


def about(x: float, y: float, side: float, eyes) -> Face:
    return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), 1.0, eyes)


@given(
    angle=st.floats(-math.pi, math.pi),
    apart=st.floats(20, 50),
    below=st.floats(0, 15),
    beside=st.floats(-8, 8),
    margin=st.floats(0.1, 0.6),
    size=st.integers(40, 160),
)
def test_eyes_come_to_lie_where_the_face_says_to_half_a_pixel(angle, apart, below, beside, margin, size):
    centre, side = complex(160.3, 148.6), 90.0
    along = complex(math.cos(angle), math.sin(angle))  # from eye to eye
    down = along * 1j  # y runs down, so a quarter turn from right is down
    between = centre - below * down + beside * along
    eyes = [between - along * apart / 2, between + along * apart / 2]
    face = about(centre.real, centre.imag, side, tuple((eye.real, eye.imag) for eye in eyes))
    square = square_of(face, margin)
    found = [middle(cut(spots([(eye.real, eye.imag)]), square, size)) for eye in eyes]
    scale = size / (side * (1 + 2 * margin))
    for (x, y), sideways in zip(found, (-apart / 2, apart / 2), strict=True):
        assert x == pytest.approx(size / 2 + (beside + sideways) * scale, abs=0.5)
        assert y == pytest.approx(size / 2 - below * scale, abs=0.5)


def test_an_upright_face_is_cropped_as_pillow_would():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8))
    face = Face((20, 10, 60, 50), 1.0, ((30, 25), (50, 25)))
    np.testing.assert_array_equal(cut(image, square_of(face, 0), 40), image.crop((20, 10, 60, 50)))
    assert square_of(face, 0.25) == Square((40, 30), 60, 0)
    tall = Face((20, 10, 40, 50), 1.0, ((30, 25), (50, 25)))
    assert square_of(tall, 0) == Square((30, 30), 40, 0)


def test_a_shift_moves_the_crop_along_the_face_towards_the_forehead():
    face = Face((20, 10, 60, 50), 1.0, ((30, 25), (50, 25)))
    assert square_of(face, 0.25, 0.1) == Square((40, 26), 60, 0)
    # The person's right eye is above the left one: the head lies on its side, the forehead to the right.
    lying = Face((20, 10, 60, 50), 1.0, ((45, 20), (45, 40)))
    assert square_of(lying, 0, 0.1).centre == pytest.approx((44, 30))


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_shrinking_takes_the_mean_over_a_pixels_area(factor):
    pixels = np.random.default_rng(factor).integers(0, 256, (20 * factor, 20 * factor), dtype=np.uint8)
    found = cut(Image.fromarray(pixels), Square((10 * factor, 10 * factor), 20 * factor, 0), 20)
    mean = pixels.reshape(20, factor, 20, factor).mean((1, 3))
    np.testing.assert_allclose(np.asarray(found, float), mean, atol=1.01)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_shrinking_inside_the_picture_reads_the_pixels_of_the_square_alone(factor):
    pixels = np.random.default_rng(factor).integers(0, 256, (36 * factor, 40 * factor, 3), dtype=np.uint8)
    left, top, side = 9 * factor + 1, 7 * factor + 1, 20 * factor
    found = cut(Image.fromarray(pixels), Square((left + side / 2, top + side / 2), side, 0), 20)
    part = pixels[top : top + side, left : left + side]
    mean = part.reshape(20, factor, 20, factor, 3).mean((1, 3))
    np.testing.assert_allclose(np.asarray(found, float), mean, atol=1.01)


@given(angle=st.floats(-math.pi, math.pi), side=st.floats(300, 900))
def test_a_fine_pattern_does_not_turn_into_a_coarse_one(angle, side):
    board = Image.fromarray((np.indices((1000, 1000)).sum(0) % 2 * 255).astype(np.uint8))
    assume(side / 40 > 7)
    found = np.asarray(cut(board, Square((500, 500), side, angle), 40), float)
    assert abs(found - 127.5).max() < 12


@given(
    seed=st.integers(0, 99),
    shape=st.sampled_from([(30, 40), (30, 40, 3)]),
    corner=st.tuples(st.integers(-90, 60), st.integers(-90, 60)),
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
def test_every_pixel_beyond_the_picture_is_the_nearest_one_inside(seed, shape, corner, size):
    """Also where the box lies wholly outside."""
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    (left, top), (width, height) = corner, size
    found = _part(image, left, top, left + width, top + height)
    assert found.size == size
    for x, y in {(0, 0), (width - 1, height - 1), (width // 2, height // 2), (width - 1, 0)}:
        assert found.getpixel((x, y)) == image.getpixel((min(max(left + x, 0), 39), min(max(top + y, 0), 29)))


@pytest.mark.parametrize("angle", [0, 0.3])
def test_beyond_the_picture_its_outermost_pixels_go_on(angle):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    square = Square((35, 4), 24, angle)
    padded = Image.fromarray(np.pad(np.asarray(image), ((50, 50), (50, 50), (0, 0)), mode="edge"))
    inside = cut(padded, Square((85, 54), 24, angle), 48)
    np.testing.assert_allclose(np.asarray(cut(image, square, 48), int), np.asarray(inside, int), atol=1)
    away = np.asarray(cut(image, Square((-200, 15), 10, 0), 10))  # all of it outside: the nearest column
    np.testing.assert_array_equal(away, np.asarray(image)[10:20, :1].repeat(10, axis=1))


@given(angle=st.floats(-180, 180))
def test_a_turned_picture_gives_the_same_crop(angle):
    random = np.random.default_rng(2).integers(0, 256, (12, 12), dtype=np.uint8)
    picture = Image.fromarray(random).resize((240, 240), Image.Resampling.BICUBIC)
    turned = picture.rotate(angle, Image.Resampling.BICUBIC)  # against the clock about the middle

    def place(x, y):
        z = complex(x - 120, y - 120) * complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))
        return 120 + z.real, 120 + z.imag

    upright = about(125, 118, 60, ((110, 105), (138, 108)))
    leaning = about(*place(125, 118), 60, (place(110, 105), place(138, 108)))
    first, second = (np.asarray(cut(*one, 64), float) for one in ((picture, square_of(upright, 0.25)),
                                                                  (turned, square_of(leaning, 0.25))))  # fmt: skip
    assert abs(first - second).mean() < 2


# --- views of the detector ----------------------------------------------------------------------------------------


def soft(shape, seed=3) -> Image.Image:
    """A picture without fine detail, in which a few pixels tell as much as all of them."""
    height, width = shape
    small = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@given(angle=st.floats(-math.pi, math.pi), side=st.floats(80, 420), x=st.floats(300, 600), y=st.floats(300, 500))
def test_a_sampled_view_shows_what_a_crop_shows(angle, side, x, y):
    picture, square = soft((800, 900)), Square((x, y), side, angle)
    seen, cropped = (np.asarray(function(picture, square, 40), float) for function in (_sampled, cut))
    assert abs(seen - cropped).mean() < 2
    assert abs(seen - cropped).max() < 25


@given(angle=st.floats(-math.pi, math.pi), side=st.floats(80, 800), x=st.floats(-50, 850), y=st.floats(-50, 950))
def test_so_it_does_at_the_edges_of_the_picture(angle, side, x, y):
    picture, square = soft((800, 900)), Square((x, y), side, angle)
    seen, cropped = (np.asarray(function(picture, square, 40), float) for function in (_sampled, cut))
    assert seen.shape == cropped.shape
    assert abs(seen - cropped).mean() < 3


def test_where_it_is_enlarged_a_sampled_view_is_the_crop():
    picture, square = soft((200, 220)), Square((90, 90), 50, 0.1)
    np.testing.assert_array_equal(np.asarray(_sampled(picture, square, 40)), np.asarray(cut(picture, square, 40)))


@pytest.mark.parametrize(("shape", "samples"), [((450, 600), 2), ((1500, 2000), 3)])
def test_a_view_of_the_whole_picture_is_a_mean_of_few_pixels(shape, samples):
    """A naive loop over the pixels that lie in the middle of the cells of a grid."""
    pixels = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    view = np.asarray(_fitted(Image.fromarray(pixels), 96), float)
    assert view.shape == (72, 96, 3)
    for row, column in ((0, 0), (71, 95), (30, 41)):
        rows, columns = (
            [int((samples * cell + i + 0.5) * length / (samples * count)) for i in range(samples)]
            for cell, length, count in ((row, shape[0], 72), (column, shape[1], 96))
        )
        mean = pixels[np.ix_(rows, columns)].astype(float).mean((0, 1))
        np.testing.assert_allclose(view[row, column], mean, atol=1)
