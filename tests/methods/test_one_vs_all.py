"""Each class against the rest: which loss is chosen, what it is, what comes out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small import Small, batch

from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured, measured_each, metrics_of
from evenface.losses import AdaptiveLossSelection, binary_loss_specs, build_one_vs_rest
from evenface.methods import Task, build_method
from evenface.reporting.report import run_report
from evenface.utils.errors import InputError

PAPER = {"anger": 5.9, "disgust": 3.2, "fear": 11.5, "happiness": 2.1, "sadness": 3.1, "surprise": 2.8}

THREE = Task(np.array([2, 2, 2]), ("a", "b", "c"), 2)


@pytest.mark.parametrize(
    ("ratio", "settings", "expected"),
    [
        (3.5, {}, ("cross-entropy", {})),
        (3.5, {"boundary": "inclusive"}, ("cross-entropy", {})),
        (math.nextafter(3.5, 4), {}, ("cross-entropy", {"alpha": [1.0, math.nextafter(3.5, 4)]})),
        (11.5, {}, ("cross-entropy", {"alpha": [1.0, 11.5]})),
        (11.5, {"boundary": "inclusive"}, ("focal", {"gamma": 2.0, "alpha": [0.25, 0.75]})),
        (math.nextafter(11.5, 12), {}, ("focal", {"gamma": 2.0, "alpha": [0.25, 0.75]})),
        (12.0, {"alpha_rule": "adaptive", "alpha": 0.6}, ("focal", {"gamma": 2.0, "alpha": [0.4, 0.6]})),
        (12.01, {"alpha_rule": "adaptive", "alpha": 0.6}, ("focal", {"gamma": 2.0, "alpha": [1 - 0.8, 0.8]})),
        (40.0, {"severe": math.inf, "moderate": 0}, ("cross-entropy", {"alpha": [1.0, 40.0]})),
        (9.5, {"severe": 9, "gamma": 1, "alpha": 0.5}, ("focal", {"gamma": 1, "alpha": [0.5, 0.5]})),
    ],
)
def test_the_loss_is_chosen_by_the_ratio(ratio, settings, expected):
    assert AdaptiveLossSelection(**settings).choose(ratio) == expected


def test_the_papers_ratios_give_the_papers_losses_with_the_inclusive_boundary_only():
    for boundary, fear in (("inclusive", "focal"), ("exclusive", "weighted")):
        found = {}
        for name, ratio in PAPER.items():
            loss, options = AdaptiveLossSelection(boundary=boundary).choose(ratio)
            found[name] = loss if loss == "focal" else "weighted" if options else "plain"
        rest = dict.fromkeys(("disgust", "happiness", "sadness", "surprise"), "plain")
        assert found == {**rest, "anger": "weighted", "fear": fear}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"moderate": 12}, "moderate <= severe"),
        ({"boundary": "both"}, "boundary"),
        ({"alpha": 2}, "alpha must be 0 to 1"),
        ({"alpha": "inverse"}, "must be numbers"),
        ({"alpha_rule": "eq9"}, "alpha_rule"),
        ({"gamma": -1}, "gamma"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(settings, says):
    with pytest.raises(InputError, match=says):
        AdaptiveLossSelection(**settings)


def test_ratios_are_measured_unrounded_from_the_training_counts():
    found = binary_loss_specs("adaptive", [20, 70, 210], ("fear", "anger", "joy"))
    assert [one.ratio for one in found] == [280 / 20, 230 / 70, 90 / 210]
    assert found[0].facts == {"ratio": 14.0, "loss": "focal", "gamma": 2.0, "alpha": [0.25, 0.75]}
    assert str(found[1]) == "anger: ratio 3.286, cross-entropy"
    # 8 against 92 is 11.5 to the last bit; one sample more of the rest is above.
    assert [binary_loss_specs("adaptive", [8, rest])[0].loss for rest in (92, 93)] == ["cross-entropy", "focal"]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [("adaptive", {"gama": 1}, "no option 'gama'"), ("focal", {"alpha": 1.5}, "alpha must be 0 to 1")],
)
def test_wrong_options_are_named(name, options, says):
    with pytest.raises(InputError, match=says):
        binary_loss_specs(name, [5, 5], **options)


def test_a_class_without_samples_is_named():
    with pytest.raises(InputError, match="the class b has no training sample"):
        binary_loss_specs("adaptive", [5, 0], ("a", "b"))


@st.composite
def problems(draw):
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    numbers = st.floats(-15, 15)
    logits = torch.tensor(
        draw(st.lists(st.lists(numbers, min_size=classes, max_size=classes), min_size=rows, max_size=rows))
    )
    targets = torch.tensor(draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))
    return logits.double(), targets


@given(problems())
def test_cross_entropy_of_a_pair_is_the_binary_cross_entropy_of_torch(problem):
    logits, targets = problem
    loss = build_one_vs_rest(binary_loss_specs("cross-entropy", [3] * logits.shape[1]))
    hot = F.one_hot(targets, logits.shape[1]).double()
    expected = F.binary_cross_entropy_with_logits(logits, hot, reduction="none").sum(dim=1)
    torch.testing.assert_close(loss(logits, targets), expected)


@given(problems())
def test_weighted_cross_entropy_weighs_positives_by_the_ratio(problem):
    logits, targets = problem
    counts = [4] + [16] * (logits.shape[1] - 1)
    loss = build_one_vs_rest(binary_loss_specs("adaptive", counts, severe=math.inf, moderate=0))
    ratio = torch.tensor([(sum(counts) - n) / n for n in counts], dtype=torch.float64)
    hot = F.one_hot(targets, len(counts)).double()
    expected = F.binary_cross_entropy_with_logits(logits, hot, reduction="none", pos_weight=ratio).sum(dim=1)
    torch.testing.assert_close(loss(logits, targets), expected)


def test_focal_loss_of_a_detector_is_equation_6_sample_by_sample():
    logits, targets = torch.tensor([[2.0, -1.0], [-0.5, 0.3], [0.0, 4.0]]), torch.tensor([0, 1, 0])
    loss = build_one_vs_rest(binary_loss_specs("focal", [10, 90], gamma=2.0, alpha=0.75))
    for row, target, value in zip(logits.tolist(), targets.tolist(), loss(logits, targets).tolist(), strict=True):
        expected = 0.0
        for place, z in enumerate(row):
            p = 1 / (1 + math.exp(-z))
            p, weight = (p, 0.75) if place == target else (1 - p, 0.25)
            expected -= weight * (1 - p) ** 2 * math.log(p)
        assert value == pytest.approx(expected, rel=1e-5)


def test_prediction_keeps_the_sigmoids_and_divides_them_by_their_sum():
    method = build_method(
        "one-vs-all",
        Small(),
        build_one_vs_rest(binary_loss_specs("focal", [1, 1, 1])),
        task=THREE,
    ).eval()
    images, _ = batch()
    with torch.no_grad():
        logits, scores, p = method.network(images).logits, method.scores(images), method.predict(images)
    torch.testing.assert_close(scores, 1 / (1 + (-logits).exp()))
    torch.testing.assert_close(p, scores / scores.sum(dim=1, keepdim=True))
    assert torch.equal(p.argmax(dim=1), logits.argmax(dim=1))


def test_another_loss_is_refused():
    with pytest.raises(InputError, match="OneVsRestLoss"):
        build_method("one-vs-all", Small(), torch.nn.Identity(), task=THREE)


def said(scores=True, rows=40, seed=0):
    """Make predictions of three classes of four people, with scores of detectors or without."""
    rng = np.random.default_rng(seed)
    found = rng.random((rows, 3)) ** 2
    names, subjects = (
        np.array([f"{kind}{place % size}" for place in range(rows)]) for kind, size in (("s", 99), ("p", 4))
    )
    labels = rng.integers(0, 3, rows)
    p = found / found.sum(axis=1, keepdims=True)
    return Predictions(names, subjects, labels, p, ("a", "b", "c"), names, scores=found if scores else None)


DETECTORS = [f"detector_{name}" for name in ("accuracy", "precision", "recall", "f1", "specificity")]


def per_class(predictions):
    return {name: measured_each(f"class_{name}", predictions) for name in DETECTORS}


def test_detectors_are_measured_as_sklearn_measures_two_classes():
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    given = said()
    got = per_class(given)
    for c in range(3):
        true, fired = given.labels == c, given.scores[:, c] >= 0.5
        assert got["detector_accuracy"][c] == pytest.approx(accuracy_score(true, fired))
        assert got["detector_precision"][c] == pytest.approx(precision_score(true, fired))
        assert got["detector_recall"][c] == pytest.approx(recall_score(true, fired))
        assert got["detector_specificity"][c] == pytest.approx(recall_score(~true, ~fired))
        assert got["detector_f1"][c] == pytest.approx(f1_score(true, fired))
    for name, values in got.items():
        assert measured(name, given) == pytest.approx(values.mean())


def test_without_scores_the_detector_of_the_predicted_class_fires():
    given = said(scores=False)
    got = per_class(given)
    for name in ("recall", "precision", "f1", "specificity"):
        np.testing.assert_allclose(got[f"detector_{name}"], measured_each(name, given))
    np.testing.assert_allclose(got["detector_accuracy"], measured_each("accuracy_one_vs_rest", given))


def test_metrics_and_report_have_detectors_where_there_are_scores(tmp_path):
    result = metrics_of(said(), resamples=50)
    each = result["detectors"]["per_class"]["b"]["detector_recall"]
    assert each["value"] == pytest.approx(per_class(said())["detector_recall"][1])
    assert each["low"] <= each["value"] <= each["high"]
    assert "detectors" not in metrics_of(said(scores=False), resamples=0)
    run_report(tmp_path / "report.html", said(), title="detectors", result=result)
    assert "One-vs-rest classifiers at a threshold" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "tables" / "detectors.csv").is_file()


def test_scores_are_stored_beside_probabilities_and_older_files_load(tmp_path):
    given = said()
    given.save(tmp_path / "new.parquet")
    said(scores=False).save(tmp_path / "old.parquet")
    new = Predictions.load(tmp_path / "new.parquet")
    np.testing.assert_array_equal(new.scores, given.scores)
    assert new.classes == given.classes
    assert Predictions.load(tmp_path / "old.parquet").scores is None
    np.testing.assert_array_equal(new.take([3, 1]).scores, given.scores[[3, 1]])
    joined = replace(given, clip=given.subject, labels=np.zeros(40, dtype=int)).by_clip("vote")
    np.testing.assert_allclose(joined.scores[1], given.scores[1::4].mean(axis=0))


@pytest.mark.parametrize(
    ("scores", "says"), [(np.zeros((40, 2)), "scores of shape 40 x 3"), (np.full((40, 3), 1.1), "0 to 1")]
)
def test_scores_that_cannot_be_are_refused(scores, says):
    with pytest.raises(InputError, match=says):
        replace(said(), scores=scores)
