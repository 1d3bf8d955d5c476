"""The audit of printed numbers against an oracle that tries all counts, and the papers' files that ship."""

import itertools
import random
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from evenface.audit import audit, load_claims, shipped_claims
from evenface.audit.architecture import count
from evenface.audit.numbers import Range, read_number
from evenface.audit.quantiles import power_of_t
from evenface.cli import app
from evenface.errors import InputError

# --- an oracle that shares no code with the audit ---------------------------------------------------------------------


def printed(value, digits, percent):
    """A share as Python rounds it: that is half to even of what floating point makes of it."""
    return f"{float(value) * 100:.{digits}f}%" if percent else f"{float(value):.{digits}f}"


def rounds(top, bottom, text):
    """Whether top / bottom may be printed so: no further from it than half a unit of its last digit."""
    body, scale = text.rstrip("%"), 100 if text.endswith("%") else 1
    unit = 10 ** len(body.partition(".")[2])
    number = int(body.replace(".", ""))
    return abs(2 * top * scale * unit - 2 * number * bottom) <= bottom


def fits(top, bottom, text):
    """The same for arrays; a share of nothing is 0."""
    top, bottom = np.where(bottom == 0, 0, top), np.where(bottom == 0, 1, bottom)
    return rounds(top, bottom, text)


class Binary:
    """One class against the rest: accuracy, precision, recall, specificity, F1 of n samples."""

    def __init__(self, draw):
        self.n = draw.randint(8, 60)
        p = draw.randint(1, self.n - 1)
        tp, fp = draw.randint(1, p), draw.randint(0, self.n - p)
        digits, percent = draw.randint(2, 3), draw.random() < 0.5
        digits -= percent
        names = draw.sample(["accuracy", "precision", "recall", "specificity", "f1"], draw.randint(3, 5))
        self.figures = {
            name: printed(Fraction(*self.shares(tp, fp, p - tp, self.n - p - fp)[name]), digits, percent)
            for name in names
        }

    @staticmethod
    def shares(tp, fp, fn, tn):
        return {
            "accuracy": (tp + tn, tp + fp + fn + tn),
            "precision": (tp, tp + fp),
            "recall": (tp, tp + fn),
            "specificity": (tn, tn + fp),
            "f1": (2 * tp, 2 * tp + fp + fn),
        }

    def claims(self):
        row = list(self.figures.values())
        return {"binaries": [{"where": "T", "size": self.n, "columns": list(self.figures), "rows": {"A": row}}]}

    def possible(self):
        tp, fp, fn = (axis.ravel() for axis in np.indices((self.n + 1,) * 3))
        tn = self.n - tp - fp - fn
        tp, fp, fn, tn = (one[tn >= 0] for one in (tp, fp, fn, tn))
        good = np.ones(len(tp), bool)
        for name, text in self.figures.items():
            top, bottom = self.shares(tp, fp, fn, tn)[name]
            good &= fits(top, bottom, text) | ((bottom == 0) & rounds(1, 1, text))
        return bool(good.any())


class Recalls:
    """Recalls of known classes, the accuracy, the mean."""

    def __init__(self, draw):
        self.sizes = [draw.randint(4, 70) for _ in range(draw.randint(2, 6))]
        hits = [draw.randint(0, size) for size in self.sizes]
        digits = draw.randint(0, 2)
        shares = [Fraction(hit, size) for hit, size in zip(hits, self.sizes, strict=True)]
        whole = [Fraction(sum(hits), sum(self.sizes)), sum(shares) / len(shares)]
        names = [f"c{k}" for k in range(len(shares))] + ["accuracy", "mean"]
        self.figures = {name: printed(one, digits, True) for name, one in zip(names, shares + whole, strict=True)}

    def claims(self):
        classes = {f"c{k}": size for k, size in enumerate(self.sizes)}
        table = {
            "where": "T",
            "classes": classes,
            "columns": list(self.figures),
            "rows": {"A": [*self.figures.values()]},
        }
        return {"recalls": [table]}

    def possible(self):
        options = [
            [hit for hit in range(size + 1) if rounds(hit, size, self.figures[f"c{k}"])]
            for k, size in enumerate(self.sizes)
        ]
        total = sum(self.sizes)
        for hits in itertools.product(*options):
            mean = sum(Fraction(hit, size) for hit, size in zip(hits, self.sizes, strict=True)) / len(hits)
            if rounds(sum(hits), total, self.figures["accuracy"]) and rounds(
                mean.numerator, mean.denominator, self.figures["mean"]
            ):
                return True
        return False


