"""Consistent numbers have no findings: full precision, means over runs, percentages, published tables."""

from fractions import Fraction

import numpy as np
import pytest
import yaml
from scipy import stats
from sklearn import metrics

from evenface.audit import audit
from evenface.audit.printed import read_bound, read_number
from evenface.utils.errors import InputError

FIGURES = ("precision", "recall", "f1")


def result(**sections):
    return audit({"name": "t", "about": "t", **sections})


def findings(**sections):
    return [f"{finding.where}: {finding.message}" for finding in result(**sections).findings]


def labels(draw, classes=None):
    """True and predicted classes of a random classifier, some classes rare and some never predicted."""
    count = classes or int(draw.integers(2, 13))
    shares = draw.dirichlet(np.full(count, draw.choice([0.3, 1.0, 10.0])))
    truth = np.concatenate([np.arange(count), draw.choice(count, int(draw.integers(5, 3000)), p=shares)])
    called = np.where(draw.random(len(truth)) < draw.uniform(0.2, 0.999), truth, draw.integers(0, count, len(truth)))
    if draw.random() < 0.3:
        called[called == draw.integers(count)] = draw.integers(count)
    return truth, called


def report_of(draw, write=repr, average="macro"):
    """A report of scikit-learn, every value in full precision."""
    truth, called = labels(draw)
    report = metrics.classification_report(truth, called, output_dict=True, zero_division=0)
    overall, names = report[f"{average} avg"], [name for name in report if name.isdigit()]
    table = {
        "where": "T",
        "columns": [*FIGURES],
        "classes": {f"c{name}": str(report[name]["support"]) for name in names},
        "rows": {
            f"c{name}": [write(report[name][key]) for key in ("precision", "recall", "f1-score")] for name in names
        },
        "average": average,
        "precision": write(overall["precision"]),
        "recall": write(overall["recall"]),
        "f1": write(overall["f1-score"]),
    }
    return table | ({"accuracy": write(report["accuracy"])} if "accuracy" in report else {})


def percent(value):
    return f"{value * 100!r}%"


def single(value):
    return repr(float(np.float32(value)))


def short_single(value):
    return str(np.float32(value))


@pytest.mark.parametrize("write", [repr, percent, single, short_single, "{:.15f}".format, "{:.4f}".format])
def test_reports_of_scikit_learn_have_no_findings(write):
    draw = np.random.default_rng(0)
    for number in range(120 if write is repr else 12):
        assert not findings(reports=[report_of(draw, write, ("macro", "weighted")[number % 2])])


def test_a_wrong_value_of_full_precision_is_a_finding():
    draw = np.random.default_rng(1)
    for _ in range(40):
        report = report_of(draw)
        name = draw.choice([*report["rows"]])
        figure = int(draw.integers(3))
        row = [*report["rows"][name]]
        row[figure] = repr(float(row[figure]) * 0.999 + 0.0003)
        assert findings(reports=[report | {"rows": report["rows"] | {name: row}}]), (report, name, row)


@pytest.mark.parametrize("write", [repr, percent, single, short_single])
def test_binary_problems_of_full_precision_have_no_findings(write):
    draw = np.random.default_rng(2)
    for _ in range(30):
        truth, called = labels(draw, classes=2)
        if len(truth) > 900:
            continue
        row = {
            "accuracy": metrics.accuracy_score(truth, called),
            "precision": metrics.precision_score(truth, called, zero_division=0),
            "recall": metrics.recall_score(truth, called),
            "specificity": metrics.recall_score(truth, called, pos_label=0),
            "f1": metrics.f1_score(truth, called),
        }
        table = {
            "where": "T",
            "size": str(len(truth)),
            "columns": [*row],
            "rows": {"A": [write(v) for v in row.values()]},
        }
        assert not findings(binaries=[table])
        shares = {"where": "T", "size": str(len(truth)), "columns": ["accuracy"], "rows": {"A": write(row["accuracy"])}}
        assert not findings(accuracies=[shares])


def test_recalls_of_full_precision_have_no_findings():
    draw = np.random.default_rng(3)
    for _ in range(60):
        truth, called = labels(draw)
        recalls = metrics.recall_score(truth, called, average=None, zero_division=0)
        counts = np.bincount(truth)
        row = [*map(repr, recalls.tolist()), repr(metrics.accuracy_score(truth, called)), repr(float(recalls.mean()))]
        names = [f"c{k}" for k in range(len(counts))]
        table = {"where": "T", "columns": [*names, "accuracy", "mean"], "rows": {"A": row}}
        assert not findings(recalls=[table | {"classes": dict(zip(names, map(str, counts), strict=True))}])


