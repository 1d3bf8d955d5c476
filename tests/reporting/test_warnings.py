"""Warnings before results: leaky splits, implausible results; and units of replication of a study."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from finished_run import RECIPE_OF, ended
from scipy import stats
from statsmodels.stats.multitest import multipletests

from evenface import api
from evenface.config import load_recipe
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured
from evenface.reporting import summaries
from evenface.studies.definition import Study
from evenface.studies.plan import make_plan
from evenface.studies.run import claim

LEVELS = ("BL1", "PA1", "PA2", "PA3", "PA4")
LEAKY = "LEAKY: split by frame as requested: frames of {} clips and of 4 subjects are in both training and test set"


def guesses(right, seed=0, n=200, people=10, clips=4, classes=LEVELS, ordered=True):
    """Predictions of windows of clips, of which a share is right, clip by clip."""
    unit = np.arange(n) // clips
    labels = unit % len(classes)
    random = np.random.default_rng(seed)
    hit = random.permutation(np.arange(n // clips) < right * n / clips)[unit]
    said = np.where(hit, labels, (labels + 1 + random.integers(0, len(classes) - 1, n // clips)[unit]) % len(classes))
    p = np.full((n, len(classes)), 0.1 / (len(classes) - 1))
    p[np.arange(n), said] = 0.9
    numbers = {"s": np.arange(n), "p": unit % people, "c": unit}
    names, subject, clip = (np.array([f"{x}{k}" for k in each], dtype=object) for x, each in numbers.items())
    return Predictions(names, subject, labels, p, classes, clip, ordered)


@pytest.mark.parametrize(
    ("right", "source", "classes", "trained", "said"),
    [
        (0.48, "biovid", LEVELS, ("q1",), True),
        (0.44, "biovid", LEVELS, ("q1",), False),
        (0.48, "clips", LEVELS, ("q1",), False),
        (0.90, "biovid", ("BL1", "PA4"), ("q1",), False),
        (0.48, "biovid", LEVELS, ("q1", "p3"), False),  # a person on both sides: another matter
    ],
)
def test_implausible_results_on_biovid_get_a_warning(tmp_path, right, source, classes, trained, said):
    run = ended(tmp_path / "run", guesses(right, classes=classes), source=source, trained=trained)
    found = summaries.run_warnings(run)
    assert bool(found) is said
    if said:
        assert all(figure in found[0] for figure in ("30.8 % (Werner 2016)", "31.5 %", "35.4 % (Gkikas 2024)"))
    assert summaries.run_summary(run)[: len(found)] == found


@pytest.mark.parametrize(
    ("source", "classes", "right", "figures"),
    [
        ("fer2013", 7, 0.78, ("above 77 %", "71.2 % (winner", "76.8 % with an ensemble of seven (Pham 2020)")),
        ("fer2013", 7, 0.76, ()),
        ("fer2013", 6, 0.99, ()),
        ("rafdb", 7, 0.94, ("above 93 %", "92.21 % (POSTER++, Mao 2023)")),
        ("rafdb", 7, 0.92, ()),
        ("affectnet", 7, 0.70, ("above 68 %", "67.49 % (POSTER++, Mao 2023)")),
        ("affectnet", 7, 0.66, ()),
        ("affectnet", 8, 0.70, ()),
    ],
)
def test_implausible_results_on_stills_get_a_warning_with_its_sources(tmp_path, source, classes, right, figures):
    given = guesses(right, n=400, clips=1, classes=tuple("abcdefgh"[:classes]), ordered=False)
    run = ended(tmp_path / "run", replace(given, subject=None, clip=None), source=source)
    found = summaries.run_warnings(run)
    assert len(found) == bool(figures)
    assert all(figure in found[0] for figure in figures)
    assert summaries.run_summary(run)[: len(found)] == found
    api.evaluate(run.folder)
    for name in ("report.html", "model-card.md"):
        text = (run.folder / name).read_text("utf-8")
        assert ("before trusting it" in text) is bool(figures)


def test_a_test_set_with_induced_imbalance_has_no_published_ceiling(tmp_path):
    recipe = load_recipe(RECIPE_OF, {"data.source": "fer2013", "protocol.imbalance": {"factor": 100, "on": "all"}})
    given = guesses(0.9, n=400, clips=1, classes=tuple("abcdefg"), ordered=False)
    run = ended(tmp_path / "run", replace(given, subject=None, clip=None), recipe=recipe)
    assert not summaries.run_warnings(run)


def test_implausible_results_by_clip_get_a_warning(tmp_path):
    given = guesses(0.8)
    p = given.probabilities.copy()
    doubtful = np.arange(200) % 4 > 0  # of each clip three windows just miss what the fourth one is sure of
    p[doubtful] = 0.2 / 3
    p[doubtful, given.predicted[doubtful]] = 0.35
    p[doubtful, (given.predicted[doubtful] + 1) % 5] = 0.45
    run = ended(tmp_path / "run", replace(given, probabilities=p))
    assert measured("accuracy", run.predictions) < 0.45 < measured("clip_accuracy", run.predictions)
    assert summaries.run_warnings(run)


def test_a_leakage_warning_comes_before_any_result(tmp_path):
    notes = ["made up", LEAKY.format(7)]
    leaky = ended(tmp_path / "leaky", guesses(0.8), notes=notes, trained=("p1",))
    honest = ended(tmp_path / "honest", guesses(0.3, seed=1), notes=["made up"])
    assert summaries.run_summary(api.evaluate(leaky.folder))[0] == notes[1]
    page = (leaky.folder / "report.html").read_text("utf-8")
    assert page.count(notes[1]) == 2  # the second time in the model card
    assert page.index(notes[1]) < page.index('class="tiles"') < page.index("Made up")
    assert not summaries.run_warnings(honest)
    both = api.compare([leaky.folder, honest.folder], out=tmp_path / "both", names=["leaky", "honest"])
    assert both.lines[0] == f"{notes[1]} (1 of 2 runs)"
    page = both.report.read_text("utf-8")
    assert page.index(notes[1]) < page.index('class="tiles"')


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A study of ended runs: two seeds in each of three folds, by frame and by subject."""
    folder = tmp_path_factory.mktemp("study") / "leak"
    content = {
        "name": "leak",
        "recipe": {**RECIPE_OF, "protocol": {"kind": "kfold", "folds": 3}},
        "factors": {"by": {"subject": {"protocol.by": "subject"}, "frame": {"protocol.by": "frame"}}},
        "seeds": 2,
        "folds": 3,
        "metrics": ["mae", "accuracy", "clip_accuracy", "qwk", "weighted_pf"],
        "baseline": {"by": "subject"},
    }
    plan = make_plan(Study.model_validate(content))
    claim(plan, folder)
    for run in plan.runs:
        by, torn = run.cell[0], run.cell[0] == "frame"
        right = (0.8 if torn else 0.3) + 0.02 * run.seed + 0.04 * run.fold
        predictions = guesses(right, seed=10 * run.fold + run.seed + 100 * torn)
        note = LEAKY.format(run.fold) if torn else "subject-independent split"
        ended(folder / run.folder, predictions, notes=[note], trained=("p1",), recipe=run.recipe)
        assert by in run.folder
    path = folder.parent / "leak.yaml"
    path.write_text(yaml.safe_dump(content))
    return api.study(path, out=folder)


