"""Faces are followed through a clip, and the square about each moves as calmly as the face."""

import math

import numpy as np
import pytest
from films import about
from hypothesis import given
from hypothesis import strategies as st

from evenface.preprocessing.detect_align import Face
from evenface.preprocessing.track import (
    FASTEST,
    Track,
    choose_detection_frames,
    link_faces,
    select_tracks,
    smooth_track,
)

# --- following faces ----------------------------------------------------------------------------------------------


def test_two_faces_that_move_are_followed_and_the_main_one_is_seen_most():
    looks = [[about(100 + 5 * i, 100), about(300 - 5 * i, 100, 60)] if i < 8 else [about(100 + 5 * i, 100)]
             for i in range(12)]  # fmt: skip
    first, second = link_faces(looks)
    assert [face.centre[0] for face in first.faces.values()] == [100 + 5 * i for i in range(12)]
    assert [face.centre[0] for face in second.faces.values()] == [300 - 5 * i for i in range(8)]
    assert select_tracks([first, second], "largest") == [first]
    assert select_tracks([first, second], "all") == [first, second]
    assert select_tracks(link_faces([looks[0], *looks[8:]]), "all") == link_faces([looks[0], *looks[8:]])[:1]


def test_of_faces_seen_equally_often_the_larger_is_the_main_one():
    first, _ = link_faces([[about(100, 100), about(300, 100, 50)]] * 3)
    assert first.last.side == 50


def test_a_face_that_leaves_and_comes_back_is_one_track():
    away: list[list[Face]] = [[], [], []]
    for back in (about(110, 105, 44), about(600, 300, 50)):  # in its place, or elsewhere
        (track,) = link_faces([[about(100, 100)]] * 3 + away + [[back]] * 2)
        assert list(track.faces) == [0, 1, 2, 6, 7]
    looks = [[about(100, 100)], [], [about(600, 100)], []]
    assert len(link_faces(looks)) == 2  # once and elsewhere: more likely no face
    assert len(link_faces([[about(100, 100)]] * 3 + away + [[about(600, 300, 9)]] * 2)) == 2  # of another size
    assert len(link_faces([[about(100, 100)]] * 3 + [[about(100, 100), about(600, 300)]] * 2)) == 2  # both at once


@given(st.permutations(range(3)), st.integers(0, 2**16))
def test_the_order_in_which_a_detector_names_faces_does_not_matter(order, seed):
    random = np.random.default_rng(seed)
    ways = random.uniform(-6, 6, (3, 2))
    looks = [[about(100 + 200 * k + i * ways[k, 0], 100 + i * ways[k, 1]) for k in range(3)] for i in range(6)]
    mixed = [[look[k] for k in order] for look in looks]

    def tracks(looks):
        return {tuple(face.box for face in track.faces.values()) for track in link_faces(looks)}

    assert tracks(looks) == tracks(mixed) == {tuple(look[k].box for look in looks) for k in range(3)}


@given(st.floats(2, 60), st.integers(1, 200), st.lists(st.integers(0, 199), min_size=1, max_size=60), st.booleans())
def test_looks_are_enough_and_not_too_many(rate, count, taken, timed):
    times, wanted = np.arange(count) / rate, np.unique(np.array(taken) % count)
    looks = choose_detection_frames(times, wanted, timed=timed)
    assert (np.diff(looks) > 0).all()
    if not timed:
        assert set(wanted) <= set(looks)
        return
    assert max(np.bincount((times[looks] * FASTEST + 1e-6).astype(int))) <= 2  # one taken, one of the quarter seconds
    assert len(looks) <= (FASTEST + 4) * (times[-1] + 0.25)
    if rate <= FASTEST:
        assert set(wanted) <= set(looks)
    gaps = np.diff(np.concatenate([[0.0], times[looks], [times[-1]]]))
    assert gaps.max() <= 0.5 + 1 / rate + 1e-6


# --- the square over time -----------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.02, 0.4), min_size=2, max_size=20),
    st.floats(-100, 100),
    st.floats(-1, 1),
    st.floats(-3, 3),
)
def test_a_steady_motion_is_kept_as_it_is(steps, speed, growth, turn):
    times = np.cumsum(steps)
    track = Track({i: about(300 + speed * t, 200 - speed * t, 100 + growth * t, 0.1 * turn * t)
                   for i, t in enumerate(times)})  # fmt: skip
    motion = smooth_track(track, times, 0.25)
    for t in (*times, *(times[:-1] + times[1:]) / 2):
        square = motion.at(float(t))
        assert square.centre == pytest.approx((300 + speed * t, 200 - speed * t), abs=1e-6)
        assert square.side == pytest.approx(1.5 * (100 + growth * t), rel=1e-6)
        assert square.angle == pytest.approx(0.1 * turn * t, abs=1e-6)


def test_jitter_becomes_less_and_nothing_lags():
    random = np.random.default_rng(0)
    times = np.arange(200) / 10
    x = 300 + 40 * np.sin(times)
    motion = smooth_track(Track({i: about(x[i] + random.normal(0, 3), 200) for i in range(200)}), times, 0)
    error = motion.squares[:, 0] - x
    assert error.std() < 0.6 * 3
    assert abs(error.mean()) < 0.5


def test_a_head_that_hangs_down_does_not_spin():
    times = np.arange(10) / 10
    angles = [math.pi - 0.05 if i % 2 else -math.pi + 0.05 for i in range(10)]
    motion = smooth_track(Track({i: about(100, 100, angle=angle) for i, angle in enumerate(angles)}), times, 0)
    assert all(math.cos(motion.at(t).angle) < -0.99 for t in np.arange(0, 0.9, 0.03))


def test_where_no_face_is_the_square_stays():
    times = np.arange(8.0)
    motion = smooth_track(Track({2: about(100, 0), 3: about(110, 0), 6: about(200, 0)}), times, 0)
    assert [motion.at(t).centre[0] for t in (0, 1.9, 2, 2.5, 3, 3.4, 4, 5, 5.4, 5.6, 6, 7)] == [
        100, 100, 100, 105, 110, 110, 110, 110, 110, 200, 200, 200,
    ]  # fmt: skip
    assert motion.seen_at(np.array([0, 1.4, 1.6, 3.5, 3.6, 5.4, 5.6, 6.5, 6.6])).tolist() == [
        False, False, True, True, False, False, True, True, False,
    ]  # fmt: skip
