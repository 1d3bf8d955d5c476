"""Head pose: exact for the reference itself, invariant to what is not a rotation, and right on synthetic people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from evenface.config.recipe import FaceCrop
from evenface.preprocessing.detect_align import find_faces, square_of
from evenface.preprocessing.face_mesh import find_points
from evenface.preprocessing.head_pose import REFERENCE, best_rotation, head_pose
from evenface.preprocessing.target import MESH_MARGIN
from evenface.synthesis.geometry import Pose, State
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer, Scene

IMAGE_AXES = np.array([1, -1, -1])
ANGLES = st.tuples(st.floats(-85, 85), st.floats(-80, 80), st.floats(-170, 170))


def reference():
    return np.load(REFERENCE).astype(float)


@given(ANGLES, st.floats(0.1, 1000), st.tuples(*[st.floats(-500, 500)] * 3))
def test_the_pose_of_a_turned_scaled_and_moved_reference_is_that_it_was_turned_by(angles, scale, shift):
    turned = reference()[:, :3] @ Pose(*angles).matrix().astype(float).T
    points = (turned * scale + shift) * IMAGE_AXES
    np.testing.assert_allclose(head_pose(points), angles, atol=0.02)


def test_the_rotation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    model, weights = rng.normal(size=(30, 3)), rng.random(30)
    seen = model @ Rotation.from_euler("xyz", [20, -30, 10], degrees=True).as_matrix().T + rng.normal(0, 0.1, (30, 3))
    centred = [array - weights @ array / weights.sum() for array in (seen, model)]
    expected, _ = Rotation.align_vectors(*centred, weights=weights)
    np.testing.assert_allclose(best_rotation(seen, np.column_stack([model, weights])), expected.as_matrix(), atol=1e-9)


def test_reflections_are_not_rotations():
    mirrored = reference()[:, :3] * [1, 1, -1]
    assert np.linalg.det(best_rotation(mirrored, reference())) == pytest.approx(1)


def drawn(pose):
    """A person at a pose, looked at straight."""
    person = make_person(5, 1)
    face = Renderer(256).render(person, [State(pose=pose)], Scene(aim=pose, zoom=0.9))[0]
    return Image.fromarray(face)


@pytest.mark.parametrize("pose", [Pose(), Pose(yaw=30), Pose(pitch=-15), Pose(roll=20), Pose(-25, 12, -15)])
def test_the_pose_of_drawn_people_is_the_one_they_were_drawn_with(pose):
    picture = drawn(pose)
    points = find_points(picture, square_of(find_faces(picture, FaceCrop().detector)[0], MESH_MARGIN))
    np.testing.assert_allclose(head_pose(points), (pose.yaw, pose.pitch, pose.roll), atol=10)