def matrices(sizes):
    """Every confusion matrix with these row sums, (M, K, K)."""
    rows = []
    for size in sizes:
        cells = np.array([row for row in itertools.product(range(size + 1), repeat=len(sizes)) if sum(row) == size])
        rows.append(cells)
    index = np.indices([len(one) for one in rows]).reshape(len(rows), -1)
    return np.stack([one[at] for one, at in zip(rows, index, strict=True)], axis=1)


class Report:
    """Precision, recall and F1 of each class, accuracy, and macro averages; every matrix is tried."""

    def __init__(self, draw):
        self.sizes = (
            [draw.randint(2, 12) for _ in range(2)] if draw.random() < 0.5 else [draw.randint(2, 6) for _ in range(3)]
        )
        matrix = []
        for size in self.sizes:
            calls = [draw.randrange(len(self.sizes)) for _ in range(size)]
            matrix.append([calls.count(k) for k in range(len(self.sizes))])
        self.matrix, self.keep = matrix, draw.random() < 0.2
        digits = draw.randint(2, 3)
        self.figures = {key: printed(value[0], digits, False) for key, value in self.shares(np.array([matrix])).items()}
        for key in draw.sample(sorted(self.figures), draw.randint(0, 4)):
            del self.figures[key]

    def shares(self, tables):
        n, m = tables.sum(2), tables.sum(1)
        t = np.diagonal(tables, axis1=1, axis2=2)
        safe = np.maximum
        found = {}
        for k in range(len(self.sizes)):
            found[f"c{k}", "precision"] = t[:, k] / safe(m[:, k], 1)
            found[f"c{k}", "recall"] = t[:, k] / n[:, k]
            found[f"c{k}", "f1"] = 2 * t[:, k] / (n[:, k] + m[:, k])
        found["", "accuracy"] = t.sum(1) / n.sum(1)
        for figure in ("precision", "recall", "f1"):
            found["", figure] = sum(found[f"c{k}", figure] for k in range(len(self.sizes))) / len(self.sizes)
        return found

    def claims(self):
        columns = ["precision", "recall", "f1"]
        report = {"where": "T", "classes": {f"c{k}": size for k, size in enumerate(self.sizes)}, "columns": columns}
        report["rows"] = {
            name: [self.figures.get((name, column), "-") for column in columns] for name in report["classes"]
        }
        report |= {figure: text for (name, figure), text in self.figures.items() if not name}
        report["average"] = "macro"
        return {"reports": [report | ({"matrix": self.matrix} if self.keep else {})]}

    def possible(self):
        tables = np.array([self.matrix]) if self.keep else matrices(self.sizes)
        shares, good = self.shares(tables), np.ones(len(tables), bool)
        for key, text in self.figures.items():
            half = 0.5 * 10.0 ** -len(text.partition(".")[2])
            close = abs(shares[key] - float(text)) <= half + 1e-9
            name, figure = key
            if figure == "precision" and name:
                # A class that is never called may have precision 1.
                k = int(name[1:])
                close |= (tables.sum(1)[:, k] == 0) & (float(text) == 1)
            good &= close
        return bool(good.any())


class Accuracies:
    """Several accuracies of one test set."""

    def __init__(self, draw):
        self.n = draw.randint(20, 900)
        digits = draw.randint(1, 3)
        self.figures = {
            f"r{k}": printed(Fraction(draw.randint(0, self.n), self.n), digits, True) for k in range(draw.randint(1, 5))
        }

    def claims(self):
        return {"accuracies": [{"where": "T", "size": self.n, "columns": ["a"], "at_most": 2000,
                                "rows": {name: [text] for name, text in self.figures.items()}}]}  # fmt: skip

    def possible(self):
        return all(any(rounds(k, self.n, text) for k in range(self.n + 1)) for text in self.figures.values())


