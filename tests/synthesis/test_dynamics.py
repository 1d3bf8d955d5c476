"""Action units over a clip: intensity profiles of pain and emotions, individual styles, distractors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.synthesis.actions import AUS, PROTOTYPES
from evenface.synthesis.clips import CLASSES, Clip, compose_clip
from evenface.synthesis.dynamics import (
    DISTRACTORS,
    Distractors,
    IntensityProfile,
    action_unit_sequence,
    draw_distractors,
    draw_profile,
    pain_style,
)
from evenface.synthesis.people import make_person

TIMES = np.linspace(0, 1, 201)

NO_DISTRACTORS = Distractors("", 0.0, 0.1, 0.0, 1.0, (), (0.0,) * len(AUS))


def animate(label, person=0, number=0, frames=16):
    return compose_clip(make_person(0, person), Clip(person, label, number, label), frames, 3.0)


def length_above_half(profile):
    values = profile.intensity(TIMES)
    return np.mean(values > values.max() / 2)


@given(st.integers(0, 10_000), st.sampled_from(["phasic", "tonic", "stimulus", "rising"]), st.floats(0.05, 1))
def test_pain_rises_to_its_peak_and_then_only_falls(seed, kind, peak):
    values = draw_profile(kind, peak, np.random.default_rng(seed)).intensity(TIMES)
    top = int(values.argmax())
    assert values[0] <= 0.02 * peak
    assert values.max() == pytest.approx(peak, rel=1e-3)
    assert (np.diff(values[: top + 1]) >= -1e-12).all()
    assert (np.diff(values[top:]) <= 1e-12).all()


@given(st.integers(0, 10_000))
def test_phasic_pain_is_fast_and_short_where_tonic_is_slow_and_lasting(seed):
    rng = np.random.default_rng(seed)
    phasic, tonic = (draw_profile(kind, 1.0, rng) for kind in ("phasic", "tonic"))
    assert phasic.rise < tonic.rise / 2
    assert length_above_half(phasic) < 0.3 < 0.4 < length_above_half(tonic)
    assert phasic.intensity(TIMES)[-1] < 0.01
    assert draw_profile("neutral", 1.0, rng).intensity(TIMES).max() == 0


def test_a_profile_is_half_risen_halfway_through_its_rise():
    profile = IntensityProfile(peak=0.8, start=0.2, rise=0.2, hold=0.3, fall=0.1)
    np.testing.assert_allclose(profile.intensity(np.array([0.2, 0.3, 0.4, 0.6, 0.75, 0.8])), [0, 0.4, 0.8, 0.8, 0.4, 0])


def test_unknown_profiles_are_refused():
    with pytest.raises(ValueError, match="phasic"):
        draw_profile("chronic", 1.0, np.random.default_rng(0))


def test_without_distractors_the_score_grows_with_the_intensity():
    for index in range(20):
        person = make_person(0, index)
        scores = [
            units.pspi()
            for units in action_unit_sequence(person, pain_style(person), np.linspace(0, 1, 9), NO_DISTRACTORS, 3.0)
        ]
        assert (np.diff(scores) >= -1e-12).all()
        full = dict(zip(AUS, np.array(pain_style(person).units) * pain_style(person).amplitude, strict=True))
        rest = dict(zip(AUS, np.array(person.resting) * 0.7, strict=True))
        most = {unit: min(max(full[unit], rest[unit]), 1) for unit in AUS}
        naive = 5 * (most[4] + max(most[6], most[7]) + max(most[9], most[10])) + most[43]
        assert scores[-1] == pytest.approx(naive)


def test_people_differ_in_pattern_and_amplitude_of_pain():
    people = [make_person(0, index) for index in range(200)]
    styles = [pain_style(person) for person in people]
    assert styles == [pain_style(make_person(0, index)) for index in range(200)]
    units = np.array([style.units for style in styles])
    of = {unit: units[:, AUS.index(unit)] for unit in AUS}
    facets = np.stack([of[4], np.maximum(of[6], of[7]), np.maximum(of[9], of[10])])
    assert set(facets.argmax(0)) == {0, 1, 2}
    assert min(facets[row].max() - facets[row].min() for row in range(3)) > 0.4
    assert facets.sum(0).min() > 1.7
    assert facets.sum(0).max() <= 2.1 + 1e-9
    amplitude = np.array([style.amplitude for style in styles])
    assert 0.02 < np.mean(amplitude < 0.5) < 0.25
    assert amplitude.min() >= 0.2
    assert amplitude.max() <= 1.2


def test_levels_raise_the_pain_and_distractors_are_independent():
    animations = {level: [animate(level, person) for person in range(60)] for level in CLASSES["level"]}
    peaks = {level: np.array([animation.intensity.max() for animation in own]) for level, own in animations.items()}
    assert (peaks["0"] == 0).all()
    for level in "1234":
        assert peaks[level].mean() == pytest.approx(int(level) / 4, abs=0.04)
    for own in animations.values():
        assert {animation.distractors.kind for animation in own} == {"", *DISTRACTORS}
    score = {
        level: np.mean([max(s.units.pspi() for s in animation.states) for animation in own])
        for level, own in animations.items()
    }
    assert sorted(score, key=score.get) == list("01234")


@given(st.integers(0, 10_000))
def test_distractors_stay_within_the_range_of_units_and_the_clip(seed):
    person = make_person(0, seed % 7)
    distractors = draw_distractors(person, 5.0, np.random.default_rng(seed))
    assert all(0 <= blink <= 5 for blink in distractors.blinks)
    for units in action_unit_sequence(person, pain_style(person), np.ones(20), distractors, 5.0):
        assert units.values.min() >= 0
        assert units.values.max() <= 1


def test_a_blink_shuts_the_eyes_at_its_time_only():
    blinking = Distractors("", 0.0, 0.1, 0.0, 1.0, (2.05,), (0.0,) * len(AUS))
    person = make_person(0, 0)
    shut = np.array(
        [units.intensity(43) for units in action_unit_sequence(person, pain_style(person), np.zeros(40), blinking, 4.0)]
    )
    rest = person.resting[AUS.index(43)] * 0.7
    assert shut[20] == 1.0
    assert shut[[*range(17), *range(24, 40)]] == pytest.approx(rest)


def test_heads_move_slowly():
    yaws = np.array([[state.pose.yaw for state in animate("4", person).states] for person in range(40)])
    assert 0.5 < np.abs(np.diff(yaws, axis=1)).mean() < 2.5
    assert np.ptp(yaws, axis=1).mean() > 2


def test_an_expression_rises_from_neutral_to_its_peak_and_stays():
    for label in CLASSES["expression"]:
        animations = [animate(label, person, frames=10) for person in range(30)]
        shown = np.array([animation.intensity for animation in animations])
        assert (np.diff(shown, axis=1) >= 0).all()
        assert (shown[:, 0] < 0.03).all()
        np.testing.assert_allclose(shown[:, -1], [animation.profile.peak for animation in animations], rtol=1e-9)
        assert shown[:, -1].min() > 0.6
        assert {animation.distractors.kind for animation in animations} == {"", *DISTRACTORS}
        assert len({animation.style.amplitude for animation in animations}) > 20


def test_at_its_peak_an_expression_is_recognised_by_its_units():
    # The nearest prototype identifies nearly all of them despite distractors, so the label is visible in the face.
    right = []
    for label in CLASSES["expression"]:
        for person in range(30):
            units = animate(label, person).states[-1].units.values.mean(1)
            near = {
                name: min(
                    np.linalg.norm(units - [variant.get(unit, 0) for unit in AUS]) for variant in PROTOTYPES[name]
                )
                for name in CLASSES["expression"]
            }
            right.append(min(near, key=near.get) == label)
    assert np.mean(right) > 0.9
