"""Varied images: strong expressions, children, things on and before the face."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from evenface.preprocessing.detect_align import find_faces
from evenface.synthesis.actions import AUS, LABELS, action_units
from evenface.synthesis.geometry import State, build_head, deform
from evenface.synthesis.head import PARTS, load_head
from evenface.synthesis.images import draw_faces
from evenface.synthesis.people import make_person
from evenface.synthesis.props import Cover, Glasses, Hand, Props
from evenface.synthesis.renderer import Renderer, Scene
from evenface.synthesis.variety import (
    HAND_SHARES,
    TIGHT_SCALE,
    TIGHT_SHIFT,
    VARIANTS,
    compose_varied_face,
    draw_mixed_units,
    draw_props,
    vary_person,
)


def rows_of(part):
    return load_head().parts_of_vertices == PARTS.index(part)


@pytest.mark.parametrize("label", LABELS)
def test_units_stay_in_their_range_and_the_expression_is_stronger_than_the_rest(label):
    drawn = [compose_varied_face(make_person(0, number), label, number)[0].units.values for number in range(150)]
    mean = dict(zip(AUS, np.mean(drawn, axis=(0, 2)), strict=True))
    assert np.min(drawn) >= 0
    assert np.max(drawn) <= 1
    shown = [
        unit
        for unit in AUS
        if np.average(
            [variant.get(unit, 0) for _, variant in VARIANTS[label]], weights=[share for share, _ in VARIANTS[label]]
        )
        > 0.5
    ]
    assert all(mean[unit] > 0.2 for unit in shown)
    assert all(mean[unit] < 0.25 for unit in AUS if all(unit not in variant for _, variant in VARIANTS[label]))


def test_the_same_sample_is_the_same_whenever_drawn():
    person = vary_person(make_person(3, 5))
    assert person == vary_person(make_person(3, 5))
    first, second = (compose_varied_face(person, "fear", 2) for _ in range(2))
    np.testing.assert_array_equal(first[0].units.values, second[0].units.values)
    assert first[1] == second[1]


@pytest.mark.parametrize(("unit", "axis", "sign"), [(1, 1, 1), (4, 1, -1), (15, 1, -1), (26, 1, -1), (12, 1, 1)])
def test_strong_units_move_further_the_same_way(unit, axis, sign):
    geometry = build_head(make_person(0, 4))
    rest, weak, strong = (
        deform(geometry, state)
        for state in (State(), State(action_units({unit: 1.0})), State(action_units({unit: 1.0}), strong=True))
    )
    moved = weak - rest
    at = np.argmax(sign * moved[:, axis] * rows_of("skin"))
    assert sign * (strong - rest)[at, axis] > 1.05 * sign * moved[at, axis] > 0


def test_a_smile_with_parted_lips_shows_the_upper_teeth():
    renderer, person = Renderer(96), replace(make_person(0, 24), beard=0.0)
    weak, strong = (
        renderer.render(person, [State(action_units({12: 1.0, 25: 1.0}), strong=strong)])[0].min(-1)
        for strong in (False, True)
    )
    mouth = np.s_[60:80, 34:62]
    assert (strong[mouth] > 190).sum() > (weak[mouth] > 190).sum() + 20


def test_some_people_are_children():
    drawn = [make_person(0, index) for index in range(300)]
    children = [vary_person(person) for person in drawn]
    chosen = [child for child in children if dict(child.shape)["head-age"] < -0.3 and not child.beard]
    assert 0.1 < np.mean([child.age == 18.0 for child in children]) < 0.3
    assert all(dict(child.shape)["eye-scale"] > 0.3 for child in children if child.age == 18.0)
    assert chosen


def changed(props):
    renderer, person = Renderer(64), make_person(0, 24)
    bare, worn = (renderer.render(person, [State()], Scene(props=own))[0].astype(int) for own in (Props(), props))
    return np.abs(worn - bare).sum(-1) > 40


def test_glasses_darken_the_rims_around_both_eyes():
    change = changed(Props(glasses=Glasses(rim=0.15)))
    assert 20 < change.sum() < 500
    rows, columns = np.nonzero(change)
    assert 22 < np.median(rows) < 36
    assert (columns < 30).any()
    assert (columns > 34).any()


def test_a_hat_covers_the_forehead_and_no_more():
    rows, _ = np.nonzero(changed(Props(cover=Cover(7.7, colour=(0.9, 0.0, 0.0)))))
    assert rows.max() < 28
    around, _ = np.nonzero(changed(Props(cover=Cover(7.7, True, colour=(0.9, 0.0, 0.0)))))
    assert around.max() > 40


def test_a_hand_covers_its_side_of_the_face():
    _, left = np.nonzero(changed(Props(hand=Hand(at=(0.5, 6.8), angle=90))))
    _, right = np.nonzero(changed(Props(hand=Hand(at=(-0.5, 6.8), angle=90))))
    assert right.mean() < 32 < left.mean()


def test_hands_are_drawn_at_the_rate_of_the_class():
    rng = np.random.default_rng(0)
    for label in ("fear", "happy"):
        share = np.mean([draw_props(label, rng).hand is not None for _ in range(2000)])
        assert share == pytest.approx(HAND_SHARES[label], abs=0.03)


def test_tight_faces_are_varied_ones_enlarged_about_the_middle():
    varied, tight = (draw_faces({"neutral": 3}, people=3, size=96, look=look) for look in ("varied", "tight"))
    distances, heights = [], []
    for one, other in zip(varied.images, tight.images, strict=True):
        eyes = [np.array(find_faces(Image.fromarray(image), "mediapipe")[0].eyes) / 96 for image in (one, other)]
        distances.append(np.linalg.norm(eyes[1][0] - eyes[1][1]) / np.linalg.norm(eyes[0][0] - eyes[0][1]))
        heights.append(eyes[1][:, 1].mean() - (0.5 + TIGHT_SCALE * (eyes[0][:, 1].mean() - 0.5)))
    assert np.median(distances) == pytest.approx(TIGHT_SCALE, rel=0.03)
    assert np.median(heights) == pytest.approx(TIGHT_SHIFT, abs=0.01)


def test_of_mixed_units_each_occurs_without_each_other_and_none_is_out_of_range():
    drawn = np.stack(
        [draw_mixed_units(make_person(0, row), np.random.default_rng(row)).values.mean(axis=1) for row in range(1200)]
    )
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    strong, weak = drawn > 0.3, drawn < 0.15
    alone = strong.astype(int).T @ weak.astype(int)  # (unit that shows, unit that does not)
    np.fill_diagonal(alone, 1)
    parted = AUS.index(25), AUS.index(26)
    assert alone[parted[1], parted[0]] < alone[parted[0], parted[1]], "a dropped jaw nearly always parts the lips"
    alone[parted[1], parted[0]] = 1
    assert alone.min() >= 1
    closed = drawn[:, AUS.index(43)] > 0.9
    assert drawn[closed, AUS.index(5)].max(initial=0) < 0.11