class Ratings:
    """Mean and sd of a few whole numbers."""

    def __init__(self, draw):
        self.n, self.most = draw.randint(2, 7), draw.randint(3, 6)
        values = [draw.randint(0, self.most) for _ in range(self.n)]
        digits = draw.randint(2, 3)
        self.figures = {"mean": f"{np.mean(values):.{digits}f}", "sd": f"{np.std(values, ddof=1):.{digits}f}"}

    def claims(self):
        row = [*self.figures.values()]
        return {"samples": [{"where": "T", "n": self.n, "least": "0", "most": str(self.most), "whole": True,
                             "columns": ["mean", "sd"], "rows": {"A": row}}]}  # fmt: skip

    def possible(self):
        values = np.array([*itertools.combinations_with_replacement(range(self.most + 1), self.n)])
        close = np.ones(len(values), bool)
        for figure, truth in (("mean", values.mean(1)), ("sd", values.std(1, ddof=1))):
            text = self.figures[figure]
            close &= abs(truth - float(text)) <= 0.5 * 10.0 ** -len(text.partition(".")[2]) + 1e-9
        return bool(close.any())


class Shares:
    """Parts, their total and their shares of it."""

    def __init__(self, draw):
        parts = [draw.randint(1, 2000) for _ in range(draw.randint(2, 6))]
        digits = draw.randint(0, 2)
        self.count = len(parts)
        self.figures = {f"part {k}": str(part) for k, part in enumerate(parts)} | {"total": str(sum(parts))}
        self.figures |= {
            f"share {k}": printed(Fraction(part, sum(parts)), digits, True) for k, part in enumerate(parts)
        }

    def claims(self):
        named = range(self.count)
        return {"sums": [{"where": "T", "total": self.figures["total"],
                          "parts": {f"c{k}": self.figures[f"part {k}"] for k in named},
                          "shares": {f"c{k}": self.figures[f"share {k}"] for k in named}}]}  # fmt: skip

    def possible(self):
        parts, total = [int(self.figures[f"part {k}"]) for k in range(self.count)], int(self.figures["total"])
        return sum(parts) == total and all(
            rounds(part, total, self.figures[f"share {k}"]) for k, part in enumerate(parts)
        )


KINDS = (Binary, Recalls, Report, Accuracies, Ratings, Shares)


def altered(text, draw):
    """The same number with another last digit or two."""
    body, percent = text.rstrip("%"), text[len(text.rstrip("%")) :]
    digits = len(body.partition(".")[2])
    top = 10 ** (digits + 2) if percent else 10**digits if digits else 10**9
    while True:
        number = int(body.replace(".", "")) + draw.choice([-1, 1]) * draw.choice([1, 2, 3, 5, 9, 10, 20, 37])
        if 0 <= number <= max(top, int(body.replace(".", ""))):
            whole = str(number).zfill(digits + 1)
            return (f"{whole[:-digits]}.{whole[-digits:]}" if digits else whole) + percent


def findings(table):
    return audit({"name": "t", "about": "t", **table.claims()}).findings


def trial(tables, seed):
    """Honest tables that were accused; altered ones that are impossible, and those of them found, by kind."""
    draw = random.Random(seed)
    accused, impossible, found = [], dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for number in range(tables):
        kind = KINDS[number % len(KINDS)]
        table = kind(draw)
        accused += [(kind.__name__, table.__dict__, told) for told in findings(table)]
        key = draw.choice(sorted(table.figures))
        table.figures[key] = altered(table.figures[key], draw)
        told = findings(table)
        if table.possible():
            accused += [(kind.__name__, table.__dict__, one) for one in told]
        else:
            impossible[kind] += 1
            found[kind] += bool(told)
    return accused, impossible, found