def test_folds_are_the_units_of_replication(studied):
    table = pd.read_csv(studied.folder / "table.csv").set_index("by")
    for by in ("subject", "frame"):
        runs = studied.runs[studied.runs["by"] == by]
        for metric, name in (("mae", "MAE"), ("clip_accuracy", "accuracy by clip")):
            means = [runs.loc[runs["fold"] == fold, metric].mean() for fold in range(3)]
            mean, sd = np.mean(means), np.std(means, ddof=1)
            # Three folds: the training sets of any two share half their people.
            low, high = stats.t.interval(0.95, 2, mean, sd * np.sqrt(1 / 3 + 1 / 2))
            got = table.loc[by, [name, f"{name} low", f"{name} high", f"{name} sd"]].astype(float).tolist()
            ends = max(0, low), min(1, high) if metric == "clip_accuracy" else high
            assert got == pytest.approx([mean, *ends, sd])
        assert table.loc[by, ["folds", "runs"]].tolist() == [3, 6]
    page = studied.report.read_text("utf-8")
    assert "The unit of replication is the fold." in page
    change = next(change for change in studied.differences if change.metric == "mae")
    assert (change.unit, change.count) == ("folds", 3)
    by_fold = studied.runs.groupby(["by", "fold"])["mae"].mean()
    plain = stats.ttest_rel(by_fold["frame"], by_fold["subject"])
    assert change.p_paired_t == pytest.approx(plain.pvalue)
    corrected = plain.statistic * np.sqrt((1 / 3) / (1 / 3 + 1 / 2))
    assert change.difference.p == pytest.approx(2 * stats.t.sf(abs(corrected), 2))
    assert "corrected resampled t-test (Nadeau and Bengio, n_test/n_train = 0.5)" in page
    table = pd.read_csv(studied.folder / "differences.csv")
    assert table["p (plain paired t)"].tolist() == pytest.approx([c.p_paired_t for c in studied.differences])
    holm = multipletests([c.difference.p for c in studied.differences], method="holm")[1]
    assert table["p (Holm, all metrics)"].tolist() == pytest.approx(holm)
    assert "Holm: corrected over the 1 of one metric and data set. Not over the 5 metrics" in page


