"""Followed faces are those that detection gives, and the whole frame is searched only where it must be."""

import math

import numpy as np
import pytest
from PIL import Image

from evenface.preprocessing import track_faces
from evenface.preprocessing.detect_align import BlazeFace, Face, find_faces, square_of
from evenface.preprocessing.track_faces import RENEWED, SEARCH, FaceTracker

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
def searches(monkeypatch) -> list[tuple[Image.Image, int]]:
    """The frames that were searched as a whole, and the number of faces that were known."""
    seen: list[tuple[Image.Image, int]] = []
    search = BlazeFace.beside

    def beside(self: BlazeFace, image: Image.Image, known: list[Face]) -> list[Face]:
        seen.append((image, len(known)))
        return search(self, image, known)

    monkeypatch.setattr(BlazeFace, "beside", beside)
    return seen


def apart(face: Face, other: Face) -> float:
    """Largest distance of two corners of the crops, in sides of the face."""
    first, second = square_of(face, 0.25), square_of(other, 0.25)
    corners = [(x, y) for x in (0, 1) for y in (0, 1)]
    return max(math.dist(first.to_image(*corner), second.to_image(*corner)) for corner in corners) / face.side


def detected_alone(monkeypatch, *, faces: list[Face]) -> None:
    """Let searches find these faces, whatever is in a frame."""
    monkeypatch.setattr(BlazeFace, "beside", lambda *_: list(faces))


def test_a_face_that_does_not_move_keeps_the_box_and_eyes_of_the_detector(person, searches):
    frame, tracker = placed(person, (200, 170)), FaceTracker()
    for number in range(4):
        (face,) = tracker.at(number / 25)(frame)
        if not number:
            detected = face
        assert apart(detected, face) < 1e-6
    assert searches == [(frame, 0)]
    assert [detected] == find_faces(frame, "mediapipe")


def test_a_face_that_moves_and_tilts_is_cropped_as_detection_would(person, searches):
    tracker, differences = FaceTracker(), []
    for number in range(20):
        frame = placed(person, (150 + 9 * number, 170 + 15 * math.sin(number / 3)), turn=number)
        (face,) = tracker.at(number / 25)(frame)
        count = len(searches)
        (detected,) = find_faces(frame, "mediapipe")
        del searches[count:]
        differences.append(apart(detected, face))
    assert np.median(differences) < 0.05
    assert max(differences) < 0.12
    assert len(searches) == 1 + int(19 / 25 / SEARCH)


def test_a_moved_mesh_shifts_scales_and_turns_box_and_eyes():
    rng = np.random.default_rng(3)
    before = rng.normal(size=468) * 30 + 1j * rng.normal(size=468) * 40 + (200 + 150j)
    face = Face((150.0, 90.0, 250.0, 210.0), 0.9, ((175.0, 130.0), (225.0, 134.0)))
    scale, turn, shift = 1.3, 0.4, 25 - 12j
    meshes = [
        np.stack([z.real, z.imag, 0 * z.real], axis=1) for z in (before, before * scale * np.exp(1j * turn) + shift)
    ]
    moved = track_faces._moved_with(face, *meshes)

    def place(x: float, y: float) -> tuple[float, float]:
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        return cos * x - sin * y + shift.real, sin * x + cos * y + shift.imag

    np.testing.assert_allclose(moved.centre, place(200, 150))
    np.testing.assert_allclose([place(*eye) for eye in face.eyes], moved.eyes)
    left, top, right, bottom = moved.box
    np.testing.assert_allclose((right - left, bottom - top), (scale * 100, scale * 120))
    assert moved.score == face.score
    assert moved.mesh is meshes[1]


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
        assert searches[-1][0] is frame


@pytest.mark.parametrize("times", [(5.0, 5.01, 1.0), (0.0, 0.01, 0.02 + SEARCH)])
def test_after_a_step_back_or_a_gap_the_frame_is_searched_as_a_picture(person, searches, times):
    tracker, frames = FaceTracker(), [placed(person, (200 + x, 170)) for x in (0, 0, 9)]
    found = [tracker.at(time)(frame) for time, frame in zip(times, frames, strict=True)]
    assert [known for _, known in searches] == [0, 0]
    assert found[-1] == find_faces(frames[-1], "mediapipe")


def test_followed_faces_are_detected_again_after_a_while(person, searches):
    tracker, frame = FaceTracker(), placed(person, (200, 170))
    for number in range(int(25 * (RENEWED + SEARCH)) + 2):
        tracker.at(number / 25)(frame)
    (_, *known) = (count for _, count in searches)
    again = known.index(0)
    assert known[:again] == [1] * again
    assert again * SEARCH <= RENEWED <= (again + 1) * SEARCH + 1e-9


def test_a_face_that_searches_miss_is_followed_as_long_as_it_is_there(person, monkeypatch):
    tracker = FaceTracker()
    assert tracker.at(0)(placed(person, (200, 170)))
    detected_alone(monkeypatch, faces=[])
    for number in range(1, 40):
        (face,) = tracker.at(number / 10)(placed(person, (200 + number, 170)))
    assert math.dist(face.centre, (239, 170)) < 20
    assert not tracker.at(4)(placed(person))


def test_a_detection_without_a_mesh_is_not_followed(monkeypatch):
    wall, tracker = placed(Image.new("RGB", (192, 192))), FaceTracker()
    false = Face((100.0, 100.0, 160.0, 160.0), 0.95, ((118.0, 120.0), (142.0, 120.0)))
    detected_alone(monkeypatch, faces=[false])
    assert [tracker.at(number / 25)(wall) for number in range(3)] == [[false]] * 3
    detected_alone(monkeypatch, faces=[])
    assert tracker.at(3 / 25)(wall) == []


def test_faces_are_in_order_of_size(person):
    frame, tracker = placed(person, (150, 170)), FaceTracker()
    frame.paste(person.resize((110, 110)), (450, 100))
    for number in range(2):
        sides = [face.side for face in tracker.at(number / 25)(frame)]
        assert len(sides) == 2
        assert sides[0] > sides[1]
