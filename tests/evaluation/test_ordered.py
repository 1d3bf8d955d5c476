"""Metrics of ordered classes against scikit-learn, an analysis of variance and identities."""

import json
import math
from dataclasses import replace
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from evenface.evaluation import metrics
from evenface.evaluation.bootstrap import units_of
from evenface.evaluation.comparison import compare
from evenface.evaluation.metric_registry import HEADLINE, METRICS, label, lower_is_better, metric_names, reported
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured, metrics_of
from evenface.reporting import report, summaries, tables
from evenface.utils.errors import InputError

ORDERED = tuple(name for name, entry in METRICS.items() if entry.task == "ordinal")
CONTINUOUS = tuple(name for name, entry in METRICS.items() if entry.task == "regression")
NAMES = [
    name
    for name in metric_names()
    if (entry := METRICS[name.removeprefix("clip_")]).task != "multilabel"
    and entry.needs not in ("run", "training_counts")
]
LEVELS = ("BL1", "PA1", "PA2", "PA3", "PA4")


@st.composite
def levelled(draw, c=5):
    n = draw(st.integers(1, 50))
    level = st.integers(0, c - 1)
    return draw(hnp.arrays(np.int64, n, elements=level)), draw(hnp.arrays(np.int64, n, elements=level))


def matrix_of(truth, guess):
    return metrics.confusion_matrix(truth, guess, 5)


def shrout_fleiss(ratings):
    """ICC(3,1) by the mean squares of a two-way table, (targets, raters)."""
    n, k = ratings.shape
    grand = ratings.mean()
    between = k * ((ratings.mean(axis=1) - grand) ** 2).sum()
    raters = n * ((ratings.mean(axis=0) - grand) ** 2).sum()
    rest = ((ratings - grand) ** 2).sum() - between - raters
    bms, ems = between / (n - 1), rest / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems)


@given(levelled())
def test_distance_and_kappa_equal_scikit_learn(drawn):
    truth, guess = drawn
    matrix = matrix_of(truth, guess)
    assert float(metrics.mean_absolute_error(matrix)) == pytest.approx(sk.mean_absolute_error(truth, guess))
    agreement = float(metrics.quadratic_weighted_kappa(matrix))
    if len(set(truth) | set(guess)) == 1:
        assert math.isnan(agreement)  # all are of one level and called that: chance agrees always
    else:
        assert agreement == pytest.approx(sk.cohen_kappa_score(truth, guess, labels=range(5), weights="quadratic"))


@given(levelled())
def test_icc_equals_the_analysis_of_variance(drawn):
    truth, guess = drawn
    got = float(metrics.icc_3_1(matrix_of(truth, guess)))
    if np.ptp(truth) == np.ptp(guess) == 0:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(shrout_fleiss(np.stack([truth, guess], axis=1).astype(float)), abs=1e-9)


def test_the_analysis_of_variance_gives_the_figure_in_print():
    # Shrout and Fleiss 1979, table 2: six targets, four judges; table 4 prints .71 for ICC(3,1).
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
    )
    assert shrout_fleiss(ratings) == pytest.approx(0.71, abs=0.005)


@given(hnp.arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 3)).filter(lambda y: np.ptp(y) > 0))
def test_a_constant_shift_costs_kappa_but_not_icc(truth):
    shifted = matrix_of(truth, truth + 1)
    assert float(metrics.icc_3_1(shifted)) == pytest.approx(1)
    assert float(metrics.mean_absolute_error(shifted)) == pytest.approx(1)
    assert float(metrics.quadratic_weighted_kappa(shifted)) < 1


@given(levelled())
def test_turning_the_scale_round_changes_nothing(drawn):
    matrix = matrix_of(*drawn)
    for name, function in ((name, METRICS[name].function) for name in ORDERED):
        value, low, high = float(function(matrix)), 0 if name == "mae" else -1, 4 if name == "mae" else 1
        np.testing.assert_allclose(function(matrix[::-1, ::-1]), value, atol=1e-9, err_msg=name)
        assert math.isnan(value) or low - 1e-9 <= value <= high + 1e-9, name


@given(st.lists(levelled(), min_size=2, max_size=4))
def test_a_stack_gives_what_its_matrices_give(drawn):
    stack = [matrix_of(*one) for one in drawn]
    for name, function in ((name, METRICS[name].function) for name in ORDERED):
        np.testing.assert_allclose(
            function(np.stack(stack).astype(np.float32)), [function(one) for one in stack], rtol=1e-12, err_msg=name
        )


def test_nobody_gives_no_number():
    for name, function in ((name, METRICS[name].function) for name in ORDERED):
        assert np.isnan(function(np.zeros((5, 5)))), name


