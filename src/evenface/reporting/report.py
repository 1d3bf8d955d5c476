"""Reports: the page of one run, the page of several runs that are compared, and the files of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evenface.evaluation import probability_metrics as scoring
from evenface.evaluation.bootstrap import estimate, units_of
from evenface.evaluation.calibration import Binning, Calibration, Side, error_estimates, loss_estimates
from evenface.evaluation.comparison import Comparison, compare
from evenface.evaluation.formatting import UNITS, count_units, listed, number, with_interval
from evenface.evaluation.metric_registry import HEADLINE, label
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.selective import answered
from evenface.evaluation.summary import metrics_of
from evenface.reporting import figures, tables
from evenface.reporting.page import CaptionedFigure, Page, PageSection, Tile, Verdict, write_page
from evenface.reporting.style import save
from evenface.reporting.summaries import (
    ALONE,
    CLUSTERED,
    FEW_PEOPLE,
    MAIN,
    NARROW,
    ONE_RUN,
    TRAIN_LOSS,
    UNKNOWN,
    at_chance,
    chance_level,
    comparison_uncertainty,
    conclusion,
    extreme_recalls,
    main_difference,
    mixed_clips,
)
from evenface.reporting.tables import Row, Table, untested
from evenface.statistics.analysis import Analysis
from evenface.utils.extras import LazyModule
from evenface.utils.files import atomic_write
from evenface.utils.tables import escape_csv_table

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

CLASS = "class"
"""Column of a history that names the network, where a run has one for each class."""
FEW_SAMPLES = 10
AT_CHANCE = "Balanced accuracy is not significantly above chance."
TOP = tuple((name, label(name)[0].upper() + label(name)[1:]) for name in HEADLINE)


def seeds(groups: Mapping[str, Sequence[Predictions]], text: str) -> str:
    """Return ``text`` if any method has several seeds."""
    return text if any(len(group) > 1 for group in groups.values()) else ""


def overall(comparison: Comparison) -> PageSection:
    """Compare the main metrics and list the tests."""
    rings = any(len(method.runs) > 1 for method in comparison.methods)
    caption = "Main metrics of each method with intervals" + ("; each small ring is one seed." if rings else ".")
    shown = [
        tables.methods_table(comparison),
        tables.further_table(comparison),
        tables.pairs_table(comparison),
        tables.mcnemar_table(comparison),
    ]
    return PageSection(
        "Overall",
        "Intervals of two methods may overlap although their paired difference is significant: see the differences.",
        (CaptionedFigure("overall", figures.overall(comparison), caption),),
        tuple(table for table in shown if table is not None),
    )


def levels(result: Mapping[str, Any]) -> list[PageSection]:
    """Show the distance of predictions from the true level, where classes are ordered."""
    if "levels" not in result:
        return []
    text = "The classes are ordered, so the distance of a prediction from the true level matters."
    return [PageSection("Levels", text, tables=(tables.levels_table(result),))]


def clips(result: Mapping[str, Any]) -> list[PageSection]:
    """Show the results by clip and by sample, where clips have several samples."""
    if "by_clip" not in result:
        return []
    text = "The probabilities of a clip are the mean over its samples (frames or windows)."
    return [PageSection("Clips", text, tables=(tables.clips_table(result),))]


def class_order(counts: Mapping[str, Sequence[int]] | None) -> str:
    """Describe the order of classes: by the training counts where they are known, else by the test samples."""
    split = "training" if counts and "train" in counts else "test"
    return f"Classes are ordered by number of {split} samples, rarest on top; test samples in brackets."


def classes(comparison: Comparison, counts: Mapping[str, Sequence[int]] | None) -> PageSection:
    """Compare the recall of each class."""
    recall = {method.name: method.by_class for method in comparison.methods}
    train = (counts or {}).get("train")
    drawn = figures.recalls(recall, comparison.classes, comparison.support, train)
    return PageSection(
        "Classes",
        class_order(counts),
        (
            CaptionedFigure("recall", drawn, "Recall of each class with intervals."),
            CaptionedFigure(
                "recall-differences",
                figures.recall_differences(comparison, train),
                "Difference in recall. Filled marks: significant after correction for the number of classes.",
            ),
        ),
        (tables.recall_table(comparison), tables.class_pairs_table(comparison)),
    )


def confusion(name: str, group: Sequence[Predictions], file: str, single: bool = False) -> CaptionedFigure:
    """Draw the confusion matrix of one run, or the mean of several seeds."""
    caption = "Confusion matrix: percent of each true class, and counts." if single else f"{name}."
    return CaptionedFigure(file, figures.confusion(group), caption)


def probabilities(groups: Mapping[str, Sequence[Predictions]], result: Mapping[str, Any] | None = None) -> PageSection:
    """Show precision against recall, and calibration; ``result`` where the page is about one run."""
    first = {name: group[0] for name, group in groups.items()}
    seed = seeds(groups, " First seed of each method.")
    dashed = f"Dashed: prevalence of the class.{seed}"
    area = "Precision–recall curves with the average precision of each class." if result else "Precision–recall curves."
    text = ""
    if result is not None:
        ece, loss, brier = (number(result["overall"][key]["value"]) for key in ("ece", "log_loss", "brier"))
        text = f"Expected calibration error (ECE) {ece}, log loss {loss}, Brier score {brier}."
    return PageSection(
        "Probabilities",
        text,
        (
            CaptionedFigure("precision-recall", figures.precision_recall(first), f"{area} {dashed}"),
            CaptionedFigure(
                "reliability",
                figures.reliability(first),
                f"Reliability diagram: accuracy by probability of the predicted class. Dashed: calibrated.{seed}",
            ),
        ),
    )


def training(histories: Mapping[str, pd.DataFrame]) -> list[PageSection]:
    """Show the training curves, if any were logged, one for each network of a run."""
    if len(histories) == 1:
        (only,) = histories.values()
        histories = _by_network(only)
    histories = {name: _averaged(history) for name, history in histories.items()}
    drawn = figures.training_curves(histories) if histories else None
    if drawn is None:
        return []
    caption = "Training dashed, validation solid, per epoch."
    if not any(TRAIN_LOSS in history for history in histories.values()):
        caption = "Validation per epoch. Training losses are not drawn: methods differ in the loss that they minimise."
    return [PageSection("Training", figures=(CaptionedFigure("training", drawn, caption),))]


def _by_network(history: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split the history of a run by its networks, where it has several."""
    if CLASS not in history:
        return {"": history}
    return {str(name): rows.drop(columns=CLASS) for name, rows in history.groupby(CLASS, sort=False)}


