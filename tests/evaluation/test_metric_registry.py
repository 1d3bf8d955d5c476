"""Every registered metric: reference, range, permutations, bootstrap draws, and every place where metrics appear."""

import importlib.util
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from finished_run import RECIPE_OF, ended
from sklearn import metrics as sk
from typer.testing import CliRunner

from evenface import api
from evenface.cli import app
from evenface.evaluation.bootstrap import Units, draws
from evenface.evaluation.comparison import CHEAP_SAMPLES, _Permutations, _views, compare
from evenface.evaluation.metric_entry import RENAMED
from evenface.evaluation.metric_registry import METRICS, find_metric, known_direction, label, metric, reported
from evenface.evaluation.metrics import macro
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import over_defined
from evenface.evaluation.summary import Measures, measured, measured_each, metrics_of, subgroups
from evenface.reporting.report import comparison_report, run_report
from evenface.runs import Run
from evenface.studies import load_study
from evenface.studies.definition import Study
from evenface.studies.plan import make_plan
from evenface.studies.run import claim
from evenface.utils.errors import InputError

ROOT = Path(__file__).parents[2]
OF_PREDICTIONS = [name for name, entry in METRICS.items() if entry.needs != "run" and entry.task != "multilabel"]

COUNTS = (300, 101, 100, 20, 19)
"""Training samples: two classes are many-shot, two medium-shot and one few-shot."""


@cache
def graded(n=120, seed=0, *, only=None, said=None, perfect=False, people=12):
    """Predictions of five ordered levels with scores, a continuous output and training counts."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, n) if only is None else random.choice(only, n)
    logits = random.normal(size=(n, 5)) - 0.6 * np.abs(np.arange(5) - labels[:, None])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if said is not None:
        p = np.tile(np.where(np.arange(5) == said, 0.6, 0.1), (n, 1))
    scores, output = random.random((n, 5)), labels + random.normal(size=n)
    if perfect:
        p = scores = np.eye(5)[labels]
        output = labels.astype(float)
    names, who = ([f"{letter}{i}" for i in ids] for letter, ids in (("s", range(n)), ("p", np.arange(n) % people)))
    classes = tuple("01234")
    return Predictions(
        names, np.array(who, object), labels, p, classes, None, True, scores, output, None, training_counts=COUNTS
    )


def value_of(name, predictions):
    return measured_each(name, predictions) if METRICS[name].per_class else measured(name, predictions)


# --- references, none of which uses a function of the package -----------------------------------------------------


def two_by_two(predictions, chosen=None):
    """TP, FP, FN, TN of each class, counted sample by sample; ``chosen`` (N, C) says which are taken for a class."""
    chosen = np.eye(5, dtype=bool)[predictions.probabilities.argmax(axis=1)] if chosen is None else chosen
    counts = []
    for k in range(5):
        pairs = [(bool(y == k), bool(row[k])) for y, row in zip(predictions.labels, chosen, strict=True)]
        counts.append([pairs.count(cell) for cell in ((True, True), (False, True), (True, False), (False, False))])
    return counts


def ratio(top, bottom):
    return top / bottom if bottom else math.nan


def each(rule, chosen=None):
    """Reference of a metric of each class from its TP, FP, FN, TN."""
    return lambda predictions: np.array(
        [rule(*cells) for cells in two_by_two(predictions, None if chosen is None else chosen(predictions))]
    )


def averaged(reference, *, weighted=False):
    """Mean of a reference over the classes of the truth that have a value."""

    def mean(predictions):
        counts = [int((predictions.labels == k).sum()) for k in range(5)]
        pairs = [(n if weighted else 1, v) for n, v in zip(counts, reference(predictions), strict=True) if n]
        pairs = [(n, v) for n, v in pairs if not math.isnan(v)]
        return ratio(sum(n * v for n, v in pairs), sum(n for n, _ in pairs))

    return mean


def recall(tp, fp, fn, tn):
    return ratio(tp, tp + fn)


def alarm(tp, fp, fn, tn):
    return ratio(fp, fp + tn)


def f1(tp, fp, fn, tn):
    return 2 * tp / (2 * tp + fp + fn) if tp + fn else math.nan


def skewless_f1(tp, fp, fn, tn):
    """F1 after the negatives are weighed so that they are as many as the positives."""
    if not tp + fn or not fp + tn:
        return math.nan
    scaled = fp * (tp + fn) / (fp + tn)
    return 2 * tp / (2 * tp + scaled + fn)


def balance(tp, fp, fn, tn):
    return 1 - math.dist((0, 1), (alarm(tp, fp, fn, tn), recall(tp, fp, fn, tn))) / math.sqrt(2)


PER_CLASS = {
    "recall": recall,
    "precision": lambda tp, fp, fn, tn: ratio(tp, tp + fp),
    "f1": f1,
    "specificity": lambda tp, fp, fn, tn: ratio(tn, tn + fp),
    "pf": alarm,
    "pd_pf_balance": balance,
    "accuracy_one_vs_rest": lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn),
    "skew_normalized_f1": skewless_f1,
}


def geometric_mean(predictions):
    recalls = [value for value in each(recall)(predictions) if not math.isnan(value)]
    return math.prod(recalls) ** (1 / len(recalls))


def shot(low, high):
    """Accuracy over the samples of classes whose training counts lie from low to high."""

    def accuracy(predictions):
        rows = [i for i, y in enumerate(predictions.labels) if low <= COUNTS[y] <= high]
        hits = sum(predictions.probabilities[i].argmax() == predictions.labels[i] for i in rows)
        return ratio(hits, len(rows))

    return accuracy


def area(function, *, both):
    """Scikit-learn's area of each class against the rest; NaN where the class, or the rest where needed, is absent."""

    def areas(predictions):
        sides = [(predictions.labels == k, predictions.probabilities[:, k]) for k in range(5)]
        return np.array([function(y, s) if y.any() and not (both and y.all()) else math.nan for y, s in sides])

    return areas