def test_statistics_of_full_precision_have_no_findings():
    """AUC, MCC and kappa over seeds, their means, intervals, tests and gains."""
    draw = np.random.default_rng(4)
    measures = (metrics.cohen_kappa_score, metrics.matthews_corrcoef, metrics.roc_auc_score)
    for number in range(24):
        measure, seeds = measures[number % 3], int(draw.integers(3, 9))
        runs = [labels(draw, classes=2) for _ in range(2 * seeds)]
        first, second = np.array([float(measure(*run)) for run in runs]).reshape(2, seeds)
        mean, sd, n = float(first.mean()), float(first.std(ddof=1)), str(seeds)
        low, high = stats.t.interval(0.95, seeds - 1, mean, sd / np.sqrt(seeds))
        row = [*map(repr, (mean, sd, float(np.median(first)), float(low), float(high)))]
        values = [*map(repr, first.tolist())]
        columns = ["mean", "sd", "median", "low", "high"]
        section = {"where": "T", "n": n, "columns": columns, "rows": {"A": row}, "values": {"A": values}}
        assert not findings(samples=[section])
        best = {"where": "T", "columns": ["best", "mean", *["run"] * seeds]}
        assert not findings(bests=[best | {"rows": {"A": [repr(float(first.max())), repr(mean), *values]}}])
        gain = [repr(mean), repr(float(second.mean())), repr(float(second.mean()) - mean)]
        assert not findings(gains=[{"where": "T", "columns": ["from", "to", "gain"], "rows": {"A": gain}}])
        difference = first - second
        test = stats.ttest_rel(first, second)
        interval = test.confidence_interval(0.95)
        d = difference.mean() / difference.std(ddof=1)
        row = [repr(float(v)) for v in (d, difference.mean(), interval.low, interval.high, test.pvalue)]
        table = {"where": "T", "n": n, "columns": ["d", "difference", "low", "high", "p"]}
        assert not findings(comparisons=[table | {"families": {"F": {"A": row}}}])


@pytest.mark.parametrize(
    ("text", "value", "error"),
    [
        ("0.9972144846796658", Fraction(358, 359), Fraction(1, 10**14)),
        ("0.8676470518112183", Fraction(354, 408), Fraction(1, 10**5)),  # a float32, as Keras and PyTorch compute
        ("99.72144846796658%", Fraction(358, 359), Fraction(1, 10**14)),
        ("0.8676471", Fraction(354, 408), Fraction(1, 10**5)),
    ],
)
def test_a_float_represents_the_fraction_it_was_computed_from(text, value, error):
    printed = read_number(text).range()
    assert value in printed
    assert printed.hi - printed.lo < error


def test_rounded_numbers_are_as_wide_as_their_last_digit():
    draw = np.random.default_rng(5)
    for digits in range(1, 7):
        text = f"{draw.random():.{digits}f}"
        printed = read_number(text).range()
        assert printed.hi - printed.lo == Fraction(1, 10**digits)


def test_bounds_and_powers_of_ten_are_read():
    assert read_number("4.0e-18").range().lo == Fraction("3.95e-18")
    assert [read_bound(text).range().hi for text in ("<0.001", "p < .001", "≤ 0.001")] == [Fraction("0.001")] * 3
    assert 0 in read_bound("p<0.001").range()
    table = {"where": "T", "df": ["2", "24"], "columns": ["f", "p"]}
    p = stats.f.sf(25.0, 2, 24)
    assert not findings(effects=[table | {"rows": {"A": "25.000 p < 0.001", "B": ["25.000", f"{p:.3e}"]}}])
    assert findings(effects=[table | {"rows": {"A": "2.000 < 0.001"}}])
    assert findings(effects=[table | {"rows": {"A": ["25.000", "4.0e-18"]}}])
    with pytest.raises(InputError, match="a bound is allowed in: p, power"):
        findings(effects=[table | {"rows": {"A": "<0.5 0.03"}}])
    with pytest.raises(InputError, match="no bound is allowed here"):
        findings(accuracies=[{"where": "T", "columns": ["accuracy"], "rows": {"A": "<0.5"}}])


def test_tiny_p_values_are_those_of_the_test():
    t = 12.0
    d, n = t / np.sqrt(30), 30
    row = [f"{d:.6f}", f"{2 * stats.t.sf(t, n - 1):.1e}"]
    table = {"where": "T", "n": str(n), "columns": ["d", "p"]}
    assert not findings(comparisons=[table | {"families": {"F": {"A": row}}}])
    assert findings(comparisons=[table | {"families": {"F": {"A": [row[0], "4.0e-18"]}}}])


