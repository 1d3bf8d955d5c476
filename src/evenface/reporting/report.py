"""Reports: one HTML page about a run, or about several that are compared."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evenface.evaluation import probability_metrics as scoring
from evenface.evaluation.bootstrap import Estimate, estimate, units_of
from evenface.evaluation.calibration import Calibration
from evenface.evaluation.calibration_error import Binning, Side, error_estimates, loss_estimates
from evenface.evaluation.comparison import Comparison, Difference, MethodPair, compare
from evenface.evaluation.formatting import UNITS, listed, number, with_interval
from evenface.evaluation.metric_registry import HEADLINE, label
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.selective import answered, risk_coverage
from evenface.evaluation.summary import metrics_of
from evenface.reporting import contents, figures
from evenface.reporting.page import Page, PageSection, Picture, Tile, Verdict, write
from evenface.reporting.style import MUTED, colour, panels, styled
from evenface.reporting.tables import Cell, Table
from evenface.reporting.wording import (
    ALONE,
    FEW_PEOPLE,
    NARROW,
    TOGETHER,
    UNKNOWN,
    difference,
    judgement,
    mixed,
    sureness,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


CLASS = "class"
"""Column of a history that names the network, where a run has one for each class."""


def seeds(groups: Mapping[str, Sequence[Predictions]], text: str) -> str:
    """Give ``text`` if any method has several seeds."""
    return text if any(len(group) > 1 for group in groups.values()) else ""


def overall(comparison: Comparison) -> PageSection:
    """Compare the main metrics and state the tests."""
    rings = any(len(method.runs) > 1 for method in comparison.methods)
    caption = "Main metrics of each method with intervals" + ("; each small ring is one seed." if rings else ".")
    tables = [
        contents.methods_table(comparison),
        contents.further_table(comparison),
        contents.pairs_table(comparison),
        contents.mcnemar_table(comparison),
    ]
    return PageSection(
        "Overall",
        "Intervals of two methods may overlap although their paired difference is certain: look at the differences.",
        (Picture("overall", figures.overall(comparison), caption),),
        tuple(table for table in tables if table is not None),
    )


def levels(result: Mapping[str, Any]) -> list[PageSection]:
    """Show how far predictions are from the true level, where classes are ordered."""
    if "levels" not in result:
        return []
    text = "The classes are steps of one scale, so it matters how far a prediction is off."
    return [PageSection("Levels", text, tables=(contents.levels_table(result),))]


def clips(result: Mapping[str, Any]) -> list[PageSection]:
    """Show the result by clip beside that by sample, where clips have several samples."""
    if "by_clip" not in result:
        return []
    text = "The probabilities of a clip are the mean of those of its samples, which are its frames or windows."
    return [PageSection("Clips", text, tables=(contents.clips_table(result),))]


def ranking(counts: Mapping[str, Sequence[int]] | None) -> str:
    """Say how classes are ordered: by the training counts where they are known, else by the test samples."""
    rarest = "The class rarest in training" if counts and "train" in counts else "The rarest class"
    return f"{rarest} stands on top; in brackets the test samples."


def classes(comparison: Comparison, counts: Mapping[str, Sequence[int]] | None) -> PageSection:
    """Compare the recall of each class."""
    recall = {method.name: method.recall for method in comparison.methods}
    rank = (counts or {}).get("train")
    drawn = figures.recalls(recall, comparison.classes, comparison.support, rank)
    return PageSection(
        "Classes",
        ranking(counts),
        (
            Picture("recall", drawn, "Recall of each class with intervals."),
            Picture(
                "recall-differences",
                figures.differences(comparison, rank),
                "Change in recall. Filled marks: certain after correction for the number of classes; hollow: not.",
            ),
        ),
        (contents.recall_table(comparison), contents.class_pairs_table(comparison)),
    )


def confusion(name: str, group: Sequence[Predictions], file: str, single: bool = False) -> Picture:
    """Draw the confusion matrix of one run, or the mean of several seeds."""
    caption = "Confusions: percent of each true class, and counts." if single else f"{name}."
    return Picture(file, figures.confusion(group), caption)


def probabilities(groups: Mapping[str, Sequence[Predictions]], result: Mapping[str, Any] | None = None) -> PageSection:
    """Show precision against recall, and calibration; ``result`` where the page is about one run."""
    first = {name: group[0] for name, group in groups.items()}
    seed = seeds(groups, " First seed of each method.")
    area = (
        "Precision against recall; beside the class its average precision." if result else "Precision against recall."
    )
    text = ""
    if result is not None:
        ece, loss, brier = (number(result["overall"][key]["value"]) for key in ("ece", "log_loss", "brier"))
        text = f"Probabilities are off by {ece} on average (calibration error, ECE); log loss {loss}, Brier {brier}."
    return PageSection(
        "Probabilities",
        text,
        (
            Picture("precision-recall", figures.precision_recall(first), f"{area} Dashes: share of the class.{seed}"),
            Picture(
                "reliability",
                figures.reliability(first),
                f"How often the predicted class was right, by how probable it was said to be. Dashes: ideal.{seed}",
            ),
        ),
    )


def training(histories: Mapping[str, pd.DataFrame]) -> list[PageSection]:
    """Show the training curves, if any were logged; of several networks of one run, each one's."""
    if len(histories) == 1:
        (only,) = histories.values()
        histories = _each(only)
    histories = {name: _joined(history) for name, history in histories.items()}
    drawn = figures.training_curves(histories) if histories else None
    if drawn is None:
        return []
    return [
        PageSection("Training", pictures=(Picture("training", drawn, "Training dashed, validation solid, per epoch."),))
    ]