def calibration(predictions):
    confidence, total = predictions.probabilities.max(axis=1), 0.0
    right = predictions.probabilities.argmax(axis=1) == predictions.labels
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


def guess(predictions):
    return predictions.probabilities.argmax(axis=1)


def defined(function):
    """NaN where the truth and the prediction are one class each, or either does not vary, as the metric asks."""

    def value(predictions):
        with np.errstate(all="ignore"):
            return function(predictions.labels.astype(float), guess(predictions).astype(float))

    return value


def shrout_fleiss(t, z):
    """ICC(2,1) and ICC(3,1) by the mean squares of a two-way table of two raters."""
    ratings, n = np.stack([t, z], axis=1), len(t)
    grand = ratings.mean()
    between, judges = 2 * ((ratings.mean(1) - grand) ** 2).sum(), n * ((ratings.mean(0) - grand) ** 2).sum()
    rest = max(((ratings - grand) ** 2).sum() - between - judges, 0.0)
    bms, jms, ems = ratio(between, n - 1), judges, ratio(rest, n - 1)
    return ratio(bms - ems, bms + ems + 2 * (jms - ems) / n), ratio(bms - ems, bms + ems)


def lin(t, z):
    return ratio(2 * np.cov(t, z, bias=True)[0, 1], t.var() + z.var() + (t.mean() - z.mean()) ** 2)


def output(function):
    return lambda predictions: function(predictions.labels.astype(float), predictions.output)


def agreement(function, **options):
    """Scikit-learn's chance-corrected agreement; NaN where chance alone agrees always."""

    def value(predictions):
        truth, chosen = predictions.labels, guess(predictions)
        if len({*truth, *chosen}) == 1:
            return math.nan
        return function(truth, chosen, **options)

    return value


