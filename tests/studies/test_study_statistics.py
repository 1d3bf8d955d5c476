"""Statistics of a study: units of replication, and tables against independent implementations."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evenface.studies import load_study
from evenface.studies.plan import StudyOptions, make_plan
from evenface.studies.results import OVERLAP, baseline_differences, comparisons, replications, train_overlap
from evenface.studies.tables import difference_table, per_class_table, statistics_lines, statistics_of
from evenface.utils.errors import InputError

METRICS = ("detector_accuracy", "detector_recall")
CLASSES = ("anger", "fear", "happy")
STUDY = {
    "name": "s",
    "recipe": {
        "name": "r",
        "data": {"source": "sequences", "root": "/nowhere"},
        "protocol": {"cohorts": 40},
        "network": {"name": "recurrent"},
    },
    "factors": {
        "kind": {"lstm": {"network.recurrent.kind": "lstm"}, "gru": {}},
        "loss": {"adaptive": {}, "standard": {"optimizer.lr": 0.1}},
    },
    "folds": 36,
    "metrics": [*METRICS, "training_seconds"],
    "baseline": {"kind": "lstm"},
    "statistics": {"margins": {"detector_accuracy": 0.02}, "mixed_model": True},
}


def measured(plan, seed=0, gain=0.05):
    """Runs as `measure` gives them, with values drawn by chance; gru is better by ``gain``."""
    rng = np.random.default_rng(seed)
    person = dict(enumerate(rng.normal(0, 0.05, 100)))
    rows = []
    for run in plan.runs:
        row = {**dict(zip(plan.factors, run.cell, strict=True)), "seed": run.seed, "fold": run.fold, "test": ""}
        row[OVERLAP] = train_overlap(run.recipe.protocol, {})
        for metric in METRICS:
            values = 0.7 + person[run.fold] + gain * (run.cell[0] == "gru") + rng.normal(0, 0.05, len(CLASSES))
            row |= {f"class_{metric} of {label}": value for label, value in zip(CLASSES, values, strict=True)}
            row[metric] = values.mean()
        rows.append(row)
    return pd.DataFrame(rows)


def rows_of(table):
    return list(csv.DictReader(io.StringIO(table.csv())))


@pytest.fixture(scope="module")
def plan():
    return make_plan(load_study(STUDY))


@pytest.fixture(scope="module")
def found(plan):
    return {one.replication.kind: one for one in statistics_of(plan, measured(plan))}


def table_of(found, reading, start):
    return next(table for table in found[reading].tables if table.title.startswith(f"Table {start}."))


def test_folds_of_a_study_with_cohorts_name_cohorts(plan):
    assert {run.recipe.protocol.cohort for run in plan.runs} == set(range(36))
    assert {run.recipe.protocol.fold for run in plan.runs} == {0}


def test_both_replications_name_their_unit(plan, found):
    assert list(found) == ["repetitions", "classes"]
    assert (found["repetitions"].replication.unit, found["repetitions"].replication.units) == ("cohort", 36)
    assert (found["classes"].replication.unit, found["classes"].replication.units) == ("class", 3)
    assert "independent" in found["repetitions"].replication.note
    for reading, statistics in found.items():
        assert all(statistics.replication.note in table.note for table in statistics.tables)
        assert f"n = {36 if reading == 'repetitions' else 3}" in statistics.tables[0].title
        assert len({row[2] for row in statistics.assumptions.rows}) > 2


def test_the_comparison_over_cohorts_is_scipys_of_means_over_the_other_factor(plan, found):
    runs = measured(plan)
    wide = runs.pivot_table(index="fold", columns="kind", values="detector_recall")
    test = stats.ttest_rel(wide["gru"], wide["lstm"])
    row = next(
        row
        for row in rows_of(table_of(found, "repetitions", 3))
        if (row["metric"], row["compared"]) == ("detector recall", "kind: gru less lstm")
    )
    change = wide["gru"] - wide["lstm"]
    assert float(row["difference [95 % interval]"]) == pytest.approx(change.mean())
    low, high = test.confidence_interval(0.95)
    assert float(row["difference [95 % interval] low"]) == pytest.approx(low)
    assert float(row["difference [95 % interval] high"]) == pytest.approx(high)
    assert float(row["d_z"]) == pytest.approx(change.mean() / change.std())
    assert row["pairs"] == "36"
    contrast = found["repetitions"].analyses[1].contrasts[0]
    assert contrast.p == pytest.approx(test.pvalue)
    assert contrast.family == 2


def test_with_classes_as_units_the_analysis_is_a_factorial_of_independent_values(plan, found):
    runs = measured(plan)
    columns = [f"class_detector_recall of {label}" for label in CLASSES]
    tidy = runs.groupby(["kind", "loss"])[columns].mean().stack().rename("y").reset_index()
    fitted = smf.ols("y ~ C(kind, Sum) * C(loss, Sum)", tidy).fit()
    expected = sm.stats.anova_lm(fitted, typ=3)
    rows = {r["effect"]: r for r in rows_of(table_of(found, "classes", 2)) if r["metric"] == "detector recall"}
    for name, term in (("kind", "C(kind, Sum)"), ("kind:loss", "C(kind, Sum):C(loss, Sum)")):
        assert float(rows[name]["F"]) == pytest.approx(expected.loc[term, "F"], rel=1e-6)
    assert rows["kind"]["df of error"] == "8"
    assert found["classes"].analyses[0].contrasts[0].count == 6  # two settings of three classes


def test_equivalence_is_of_metrics_with_a_margin_alone(plan, found):
    rows = rows_of(table_of(found, "repetitions", 5))
    assert {row["metric"] for row in rows} == {"detector accuracy"}
    said = {row["compared"]: row["equivalent"] for row in rows}
    assert said == {"kind: gru less lstm": "no", "loss: standard less adaptive": "yes"}


def test_power_is_planned_in_units_of_replication(plan, found):
    row = rows_of(table_of(found, "repetitions", 6))[0]
    assert (row["n"], row["n for d_z = 0.5"], row["n for d_z = 0.2"]) == ("36", "34", "199")
    assert rows_of(table_of(found, "classes", 6))[0]["n"] == "3"


def test_the_mixed_model_is_fitted_where_it_is_requested(plan, found):
    assert table_of(found, "repetitions", "2b").rows
    assert not any(table.title.startswith("Table 2b") for table in found["classes"].tables)
    without = load_study({**STUDY, "statistics": {}})
    assert not any(
        "2b" in table.title for one in statistics_of(make_plan(without), measured(plan)) for table in one.tables
    )


def test_each_class_has_its_row(plan):
    table = per_class_table(plan, measured(plan))
    assert len(table.rows) == 4 * 3
    first = measured(plan).query("kind == 'lstm' and loss == 'adaptive'")["class_detector_accuracy of anger"].mean()
    assert table.rows[0] == ("lstm", "adaptive", "anger", pytest.approx(first), pytest.approx(table.rows[0][4]))


def test_the_console_shows_tables_1_to_6_for_both_replications(plan, found):
    lines = "\n".join(statistics_lines(plan, measured(plan), list(found.values())))
    for number in "12356":
        assert lines.count(f"Table {number}.") == 2
    assert lines.count("Table 4.") == 1
    assert lines.index("Table 3.") < lines.index("Table 4.") < lines.index("Table 5.")


def test_a_study_without_statistics_has_none(plan):
    assert statistics_of(make_plan(load_study({**STUDY, "statistics": None})), measured(plan)) == []


def test_what_cannot_be_computed_is_reported_and_the_rest_is_kept(plan):
    runs = measured(plan)
    runs = runs[(runs["fold"] == 0) | (runs["kind"] == "gru")]  # lstm ended in one cohort only
    found = statistics_of(plan, runs)[0]
    assert found.tables[0].title.startswith("Table 1.")
    assert any("cohort" in text for text in found.sentences)


@given(st.permutations(range(36)))
def test_the_order_of_runs_does_not_matter(plan, order):
    runs = measured(plan)
    shuffled = pd.concat([runs[runs["fold"] == fold] for fold in order])
    tables = [
        replications(plan, given)[0].table.groupby(["kind", "cohort"])[list(METRICS)].mean()
        for given in (runs, shuffled)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_comparisons_are_with_the_baseline_or_the_first_level(plan):
    assert comparisons(plan) == [("kind", "gru", "lstm"), ("loss", "standard", "adaptive")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": ["training_seconds"]}, "training_seconds has no per-class values"),
        ({"metrics": ["detector_f1"]}, "'detector_f1', which is not among the metrics"),
        ({"margins": {"detector_accuracy": -1}}, "greater than 0"),
        ({"margin": {}}, "Did you mean statistics.margins"),
    ],
)
def test_invalid_statistics_settings_are_rejected(change, said):
    with pytest.raises(InputError, match=said):
        load_study({**STUDY, "statistics": change})


def test_folds_share_training_data_and_every_table_allows_for_it():
    study = {**STUDY, "folds": 5}
    study["recipe"] = {**STUDY["recipe"], "protocol": {"kind": "kfold", "folds": 5}}
    plan = make_plan(load_study(study))
    runs = measured(plan)
    found = {one.replication.kind: one for one in statistics_of(plan, runs)}
    wide = runs.pivot_table(index="fold", columns="kind", values="detector_recall")
    change = wide["gru"] - wide["lstm"]
    error = change.std() * np.sqrt(1 / 5 + 1 / 4)
    p = 2 * stats.t.sf(abs(change.mean()) / error, 4)
    contrast = found["repetitions"].analyses[1].contrasts[0]
    assert (contrast.p, contrast.plain_p) == pytest.approx((p, stats.ttest_rel(wide["gru"], wide["lstm"]).pvalue))
    effect = next(e for e in found["repetitions"].analyses[1].factorial.effects if e.name == "kind")
    assert (effect.f, effect.p) == pytest.approx((contrast.t**2, p))
    row = rows_of(table_of(found, "repetitions", 3))[2]
    assert row["metric"] == "detector recall"
    assert row["verdict"] == contrast.verdict
    mean = rows_of(table_of(found, "repetitions", 1))[0]
    low = float(mean["mean [95 % interval]"]) - stats.t.ppf(0.975, 4) * float(mean["sd"]) * np.sqrt(1 / 5 + 1 / 4)
    assert float(mean["mean [95 % interval] low"]) == pytest.approx(low)
    assert rows_of(table_of(found, "repetitions", 6))[0]["n for d_z = 0.5"] == "–"
    assert "Nadeau and Bengio, n_test/n_train = 0.25" in found["repetitions"].replication.note
    overall = [
        c
        for c in baseline_differences(plan, runs.assign(folder="", training_seconds=1.0), Path())
        if c.metric == "detector_recall"
    ]
    same = next(c for c in overall if c.setting is None)
    assert (same.difference.p, same.p_paired_t) == pytest.approx((contrast.p, contrast.plain_p))


def test_settings_are_a_column_only_where_there_are_several():
    for factors in ({"kind": STUDY["factors"]["kind"]}, STUDY["factors"]):
        plan = make_plan(load_study({**STUDY, "factors": factors}))
        found = baseline_differences(plan, measured(plan).assign(folder="", training_seconds=1.0), Path())
        for complete in (True, False):
            header = difference_table(plan, found, complete=complete).header
            assert ("setting" in header) is (len(factors) > 1)
            assert all(len(row) == len(header) for row in difference_table(plan, found, complete=complete).rows)


def test_printed_statistics_stand_beside_the_levels_that_they_are_of():
    printed = [
        {
            "table": "conditions",
            "metric": "detector_accuracy",
            "cell": {"kind": kind, "loss": "adaptive"},
            "figures": {"mean": mean},
        }
        for kind, mean in (("lstm", "0.111"), ("gru", "0.222"))
    ]
    printed += [{"table": "variance", "metric": "detector_accuracy", "factor": "loss", "figures": {"F": 9.0}}]
    study = load_study({**STUDY, "printed_statistics": printed})
    for only, means, effects in (({}, 2, 1), ({"kind": ["lstm"]}, 1, 0)):
        plan = make_plan(study, StudyOptions(only=only)).chosen()
        found = {one.replication.kind: one for one in statistics_of(plan, measured(plan))}
        conditions, variance = (table_of(found, "classes", start).csv() for start in (1, 2))
        assert ("0.111" in conditions, conditions.count("0.222"), "9.0" in variance) == (True, means - 1, effects == 1)