def _each(history: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Part the history of a run by its networks, where it has several."""
    if CLASS not in history:
        return {"": history}
    return {str(name): rows.drop(columns=CLASS) for name, rows in history.groupby(CLASS, sort=False)}


def _joined(history: pd.DataFrame) -> pd.DataFrame:
    """Average the history of several networks by epoch; one that has ended keeps its last figures."""
    if CLASS not in history:
        return history
    wide = history.pivot(index="epoch", columns=CLASS).ffill()
    return wide.T.groupby(level=0, sort=False).mean().T.reset_index()


def data(
    counts: Mapping[str, Sequence[int]] | None, faces: Mapping[str, np.ndarray] | None, classes: Sequence[str]
) -> list[PageSection]:
    """Show class counts and sample faces, where given."""
    if not counts and not faces:
        return []
    if not counts:
        return [PageSection("Data", faces=faces or {})]
    picture = Picture("class-counts", figures.class_counts(counts, classes), "Samples of each class on each side.")
    return [PageSection("Data", "", (picture,), (contents.counts_table(counts, classes),), faces=faces or {})]


BEFORE, AFTER = "as trained", "calibrated"
RISKS = (0.05, 0.1, 0.2, 0.3)
ERRORS: tuple[tuple[str, Binning, Side], ...] = (
    ("predicted class, bins of equal width (ECE)", "width", "top"),
    ("predicted class, bins of equal mass", "mass", "top"),
    ("mean over classes, bins of equal width", "width", "classes"),
    ("mean over classes, bins of equal mass", "mass", "classes"),
)

LOSSES = {"log loss": scoring.log_loss, "Brier score": scoring.brier}


def calibration_section(predictions: Predictions, calibration: Calibration, seed: int = 0) -> PageSection:
    """Show what calibration does to test predictions, and what answering less often gains."""
    after = calibration.predictions(predictions)
    pair = {BEFORE: predictions, AFTER: after}
    on = f"{calibration.fitted_on['samples']:,} validation samples"
    surer = "less sure" if calibration.temperature > 1 else "surer"
    text = (
        f"A temperature of {calibration.temperature:.2f}, fitted on {on} alone, makes the probabilities {surer} and "
        "leaves every predicted class as it is. All other parts of this page are of the probabilities as trained."
    )
    return PageSection(
        "Calibration and abstention",
        text,
        (
            Picture("calibration", figures.reliability(pair), "How often the predicted class was right on test data."),
            Picture(
                "risk-coverage",
                risk_coverage_figure(after, calibration),
                "Share of wrong answers where only the surest samples are answered. Dashes: all test samples are.",
            ),
        ),
        (error_table(predictions, after, on, seed), threshold_table(after, calibration, seed)),
    )


@styled
def risk_coverage_figure(after: Predictions, calibration: Calibration) -> "Figure":
    """Draw the share of wrong answers against the share of answered samples, on validation and on test data."""
    right = after.predicted == after.labels
    curves = {
        "validation": calibration.curve,
        "test": risk_coverage(after.probabilities.max(axis=1), right),
    }
    figure, (axis,) = panels(height=2.6)
    axis.axhline(curves["test"].risk[-1], color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8)
    for place, (name, curve) in enumerate(curves.items()):
        axis.plot(curve.coverage, curve.risk, color=colour(place), label=f"{name} (AURC {curve.area:.3f})")
    axis.set(xlim=(0, 1), ylim=(0, None), xlabel="share of samples answered", ylabel="wrong among answers")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def error_table(before: Predictions, after: Predictions, on: str, seed: int) -> Table:
    """Show errors of calibration, log loss and Brier score before and after."""
    found = {
        name: error_estimates(before, after, binning=binning, of=of, seed=seed) for name, binning, of in ERRORS
    } | {name: loss_estimates(before, after, loss, seed=seed) for name, loss in LOSSES.items()}
    rows = tuple((name, first, second, _signed(change)) for name, (first, second, change) in found.items())
    note = (
        f"On test data; the temperature comes from {on}. Lower is better. 15 bins. The first four have basic bootstrap "
        "intervals: chance enlarges such an error, and resampling does so once more."
    )
    return Table("calibration", "Calibration error", ("error", BEFORE, AFTER, "difference"), rows, note)


def _signed(change: Estimate) -> Difference:
    """Write an estimate with its sign; nothing was tested here."""
    return Difference("", change.value, change.low, change.high, float("nan"), float("nan"))


def threshold_table(after: Predictions, calibration: Calibration, seed: int, risks: Sequence[float] = RISKS) -> Table:
    """Show what thresholds for some risks, found on validation data, do to the test data."""
    rows: list[tuple[Cell, ...]] = []
    for risk in risks:
        point = calibration.curve.at_risk(risk)
        if point is None:
            rows.append((f"{risk:.0%}", *["–"] * 5))
            continue
        found = answered(after, point.threshold, seed=seed)
        share, name = min(
            (share, name) for share, name in zip(found.class_coverage, after.classes, strict=True) if share == share
        )
        least = f"{name} ({share:.2f})"
        rows.append((f"{risk:.0%}", point.threshold, point.coverage, found.coverage, found.risk, least))
    header = (
        "wrong answers borne",
        "threshold",
        "answered, validation",
        "answered, test",
        "wrong, test",
        "class answered least",
    )
    note = (
        "Thresholds are of the calibrated probability, found on validation data: on test data the share of wrong "
        f"answers may be another. Intervals are over {units_of(after).name}."
    )
    return Table("abstention", "Answering only where sure", header, tuple(rows), note)


FEW_SAMPLES = 10
TOP = tuple((name, label(name)[0].upper() + label(name)[1:]) for name in HEADLINE)


def run_report(
    path: Path,
    predictions: Predictions,
    *,
    title: str,
    result: Mapping[str, Any] | None = None,
    history: pd.DataFrame | None = None,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    counts: Mapping[str, Sequence[int]] | None = None,
    faces: Mapping[str, np.ndarray] | None = None,
    facts: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    further: Sequence[PageSection] = (),
    seed: int = 0,
    formats: Sequence[str] = (),
) -> Path:
    """Write the report of one run.

    Parameters
    ----------
    path : Path
        The HTML file; ``tables/`` with CSV and LaTeX is made beside it.
    predictions : Predictions
        What everything is computed from.
    title : str
        Heading of the page.
    result : dict, optional
        What ``metrics_of(predictions, seed)`` gave, if it is at hand.
    history : DataFrame, optional
        What was logged per epoch, see :func:`evenface.reporting.figures.training_curves`.
    warnings : sequence of str
        What must be read before the answer: a leaky split, a result that is too good for its data.
    notes : sequence of str
        What must be known of the protocol: synthetic origin, no subjects, imbalance.
    counts : mapping of str to C counts, optional
        Side to samples of each class.
    faces : mapping of str to uint8 array (K, H, W) or (K, H, W, C), optional
        Class to some of its pictures; leave out where the licence of the data demands it.
    facts : mapping of str to str, optional
        How the run was made: recipe, network, seed, versions.
    calibration : Calibration, optional
        What was fitted on validation data; all else is of the probabilities as trained.
    further : sequence of Section
        Parts that stand last, such as the model card.
    seed : int, default=0
        Seed of the intervals.
    formats : sequence of str
        Also save each figure beside the page: ``pdf``, ``png``, ``svg``.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    InputError
        If a file cannot be written, a format is not known, or faces are no pictures.
    """
    result = metrics_of(predictions, seed) if result is None else result
    runs = {title: (predictions,)}
    recall = [estimate(entry["recall"]) for entry in result["per_class"].values()]
    support = [int(n) for n in predictions.support]
    classes = PageSection(
        "Classes",
        f"{ranking(counts)} Recall is the share of a class's samples that were found.",
        (
            Picture(
                "recall",
                figures.recalls({title: recall}, predictions.classes, support, (counts or {}).get("train")),
                "Recall of each class with intervals.",
            ),
            confusion(title, (predictions,), "confusion", single=True),
        ),
        (contents.class_table(result), *([contents.detectors_table(result)] if "detectors" in result else [])),
        (contents.confusion_table(result),),
    )
    parts = (
        *levels(result),
        *clips(result),
        classes,
        probabilities(runs, result),
        *([] if calibration is None else [calibration_section(predictions, calibration, seed)]),
        *training({"": history} if history is not None else {}),
        *data(counts, faces, predictions.classes),
        PageSection("All metrics", tables=(contents.overall_table(result),)),
        *further,
    )
    tiles = tuple(Tile(name, *_top(estimate(result["overall"][key]))) for key, name in TOP)
    page = Page(
        "one run",
        title,
        "",
        tiles,
        tuple(_run_verdicts(predictions, result)),
        tuple(_run_sureness(result)),
        (*notes, *_own_notes({title: [result]}, support)),
        parts,
        facts or {},
        tuple(warnings),
    )
    return write(page, path, formats)


def comparison_report(
    path: Path,
    runs: Mapping[str, Predictions | Sequence[Predictions]],
    *,
    title: str,
    comparison: Comparison | None = None,
    histories: Mapping[str, pd.DataFrame] | None = None,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    counts: Mapping[str, Sequence[int]] | None = None,
    faces: Mapping[str, np.ndarray] | None = None,
    facts: Mapping[str, str] | None = None,
    seed: int = 0,
    formats: Sequence[str] = (),
) -> Path:
    """Write the report of several runs on the same samples; the first method is the baseline.

    Parameters
    ----------
    path : Path
        The HTML file; ``tables/`` with CSV and LaTeX is made beside it.
    runs : mapping of str to Predictions or a sequence of them
        Method to its run, or its runs with several seeds.
    title : str
        Heading of the page.
    comparison : Comparison, optional
        What ``compare(runs, seed=seed)`` gave, if it is at hand.
    histories : mapping of str to DataFrame, optional
        Method to what was logged per epoch (of its first run).
    warnings, notes, counts, faces, facts, seed, formats
        As in :func:`run_report`.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    InputError
        As :func:`run_report`, and if the runs cannot be compared.
    """
    found = compare(runs, seed=seed) if comparison is None else comparison
    groups = {method.name: method.runs for method in found.methods}
    results = {name: [metrics_of(run, seed, resamples=0) for run in group] for name, group in groups.items()}
    parts = (
        overall(found),
        classes(found, counts),
        PageSection(
            "Confusions",
            "Each row is a true class: what became of 100 of its samples, and how many they were."
            + seeds(groups, " Methods with several seeds show their mean."),
            tuple(confusion(name, group, f"confusion-{i}") for i, (name, group) in enumerate(groups.items(), 1)),
            folded=tuple(
                contents.confusion_table(runs[0], f"confusion-{i}", name if len(runs) == 1 else f"{name}, first seed")
                for i, (name, runs) in enumerate(results.items(), 1)
            ),
        ),
        probabilities(groups),
        *training(histories or {}),
        *data(counts, faces, found.classes),
        PageSection("All metrics", tables=(contents.metrics_table(found),), folded=(contents.all_pairs_table(found),)),
    )
    main = "balanced_accuracy"
    tiles = tuple(Tile(m.name, *_top(m.overall[main]), i) for i, m in enumerate(found.methods))
    page = Page(
        f"comparison of {len(groups)} methods",
        title,
        "Balanced accuracy: the mean recall over the classes",
        tiles,
        tuple(
            Verdict(_sentence(judgement(pair), pair.candidate, len(found.pairs)), _change(pair, found))
            for pair in found.pairs
        ),
        tuple(sureness(found)),
        (*notes, *_own_notes(results, found.support)),
        parts,
        facts or {},
        tuple(warnings),
    )
    return write(page, path, formats)


def _sentence(said: str, candidate: str, pairs: int) -> str:
    """Begin with whom it is about, which 'no evidence' does not say where there are several."""
    if pairs > 1 and said.startswith("no evidence"):
        said = f"{candidate}: " + said.replace(f"yet {candidate} is ", "yet ")
    return said[0].upper() + said[1:] + "."


def _change(pair: MethodPair, comparison: Comparison) -> str:
    return f"Balanced accuracy differs from {pair.baseline} by {difference(pair, comparison)}."


def _top(given: Estimate) -> tuple[str, str]:
    return number(given.value), "" if math.isnan(given.low) else f"[{number(given.low)}, {number(given.high)}]"


def _run_verdicts(predictions: Predictions, result: Mapping[str, Any]) -> list[Verdict]:
    """Say which classes are found best and worst, and what guessing would give."""
    known = {name: entry for name, entry in result["per_class"].items() if entry["support"]}
    ranked = sorted(known, key=lambda name: -known[name]["recall"]["value"])
    best, worst = ranked[0], ranked[-1]
    text = [
        f"Found best: {best} (recall {known[best]['recall']['value']:.2f}); found least: {worst} "
        f"({known[worst]['recall']['value']:.2f} of {known[worst]['support']:,} samples)."
    ]
    common, chance = int(predictions.support.argmax()), 1 / len(known)
    share = predictions.support[common] / len(predictions)
    low = result["overall"]["balanced_accuracy"]["low"]
    if low is not None and low <= chance:
        text.append("This is not told apart from guessing.")
    rest = (
        f"Always saying {predictions.classes[common]} would give accuracy {share:.2f} and "
        f"balanced accuracy {chance:.2f}."
    )
    return [Verdict(" ".join(text), rest), *_clip_verdict(result)]


def _clip_verdict(result: Mapping[str, Any]) -> list[Verdict]:
    """Give the result by clip, where clips have several samples."""
    if "by_clip" not in result:
        return []
    clips = result["by_clip"]
    said = [f"{name.lower()} {with_interval(estimate(clips['overall'][key]))}" for key, name in TOP[:2]]
    return [Verdict(f"By clip: {said[0]}.", f"{said[1].capitalize()}, over {clips['samples']:,} clips.")]


def _run_sureness(result: Mapping[str, Any]) -> list[str]:
    if result["units"] == 1 and result["unit"] != "samples":
        return [ALONE.format(UNITS[result["unit"]])]
    lines = [
        f"{result['level']:.0%} intervals from {result['resamples']:,} resamples of {result['units']:,} "
        f"{result['unit']}" + ("." if result["unit"] == "samples" else f" with {result['samples']:,} samples.")
    ]
    if result["unit"] != "samples":
        lines.append(TOGETHER.format(UNITS[result["unit"]]))
        if result["unit"] == "people" and result["units"] < FEW_PEOPLE:
            lines.append(NARROW)
    else:
        lines.append("The recall of a class has Wilson's interval.")
    if result["unit"] != "people":
        lines.append(UNKNOWN)
    lines.append("One training run: how much another seed would change is not in the intervals.")
    return lines


def _own_notes(results: Mapping[str, Sequence[Mapping[str, Any]]], support: Sequence[int]) -> list[str]:
    """Say what the predictions themselves warn of: absent, rare or never predicted classes."""
    first = next(iter(results.values()))[0]
    lines = [f"There is {mixed(first)}."] if "mixed" in first else []
    if first["absent"]:
        lines.append(f"No test sample is of {listed(first['absent'])}: means over classes leave that out.")
    rare = [f"{name} ({n})" for name, n in zip(first["per_class"], support, strict=True) if 0 < n < FEW_SAMPLES]
    if rare:
        lines.append(f"Very few test samples: {listed(rare)}. Read these classes by their intervals only.")
    for name, runs in results.items():
        missed = sorted({missed for run in runs for missed in run["never_predicted"]})
        if missed:
            who = f"{name} never" if len(results) > 1 else "The run never"
            lines.append(f"{who} predicts {listed(missed)}; that precision is not defined and not in its mean.")
    return lines
