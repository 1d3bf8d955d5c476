"""A user's own table: what is said, what is written, and what is wrong with it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evenface import statistics as ef
from evenface.cli import app
from evenface.evaluation.metric_registry import known_direction, label, lower_is_better, metric_names
from evenface.reporting.report import save_analysis
from evenface.statistics.analysis import analyse
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("real_figures")


def stats(*words):
    return CliRunner().invoke(app, ["stats", *map(str, words)])


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    cells = list(itertools.product(range(10), range(2), ("GRU", "LSTM"), ("plain", "focal", "adaptive")))
    frame = pd.DataFrame(cells, columns=["fold", "seed", "network", "loss"])
    return frame.assign(accuracy=0.8 + 0.05 * (frame.loss == "focal") + random.normal(scale=0.02, size=len(frame)))


@pytest.fixture
def file(table, tmp_path):
    table.to_csv(tmp_path / "results.csv", index=False)
    return tmp_path / "results.csv"


ASKED = ("--value", "accuracy", "--factors", "network,loss", "--unit", "fold")


def test_a_table_is_answered_in_words_and_written(file, table, tmp_path):
    result = stats(file, *ASKED, "--equivalence-margin", 0.03, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    first, *rest = result.stdout.splitlines()
    assert first.startswith(
        "accuracy, 2 × 3 factorial of network, loss, each of 10 folds measured in all cells: evidence"
    )
    assert any(line.startswith("accuracy: focal against plain: +0.0") and "focal is higher" in line for line in rest)
    assert any(line.startswith("accuracy: LSTM against GRU") and "equivalent within ±0.03" in line for line in rest)
    assert any("With 10 folds a corrected resampled t test" in line for line in rest)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"{name}.csv" for name in ("variance", "comparisons", "equivalence")} | {
        f"{name}.svg"
        for name in ("differences", "effects", "equivalence")  # more folds of the same data give no power
    }
    saved = pd.read_csv(tmp_path / "out" / "variance.csv")
    direct = ef.factorial(table, "accuracy", ["network", "loss"], "fold", overlap=1 / 9).frame()
    assert saved["p"].to_numpy() == pytest.approx(direct["p"].to_numpy())


def test_a_level_may_be_called_none(table, tmp_path):
    table.replace({"loss": {"plain": "None"}}).to_csv(tmp_path / "results.csv", index=False)
    assert "accuracy: focal against None" in stats(tmp_path / "results.csv", *ASKED).stdout


def test_units_that_lack_a_cell_call_for_a_mixed_model(table):
    found = analyse(table.query("not (fold == 3 and loss == 'focal')"), "accuracy", ["network", "loss"], "fold")
    assert found.variance is None
    assert found.mixed is not None
    assert (found.mixed.units, found.comparisons.contrasts[0].units) == (10, 10)


def test_one_factor_of_several_levels_is_ranked_as_well(table, tmp_path):
    found = analyse(table, "accuracy", ["loss"], ["fold", "seed"])
    assert found.ranks is not None
    assert found.ranks.methods[0] == "focal"
    save_analysis(found, tmp_path)
    assert (tmp_path / "ranks.svg").is_file()


def test_each_value_of_its_own_unit_is_compared_in_groups(table, file):
    table["fold"] = range(len(table))
    found = analyse(table, "accuracy", ["network", "loss"], "fold")
    assert found.variance is not None
    assert (found.variance.kind, found.comparisons.contrasts[0].test) == ("between", "contrast of cell means")
    taken = stats(file, *ASKED, "--independent").stdout
    assert "60 values taken as independent, of 10 folds" in taken
    assert "over 60 values of 10 folds (contrast of cell means" in taken


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--unit", "person"), "no column 'person'"),
        (("--unit", "loss"), "a column is specified twice"),
        (("--equivalence-margin", "0"), "do not enclose zero"),
        (("--value", "loss", "--factors", "network"), "'plain' is not a finite number"),
    ],
)
def test_mistakes_end_in_a_sentence(file, words, said):
    result = stats(file, *ASKED, *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for name, said in (("none.csv", "no such file"), ("empty.csv", "it has no header")):
        assert said in stats(tmp_path / name, *ASKED).stderr
    table = pd.DataFrame({"fold": [1, 2], "network": "GRU", "loss": "plain", "accuracy": [0.1, 0.2]})
    table.to_parquet(tmp_path / "one.parquet")
    assert "has more than one level" in stats(tmp_path / "one.parquet", *ASKED).stderr


# --- what a table may look like --------------------------------------------------------------------------------------


def write(path, rows):
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def made(units=6, seed=0, names=("net", "loss"), value="accuracy", factor=1.0):
    random = np.random.default_rng(seed)
    return [
        f"fold,{','.join(names)},{value}",
        *(
            f"f{u},{a},{b},{(0.6 + 0.05 * (a == 'b') + random.normal(scale=0.01)) * factor!r}"
            for u in range(units)
            for a in "ab"
            for b in "xy"
        ),
    ]


def answer(path, *words, value="accuracy", factors="net,loss"):
    result = stats(path, "--value", value, "--factors", factors, "--unit", "fold", *words)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout


def test_columns_may_be_called_anything(tmp_path):
    plain = answer(write(tmp_path / "plain.csv", made()))
    for names in (
        ("value", "unit"),
        ("unit", "cell"),
        ("_unit", "(odd) name: x"),
        ("é%{0}", "a:b"),
        ("0", "1"),
        ("index", "level_0"),
    ):
        path = write(tmp_path / "odd.csv", made(names=names))
        assert answer(path, factors=",".join(names)) == plain.replace("net", names[0]).replace("loss", names[1])
    path = write(tmp_path / "comma.csv", made(names=('"net, deep"', '"say ""x"""')))
    text = answer(path, factors='"net, deep","say ""x"""')
    assert 'net, deep:say "x": no evidence' in text
    table = pd.read_csv(path)
    found = ef.factorial(table, "accuracy", ["net, deep", 'say "x"'], "fold")
    assert found.effect('say "x":net, deep').df == 1


