"""Metrics against scikit-learn, naive loops and closed forms; predictions against bad input."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from evenface.evaluation import metrics, probability_metrics
from evenface.evaluation.calibration import error_estimates
from evenface.evaluation.comparison import compare
from evenface.evaluation.metric_registry import METRICS
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import metrics_of
from evenface.utils.errors import InputError

CLASSES = ("angry", "fear", "happy", "sad")


def make(n=300, seed=0, people=30, classes=CLASSES, skill=1.5):
    """Predictions that are right more often than chance, with uneven classes."""
    random = np.random.default_rng(seed)
    c = len(classes)
    labels = random.choice(c, n, p=np.arange(1, c + 1) / np.arange(1, c + 1).sum())
    logits = random.normal(size=(n, c)) + skill * np.eye(c)[labels]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    subject = None if people is None else np.array([f"person{i}" for i in random.integers(0, people, n)], dtype=object)
    return Predictions(np.array([f"s{i}" for i in range(n)], dtype=object), subject, labels, p, tuple(classes))


@st.composite
def labelled(draw, c=4):
    n = draw(st.integers(1, 60))
    row = st.integers(0, c - 1)
    return (
        draw(hnp.arrays(np.int64, n, elements=row)),
        draw(hnp.arrays(np.int64, n, elements=row)),
        c,
    )


@given(labelled())
def test_confusion_matrix_counts_one_by_one(drawn):
    labels, predicted, c = drawn
    expected = np.zeros((c, c), dtype=int)
    for y, g in zip(labels, predicted, strict=True):
        expected[y, g] += 1
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, predicted, c), expected)


@given(labelled())
def test_class_metrics_equal_their_definitions(drawn):
    labels, predicted, c = drawn
    matrix = metrics.confusion_matrix(labels, predicted, c)
    for k in range(c):
        tp = sum(1 for y, g in zip(labels, predicted, strict=True) if y == k and g == k)
        fp = sum(1 for y, g in zip(labels, predicted, strict=True) if y != k and g == k)
        fn = sum(1 for y, g in zip(labels, predicted, strict=True) if y == k and g != k)
        tn = len(labels) - tp - fp - fn
        pd_ = tp / (tp + fn) if tp + fn else math.nan
        pf = fp / (fp + tn) if fp + tn else math.nan
        expected = {
            "recall": pd_,
            "precision": tp / (tp + fp) if tp + fp else math.nan,
            "f1": 2 * tp / (2 * tp + fp + fn) if tp + fn else math.nan,
            "specificity": tn / (tn + fp) if tn + fp else math.nan,
            "pf": pf,
            "pd_pf_balance": 1 - math.sqrt((0 - pf) ** 2 + (1 - pd_) ** 2) / math.sqrt(2),
            "accuracy_one_vs_rest": (tp + tn) / (tp + tn + fp + fn),
        }
        for name, value in expected.items():
            assert METRICS[name].function(matrix)[k] == pytest.approx(value, nan_ok=True), name


@given(labelled())
def test_overall_metrics_equal_scikit_learn(drawn):
    labels, predicted, c = drawn
    matrix = metrics.confusion_matrix(labels, predicted, c)
    present = sorted(set(labels.tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "macro_f1": sk.f1_score(labels, predicted, average="macro", labels=present),
            "weighted_f1": sk.f1_score(labels, predicted, average="weighted"),
            "macro_precision": np.nanmean(
                [*sk.precision_score(labels, predicted, average=None, labels=present, zero_division=np.nan), np.nan]
            ),
            "weighted_recall": sk.recall_score(labels, predicted, average="weighted"),
        }
    for name, value in expected.items():
        assert float(METRICS[name].function(matrix)) == pytest.approx(value, nan_ok=True), name
    coefficient = float(metrics.mcc(matrix))
    if not math.isnan(coefficient):
        assert coefficient == pytest.approx(sk.matthews_corrcoef(labels, predicted))
    agreement = float(metrics.kappa(matrix))
    if not math.isnan(agreement):
        assert agreement == pytest.approx(sk.cohen_kappa_score(labels, predicted))


def test_what_is_not_defined_is_nan():
    matrix = np.array([[5, 0, 0], [2, 0, 0], [0, 0, 0]])  # class 1 never predicted, class 2 absent
    np.testing.assert_array_equal(metrics.recall(matrix), [1, 0, np.nan])
    np.testing.assert_array_equal(metrics.precision(matrix), [5 / 7, np.nan, np.nan])
    assert metrics.f1(matrix)[1] == 0
    assert np.isnan(metrics.f1(matrix)[2])
    assert float(metrics.balanced_accuracy(matrix)) == 0.5
    assert float(METRICS["macro_precision"].function(matrix)) == pytest.approx(5 / 7)
    assert np.isnan(metrics.mcc(matrix))
    assert np.isnan(metrics.kappa(np.diag([4, 0, 0])))


@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_curves_and_areas_equal_scikit_learn(n, seed, coarse):
    random = np.random.default_rng(seed)
    positive, score = random.random(n) < 0.4, random.random(n)
    score = np.round(score, 1) if coarse else score  # ties
    ap, auc = (
        float(probability_metrics.average_precision(positive, score)),
        float(probability_metrics.roc_auc(positive, score)),
    )
    if not positive.any() or positive.all():
        assert math.isnan(auc)
        assert math.isnan(ap) == (not positive.any())
        return
    assert ap == pytest.approx(sk.average_precision_score(positive, score))
    assert auc == pytest.approx(sk.roc_auc_score(positive, score))
    precision, recall, thresholds = sk.precision_recall_curve(positive, score)
    curve = probability_metrics.precision_recall_curve(positive, score)
    np.testing.assert_allclose(curve.precision, precision[:-1][::-1])
    np.testing.assert_allclose(curve.recall, recall[:-1][::-1])
    np.testing.assert_allclose(curve.threshold, thresholds[::-1])


def test_areas_equal_naive_loops():
    positive, score = np.array([1, 0, 1, 1, 0], bool), np.array([0.9, 0.8, 0.8, 0.3, 0.1])
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    assert float(probability_metrics.roc_auc(positive, score)) == pytest.approx(sum(pairs) / len(pairs))
    assert float(probability_metrics.average_precision(positive, score)) == pytest.approx(
        1 / 3 * 1 + 1 / 3 * 2 / 3 + 1 / 3 * 3 / 4
    )


def test_weights_count_a_sample_as_often_as_they_say():
    random = np.random.default_rng(3)
    positive, score = random.random(30) < 0.5, random.random(30).round(1)
    weights = random.integers(0, 4, (5, 30))
    for function in (probability_metrics.average_precision, probability_metrics.roc_auc):
        for got, row in zip(function(positive, score, weights), weights, strict=True):
            repeated = np.repeat(np.arange(30), row)
            assert got == pytest.approx(float(function(positive[repeated], score[repeated])))


def test_calibration_error_equals_a_loop_over_bins():
    given_ = make(200)
    confidence, correct = given_.probabilities.max(1), given_.predicted == given_.labels
    bins = probability_metrics.reliability(confidence, correct, 10)
    expected = 0.0
    for b in range(10):
        inside = (confidence > b / 10) & (confidence <= (b + 1) / 10)
        assert bins.count[b] == inside.sum()
        if inside.any():
            assert bins.accuracy[b] == pytest.approx(correct[inside].mean())
            expected += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    assert probability_metrics.expected_calibration_error(bins) == pytest.approx(expected)


def test_log_loss_and_brier_equal_scikit_learn():
    given_ = make(100)
    assert probability_metrics.log_loss(given_.probabilities, given_.labels).mean() == pytest.approx(
        sk.log_loss(given_.labels, given_.probabilities)
    )
    one_hot = np.eye(4)[given_.labels]
    rows = zip(given_.probabilities, one_hot, strict=True)
    naive = np.mean([sum((p - t) ** 2 for p, t in zip(*row, strict=True)) for row in rows])
    assert probability_metrics.brier(given_.probabilities, given_.labels).mean() == pytest.approx(naive)


@pytest.mark.parametrize("people", [None, 9])
def test_predictions_come_back_as_they_were_saved(tmp_path, people):
    before = make(50, people=people)
    before.save(tmp_path / "predictions.parquet")
    after = Predictions.load(tmp_path / "predictions.parquet")
    np.testing.assert_array_equal(after.sample, before.sample)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.classes == before.classes
    assert after.people == before.people
    columns = pd.read_parquet(tmp_path / "predictions.parquet").columns.tolist()
    assert columns == ["sample", "subject", "label", *(f"p_{name}" for name in CLASSES)]


def test_one_unknown_subject_makes_all_unknown(tmp_path):
    given_ = make(20, people=5)
    subject = given_.subject.copy()
    subject[3] = None
    partly = Predictions(given_.sample, subject, given_.labels, given_.probabilities, CLASSES)
    assert partly.subject is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.full((3, 4), 0.5)}, "sample 'a': probabilities must be >= 0 and sum to 1, the sum is 2"),
        (
            {"probabilities": np.full((3, 4), np.nan)},
            "'a' has a probability that is not a finite number, as have 3",
        ),
        ({"probabilities": np.full((3, 2), 0.5)}, "need probabilities of shape 3 x 4, found 3 x 2"),
        ({"labels": np.array([0, 1, 4])}, "'c' has the label 4; known are 0 to 3"),
        ({"labels": np.array([0.0, 1, 2])}, "labels must be a 1-D array of integers, found float64"),
        ({"sample": np.array(["a", "b", "a"])}, "duplicate sample 'a'"),
        ({"sample": np.array(["a", "b"])}, "need 3 values of 'sample', found 2"),
        ({"classes": ("x", "x", "y", "z")}, "two or more different classes"),
    ],
)
def test_predictions_that_cannot_be_are_refused_with_the_place(change, message):
    sound = {
        "sample": np.array(["a", "b", "c"]),
        "subject": None,
        "labels": np.array([0, 1, 2]),
        "probabilities": np.full((3, 4), 0.25),
        "classes": CLASSES,
    }
    Predictions(**sound)
    with pytest.raises(InputError, match=message):
        Predictions(**(sound | change))


def test_files_that_hold_no_predictions_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.parquet does not exist"):
        Predictions.load(tmp_path / "nothing.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no parquet at all")
    with pytest.raises(InputError, match=r"broken\.parquet is damaged: it is not valid Parquet"):
        Predictions.load(broken)
    other = tmp_path / "other.parquet"
    pd.DataFrame({"sample": ["a"], "label": [0]}).to_parquet(other)
    with pytest.raises(InputError, match=r"other\.parquet: expected the column subject, found sample, label"):
        Predictions.load(other)


def test_one_person_says_nothing_of_how_much_others_differ():
    alone, again = make(people=1), make(people=1, skill=3.0)
    again = replace(again, labels=alone.labels, sample=alone.sample, subject=alone.subject)
    found = metrics_of(alone, resamples=50)
    assert found["units"] == 1
    assert all(entry["low"] is entry["high"] is None for entry in found["overall"].values())
    for entry in found["per_class"].values():
        # One observation, right or wrong, leaves almost everything possible; between the two nothing is known.
        recall = entry["recall"]
        assert recall["low"] is None or recall["high"] - recall["low"] > 0.7
        assert all(entry[name]["low"] is None for name in ("precision", "f1"))
    [pair] = compare({"one": [alone], "other": [again]}, resamples=50).pairs
    assert not any(one.certain or np.isfinite(one.low) for one in (*pair.overall.values(), *pair.classes))
    assert all(
        math.isnan(error.low) and math.isnan(error.high) for error in error_estimates(alone, again, resamples=50)
    )
