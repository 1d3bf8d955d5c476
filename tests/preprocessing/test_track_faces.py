"""Followed faces are those that detection gives, and the whole frame is searched only where it must be."""

import math

import numpy as np
import pytest
from PIL import Image

from evenface.preprocessing import track_faces
from evenface.preprocessing.detect_align import Face, find_faces, square_of
from evenface.preprocessing.track_faces import KEPT, SEARCH, FaceTracker

SIDE = 360


@pytest.fixture(scope="module")
def person() -> Image.Image:
    from evenface.synthesis.images import FacePlan, compose_face
    from evenface.synthesis.people import make_person
    from evenface.synthesis.renderer import Renderer

    one = make_person(5, 1)
    state, scene = compose_face(one, FacePlan(1, "happy", 0))
    return Image.fromarray(Renderer(192).render(one, [state], scene)[0])


def placed(person: Image.Image, *places: tuple[float, float], turn: float = 0.0) -> Image.Image:
    """A grey frame with the person at each place, to a part of a pixel, turned by degrees."""
    frame = Image.new("RGB", (640, SIDE), (120, 124, 120))
    mask = Image.fromarray(np.uint8(np.hypot(*(np.indices((192, 192)) - 95.5)) < 94) * 255)
    for x, y in places:
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        matrix = cos, sin, 96 - cos * x - sin * y, -sin, cos, 96 + sin * x - cos * y
        moved = [
            one.transform(frame.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
            for one in (person, mask)
        ]
        frame.paste(moved[0], (0, 0), moved[1])
    return frame


@pytest.fixture
def searches(monkeypatch) -> list[Image.Image]:
    """The frames that were searched as a whole."""
    seen: list[Image.Image] = []

    def find(image: Image.Image, detector: str) -> list[Face]:
        seen.append(image)
        return find_faces(image, detector)

    monkeypatch.setattr(track_faces, "find_faces", find)
    return seen


def apart(face: Face, other: Face) -> float:
    """Largest distance of two corners of the crops, in sides of the face."""
    first, second = square_of(face, 0.25), square_of(other, 0.25)
    corners = [(x, y) for x in (0, 1) for y in (0, 1)]
    return max(math.dist(first.to_image(*corner), second.to_image(*corner)) for corner in corners) / face.side


def test_a_face_that_does_not_move_keeps_the_box_and_eyes_of_the_detector(person, searches):
    frame, tracker = placed(person, (200, 170)), FaceTracker()
    (detected,) = find_faces(frame, "mediapipe")
    for number in range(4):
        (face,) = tracker.at(number / 25)(frame)
        np.testing.assert_allclose([*face.box, *np.ravel(face.eyes)], [*detected.box, *np.ravel(detected.eyes)], atol=6)
        assert apart(detected, face) < 1e-6
    assert len(searches) == 1


def test_a_face_that_moves_and_tilts_is_cropped_as_detection_would(person, searches):
    tracker, differences = FaceTracker(), []
    for number in range(20):
        frame = placed(person, (150 + 9 * number, 170 + 15 * math.sin(number / 3)), turn=number)
        (face,), (detected,) = tracker.at(number / 25)(frame), find_faces(frame, "mediapipe")
        differences.append(apart(detected, face))
    assert np.median(differences) < 0.05
    assert max(differences) < 0.12
    assert len(searches) == 1 + int(19 / 25 / SEARCH)


def test_a_face_that_comes_is_found_by_the_next_search(person, searches):
    tracker, counts = FaceTracker(), []
    for number in range(14):
        places = [(150, 170), (450, 170)] if number >= 2 else [(150, 170)]
        counts.append(len(tracker.at(number / 25)(placed(person, *places))))
    late = math.ceil(SEARCH * 25)
    assert counts == [1] * late + [2] * (14 - late)


def test_a_face_that_jumps_or_leaves_is_searched_at_once(person, searches):
    tracker = FaceTracker()
    for number, places in enumerate([[(150, 170)], [(450, 170)], [], [], [(150, 170)]]):
        frame = placed(person, *places)
        assert len(tracker.at(number / 25)(frame)) == len(places)
        assert searches[-1] is frame


def test_a_time_before_the_last_one_starts_a_search(person, searches):
    tracker, frame = FaceTracker(), placed(person, (200, 170))
    for time in (5.0, 5.01, 1.0):
        tracker.at(time)(frame)
    assert len(searches) == 2


def test_a_face_that_searches_miss_is_followed_for_a_while(person, monkeypatch):
    frame, tracker = placed(person, (200, 170)), FaceTracker()
    assert tracker.at(0)(frame)
    monkeypatch.setattr(track_faces, "find_faces", lambda *_: [])
    seen = [bool(tracker.at(number / 10)(frame)) for number in range(1, 20)]
    assert all(seen[: int(KEPT * 10) - 1])
    assert not any(seen[math.ceil((KEPT + SEARCH) * 10) :])


def test_faces_are_in_order_of_size(person):
    frame, tracker = placed(person, (150, 170)), FaceTracker()
    frame.paste(person.resize((110, 110)), (450, 100))
    for number in range(2):
        sides = [face.side for face in tracker.at(number / 25)(frame)]
        assert len(sides) == 2
        assert sides[0] > sides[1]
