"""Predictions of targets: metrics against scikit-learn, scipy and loops, intervals, comparison, files."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from evenface.evaluation.bootstrap import draws, units_of
from evenface.evaluation.comparison import compare
from evenface.evaluation.metric_registry import HEADLINE, METRICS, headline, headline_of, reported
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.target_predictions import TargetPredictions, by_clip, load_predictions
from evenface.evaluation.target_summary import (
    TargetMeasures,
    best_thresholds,
    measured_targets,
    measured_targets_each,
    subgroups_of,
    target_metrics_of,
)
from evenface.utils.errors import InputError

UNITS = ("AU1", "AU4", "AU9")


def units(seed=0, n=150, people=15, noise=1.0):
    random = np.random.default_rng(seed)
    targets = (random.random((n, 3)) < (0.5, 0.25, 0.1)).astype(float)
    logits = 2 * targets - 1 + noise * random.normal(size=(n, 3))
    targets[random.random((n, 3)) < 0.1] = np.nan
    names, who = [f"s{i}" for i in range(n)], [f"p{i % people}" for i in range(n)]
    return TargetPredictions(names, np.array(who, object), targets, 1 / (1 + np.exp(-logits)), UNITS, "multilabel")


def numbers(seed=0, n=150, people=15, noise=1.0):
    random = np.random.default_rng(seed)
    targets = random.gamma(1, 2, (n, 2)).round()
    values = targets + noise * random.normal(size=(n, 2))
    targets[random.random((n, 2)) < 0.1] = np.nan
    names, who = [f"s{i}" for i in range(n)], [f"p{i % people}" for i in range(n)]
    return TargetPredictions(names, np.array(who, object), targets, values, ("pspi", "vas"), "regression")


MADE = {"multilabel": units, "regression": numbers}


def known(predictions, index):
    """True and predicted values of a target where the true one is known."""
    rows = [i for i, value in enumerate(predictions.targets[:, index]) if not math.isnan(value)]
    return predictions.targets[rows, index], predictions.values[rows, index]


def skewless(truth, said):
    tpr, fpr = said[truth > 0].mean(), said[truth == 0].mean()
    return 2 * tpr / (tpr + fpr + 1)


def thresholded(function):
    return lambda truth, value: function(truth > 0, value >= 0.5)


def lin(t, z):
    return 2 * np.cov(t, z, bias=True)[0, 1] / (t.var() + z.var() + (t.mean() - z.mean()) ** 2)


def by_level(t, z):
    edges = np.unique(t) if len(np.unique(t)) <= 10 else None
    if edges is not None:
        return np.mean([np.abs(z - t)[t == level].mean() for level in edges])
    low, width = t.min(), (t.max() - t.min()) / 10
    groups = {}
    for a, b in zip(t, z, strict=True):
        groups.setdefault(min(9, int((a - low) / width + 1e-12)), []).append(abs(a - b))
    return np.mean([np.mean(errors) for errors in groups.values()])


REFERENCES = {
    "target_f1": thresholded(sk.f1_score),
    "target_skew_normalized_f1": thresholded(skewless),
    "target_mcc": thresholded(sk.matthews_corrcoef),
    "target_balanced_accuracy": thresholded(sk.balanced_accuracy_score),
    "target_recall": thresholded(sk.recall_score),
    "target_precision": thresholded(sk.precision_score),
    "target_roc_auc": sk.roc_auc_score,
    "target_average_precision": sk.average_precision_score,
    "expected_mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "pearson": lambda t, z: stats.pearsonr(t, z).statistic,
    "ccc": lin,
    "macro_mae": by_level,
}


@pytest.mark.parametrize("task", MADE)
@pytest.mark.parametrize("seed", range(3))
def test_every_metric_of_a_task_is_its_reference_on_the_known_values(task, seed):
    given_ = MADE[task](seed)
    result = target_metrics_of(given_, resamples=0)
    for entry in (*reported(given_), *reported(given_, per_class=True)):
        name = entry.classwise or entry.name
        if name not in REFERENCES:
            assert name in ("micro_target_f1", "icc_3_1", "icc_2_1")
            continue
        each = [REFERENCES[name](*known(given_, i)) for i in range(len(given_.names))]
        if name in next(iter(result["per_target"].values())):
            got = [result["per_target"][target][name]["value"] for target in given_.names]
            np.testing.assert_allclose(got, each, rtol=1e-9)
        if not entry.per_class:
            assert result["overall"][entry.name]["value"] == pytest.approx(np.mean(each), rel=1e-9)
    if task == "multilabel":
        pairs = [known(given_, i) for i in range(3)]
        truth, said = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        assert result["overall"]["micro_target_f1"]["value"] == pytest.approx(sk.f1_score(truth > 0, said >= 0.5))


def test_intraclass_correlations_are_those_of_the_two_way_table():
    given_ = numbers()
    t, z = known(given_, 0)
    ratings = np.stack([t, z], axis=1)
    grand, n = ratings.mean(), len(t)
    bms = 2 * ((ratings.mean(1) - grand) ** 2).sum() / (n - 1)
    jms = n * ((ratings.mean(0) - grand) ** 2).sum()
    ems = (((ratings - grand) ** 2).sum() - bms * (n - 1) - jms) / (n - 1)
    entry = target_metrics_of(given_, resamples=0)["per_target"]["pspi"]
    assert entry["icc_3_1"]["value"] == pytest.approx((bms - ems) / (bms + ems))
    assert entry["icc_2_1"]["value"] == pytest.approx((bms - ems) / (bms + ems + 2 * (jms - ems) / n))


@pytest.mark.parametrize("task", MADE)
def test_draws_are_the_metric_of_the_people_drawn_with_all_their_samples(task):
    given_ = MADE[task]()
    measures = TargetMeasures(given_, None, 5, 3, 5)
    drawn_units = units_of(given_)
    (weights,) = draws(drawn_units.count, 5, 3, width=len(given_))
    for entry in reported(given_):
        drawn = measures.drawn(entry)
        for row, multiplicity in enumerate(weights.astype(int)):
            rows = np.concatenate(
                [np.repeat(np.flatnonzero(drawn_units.codes == u), m) for u, m in enumerate(multiplicity)]
            )
            sub = TargetPredictions(
                [f"d{i}" for i in range(len(rows))], None, given_.targets[rows], given_.values[rows], given_.names, task
            )
            if entry.name == "macro_mae":
                continue  # its bins are those of the whole test set
            assert drawn[row] == pytest.approx(measured_targets(entry.name, sub), rel=1e-6), entry.name


@given(st.integers(0, 10**6))
def test_a_metric_does_not_depend_on_the_order_of_samples_and_stays_in_its_range(seed):
    for task, make in MADE.items():
        given_ = make(seed, 40, 5)
        shuffled = given_.take(np.random.default_rng(seed).permutation(len(given_)))
        for entry in reported(given_):
            value = measured_targets(entry.name, given_)
            assert measured_targets(entry.name, shuffled) == pytest.approx(value, nan_ok=True), task
            assert math.isnan(value) or entry.range[0] - 1e-9 <= value <= entry.range[1] + 1e-9


def test_metrics_of_each_target_are_those_of_the_target_alone_or_missing():
    given_ = units()
    for index, value in enumerate(measured_targets_each("target_f1", given_)):
        truth, p = known(given_, index)
        assert value == pytest.approx(sk.f1_score(truth, p >= 0.5))
    for name in ("target_f1", "class_f1", "clip_ccc", "no such metric"):
        assert np.isnan(measured_targets_each(name, numbers())).tolist() == [True, True]


def test_the_metrics_shown_first_are_of_the_task():
    assert headline_of("regression") == headline(numbers())
    assert headline_of("multilabel") == headline(units())
    assert headline_of("ordinal") == headline_of("classification") == HEADLINE


def test_missing_values_change_nothing_of_the_others():
    given_ = units()
    entry = METRICS["target_f1"]
    values = TargetMeasures(given_, None, 0).value_each(entry)
    hidden = given_.targets.copy()
    hidden[::2, 2] = np.nan
    changed = TargetMeasures(replace(given_, targets=hidden), None, 0).value_each(entry)
    np.testing.assert_array_equal(changed[:2], values[:2])
    assert changed[2] != values[2]


def test_within_people_a_shift_of_a_person_costs_no_correlation():
    given_ = numbers(noise=0.2)
    shift = np.array([hash_of(name) for name in given_.subject])[:, None]
    moved = replace(given_, values=given_.values + 10 * shift)
    inside = target_metrics_of(moved, resamples=0)
    assert inside["per_subject"]["pearson"]["mean"] > 0.9 > inside["overall"]["pearson"]["value"]
    assert inside["per_subject"]["pearson"]["people"] == 15
    assert inside["per_subject"]["pearson"]["mean"] == pytest.approx(
        target_metrics_of(given_, resamples=0)["per_subject"]["pearson"]["mean"]
    )


def hash_of(name):
    return int(name[1:])


def test_thresholds_are_those_of_highest_f1():
    given_ = units(3)
    for index, threshold in enumerate(best_thresholds(given_)):
        truth, value = known(given_, index)
        best = max(sk.f1_score(truth > 0, value >= t) for t in np.unique(value))
        assert sk.f1_score(truth > 0, value >= threshold) == pytest.approx(best)
    never = replace(given_, targets=np.zeros_like(given_.targets))
    assert best_thresholds(never) == (0.5, 0.5, 0.5)


def test_files_are_read_as_they_were_written_and_say_of_which_kind_they_are(tmp_path):
    for task, make in MADE.items():
        given_ = replace(make(), clip=np.array([f"c{i // 3}" for i in range(150)], object))
        if task == "multilabel":
            given_ = replace(given_, thresholds=(0.2, 0.3, 0.4))
        given_.save(tmp_path / "p.parquet")
        again = load_predictions(tmp_path / "p.parquet")
        assert isinstance(again, TargetPredictions)
        for name in ("targets", "values", "sample", "subject", "clip"):
            np.testing.assert_array_equal(getattr(again, name), getattr(given_, name))
        assert (again.names, again.task, again.thresholds) == (given_.names, given_.task, given_.thresholds)
    classes = Predictions(["a", "b"], None, np.array([0, 1]), np.eye(2), ("x", "y"))
    classes.save(tmp_path / "c.parquet")
    assert isinstance(load_predictions(tmp_path / "c.parquet"), Predictions)


def test_clips_are_averaged_where_their_targets_are_the_same():
    given_ = numbers(n=9)
    targets = np.repeat(given_.targets[::3], 3, axis=0)
    clips = np.repeat(np.array(["a", "b", "c"], object), 3)
    given_ = replace(given_, targets=targets, clip=clips)
    joined = by_clip(given_)
    np.testing.assert_allclose(joined.values, given_.values.reshape(3, 3, 2).mean(axis=1))
    assert list(joined.sample) == ["a", "b", "c"]
    changed = targets.copy()
    changed[1] += 1
    assert by_clip(replace(given_, targets=changed)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.full((150, 3), 1.5)}, "probabilities of targets must be 0 to 1"),
        ({"values": np.full((150, 3), np.nan)}, "is not a finite number, as have 150 of 150"),
        ({"targets": np.full((150, 3), 2.0)}, "must be 0, 1 or missing"),
        ({"names": ("AU1", "AU1", "AU9")}, "samples and different targets"),
        ({"values": np.zeros((150, 2))}, r"need values of shape 150 x 3"),
        ({"sample": np.array(["a"] * 150, object)}, "duplicate sample 'a'"),
    ],
)
def test_what_cannot_be_a_prediction_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(units(), **change)


@pytest.mark.parametrize("task", MADE)
def test_a_comparison_finds_the_better_one_whichever_order_the_samples_have(task):
    make = MADE[task]
    worse, better = make(1, 300, 30, 3.0), make(1, 300, 30, 0.4)
    better = better.take(np.random.default_rng(0).permutation(300))
    better = replace(better, targets=worse.targets[[int(name[1:]) for name in better.sample]])
    found = compare({"worse": worse, "better": better}, resamples=200)
    main = found.pairs[0].overall[found.main]
    assert main.certain
    assert main.value > 0
    assert (found.unit, found.units, found.classes) == ("people", 30, worse.names)
    assert {difference.name for difference in found.pairs[0].classes} == set(worse.names)
    entry = METRICS[found.each]
    expected = [TargetMeasures(run, None, 0).value_each(entry) for run in (worse, better)]
    values = [difference.value for difference in found.pairs[0].classes]
    np.testing.assert_allclose(values, expected[1] - expected[0])


@pytest.mark.parametrize("task", MADE)
def test_a_run_does_not_differ_from_itself(task):
    given_ = MADE[task]()
    found = compare({"a": given_, "b": given_}, resamples=100)
    for difference in found.pairs[0].overall.values():
        assert difference.value == difference.low == difference.high == 0
        assert difference.p == 1


def test_the_permutation_p_of_an_error_is_that_of_a_loop():
    a, b = numbers(2, 60, 6), numbers(5, 60, 6)
    b = replace(b, targets=a.targets)
    found = compare({"a": a, "b": b}, resamples=50, metrics=["expected_mae"])
    people = sorted(set(a.subject))

    def difference(swapped):
        """Mean absolute error of the second method minus that of the first, some people's predictions exchanged."""
        errors = []
        for first, second in ((a, b), (b, a)):
            own = np.array([second if swap else first for swap in swapped], object)
            values = np.array([own[people.index(who)].values[row] for row, who in enumerate(a.subject)])
            errors.append(np.nanmean(np.abs(values - a.targets), axis=0).mean())
        return errors[1] - errors[0]

    observed = difference([False] * 6)
    every = [difference([bool(k >> i & 1) for i in range(6)]) for k in range(64)]
    exact = np.mean([abs(value) >= abs(observed) - 1e-9 for value in every])
    got = found.pairs[0].overall["expected_mae"]
    assert got.value == pytest.approx(observed)
    assert got.p == pytest.approx(exact, abs=0.03)


def test_runs_of_classes_and_of_targets_are_not_compared():
    classes = Predictions(["a", "b"], None, np.array([0, 1]), np.eye(2), ("x", "y"))
    with pytest.raises(InputError, match="a predicts classes, others predict targets"):
        compare({"a": classes, "b": units()})
    with pytest.raises(InputError, match=r"b predicts pspi, vas \(regression\); a AU1"):
        compare({"a": units(), "b": numbers()})


def test_subgroups_are_the_metrics_of_their_people():
    given_ = units(n=300, people=30)
    groups = ["old" if hash_of(name) < 12 else "young" for name in given_.subject]
    old, young = subgroups_of(given_, groups, resamples=10)
    assert (old.name, old.units, young.units) == ("old", 12, 18)
    own = given_.take(np.array(groups) == "old")
    name = "macro_target_average_precision"
    assert old.metrics[name].value == pytest.approx(measured_targets(name, own))