def _averaged(history: pd.DataFrame) -> pd.DataFrame:
    """Average the history of several networks by epoch; one that has ended keeps its last values."""
    if CLASS not in history:
        return history
    wide = history.pivot(index="epoch", columns=CLASS).ffill()
    return wide.T.groupby(level=0, sort=False).mean().T.reset_index()


def data(
    counts: Mapping[str, Sequence[int]] | None,
    faces: Mapping[str, np.ndarray] | None,
    classes: Sequence[str],
    kind: str = "class",
) -> list[PageSection]:
    """Show class counts and sample faces, where given."""
    if not counts and not faces:
        return []
    if not counts:
        return [PageSection("Data", faces=faces or {})]
    drawn = CaptionedFigure("class-counts", figures.class_counts(counts, classes), f"Samples per {kind} and split.")
    return [PageSection("Data", "", (drawn,), (tables.counts_table(counts, classes, kind),), faces=faces or {})]


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
    """Show the effect of calibration on test predictions, and of abstention."""
    after = calibration.predictions(predictions)
    pair = {BEFORE: predictions, AFTER: after}
    on = f"{calibration.fitted_on['samples']:,} validation samples"
    confident = "less" if calibration.temperature > 1 else "more"
    text = (
        f"A temperature of {calibration.temperature:.2f}, fitted on {on}, makes the probabilities {confident} "
        "confident without changing any predicted class. All other sections use the probabilities as trained."
    )
    return PageSection(
        "Calibration and abstention",
        text,
        (
            CaptionedFigure("calibration", figures.reliability(pair), "Reliability diagram on test data."),
            CaptionedFigure(
                "risk-coverage",
                figures.risk_coverage_figure(after, calibration),
                "Risk–coverage curve: error rate when only the most confident samples are answered. Dashed: all are.",
            ),
        ),
        (error_table(predictions, after, on, seed), threshold_table(after, calibration, seed)),
    )


