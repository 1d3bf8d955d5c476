"""Checks of printed numbers, each against scikit-learn, SciPy, statsmodels or torch where they have it."""

from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from evenface.audit import audit, load_claims
from evenface.audit.inferential import power_of_t
from evenface.audit.printed import Range, read_number
from evenface.audit.sums import count
from evenface.utils.errors import InputError


def findings(**sections):
    return [
        f"{finding.where}: {finding.message}" for finding in audit({"name": "t", "about": "t", **sections}).findings
    ]


def remarks(**sections):
    return [remark.message for remark in audit({"name": "t", "about": "t", **sections}).remarks]


@pytest.mark.parametrize(
    ("text", "lo", "hi"),
    [("0.40", "0.395", "0.405"), ("78.1%", "0.7805", "0.7815"), ("-0.5", "-0.55", "-0.45"), ("1,340", "1340", "1340")],
)
def test_a_number_represents_all_values_that_round_to_it(text, lo, hi):
    assert read_number(text).range() == Range(Fraction(lo), Fraction(hi))


def test_truncation_is_allowed_only_by_its_key():
    shares = {"where": "T", "total": "16", "parts": {"a": "11", "b": "5"}, "shares": {"b": "31.2%"}}
    assert not findings(sums=[shares])  # 31.25 is a tie
    cut = shares | {"shares": {"a": "68%", "b": "31%"}}
    assert findings(sums=[cut]) == ["T, a: 11 of 16 is 68.75%, printed is 68%"]
    assert not findings(truncation="true", sums=[cut])


def test_a_float_is_an_error():
    with pytest.raises(InputError, match="must be text"):
        load_claims(
            {"name": "t", "about": "t", "products": [{"where": "T", "product": 0.4, "factors": {"a": "1", "b": "2"}}]}
        )


def test_sizes_consistent_with_an_accuracy_are_listed():
    (finding,) = audit({"name": "t", "about": "t", "accuracies": [
        {"where": "T", "size": "6", "columns": ["recall"], "rows": {"fear": "0.429"}}]}).findings  # fmt: skip
    assert "2/6 = 0.3333, 3/6 = 0.5000" in finding.details[0]
    assert "7" in finding.details[1]


def test_f1_of_means_bounds_every_mean_of_f1():
    draw = np.random.default_rng(0)
    for _ in range(300):
        p, r = draw.random((2, 5))
        weights = draw.dirichlet(np.ones(5)) if draw.random() < 0.5 else np.full(5, 0.2)
        row = [f"{np.sum(weights * metric):.3f}" for metric in (p, r, 2 * p * r / (p + r))]
        assert not findings(averages=[{"where": "T", "columns": ["precision", "recall", "f1"], "rows": {"A": row}}])


def test_f1_outside_its_bounds_is_a_finding():
    rows = {"high": "78.53 77.32 78.11", "low": "90.00 90.00 79.90", "right": "78.53 77.32 77.92"}
    messages = findings(averages=[{"where": "T", "unit": "%", "columns": ["precision", "recall", "f1"], "rows": rows}])
    assert [message.split(":")[0] for message in messages] == ["T, high", "T, low"]


@pytest.mark.parametrize(
    ("change", "explanation"),
    [
        (lambda matrix: np.transpose(matrix), "transposed matrix"),
        (lambda matrix: matrix[[1, 0, 2]], "rows of the matrix are exchanged"),
        (lambda matrix: matrix[:, [0, 2, 1]], "columns of the matrix are exchanged"),
    ],
)
def test_the_exchange_that_explains_a_matrix_is_described(change, explanation):
    from sklearn.metrics import precision_recall_fscore_support

    matrix = np.array([[20, 3, 1], [5, 30, 2], [0, 4, 9]])
    truth, called = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    figures = np.round(np.transpose(precision_recall_fscore_support(truth, called)[:3]), 3)
    report = {
        "where": "T",
        "classes": dict.fromkeys("abc", "?"),
        "columns": ["precision", "recall", "f1"],
        "rows": {name: [f"{value:.3f}" for value in row] for name, row in zip("abc", figures, strict=True)},
        "accuracy": f"{(truth == called).mean():.3f}",
    }
    assert not findings(reports=[report | {"matrix": matrix.tolist()}])
    (finding,) = audit({"name": "t", "about": "t", "reports": [report | {"matrix": change(matrix).tolist()}]}).findings
    assert any(explanation in line for line in finding.details)


