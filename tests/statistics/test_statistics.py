"""Comparisons, tidy tables, McNemar's test and checks: against other libraries, closed forms and figures in print."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paired import FIRST, SECOND, SLEEP, random_pairs, seeds
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as contingency
from statsmodels.stats.multitest import multipletests

from evenface import statistics as ef
from evenface.evaluation.predictions import Predictions
from evenface.statistics.assumptions import equal_spread, normal
from evenface.statistics.t_tests import estimate
from evenface.utils.errors import InputError

SMALL = {"resamples": 200}


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
    assert "no variance to test against" in same.sentence
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
    with pytest.raises(InputError, match="4 whos are in both x and y, such as a"):
        ef.groups(table, "value", "side", "x", "y", "who")
    table["who"] = list("abcdefgh")
    assert ef.groups(table, "value", "side", "x", "y", "who").values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "score"}, "no column 'score'"),
        ({"factor": "fold"}, "specified twice"),
        ({"level": "z"}, "a has no level 'z'"),
        ({"rows": 2}, "a has no level 'y'"),
        ({"rows": 4}, "1 fold; at least two are required"),
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
    with pytest.raises(InputError, match="'good' is not a finite number"):
        ef.pairs(table, "value", "a", "x", "y", "fold")


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
    assert (found.test.chi2, found.test.corrected) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.test.exact == pytest.approx(contingency(table, exact=True).pvalue)
    mid = contingency(table, exact=True).pvalue - stats.binom.pmf(3, 15, 0.5)
    assert found.test.mid_p == pytest.approx(mid)
    assert found.sentence.startswith("Of 60 samples only new is correct on 3, only plain on 12: evidence that plain is")
    people = np.array([f"p{i % 5}" for i in range(60)])
    shared = ef.mcnemar(predictions(first, people), predictions(second, people))
    assert "60 of them come from 5 people" in shared.sentence
    assert ef.mcnemar(predictions(first), predictions(first)).test.corrected == 1


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


def test_an_interval_of_a_mean_is_scipys_and_ends_where_values_do():
    values = np.array([0.9, 0.97, 0.99, np.nan])
    low, high = stats.t.interval(0.9, 2, values[:3].mean(), stats.sem(values[:3]))
    found, sd, n = estimate(values, 0.9)
    assert (found.low, found.high, sd, n) == pytest.approx((low, high, values[:3].std(ddof=1), 3))
    assert high > 1
    found, _, _ = estimate(values, 0.9, within=(0, 1))
    assert (found.low, found.high) == pytest.approx((low, 1))
