"""What a face shows over a clip: the course of pain, what comes beside it, expressions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.synthesis.actions import AUS, PROTOTYPES
from evenface.synthesis.clips import CLASSES, Clip, compose_clip
from evenface.synthesis.dynamics import DISTRACTORS, Course, Stray, draw_course, draw_stray, pain_manner, show
from evenface.synthesis.people import make_person

PLACES = np.linspace(0, 1, 201)

CALM = Stray("", 0.0, 0.1, 0.0, 1.0, (), (0.0,) * len(AUS))


def take(label, person=0, number=0, frames=16):
    return compose_clip(make_person(0, person), Clip(person, label, number, label), frames, 3.0)


def length_above_half(course):
    values = course.intensity(PLACES)
    return np.mean(values > values.max() / 2)


@given(st.integers(0, 10_000), st.sampled_from(["phasic", "tonic", "stimulus", "rising"]), st.floats(0.05, 1))
def test_pain_rises_to_its_peak_and_then_only_falls(seed, kind, peak):
    values = draw_course(kind, peak, np.random.default_rng(seed)).intensity(PLACES)
    top = int(values.argmax())
    assert values[0] <= 0.02 * peak
    assert values.max() == pytest.approx(peak, rel=1e-3)
    assert (np.diff(values[: top + 1]) >= -1e-12).all()
    assert (np.diff(values[top:]) <= 1e-12).all()


@given(st.integers(0, 10_000))
def test_phasic_pain_is_fast_and_short_where_tonic_is_slow_and_lasting(seed):
    rng = np.random.default_rng(seed)
    phasic, tonic = (draw_course(kind, 1.0, rng) for kind in ("phasic", "tonic"))
    assert phasic.rise < tonic.rise / 2
    assert length_above_half(phasic) < 0.3 < 0.4 < length_above_half(tonic)
    assert phasic.intensity(PLACES)[-1] < 0.01
    assert draw_course("neutral", 1.0, rng).intensity(PLACES).max() == 0


def test_a_course_is_half_risen_halfway_through_its_rise():
    course = Course(peak=0.8, start=0.2, rise=0.2, hold=0.3, fall=0.1)
    np.testing.assert_allclose(course.intensity(np.array([0.2, 0.3, 0.4, 0.6, 0.75, 0.8])), [0, 0.4, 0.8, 0.8, 0.4, 0])


def test_unknown_courses_are_refused():
    with pytest.raises(ValueError, match="phasic"):
        draw_course("chronic", 1.0, np.random.default_rng(0))


def test_without_anything_else_the_score_grows_with_the_intensity():
    for index in range(20):
        person = make_person(0, index)
        scores = [units.pspi() for units in show(person, pain_manner(person), np.linspace(0, 1, 9), CALM, 3.0)]
        assert (np.diff(scores) >= -1e-12).all()
        full = dict(zip(AUS, np.array(pain_manner(person).units) * pain_manner(person).reach, strict=True))
        rest = dict(zip(AUS, np.array(person.resting) * 0.7, strict=True))
        most = {unit: min(max(full[unit], rest[unit]), 1) for unit in AUS}
        naive = 5 * (most[4] + max(most[6], most[7]) + max(most[9], most[10])) + most[43]
        assert scores[-1] == pytest.approx(naive)


def test_people_differ_in_where_and_how_strongly_they_show_pain():
    people = [make_person(0, index) for index in range(200)]
    manners = [pain_manner(person) for person in people]
    assert manners == [pain_manner(make_person(0, index)) for index in range(200)]
    units = np.array([manner.units for manner in manners])
    of = {unit: units[:, AUS.index(unit)] for unit in AUS}
    facets = np.stack([of[4], np.maximum(of[6], of[7]), np.maximum(of[9], of[10])])
    assert set(facets.argmax(0)) == {0, 1, 2}
    assert min(facets[row].max() - facets[row].min() for row in range(3)) > 0.4
    assert facets.sum(0).min() > 1.7
    assert facets.sum(0).max() <= 2.1 + 1e-9
    reach = np.array([manner.reach for manner in manners])
    assert 0.02 < np.mean(reach < 0.5) < 0.25
    assert reach.min() >= 0.2
    assert reach.max() <= 1.2


def test_levels_raise_the_pain_and_distractors_come_at_any_of_them():
    takes = {level: [take(level, person) for person in range(60)] for level in CLASSES["level"]}
    peaks = {level: np.array([one.intensity.max() for one in own]) for level, own in takes.items()}
    assert (peaks["0"] == 0).all()
    for level in "1234":
        assert peaks[level].mean() == pytest.approx(int(level) / 4, abs=0.04)
    for own in takes.values():
        assert {one.stray.kind for one in own} == {"", *DISTRACTORS}
    score = {level: np.mean([max(s.units.pspi() for s in one.states) for one in own]) for level, own in takes.items()}
    assert sorted(score, key=score.get) == list("01234")


@given(st.integers(0, 10_000))
def test_what_comes_beside_pain_stays_within_the_face_and_the_clip(seed):
    person = make_person(0, seed % 7)
    stray = draw_stray(person, 5.0, np.random.default_rng(seed))
    assert all(0 <= blink <= 5 for blink in stray.blinks)
    for units in show(person, pain_manner(person), np.ones(20), stray, 5.0):
        assert units.values.min() >= 0
        assert units.values.max() <= 1


def test_a_blink_shuts_the_eyes_at_its_time_only():
    blinking = Stray("", 0.0, 0.1, 0.0, 1.0, (2.05,), (0.0,) * len(AUS))
    person = make_person(0, 0)
    shut = np.array([units.intensity(43) for units in show(person, pain_manner(person), np.zeros(40), blinking, 4.0)])
    rest = person.resting[AUS.index(43)] * 0.7
    assert shut[20] == 1.0
    assert shut[[*range(17), *range(24, 40)]] == pytest.approx(rest)


def test_heads_move_slowly():
    yaws = np.array([[state.pose.yaw for state in take("4", person).states] for person in range(40)])
    assert 0.5 < np.abs(np.diff(yaws, axis=1)).mean() < 2.5
    assert np.ptp(yaws, axis=1).mean() > 2


def test_an_expression_rises_from_the_calm_face_to_its_peak_and_stays():
    for label in CLASSES["expression"]:
        takes = [take(label, person, frames=10) for person in range(30)]
        shown = np.array([one.intensity for one in takes])
        assert (np.diff(shown, axis=1) >= 0).all()
        assert (shown[:, 0] < 0.03).all()
        np.testing.assert_allclose(shown[:, -1], [one.course.peak for one in takes], rtol=1e-9)
        assert shown[:, -1].min() > 0.6
        assert {one.stray.kind for one in takes} == {"", *DISTRACTORS}
        assert len({one.manner.reach for one in takes}) > 20


def test_at_its_peak_an_expression_is_told_by_its_units():
    # The distance to the nearest prototype tells nearly all of them, distractors or not: the label is on the face.
    right = []
    for label in CLASSES["expression"]:
        for person in range(30):
            units = take(label, person).states[-1].units.values.mean(1)
            near = {
                name: min(
                    np.linalg.norm(units - [variant.get(unit, 0) for unit in AUS]) for variant in PROTOTYPES[name]
                )
                for name in CLASSES["expression"]
            }
            right.append(min(near, key=near.get) == label)
    assert np.mean(right) > 0.9