def check(tables, seed):
    accused, impossible, found = trial(tables, seed)
    assert not accused
    assert sum(impossible.values()) > tables / 4
    missed = {kind.__name__: (found[kind], impossible[kind]) for kind in KINDS}
    assert sum(found.values()) >= 0.95 * sum(impossible.values()), missed
    assert all(found[kind] >= 0.9 * impossible[kind] for kind in KINDS), missed


def test_honest_tables_are_not_accused_and_altered_ones_are_found():
    check(1002, seed=0)


@pytest.mark.slow
def test_honest_tables_are_not_accused_however_many():
    check(12_000, seed=1)


# --- one check at a time ----------------------------------------------------------------------------------------------


def told(**sections):
    return [f"{one.where}: {one.line}" for one in audit({"name": "t", "about": "t", **sections}).findings]


def remarks(**sections):
    return [one.line for one in audit({"name": "t", "about": "t", **sections}).remarks]


@pytest.mark.parametrize(
    ("text", "lo", "hi"),
    [("0.40", "0.395", "0.405"), ("78.1%", "0.7805", "0.7815"), ("-0.5", "-0.55", "-0.45"), ("1,340", "1340", "1340")],
)
def test_a_number_stands_for_all_that_round_to_its_digits(text, lo, hi):
    assert read_number(text).range() == Range(Fraction(lo), Fraction(hi))


def test_cut_digits_are_honest_only_where_the_file_says_so():
    shares = {"where": "T", "total": "16", "parts": {"a": "11", "b": "5"}, "shares": {"b": "31.2%"}}
    assert not told(sums=[shares])  # 31.25 is a tie
    cut = shares | {"shares": {"a": "68%", "b": "31%"}}
    assert told(sums=[cut]) == ["T, a: 11 of 16 is 68.75%, printed is 68%"]
    assert not told(truncation="true", sums=[cut])


def test_a_float_has_lost_its_digits():
    with pytest.raises(InputError, match="must be text"):
        load_claims(
            {"name": "t", "about": "t", "products": [{"where": "T", "product": 0.4, "factors": {"a": "1", "b": "2"}}]}
        )


def test_sizes_that_would_give_an_accuracy_are_named():
    (one,) = audit({"name": "t", "about": "t", "accuracies": [
        {"where": "T", "size": "6", "columns": ["recall"], "rows": {"fear": "0.429"}}]}).findings  # fmt: skip
    assert "2/6 = 0.3333, 3/6 = 0.5000" in one.details[0]
    assert "7" in one.details[1]


def test_f1_of_means_bounds_every_mean_of_f1():
    draw = np.random.default_rng(0)
    for _ in range(300):
        p, r = draw.random((2, 5))
        weights = draw.dirichlet(np.ones(5)) if draw.random() < 0.5 else np.full(5, 0.2)
        row = [f"{np.sum(weights * one):.3f}" for one in (p, r, 2 * p * r / (p + r))]
        assert not told(averages=[{"where": "T", "columns": ["precision", "recall", "f1"], "rows": {"A": row}}])


def test_f1_above_and_below_its_bounds_is_found():
    rows = {"high": "78.53 77.32 78.11", "low": "90.00 90.00 79.90", "right": "78.53 77.32 77.92"}
    found = told(averages=[{"where": "T", "unit": "%", "columns": ["precision", "recall", "f1"], "rows": rows}])
    assert [one.split(":")[0] for one in found] == ["T, high", "T, low"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda matrix: np.transpose(matrix), "turned over"),
        (lambda matrix: matrix[[1, 0, 2]], "Rows of the matrix exchanged"),
        (lambda matrix: matrix[:, [0, 2, 1]], "Columns of the matrix exchanged"),
    ],
)
def test_the_exchange_that_explains_a_matrix_is_named(change, says):
    from sklearn.metrics import precision_recall_fscore_support

    matrix = np.array([[20, 3, 1], [5, 30, 2], [0, 4, 9]])
    truth, called = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    figures = np.round(np.transpose(precision_recall_fscore_support(truth, called)[:3]), 3)
    report = {
        "where": "T",
        "classes": dict.fromkeys("abc", "?"),
        "columns": ["precision", "recall", "f1"],
        "rows": {name: [f"{one:.3f}" for one in row] for name, row in zip("abc", figures, strict=True)},
        "accuracy": f"{(truth == called).mean():.3f}",
    }
    assert not told(reports=[report | {"matrix": matrix.tolist()}])
    (found,) = audit({"name": "t", "about": "t", "reports": [report | {"matrix": change(matrix).tolist()}]}).findings
    assert any(says in line for line in found.details)


