"""The parts of a report, each with its figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evenface.evaluation import contents, figures
from evenface.evaluation.comparison import Comparison
from evenface.evaluation.formatting import number
from evenface.evaluation.page import Picture, Section
from evenface.evaluation.predictions import Predictions

CLASS = "class"
"""Column of a history that names the network, where a run has one for each class."""


def seeds(groups: Mapping[str, Sequence[Predictions]], text: str) -> str:
    """Give ``text`` if any method has several seeds."""
    return text if any(len(group) > 1 for group in groups.values()) else ""


def overall(comparison: Comparison) -> Section:
    """Compare the main metrics and state the tests."""
    rings = any(len(method.runs) > 1 for method in comparison.methods)
    caption = "Main metrics of each method with intervals" + ("; each small ring is one seed." if rings else ".")
    tables = [
        contents.methods_table(comparison),
        contents.further_table(comparison),
        contents.pairs_table(comparison),
        contents.mcnemar_table(comparison),
    ]
    return Section(
        "Overall",
        "Intervals of two methods may overlap although their paired difference is certain: look at the differences.",
        (Picture("overall", figures.overall(comparison), caption),),
        tuple(table for table in tables if table is not None),
    )


def levels(result: Mapping[str, Any]) -> list[Section]:
    """Show how far predictions are from the true level, where classes are ordered."""
    if "levels" not in result:
        return []
    text = "The classes are steps of one scale, so it matters how far a prediction is off."
    return [Section("Levels", text, tables=(contents.levels_table(result),))]


def clips(result: Mapping[str, Any]) -> list[Section]:
    """Show the result by clip beside that by sample, where clips have several samples."""
    if "by_clip" not in result:
        return []
    text = "The probabilities of a clip are the mean of those of its samples, which are its frames or windows."
    return [Section("Clips", text, tables=(contents.clips_table(result),))]


def ranking(counts: Mapping[str, Sequence[int]] | None) -> str:
    """Say how classes are ordered: by the training counts where they are known, else by the test samples."""
    rarest = "The class rarest in training" if counts and "train" in counts else "The rarest class"
    return f"{rarest} stands on top; in brackets the test samples."


def classes(comparison: Comparison, counts: Mapping[str, Sequence[int]] | None) -> Section:
    """Compare the recall of each class."""
    recall = {method.name: method.recall for method in comparison.methods}
    rank = (counts or {}).get("train")
    drawn = figures.recalls(recall, comparison.classes, comparison.support, rank)
    return Section(
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


def probabilities(groups: Mapping[str, Sequence[Predictions]], result: Mapping[str, Any] | None = None) -> Section:
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
    return Section(
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


def training(histories: Mapping[str, pd.DataFrame]) -> list[Section]:
    """Show the training curves, if any were logged; of several networks of one run, each one's."""
    if len(histories) == 1:
        (only,) = histories.values()
        histories = _each(only)
    histories = {name: _joined(history) for name, history in histories.items()}
    drawn = figures.training_curves(histories) if histories else None
    if drawn is None:
        return []
    return [
        Section("Training", pictures=(Picture("training", drawn, "Training dashed, validation solid, per epoch."),))
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
) -> list[Section]:
    """Show class counts and sample faces, where given."""
    if not counts and not faces:
        return []
    if not counts:
        return [Section("Data", faces=faces or {})]
    picture = Picture("class-counts", figures.class_counts(counts, classes), "Samples of each class on each side.")
    return [Section("Data", "", (picture,), (contents.counts_table(counts, classes),), faces=faces or {})]