def test_classes_of_unknown_size_bound_the_accuracy():
    table = {"where": "T", "size": "100", "classes": {"a": "?", "b": "?"}, "columns": ["a", "b", "accuracy"]}
    assert not findings(recalls=[table | {"rows": {"A": "0.50 0.75 0.60"}}])
    assert findings(recalls=[table | {"rows": {"A": "0.50 0.75 0.80"}}])
    # The recalls of both rows need more than 20 samples together.
    assert findings(recalls=[table | {"size": "20", "rows": {"A": "0.3333 0.0769 -", "B": "0.2000 0.1429 -"}}])


def test_class_counts_that_do_not_sum_to_the_test_set_are_a_finding():
    table = {"where": "T", "size": "10", "classes": {"a": "4", "b": "5"}, "columns": ["a"], "rows": {"A": "0.50"}}
    assert findings(recalls=[table]) == ["T: class counts 4 + 5 = 9, printed are 10 samples"]


def test_problems_of_one_test_set_share_its_size():
    table = {"where": "T", "size": "5-12", "columns": ["recall", "specificity"], "exclusive": "true"}
    assert not findings(binaries=[table | {"rows": {"a": "0.667 0.857", "b": "0.857 0.667"}}])
    assert findings(binaries=[table | {"rows": {"a": "0.667 0.857", "b": "0.833 0.500"}}])


def test_ratios_of_classes_sum_to_one():
    counts = [10, 20, 45, 7]
    rows = {f"c{k}": [f"{(sum(counts) - n) / n:.1f}"] for k, n in enumerate(counts)}
    table = {"where": "T", "columns": ["ratio"], "rows": rows}
    assert not findings(ratios=[table])
    assert findings(ratios=[table | {"rows": rows | {"c1": ["1.2"]}}])


def samples_of(draw):
    """Printed statistics of n values, the values among them."""
    values = np.round(draw.beta(4, 2, int(draw.integers(4, 15))), 3)
    mean, sd = values.mean(), values.std(ddof=1)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, sd / sqrt(len(values)))
    row = {"mean": mean, "sd": sd, "median": np.median(values), "low": low, "high": high}
    return {name: f"{value:.3f}" for name, value in row.items()}, [f"{value:.3f}" for value in values]


def test_statistics_of_samples_are_consistent_and_altered_ones_are_findings():
    draw = np.random.default_rng(1)
    for _ in range(60):
        row, values = samples_of(draw)
        table = {"where": "T", "n": len(values), "least": "0", "most": "1", "columns": [*row], "values": {"A": values}}
        assert not findings(samples=[table | {"rows": {"A": [*row.values()]}}])
        for name in row:
            changed = row | {name: f"{float(row[name]) + 0.02:.3f}"}
            assert findings(samples=[table | {"rows": {"A": [*changed.values()]}}]), name


def test_an_sd_beyond_its_bound_is_a_finding():
    table = {"where": "T", "n": "6", "least": "0", "most": "1", "columns": ["mean", "sd"]}
    most = np.std([0, 0, 1, 1, 1, 1], ddof=1)
    assert not findings(samples=[table | {"rows": {"A": ["0.667", f"{most:.3f}"]}}])
    assert findings(samples=[table | {"rows": {"A": ["0.667", f"{most + 0.002:.3f}"]}}])


def comparisons_of(draw, n):
    """Paired differences in a family of three, corrected for false discoveries by SciPy."""
    rows, p = [], []
    for _ in range(3):
        values = draw.normal(0.3, 1, n) * 0.1
        low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
        rows.append([values.mean() / values.std(ddof=1), values.mean(), low, high])
        p.append(stats.ttest_1samp(values, 0).pvalue)
    corrected = stats.false_discovery_control(p)
    return {
        f"c{k}": [f"{value:.3f}" for value in (*row, q)] for k, (row, q) in enumerate(zip(rows, corrected, strict=True))
    }


def test_paired_comparisons_are_consistent_and_altered_ones_are_findings():
    draw = np.random.default_rng(2)
    for _ in range(40):
        n = int(draw.integers(5, 40))
        rows = comparisons_of(draw, n)
        table = {"where": "T", "n": n, "correction": "fdr", "columns": ["d", "difference", "low", "high", "p"]}
        assert not findings(comparisons=[table | {"families": {"F": rows}}])
        first = rows["c0"]
        wrong = f"{float(first[4]) / 3 + 0.4:.3f}" if float(first[4]) < 0.5 else "0.010"
        assert findings(comparisons=[table | {"families": {"F": rows | {"c0": [*first[:4], wrong]}}}])