def test_classes_of_unknown_size_bound_the_accuracy():
    table = {"where": "T", "size": "100", "classes": {"a": "?", "b": "?"}, "columns": ["a", "b", "accuracy"]}
    assert not told(recalls=[table | {"rows": {"A": "0.50 0.75 0.60"}}])
    assert told(recalls=[table | {"rows": {"A": "0.50 0.75 0.80"}}])
    # 1/3 of the first and 1/7 of the other cannot be told from one class of 100, but both need more than 100.
    assert told(recalls=[table | {"size": "20", "rows": {"A": "0.3333 0.0769 -", "B": "0.2000 0.1429 -"}}])


def test_class_counts_that_do_not_make_the_test_set_are_found():
    table = {"where": "T", "size": "10", "classes": {"a": "4", "b": "5"}, "columns": ["a"], "rows": {"A": "0.50"}}
    assert told(recalls=[table]) == ["T: class counts 4 + 5 = 9, printed are 10 samples"]


def test_problems_of_one_test_set_share_its_size():
    table = {"where": "T", "size": "5-12", "columns": ["recall", "specificity"], "exclusive": "true"}
    assert not told(binaries=[table | {"rows": {"a": "0.667 0.857", "b": "0.857 0.667"}}])
    assert told(binaries=[table | {"rows": {"a": "0.667 0.857", "b": "0.833 0.500"}}])


def test_ratios_of_classes_make_a_whole():
    counts = [10, 20, 45, 7]
    rows = {f"c{k}": [f"{(sum(counts) - n) / n:.1f}"] for k, n in enumerate(counts)}
    table = {"where": "T", "columns": ["ratio"], "rows": rows}
    assert not told(ratios=[table])
    assert told(ratios=[table | {"rows": rows | {"c1": ["1.2"]}}])


def samples_of(draw):
    """Printed statistics of n values, the values among them."""
    values = np.round(draw.beta(4, 2, int(draw.integers(4, 15))), 3)
    mean, sd = values.mean(), values.std(ddof=1)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, sd / sqrt(len(values)))
    row = {"mean": mean, "sd": sd, "median": np.median(values), "low": low, "high": high}
    return {name: f"{one:.3f}" for name, one in row.items()}, [f"{one:.3f}" for one in values]


def test_statistics_of_real_samples_are_not_accused_and_others_are():
    draw = np.random.default_rng(1)
    for _ in range(60):
        row, values = samples_of(draw)
        table = {"where": "T", "n": len(values), "least": "0", "most": "1", "columns": [*row], "values": {"A": values}}
        assert not told(samples=[table | {"rows": {"A": [*row.values()]}}])
        for name in row:
            changed = row | {name: f"{float(row[name]) + 0.02:.3f}"}
            assert told(samples=[table | {"rows": {"A": [*changed.values()]}}]), name


def test_an_sd_beyond_what_the_range_allows_is_found():
    table = {"where": "T", "n": "6", "least": "0", "most": "1", "columns": ["mean", "sd"]}
    most = np.std([0, 0, 1, 1, 1, 1], ddof=1)
    assert not told(samples=[table | {"rows": {"A": ["0.667", f"{most:.3f}"]}}])
    assert told(samples=[table | {"rows": {"A": ["0.667", f"{most + 0.002:.3f}"]}}])


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
        f"c{k}": [f"{one:.3f}" for one in (*row, q)] for k, (row, q) in enumerate(zip(rows, corrected, strict=True))
    }


