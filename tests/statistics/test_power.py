"""Equivalence and power: against other libraries and figures in print."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from paired import FIRST, SLEEP, random_pairs, seeds
from scipy import integrate, stats
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from evenface import statistics as ef
from evenface.utils.errors import InputError

# --- equivalence -----------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.1, 2), st.floats(0.1, 2))
@settings(max_examples=25)
def test_tost_equals_statsmodels(seed, low, high):
    pairs = random_pairs(seed)
    mine = ef.equivalence(pairs, (-low, high))
    p, lower, upper = ttost_paired(pairs.values, pairs.base, -low, high)
    assert (mine.p, mine.p_low, mine.p_high) == pytest.approx((p, lower[1], upper[1]), abs=1e-12)
    assert mine.equivalent == (-low <= mine.interval.low and mine.interval.high <= high)
    other = ef.Groups(pairs.values, pairs.base[:8])
    apart = ttost_ind(pairs.values, pairs.base[:8], -low, high, usevar="unequal")[0]
    assert ef.equivalence(other, (-low, high)).p == pytest.approx(apart, abs=1e-12)


def test_a_changed_verdict_is_pointed_out():
    change = stats.norm.ppf((np.arange(24) + 0.5) / 24) * 0.0314 + 0.008
    found = ef.equivalence(ef.Pairs(change, np.zeros(24), "accuracy", "GRU", "LSTM"), 0.02)
    assert (found.equivalent, found.equivalent_wide, found.changes) == (True, False, True)
    assert (
        "the 95% interval [-0.005, +0.021] reaches beyond, so by that criterion equivalence is not shown"
        in found.sentence
    )
    assert found.robust_p < 0.05


def test_equality_to_the_digit_is_equivalent_and_margins_must_enclose_zero():
    assert ef.equivalence(ef.Pairs(FIRST, FIRST), 0.02).equivalent
    assert not ef.equivalence(ef.Pairs(FIRST + 1, FIRST), 0.02).equivalent
    with pytest.raises(InputError, match="do not enclose zero"):
        ef.equivalence(SLEEP, (0.1, 0.2))


# --- power -----------------------------------------------------------------------------------------------------------


def test_power_of_pairs_is_the_known_one():
    assert round(ef.smallest_effect(6).effect, 4) == 1.4345
    assert [ef.units_needed(d).count for d in (0.5, 0.2)] == [34, 199]


def test_two_groups_need_what_cohen_prints():
    assert [ef.units_needed(d, paired=False).count for d in (0.2, 0.5, 0.8)] == [394, 64, 26]


def integrated_power(effect, df, root, alpha):
    """Chance that |Z + d root| > c sqrt(V / df), Z normal and V chi-squared: the t test by its definition."""
    bound = stats.t.isf(alpha / 2, df)

    def rejected(v):
        scale = bound * np.sqrt(v / df)
        return stats.chi2.pdf(v, df) * (stats.norm.sf(scale - effect * root) + stats.norm.cdf(-scale - effect * root))

    return integrate.quad(rejected, *stats.chi2.ppf([1e-13, 1 - 1e-13], df), points=[df], limit=200)[0]


@given(st.floats(-3, 3), st.integers(4, 300), st.sampled_from([0.001, 0.01, 0.05, 0.1]), st.sampled_from([0, 0.25]))
@settings(max_examples=30)
@example(1.0, 31, 0.001, 0)  # where statsmodels gives no number
def test_power_is_the_integral_over_the_standard_deviations_that_may_be_seen(effect, count, alpha, overlap):
    pairs = ef.t_power(effect, count, alpha=alpha, overlap=overlap)
    root = math.sqrt(1 / (1 / count + overlap))
    assert pairs == pytest.approx(integrated_power(effect, count - 1, root, alpha), abs=1e-7)
    two = ef.t_power(effect, count, paired=False, alpha=alpha)
    assert two == pytest.approx(integrated_power(effect, 2 * count - 2, math.sqrt(count / 2), alpha), abs=1e-7)
    for mine, theirs in ((ef.t_power(effect, count, alpha=alpha), TTestPower()), (two, TTestIndPower())):
        value = theirs.power(effect, count, alpha)
        assert math.isnan(value) or mine == pytest.approx(value, abs=1e-8)


@given(st.floats(0.05, 4), st.floats(0.2, 0.99), st.booleans())
@settings(max_examples=40)
def test_units_needed_are_enough_and_one_fewer_is_not(effect, power, paired):
    count = ef.units_needed(effect, power=power, paired=paired).count
    assert ef.t_power(effect, count, paired=paired) >= power
    assert count == 2 or ef.t_power(effect, count - 1, paired=paired) < power
    assert ef.smallest_effect(count, power=power, paired=paired).effect <= effect + 1e-9


def test_power_is_the_share_of_tests_that_reject():
    change = np.random.default_rng(0).normal(0.8, 1, size=(20_000, 15))
    rejected = (stats.ttest_1samp(change, 0, axis=1).pvalue < 0.05).mean()
    assert ef.t_power(0.8, 15) == pytest.approx(rejected, abs=0.01)


def test_what_cannot_be_reached_is_an_error_and_curves_rise():
    with pytest.raises(ValueError, match="more than 100,000,000 units"):
        ef.units_needed(0)
    with pytest.raises(ValueError, match="0 < alpha < power < 1"):
        ef.smallest_effect(6, power=0.01)
    curve = ef.power_curve([0.2, 0.8], range(2, 40))
    assert (curve.groupby("effect")["power"].diff().dropna() > 0).all()
    assert ef.t_power(50, 1000) == 1