def means_of_runs(draw, runs):
    """Recalls, accuracy and mean recall of several runs on the same samples, averaged and rounded."""
    counts = draw.integers(20, 300, int(draw.integers(2, 6)))
    shares = np.array([draw.binomial(counts, draw.uniform(0.3, 0.9)) for _ in range(runs)]) / counts
    names = [f"c{k}" for k in range(len(counts))]
    row = [*shares.mean(0), (shares @ counts / counts.sum()).mean(), shares.mean()]
    return {
        "where": "T",
        "classes": dict(zip(names, map(str, counts), strict=True)),
        "columns": [*names, "accuracy", "mean"],
        "rows": {"A": [f"{value * 100:.3f}%" for value in row]},
    }, str(counts.sum()), f"{row[-2] * 100:.3f}%"  # fmt: skip


def test_means_of_runs_are_counts_out_of_all_samples():
    draw, flagged = np.random.default_rng(6), 0
    for number in range(40):
        runs = int(draw.integers(2, 11))
        table, size, accuracy = means_of_runs(draw, runs)
        assert not findings(recalls=[table | {"runs": str(runs)}])
        own = {"columns": [*table["columns"], "runs"], "rows": {"A": [*table["rows"]["A"], str(runs)]}}
        assert not findings(recalls=[table | own])
        word = ("three" if runs == 3 else str(runs)) + (" runs" if number % 2 else " random seeds")
        share = {"where": f"Table 2, mean of {word}", "size": size, "columns": ["accuracy"], "rows": {"A": accuracy}}
        row = {
            "where": "Table 2",
            "size": size,
            "columns": ["accuracy"],
            "rows": {f"A (averaged over {word})": accuracy},
        }
        assert not findings(accuracies=[row])
        assert not findings(accuracies=[share])
        (remark,) = result(accuracies=[share]).remarks
        assert f"means of {runs} runs" in remark.message
        flagged += bool(findings(recalls=[table]))
    assert flagged > 30


def test_a_mean_beside_its_runs_is_a_count_out_of_all_samples():
    draw = np.random.default_rng(10)
    for _ in range(10):
        seeds, size = int(draw.integers(2, 6)), int(draw.integers(50, 400))
        hits = draw.binomial(size, 0.7, seeds)
        row = [f"{value * 100:.4f}" for value in (*hits / size, hits.mean() / size)]
        columns = [*(f"seed {k}" for k in range(seeds)), "mean"]
        table = {"where": "T", "size": str(size), "unit": "%", "columns": columns}
        assert not findings(accuracies=[table | {"rows": {"A": row}}])
        wrong = f"{hits.mean() / size * 100 + 0.0009:.4f}"
        assert findings(accuracies=[table | {"rows": {"A": [*row[:-1], wrong]}}])


def test_binary_metrics_may_be_means_of_runs():
    draw = np.random.default_rng(7)
    for _ in range(40):
        runs, size, positives = int(draw.integers(2, 6)), int(draw.integers(20, 60)), int(draw.integers(5, 15))
        tp, fp = draw.integers(1, positives + 1, runs), draw.integers(0, size - positives + 1, runs)
        row = {
            "accuracy": (tp + size - positives - fp) / size,
            "precision": tp / (tp + fp),
            "recall": tp / positives,
            "specificity": 1 - fp / (size - positives),
            "f1": 2 * tp / (tp + fp + positives),
        }
        cells = [f"{value.mean():.4f}" for value in row.values()]
        table = {"where": "T", "size": str(size), "runs": str(runs), "columns": [*row, "positives"]}
        assert not findings(binaries=[table | {"rows": {"A": [*cells, str(positives)]}}])


def test_the_number_of_runs_that_explains_a_proportion_is_stated():
    table = {"where": "T", "size": "10,000", "unit": "%", "columns": ["accuracy"], "rows": {"a": "93.456"}}
    (finding,) = result(accuracies=[table]).findings
    assert any("means of 5 runs" in line for line in finding.details)
    assert not findings(accuracies=[table | {"runs": "5"}])
    assert findings(accuracies=[table | {"runs": "3"}])


