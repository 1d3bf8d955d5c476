"""Sizes of effects and bootstrap intervals: against their definitions and other libraries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paired import FIRST, SECOND, SLEEP, random_pairs, seeds
from scipy import stats

from evenface import statistics as ef
from evenface.statistics.bootstrap_intervals import bootstrap
from evenface.statistics.effect_sizes import noncentral_f, noncentral_t

# --- sizes of effects ------------------------------------------------------------------------------------------------


def test_the_three_d_are_their_definitions():
    d_z, d_av = (ef.cohens_d(SLEEP, kind) for kind in ("d_z", "d_av"))
    change, m = FIRST - SECOND, -1.58
    assert d_z.value == pytest.approx(m / change.std(ddof=1))
    assert d_av.value == pytest.approx(m / math.sqrt((FIRST.var(ddof=1) + SECOND.var(ddof=1)) / 2))
    d_s = ef.cohens_d(ef.Groups(FIRST[:7], SECOND))
    squares = sum(((side - side.mean()) ** 2).sum() for side in (FIRST[:7], SECOND))
    assert d_s.value == pytest.approx((FIRST[:7].mean() - SECOND.mean()) / math.sqrt(squares / 15))
    assert (d_z.word, d_av.word, d_z.kind, d_s.kind) == ("", "large", "d_z", "d_s")


@given(st.floats(-30, 30), st.integers(2, 80))
@settings(max_examples=40)
def test_bounds_of_d_are_where_the_noncentral_t_has_its_tails(t, df):
    low, high = noncentral_t(t, df)
    assert stats.nct.sf(t, df, low) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, df, high) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize("df", [1, 5, 40])
def test_intervals_of_d_and_eta_go_on_smoothly_where_scipys_distributions_end(df):
    near, far = noncentral_t(9_999, df), noncentral_t(10_001, df)
    assert far == pytest.approx(near, rel=5e-4)
    assert noncentral_t(-1e9, df) == pytest.approx(tuple(-bound for bound in noncentral_t(1e9, df)[::-1]))
    assert noncentral_f(1_000_001, 3, df) == pytest.approx(noncentral_f(999_999, 3, df), rel=2e-3)
    almost = ef.Pairs(FIRST + 1e3 + 1e-9 * SECOND, FIRST)
    assert ef.cohens_d(almost).low > 1e9


@given(seeds)
@settings(max_examples=30)
def test_the_interval_of_d_leaves_out_zero_just_where_p_is_small(seed):
    pairs = random_pairs(seed, shift=0.5)
    d, p = ef.cohens_d(pairs), stats.ttest_1samp(pairs.change, 0).pvalue
    assert (d.low > 0 or d.high < 0) == (p < 0.05)


@pytest.mark.parametrize("df", [2, 5, 10, 23, 300])
def test_hedges_correction_takes_away_the_bias_of_the_noncentral_t(df):
    for shift in (0.3, 2.0):  # the mean of t, times the factor, is the noncentrality: d is then without bias
        assert stats.nct.mean(df, shift) * ef.hedges_factor(df) == pytest.approx(shift, rel=1e-8)
    assert ef.hedges_factor(df) == pytest.approx(1 - 3 / (4 * df - 1), abs=0.01)


def test_nothing_spreads_nothing_is_standardised():
    flat = ef.cohens_d(ef.Groups(np.ones(4), np.ones(4)))
    assert math.isnan(flat.value)
    assert "not defined" in flat.sentence
    with pytest.raises(ValueError, match="d_s is not defined for Pairs"):
        ef.cohens_d(SLEEP, "d_s")


# --- bootstrap -------------------------------------------------------------------------------------------------------


def naive_interval(values, statistic, method, resamples, level, seed):
    """Efron's formulas one draw and one left-out value at a time; draws without a value are left out."""
    random, n = np.random.default_rng(seed), len(values)
    drawn = [statistic(values[random.integers(0, n, size=n)]) for _ in range(resamples)]
    drawn, value, ends = np.array([d for d in drawn if np.isfinite(d)]), statistic(values), [(1 - level) / 2] * 2
    ends[1] = 1 - ends[0]
    below = np.mean([(d < value) + 0.5 * (d == value) for d in drawn])
    left_out = np.array([statistic(np.delete(values, i)) for i in range(n)])
    pull = left_out.mean() - left_out
    if method == "bca" and 0 < below < 1 and (pull**2).sum() > 1e-20:
        bias, speed = stats.norm.ppf(below), (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)
        shifts = [bias + stats.norm.ppf(end) for end in ends]
        ends = [stats.norm.cdf(bias + shift / (1 - speed * shift)) for shift in shifts]
    return np.quantile(drawn, ends)


def standardised_mean(values, axis=-1):
    return values.mean(axis) / values.std(axis, ddof=1)


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("statistic", [np.mean, np.median, np.std, standardised_mean])
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_bootstrap_intervals_are_efrons_formulas_by_a_loop(method, statistic):
    random = np.random.default_rng(3)
    for seed in range(4):
        values = np.round(random.exponential(size=int(random.integers(4, 40))), 1)
        mine = bootstrap(values, statistic, method=method, resamples=300, seed=seed, level=0.9).estimate
        naive = naive_interval(values, statistic, method, 300, 0.9, seed)
        assert (mine.low, mine.high) == pytest.approx(naive, rel=1e-9, abs=1e-12)


def test_bca_of_the_spatial_test_data_is_the_one_in_print():
    # Efron and Tibshirani, An introduction to the bootstrap, 1993, table 14.2: test A, variance 171.5, 90 % intervals
    a = np.array(
        [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41.0]
    )
    bca, percentile = (bootstrap(a, np.var, method=method, level=0.9).estimate for method in ("bca", "percentile"))
    assert bca.value == pytest.approx(171.5, abs=0.05)
    assert (percentile.low, percentile.high) == pytest.approx((100.8, 233.9), abs=4)  # 2,000 draws in print
    assert (bca.low, bca.high) == pytest.approx((115.8, 259.6), abs=4)


def test_few_units_and_units_alike_are_said():
    assert "With only 6 folds" in bootstrap(np.arange(6.0), unit="fold", resamples=99).sentence
    flat = bootstrap(np.full(30, 0.5), resamples=99)
    assert (flat.estimate.low, flat.estimate.high) == (0.5, 0.5)
    assert math.isnan(bootstrap(np.array([1.0])).estimate.low)
