"""Comparisons, sizes of effects, equivalence, power: against other libraries, closed forms and figures in print."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as contingency
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from evenface import statistics as ef
from evenface.errors import InputError
from evenface.evaluation.predictions import Predictions
from evenface.statistics.checks import equal_spread, normal
from evenface.statistics.effects import noncentral_t
from evenface.statistics.resample import bootstrap

# Student's sleep data (1908): hours gained by ten people with each of two drugs.
FIRST = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SECOND = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
SLEEP = ef.Pairs(FIRST, SECOND, "hours", "first", "second", "drug", "person")
SMALL = {"resamples": 200}


def random_pairs(seed, n=12, shift=0.3):
    random = np.random.default_rng(seed)
    base = random.normal(size=n)
    return ef.Pairs(base + shift + random.normal(scale=0.7, size=n), base)


seeds = st.integers(0, 2**32 - 1)


# --- comparisons -----------------------------------------------------------------------------------------------------


def test_students_sleep_data_give_the_figures_in_print():
    found = ef.compare(SLEEP, **SMALL)
    assert found.t == pytest.approx(-4.0621, abs=5e-5)
    assert found.p == pytest.approx(0.002833, abs=5e-7)
    assert (found.difference.low, found.difference.high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    assert found.robust_p == stats.wilcoxon(FIRST - SECOND).pvalue
    welch = ef.compare(ef.Groups(FIRST, SECOND))
    assert (welch.t, welch.df, welch.p) == pytest.approx((-1.8608, 17.776, 0.07939), rel=1e-4)
    assert welch.robust_p == stats.mannwhitneyu(FIRST, SECOND).pvalue


def test_sentence_says_answer_sureness_and_unit():
    text = ef.compare(SLEEP, **SMALL).sentence
    assert text.startswith(
        "hours: first against second: -1.580 [-2.460, -0.700] over 10 people (paired t test, p = 0.003"
    )
    assert "evidence that first is lower" in text
    assert "d_z = -1.28" in text
    assert "not normal" in text  # Shapiro–Wilk gives 0.0345 for these differences
    assert "Wilcoxon's signed-rank test: p" in text


def test_a_difference_without_any_spread_has_no_p():
    same = ef.compare(ef.Pairs(FIRST + 0.25, FIRST), **SMALL)
    assert math.isnan(same.p)
    assert math.isnan(same.difference.low)
    assert math.isnan(same.effect("d_z").value)
    assert "without noise to judge it by" in same.sentence
    assert ef.compare(ef.Pairs(FIRST, FIRST), **SMALL).p == 1


@given(seeds)
@settings(max_examples=10)
def test_swapping_levels_turns_signs_and_nothing_else(seed):
    there = random_pairs(seed)
    back = ef.Pairs(there.base, there.values)
    a, b = ef.compare(there, **SMALL), ef.compare(back, **SMALL)
    assert (a.difference.value, a.difference.low) == pytest.approx((-b.difference.value, -b.difference.high))
    assert (a.p, a.robust_p) == pytest.approx((b.p, b.robust_p))
    for kind in ("d_z", "d_av"):
        x, y = a.effect(kind), b.effect(kind)
        assert (x.value, x.low, x.high) == pytest.approx((-y.value, -y.high, -y.low), abs=1e-9)


@given(seeds, st.floats(0.01, 100), st.floats(-50, 50), st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_unit_of_measure_and_order_do_not_matter(seed, factor, shift, random):
    pairs = random_pairs(seed)
    order = random.sample(range(len(pairs)), len(pairs))
    other = ef.Pairs(pairs.values[order] * factor + shift, pairs.base[order] * factor + shift)
    a, b = ef.compare(pairs, **SMALL), ef.compare(other, **SMALL)
    assert (a.p, a.effect("d_z").low, a.effect("d_av").high) == pytest.approx(
        (b.p, b.effect("d_z").low, b.effect("d_av").high), rel=1e-6
    )
    assert a.difference.value * factor == pytest.approx(b.difference.value, rel=1e-6, abs=1e-9)


def test_corrections_reject_as_benjamini_and_hochberg_print():
    p = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719])
    p = np.append(p, [0.6528, 0.759, 1.0])
    assert (ef.benjamini_hochberg(p) <= 0.05).sum() == 4
    assert (ef.bonferroni(p) <= 0.05).sum() == 3
    assert ef.benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])
    assert ef.bonferroni(p) == pytest.approx(multipletests(p, method="bonferroni")[1])


def test_what_was_not_tested_is_no_member_of_the_family():
    p = np.array([0.01, np.nan, 0.04])
    assert ef.bonferroni(p) == pytest.approx([0.02, np.nan, 0.08], nan_ok=True)
    assert ef.benjamini_hochberg(p) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


# --- tidy tables -----------------------------------------------------------------------------------------------------


def tidy(units=4):
    random = np.random.default_rng(5)
    cells = [(u, s, a, b) for u in range(units) for s in range(2) for a in "xy" for b in "pq"]
    frame = pd.DataFrame(cells, columns=["fold", "seed", "a", "b"])
    return frame.assign(value=random.normal(size=len(frame)))


def test_each_unit_brings_one_pair_unless_each_setting_is_asked_for():
    table = tidy()
    averaged = ef.pairs(table, "value", "a", "x", "y", "fold", among=["b"])
    sides = [table[table.a == level].groupby("fold")["value"].mean().to_numpy() for level in "xy"]
    assert averaged.values == pytest.approx(sides[0])
    assert averaged.base == pytest.approx(sides[1])
    each = ef.pairs(table, "value", "a", "x", "y", "fold", among=["b"], others="each")
    assert (len(averaged), len(each), each.units) == (4, 8, 4)
    assert each.change.mean() == pytest.approx(averaged.change.mean())
    check = next(c for c in ef.compare(each, **SMALL).checks if c.name == "independence")
    assert check.holds is False
    assert "8 pairs come from 4 folds" in check.sentence


def test_several_columns_make_a_unit_and_incomplete_units_are_left_out():
    table = tidy().drop(index=0)
    found = ef.pairs(table, "value", "a", "x", "y", ["fold", "seed"], among=["b"])
    assert (len(found), found.unit, found.incomplete) == (7, "fold × seed", 1)
    missing = tidy()
    missing.loc[[0, 1, 2, 3], "value"] = np.nan
    assert len(ef.pairs(missing, "value", "a", "x", "y", ["fold", "seed"], among=["b"])) == 7


def test_groups_must_not_share_units():
    table = pd.DataFrame({"who": list("abcdabcd"), "side": list("xxxxyyyy"), "value": np.arange(8.0)})
    with pytest.raises(InputError, match="4 whos stand in both x and y, such as a"):
        ef.groups(table, "value", "side", "x", "y", "who")
    table["who"] = list("abcdefgh")
    assert ef.groups(table, "value", "side", "x", "y", "who").values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "score"}, "no column 'score'"),
        ({"factor": "fold"}, "named twice"),
        ({"level": "z"}, "a has no level 'z'"),
        ({"rows": 2}, "a has no level 'y'"),
        ({"rows": 4}, "1 fold; two are the least"),
    ],
)
def test_what_a_table_lacks_is_named(change, message):
    asked = {"value": "value", "factor": "a", "level": "x", "baseline": "y", "unit": "fold", "rows": 32} | change
    table = tidy().iloc[: asked.pop("rows")]
    with pytest.raises(InputError, match=message):
        ef.pairs(table, **asked)


def test_words_are_no_numbers():
    table = tidy().astype({"value": object})
    table.loc[3, "value"] = "good"
    with pytest.raises(InputError, match="'good' is no finite number"):
        ef.pairs(table, "value", "a", "x", "y", "fold")


# --- sizes of effects ------------------------------------------------------------------------------------------------


def test_the_three_d_are_their_definitions():
    d_z, d_av = (ef.cohens_d(SLEEP, kind) for kind in ("d_z", "d_av"))
    change, m = FIRST - SECOND, -1.58
    assert d_z.value == pytest.approx(m / change.std(ddof=1))
    assert d_av.value == pytest.approx(m / math.sqrt((FIRST.var(ddof=1) + SECOND.var(ddof=1)) / 2))
    d_s = ef.cohens_d(ef.Groups(FIRST[:7], SECOND))
    squares = sum(((side - side.mean()) ** 2).sum() for side in (FIRST[:7], SECOND))
    assert d_s.value == pytest.approx((FIRST[:7].mean() - SECOND.mean()) / math.sqrt(squares / 15))
    assert (d_z.word, d_z.kind, d_s.kind) == ("large", "d_z", "d_s")


@given(st.floats(-30, 30), st.integers(2, 80))
@settings(max_examples=40)
def test_bounds_of_d_are_where_the_noncentral_t_has_its_tails(t, df):
    low, high = noncentral_t(t, df)
    assert stats.nct.sf(t, df, low) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, df, high) == pytest.approx(0.025, abs=1e-6)


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


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("statistic", [np.mean, np.median, np.std])
def test_bootstrap_equals_scipys_on_the_same_draws(method, statistic):
    values = np.random.default_rng(3).exponential(size=25)
    mine = bootstrap(values, statistic, method=method, resamples=2000, seed=11)
    name = {"bca": "BCa", "percentile": "percentile"}[method]
    theirs = stats.bootstrap(
        (values,), statistic, method=name, n_resamples=2000, rng=np.random.default_rng(11), vectorized=True
    ).confidence_interval
    assert (mine.estimate.low, mine.estimate.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6)


def test_few_units_and_units_alike_are_said():
    assert "With only 6 folds" in bootstrap(np.arange(6.0), unit="fold", resamples=99).sentence
    flat = bootstrap(np.full(30, 0.5), resamples=99)
    assert (flat.estimate.low, flat.estimate.high) == (0.5, 0.5)
    assert math.isnan(bootstrap(np.array([1.0])).estimate.low)


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
    assert "the 95% interval [-0.005, +0.021] reaches beyond, so that reading says otherwise" in found.sentence
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


@given(st.floats(-3, 3), st.integers(2, 300), st.sampled_from([0.001, 0.01, 0.05, 0.1]))
@settings(max_examples=40)
def test_power_equals_statsmodels(effect, count, alpha):
    pairs, two = (ef.t_power(effect, count, paired=paired, alpha=alpha) for paired in (True, False))
    for mine, theirs in ((pairs, TTestPower()), (two, TTestIndPower())):
        value = theirs.power(effect, count, alpha)
        # Where the tail on the other side is below what doubles hold, theirs is not a number.
        assert mine == pytest.approx(1 if math.isnan(value) else value, abs=1e-8)


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


# --- McNemar ---------------------------------------------------------------------------------------------------------


def predictions(right, subject=None):
    names = np.array([f"s{i}" for i in range(len(right))])
    return Predictions(names, subject, np.zeros(len(right), int), np.eye(2)[np.where(right, 0, 1)], ("a", "b"))


def test_mcnemar_equals_statsmodels_and_says_whose_samples_they_are():
    first = np.repeat([True, True, False, False], [30, 12, 3, 15])
    second = np.repeat([True, False, True, False], [30, 12, 3, 15])
    found = ef.mcnemar(predictions(first), predictions(second), names=("plain", "new"))
    table = [[30, 12], [3, 15]]
    theirs = contingency(table, exact=False, correction=True)
    assert (found.chi2, found.corrected) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.test.exact == pytest.approx(contingency(table, exact=True).pvalue)
    mid = contingency(table, exact=True).pvalue - stats.binom.pmf(3, 15, 0.5)
    assert found.test.mid_p == pytest.approx(mid)
    assert found.sentence.startswith("Of 60 samples new alone is right on 3, plain alone on 12: evidence that plain is")
    people = np.array([f"p{i % 5}" for i in range(60)])
    shared = ef.mcnemar(predictions(first, people), predictions(second, people))
    assert "60 of them come from 5 people" in shared.sentence
    assert ef.mcnemar(predictions(first), predictions(first)).corrected == 1


# --- assumption checks -----------------------------------------------------------------------------------------------


def test_checks_are_scipys_and_say_what_failure_means():
    random = np.random.default_rng(1)
    skew, plain = random.exponential(size=60) ** 2, random.normal(size=60)
    failed, held = normal(skew, "residuals", "trust ranks"), normal(plain, "residuals", "trust ranks")
    assert (failed.holds, held.holds) == (False, True)
    assert failed.p == stats.shapiro(skew).pvalue
    assert failed.sentence.endswith("trust ranks.")
    assert normal(np.ones(5), "residuals", "").holds is None
    unequal = [plain[:30], 9 * plain[30:]]
    spread = equal_spread(unequal, "trust Welch")
    assert (spread.holds, spread.p) == (False, stats.levene(*unequal, center="median").pvalue)
    assert equal_spread([plain[:30], plain[30:]], "").holds
    assert equal_spread([plain[:1], plain], "").holds is None


# --- what the fifth paper prints -------------------------------------------------------------------------------------

TABLE_3 = [  # metric, comparison, d, mean difference, interval, p by FDR
    ("accuracy", 0.255, 0.008, (-0.005, 0.021), 0.335),
    ("accuracy", -0.018, -0.001, (-0.011, 0.010), 0.929),
    ("accuracy", 0.269, 0.011, (-0.005, 0.027), 0.335),
    ("recall", -0.306, -0.069, (-0.158, 0.021), 0.171),
    ("recall", -0.288, -0.053, (-0.125, 0.020), 0.171),
    ("recall", -0.787, -0.145, (-0.218, -0.071), 0.002),
]


@pytest.mark.parametrize("metric", ["accuracy", "recall"])
def test_its_table_3_is_of_24_pairs_with_bootstrap_intervals(metric):
    rows = [row[1:] for row in TABLE_3 if row[0] == metric]
    shape = stats.norm.ppf((np.arange(24) + 0.5) / 24)
    shape = (shape - shape.mean()) / shape.std(ddof=1)
    made = [ef.Pairs(difference + shape * difference / d, np.zeros(24)) for d, difference, _, _ in rows]
    found = ef.correct([ef.compare(pairs, method="percentile") for pairs in made]).contrasts
    for contrast, (d, _, interval, fdr) in zip(found, rows, strict=True):
        assert contrast.effect("d_z").value == pytest.approx(d)
        if abs(d) > 0.1:  # of the smallest, one printed digit is not enough to come back from
            drawn = contrast.resampled.estimate
            assert (drawn.low, drawn.high) == pytest.approx(interval, abs=0.004)
        assert contrast.fdr == pytest.approx(fdr, abs=0.002)


def test_its_table_6_is_the_power_of_six_pairs():
    for effect, power in ((0.255, 0.081), (-0.025, 0.050), (0.099, 0.055), (-0.306, 0.095)):
        assert ef.power_of(effect, 6, unit="emotion").power == pytest.approx(power, abs=0.0006)


def test_its_table_5_reads_the_95_percent_interval_and_one_verdict_changes():
    error = 0.008 / 0.255 / math.sqrt(24)
    found = ef.two_one_sided(0.008, error, 23, 0.02)
    assert (found.equivalent_wide, found.equivalent, found.changes) == (False, True, True)