def test_rows_may_have_an_n_or_a_size_of_their_own():
    draw = np.random.default_rng(8)
    rows, wrong = {}, {}
    for name, n in (("A", 6), ("B", 24), ("C", 11)):
        values = draw.normal(0.5, 0.1, n)
        low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
        row = [f"{value:.4f}" for value in (values.mean(), values.std(ddof=1), low, high)]
        rows[name], wrong[name] = [*row, str(n)], [*row, str(n + 30)]
    table = {"where": "T", "columns": ["mean", "sd", "low", "high", "n"]}
    assert not findings(samples=[table | {"rows": rows}])
    assert len(findings(samples=[table | {"rows": wrong}])) == 3
    with pytest.raises(InputError, match="row C has no n"):
        findings(samples=[table | {"rows": rows | {"C": [*rows["C"][:4], "-"]}}])
    sizes = {"where": "T", "columns": ["accuracy", "size"]}
    assert not findings(accuracies=[sizes | {"rows": {"A": "0.429 7", "B": "0.333 6"}}])
    assert findings(accuracies=[sizes | {"rows": {"A": "0.429 6", "B": "0.333 6"}}])
    families = {"F": {"A": ["0.500", "0.010", f"{2 * stats.t.sf(0.5 * np.sqrt(30), 29):.3f}", "30"]}}
    table = {"where": "T", "columns": ["d", "difference", "p", "n"], "families": families}
    assert not findings(comparisons=[table])


def test_a_percentage_without_its_sign_has_a_hint():
    table = {"where": "T", "size": "748", "columns": ["accuracy"], "rows": {"A": "84.89"}}
    (finding,) = result(accuracies=[table]).findings
    assert "not a proportion" in finding.message
    assert "write 84.89%" in finding.details[0]
    (other,) = result(accuracies=[table | {"unit": "%", "rows": {"A": "0.8489"}}]).findings
    assert any("proportions between 0 and 1" in line for line in other.details)


def test_percentages_without_their_sign_have_a_hint_in_every_section():
    row = {"A": "78.53 77.32 77.92"}
    table = {"where": "T", "columns": [*FIGURES], "rows": row}
    report = {**table, "classes": {"A": "300", "B": "400"}}
    recalls = {"where": "T", "columns": ["a", "b", "accuracy"], "classes": {"a": "?", "b": "?"}, "rows": row}
    matrix = report | {"classes": {"A": "?", "B": "?"}, "matrix": [[3, 1], [1, 3]]}
    for name, section in (("averages", table), ("reports", report), ("reports", matrix), ("recalls", recalls)):
        flaws = result(**{name: [section]}).findings
        assert len(flaws) == 3, name
        assert all("not a proportion" in flaw.message and "unit: '%'" in flaw.details[0] for flaw in flaws)


def test_columns_that_are_no_proportion_of_all_samples_are_errors():
    with pytest.raises(InputError, match="F1 is not a proportion of all samples"):
        findings(accuracies=[{"where": "T", "columns": ["F1"], "rows": {"A": "0.5"}}])


def test_findings_show_their_arithmetic():
    """Precision lies between two quotients of counts; those nearest to it are shown."""
    table = {"where": "T", "size": "100", "columns": ["precision", "recall", "positives"]}
    (finding,) = result(binaries=[table | {"rows": {"A": "0.86 0.85 40"}}]).findings
    assert any("34/40 = 0.850, 34/39 = 0.872" in line for line in finding.details)
    report = {"where": "T", "classes": {"a": "735", "b": "765"}, "columns": [*FIGURES]}
    (finding,) = result(reports=[report | {"rows": {"a": "0.8749 0.8517 0.863"}}]).findings
    assert any("626/716 = 0.87430, 626/715 = 0.87552" in line for line in finding.details)


def test_the_sizes_consistent_with_most_values_are_listed():
    draw = np.random.default_rng(9)
    right = [f"{draw.integers(2000, 4000) / 5000 * 100:.3f}" for _ in range(20)]
    table = {"where": "T", "unit": "%", "size": "4,000", "columns": ["accuracy"]}
    rows = {f"r{k}": value for k, value in enumerate([*right, "51.237", "61.551"])}
    (finding,) = result(accuracies=[table | {"rows": rows}]).findings
    (line,) = [line for line in finding.details if "No size up to 20,000" in line]
    assert "of 22, 5,000 gives 20" in line
    counts = {n: {f"{k / n * 100:.3f}" for k in range(n + 1)} for n in (4000, 5000)}
    tried = {n: sum(value in among for value in rows.values()) for n, among in counts.items()}
    assert tried[5000] == 20
    assert f"4,000 gives {tried[4000]}" in line
    # Without a size there is no finding: the test set may be larger than those tried.
    unknown = {key: value for key, value in table.items() if key != "size"}
    assert not findings(accuracies=[unknown | {"rows": rows}])
    assert findings(accuracies=[unknown | {"rows": rows, "at_most": "20000"}])


