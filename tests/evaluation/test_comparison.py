"""Intervals, paired tests and verdicts against closed forms, naive resampling and their definitions."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evenface.evaluation import bootstrap, formatting, metrics, paired_tests
from evenface.evaluation.comparison import compare
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import metrics_of
from evenface.reporting import summaries
from evenface.utils.errors import InputError

CLASSES = ("disgust", "fear", "happy")


def certain(labels, guesses, people=None, classes=CLASSES):
    """Predictions that name ``guesses`` with probability 0.9."""
    labels, guesses = np.asarray(labels), np.asarray(guesses)
    c = len(classes)
    p = np.full((len(labels), c), 0.1 / (c - 1))
    p[np.arange(len(labels)), guesses] = 0.9
    names = np.array([f"s{i}" for i in range(len(labels))], dtype=object)
    return Predictions(names, None if people is None else np.asarray(people, dtype=object), labels, p, classes)


def noisy(seed, right=0.6, n=240, people=24, on=None):
    """Guesses that are right with probability ``right``; always right on the classes ``on``."""
    labels = np.arange(n) % 3
    random = np.random.default_rng(seed)
    hit = (random.random(n) < right) | np.isin(labels, on if on is not None else [])
    guesses = np.where(hit, labels, (labels + random.integers(1, 3, n)) % 3)
    return certain(labels, guesses, None if people is None else [f"p{i % people:02d}" for i in range(n)])


def test_draws_are_the_same_for_a_seed_however_they_are_cut(monkeypatch):
    whole = np.concatenate(list(bootstrap.draws(17, 50, seed=4)))
    assert whole.shape == (50, 17)
    assert (whole.sum(axis=1) == 17).all()
    monkeypatch.setattr(bootstrap, "CHUNK", 60)
    cut = list(bootstrap.draws(17, 50, seed=4))
    assert len(cut) > 10
    np.testing.assert_array_equal(np.concatenate(cut), whole)


def test_resampled_matrices_equal_those_of_repeated_samples():
    given_ = noisy(0, n=60, people=7)
    units = bootstrap.units_of(given_)
    got = bootstrap.resample_sums(bootstrap.unit_matrices(given_, units), 20, seed=1)
    for matrix, weights in zip(got, np.concatenate(list(bootstrap.draws(7, 20, 1))), strict=True):
        rows = np.concatenate([np.flatnonzero(units.codes == u) for u in range(7) for _ in range(int(weights[u]))])
        expected = metrics.confusion_matrix(given_.labels[rows], given_.predicted[rows], 3)
        np.testing.assert_array_equal(matrix, expected)


@given(st.integers(1, 50), st.integers(0, 50))
def test_wilson_bounds_solve_its_equation(n, hits):
    hits = min(hits, n)
    low, high = bootstrap.wilson(np.array(hits), np.array(n))
    z = stats.norm.ppf(0.975)
    for bound in (low, high):
        if 0 < bound < 1:  # the bounds are where the score statistic is exactly z
            assert abs(hits / n - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n), abs=1e-6)
    assert low - 1e-12 <= hits / n <= high + 1e-12


def test_the_interval_of_a_constant_is_the_constant():
    labels = np.arange(90) % 3
    result = metrics_of(certain(labels, labels, [f"p{i % 10}" for i in range(90)]), resamples=200)
    for name in ("accuracy", "balanced_accuracy", "mcc", "macro_roc_auc", "macro_average_precision"):
        assert result["overall"][name] == pytest.approx({"value": 1, "low": 1, "high": 1}), name
    # recall of 1 in every draw is no proof: ten people leave room for doubt
    low, _ = bootstrap.wilson(np.array(10), np.array(10))
    assert result["per_class"]["fear"]["recall"]["low"] == pytest.approx(float(low))


def test_percentile_leaves_out_what_is_not_defined():
    drawn = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    low, high = bootstrap.percentile(drawn, 0.5)
    np.testing.assert_allclose([low[0], high[0]], np.quantile([1, 2, 3], [0.25, 0.75]))
    assert np.isnan([low[1], high[1]]).all()


def test_people_who_are_all_alike_inside_widen_the_interval():
    labels = np.zeros(2000, dtype=int)
    people = [f"p{i // 20:02d}" for i in range(2000)]
    guesses = [(i // 20) % 2 for i in range(2000)]  # each person all right or all wrong
    by_person = metrics_of(certain(labels, guesses, people))["overall"]["accuracy"]
    by_sample = metrics_of(certain(labels, guesses))["overall"]["accuracy"]
    assert by_person["value"] == by_sample["value"] == 0.5
    ratio = (by_person["high"] - by_person["low"]) / (by_sample["high"] - by_sample["low"])
    assert ratio == pytest.approx(math.sqrt(20), rel=0.15)  # the design effect of 20 equal samples a person


def test_metrics_are_plain_json_with_none_for_what_is_not_defined():
    given_ = certain([0, 0, 2, 2], [0, 2, 2, 2])
    result = metrics_of(given_, resamples=50)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["absent"] == ["fear"]
    assert result["per_class"]["fear"]["recall"] == {"value": None, "low": None, "high": None}
    assert result["overall"]["balanced_accuracy"]["value"] == 0.75
    assert result["confusion"] == [[1, 0, 1], [0, 0, 0], [0, 0, 2]]
    assert metrics_of(certain([0, 1, 2], [0, 0, 2]), resamples=9)["never_predicted"] == ["fear"]
    assert metrics_of(given_, seed=3, resamples=50) == metrics_of(given_, seed=3, resamples=50)


@given(st.integers(0, 25), st.integers(0, 25))
def test_mcnemar_equals_the_binomial_test(b, c):
    first = np.array([True] * b + [False] * c + [True] * 5)
    second = np.array([False] * b + [True] * c + [True] * 5)
    got = paired_tests.mcnemar(first, second)
    assert (got.only_baseline, got.only_candidate) == (b, c)
    if b + c == 0:
        assert got.exact == got.mid_p == 1
        return
    assert got.exact == pytest.approx(stats.binomtest(min(b, c), b + c, 0.5).pvalue)
    points = [math.comb(b + c, k) / 2 ** (b + c) for k in range(b + c + 1)]
    mid = 2 * (sum(points[: min(b, c)]) + points[min(b, c)] / 2)  # half the weight on what was seen
    assert got.mid_p == pytest.approx(min(1, mid))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_its_definition(values):
    got = paired_tests.holm(np.array([*values, np.nan]))
    assert np.isnan(got[-1])
    ranked = sorted(range(len(values)), key=lambda i: values[i])
    running = 0.0
    for position, i in enumerate(ranked):
        running = max(running, min(1.0, (len(values) - position) * values[i]))
        assert got[i] == pytest.approx(running)


def test_swap_test_equals_all_swaps_counted():
    random = np.random.default_rng(5)
    labels = np.arange(30) % 3
    people = np.array([f"p{i % 6}" for i in range(30)])
    first, second = (certain(labels, np.where(random.random(30) < r, labels, 0), people) for r in (0.3, 0.8))
    units = bootstrap.units_of(first)
    a, b = bootstrap.unit_matrices(first, units), bootstrap.unit_matrices(second, units)
    seen = metrics.balanced_accuracy(b.sum(0)) - metrics.balanced_accuracy(a.sum(0))
    count = 0
    for coins in itertools.product([False, True], repeat=6):
        swap = np.array(coins)[:, None, None]
        difference = metrics.balanced_accuracy(np.where(swap, a, b).sum(0)) - metrics.balanced_accuracy(
            np.where(swap, b, a).sum(0)
        )
        count += abs(difference) >= abs(seen) - 1e-9
    swapped = paired_tests.permuted_sums(a, [b], seed=0)[0]
    p = paired_tests.swap_p(seen, metrics.balanced_accuracy(swapped[1]) - metrics.balanced_accuracy(swapped[0]))
    assert float(p) == pytest.approx(count / 64, abs=0.025)


def test_a_method_does_not_differ_from_itself():
    result = compare({"a": noisy(1), "b": noisy(1)})
    main = result.pairs[0].overall["balanced_accuracy"]
    assert (main.value, main.low, main.high, main.p) == (0, 0, 0, 1)
    assert summaries.conclusion(result.pairs[0]) == "no evidence of a difference"


def test_a_better_method_is_found_and_its_classes_are_named():
    result = compare({"plain": noisy(1, 0.5), "rebalanced": noisy(2, 0.5, on=[1])})
    assert summaries.conclusion(result.pairs[0]).startswith("rebalanced is better; most on fear (+0.")
    lines = summaries.comparison_summary(result).splitlines()
    assert lines[0].startswith("balanced accuracy   plain 0.")
    assert " over 24 people: rebalanced is better" in lines[1]
    assert "the unit of replication is the person" in " ".join(summaries.comparison_uncertainty(result))
    worse = compare({"rebalanced": noisy(2, 0.5, on=[1]), "plain": noisy(1, 0.5)})
    assert "plain is worse; most on fear (-0." in summaries.comparison_summary(worse)
    assert worse.pairs[0].overall["accuracy"].value == pytest.approx(-result.pairs[0].overall["accuracy"].value)


def test_values_of_a_comparison_are_those_of_its_runs():
    runs = {"a": noisy(1), "b": noisy(2, people=24)}
    result = compare(runs, seed=7)
    for method in result.methods:
        alone = metrics_of(runs[method.name], seed=7)
        assert method.overall["macro_f1"].value == pytest.approx(alone["overall"]["macro_f1"]["value"])
        assert method.overall["macro_f1"].low == pytest.approx(alone["overall"]["macro_f1"]["low"])
        assert method.by_class[1].high == pytest.approx(alone["per_class"]["fear"]["recall"]["high"])
    difference = result.pairs[0].overall["macro_f1"]
    assert difference.value == pytest.approx(
        result.methods[1].overall["macro_f1"].value - result.methods[0].overall["macro_f1"].value
    )
    assert difference.low < difference.value < difference.high


def test_a_method_of_several_seeds_is_the_mean_of_its_runs():
    seeds = [noisy(s, 0.6) for s in (1, 2, 3)]
    result = compare({"one": noisy(9, 0.6), "three": seeds})
    values = [float(metrics.macro_f1(metrics.confusion_matrix(r.labels, r.predicted, 3))) for r in seeds]
    assert result.methods[1].per_run["macro_f1"] == pytest.approx(values)
    assert result.methods[1].overall["macro_f1"].value == pytest.approx(np.mean(values))
    assert result.pairs[0].mcnemar is None
    assert "mean over its training runs (1, 3 seeds)" in " ".join(summaries.comparison_uncertainty(result))


def test_the_order_of_samples_does_not_matter():
    first, second = noisy(1), noisy(2)
    shuffled = second.take(np.random.default_rng(0).permutation(len(second)))
    found, expected = (compare({"a": first, "b": other}).pairs for other in (shuffled, second))
    assert repr(found) == repr(expected)  # NaN, of what has no interval, equals itself


def test_more_comparisons_ask_for_more_evidence():
    base, other = noisy(1, 0.55), noisy(2, 0.65)
    alone = compare({"a": base, "b": other}).pairs[0].overall["balanced_accuracy"]
    many = compare({"a": base, "b": other, "c": noisy(3, 0.55), "d": noisy(4, 0.55)}).pairs[0]
    assert many.overall["balanced_accuracy"].p == alone.p
    assert many.overall["balanced_accuracy"].p_holm >= 2 * alone.p


def test_few_people_are_never_enough_and_it_is_said():
    result = compare({"a": noisy(1, 0.1, people=5), "b": noisy(2, 1.0, people=5)})
    assert not result.pairs[0].overall["balanced_accuracy"].certain
    assert "With 5 people no difference can reach p = 0.05" in " ".join(summaries.comparison_uncertainty(result))
    assert "the smallest possible p is 0.0625." in " ".join(summaries.comparison_uncertainty(result))
    six = {name: noisy(seed, right, people=6) for name, seed, right in (("a", 1, 0.1), ("b", 2, 1.0), ("c", 3, 1.0))}
    assert "no single class can reach p = 0.05: the smallest possible p over 3 classes is 0.0938" in " ".join(
        summaries.comparison_uncertainty(compare({name: six[name] for name in "ab"}))
    )
    assert "the smallest possible p is 0.0625 over 2 differences" in " ".join(
        summaries.comparison_uncertainty(compare(six))
    )
    assert (
        paired_tests.swap_floor(5)
        == stats.permutation_test((np.ones(5),), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    )
    assert summaries.NARROW in summaries.comparison_uncertainty(result)
    assert summaries.NARROW not in summaries.comparison_uncertainty(compare({"a": noisy(1), "b": noisy(2)}))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (noisy(1, n=239), "'s239' is only in a"),
        (noisy(1, n=241), "'s240' is not in a"),
        (
            certain((np.arange(240) + 1) % 3, np.arange(240) % 3),
            "true class of 240 samples; 's0' is fear and",
        ),
        (noisy(1, people=23), "b and a disagree on the subjects of the samples"),
        (noisy(1, people=None), "b and a disagree on the subjects of the samples"),
        (certain([0], [0], classes=("x", "y")), "b has the classes x, y; a has disgust, fear, happy"),
        ([], "b has no run"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_an_example(other, message):
    with pytest.raises(InputError, match=message):
        compare({"a": noisy(1), "b": other})


def test_one_method_is_no_comparison():
    with pytest.raises(InputError, match="needs two or more methods, found 1"):
        compare({"a": noisy(1)})


def test_a_run_ends_with_its_answer():
    lines = summaries.metrics_summary(metrics_of(noisy(2, 0.5, on=[1])))
    assert lines[0].startswith("balanced accuracy 0.")
    assert "over 24 people; highest recall: fear (1.00), lowest: " in lines[1]
    assert len(lines) == 2
    constant = summaries.metrics_summary(metrics_of(certain([0, 1, 2, 0], [0, 0, 0, 0]), resamples=50))
    assert constant[2] == (
        f"note    not significantly above chance, a balanced accuracy of {1 / 3:.3f}; never predicted: fear, happy"
    )


def test_words_for_numbers():
    assert formatting.signed(-0.0001) == "0.000"
    assert formatting.signed(0.0494) == "+0.049"
    assert formatting.number(math.nan) == "–"
    assert formatting.p_value(0.0002) == "< 0.001"
    assert formatting.listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [True, False])
def test_intervals_hold_the_truth_as_often_as_they_promise(clustered):
    """People differ in how well they are recognised; over many imagined studies the 95 % interval must hold."""
    random = np.random.default_rng(0)
    held, studies, truth = 0, 400, 0.6
    for study in range(studies):
        if clustered:
            people = np.repeat(np.arange(40), 15)
            skill = random.beta(6, 4, 40)[people]  # mean 0.6
        else:
            people, skill = None, np.full(600, truth)
        labels = random.integers(0, 3, 600)
        guesses = np.where(random.random(600) < skill, labels, (labels + 1) % 3)
        given_ = certain(labels, guesses, None if people is None else [f"p{i}" for i in people])
        units = bootstrap.units_of(given_)
        drawn = bootstrap.resample_sums(bootstrap.unit_matrices(given_, units), 1000, seed=study)
        low, high = bootstrap.percentile(metrics.balanced_accuracy(drawn))
        held += bool(low <= truth <= high)
    assert 0.91 <= held / studies <= 0.98


@pytest.mark.slow
def test_a_difference_that_is_not_there_is_seldom_claimed():
    claimed = sum(
        compare({"a": noisy(2 * s), "b": noisy(2 * s + 1)}, resamples=400).pairs[0].overall["balanced_accuracy"].certain
        for s in range(300)
    )
    assert claimed / 300 <= 0.08
