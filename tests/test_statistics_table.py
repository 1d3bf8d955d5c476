"""A user's own table: what is said, what is written, and what is wrong with it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evenface import statistics as ef
from evenface.cli import app
from evenface.statistics.examine import examine


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
    result = stats(file, *ASKED, "--margin", 0.03, "--out", tmp_path / "out")
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
    found = examine(table.query("not (fold == 3 and loss == 'focal')"), "accuracy", ["network", "loss"], "fold")
    assert found.variance is None
    assert found.mixed is not None
    assert (found.mixed.units, found.comparisons.contrasts[0].units) == (10, 10)


def test_one_factor_of_several_levels_is_ranked_as_well(table, tmp_path):
    found = examine(table, "accuracy", ["loss"], ["fold", "seed"])
    assert found.ranks is not None
    assert found.ranks.methods[0] == "focal"
    found.save(tmp_path)
    assert (tmp_path / "ranks.svg").is_file()


def test_each_value_of_its_own_unit_is_compared_in_groups(table, file):
    table["fold"] = range(len(table))
    found = examine(table, "accuracy", ["network", "loss"], "fold")
    assert found.variance is not None
    assert (found.variance.kind, found.comparisons.contrasts[0].test) == ("between", "contrast of cell means")
    taken = stats(file, *ASKED, "--independent").stdout
    assert "60 values taken as independent, of 10 folds" in taken
    assert "over 60 values of 10 folds (contrast of cell means" in taken


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--unit", "person"), "no column 'person'"),
        (("--unit", "loss"), "a column is named twice"),
        (("--margin", "0"), "do not enclose zero"),
        (("--value", "loss", "--factors", "network"), "'plain' is no finite number"),
    ],
)
def test_mistakes_end_in_a_sentence(file, words, said):
    result = stats(file, *ASKED, *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for name, said in (("none.csv", "no such file"), ("empty.csv", "cannot be read as a table")):
        assert said in stats(tmp_path / name, *ASKED).stderr
    table = pd.DataFrame({"fold": [1, 2], "network": "GRU", "loss": "plain", "accuracy": [0.1, 0.2]})
    table.to_parquet(tmp_path / "one.parquet")
    assert "has more than one level" in stats(tmp_path / "one.parquet", *ASKED).stderr