def test_the_direction_of_differences_is_inferred():
    means = {"Accuracy": {"a": "0.946 0.931", "b": "0.927 0.925"}}
    table = {"where": "T", "sides": ["a", "b"], "columns": ["difference"], "means": means}
    rows = {"Accuracy": "0.0125", "Recall": "-0.145"}
    assert findings(differences=[table | {"rows": rows, "higher": {"Recall": "a"}}])
    assert not findings(differences=[table | {"rows": rows, "higher": {"Recall": "b"}}])
    reversed_rows = {"Accuracy": "-0.0125", "Recall": "-0.145"}
    assert not findings(differences=[table | {"rows": reversed_rows, "higher": {"Recall": "a"}}])
    assert findings(differences=[table | {"rows": reversed_rows, "higher": {"Recall": "b"}}])
    assert findings(differences=[table | {"rows": rows | {"Accuracy": "0.030"}}])
    both = table | {"means": means | {"F1": {"a": "0.5", "b": "0.7"}}}
    assert findings(differences=[both | {"rows": {"Accuracy": "0.0125", "F1": "0.200"}}])
    assert not findings(differences=[both | {"rows": {"Accuracy": "0.0125", "F1": "-0.200"}}])


PUBLISHED = """
name: published
about: tables that others have published, with their sizes
reports:
  - where: Bah et al., Intelligence and Robotics 2022, FERGIT, Table 2
    size: 2465
    columns: [precision, recall, f1]
    classes: &fer {Angry: 260, Disgust: 37, Fear: 257, Happy: 735, Sad: 304, Surprise: 218, Neutral: 654}
    rows:
      Angry: 0.64 0.49 0.56
      Disgust: 0.75 0.57 0.65
      Fear: 0.6 0.44 0.51
      Happy: 0.89 0.93 0.91
      Sad: 0.54 0.62 0.57
      Surprise: 0.76 0.73 0.75
      Neutral: 0.75 0.82 0.78
    accuracy: 0.74
  - where: the same, Table 3
    size: 2465
    columns: [precision, recall, f1]
    classes: *fer
    rows:
      Angry: 0.62 0.54 0.58
      Disgust: 0.71 0.54 0.62
      Fear: 0.62 0.44 0.51
      Happy: 0.89 0.92 0.9
      Sad: 0.55 0.56 0.55
      Surprise: 0.76 0.79 0.77
      Neutral: 0.75 0.84 0.79
    accuracy: 0.75
  - where: Bipa-Classification on Hugging Face, its scikit-learn report
    columns: [precision, recall, f1]
    classes: {"0": 179, "1": 180, "2": 120, "3": 147, "4": 178, "5": 136, "6": 118, "7": 178, "8": 179, "9": 174}
    rows:
      "0": 0.9944444444444445 1.0 0.9972144846796658
      "1": 0.9888888888888889 0.9888888888888889 0.9888888888888889
      "2": 0.975 0.975 0.975
      "3": 0.9863013698630136 0.9795918367346939 0.9829351535836177
      "4": 0.9943181818181818 0.9831460674157303 0.9887005649717514
      "5": 0.9925373134328358 0.9779411764705882 0.9851851851851852
      "6": 0.9435483870967742 0.9915254237288136 0.9669421487603306
      "7": 0.994413407821229 1.0 0.9971988795518207
      "8": 0.9944444444444445 1.0 0.9972144846796658
      "9": 1.0 0.9770114942528736 0.9883720930232558
binaries:
  - where: BERT on MRPC, model cards on Hugging Face; 408 pairs, 279 paraphrases
    size: 408
    columns: [accuracy, f1, positives]
    rows: {a: 0.8676 0.9085 279, b: 0.8309 0.8812 279, c: 0.8456 0.8893 279, d: 0.8211 0.8785 279}
accuracies:
  - where: the same, full digits
    size: 408
    columns: [accuracy]
    rows: {a: 0.8676470588235294, b: 0.8308823529411765, c: 0.8480392156862745}
  - where: torchvision's weights on ImageNet's validation images
    size: "50,000"
    unit: "%"
    columns: [top1, top5]
    rows: {AlexNet: 56.522 79.066, ResNet18: 69.758 89.078}
  - where: CIFAR-10 test, mean of 5 runs
    size: 10000
    unit: "%"
    columns: [accuracy]
    rows: {a: 93.456}
"""


def test_published_tables_have_no_findings():
    assert not audit(yaml.load(PUBLISHED, Loader=yaml.BaseLoader)).findings