def test_paired_comparisons_fit_and_others_are_found():
    draw = np.random.default_rng(2)
    for _ in range(40):
        n = int(draw.integers(5, 40))
        rows = comparisons_of(draw, n)
        table = {"where": "T", "n": n, "correction": "fdr", "columns": ["d", "difference", "low", "high", "p"]}
        assert not told(comparisons=[table | {"families": {"F": rows}}])
        first = rows["c0"]
        wrong = f"{float(first[4]) / 3 + 0.4:.3f}" if float(first[4]) < 0.5 else "0.010"
        assert told(comparisons=[table | {"families": {"F": rows | {"c0": [*first[:4], wrong]}}}])


def test_f_tests_fit_their_p_and_eta():
    draw = np.random.default_rng(3)
    for _ in range(40):
        groups = draw.normal(0, 1, (3, 9)) + draw.normal(0, 0.5, (3, 1))
        f, p = stats.f_oneway(*groups)
        between, within = 9 * groups.mean(1).var() * 3, groups.var(1).sum() * 9
        row = [f"{one:.3f}" for one in (f, p, between / (between + within))]
        table = {"where": "T", "df": ["2", "24"], "columns": ["f", "p", "eta2"]}
        assert not told(effects=[table | {"rows": {"A": row}}])
        assert told(effects=[table | {"rows": {"A": [row[0], f"{(float(row[1]) + 0.1) % 1:.3f}", row[2]]}}])
        assert told(effects=[table | {"rows": {"A": [row[0], row[1], f"{(float(row[2]) + 0.1) % 1:.3f}"]}}])


def test_power_is_that_of_statsmodels():
    from statsmodels.stats.power import TTestIndPower, TTestPower

    for d, n in ((0.255, 6), (1.435, 6), (0.5, 34), (0.2, 199)):
        alpha = read_number("0.05")
        assert power_of_t(d, n, alpha, paired=True) == pytest.approx(TTestPower().power(d, n, 0.05), rel=1e-6)
        assert power_of_t(d, n, alpha, paired=False) == pytest.approx(TTestIndPower().power(d, n, 0.05), rel=1e-6)


@pytest.mark.parametrize(("n", "right"), [("33", False), ("34", True), ("35", False)])
def test_the_smallest_n_of_a_power_is_the_smallest(n, right):
    table = {"where": "T", "smallest": "true", "columns": ["n", "d", "power"], "rows": {"A": [n, "0.50", "0.80"]}}
    assert bool(told(powers=[table])) != right


def test_verdicts_of_equivalence_follow_the_interval():
    rows = {"inside": "-0.010 0.012 0.020", "outside": "0.015 0.060 0.020", "narrow": "-0.005 0.021 0.020"}
    table = {"where": "T", "n": "24", "columns": ["low", "high", "margin"], "rows": rows}
    assert [one.split(":")[0] for one in told(equivalences=[table | {"equivalent": ["outside"]}])] == [
        "T, inside",
        "T, outside",
    ]
    assert not told(equivalences=[table | {"equivalent": ["inside"]}])
    (one,) = remarks(equivalences=[table | {"equivalent": ["inside"]}])
    assert one.endswith("narrow")


def test_gains_are_read_as_points_or_relative():
    table = {"where": "T", "unit": "%", "columns": ["from", "to", "gain"]}
    rows = {"points": "50.0 55.0 5.0%", "relative": "50.0 55.0 10.0%", "neither": "50.0 55.0 7.0%"}
    assert [one.split(":")[0] for one in told(gains=[table | {"rows": rows}])] == ["T, neither"]
    swapped = {"a": "50.0 55.0 2.0%", "b": "60.0 62.0 5.0%"}
    (first, _) = audit({"name": "t", "about": "t", "gains": [table | {"reading": "points", "rows": swapped}]}).findings
    assert "exchanged" in first.details[0]


