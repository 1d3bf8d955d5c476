"""Metrics of the continuous output against scikit-learn, scipy, an analysis of variance and a naive bootstrap."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from test_ordered import graded

from evenface.data.labels import describe_levels, has_numeric_names, level_values
from evenface.evaluation.bootstrap import Units, draws, unit_moments, units_of
from evenface.evaluation.comparison import compare
from evenface.evaluation.metric_registry import METRICS, limits, lower_is_better, metric_names
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured, measured_each, metrics_of

CONTINUOUS = tuple(name for name, entry in METRICS.items() if entry.task == "regression")
SCALE = ("0", "1", "2", "4", "8")


def regressed(seed=0, n=60, people=6, classes=SCALE, noise=1.5, shift=0.3):
    """Predictions with a continuous output, the classes by the nearest value."""
    random = np.random.default_rng(seed)
    values = level_values(classes)
    labels = random.integers(0, len(classes), n)
    output = values[labels] + random.normal(shift, noise, n)
    nearest = np.abs(output[:, None] - values).argmin(axis=1)
    names, who = ([f"{letter}{i}" for i in ids] for letter, ids in (("s", range(n)), ("p", np.arange(n) % people)))
    who = np.array(who, dtype=object)
    return Predictions(names, who, labels, np.eye(len(classes))[nearest], classes, ordered=True, output=output)


def intraclass(*raters):
    """ICC(2,1) and ICC(3,1) by the mean squares of a two-way table."""
    ratings = np.array(raters, dtype=float).T
    n, k = ratings.shape
    grand = ratings.mean()
    between = k * ((ratings.mean(axis=1) - grand) ** 2).sum()
    judges = n * ((ratings.mean(axis=0) - grand) ** 2).sum()
    ems = (((ratings - grand) ** 2).sum() - between - judges) / ((n - 1) * (k - 1))
    bms, jms = between / (n - 1), judges / (k - 1)
    agreement = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    return {"icc_2_1": agreement, "icc_3_1": (bms - ems) / (bms + (k - 1) * ems)}


def test_intraclass_correlations_give_the_figures_in_print():
    # Shrout and Fleiss 1979, tables 2 and 4: six targets, four judges, .29 and .71.
    judges = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]]
    assert {key: round(value, 2) for key, value in intraclass(*judges).items()} == {"icc_2_1": 0.29, "icc_3_1": 0.71}
    # pingouin 0.7.0, intraclass_corr, ICC(A,1) and ICC(C,1).
    output = [0.3, -0.2, 1.4, 0.9, 1.6, 3.1, 3.2, 5.0, 6.1, 7.4]
    labels = np.repeat(np.arange(5), 2)
    given_ = Predictions([*"abcdefghij"], None, labels, np.eye(5)[labels], SCALE, ordered=True, output=output)
    assert measured("icc_2_1", given_) == pytest.approx(0.952779059041, abs=1e-12)
    assert measured("icc_3_1", given_) == pytest.approx(0.948785669174, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_they_equal_scikit_learn_scipy_and_an_analysis_of_variance(seed):
    given_ = regressed(seed)
    truth = np.array([float(SCALE[label]) for label in given_.labels])
    z = given_.output
    expected = {
        "expected_mae": sk.mean_absolute_error(truth, z),
        "rmse": sk.root_mean_squared_error(truth, z),
        "pearson": stats.pearsonr(truth, z).statistic,
        "ccc": 2 * np.cov(truth, z, ddof=0)[0, 1] / (truth.var() + z.var() + (truth.mean() - z.mean()) ** 2),
        "macro_mae": np.mean([np.abs(z - truth)[truth == level].mean() for level in np.unique(truth)]),
        **intraclass(truth, z),
    }
    assert {name: measured(name, given_) for name in CONTINUOUS} == pytest.approx(expected, rel=1e-9)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(-50, 50), st.floats(0.01, 100))
def test_a_shift_costs_agreement_and_a_unit_costs_nothing(seed, shift, unit):
    given_ = regressed(seed, n=12)
    scaled = replace(given_, output=given_.output * unit, levels=tuple(v * unit for v in given_.levels))
    moved = replace(given_, output=given_.output + shift)
    for name in ("pearson", "ccc", "icc_3_1", "icc_2_1"):
        value = measured(name, given_)
        assert measured(name, scaled) == pytest.approx(value, abs=1e-9)
        assert -1 - 1e-9 <= value <= 1 + 1e-9 or name == "icc_2_1"
    for name in ("pearson", "icc_3_1"):
        assert measured(name, moved) == pytest.approx(measured(name, given_), abs=1e-8)
    assert abs(measured("ccc", given_)) <= abs(measured("pearson", given_)) + 1e-9
    assert measured("rmse", scaled) == pytest.approx(unit * measured("rmse", given_))


def test_what_does_not_vary_has_no_correlation():
    given_ = regressed(n=8)
    flat = replace(given_, output=np.full(8, 1 / 3))
    assert math.isnan(measured("pearson", flat))
    assert [measured(name, flat) for name in ("ccc", "icc_3_1", "icc_2_1")] == pytest.approx([0, 0, 0], abs=1e-12)
    one = replace(given_, labels=np.zeros(8, dtype=np.int64), output=np.zeros(8))
    assert all(math.isnan(measured(name, one)) for name in ("pearson", "ccc", "icc_3_1", "icc_2_1"))
    assert measured("rmse", one) == measured("expected_mae", one) == 0
    assert all(math.isnan(measured(name, replace(given_, ordered=False))) for name in CONTINUOUS)


def test_intervals_resample_people():
    given_ = regressed(n=40, people=5)
    entry = metrics_of(given_, seed=3, resamples=50)["levels"]
    people = sorted(set(given_.subject))
    drawn = {name: [] for name in ("rmse", "pearson", "icc_2_1")}
    for weights in draws(len(people), 50, 3):
        for row in weights.astype(int):
            rows = np.concatenate([np.flatnonzero(given_.subject == who) for who in np.repeat(people, row)])
            t, z = given_.true_values[rows], given_.output[rows]
            drawn["rmse"].append(sk.root_mean_squared_error(t, z))
            drawn["pearson"].append(stats.pearsonr(t, z).statistic)
            drawn["icc_2_1"].append(intraclass(t, z)["icc_2_1"])
    for name, values in drawn.items():
        assert [entry[name]["low"], entry[name]["high"]] == pytest.approx(np.quantile(values, [0.025, 0.975])), name
    assert metrics_of(given_)["units"] == 5


def test_moments_of_units_are_those_of_their_samples():
    given_ = regressed()
    moments = unit_moments(given_, units_of(given_))
    whole = unit_moments(given_, Units(np.zeros(len(given_), dtype=np.int64), 1, "samples"))
    np.testing.assert_allclose(moments.sum(axis=0), whole[0], atol=1e-9)


def test_without_an_output_the_expected_level_is_judged_and_classes_count_by_their_values():
    given_ = replace(regressed(), output=None)
    p = np.random.default_rng(1).dirichlet(np.ones(5), len(given_))
    soft = replace(given_, probabilities=p)
    expected = [abs(sum(q * float(v) for q, v in zip(row, SCALE, strict=True)) - t) for row, t in soft_pairs(soft)]
    assert measured("expected_mae", soft) == pytest.approx(np.mean(expected))
    values = np.array([0, 1, 2, 4, 8])
    assert measured("mae", soft) == pytest.approx(sk.mean_absolute_error(soft.true_values, values[soft.predicted]))
    assert measured("icc", soft) == pytest.approx(intraclass(soft.true_values, values[soft.predicted])["icc_3_1"])


def soft_pairs(given_):
    return zip(given_.probabilities, given_.true_values, strict=True)


def test_outputs_are_kept_in_the_file_taken_and_averaged_over_clips(tmp_path):
    given_ = replace(regressed(n=12), subject=None, clip=np.repeat(["a", "b", "c"], 4), labels=np.repeat([0, 2, 4], 4))
    given_.save(tmp_path / "p.parquet")
    again = Predictions.load(tmp_path / "p.parquet")
    np.testing.assert_array_equal(again.output, given_.output)
    assert again.levels == given_.levels == (0, 1, 2, 4, 8)
    assert pd.read_parquet(tmp_path / "p.parquet")["output"].tolist() == given_.output.tolist()
    np.testing.assert_allclose(given_.by_clip().output, given_.output.reshape(3, 4).mean(axis=1))
    np.testing.assert_array_equal(given_.take([3, 1]).output, given_.output[[3, 1]])
    assert measured("clip_rmse", given_) == pytest.approx(measured("rmse", given_.by_clip()))


def test_two_regressions_are_compared_by_what_they_say_of_people():
    near, far = regressed(n=120, people=12, noise=0.4), regressed(n=120, people=12, noise=4.0)
    far = replace(far, labels=near.labels, output=near.true_values + (far.output - far.true_values))
    found = compare({"far": far, "near": near}, resamples=100).pairs[0].overall
    for name in CONTINUOUS:
        assert found[name].value == pytest.approx(measured(name, near) - measured(name, far)), name
        assert (found[name].value < 0) == lower_is_better(name)
    assert found["rmse"].certain


def test_areas_under_curves_are_metrics_of_studies_as_scikit_learn_has_them():
    given_ = graded(90, classes=("a", "b", "c"), ordered=False)
    each = measured_each("roc_auc", given_)
    assert each == pytest.approx([sk.roc_auc_score(given_.labels == k, given_.probabilities[:, k]) for k in range(3)])
    one_vs_rest = sk.roc_auc_score(given_.labels, given_.probabilities, multi_class="ovr", average="macro")
    assert measured("macro_roc_auc", given_) == pytest.approx(one_vs_rest)
    lacking = given_.take(given_.labels < 2)  # as one person of leave-one-subject-out
    assert measured("macro_roc_auc", lacking) == pytest.approx(np.mean(measured_each("roc_auc", lacking)[:2]))
    assert math.isnan(measured("macro_roc_auc", given_.take(given_.labels == 1)))


def test_all_that_a_run_reports_can_be_asked_for_by_a_study():
    result = metrics_of(replace(regressed(), output=None), resamples=0)
    assert set(metric_names()) >= {*result["overall"], *result["levels"]}
    for name, entry in itertools.chain(result["overall"].items(), result["levels"].items()):
        assert measured(name, replace(regressed(), output=None)) == pytest.approx(entry["value"], nan_ok=True), name
        low, high = limits(name)
        assert low <= entry["value"] <= high, name


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (("0", "1", "2", "4", "8"), [0, 1, 2, 4, 8]),
        (("-1.5", "0", "1e1"), [-1.5, 0, 10]),
        (("BL1", "PA1", "PA2"), [0, 1, 2]),
        (("0", "1", "4-5"), [0, 1, 2]),
        (("3", "2", "1"), [0, 1, 2]),
        (("1", "1.0"), [0, 1]),
        (("0", "nan"), [0, 1]),
        (("0", "1_0"), [0, 1]),
        (("0", "1e999"), [0, 1]),
    ],
)
def test_levels_have_the_values_of_their_names_where_these_are_rising_numbers(names, values):
    assert level_values(names).tolist() == values
    named = values == [*map(number, names)]
    assert has_numeric_names(names) == named
    assert ("not increasing numbers" in describe_levels(names)) == (not named)


def number(name):
    try:
        return float(name)
    except ValueError:
        return math.nan
