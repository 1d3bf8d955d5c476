"""Folds as units of replication: the corrected resampled t-test, its size by simulation, and what verdicts say."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evenface import statistics as ef
from evenface.evaluation.paired_tests import rejects, verdict
from evenface.statistics.analysis import analyse
from evenface.statistics.nonparametric_tests import rank_sum_floor, signed_rank, signed_rank_floor
from evenface.statistics.t_tests import estimate

CHANGE = np.array([0.03, 0.01, 0.05, 0.02, 0.04])
BASE = np.array([0.5, 0.6, 0.4, 0.7, 0.3])
FOLDS = ef.Pairs(BASE + CHANGE, BASE, unit="fold", overlap=0.25)


def cross_validated(repetitions, people, folds, seed=0, repeats=1):
    """Accuracies of two classifiers of equal skill: nearest centroids, each on five features of its own.

    By symmetry neither is better on average over training and test sets, so each rejection is a false one.
    Returns arrays of shape (repetitions, repeats × folds).
    """
    random = np.random.default_rng(seed)
    label = np.tile([0, 1], people // 2)
    x = random.normal(size=(repetitions, 2, people, 5)) + 0.7 * label[:, None]
    difference = []
    for _ in range(repeats):
        part = random.permuted(np.tile(np.arange(folds), people // folds + 1)[:people])
        for fold in range(folds):
            train, test = part != fold, part == fold
            low, high = (x[:, :, train & (label == which)].mean(axis=2, keepdims=True) for which in (0, 1))
            nearer = ((x[:, :, test] - high) ** 2).sum(-1) < ((x[:, :, test] - low) ** 2).sum(-1)
            right = (nearer == (label[test] == 1)).mean(axis=-1)
            difference.append(right[:, 1] - right[:, 0])
    return np.stack(difference, axis=1)


def sizes(differences, overlap):
    """Share of simulations in which the corrected and the plain test reject a true null at 0.05."""
    found = [ef.resampled_t_test(row, overlap) for row in differences]
    return [float(np.mean([getattr(one, test).p <= 0.05 for one in found])) for test in ("corrected", "plain")]


@pytest.mark.parametrize(("people", "folds", "repeats"), [(60, 5, 1), (60, 10, 1), (60, 5, 4), (40, 40, 1)])
def test_the_plain_test_rejects_a_true_null_too_often_and_the_corrected_one_does_not(people, folds, repeats):
    differences = cross_validated(600, people, folds, repeats=repeats)
    corrected, plain = sizes(differences, ef.fold_overlap(folds))
    assert corrected <= 0.05
    assert plain > corrected + 0.02
    assert plain > (0.3 if repeats > 1 else 0.055 if folds < people else 0.03)


def test_it_is_nadeau_and_bengios_formula_and_bouckaert_and_franks_of_repeated_folds():
    found = ef.resampled_t_test(CHANGE, 0.25)
    t = CHANGE.mean() / math.sqrt((1 / 5 + 1 / 4) * CHANGE.var(ddof=1))
    assert (found.corrected.t, found.corrected.df) == pytest.approx((t, 4))
    assert found.corrected.p == pytest.approx(2 * stats.t.sf(t, 4))
    assert found.plain.p == pytest.approx(stats.ttest_1samp(CHANGE, 0).pvalue)
    assert found.corrected.t == pytest.approx(found.plain.t / 1.5)
    half = stats.t.ppf(0.975, 4) * math.sqrt(0.45) * CHANGE.std(ddof=1)
    assert (found.difference.low, found.difference.high) == pytest.approx((CHANGE.mean() - half, CHANGE.mean() + half))
    repeated = np.concatenate([CHANGE, CHANGE + 0.01])
    found = ef.resampled_t_test(repeated, ef.fold_overlap(5))
    error = repeated.std(ddof=1) * math.sqrt(1 / 10 + 1 / 4)
    assert (found.corrected.t, found.corrected.df) == pytest.approx((repeated.mean() / error, 9))


def test_without_overlap_it_is_the_paired_t_test():
    found, expected = ef.resampled_t_test(CHANGE, 0), stats.ttest_1samp(CHANGE, 0)
    assert found.corrected == found.plain
    assert found.corrected.p == pytest.approx(expected.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_comparison_equivalence_variance_effect_size_and_power_are_of_one_correction():
    found = ef.compare(FOLDS)
    tested = ef.resampled_t_test(FOLDS.change, 0.25)
    assert (found.t, found.p, found.plain_p) == (*tested.corrected[::2], tested.plain.p)
    assert (found.difference.low, found.difference.high) == (tested.difference.low, tested.difference.high)
    assert found.resampled is None
    assert "corrected resampled t test" in found.sentence
    assert "plain paired t test p" in found.sentence
    assert "folds share training samples" in found.sentence.lower()
    error = FOLDS.change.std(ddof=1) * math.sqrt(0.45)
    equal, expected = ef.equivalence(FOLDS, 0.05), ef.two_one_sided(FOLDS.change.mean(), error, 4, 0.05)
    assert (equal.p, equal.interval, equal.wide) == (expected.p, expected.interval, expected.wide)
    table = tidy(FOLDS)
    effect = ef.factorial(table, "accuracy", ["m"], "fold", overlap=0.25).effects[0]
    assert (effect.f, effect.p) == pytest.approx((found.t**2, found.p))
    term = ef.mixed(table, "accuracy", ["m"], "fold", overlap=0.25)
    assert term.differences[0].p == pytest.approx(found.p, rel=1e-3)
    d = found.effect("d_z")
    assert (d.low > 0) == (found.p < 0.05)
    power = ef.t_power(1.0, 5, overlap=0.25)
    shift, bound = 1 / math.sqrt(0.45), stats.t.isf(0.025, 4)
    assert power == pytest.approx(stats.nct.sf(bound, 4, shift) + stats.nct.sf(bound, 4, -shift), abs=1e-6)


def tidy(pairs):
    sides = {"base": pairs.base, "new": pairs.values}
    return pd.DataFrame(
        [(i, m, v) for m, values in sides.items() for i, v in enumerate(values)], columns=["fold", "m", "accuracy"]
    )


def test_an_interval_of_a_mean_over_folds_is_as_wide_as_that_of_differences():
    plain, corrected = estimate(CHANGE)[0], estimate(CHANGE, overlap=0.25)[0]
    assert corrected.high - corrected.value == pytest.approx(1.5 * (plain.high - plain.value))


def test_a_table_whose_unit_is_the_fold_is_corrected_and_a_person_or_another_number_is_not():
    table = tidy(FOLDS)
    by_default = analyse(table, "accuracy", ["m"], "fold").comparisons.contrasts[0]
    assert (by_default.overlap, by_default.p) == (0.25, ef.compare(FOLDS).p)
    assert analyse(table, "accuracy", ["m"], "fold", overlap=0).comparisons.contrasts[0].p == by_default.plain_p
    people = analyse(table.rename(columns={"fold": "person"}), "accuracy", ["m"], "person").comparisons.contrasts[0]
    assert (people.overlap, people.p) == (0, people.plain_p)
    repeated = pd.concat(
        [table.assign(seed=0), table.assign(seed=1, accuracy=table["accuracy"] + 0.01 * (table["m"] == "new"))]
    )
    contrast = analyse(repeated, "accuracy", ["m"], ["seed", "fold"]).comparisons.contrasts[0]
    assert (contrast.overlap, contrast.units, contrast.df) == (0.25, 10, 9)  # repeated cross-validation


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_two_units_are_too_few_for_evidence():
    two = ef.Pairs(np.array([1.0, 1.0001]), np.array([0.0, 0.0]), unit="person")
    found = ef.compare(two, resamples=50)
    assert found.p < 0.001
    assert not found.certain
    assert "evidence" not in found.sentence
    assert "too few" in found.sentence
    table = tidy(ef.Pairs(two.values, two.base + np.array([0, 1e-5])))
    text = "\n".join(analyse(table.rename(columns={"fold": "person"}), "accuracy", ["m"], "person").lines)
    assert "evidence" not in text
    groups = ef.compare(ef.Groups(np.array([1.0, 1.0001]), np.array([0.0, 0.0002])))
    assert groups.p < 0.001
    assert "evidence" not in groups.sentence


def test_over_seeds_the_verdict_is_about_training_noise():
    values, base = np.array([0.6, 0.61, 0.62, 0.6]), np.array([0.5, 0.5, 0.51, 0.52])
    found = ef.compare(ef.Pairs(values, base, level="focal", unit="seed"), resamples=50)
    assert "larger than training noise: focal is higher" in found.sentence
    assert "evidence" not in found.sentence
    table = tidy(ef.Pairs(values, base)).rename(columns={"fold": "seed"})
    text = "\n".join(analyse(table, "accuracy", ["m"], "seed").lines)
    assert "larger than training noise" in text
    assert "evidence" not in text
    assert verdict(0.3, 4, "seed", "that a is higher") == "not larger than training noise"
    assert verdict(0.3, 4, "seed × fold", "that a is higher") == "no evidence of a difference"
    assert not rejects(float("nan"), 10)


def test_wilcoxons_test_states_the_smallest_p_it_can_reach():
    for n in range(1, 9):
        assert signed_rank_floor(np.arange(1, n + 1.0)) == stats.wilcoxon(np.arange(1, n + 1.0)).pvalue
    ties = np.array([0.1, 0.1, 0.1, 0.1, 0.1])
    assert stats.wilcoxon(ties, method="asymptotic").pvalue < 0.05  # no exact test of five pairs can be
    assert signed_rank(ties) == 0.0625
    assert signed_rank(ties, "greater") == 0.03125
    assert signed_rank(np.zeros(4)) == 1
    assert rank_sum_floor(3, 3) == stats.mannwhitneyu([4, 5, 6], [1, 2, 3], method="exact").pvalue
    five = ef.Pairs(np.array([0.5, 0.52, 0.53, 0.5, 0.55]), np.zeros(5), unit="person")
    found = ef.compare(five, resamples=50)
    assert found.p < 0.001
    assert (found.robust_p, found.robust_floor) == (0.0625, 0.0625)
    assert "the smallest possible p over 5 people is 0.0625" in found.sentence
    effect = ef.factorial(tidy(five), "accuracy", ["m"], "fold").effects[0]
    assert "Wilcoxon p = 0.062, the smallest possible with so few units" in effect.sentence


def test_words_for_sizes_are_of_d_av():
    random = np.random.default_rng(3)
    person = random.normal(size=40)  # levels that are highly correlated: d_z is huge where d_av is small
    pairs = ef.Pairs(person + 0.3 + random.normal(0, 0.05, 40), person, unit="person")
    found = ef.compare(pairs, resamples=50)
    z, av = found.effect("d_z"), found.effect("d_av")
    assert z.value > 4
    assert 0.2 < av.value < 0.5
    assert (z.word, av.word, found.size) == ("", "small", av)
    assert f"d_av = +{av.value:.2f}" in found.sentence
    assert ", small)" in found.sentence
    assert "large" not in found.sentence + z.sentence


def test_a_family_is_corrected_by_holm_and_its_size_is_stated():
    random = np.random.default_rng(5)
    pairs = [ef.Pairs(random.normal(d, 1, 12), random.normal(0, 1, 12), unit="person") for d in (1.2, 0.9, 0.5, 0)]
    planned = ef.correct([ef.compare(one, resamples=50) for one in pairs])
    p = sorted(c.p for c in planned.contrasts)
    by_hand = np.minimum(1, np.maximum.accumulate([(4 - i) * value for i, value in enumerate(p)]))
    assert sorted(c.holm for c in planned.contrasts) == pytest.approx(by_hand)
    assert [c.certain for c in planned.contrasts] == [c.holm <= 0.05 for c in planned.contrasts]
    assert all("by Holm over 4 comparisons" in c.sentence for c in planned.contrasts)
