"""Mesh points of crops as input: alignment against scipy, mirror images, and what stands for a missing face."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from evenface.preprocessing import mesh_points
from evenface.preprocessing.blazeface import MESH_VIEW
from evenface.preprocessing.landmarks import order
from evenface.preprocessing.mesh_points import (
    RIGID,
    USED,
    align_points,
    crop_points,
    mirror_image,
    mirrored_rows,
    point_input,
    symmetric_reference,
)
from evenface.synthesis.images import draw_faces


def random_faces(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, (count, 468, 3)).astype(np.float32)


@given(seed=st.integers(0, 10_000))
def test_alignment_is_the_least_squares_rotation_after_centring_and_scaling(seed):
    faces, reference = random_faces(seed), symmetric_reference(random_faces(seed + 1, 20))
    for face, aligned in zip(faces, align_points(faces, reference), strict=True):
        own = face[RIGID] - face[RIGID].mean(0)
        turn, _ = Rotation.align_vectors(reference, own)
        scale = np.sqrt((reference**2).sum() / (own**2).sum())
        assert aligned == pytest.approx(turn.apply(face[USED] - face[RIGID].mean(0)) * scale, abs=1e-3)


@given(seed=st.integers(0, 10_000))
def test_alignment_does_not_depend_on_place_size_and_pose(seed):
    rng = np.random.default_rng(seed)
    reference = symmetric_reference(random_faces(seed, 20))
    face = random_faces(seed)
    face[:, RIGID] = reference + 0.05 * face[:, RIGID]
    moved = Rotation.random(rng=rng).apply(face.reshape(-1, 3)).reshape(face.shape) * rng.uniform(0.3, 3)
    moved += rng.normal(0, 5, 3)
    expected = align_points(face, reference)
    assert align_points(moved.astype(np.float32), reference) == pytest.approx(expected, abs=1e-3)


def test_the_mirror_image_of_an_aligned_face_is_the_aligned_mirror_image():
    reference = symmetric_reference(random_faces(1, 50))
    face = random_faces(2)
    face[:, RIGID] = reference + 0.05 * face[:, RIGID]
    aligned = align_points(face, reference)
    assert align_points(mirror_image(face), reference) == pytest.approx(
        aligned[:, mirrored_rows()] * np.array([-1, 1, 1]), abs=1e-4
    )


def test_the_points_that_networks_take_hold_the_mirror_image_of_each():
    assert set(order("mesh-468")[USED]) == set(USED)
    assert np.array_equal(USED[mirrored_rows()], order("mesh-468")[USED])
    assert np.array_equal(mirrored_rows()[mirrored_rows()], np.arange(len(USED)))


def test_points_of_a_crop_are_on_the_face_and_zeros_stand_for_a_crop_without_one():
    drawn = draw_faces(1, people=1, size=96, seed=3, look="tight").images
    crops = [drawn[0], drawn[0].mean(axis=2).astype(np.uint8), np.full((48, 48, 1), 90, np.uint8)]
    points = crop_points(crops)
    assert np.isnan(points[2]).all()
    colour, grey = points[0], points[1]
    assert grey == pytest.approx(colour, abs=0.05)
    eye, nose, chin = colour[[33, 1, 152], 1]
    assert 0.1 < eye < nose < chin < 1.1
    assert 0.2 < points[0, 263, 0] - points[0, 33, 0] < 0.8
    inputs = point_input(crops, symmetric_reference(points[:2]))
    assert inputs.shape == (3, len(USED), 3)
    assert inputs[:2].any(axis=(1, 2)).all()
    assert not inputs[2].any()
    assert point_input([], symmetric_reference(points[:2])).shape == (0, len(USED), 3)


def test_known_points_of_a_face_are_used_in_whatever_unit_and_only_others_are_detected(monkeypatch):
    looked = []

    def detect(view):
        looked.append(view.size)

    monkeypatch.setattr(mesh_points, "detect_mesh", detect)
    reference = symmetric_reference(random_faces(1, 50))
    face = random_faces(2, 1)[0]
    face[RIGID] = reference + 0.05 * face[RIGID]
    pixels = 200 * face @ Rotation.from_euler("z", 20, degrees=True).as_matrix() + np.array([300, 240, 0])
    crops = np.full((3, 48, 48), 90, np.uint8)
    inputs = point_input(crops, reference, [pixels, None, face])
    assert looked == [(MESH_VIEW, MESH_VIEW)]
    assert not inputs[1].any()
    assert inputs[[0, 2]] == pytest.approx(np.repeat(align_points(face[None], reference), 2, axis=0), abs=1e-4)