def test_a_study_marks_what_leaks_and_what_is_better_when_less(studied):
    assert studied.lines[0] == f"{LEAKY.format(0)} (6 of 12 runs) (as in the first of them)"
    table = pd.read_csv(studied.folder / "table.csv", keep_default_na=False).set_index("by")
    assert table["warning"].to_dict() == {"subject": "", "frame": "LEAKY"}
    assert "LEAKY" in (studied.folder / "table.md").read_text("utf-8")
    each = pd.read_csv(studied.folder / "runs.csv", keep_default_na=False)
    assert set(each.loc[each["by"] == "frame", "warning"]) == {"LEAKY"}
    page = studied.report.read_text("utf-8")
    assert page.index("LEAKY") < page.index('class="tiles"')
    assert "Lower is better: MAE; weighted PF." in page
    said = next(line for line in studied.lines if "by frame instead of subject" in line)
    assert said.lstrip().startswith("larger than noise")
    assert said.endswith(", better")


def test_one_person_left_out_is_named_as_the_unit(tmp_path):
    recipe = {**RECIPE_OF, "protocol": {"kind": "leave-one-out"}}
    content = {"name": "one", "recipe": recipe, "factors": {"x": {"a": {}}}, "folds": 4, "metrics": ["accuracy"]}
    plan = make_plan(Study.model_validate(content))
    claim(plan, tmp_path / "s")
    for run in plan.runs:
        ended(tmp_path / "s" / run.folder, guesses(0.3 + 0.03 * run.fold, people=1), recipe=run.recipe)
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(content))
    found = api.study(tmp_path / "one.yaml", out=tmp_path / "s")
    page = found.report.read_text("utf-8")
    assert "The unit of replication is the fold, which is one person left out." in page
    assert "test sets share nobody, training sets all people but two" in page
    value, sd = found.runs["accuracy"].mean(), found.runs["accuracy"].std()
    low = value - stats.t.ppf(0.975, 3) * sd * np.sqrt(1 / 4 + 1 / 2)  # two people are trained on, one is tested
    assert pd.read_csv(found.folder / "table.csv")["accuracy low"].tolist() == pytest.approx([max(0, low)])
    assert pd.read_csv(found.folder / "table.csv")["folds"].tolist() == [4]


def test_where_no_repetition_differs_people_are_compared(tmp_path):
    content = {
        "name": "steady",
        "recipe": {"name": "r", "data": {"source": "folder", "root": "x"}},
        "seeds": 3,
        "metrics": ["accuracy"],
        "factors": {"loss": {"plain": {}, "focal": {"loss.name": "focal"}}},
        "baseline": {"loss": "plain"},
    }
    plan = make_plan(Study.model_validate(content))
    claim(plan, tmp_path / "s")
    for run in plan.runs:
        right = guesses(0.9 if run.cell[0] == "focal" else 0.4, seed=run.cell[0] == "focal")
        ended(tmp_path / "s" / run.folder, right, recipe=run.recipe, source="folder")
    (tmp_path / "steady.yaml").write_text(yaml.safe_dump(content))
    found = api.study(tmp_path / "steady.yaml", out=tmp_path / "s")
    (change,) = found.differences
    assert change.unit == "people"
    assert change.difference.value == pytest.approx(0.5)
    assert change.difference.low < 0.5 < change.difference.high
    assert change.certain
    assert any("over people" in line for line in found.lines)