def test_f_tests_are_consistent_with_p_and_eta():
    draw = np.random.default_rng(3)
    for _ in range(40):
        groups = draw.normal(0, 1, (3, 9)) + draw.normal(0, 0.5, (3, 1))
        f, p = stats.f_oneway(*groups)
        between, within = 9 * groups.mean(1).var() * 3, groups.var(1).sum() * 9
        row = [f"{value:.3f}" for value in (f, p, between / (between + within))]
        table = {"where": "T", "df": ["2", "24"], "columns": ["f", "p", "eta2"]}
        assert not findings(effects=[table | {"rows": {"A": row}}])
        assert findings(effects=[table | {"rows": {"A": [row[0], f"{(float(row[1]) + 0.1) % 1:.3f}", row[2]]}}])
        assert findings(effects=[table | {"rows": {"A": [row[0], row[1], f"{(float(row[2]) + 0.1) % 1:.3f}"]}}])


def test_power_is_that_of_statsmodels():
    from statsmodels.stats.power import TTestIndPower, TTestPower

    for d, n in ((0.255, 6), (1.435, 6), (0.5, 34), (0.2, 199)):
        alpha = read_number("0.05")
        assert power_of_t(d, n, alpha, paired=True) == pytest.approx(TTestPower().power(d, n, 0.05), rel=1e-6)
        assert power_of_t(d, n, alpha, paired=False) == pytest.approx(TTestIndPower().power(d, n, 0.05), rel=1e-6)


@pytest.mark.parametrize(("n", "right"), [("33", False), ("34", True), ("35", False)])
def test_the_smallest_n_of_a_power_is_the_smallest(n, right):
    table = {"where": "T", "smallest": "true", "columns": ["n", "d", "power"], "rows": {"A": [n, "0.50", "0.80"]}}
    assert bool(findings(powers=[table])) != right


def test_verdicts_of_equivalence_follow_the_interval():
    rows = {"inside": "-0.010 0.012 0.020", "outside": "0.015 0.060 0.020", "narrow": "-0.005 0.021 0.020"}
    table = {"where": "T", "n": "24", "columns": ["low", "high", "margin"], "rows": rows}
    assert [message.split(":")[0] for message in findings(equivalences=[table | {"equivalent": ["outside"]}])] == [
        "T, inside",
        "T, outside",
    ]
    assert not findings(equivalences=[table | {"equivalent": ["inside"]}])
    (remark,) = remarks(equivalences=[table | {"equivalent": ["inside"]}])
    assert remark.endswith("narrow")


def test_gains_are_points_or_relative():
    table = {"where": "T", "unit": "%", "columns": ["from", "to", "gain"]}
    rows = {"points": "50.0 55.0 5.0%", "relative": "50.0 55.0 10.0%", "neither": "50.0 55.0 7.0%"}
    assert [message.split(":")[0] for message in findings(gains=[table | {"rows": rows}])] == ["T, neither"]
    swapped = {"a": "50.0 55.0 2.0%", "b": "60.0 62.0 5.0%"}
    (first, _) = audit({"name": "t", "about": "t", "gains": [table | {"reading": "points", "rows": swapped}]}).findings
    assert "exchanged" in first.details[0]


def test_small_arithmetic():
    assert findings(bests=[{"where": "T", "columns": ["best", "run", "run"], "rows": {"A": "53.051 53.051 53.164"}}])
    assert findings(orders=[{"where": "T", "columns": ["larger", "smaller"], "rows": {"A": "0.008 0.020"}}])
    assert findings(repeats=[{"where": "T", "values": {"a": "81.48%", "b": "81.4%"}}])
    assert not findings(repeats=[{"where": "T", "values": {"a": "81.48%", "b": "0.815"}}])
    # An integer multiple may have an unnamed factor; anything else is impossible.
    assert findings(products=[{"where": "T", "product": "290", "factors": {"a": "8", "b": "6"}}])
    assert not findings(products=[{"where": "T", "product": "288", "factors": {"a": "8", "b": "6"}}])
    assert remarks(products=[{"where": "T", "product": "288", "factors": {"a": "8", "b": "6"}}])


@pytest.mark.parametrize(("cell", "layer"), [("gru", "GRU"), ("lstm", "LSTM")])
def test_parameters_are_those_of_torch_less_its_second_bias(cell, layer):
    from torch import nn

    network = nn.ModuleList([nn.Linear(40, 8), getattr(nn, layer)(8, 12), nn.Linear(12, 5), nn.Linear(5, 1)])
    total = sum(parameter.numel() for parameter in network.parameters()) - network[1].bias_hh_l0.numel()
    assert count(40, 8, cell, 12, 5, 1) == total
    stated = {"where": "T", "inputs": "40", "dense": "8-9", "cell": cell, "hidden": "12", "head": "5"}
    assert not findings(parameters=[stated | {"count": str(total)}])
    assert findings(parameters=[stated | {"count": str(total // 10)}])
