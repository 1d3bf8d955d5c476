"""Tables, figures and pages: complete, self-contained, escaped, the same on every call."""

import csv
import html.parser
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.comparison import Difference, compare
from evenface.evaluation.metric_registry import METRICS
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import metrics_of
from evenface.reporting import figures, page, report, style, tables
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("real_figures")

CLASSES = ("angry", "fear & <awe>", "happy_$100%")
NAN = float("nan")


def make(seed=0, n=120, people=12, skill=1.0, classes=CLASSES):
    labels = np.arange(n) % len(classes)
    logits = np.random.default_rng(seed).normal(size=(n, len(classes))) + skill * np.eye(len(classes))[labels]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    who = None if people is None else np.array([f"p{i % people}" for i in range(n)], dtype=object)
    return Predictions(np.array([f"s{i}" for i in range(n)], dtype=object), who, labels, p, classes)


def history():
    epochs = np.arange(1, 6)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "lr": 0.1,
            "train_loss": 1 / epochs,
            "validation_loss": 2 / epochs,
            "validation_accuracy": 0.5,
        }
    )


class Reader(html.parser.HTMLParser):
    """Collects what a browser would load, and whether tags close in order."""

    def __init__(self):
        super().__init__()
        self.loads, self.open, self.words, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.loads += [given[key] for key in ("src", "xlink:href", "data") if key in given]
        if tag in ("link", "script", "iframe", "object", "base"):
            self.loads.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "img", "link", "br"):
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style",):
            self.words.append(data)


def read(path):
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return text, reader


@pytest.fixture(scope="module")
def comparison_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    runs = {"plain <b>": [make(1), make(2)], "re_balanced & co": [make(3, skill=3), make(4, skill=3)]}
    return report.comparison_report(
        folder / "report.html",
        runs,
        title="Two & two",
        histories={"plain <b>": history()},
        notes=["These people are synthetic."],
        counts={"train": [300, 20, 3], "test": [40, 40, 40]},
        faces={name: np.full((3, 8, 8), 90, np.uint8) for name in CLASSES},
        provenance={"recipe": "a.yaml"},
        formats=("pdf", "png"),
    )


def test_a_page_needs_nothing_from_elsewhere(comparison_page):
    text, reader = read(comparison_page)
    assert [load[:22] for load in reader.loads if not load.startswith("#")] == ["data:image/jpeg;base64"] * 3
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert len(reader.ids) == len(set(reader.ids))  # inline figures do not share ids
    for reference in re.findall(r'(?:url\(#|href="#)([^)"]+)', text):
        assert reference in reader.ids


def test_a_page_gives_the_answer_before_the_details(comparison_page):
    _, reader = read(comparison_page)
    words = " ".join(" ".join(reader.words).split())
    order = ["Two & two", "Re_balanced & co is better", "over 12 people", "Uncertainty", "These people are synthetic."]
    order += ["Difference from plain <b>", "Recall per class", "Samples per class", "a.yaml"]
    places = [words.index(part) for part in order]
    assert places == sorted(places)
    assert "the unit of replication is the person" in words


