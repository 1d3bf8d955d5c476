"""The page of a study."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from evenface import reporting
from evenface.evaluation.figures import confusion
from evenface.evaluation.formatting import number, signed
from evenface.evaluation.metric_registry import is_per_class, label, limits
from evenface.evaluation.page import Page, Picture, Section, Tile, Verdict, write
from evenface.evaluation.tables import Cell, Table
from evenface.runs import HISTORY, REPORT, Run
from evenface.studies import drawing
from evenface.studies.classes import class_table, confusion_table
from evenface.studies.compare import Change
from evenface.studies.plan import OWN, Plan
from evenface.studies.repeats import COHORTS, RUNS, by_fold, estimate_over, parts, shared_note
from evenface.studies.schema import CONFUSION
from evenface.studies.statistics import Statistics
from evenface.studies.statistics_page import statistics_sections
from evenface.studies.table import cell_table, printed_elsewhere, run_table, scalar_metrics
from evenface.studies.wording import change_table, families, flatters, heading, judged, replication, sentence, verdict

MOST_TILES, MOST_SETTINGS = 6, 8


def study_report(
    plan: Plan,
    runs: pd.DataFrame,
    found: Sequence[Change],
    failed: Mapping[str, str],
    out: Path,
    tested: Sequence[Statistics] = (),
) -> Path:
    """Write the page of a study, and tables beside it.

    Parameters
    ----------
    plan : Plan
        The study.
    runs : DataFrame
        What :func:`evenface.studies.table.measure` gave; at least one row.
    found : sequence of Change
        What :func:`evenface.studies.compare.changes` gave.
    failed : mapping of str to str
        Folder of each run that failed to the reason.
    out : Path
        The study's folder.
    tested : sequence of Statistics
        What :func:`evenface.studies.statistics.statistics_of` gave.

    Returns
    -------
    Path
        Of the page.
    """
    opened = {folder: Run(out / folder) for folder in dict.fromkeys(runs["folder"])}
    names = scalar_metrics(plan)
    page = Page(
        f"study · {flatters(plan)}" if flatters(plan) else "study",
        plan.study.name + (f" on {plan.choice.on}" if plan.choice.on else ""),
        f"{_capital(label(names[0]))}, mean over {parts(plan) if by_fold(runs) else RUNS}" if names else "",
        tuple(_tiles(plan, runs)),
        tuple(_verdicts(plan, runs, found)),
        tuple(_sure(plan, runs, found)),
        tuple(_notes(plan, runs, opened, failed)),
        tuple(_sections(plan, runs, found, opened, tested)),
        _facts(plan, list(opened.values())),
        tuple(_capital(text) for text in reporting.warned([run for run in opened.values() if "on" not in run.facts])),
    )
    return write(page, out / REPORT)


def _tiles(plan: Plan, runs: pd.DataFrame) -> list[Tile]:
    """Show the foremost metric of each cell, or of each level of the compared factor where there are many cells."""
    names = scalar_metrics(plan)
    own = runs[runs["test"] == OWN]
    series = drawing.series_factor(plan)
    if not names:
        return []
    if len(plan.cells) <= MOST_TILES or series is None:
        groups = [(plan.said(cell), dict(zip(plan.factors, cell, strict=True))) for cell in plan.cells]
    else:
        groups = [(f"{series} {level}", {series: level}) for level in plan.factors[series]]
    tiles = []
    for place, (name, levels) in enumerate(groups[: 2 * MOST_TILES]):
        mean, _, n = estimate_over(drawing.chosen(own, levels), names[0], limits(names[0]))
        interval = "" if n < 2 else f"[{number(mean.low)}, {number(mean.high)}]"
        tiles.append(Tile(name, number(mean.value), interval, place if len(groups) <= MOST_TILES else None))
    return tiles


def _verdicts(plan: Plan, runs: pd.DataFrame, found: Sequence[Change]) -> list[Verdict]:
    mine = judged(plan, found)
    lines = [Verdict(heading(plan, _ended(runs)) + ".", f"{plan.study.about}." if plan.study.about else "")]
    if not mine:
        return [*lines, Verdict("Nothing is compared.", "The study names no baseline, or its runs are missing.")]
    certain = sorted((change for change in mine if change.certain), key=lambda c: -abs(c.difference.value))
    overall = [change for change in mine if change.setting is None and not change.certain]
    lines.append(Verdict(_capital(verdict(mine)) + ".", f"Here {replication(mine)}."))
    return lines + [Verdict(_capital(change.verdict) + ":", sentence(change) + ".") for change in (*certain, *overall)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ended(runs: pd.DataFrame) -> int:
    return int((runs["test"] == OWN).sum())


def _sure(plan: Plan, runs: pd.DataFrame, found: Sequence[Change]) -> list[str]:
    seeds, folds = runs["seed"].nunique(), runs["fold"].nunique()
    some = "1 seed" if seeds == 1 else f"{seeds} seeds"
    lines = [f"Each cell has {some}" + (f" in each of {folds} {parts(plan)}." if folds else ".")]
    if seeds * max(1, folds) > 1:
        several = ", the seeds of each averaged first" if seeds > 1 else ""
        unit = f"{parts(plan)}{several}" if by_fold(runs) else RUNS
        lines.append(f"Intervals of cells are 95 % t-intervals of the mean over {unit}.")
    if shared := shared_note(plan, runs):
        lines.append(shared)
    if judged(plan, found):
        lines.append(f"Of differences {replication(judged(plan, found))}.")
        if not shared:
            lines.append(f"Over runs and {parts(plan)} p is that of the paired t test.")
        lines.append("A difference is called larger than noise if its interval leaves out zero and p after Holm's ")
        lines[-1] += "correction is at most 0.05, over three pairs or more. Not larger than noise does not mean equal."
        lines.append(families(found))
    if folds and parts(plan) == COHORTS:
        lines.append("Cohorts share nobody, in training or in testing: they are independent.")
    elif not folds:
        lines.append(
            "All runs are tested on the same samples: what is larger than training noise may be another one over other "
            "people, who are not in the intervals."
        )
    if 1 < (folds if by_fold(runs) else seeds * max(1, folds)) < 5:
        lines.append("With so few runs only large and steady differences can be told from noise.")
    return lines


def _notes(plan: Plan, runs: pd.DataFrame, opened: Mapping[str, Run], failed: Mapping[str, str]) -> list[str]:
    lines = [f"{_capital(flatters(plan))}."] if flatters(plan) else []
    missing = len(plan.runs) - _ended(runs)
    if missing:
        lines.append(f"{missing} of {len(plan.runs)} runs are missing: say the same again to go on.")
    lines += [f"Failed: {folder}: {why.splitlines()[0]}" for folder, why in failed.items()]
    lines += [_capital(note) for note in plan.notes]
    lines += [f"Deviation: {text}" for text in plan.deviations]
    said = [note for run in opened.values() for note in run.facts["notes"] if note not in reporting.warning_notes(run)]
    said += reporting.mixed_precision(list(opened.values()))
    return lines + [_capital(note) for note in _once(dict.fromkeys(said))]


def _once(notes: Iterable[str]) -> list[str]:
    """Give one of notes that say the same of other runs: that begin alike but for numbers."""
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(re.sub(r"[0-9.]+", "", note.partition(":")[0]), []).append(note)
    return [
        same[0] + (f" (one of {len(same)} such notes; the others stand in the runs)" if len(same) > 1 else "")
        for same in alike.values()
    ]


def _sections(
    plan: Plan,
    runs: pd.DataFrame,
    found: Sequence[Change],
    opened: Mapping[str, Run],
    tested: Sequence[Statistics],
) -> list[Section]:
    names = scalar_metrics(plan)
    pictures = [
        Picture(f"cells-{name}-{test or 'own'}", drawing.cells(plan, runs, name, test), _caption(plan, name, test))
        for test in plan.sides
        for name in names
    ]
    elsewhere = printed_elsewhere(plan)
    parts = [
        Section(
            "Cells",
            "Values in columns called as printed are the paper's; quoted ones are of others, whom it quotes.",
            tuple(pictures),
            (cell_table(plan, runs, spread=False),),
            (cell_table(plan, runs), *((elsewhere,) if elsewhere else ())),
        )
    ]
    if found:
        parts.append(_differences(plan, found))
    return [
        *parts,
        *statistics_sections(plan, runs, tested),
        *_classes(plan, runs, opened),
        *_confusions(plan, runs, opened),
        *_training(plan, runs, opened),
        Section("Runs", folded=(run_table(plan, runs), _counts(plan, runs, opened))),
    ]


def _caption(plan: Plan, metric: str, test: str) -> str:
    where = f", tested on {test}" if test else ""
    printed = any(drawing.in_print(plan, levels, metric, test) for levels in drawing.all_levels(plan))
    crosses = " Crosses: as printed in the paper." if printed else ""
    return f"{_capital(label(metric))}{where}. Each ring is a run, each bar the interval of the mean.{crosses}"


def _differences(plan: Plan, found: Sequence[Change]) -> Section:
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in found:
        groups.setdefault((change.metric, change.test), []).append(change)
    pictures = tuple(
        Picture(
            f"differences-{metric}-{test or 'own'}",
            drawing.changes(group),
            f"Change in {label(metric)}{f', tested on {test}' if test else ''}. Filled marks are larger than "
            f"{group[0].noise}."
            + (" Crosses: as printed." if any(not math.isnan(change.printed) for change in group) else ""),
        )
        for (metric, test), group in groups.items()
    )
    text = "Each level less its factor's baseline, the other factors being equal."
    best = max(found, key=lambda c: abs(c.difference.value) if c.certain else -1)
    if best.certain:
        text += f" The largest one that is larger than noise: {signed(best.difference.value)} in {label(best.metric)}."
    tables = (change_table(plan, found, whole=False),), (change_table(plan, found),)
    return Section("Differences", text, pictures, *tables)


def _classes(plan: Plan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[Section]:
    tables = [class_table(plan, runs, name) for name in plan.study.metrics if is_per_class(name)]
    series = drawing.series_factor(plan)
    pictures: list[Picture] = []
    own = runs[runs["test"] == OWN]
    for setting in drawing.settings(plan, series)[:MOST_SETTINGS]:
        first = drawing.chosen(own, setting)["folder"]
        if not len(first):
            continue
        facts = opened[first.iloc[0]].facts
        counts = facts["counts"]
        drawn = drawing.class_recall(plan, own, setting, facts["classes"], counts["test"], counts["train"])
        if drawn is not None:
            place = len(pictures) + 1
            pictures.append(Picture(f"classes-{place}", drawn, f"Recall of each class{drawing.named(plan, setting)}."))
    if not pictures and not any(tables):
        return []
    text = "The class rarest in training stands on top; in brackets the test samples." if pictures else ""
    return [Section("Classes", text, tuple(pictures), folded=tuple(table for table in tables if table))]


def _confusions(plan: Plan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[Section]:
    """Show which class was taken for which, where the study asks for it."""
    table = confusion_table(plan, runs) if CONFUSION in plan.study.metrics else None
    if table is None:
        return []
    pictures: list[Picture] = []
    for levels in drawing.all_levels(plan)[:MOST_SETTINGS]:
        folders = drawing.chosen(runs, levels)["folder"]
        if len(folders):
            drawn = confusion([opened[folder].predictions for folder in folders])
            caption = f"Percent of each true class, and samples{drawing.named(plan, levels)}."
            pictures.append(Picture(f"confusion-{len(pictures) + 1}", drawn, caption))
    return [Section("Confusions", "Means over the runs of a cell.", tuple(pictures), folded=(table,))]


def _training(plan: Plan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[Section]:
    """Show what was logged per epoch."""
    own = runs[runs["test"] == OWN]
    histories = {name: opened[name].history for name in own["folder"] if (opened[name].folder / HISTORY).is_file()}
    pictures = tuple(
        Picture(f"training-{place}", drawn, f"Training dashed, held-back data solid; means over runs{text}.")
        for place, (text, drawn) in enumerate(drawing.curves(plan, own, histories)[:MOST_SETTINGS], start=1)
    )
    return [Section("Training", "", pictures)] if pictures else []


def _counts(plan: Plan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> Table:
    """Set out the training samples of each class, by cell; cells may have classes of their own."""
    own = runs[runs["test"] == OWN]
    classes = list(dict.fromkeys(name for folder in own["folder"] for name in opened[folder].facts["classes"]))
    rows: list[tuple[Cell, ...]] = []
    for cell in plan.cells:
        mine = drawing.chosen(own, dict(zip(plan.factors, cell, strict=True)))["folder"]
        if len(mine):
            facts = opened[mine.iloc[0]].facts
            counts = dict(zip(facts["classes"], facts["counts"]["train"], strict=True))
            rows.append((*cell, *(counts.get(name, "–") for name in classes)))
    return Table(
        "training-samples", "Training samples of each class (first run)", (*plan.factors, *classes), tuple(rows)
    )


def _facts(plan: Plan, opened: Sequence[Run]) -> dict[str, str]:
    chosen = {
        "paper": plan.study.paper,
        "data set": plan.choice.on or "",
        "size": (plan.choice.size or "") if plan.study.sizes else "",
        "study protocol": plan.choice.protocol if plan.study.paper_protocol else "",
        "settings": ", ".join(f"{key}={value}" for key, value in plan.choice.overrides.items() if "root" not in key),
    }
    whole = reporting.facts([run for run in opened if "on" not in run.facts])
    seconds = [run.facts["training_seconds"] for run in opened if "training_seconds" in run.facts]
    whole |= {"training": f"{len(opened)} runs, {sum(seconds) / 60:.0f} minutes of training in all"}
    return {name: value for name, value in {**chosen, **whole}.items() if value}
