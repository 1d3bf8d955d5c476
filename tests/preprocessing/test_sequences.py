"""Which frames of a sequence are taken, and what position, scale and roll of a head leave."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numbered import manifest_of, numbers_of, stored

from evenface.config.recipe import MissingFaces, Sequences
from evenface.preprocessing.frame_sampling import hold_last_face, sample_positions, sample_sequence
from evenface.preprocessing.landmarks import NAMES, blendshapes, normalised
from evenface.preprocessing.target import SequenceSpec
from evenface.training.batches import chosen_frames
from evenface.utils.errors import InputError

# --- which frames -------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from(["uniform", "paper"]), st.booleans())
def test_frames_are_taken_as_a_loop_over_the_definition_takes_them(count, frames, take, literal):
    values = numbers_of(count, 3, 2, seed=count)
    got = sample_sequence(values, frames, take, "repeat" if literal else "interpolate")
    for h in range(1, frames + 1):
        if count < frames and not literal:
            place = (h - 1) * (count - 1) / (frames - 1) if frames > 1 else 0.0
            low, share = int(place), place - int(place)
            wanted = values[low] if not share else (1 - share) * values[low] + share * values[low + 1]
        elif take == "paper":
            wanted = values[count - (frames - h) * math.floor(count / frames) - 1]
        elif count < frames:
            wanted = values[min(h, count) - 1]
        else:
            wanted = values[int(chosen_frames(count, frames)[h - 1])]
        np.testing.assert_allclose(got[h - 1], wanted, atol=1e-6)


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from(["uniform", "paper"]))
def test_places_rise_lie_within_and_end_where_they_must(count, frames, take):
    where = sample_positions(count, frames, take)
    assert (np.diff(where) >= 0).all()
    assert where.min() >= 0
    assert where.max() <= count - 1
    if take == "paper" and frames > 1:
        assert where[-1] == count - 1


def test_a_frame_without_a_face_has_the_last_one_or_the_first():
    values = np.arange(6.0)[:, None, None]
    seen = np.array([False, True, False, False, True, False])
    assert hold_last_face(values, seen)[:, 0, 0].tolist() == [1, 1, 1, 1, 4, 4]


# --- position, scale, roll ----------------------------------------------------------------------------------------


def moved(points: np.ndarray, shift: tuple[float, float], scale: float, angle: float) -> np.ndarray:
    result = points.copy()
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = points[..., 0] * scale, points[..., 1] * scale
    result[..., 0], result[..., 1] = cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]
    result[..., 2] = points[..., 2] * scale
    return result


@given(st.sampled_from([("mesh-468", 468), ("dlib-68", 68)]), st.floats(-3, 3), st.floats(0.3, 4), st.floats(-3, 3))
def test_normalised_points_do_not_know_where_the_head_was(kind, shift, scale, angle):
    points = numbers_of(3, kind[1], 3, seed=1)
    forms = {how: normalised(points, kind[0], how) for how in ("position", "scale", "roll")}
    for how, form in forms.items():
        changed = moved(points, (shift, 2 * shift), 1 if how == "position" else scale, angle if how == "roll" else 0)
        np.testing.assert_allclose(normalised(changed, kind[0], how)[..., :2], form[..., :2], atol=2e-3)
    right, left = ((36, 39), (42, 45)) if kind[1] == 68 else ((33, 133), (362, 263))
    eyes = [forms["roll"][:, ends].mean(axis=1)[:, :2] for ends in (right, left)]
    np.testing.assert_allclose(eyes[0], [[-0.5, 0]] * 3, atol=1e-5)
    np.testing.assert_allclose(eyes[1], [[0.5, 0]] * 3, atol=1e-5)


def test_what_is_no_face_is_not_normalised():
    with pytest.raises(InputError, match="normalise: roll needs face landmarks, and these"):
        SequenceSpec.build(Sequences(normalise="roll"), MissingFaces(), origin="files", points="openface-aus")
    with pytest.raises(InputError, match="measured on MediaPipe's points"):
        SequenceSpec.build(Sequences(blendshapes=True), MissingFaces(), origin="files", points="dlib-68")
    with pytest.raises(InputError, match="there is no z in features"):
        SequenceSpec.build(Sequences(depth=True), MissingFaces(), origin="files", points="features")


def test_openings_follow_the_face_and_not_its_place():
    points = numbers_of(2, 468, 3, seed=2)
    before = dict(zip(NAMES, blendshapes(points)[..., 0].T, strict=True))
    there = blendshapes(moved(points, (5.0, -2.0), 3.0, 1.0))
    np.testing.assert_allclose(there[..., 0].T, list(before.values()), atol=1e-3)
    points[:, 159] = points[:, 145]  # the lid meets the other one
    points[:, 291, 1] = points[:, 13, 1] = points[:, 14, 1]
    after = dict(zip(NAMES, blendshapes(points)[..., 0].T, strict=True))
    np.testing.assert_allclose(after["right_eye_open"], 0, atol=1e-6)
    np.testing.assert_allclose(after["left_eye_open"], before["left_eye_open"], atol=1e-6)
    assert (after["right_eye_open"] != before["right_eye_open"]).all()


@given(st.integers(1, 40), st.integers(1, 12))
def test_means_are_those_of_equal_stretches(count, frames):
    sequence = np.random.default_rng(count).normal(size=(count, 3, 2)).astype(np.float32)
    got = sample_sequence(sequence, frames, "mean")
    if count < frames:
        np.testing.assert_array_equal(got, sample_sequence(sequence, frames))
        return
    for place in range(frames):
        frame = sequence[place * count // frames : (place + 1) * count // frames]
        np.testing.assert_allclose(got[place], frame.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_means_are_of_files_alone(tmp_path):
    values = numbers_of(7, 3)
    np.save(tmp_path / "a.npy", values)
    store = stored(tmp_path, manifest_of(tmp_path, ["a.npy"]), frames=1, sampling="mean")
    np.testing.assert_allclose(store.sequences[0, 0, :, 0], values.mean(axis=0), rtol=1e-6)
    with pytest.raises(InputError, match="sampling: mean needs the numbers of every frame"):
        stored(tmp_path, manifest_of(tmp_path, ["a.csv"], content="clips"), sampling="mean")