def matthews(predictions):
    truth, chosen = predictions.labels, guess(predictions)
    if len(set(truth)) == 1 or len(set(chosen)) == 1:
        return math.nan
    return sk.matthews_corrcoef(truth, chosen)


def correlation(t, z):
    return np.corrcoef(t, z)[0, 1] if t.std() and z.std() else math.nan


def fires(predictions):
    return predictions.scores >= 0.5


REFERENCES = {
    **{name: each(rule) for name, rule in PER_CLASS.items()},
    **{f"macro_{name}": averaged(each(rule)) for name, rule in PER_CLASS.items()},
    **{f"weighted_{name}": averaged(each(rule), weighted=True) for name, rule in PER_CLASS.items()},
    "balanced_accuracy": lambda given: sk.recall_score(
        given.labels, guess(given), average="macro", labels=np.unique(given.labels)
    ),
    "accuracy": lambda given: sk.accuracy_score(given.labels, guess(given)),
    "macro_pd": averaged(each(recall)),
    "weighted_pd": averaged(each(recall), weighted=True),
    "g_mean": geometric_mean,
    "many_shot_accuracy": shot(101, math.inf),
    "medium_shot_accuracy": shot(20, 100),
    "few_shot_accuracy": shot(0, 19),
    "mcc": matthews,
    "kappa": agreement(sk.cohen_kappa_score),
    "qwk": agreement(sk.cohen_kappa_score, weights="quadratic"),
    "mae": lambda given: sk.mean_absolute_error(given.labels, guess(given)),
    "icc": defined(lambda t, g: shrout_fleiss(t, g)[1]),
    "average_precision": area(sk.average_precision_score, both=False),
    "macro_average_precision": averaged(area(sk.average_precision_score, both=False)),
    "roc_auc": area(sk.roc_auc_score, both=True),
    "macro_roc_auc": averaged(area(sk.roc_auc_score, both=True)),
    "log_loss": lambda given: sk.log_loss(given.labels, given.probabilities, labels=range(5)),
    "brier": lambda given: float(((given.probabilities - np.eye(5)[given.labels]) ** 2).sum() / len(given)),
    "ece": calibration,
    "expected_mae": output(sk.mean_absolute_error),
    "macro_mae": output(lambda t, z: float(np.mean([np.abs(z - t)[t == level].mean() for level in set(t)]))),
    "rmse": output(sk.root_mean_squared_error),
    "pearson": output(correlation),
    "ccc": output(lin),
    "icc_3_1": output(lambda t, z: shrout_fleiss(t, z)[1]),
    "icc_2_1": output(lambda t, z: shrout_fleiss(t, z)[0]),
    **{f"class_detector_{name}": each(PER_CLASS[name], fires) for name in ("recall", "precision", "f1", "specificity")},
    "class_detector_accuracy": each(PER_CLASS["accuracy_one_vs_rest"], fires),
    "training_seconds": lambda facts: facts["training_seconds"],
}
for name in ("accuracy", "recall", "precision", "f1", "specificity"):
    REFERENCES[f"detector_{name}"] = averaged(REFERENCES[f"class_detector_{name}"])


def test_every_metric_has_a_reference():
    of_targets = {name for name, entry in METRICS.items() if entry.task == "multilabel"}  # tested beside their targets
    assert set(REFERENCES) == set(METRICS) - of_targets
    assert METRICS["training_seconds"].function({"training_seconds": 3}) == 3
    assert math.isnan(METRICS["training_seconds"].function({}))


