"""Reports of runs whose targets are no classes: action units, pain scores, valence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.data.targets import bin_index
from evenface.evaluation.bootstrap import Estimate, estimate
from evenface.evaluation.comparison import Comparison
from evenface.evaluation.formatting import listed
from evenface.evaluation.metric_registry import TARGET_HEADLINE as HEADLINE
from evenface.evaluation.metric_registry import lower_note
from evenface.evaluation.target_calibration import TargetCalibration, calibration_changes
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.reporting import figures, tables
from evenface.reporting.page import CaptionedFigure, Page, PageSection, Tile, Verdict, write_page
from evenface.reporting.report import FEW_SAMPLES, data, overall, run_uncertainty, sentence, training
from evenface.reporting.summaries import (
    BY_TARGET,
    comparison_uncertainty,
    conclusion,
    main_difference,
    target_label,
)
from evenface.reporting.tables import Row, Table, untested

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "multilabel": (
        "target_average_precision",
        "target_roc_auc",
        "target_f1",
        "target_skew_normalized_f1",
        "target_mcc",
    ),
    "regression": ("expected_mae", "macro_mae", "rmse", "pearson", "ccc", "icc_3_1", "icc_2_1"),
}
"""Metrics in the table of targets."""


def target_run_report(
    path: Path,
    predictions: TargetPredictions,
    *,
    title: str,
    result: Mapping[str, Any],
    history: pd.DataFrame | None = None,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    counts: Mapping[str, Sequence[int]] | None = None,
    counted: Sequence[str] = (),
    calibration: TargetCalibration | None = None,
    faces: Mapping[str, np.ndarray] | None = None,
    provenance: Mapping[str, str] | None = None,
    further: Sequence[PageSection] = (),
    formats: Sequence[str] = (),
) -> Path:
    """Write the report of one run of targets.

    Parameters
    ----------
    predictions : TargetPredictions
        Test predictions, from which everything is computed.
    result : mapping
        Result of :func:`~evenface.evaluation.target_summary.target_metrics_of`.
    counts : mapping of str to counts, optional
        Split to samples of each of ``counted``: targets, or strata.
    calibration : TargetCalibration, optional
        Calibration fitted on validation data, whose effect on the test data is shown.
    path, title, history, warnings, notes, faces, provenance, further, formats
        As in :func:`~evenface.reporting.report.run_report`.

    Returns
    -------
    Path
        ``path``.
    """
    task = predictions.task
    each = BY_TARGET[task]
    support = [int(n) for n in predictions.support]
    values: list[Estimate] = [estimate(entry[each]) for entry in result["per_target"].values()]
    drawn = figures.recalls({title: values}, predictions.names, support, support, each)
    present = "in which it is present" if task == "multilabel" else "whose value is known"
    section = PageSection(
        "Targets",
        f"Each target by itself, rarest on top; test samples {present} in brackets.",
        (
            CaptionedFigure("targets", drawn, f"{_capital(target_label(each))} of each target with intervals."),
            *_figures(predictions),
        ),
        (targets_table(result), *([errors_table(predictions)] if task == "regression" else [])),
    )
    parts = (
        section,
        *_clips(result),
        *_people(result),
        *([] if calibration is None else [calibration_section(predictions, calibration)]),
        *training({"": history} if history is not None else {}),
        *data(counts, faces, counted, "target" if task == "multilabel" else "stratum"),
        PageSection("All metrics", tables=(all_table(result),)),
        *further,
    )
    page = Page(
        "run report",
        title,
        "",
        tuple(Tile.of(_capital(target_label(key)), estimate(result["overall"][key])) for key in HEADLINE[task]),
        tuple(_verdicts(predictions, result)),
        tuple(run_uncertainty(result, classes=False)),
        (*notes, *_notes(predictions)),
        parts,
        provenance or {},
        tuple(warnings),
    )
    return write_page(page, path, formats)


def target_comparison_report(
    path: Path,
    *,
    title: str,
    comparison: Comparison,
    histories: Mapping[str, pd.DataFrame] | None = None,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
) -> Path:
    """Write the report of several runs of targets on the same samples; the first method is the baseline.

    Parameters
    ----------
    comparison : Comparison
        Result of :func:`~evenface.evaluation.comparison.compare`.
    path, title, histories, warnings, notes, provenance, formats
        As in :func:`~evenface.reporting.report.comparison_report`.

    Returns
    -------
    Path
        ``path``.
    """
    metric = target_label(comparison.each)
    values = {method.name: method.by_class for method in comparison.methods}
    drawn = figures.recalls(values, comparison.classes, comparison.support, comparison.support, comparison.each)
    section = PageSection(
        "Targets",
        "Rarest target on top; test samples in brackets.",
        (
            CaptionedFigure("targets", drawn, f"{_capital(metric)} of each target with intervals."),
            CaptionedFigure(
                "target-differences",
                figures.recall_differences(comparison),
                f"Difference in {metric}. Filled marks: significant after correction for the number of targets.",
            ),
        ),
        (tables.recall_table(comparison), tables.class_pairs_table(comparison)),
    )
    parts = (
        overall(comparison),
        section,
        *training(histories or {}),
        PageSection(
            "All metrics", tables=(tables.metrics_table(comparison),), folded=(tables.all_pairs_table(comparison),)
        ),
    )
    main = target_label(comparison.main)
    page = Page(
        f"comparison of {len(comparison.methods)} methods",
        title,
        f"{_capital(main)}: the mean over the targets" if len(comparison.classes) > 1 else _capital(main),
        tuple(Tile.of(m.name, m.overall[comparison.main], i) for i, m in enumerate(comparison.methods)),
        tuple(
            Verdict(
                sentence(conclusion(pair), pair.candidate, len(comparison.pairs)),
                f"{_capital(main)} differs from {pair.baseline} by {main_difference(pair, comparison)}.",
            )
            for pair in comparison.pairs
        ),
        tuple(comparison_uncertainty(comparison)),
        tuple(notes),
        parts,
        provenance or {},
        tuple(warnings),
    )
    return write_page(page, path, formats)


def targets_table(result: Mapping[str, Any]) -> Table:
    """List the metrics of each target, and their means."""
    task, keys = result["task"], COLUMNS[result["task"]]
    rows: list[Row] = []
    for name, entry in result["per_target"].items():
        own = [entry["support"], f"{entry['threshold']:.2f}"] if task == "multilabel" else [entry["known"]]
        rows.append((name, *own, *(estimate(entry[key]) for key in keys)))
    header = ("target", *(("present", "threshold") if task == "multilabel" else ("samples",)), *map(target_label, keys))
    note = "F1 and Matthews correlation are at the threshold of each target." if task == "multilabel" else ""
    return Table("targets", "Targets", header, tuple(rows), f"{note} {lower_note(keys)}".strip())


def errors_table(predictions: TargetPredictions) -> Table:
    """List the error by true value, so that rare values are seen: samples, mean absolute error, mean error."""
    rows: list[Row] = []
    for index, name in enumerate(predictions.names):
        known = predictions.known[:, index]
        truth, error = predictions.targets[known, index], (predictions.values - predictions.targets)[known, index]
        bins = bin_index(truth)
        for place in np.unique(bins):
            own = bins == place
            low, high = truth[own].min(), truth[own].max()
            span = f"{low:g}" if low == high else f"{low:.3g} to {high:.3g}"
            rows.append((name, span, int(own.sum()), f"{np.abs(error[own]).mean():.3f}", f"{error[own].mean():+.3f}"))
    header = ("target", "true value", "samples", "mean absolute error", "mean error")
    return Table("errors", "Error by true value", header, tuple(rows), "A negative mean error is an underestimate.")


def all_table(result: Mapping[str, Any]) -> Table:
    """List every metric, as mean over the targets."""
    rows: tuple[Row, ...] = tuple((target_label(key), estimate(entry)) for key, entry in result["overall"].items())
    note = f"Means over {len(result['per_target'])} targets. " if len(result["per_target"]) > 1 else ""
    return Table("metrics", "All metrics", ("metric", "value"), rows, f"{note}{lower_note(result['overall'])}".strip())


def _figures(predictions: TargetPredictions) -> list[CaptionedFigure]:
    if predictions.task == "regression":
        drawn = figures.predicted_against_true(predictions)
        return [CaptionedFigure("predicted", drawn, "Predicted against true values. Dashed: perfect prediction.")]
    curves = figures.precision_recall({"": predictions})
    return [
        CaptionedFigure("precision-recall", curves, "Precision–recall curves with average precision. Dashed: share."),
        CaptionedFigure(
            "reliability",
            figures.target_reliability({"": predictions}),
            "How often each target is present, by its probability. Dashed: calibrated.",
        ),
    ]


def calibration_section(predictions: TargetPredictions, calibration: TargetCalibration) -> PageSection:
    """Show the effect of calibration on the test predictions of each target."""
    runs = {"uncalibrated": predictions, "calibrated": calibration.predictions(predictions)}
    changes = {change.name: change for change in calibration_changes(predictions, calibration)}
    rows: list[Row] = []
    for index, name in enumerate(calibration.names):
        fitted = calibration.fitted_on[name]
        positives = f"{fitted['positives']:.0f} of {fitted['samples']:.0f}"
        if name not in changes:
            rows.append((name, positives, *["–"] * 8))
            continue
        change = changes[name]
        scale = (f"{calibration.slopes[index]:.2f}", f"{calibration.intercepts[index]:+.2f}")
        error, loss = change.error, change.log_loss
        rows.append((name, positives, *scale, *error[:2], untested(error[2]), *loss[:2], untested(loss[2])))
    header = ("target", "validation", "slope", "intercept", "calibration error", "calibrated", "difference")
    table = Table("calibration", "Calibration", (*header, "log loss", "calibrated", "difference"), tuple(rows))
    text = (
        "Slope and intercept of the logit of each target (Platt scaling) are fitted on validation data; the table has "
        "how many of its samples have the target. Prediction and export use the calibrated probabilities, and "
        "thresholds moved with them, so that the same targets are present; the other sections show uncalibrated ones."
    )
    drawn = figures.target_reliability(runs)
    figure = CaptionedFigure("calibration", drawn, "How often each target is present, by its probability.")
    return PageSection("Calibration", "\n".join([text, *map(_capital, calibration.notes)]), (figure,), (table,))


def _people(result: Mapping[str, Any]) -> list[PageSection]:
    """Show metrics within subjects: whether changes of one person are followed."""
    if "per_subject" not in result:
        return []
    rows: tuple[Row, ...] = tuple(
        (target_label(key), entry["people"], *(_number(entry[part]) for part in ("mean", "sd")))
        for key, entry in result["per_subject"].items()
    )
    text = "Each metric within each person, then averaged over people: differences between people do not count."
    header = ("metric", "people", "mean", "standard deviation")
    note = "People in whose samples a metric is not defined, as of a constant target, are left out."
    return [PageSection("Within people", text, tables=(Table("people", "Within people", header, rows, note),))]


def _clips(result: Mapping[str, Any]) -> list[PageSection]:
    if "by_clip" not in result:
        return []
    clips = result["by_clip"]
    rows: tuple[Row, ...] = tuple((target_label(key), estimate(entry)) for key, entry in clips["overall"].items())
    text = "The prediction of a clip is the mean over its samples (frames or windows)."
    return [PageSection("Clips", text, tables=(Table("clips", "By clip", ("metric", "value"), rows),))]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _verdicts(predictions: TargetPredictions, result: Mapping[str, Any]) -> list[Verdict]:
    """State the targets of highest and lowest value, and what predicting the mean or the share would give."""
    task = predictions.task
    each = BY_TARGET[task]
    values = {name: entry[each]["value"] for name, entry in result["per_target"].items()}
    known = sorted((value, name) for name, value in values.items() if value is not None)
    head = f"No target has a defined {target_label(each)}."
    if known:
        (lowest, worst), (highest, best) = known[0], known[-1]
        what = target_label(each)
        head = (
            f"Highest {what}: {best} ({highest:.2f}); lowest: {worst} ({lowest:.2f})."
            if len(known) > 1
            else f"{_capital(what)} of {best}: {highest:.2f}."
        )
    if task == "multilabel":
        share = np.nanmean(predictions.targets, axis=0)
        return [Verdict(head, f"Guessing would give a macro average precision of {np.nanmean(share):.2f}.")]
    spread = np.nanmean(np.abs(predictions.targets - np.nanmedian(predictions.targets, axis=0)), axis=0)
    return [Verdict(head, f"Always predicting the median would give a mean absolute error of {spread.mean():.3g}.")]


def _notes(predictions: TargetPredictions) -> list[str]:
    rare = [f"{name} ({n})" for name, n in zip(predictions.names, predictions.support, strict=True) if n < FEW_SAMPLES]
    missing = int((~predictions.known).sum())
    lines = [f"Very few test samples: {listed(rare)}. Read these targets by their intervals only."] if rare else []
    return [*lines, *([f"{missing:,} values are missing in the test set and are left out."] if missing else [])]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