def test_every_table_and_figure_of_a_page_is_a_file_beside_it(comparison_page):
    text, _ = read(comparison_page)
    linked = set(re.findall(r'href="(tables/[^"]+)"', text))
    there = {f"tables/{path.name}" for path in (comparison_page.parent / "tables").iterdir()}
    assert linked == there
    assert len(linked) >= 16
    drawn = sorted(path.name for path in (comparison_page.parent / "figures").iterdir())
    assert len(drawn) == 2 * text.count("<svg")
    assert (comparison_page.parent / "figures" / "recall.pdf").read_bytes().startswith(b"%PDF")
    assert (comparison_page.parent / "figures" / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_names_are_escaped_in_page_and_latex(comparison_page):
    text, _ = read(comparison_page)
    assert "fear & <awe>" not in text
    assert "plain <b>" not in text
    assert "fear &amp; &lt;awe&gt;" in text
    latex = (comparison_page.parent / "tables" / "recall.tex").read_text(encoding="utf-8")
    assert r"fear \& \textless{}awe\textgreater{}" in latex
    assert r"happy\_\$100\%" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1


def test_the_same_predictions_make_the_same_page(tmp_path):
    first = report.run_report(tmp_path / "a" / "report.html", make(), title="One", history=history(), formats=("svg",))
    second = report.run_report(tmp_path / "b" / "report.html", make(), title="One", history=history(), formats=("svg",))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 8
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert first.name == second.name


def test_a_run_page_warns_of_what_its_numbers_hide(tmp_path):
    labels = np.array([0] * 30 + [1] * 4)
    p = np.tile([0.8, 0.1, 0.1], (34, 1))
    given = Predictions(np.array([f"s{i}" for i in range(34)]), None, labels, p, ("calm", "pain", "severe"))
    _, reader = read(report.run_report(tmp_path / "report.html", given, title="Bad"))
    words = " ".join(" ".join(reader.words).split())
    assert "No test sample is of severe" in words
    assert "Very few test samples: pain (4)" in words
    assert "The run never predicts pain" in words
    assert "Balanced accuracy is not significantly above chance." in words
    assert "The people in the samples are unknown." in words
    assert "Always predicting calm would give accuracy 0.88 and balanced accuracy 0.50." in words
    assert "nan" not in words.lower().split()


def test_a_page_without_extras_has_no_empty_parts(tmp_path):
    text, reader = read(report.run_report(tmp_path / "report.html", make(people=None), title="Bare"))
    assert "Training" not in reader.words
    assert "Provenance" not in reader.words
    assert "<img" not in text
    assert not (tmp_path / "figures").exists()


def test_bad_requests_leave_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="cannot save figures as 'gif'"):
        report.run_report(tmp_path / "report.html", make(), title="x", formats=("gif",))
    with pytest.raises(InputError, match="faces of 'angry' must be uint8"):
        report.run_report(tmp_path / "report.html", make(), title="x", faces={"angry": np.zeros((2, 8, 8))})
    assert list(tmp_path.iterdir()) == []


def test_csv_keeps_every_digit_and_gives_intervals_their_own_columns():
    table = tables.Table(
        "t",
        "T",
        ("name", "n", "value", "change"),
        (
            ("a, b", 1234, Estimate(1 / 3, 0.2, 0.5), Difference("d", -0.1, -0.2, NAN, 0.01, 0.02)),
            ("c", 5, Estimate(NAN), Difference("d", 0.00004, 0, 0, 1, 1)),
        ),
        "note",
    )
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows[0] == ["name", "n", "value", "value low", "value high", "change", "change low", "change high"]
    assert rows[1] == ["a, b", "1234", repr(1 / 3), "0.2", "0.5", "-0.1", "-0.2", ""]
    assert rows[2][2:5] == ["", "", ""]
    assert table.formatted == [
        ["a, b", "1,234", "0.333 [0.200, 0.500]", "-0.100 [-0.200, –]"],
        ["c", "5", "–", "0.000 [0.000, 0.000]"],
    ]
    lines = table.text().splitlines()
    assert lines[0].startswith("name      n")
    assert lines[1].index("1,234") + 5 == lines[2].index("5") + 1  # numbers end in one line
    assert r"\begin{tabular}{lrrr}" in table.latex()


def test_tables_hold_what_was_computed():
    given = make()
    result = metrics_of(given, resamples=50)
    rows = {row[0]: row for row in tables.class_table(result).rows}
    assert rows["angry"][1] == 40
    assert rows["angry"][3] == result["per_class"]["angry"]["precision"]["value"]
    assert len(tables.overall_table(result).rows) == len(result["overall"])
    counts = tables.counts_table({"train": [1, 2, 3], "test": [4, 5, 6]}, CLASSES)
    assert counts.rows[-1] == ("all", 6, 15)
    assert set(result["overall"]) | (set(result["per_class"]["angry"]) - {"support"}) <= set(METRICS)