def error_table(before: Predictions, after: Predictions, on: str, seed: int) -> Table:
    """Show calibration errors, log loss and Brier score before and after."""
    errors = {
        name: error_estimates(before, after, binning=binning, of=of, seed=seed) for name, binning, of in ERRORS
    } | {name: loss_estimates(before, after, loss, seed=seed) for name, loss in LOSSES.items()}
    rows = tuple((name, first, second, untested(change)) for name, (first, second, change) in errors.items())
    note = (
        f"On test data; the temperature was fitted on {on}. Lower is better. 15 bins. The first four have basic "
        "bootstrap intervals, as these errors are biased upwards, in resamples again."
    )
    return Table("calibration", "Calibration error", ("error", BEFORE, AFTER, "difference"), rows, note)


def threshold_table(after: Predictions, calibration: Calibration, seed: int, risks: Sequence[float] = RISKS) -> Table:
    """Show coverage and risk on test data of thresholds chosen on validation data."""
    rows: list[Row] = []
    for risk in risks:
        point = calibration.curve.at_risk(risk)
        if point is None:
            rows.append((f"{risk:.0%}", *["–"] * 5))
            continue
        tested = answered(after, point.threshold, seed=seed)
        share, name = min(
            (share, name) for share, name in zip(tested.class_coverage, after.classes, strict=True) if share == share
        )
        lowest = f"{name} ({share:.2f})"
        rows.append((f"{risk:.0%}", point.threshold, point.coverage, tested.coverage, tested.risk, lowest))
    header = (
        "maximum error rate",
        "threshold",
        "coverage, validation",
        "coverage, test",
        "error rate, test",
        "lowest coverage of a class",
    )
    note = (
        "Thresholds are for the calibrated probability and were chosen on validation data; the error rate on test data "
        f"may differ. Intervals are over {units_of(after).name}."
    )
    return Table("abstention", "Selective prediction", header, tuple(rows), note)


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
    provenance: Mapping[str, str] | None = None,
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
        Test predictions, from which everything is computed.
    title : str
        Heading of the page.
    result : dict, optional
        Result of ``metrics_of(predictions, seed)``, if already computed.
    history : DataFrame, optional
        Metrics logged per epoch, see :func:`evenface.reporting.figures.training_curves`.
    warnings : sequence of str
        Shown before the result: a leaky split, an implausibly good result.
    notes : sequence of str
        Notes on the protocol: synthetic data, unknown subjects, imbalance.
    counts : mapping of str to C counts, optional
        Split to samples of each class.
    faces : mapping of str to uint8 array (K, H, W) or (K, H, W, C), optional
        Class to some of its images; leave out where the licence of the data demands it.
    provenance : mapping of str to str, optional
        Recipe, network, seed, versions.
    calibration : Calibration, optional
        Calibration fitted on validation data; all other sections use the probabilities as trained.
    further : sequence of PageSection
        Sections at the end, such as the model card.
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
        If a file cannot be written, a format is unknown, or faces are not uint8 images.
    """
    result = metrics_of(predictions, seed) if result is None else result
    runs = {title: (predictions,)}
    recall = [estimate(entry["recall"]) for entry in result["per_class"].values()]
    support = [int(n) for n in predictions.support]
    classes = PageSection(
        "Classes",
        f"{class_order(counts)} Recall is the share of a class's samples that were predicted correctly.",
        (
            CaptionedFigure(
                "recall",
                figures.recalls({title: recall}, predictions.classes, support, (counts or {}).get("train")),
                "Recall of each class with intervals.",
            ),
            confusion(title, (predictions,), "confusion", single=True),
        ),
        (tables.class_table(result), *([tables.detectors_table(result)] if "detectors" in result else [])),
        (tables.confusion_table(result),),
    )
    parts = (
        *levels(result),
        *clips(result),
        classes,
        probabilities(runs, result),
        *([] if calibration is None else [calibration_section(predictions, calibration, seed)]),
        *training({"": history} if history is not None else {}),
        *data(counts, faces, predictions.classes),
        PageSection("All metrics", tables=(tables.overall_table(result),)),
        *further,
    )
    tiles = tuple(Tile.of(name, estimate(result["overall"][key])) for key, name in TOP)
    page = Page(
        "run report",
        title,
        "",
        tiles,
        tuple(_run_verdicts(predictions, result)),
        tuple(run_uncertainty(result)),
        (*notes, *_result_notes({title: [result]}, support)),
        parts,
        provenance or {},
        tuple(warnings),
    )
    return write_page(page, path, formats)


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
    provenance: Mapping[str, str] | None = None,
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
        Result of ``compare(runs, seed=seed)``, if already computed.
    histories : mapping of str to DataFrame, optional
        Method to the metrics logged per epoch (of its first run).
    warnings, notes, counts, faces, provenance, seed, formats
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
    comparison = compare(runs, seed=seed) if comparison is None else comparison
    groups = {method.name: cast(tuple[Predictions, ...], method.runs) for method in comparison.methods}
    results = {name: [metrics_of(run, seed, resamples=0) for run in group] for name, group in groups.items()}
    parts = (
        overall(comparison),
        classes(comparison, counts),
        PageSection(
            "Confusion matrices",
            "Each row is a true class: percent of its samples, and counts."
            + seeds(groups, " Methods with several seeds show their mean."),
            tuple(confusion(name, group, f"confusion-{i}") for i, (name, group) in enumerate(groups.items(), 1)),
            folded=tuple(
                tables.confusion_table(runs[0], f"confusion-{i}", name if len(runs) == 1 else f"{name}, first seed")
                for i, (name, runs) in enumerate(results.items(), 1)
            ),
        ),
        probabilities(groups),
        *training(histories or {}),
        *data(counts, faces, comparison.classes),
        PageSection(
            "All metrics", tables=(tables.metrics_table(comparison),), folded=(tables.all_pairs_table(comparison),)
        ),
    )
    tiles = tuple(Tile.of(method.name, method.overall[MAIN], i) for i, method in enumerate(comparison.methods))
    page = Page(
        f"comparison of {len(groups)} methods",
        title,
        "Balanced accuracy: the mean recall over the classes",
        tiles,
        tuple(
            Verdict(
                sentence(conclusion(pair), pair.candidate, len(comparison.pairs)),
                f"Balanced accuracy differs from {pair.baseline} by {main_difference(pair, comparison)}.",
            )
            for pair in comparison.pairs
        ),
        tuple(comparison_uncertainty(comparison)),
        (*notes, *_result_notes(results, comparison.support)),
        parts,
        provenance or {},
        tuple(warnings),
    )
    return write_page(page, path, formats)


def sentence(statement: str, candidate: str, pairs: int) -> str:
    """Return a conclusion as a sentence that names its candidate, where there are several."""
    if pairs > 1 and statement.startswith("no evidence"):
        statement = f"{candidate}: " + statement.replace(f"yet {candidate} is ", "yet ")
    return statement[0].upper() + statement[1:] + "."


def _run_verdicts(predictions: Predictions, result: Mapping[str, Any]) -> list[Verdict]:
    """State the classes of highest and lowest recall, and the baseline of constant predictions."""
    (best, highest), (worst, lowest) = extreme_recalls(result)
    support = result["per_class"][worst]["support"]
    lines = [f"Highest recall: {best} ({highest:.2f}); lowest: {worst} ({lowest:.2f}, {support:,} samples)."]
    common, chance = int(predictions.support.argmax()), chance_level(result)
    share = predictions.support[common] / len(predictions)
    if at_chance(result):
        lines.append(AT_CHANCE)
    baseline = (
        f"Always predicting {predictions.classes[common]} would give accuracy {share:.2f} and "
        f"balanced accuracy {chance:.2f}."
    )
    return [Verdict(" ".join(lines), baseline), *_clip_verdict(result)]


def _clip_verdict(result: Mapping[str, Any]) -> list[Verdict]:
    """State the result by clip, where clips have several samples."""
    if "by_clip" not in result:
        return []
    clips = result["by_clip"]
    first, second = (f"{name.lower()} {with_interval(estimate(clips['overall'][key]))}" for key, name in TOP[:2])
    return [Verdict(f"By clip: {first}.", f"{second.capitalize()}, over {clips['samples']:,} clips.")]


def run_uncertainty(result: Mapping[str, Any], *, classes: bool = True) -> list[str]:
    """State what the intervals of one run are based on, and what they leave out."""
    unit = result["unit"]
    if result["units"] == 1 and unit != "samples":
        return [ALONE.format(UNITS[unit], unit)]
    units = count_units(result["units"], unit)
    samples = "" if unit == "samples" else f" with {result['samples']:,} samples"
    lines = [f"{result['level']:.0%} intervals from {result['resamples']:,} bootstrap samples of {units}{samples}."]
    if unit != "samples":
        lines.append(CLUSTERED.format(UNITS[unit]))
        if unit == "people" and result["units"] < FEW_PEOPLE:
            lines.append(NARROW)
    elif classes:
        lines.append("Intervals of the recall of a class are Wilson's.")
    if unit != "people":
        lines.append(UNKNOWN)
    return [*lines, ONE_RUN]


def _result_notes(results: Mapping[str, Sequence[Mapping[str, Any]]], support: Sequence[int]) -> list[str]:
    """Return notes on absent, rare and never predicted classes."""
    first = next(iter(results.values()))[0]
    lines = [f"There is {mixed_clips(first)}."] if "mixed" in first else []
    if first["absent"]:
        lines.append(f"No test sample is of {listed(first['absent'])}: means over classes leave that out.")
    rare = [f"{name} ({n})" for name, n in zip(first["per_class"], support, strict=True) if 0 < n < FEW_SAMPLES]
    if rare:
        lines.append(f"Very few test samples: {listed(rare)}. Read these classes by their intervals only.")
    for name, runs in results.items():
        missed = sorted({missed for run in runs for missed in run["never_predicted"]})
        if missed:
            subject = f"{name} never" if len(results) > 1 else "The run never"
            lines.append(f"{subject} predicts {listed(missed)}: no precision, left out of its mean.")
    return lines


def save_analysis(analysis: Analysis, folder: Path) -> None:
    """Write the tables of a statistical analysis as CSV and its figures as SVG into a folder."""
    contrasts = analysis.comparisons.contrasts
    drawn = {"differences": figures.differences(contrasts), "effects": figures.effect_sizes(contrasts)}
    if analysis.equivalences:
        drawn["equivalence"] = figures.equivalence(analysis.equivalences)
    if analysis.ranks:
        drawn["ranks"] = figures.critical_difference(analysis.ranks)
    first = contrasts[0]
    if first.effects[0].kind == "d_z" and first.count == first.units and not first.overlap:
        drawn["power"] = figures.power_curves(count=first.units, unit=first.unit)
    for name, table in analysis.tables.items():
        with atomic_write(folder / f"{name}.csv") as temporary:
            escape_csv_table(table).to_csv(temporary, index=False)
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.svg")