def graded(n=120, people=12, seed=0, skill=1.0, clips=None, ordered=True, classes=LEVELS):
    """Predictions of levels; those near the true one are likelier."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes) if clips is None else (np.arange(n) // clips) % len(classes)
    logits = random.normal(size=(n, len(classes))) - skill * np.abs(np.arange(len(classes)) - labels[:, None])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    unit = np.arange(n) if clips is None else np.arange(n) // clips
    who = None if people is None else np.array([f"p{u % people}" for u in unit], dtype=object)
    clip = None if clips is None else np.array([f"c{u}" for u in unit], dtype=object)
    return Predictions(np.array([f"s{i}" for i in range(n)], dtype=object), who, labels, p, classes, clip, ordered)


def test_the_expected_level_is_the_mean_of_levels():
    given_ = graded(40)
    naive = [
        abs(sum(k * p for k, p in enumerate(row)) - y)
        for row, y in zip(given_.probabilities, given_.labels, strict=True)
    ]
    assert measured("expected_mae", given_) == pytest.approx(np.mean(naive))
    sure = replace(given_, probabilities=np.eye(5)[given_.predicted])
    assert measured("expected_mae", sure) == pytest.approx(measured("mae", given_))


def test_every_name_is_measured_by_sample_and_by_clip():
    given_ = graded(120, clips=4)
    joined = given_.by_clip()
    for name in NAMES:
        whole = measured(name, given_)
        assert math.isfinite(whole), name
        if not name.startswith("clip_"):
            assert measured(f"clip_{name}", given_) == measured(name, joined), name
            assert math.isnan(measured(f"clip_{name}", graded())), name
    assert measured("clip_accuracy", given_) == np.mean(joined.predicted == joined.labels)


def test_recall_is_detection_whatever_the_mean_and_means_are_weighted_by_support():
    given_ = graded(73)
    assert measured("macro_recall", given_) == measured("macro_pd", given_) == measured("balanced_accuracy", given_)
    assert measured("weighted_recall", given_) == measured("weighted_pd", given_)
    matrix = matrix_of(given_.labels, given_.predicted)
    for name, each in ((entry.name, entry.function) for entry in METRICS.values() if entry.per_class):
        if METRICS[name].needs != "confusion":
            continue
        expected = np.average(each(matrix), weights=given_.support)
        assert measured(f"weighted_{name}", given_) == pytest.approx(expected), name
    weighted = sum(
        n / 73 * np.mean((given_.labels == k) == (given_.predicted == k)) for k, n in enumerate(given_.support)
    )
    assert measured("weighted_accuracy_one_vs_rest", given_) == pytest.approx(weighted)  # eq 7 of p1, literally


def test_small_is_good_of_errors_and_alarms_only():
    given_, better = graded(200, skill=0.5), graded(200, skill=3.0)
    for name in NAMES:
        if not name.startswith("clip_"):
            gain = measured(name, better) - measured(name, given_)
            assert (gain < 0) == lower_is_better(name) == lower_is_better(f"clip_{name}"), name


def test_a_result_says_of_levels_and_clips_what_the_metrics_say_of_them():
    given_ = graded(240, clips=4)
    result = metrics_of(given_, resamples=200)
    clips = given_.by_clip()
    assert result["levels"] == {
        name: {"value": pytest.approx(measured(name, given_)), "low": ANY, "high": ANY}
        for name in (*ORDERED, *CONTINUOUS)
    }
    for entry in (*result["levels"].values(), *result["by_clip"]["levels"].values()):
        assert entry["low"] < entry["value"] < entry["high"]
    assert result["by_clip"] == metrics_of(clips, resamples=200)
    assert (result["by_clip"]["samples"], result["by_clip"]["units"]) == (60, 12)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    plain = metrics_of(graded(60, ordered=False), resamples=9)
    assert not {"levels", "by_clip", "mixed"} & set(plain)


def test_intervals_take_people_else_clips_else_samples():
    known, nobody = graded(120, clips=4), graded(120, clips=4, people=None)
    assert [units_of(p).name for p in (known, nobody, replace(nobody, clip=None))] == ["people", "clips", "samples"]
    units = units_of(nobody)
    assert units.count == 30
    assert [set(units.codes[nobody.clip == clip]) for clip in nobody.clip[::4]] == [{c} for c in units.codes[::4]]
    alike = replace(nobody, probabilities=np.repeat(nobody.probabilities[::4], 4, axis=0))
    by_clip = metrics_of(alike, resamples=500)["overall"]["accuracy"]
    by_sample = metrics_of(replace(alike, clip=None), resamples=500)["overall"]["accuracy"]
    ratio = (by_clip["high"] - by_clip["low"]) / (by_sample["high"] - by_sample["low"])
    assert ratio == pytest.approx(2, rel=0.2)  # the design effect of four samples that are one


def test_screens_say_levels_and_clips_in_a_line_each():
    given_ = graded(240, clips=4)
    lines = summaries.metrics_summary(metrics_of(given_, resamples=50))
    assert lines[1].startswith(f"MAE {measured('mae', given_):.3f} [")
    assert f"ICC(3,1) {measured('icc', given_):.3f}" in lines[1]
    assert lines[2].startswith(f"continuous   RMSE {measured('rmse', given_):.3f} [")
    assert lines[3].startswith(f"by clip (60)   balanced accuracy {measured('clip_balanced_accuracy', given_):.3f} [")
    assert f"MAE {measured('clip_mae', given_):.3f}" in lines[3]
    assert len(lines) == 5
    labels = given_.labels.copy()
    labels[0] = (labels[0] + 1) % 5
    lines = summaries.metrics_summary(metrics_of(replace(given_, labels=labels), resamples=9))
    assert any("no result by clip" in line for line in lines)
    assert len(summaries.metrics_summary(metrics_of(graded(60, ordered=False), resamples=9))) == 2


def test_methods_are_compared_by_level_and_by_clip():
    weak, strong = graded(240, clips=4, skill=0.2), graded(240, clips=4, seed=1, skill=1.5)
    found = compare({"weak": weak, "strong": strong}, resamples=200)
    every = [entry.name for entry in reported(weak)]
    assert {*HEADLINE, *ORDERED, *CONTINUOUS} <= set(every)
    assert list(found.pairs[0].overall) == [*every, *(f"clip_{name}" for name in every)]
    keys = [key for key in found.pairs[0].overall if key.removeprefix("clip_") in (*HEADLINE, *ORDERED, *CONTINUOUS)]
    for key in keys:
        d = found.pairs[0].overall[key]
        assert d.value == pytest.approx(measured(key, strong) - measured(key, weak)), key
        assert d.certain, key
        assert (d.value < 0) == key.endswith(("mae", "rmse"))
    joined = compare({"weak": weak.by_clip(), "strong": strong.by_clip()}, resamples=200)
    for key in (*HEADLINE, *ORDERED):  # people are the units of both
        assert replace(found.pairs[0].overall[f"clip_{key}"], name=key) == joined.pairs[0].overall[key]
    assert "by clip, difference +" in summaries.comparison_summary(found)
    assert summaries.comparison_summary(found).splitlines()[-1].endswith("strong is better")
    lower = tables.pairs_table(found).note.partition("Lower is better: ")[2].rstrip(".").split("; ")
    assert lower == [label(key) for key in keys if key.endswith(("mae", "rmse"))]
    plain = compare({"weak": replace(weak, ordered=False), "strong": strong}, resamples=20)
    assert not any(METRICS[key.removeprefix("clip_")].task != "classification" for key in plain.pairs[0].overall)
    assert {f"{prefix}{name}" for prefix in ("", "clip_") for name in HEADLINE} <= set(plain.pairs[0].overall)
    with pytest.raises(InputError, match="disagree on the clips"):
        compare({"weak": weak, "strong": replace(strong, clip=np.roll(strong.clip, 4))}, resamples=20)


def test_pages_show_levels_and_clips(tmp_path):
    given_ = graded(240, clips=4)
    page = report.run_report(tmp_path / "run" / "report.html", given_, title="pain").read_text("utf-8")
    assert 'id="levels"' in page
    assert 'id="clips"' in page
    table = pd.read_csv(tmp_path / "run" / "tables" / "levels.csv").set_index("metric")
    assert table.loc["ICC(3,1)"].iloc[0] == pytest.approx(measured("icc", given_))
    assert table.loc["ICC(3,1)"].iloc[3] == pytest.approx(measured("clip_icc", given_))
    clips = pd.read_csv(tmp_path / "run" / "tables" / "by-clip.csv").set_index("metric")
    assert clips.loc["accuracy"].iloc[[0, 3]].tolist() == pytest.approx(
        [measured("accuracy", given_), measured("clip_accuracy", given_)]
    )
    both = {"a": given_, "b": graded(240, clips=4, seed=2)}
    report.comparison_report(tmp_path / "both" / "report.html", both, title="two")
    table = pd.read_csv(tmp_path / "both" / "tables" / "methods-further.csv").set_index("method")
    assert table.loc["a", "quadratic kappa by clip"] == pytest.approx(measured("clip_qwk", given_))
