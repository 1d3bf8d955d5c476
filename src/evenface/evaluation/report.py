"""Reports: one HTML page about a run, or about several that are compared."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.evaluation import contents, figures, sections
from evenface.evaluation.calibration_section import calibration_section
from evenface.evaluation.comparison import Comparison, Pair, compare
from evenface.evaluation.fitted import Calibration
from evenface.evaluation.formatting import UNITS, listed, number, with_interval
from evenface.evaluation.intervals import Estimate, estimate
from evenface.evaluation.metric_registry import HEADLINE, label
from evenface.evaluation.page import Page, Picture, Section, Tile, Verdict, write
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import metrics_of
from evenface.evaluation.wording import (
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
    further: Sequence[Section] = (),
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
        What was logged per epoch, see :func:`evenface.evaluation.figures.training_curves`.
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
    classes = Section(
        "Classes",
        f"{sections.ranking(counts)} Recall is the share of a class's samples that were found.",
        (
            Picture(
                "recall",
                figures.recalls({title: recall}, predictions.classes, support, (counts or {}).get("train")),
                "Recall of each class with intervals.",
            ),
            sections.confusion(title, (predictions,), "confusion", single=True),
        ),
        (contents.class_table(result), *([contents.detectors_table(result)] if "detectors" in result else [])),
        (contents.confusion_table(result),),
    )
    parts = (
        *sections.levels(result),
        *sections.clips(result),
        classes,
        sections.probabilities(runs, result),
        *([] if calibration is None else [calibration_section(predictions, calibration, seed)]),
        *sections.training({"": history} if history is not None else {}),
        *sections.data(counts, faces, predictions.classes),
        Section("All metrics", tables=(contents.overall_table(result),)),
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
        sections.overall(found),
        sections.classes(found, counts),
        Section(
            "Confusions",
            "Each row is a true class: what became of 100 of its samples, and how many they were."
            + sections.seeds(groups, " Methods with several seeds show their mean."),
            tuple(
                sections.confusion(name, group, f"confusion-{i}") for i, (name, group) in enumerate(groups.items(), 1)
            ),
            folded=tuple(
                contents.confusion_table(runs[0], f"confusion-{i}", name if len(runs) == 1 else f"{name}, first seed")
                for i, (name, runs) in enumerate(results.items(), 1)
            ),
        ),
        sections.probabilities(groups),
        *sections.training(histories or {}),
        *sections.data(counts, faces, found.classes),
        Section("All metrics", tables=(contents.metrics_table(found),), folded=(contents.all_pairs_table(found),)),
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


def _change(pair: Pair, comparison: Comparison) -> str:
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
