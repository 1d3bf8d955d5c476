import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenface.preprocessing.detect_align import find_faces, square_of
from evenface.preprocessing.face_mesh import find_points
from evenface.preprocessing.landmarks import COUNTS, NAMES, blendshapes, mirrored, order
from evenface.preprocessing.target import MESH_MARGIN
from evenface.preprocessing.video import open_film
from evenface.utils.errors import InputError

KINDS = ("mesh-468", "dlib-68", "blendshapes")
MIDLINE = [
    10,
    151,
    9,
    8,
    168,
    6,
    197,
    195,
    5,
    4,
    1,
    19,
    94,
    2,
    164,
    0,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    200,
    199,
    175,
    152,
]


@pytest.mark.parametrize("kind", KINDS)
def test_partners_of_partners_are_the_points_themselves(kind):
    partners = order(kind)
    count = COUNTS.get(kind, len(NAMES))
    assert sorted(partners) == list(range(count))
    assert (partners[partners] == np.arange(count)).all()


def test_the_midline_is_its_own_mirror_and_nothing_else_is():
    assert set(np.flatnonzero(order("mesh-468") == np.arange(468))) == set(MIDLINE)
    assert np.flatnonzero(order("dlib-68") == np.arange(68)).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_the_mesh_agrees_with_mediapipes_own_parts_and_edges():
    known = Path(__file__).parents[1] / "pictures" / "four-made-up-people.json"
    mesh = json.loads(known.read_text("utf-8"))["parts"]
    partners = order("mesh-468")

    def edges(pairs):
        return {tuple(sorted(pair)) for pair in pairs}

    def turned(pairs):
        return edges((int(partners[a]), int(partners[b])) for a, b in pairs)

    for part in ("EYE", "EYEBROW"):
        right, left = (mesh[f"{side}_{part}"] for side in ("RIGHT", "LEFT"))
        assert turned(right) == edges(left)
    for part in ("LIPS", "FACE_OVAL"):
        whole = mesh[part]
        assert turned(whole) == edges(whole)
    every = edges(mesh["TESSELATION"])
    odd = turned(every) - every
    assert len(odd) == 6  # of 1,322: squares that are divided by the other diagonal
    for a, b in odd:
        both = [c for c in range(468) if {tuple(sorted((a, c))), tuple(sorted((b, c)))} <= every]
        assert any(tuple(sorted((c, d))) in every for c in both for d in both)


@given(st.sampled_from(["mesh-468", "dlib-68"]), st.sampled_from(["swapped", "literal"]), st.sampled_from([0.0, 0.5]),
       st.integers(0, 99))  # fmt: skip
def test_a_mirror_picture_of_a_mirror_picture_is_the_picture(points, kind, middle, seed):
    values = np.random.default_rng(seed).uniform(0, 1, (2, 3, COUNTS[points], 3)).astype(np.float32)
    before = values.copy()
    once = mirrored(values, points, kind, middle)
    assert once.dtype == np.float32
    np.testing.assert_array_equal(values, before)
    np.testing.assert_allclose(mirrored(once, points, kind, middle), values, atol=1e-6)
    for i in range(0, COUNTS[points], 7):
        partner = int(order(points)[i]) if kind == "swapped" else i
        np.testing.assert_allclose(once[..., i, 0], 2 * middle - values[..., partner, 0], atol=1e-6)
        np.testing.assert_array_equal(once[..., i, 1:], values[..., partner, 1:])
    np.testing.assert_array_equal(mirrored(torch.from_numpy(values), points, kind, middle).numpy(), once)


def test_units_have_no_side_and_unknown_numbers_no_mirror():
    units = np.ones((2, 3, 35, 1), np.float32)
    assert mirrored(units, "openface-aus", "literal", None) is units
    with pytest.raises(InputError, match="features cannot be mirrored"):
        mirrored(units, "features")
    with pytest.raises(InputError, match="no x to mirror"):
        mirrored(units[:, :, :15], "blendshapes", "literal")
    with pytest.raises(InputError, match="x is in pixels"):
        mirrored(np.ones((1, 1, 68, 2)), "dlib-68", "swapped", None)
    with pytest.raises(InputError, match="swapped or literal"):
        mirrored(units, "openface-aus", "sideways")


def test_measuring_and_mirroring_can_change_places():
    points = np.random.default_rng(0).uniform(0, 1, (4, 468, 2)).astype(np.float32)
    there = blendshapes(mirrored(points, "mesh-468"))
    np.testing.assert_allclose(there, mirrored(blendshapes(points), "blendshapes"), rtol=1e-4, atol=1e-4)


def test_points_of_mirror_pictures_are_those_of_the_partners(real_data):
    from PIL import ImageOps

    film = open_film(str(real_data / "clips" / "single_face.mp4"))
    plain, turned = [], []
    for _, image in film.frames([0, 30, 60]):
        for found, picture in ((plain, image), (turned, ImageOps.mirror(image))):
            got = find_points(picture, square_of(find_faces(picture, "mediapipe")[0], MESH_MARGIN))
            assert got is not None
            found.append(got / image.width)
    truth = np.array(turned)
    eyes = np.abs(truth[:, 33, 0] - truth[:, 263, 0])[:, None]
    swapped, literal = (np.array(mirrored(np.array(plain), "mesh-468", kind)) for kind in ("swapped", "literal"))
    off = np.linalg.norm((swapped - truth)[..., :2], axis=-1) / eyes
    assert off.mean() < 0.03
    assert off.max() < 0.15
    assert (np.linalg.norm((literal - truth)[..., :2], axis=-1) / eyes).mean() > 0.5
