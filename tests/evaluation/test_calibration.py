"""Temperatures: the optimum that others find, what they change and what they leave."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import TRAINED, gaussians, matrices, posterior, sample, softmax
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss as their_log_loss

from evenface.evaluation.calibration import calibrated, fit_balance, fit_temperature, tempered
from evenface.evaluation.probability_metrics import shares
from evenface.utils.errors import InputError


def test_tempering_divides_logits_row_by_row():
    z = np.random.default_rng(0).normal(size=(20, 4))
    np.testing.assert_allclose(tempered(softmax(z), 1.7), softmax(z / 1.7), atol=1e-12)
    s = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(tempered(s, 1.7, "scores"), 1 / (1 + np.exp(-z / 1.7)), atol=1e-12)
    np.testing.assert_allclose(calibrated(s, 1.0, "scores"), shares(s), atol=1e-9)


@given(matrices, st.floats(0.05, 20))
@settings(max_examples=30, deadline=None)
def test_a_temperature_never_changes_the_class(batch, temperature):
    p, _ = batch
    after = tempered(p, temperature)
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert (np.take_along_axis(after, p.argmax(axis=1)[:, None], 1)[:, 0] >= after.max(axis=1) - 1e-12).all()


def test_certainty_of_exactly_zero_and_one_stays_finite():
    for of in ("probabilities", "scores"):
        assert np.isfinite(tempered(np.array([[1.0, 0.0]]), 3.0, of)).all()
    with pytest.raises(InputError, match="above 0"):
        tempered(np.ones((1, 2)), 0.0)


@pytest.mark.parametrize("of", ["probabilities", "scores"])
def test_the_temperature_is_the_optimum_that_others_find(of):
    p, y = sample(800, seed=3)
    said = (
        tempered(p, 0.5)
        if of == "probabilities"
        else 1 / (1 + np.exp(-3 * np.random.default_rng(1).normal(size=p.shape)))
    )

    def loss(t):
        after = softmax(np.log(said) / t) if of == "probabilities" else shares(1 / (1 + (1 / said - 1) ** (1 / t)))
        return their_log_loss(y, after, labels=[0, 1, 2])

    by_grid = min(np.exp(np.linspace(np.log(0.05), np.log(20), 501)), key=loss)
    found = fit_temperature(said, y, of=of)
    assert found == pytest.approx(by_grid, rel=0.013)  # the grid's step
    if of == "probabilities":
        assert found == pytest.approx(minimize_scalar(loss, bounds=(0.5, 5), method="bounded").x, rel=1e-3)


def test_probabilities_that_hold_keep_a_temperature_of_one_and_surer_ones_get_theirs_back():
    p, y = sample(40_000, seed=5)
    assert fit_temperature(p, y) == pytest.approx(1, abs=0.02)
    assert fit_temperature(tempered(p, 1 / 2.5), y) == pytest.approx(2.5, rel=0.02)


def test_a_shifted_balance_is_no_lack_of_certainty():
    middle = np.array([0.05, 0.9, 0.05])
    x, y = gaussians(middle, 40_000, 6)
    p = posterior(x, np.full(3, 1 / 3))
    assert fit_temperature(p, y, shift=middle * 3) == pytest.approx(1, abs=0.03)
    assert abs(fit_temperature(p, y) - 1) > 0.1


def test_a_balance_nobody_knows_is_found_with_its_temperature():
    x, y = gaussians(TRAINED, 40_000, 7)
    secret = np.array([0.2, 0.2, 0.6])
    temperature, prior = fit_balance(tempered(posterior(x, secret), 0.5), y)
    assert temperature == pytest.approx(2, rel=0.05)
    np.testing.assert_allclose(prior, secret, atol=0.02)
    absent = fit_balance(posterior(x, secret), np.minimum(y, 1))[1]
    assert absent[2] == 0
    assert np.isfinite(absent).all()


def test_all_right_ends_at_the_lowest_temperature_and_none_is_refused():
    p = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert fit_temperature(p, np.array([0, 1])) == pytest.approx(0.05, rel=0.01)
    with pytest.raises(InputError):
        fit_temperature(np.empty((0, 2)), np.empty(0, dtype=int))