def test_blanks_around_levels_do_not_make_further_ones(tmp_path):
    rows = made()
    dirty = [row.replace(",b,", ",b ,") if place % 3 else row for place, row in enumerate(rows)]
    assert answer(write(tmp_path / "dirty.csv", dirty)) == answer(write(tmp_path / "clean.csv", rows))
    table = pd.DataFrame({"fold": ["1", "1 ", " 2", "2"], "net": ["a", "b\t", "a ", "b"], "accuracy": [1, 2, 3, 5.0]})
    pair = ef.pairs(table, "accuracy", "net", "b", "a", "fold")
    assert pair.change.tolist() == [1, 2]


def test_contradictory_rows_are_named_and_regular_repetitions_are_not(tmp_path):
    rows = made()
    text = answer(write(tmp_path / "conflict.csv", [*rows, "f0,a,x,0.1"]))
    assert "Contradictory rows: 1 of 24 combinations of unit and cell have several rows with different values" in text
    assert "f0, a, x: " in text
    assert text.count("Contradictory") == 1  # said once, not with each comparison
    assert "Contradictory" not in answer(write(tmp_path / "twice.csv", [*rows, *made(seed=1)[1:]]))
    assert "Contradictory" not in answer(write(tmp_path / "same.csv", [*rows, *rows[1:]]))
    table = pd.read_csv(write(tmp_path / "conflict.csv", [*rows, "f0,a,x,0.1"]))
    for found in (
        ef.mixed(table, "accuracy", ["net", "loss"], "fold"),
        ef.compare(ef.pairs(table, "accuracy", "net", "b", "a", "fold", among=["loss"]), resamples=20),
        ef.planned(table, "accuracy", [("net", "b", "a")], "fold", resamples=20).contrasts[0],
    ):
        assert "Contradictory rows" in found.sentence


@pytest.mark.parametrize("factor", [1e-9, 1e-13, 1e9])
def test_the_unit_of_measure_changes_digits_and_no_verdict(tmp_path, factor):
    base = pd.read_csv(write(tmp_path / "one.csv", made()))
    found = [
        analyse(
            base.assign(accuracy=base["accuracy"] * scale), "accuracy", ["net", "loss"], "fold", margin=0.02 * scale
        )
        for scale in (1, factor)
    ]
    for one, other in zip(*(each.comparisons.contrasts for each in found), strict=True):
        assert (one.p, one.effect("d_z").low) == pytest.approx((other.p, other.effect("d_z").low), rel=1e-6)
    for one, other in zip(*(each.equivalences for each in found), strict=True):
        assert one.p == pytest.approx(other.p, rel=1e-6)
    line = next(line for line in found[1].lines if "b against a" in line)
    assert "0.000" not in line
    mantissa = f"{found[0].comparisons.contrasts[0].difference.value:.2e}".partition("e")[0]
    if factor < 1:
        assert f"+{mantissa}e-" in line


