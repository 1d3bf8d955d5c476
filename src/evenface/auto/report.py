"""The page of a choice: the imbalance, what was tried, what is recommended, and what the test said."""

from pathlib import Path

import numpy as np

from evenface import reporting
from evenface.auto.candidates import BASELINE, WHY
from evenface.auto.choosing import STUDY, Choice, verdict
from evenface.evaluation import sections
from evenface.evaluation.comparison import Comparison, Difference, compare
from evenface.evaluation.formatting import number, with_interval
from evenface.evaluation.intervals import estimate
from evenface.evaluation.page import Page, Section, Tile, Verdict, write
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.tables import Cell, Table
from evenface.runs import REPORT, Run

ROUNDING = 1e-9
TOP = {"balanced_accuracy": "Balanced accuracy", "accuracy": "Accuracy", "macro_f1": "Macro F1"}


def write_report(choice: Choice, run: Run) -> Path:
    """Write the page of a choice and of the run that was trained by it.

    Parameters
    ----------
    choice : Choice
        What :func:`evenface.auto.choose` gave.
    run : Run
        The final run, evaluated.
    """
    overall = run.metrics["overall"]
    tiles = tuple(
        Tile(name, number(one.value), f"[{number(one.low)}, {number(one.high)}]")
        for key, name in TOP.items()
        for one in [estimate(overall[key])]
    )
    decision = choice.decision
    even = ("Recommended: plain training.", "The classes are about even, so nothing else was tried.")
    said = verdict(decision) if decision else even
    tested = f"Trained by it on {_trained_on(run)} and tested once: balanced accuracy {_balanced(run)}."
    counts = {"train": list(choice.counts.values())}
    page = Page(
        "choice of a method",
        choice.folder.resolve().name,
        "On the test side, which had no part in the choice",
        tiles,
        (Verdict(*said), Verdict(tested, _guessing(run))),
        _sureness(choice, run),
        choice.said,
        (*_tried(choice, counts), *sections.data(counts, None, tuple(choice.counts))),
        {
            "chosen recipe": "recipe.yaml",
            "final run": f"{run.folder.name}/{REPORT}",
            **({"every candidate": f"{STUDY}/{REPORT}"} if decision else {}),
        },
        tuple(reporting.warnings(run)),
    )
    return write(page, choice.folder / REPORT)


def _guessing(run: Run) -> str:
    """Say so where the test does not tell the result from guessing."""
    known = sum(1 for entry in run.metrics["per_class"].values() if entry["support"])
    low = run.metrics["overall"]["balanced_accuracy"]["low"]
    return "This is not told apart from guessing." if low is not None and low <= 1 / known + ROUNDING else ""


def _trained_on(run: Run) -> str:
    """Say what the final training learnt from: official divisions keep some samples to calibrate on."""
    held = sum(run.facts["counts"]["validation"])
    side = "the whole training side"
    return f"{side} but {held:,} samples, which its probabilities are calibrated on," if held else side


def _balanced(run: Run) -> str:
    return with_interval(estimate(run.metrics["overall"]["balanced_accuracy"]))


def _sureness(choice: Choice, run: Run) -> tuple[str, ...]:
    lines = [f"The test's intervals are over {run.metrics['units']:,} {run.metrics['unit']}."]
    if choice.decision:
        lines = [
            f"The unit of the choice is the fold: {choice.decision.folds} of them, whole people where they are known.",
            "Folds share training samples: intervals and p are those of the corrected resampled t-test (Nadeau and "
            "Bengio 2003), its noise pooled over all methods. The study's own page tests each candidate by its own "
            "spread, so it may find less.",
            "p is corrected over the candidates by Holm; intervals hold for all of them at once (Bonferroni).",
            *lines,
        ]
    return (*lines, "One final training: how much another seed would change is not in the intervals.")


def _tried(choice: Choice, counts: dict[str, list[int]]) -> list[Section]:
    """Show every candidate, and the recall of each class over all folds."""
    if choice.decision is None or choice.studied is None:
        return []
    found = choice.decision
    plain: tuple[Cell, ...] = (BASELINE, found.plain, "–", "–", "–", "–", "the baseline")
    rows = [plain]
    for one in found.against:
        change = Difference("", one.difference, one.low, one.high, one.p, one.p)
        better = f"{one.better} of {found.folds}"
        rows.append((one.name, one.value, change, one.p, one.plain_p, better, WHY[one.name]))
    header = (
        "method",
        "balanced accuracy",
        "difference",
        "p, Holm",
        "p, folds as independent",
        "folds better",
        "what it does",
    )
    table = Table("candidates", "Candidates on folds of the training side", header, tuple(rows))
    pooled = _pooled(choice)
    return [
        Section(
            "What was tried", "Each was trained on all folds but one and judged on that one, in turn.", tables=(table,)
        ),
        sections.classes(pooled, counts),
    ]


def _pooled(choice: Choice) -> Comparison:
    """Join what each candidate said of all folds, each sample by a network that was not trained on it."""
    assert choice.studied is not None
    runs = choice.studied.runs
    folder = choice.studied.folder
    joined = {}
    for name, rows in runs.groupby("method", sort=False):
        parts = [Run(folder / str(one)).predictions for one in rows["folder"]]
        joined[str(name)] = _join(parts)
    return compare(joined)


def _join(parts: list[Predictions]) -> Predictions:
    def whole(name: str) -> np.ndarray | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else np.concatenate(values)

    first = parts[0]
    return Predictions(
        np.concatenate([part.sample for part in parts]),
        whole("subject"),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        first.classes,
        clip=whole("clip"),
        ordered=first.ordered,
        scores=whole("scores"),
    )