def test_seeds_are_shown_with_their_spread():
    runs = {"a": [make(1), make(2), make(3)], "b": make(4)}
    table = tables.methods_table(compare(runs, resamples=50))
    assert table.header[:4] == ("method", "seeds", "balanced accuracy", "sd of balanced accuracy")
    values = [metrics_of(run, resamples=0)["overall"]["balanced_accuracy"]["value"] for run in runs["a"]]
    assert table.rows[0][3] == pytest.approx(np.std(values, ddof=1))
    assert table.formatted[1][3] == "–"
    assert tables.mcnemar_table(compare(runs, resamples=50)) is None


@pytest.mark.parametrize(("classes", "people"), [(2, 10), (5, None), (11, 10)])
def test_figures_draw_any_number_of_classes(classes, people):
    names = tuple(f"class {i}" for i in range(classes))
    runs = {"first": make(1, 132, people, classes=names), "second": make(2, 132, people, classes=names)}
    found = compare(runs, resamples=50)
    drawn = [
        figures.confusion([runs["first"]]),
        figures.precision_recall(runs),
        figures.recalls({m.name: m.by_class for m in found.methods}, names, found.support),
        figures.recall_differences(found),
    ]
    for figure in drawn:
        ET.fromstring(style.inline_svg(figure, "a figure"))


def test_class_counts_turn_to_a_log_scale_for_a_long_tail():
    even = figures.class_counts({"train": [50, 40, 30]}, CLASSES).axes[0]
    tail = figures.class_counts({"train": [5000, 400, 0], "test": [9, 9, 9]}, CLASSES).axes[0]
    assert (even.get_xscale(), tail.get_xscale()) == ("linear", "log")
    assert [label.get_text() for label in tail.get_yticklabels()] == list(CLASSES)
    assert np.isnan(tail.lines[0].get_xdata()[2])  # no sample cannot stand on a log scale: no mark


def test_confusion_figure_shows_percent_and_counts():
    texts = [text.get_text() for text in figures.confusion([make()]).axes[0].texts]
    counts = np.array(metrics_of(make(), resamples=0)["confusion"])
    assert texts[1::2] == [f"{n}" for n in counts.ravel()]
    assert texts[0::2] == [f"{100 * n / 40:.0f}" for n in counts.ravel()]


def test_curves_of_what_was_not_logged_are_not_drawn():
    assert figures.training_curves({"a": pd.DataFrame({"epoch": [1, 2], "lr": [0.1, 0.1]})}) is None
    titles = [axis.get_title(loc="left") for axis in figures.training_curves({"a": history()}).axes]
    assert titles == ["loss", "accuracy"]


def test_names_of_metrics_are_whole_above_their_curves():
    names = ("loss", "accuracy", "balanced_accuracy", "macro_f1")
    logged = pd.DataFrame({"epoch": [1, 2], **{f"validation_{name}": [0.1, 0.2] for name in names}})
    drawn = figures.training_curves({"a": logged})
    assert drawn.axes[3].get_title(loc="left") == "macro F1"
    drawn.canvas.draw()
    for axis in drawn.axes:
        assert axis._left_title.get_window_extent().x1 <= drawn.bbox.x1
        assert all(float(tick).is_integer() for tick in axis.get_xticks())


def test_inline_figures_take_the_colours_of_the_page():
    drawn = style.inline_svg(figures.reliability({"a": make(), "b": make(1)}), "calibration")
    assert "var(--series-0)" in drawn
    assert "var(--ink)" in drawn
    assert not set(re.findall(r"#[0-9a-f]{6}\b", drawn)) - {"#ffffff", "#000000"}
    assert "DejaVu" not in drawn
    assert 'aria-label="calibration"' in drawn


def test_grey_and_colour_faces_become_one_strip():
    for shape in ((4, 8, 8), (4, 8, 8, 1), (4, 8, 8, 3)):
        strip = page._strip("angry", np.zeros(shape, np.uint8))
        assert (strip["width"], strip["height"]) == (4 * 68 - 4, 64)