CASES = {
    "ordinary": lambda seed: graded(seed=seed),
    "classes absent": lambda seed: graded(40, seed, only=(1, 3)),
    "one class": lambda seed: graded(30, seed, only=(2,)),
    "one answer": lambda seed: graded(30, seed, said=4),
    "one class and one answer": lambda seed: graded(10, seed, only=(0,), said=0),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", OF_PREDICTIONS)
def test_a_metric_is_its_reference_also_where_classes_are_absent(name, case):
    for seed in range(2):
        given = CASES[case](seed)
        got, (low, high) = value_of(name, given), METRICS[name].range
        np.testing.assert_allclose(got, REFERENCES[name](given), rtol=1e-9, atol=1e-9)
        known = np.atleast_1d(got)[~np.isnan(np.atleast_1d(got))]
        assert ((known >= low - 1e-9) & (known <= high + 1e-9)).all()
        assert np.shape(got) == ((5,) if METRICS[name].per_class else ())


@pytest.mark.parametrize("name", OF_PREDICTIONS)
def test_a_perfect_prediction_has_the_better_bound(name):
    entry = METRICS[name]
    best = entry.range[1] if entry.higher_is_better else entry.range[0]
    assert value_of(name, graded(perfect=True)) == pytest.approx(best)


@pytest.mark.parametrize("name", OF_PREDICTIONS)
def test_the_order_of_samples_and_where_declared_of_classes_does_not_matter(name):
    given, random = graded(), np.random.default_rng(3)
    shuffled = given.take(random.permutation(len(given)))
    np.testing.assert_allclose(value_of(name, shuffled), value_of(name, given), rtol=1e-9)
    if not METRICS[name].symmetric:
        assert METRICS[name].task != "classification"
        return
    order = random.permutation(5)
    turned = replace(
        given,
        labels=np.argsort(order)[given.labels],
        probabilities=given.probabilities[:, order],
        scores=given.scores[:, order],
        training_counts=np.array(COUNTS)[order],
    )
    expected = value_of(name, given)
    np.testing.assert_allclose(value_of(name, turned), expected[order] if METRICS[name].per_class else expected)


@pytest.fixture(scope="module")
def resampled():
    """Measures of twelve draws of six people, and the predictions of each draw, people repeated as they were drawn."""
    given = graded(60, people=6)
    measures = Measures(given, resamples=12, seed=5)
    repeated = []
    for weights in np.concatenate(list(draws(6, 12, 5))).astype(int)[:, measures.units.codes]:
        rows = np.repeat(np.arange(60), weights)
        fields = {field: getattr(given, field)[rows] for field in ("labels", "probabilities", "scores", "output")}
        repeated.append(replace(given, subject=None, sample=[f"x{i}" for i in range(len(rows))], **fields))
    return measures, repeated


@pytest.mark.parametrize("name", OF_PREDICTIONS)
def test_draws_are_the_metric_of_the_people_drawn_with_all_their_samples(name, resampled):
    measures, repeated = resampled
    got = measures.drawn(METRICS[name])
    if METRICS[name].interval == "none":
        assert not len(got)
        return
    np.testing.assert_allclose(got, [value_of(name, given) for given in repeated], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["macro_roc_auc", "macro_average_precision", "ece", "log_loss", "g_mean", "rmse"])
def test_swaps_are_the_metric_after_predictions_changed_hands(name):
    first, second = graded(60, people=6), graded(60, people=6, seed=1)
    second = replace(second, labels=first.labels)
    [view] = _views({"a": (first,), "b": (second,)}, 5, 7, None)
    seen, swapped = _Permutations(view, 7).differences(METRICS[name], "b")
    assert seen == pytest.approx(measured(name, second) - measured(name, first))
    possible = []
    for coins in np.ndindex(*[2] * 6):
        kept = np.array(coins, dtype=bool)[view.units.codes]
        mixed = []
        for own, other in ((first, second), (second, first)):
            p = np.where(kept[:, None], own.probabilities, other.probabilities)
            mixed.append(replace(own, probabilities=p, output=np.where(kept, own.output, other.output)))
        possible.append(measured(name, mixed[1]) - measured(name, mixed[0]))
    assert np.abs(np.subtract.outer(swapped, possible)).min(axis=1).max() < 1e-7
    assert len(np.unique(swapped.round(6))) > 40  # of 64


def test_the_page_of_metrics_lists_every_one():
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    rows = {line.split("`")[1]: line for line in conf.metric_table().splitlines()[2:]}
    assert list(rows) == list(METRICS)
    assert all(entry.summary and entry.label in rows[name] for name, entry in METRICS.items())
    assert "_generated/metrics.md" in (ROOT / "docs" / "evaluation.md").read_text("utf-8")


# --- a metric of one's own ---------------------------------------------------------------------------------------


@pytest.fixture
def own_metrics():
    """A metric of each kind that a user may add, each by its entry alone."""
    before = dict(METRICS)

    @metric(
        "found_rate",
        label="rate of findings",
        higher_is_better=True,
        range=(0, 1),
        per_class=True,
        averages={"macro": macro},
    )
    def found_rate(confusion):
        """Share of samples that are taken for each class."""
        return confusion.sum(axis=-2) / confusion.sum(axis=(-2, -1))[..., None]

    @metric("spread_loss", label="spread", higher_is_better=False, range=(0, 1), needs="losses")
    def spread_loss(probabilities, labels):
        """Largest less smallest probability."""
        return probabilities.max(axis=1) - probabilities.min(axis=1)

    @metric("top_two", label="top-two accuracy", higher_is_better=True, range=(0, 1), needs="probabilities")
    def top_two(probabilities, labels, weights=None):
        """Share of samples whose class is among the two most probable ones."""
        hit = (np.argsort(-probabilities, axis=1)[:, :2] == labels[:, None]).any(axis=1)
        return hit.mean() if weights is None else weights @ hit / weights.sum(axis=-1)

    yield "found_rate", "macro_found_rate", "spread_loss", "top_two"
    METRICS.clear()
    METRICS.update(before)


def labels_in(folder):
    """Words of the header and the first column of all tables."""
    frames = [pd.read_csv(path) for path in folder.glob("*.csv")]
    return {str(word) for frame in frames for word in (*frame.columns, *frame.iloc[:, 0])}


def test_an_entry_alone_puts_a_metric_into_reports_files_comparisons_and_subgroups(own_metrics, tmp_path):
    given = graded(200, people=20)
    other = replace(graded(200, seed=1, people=20), labels=given.labels)
    result = metrics_of(given, resamples=50)
    run_report(tmp_path / "run" / "report.html", given, title="run", result=result)
    comparison = compare({"a": given, "b": other}, resamples=50)
    comparison_report(tmp_path / "both" / "report.html", {"a": given, "b": other}, title="both", comparison=comparison)
    shown, both = (labels_in(tmp_path / name / "tables") for name in ("run", "both"))
    table = pd.read_csv(tmp_path / "both" / "tables" / "differences-all.csv").set_index("metric")
    detectors = result["detectors"]
    kept = {**result["overall"], **result["levels"], **detectors["mean"], **result["per_class"]["0"]}
    group = next(group for group in subgroups(given, ["x"] * 200, resamples=20))
    for name in [*OF_PREDICTIONS, *own_metrics]:
        entry = METRICS[name]
        assert known_direction(name) is known_direction(entry.label) is entry.higher_is_better
        assert all(known_direction(alias) is entry.higher_is_better for alias in entry.aliases)
        own = name.removeprefix("class_")
        stored = (detectors["per_class"]["0"] if own != name else kept)[own]
        assert stored["value"] == pytest.approx(np.atleast_1d(value_of(name, given))[0], nan_ok=True)
        assert {entry.label, own.removeprefix("detector_").replace("f1", "F1")} & shown, name
        if entry.per_class:
            continue
        assert entry.label in both
        difference = comparison.pairs[0].overall[name]
        assert difference.value == pytest.approx(measured(name, other) - measured(name, given))
        assert 0 < difference.p <= 1
        assert table.filter(like="difference").loc[label(name)].iloc[0] == pytest.approx(difference.value)
        assert name in group.metrics
        method = comparison.methods[0].overall[name]
        if entry.interval == "none":
            assert np.isnan([stored["low"] or np.nan, difference.low, method.low]).all()
        else:
            assert stored["low"] <= stored["value"] <= stored["high"]
            assert difference.low <= difference.value <= difference.high
            assert method.low <= method.value <= method.high
    for name in own_metrics:
        assert label(name) in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_curves_of_many_samples_are_resampled_only_where_they_are_named():
    n = CHEAP_SAMPLES // 2 + 1
    given = graded(n, people=20)
    runs = {"a": given, "b": replace(graded(n, seed=1, people=20), labels=given.labels)}
    values = compare(runs, resamples=20).pairs[0].overall
    named = compare(runs, resamples=20, metrics=["macro_roc_auc", "ece"]).pairs[0].overall
    assert list(named) == ["macro_roc_auc", "ece"]
    for name, entry in METRICS.items():
        if name in values:
            assert math.isnan(values[name].p) == math.isnan(values[name].p_holm) == (entry.needs == "probabilities")
    assert values["macro_roc_auc"].value == named["macro_roc_auc"].value
    assert math.isnan(values["macro_roc_auc"].low)
    assert named["macro_roc_auc"].low <= named["macro_roc_auc"].value <= named["macro_roc_auc"].high
    assert 0 < named["macro_roc_auc"].p <= 1
    assert 0 < named["ece"].p <= 1


def test_an_entry_alone_puts_a_metric_into_studies_and_their_statistics(own_metrics, tmp_path):
    content = {
        "name": "own",
        "recipe": {**RECIPE_OF, "protocol": {"kind": "kfold", "folds": 3}},
        "factors": {"lr": {"high": {"optimizer.lr": 1.0}, "low": {"optimizer.lr": 0.1}}},
        "folds": 3,
        "metrics": [*own_metrics, "many_shot_accuracy", "few_shot_accuracy", "training_seconds"],
        "statistics": {"metrics": ["macro_found_rate"]},
        "baseline": {"lr": "high"},
    }
    plan = make_plan(Study.model_validate(content))
    folder = tmp_path / "own"
    claim(plan, folder)
    expected = {name: [] for name in ("top_two", "few_shot_accuracy")}
    for run in plan.runs:
        given = replace(graded(seed=run.fold + 10 * (run.cell[0] == "low")), training_counts=None)
        opened = ended(folder / run.folder, given, recipe=run.recipe)
        assert opened.predictions.training_counts == (9,) * 5  # of run.json
        if run.cell[0] == "high":
            for name, values in expected.items():
                values.append(measured(name, opened.predictions))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    api.study(tmp_path / "own.yaml", out=folder)
    table = pd.read_csv(folder / "table.csv").set_index("lr")
    assert table.loc["high", "top-two accuracy"] == pytest.approx(np.mean(expected["top_two"]))
    assert table.loc["high", "few-shot accuracy"] == pytest.approx(np.mean(expected["few_shot_accuracy"]))
    assert math.isnan(table.loc["high", "many-shot accuracy"])
    assert table.loc["high", "training seconds"] == 1
    assert "Lower is better: spread; training seconds." in (folder / "report.html").read_text("utf-8")


def test_an_entry_alone_gives_stats_the_direction(own_metrics, tmp_path):
    random = np.random.default_rng(0)
    rows = [
        {"spread": random.random() + k, "method": name, "fold": fold}
        for fold in range(6)
        for k, name in enumerate(("good", "fair", "bad"))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    options = ("--value", "spread", "--factors", "method", "--unit", "fold")
    found = CliRunner().invoke(app, ["stats", str(tmp_path / "t.csv"), *options])
    assert "Average ranks (lower is better): good 1.00" in found.stdout, found.stderr


# --- what is refused, and names of before -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "clip_x"}, "is reserved for metrics of clips"),
        ({"needs": "faces"}, "unknown input 'faces'"),
        ({"needs": "losses", "per_class": True}, "gives no value for each class"),
        ({"averages": {"macro": over_defined}}, "only a metric of each class"),
        ({"name": "accuracy"}, "duplicate metric 'accuracy'"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(options, says):
    before = dict(METRICS)
    with pytest.raises(ValueError, match=says):
        metric(**{"name": "x", "label": "x", "higher_is_better": True, "range": (0, 1), **options})(lambda confusion: 0)
    assert before == METRICS


def test_the_old_name_of_the_balance_names_the_new_one():
    assert RENAMED["balance"] == "pd_pf_balance"
    study = {
        "name": "s",
        "recipe": RECIPE_OF,
        "factors": {"lr": {"a": {}, "b": {}}},
        "metrics": ["macro_balance"],
    }
    with pytest.raises(InputError, match="macro_balance is now called macro_pd_pf_balance"):
        load_study(study)
    with pytest.raises(InputError) as refused:
        find_metric("balance")
    assert refused.value.hint == "balance is now called pd_pf_balance."


def test_shot_groups_are_left_out_where_they_are_empty_or_training_counts_are_not_known(tmp_path):
    given = graded()

    def groups(predictions):
        return [entry.name for entry in reported(predictions) if "_shot_" in entry.name]

    assert groups(given) == ["many_shot_accuracy", "medium_shot_accuracy", "few_shot_accuracy"]
    assert groups(replace(given, training_counts=None)) == []
    assert groups(replace(given, training_counts=(500,) * 5)) == ["many_shot_accuracy"]
    assert math.isnan(measured("few_shot_accuracy", replace(given, training_counts=None)))
    assert not any(
        "_shot_" in name for name in metrics_of(replace(given, training_counts=None), resamples=0)["overall"]
    )
    uneven = compare({"a": given, "b": replace(given, training_counts=(500,) * 5)}, resamples=5)
    assert not any("_shot_" in name for name in uneven.pairs[0].overall)
    given.save(tmp_path / "p.parquet")
    assert Predictions.load(tmp_path / "p.parquet").training_counts == COUNTS
    assert given.take([0, 1]).training_counts == COUNTS
    with pytest.raises(InputError, match="5 classes need 5 training counts, found 2"):
        replace(given, training_counts=(1, 2))


def test_a_run_has_the_training_counts_of_its_file(tmp_path):
    run = ended(tmp_path / "run", replace(graded(), training_counts=None))
    facts = json.loads((run.folder / "run.json").read_text())
    assert list(run.predictions.training_counts) == facts["counts"]["train"] == [9] * 5
    assert Run(run.folder).predictions.training_counts == (9,) * 5


def test_g_mean_skewless_f1_and_shots_have_their_figures_by_hand():
    labels = np.repeat([0, 1, 2, 3, 4], [8, 4, 4, 2, 2])
    said = labels.copy()
    said[:4], said[8], said[16] = 1, 0, 4  # recalls 1/2, 3/4, 1, 1/2, 1
    p = np.eye(5)[said]
    given = Predictions([f"s{i}" for i in range(20)], None, labels, p, tuple("01234"), training_counts=COUNTS)
    assert measured("g_mean", given) == pytest.approx((0.5 * 0.75 * 0.5) ** 0.2)
    assert measured_each("skew_normalized_f1", given)[0] == pytest.approx(2 * 0.5 / (0.5 + 1 / 12 + 1))
    assert measured("many_shot_accuracy", given) == 7 / 12
    assert measured("medium_shot_accuracy", given) == 5 / 6
    assert measured("few_shot_accuracy", given) == 1
    assert measured("g_mean", replace(given, probabilities=np.eye(5)[np.where(said == 4, 0, said)])) == 0


def test_units_may_be_given():
    given = graded(20)
    alone = Measures(given, Units(np.arange(20), 20, "samples"), resamples=30)
    assert alone.units.count == 20
    assert Measures(given).units.count == 12