def test_a_baseline_is_chosen(file):
    text = stats(file, *ASKED, "--baseline", "loss=focal", "--baseline", "network=LSTM").stdout
    assert "plain against focal" in text
    assert "adaptive against focal" in text
    assert "GRU against LSTM" in text
    for given, said in (("loss=none", "loss has no level 'none'"), ("lost=plain", "'lost=plain' names no factor")):
        result = stats(file, *ASKED, "--baseline", given)
        assert result.exit_code == 2
        assert said in result.stderr


# --- direction -------------------------------------------------------------------------------------------------------


def losses(tmp_path, value):
    random = np.random.default_rng(0)
    rows = [
        f"f{u},{m},{level + random.normal(scale=0.02)!r}"
        for u in range(12)
        for m, level in (("baseline", 0.9), ("good", 0.5), ("bad", 1.4))
    ]
    return write(tmp_path / "losses.csv", [f"fold,method,{value}", *rows])


@pytest.mark.parametrize("value", ["log_loss", "Log loss", "val_loss", "ece", "RMSE", "test_mae", "brier"])
def test_of_losses_and_errors_lower_is_better(tmp_path, value):
    text = answer(losses(tmp_path, value), value=value, factors="method")
    assert "better by Nemenyi's test: good over baseline, good over bad" in text
    assert "Average ranks (lower is better): good 1.00" in text
    assert "that good is lower, which is better" in text


def test_an_unknown_direction_is_asked_for(tmp_path):
    path = losses(tmp_path, "result")
    refused = stats(path, "--value", "result", "--factors", "method", "--unit", "fold")
    assert refused.exit_code == 2
    assert "result: the direction of this metric is not known" in refused.stderr
    assert "--lower-is-better" in refused.stderr
    assert "good 1.00, baseline" in answer(path, "--lower-is-better", value="result", factors="method")
    assert "bad 1.00, baseline" in answer(path, "--higher-is-better", value="result", factors="method")


def test_every_metric_of_the_package_has_a_direction():
    for name in (*metric_names(), *metric_names(per_class=True)):
        assert known_direction(name) is known_direction(label(name)) is not lower_is_better(name)
    assert known_direction("yield") is None


# --- designs that lack something -------------------------------------------------------------------------------------


def test_two_units_are_no_evidence_in_any_design():
    rows = [
        (u, s, a, 10 * (a == "y") + 0.1 * u + 0.01 * k)
        for k, (u, s) in enumerate(((0, "m"), (1, "m"), (2, "n"), (3, "n")))
        for a in "xy"
    ]
    table = pd.DataFrame(rows, columns=["person", "side", "net", "accuracy"])
    table["accuracy"] += [0.001, 0.002, 0.003, 0.005, 0.004, 0.001, 0.002, 0.006]
    groups = table.query("net == 'x'").assign(accuracy=lambda rows: rows["accuracy"] + 5 * (rows["side"] == "n"))
    for given, factors in ((table.query("side == 'm'"), ["net"]), (groups, ["side"])):
        found = analyse(given, "accuracy", factors, "person", margin=100.0)
        assert found.comparisons.contrasts[0].p < 0.05
        assert not found.comparisons.contrasts[0].certain
        assert "evidence" not in " ".join(found.lines).replace("no evidence", "")
        assert "equivalent within" not in " ".join(found.lines)


def test_reasons_are_true(table):
    few = table.query("fold < 2 and network == 'GRU'").iloc[:-1]
    with pytest.raises(InputError, match="no degrees of freedom are left"):
        analyse(few.drop_duplicates(["fold", "loss"]).iloc[:4], "accuracy", ["loss"], "fold")
    one = table.assign(loss="plain")
    with pytest.raises(InputError, match="the factor loss has one level only, plain"):
        analyse(one, "accuracy", ["network", "loss"], "fold")
    same = table.assign(accuracy=0.5)
    assert "there is no variance" in " ".join(analyse(same, "accuracy", ["network", "loss"], "fold").lines)
    shifts = table.assign(accuracy=0.1 * table["fold"] + 0.2 * (table["loss"] == "focal"))
    lacking = shifts.query("not (fold == 3 and loss == 'focal')")
    found = analyse(lacking, "accuracy", ["network", "loss"], "fold")
    assert "there is no variance" in " ".join(found.lines)
    assert not any(contrast.certain for contrast in found.comparisons.contrasts)
    with pytest.raises(InputError, match="0,95' is not a finite number") as raised:
        analyse(table.assign(accuracy="0,95"), "accuracy", ["loss"], "fold")
    assert "decimal mark" in str(raised.value)
