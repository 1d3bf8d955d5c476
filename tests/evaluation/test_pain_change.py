"""Pain as change: the published sum, and the person's own baseline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.data.datasets.unbc import prkachin_solomon
from evenface.evaluation.pain_change import pain_change, pspi_like
from evenface.synthesis.actions import action_units
from evenface.utils.errors import InputError

UNITS = (4, 6, 7, 9, 10, 43)


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_it_is_the_pspi_of_drawn_people(strengths):
    drawn = action_units(dict(zip(UNITS, strengths, strict=True)))
    scale = dict.fromkeys(UNITS, 5) | {43: 1}
    units = {f"AU{unit}": np.array([scale[unit] * value]) for unit, value in zip(UNITS, strengths, strict=True)}
    assert pspi_like(units)[0] == pytest.approx(drawn.pspi())
    assert 0 <= pspi_like(units)[0] <= 16


def test_printed_example_of_prkachin_and_solomon():
    """A face coded AU4B + AU6E + AU7C + AU9D + AU43 has 2 + max(5, 3) + 4 + 1."""
    face = {"AU4": 2, "AU6": 5, "AU7": 3, "AU9": 4, "AU10": 0, "AU43": 1}
    assert pspi_like({name: np.array([float(value)]) for name, value in face.items()})[0] == 12


def test_either_of_a_pair_will_do_and_without_one_it_is_refused():
    units = {"AU4": np.ones(2), "AU7": np.ones(2), "AU10": np.ones(2)}
    assert pspi_like(units).tolist() == [3, 3]
    with pytest.raises(InputError, match="needs the intensity of AU9 or AU10; the model has AU4, AU6"):
        pspi_like({"AU4": np.ones(2), "AU6": np.ones(2)})


def test_it_is_the_pspi_that_frames_of_unbc_are_checked_against():
    codes = {4: 2.0, 6: 1.0, 7: 3.0, 9: 0.0, 10: 1.0, 43: 1.0}
    units = {f"AU{unit}": np.array([value]) for unit, value in codes.items()}
    assert pspi_like(units)[0] == prkachin_solomon(codes)


def test_values_beyond_the_scale_are_cut():
    assert pspi_like({"AU4": np.array([-1.0]), "AU6": np.array([9.0]), "AU9": np.array([0.0])})[0] == 5


@given(st.lists(st.floats(0, 16), min_size=8, max_size=50), st.floats(-3, 3))
def test_a_constant_of_the_person_does_not_matter(values, shift):
    score = np.array(values)
    np.testing.assert_allclose(pain_change(score + shift), pain_change(score), atol=1e-9)
    below = int((pain_change(score) < -1e-12).sum())
    assert below <= 0.1 * (len(score) - 1) + 1


def test_a_baseline_that_is_given_is_subtracted_and_missing_frames_stay_missing():
    score = np.array([1.0, np.nan, 5.0])
    np.testing.assert_array_equal(pain_change(score, 1.0), [0, np.nan, 4])
    assert np.isnan(pain_change(score)).all()  # too few frames to find a baseline in
