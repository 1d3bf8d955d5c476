"""The audit against an exhaustive search over all counts, which shares no code with it."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from evenface.audit import audit


def printed(value, digits, percent):
    """Format a proportion as Python does."""
    return f"{float(value) * 100:.{digits}f}%" if percent else f"{float(value):.{digits}f}"


def rounds(top, bottom, text):
    """Return whether top / bottom rounds to a printed number, with ties in either direction."""
    body, scale = text.rstrip("%"), 100 if text.endswith("%") else 1
    unit = 10 ** len(body.partition(".")[2])
    number = int(body.replace(".", ""))
    return abs(2 * top * scale * unit - 2 * number * bottom) <= bottom


def fits(top, bottom, text):
    """The same for arrays; 0 / 0 is 0."""
    top, bottom = np.where(bottom == 0, 0, top), np.where(bottom == 0, 1, bottom)
    return rounds(top, bottom, text)


class Binary:
    """A binary problem: accuracy, precision, recall, specificity and F1 of n samples."""

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
        tp, fp, fn, tn = (counts[tn >= 0] for counts in (tp, fp, fn, tn))
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
        self.figures = {name: printed(value, digits, True) for name, value in zip(names, shares + whole, strict=True)}

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
    index = np.indices([len(options) for options in rows]).reshape(len(rows), -1)
    return np.stack([options[chosen] for options, chosen in zip(rows, index, strict=True)], axis=1)


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
        metrics = {}
        for k in range(len(self.sizes)):
            metrics[f"c{k}", "precision"] = t[:, k] / safe(m[:, k], 1)
            metrics[f"c{k}", "recall"] = t[:, k] / n[:, k]
            metrics[f"c{k}", "f1"] = 2 * t[:, k] / (n[:, k] + m[:, k])
        metrics["", "accuracy"] = t.sum(1) / n.sum(1)
        for figure in ("precision", "recall", "f1"):
            metrics["", figure] = sum(metrics[f"c{k}", figure] for k in range(len(self.sizes))) / len(self.sizes)
        return metrics

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
                # Precision of a class without predictions may be printed as 1.
                k = int(name[1:])
                close |= (tables.sum(1)[:, k] == 0) & (float(text) == 1)
            good &= close
        return bool(good.any())


class Accuracies:
    """Several accuracies on one test set."""

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
    """Mean and sd of a few integers."""

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
    """Parts, their total and their proportions."""

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
    """Return the number with its last digits changed."""
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
    """Return false findings, and numbers of impossible altered tables and of those found, by kind."""
    draw = random.Random(seed)
    false_findings, impossible, found = [], dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for number in range(tables):
        kind = KINDS[number % len(KINDS)]
        table = kind(draw)
        false_findings += [(kind.__name__, table.__dict__, finding) for finding in findings(table)]
        key = draw.choice(sorted(table.figures))
        table.figures[key] = altered(table.figures[key], draw)
        results = findings(table)
        if table.possible():
            false_findings += [(kind.__name__, table.__dict__, finding) for finding in results]
        else:
            impossible[kind] += 1
            found[kind] += bool(results)
    return false_findings, impossible, found


def check(tables, seed):
    false_findings, impossible, found = trial(tables, seed)
    assert not false_findings
    assert sum(impossible.values()) > tables / 4
    missed = {kind.__name__: (found[kind], impossible[kind]) for kind in KINDS}
    assert sum(found.values()) >= 0.95 * sum(impossible.values()), missed
    assert all(found[kind] >= 0.9 * impossible[kind] for kind in KINDS), missed


def test_consistent_tables_have_no_findings_and_altered_ones_are_found():
    check(504, seed=0)


@pytest.mark.slow
def test_many_consistent_tables_have_no_findings():
    check(12_000, seed=1)