def test_small_arithmetic():
    assert told(bests=[{"where": "T", "columns": ["best", "run", "run"], "rows": {"A": "53.051 53.051 53.164"}}])
    assert told(orders=[{"where": "T", "columns": ["larger", "smaller"], "rows": {"A": "0.008 0.020"}}])
    assert told(repeats=[{"where": "T", "values": {"a": "81.48%", "b": "81.4%"}}])
    assert not told(repeats=[{"where": "T", "values": {"a": "81.48%", "b": "0.815"}}])
    assert told(products=[{"where": "T", "product": "288", "factors": {"a": "8", "b": "6"}}])


@pytest.mark.parametrize(("cell", "layer"), [("gru", "GRU"), ("lstm", "LSTM")])
def test_parameters_are_those_of_torch_less_its_second_bias(cell, layer):
    from torch import nn

    network = nn.ModuleList([nn.Linear(40, 8), getattr(nn, layer)(8, 12), nn.Linear(12, 5), nn.Linear(5, 1)])
    total = sum(one.numel() for one in network.parameters()) - network[1].bias_hh_l0.numel()
    assert count(40, 8, cell, 12, 5, 1) == total
    stated = {"where": "T", "inputs": "40", "dense": "8-9", "cell": cell, "hidden": "12", "head": "5"}
    assert not told(parameters=[stated | {"count": str(total)}])
    assert told(parameters=[stated | {"count": str(total // 10)}])


# --- the papers, the files, the command -------------------------------------------------------------------------------

EXPECTED = {
    "p1": ["Table 3, Focal Loss: F1 83.40%", "Table 1, Level 1: 1,340 of 3740 is 35.83%", "Table 4: 12 of 16 figures"],
    "p2": ["RAF-DB overall: from 89.77% to 90.36%", "150, mean: from 70.33% to 73.90%", "Section 4.4.2, RBF, mean"],
    "p3": ["Tables 1 and 3", "Tables 6 and 8, Large-LSTM, test: 2 printed", "no count of 12 gives 93%"],
    "p4": ["32 of 36 figures are no count of 4,000", "the best of 52.817", "91.180 is less than 91.260"],
    "p5": [
        "make the classes 1.29",
        "no count of 6 gives 0.429",
        "146.9 parameters cannot be",
        "466.67%",
        "9 of 12 observed",
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_comes_out_of_the_papers(name):
    found = audit(name)
    lines = [f"{one.where}: {one.line}" for one in found.findings]
    assert all(any(part in line for line in lines) for part in EXPECTED[name])
    if name == "p5":
        assert any("one test set of 87 samples; positives: Anger 13, Disgust 17" in one.line for one in found.remarks)
        assert not any("Table 4, Anger" in line or "Table 3" in line for line in lines)
    if name == "p4":
        assert not any(line.startswith(("Table A7", "Table A6", "Table 6", "Table A4")) for line in lines)


def test_every_shipped_file_is_audited():
    assert set(shipped_claims()) == set(EXPECTED)


HONEST = """name: mine
about: a paper
averages:
  - where: Table 1
    columns: [precision, recall, f1]
    rows: {A: 0.40 0.40 0.40}
"""


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (HONEST, 0, "nothing found that cannot be in 3 printed numbers"),
        (HONEST.replace("0.40}", "0.42}"), 1, "F1 0.42 cannot be"),
        (HONEST.replace("recall", "recal"), 2, "unknown column recal"),
        (HONEST.replace("0.40}", "0.4x}"), 2, "must be a number as printed"),
        (HONEST.replace("averages", "average"), 2, "Did you mean averages?"),
        (HONEST.replace("0.40 0.40 0.40", "0.40 0.40"), 2, "row A has 2 numbers for 3 columns"),
        ("- a list", 2, "holds no claims"),
    ],
)
def test_the_command_ends_with_what_it_found(tmp_path, text, code, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["audit", "claims", str(path)])
    assert result.exit_code == code, result.output
    assert says in result.output


def test_the_command_takes_several_and_names_those_that_ship():
    result = CliRunner().invoke(app, ["audit", "claims", "p1", "p3"])
    assert result.exit_code == 1
    assert "\np3  " in result.output
    assert "p1, p2, p3, p4, p5" in CliRunner().invoke(app, ["audit", "claims", "p9"]).output
