"""The page of a study."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from evenface.evaluation.formatting import UNITS, number, signed
from evenface.evaluation.metric_registry import is_per_class, label, limits, lower_is_better, lower_note
from evenface.reporting import summaries
from evenface.reporting.figures import confusion
from evenface.reporting.page import CaptionedFigure, Page, PageSection, Tile, Verdict, write_page
from evenface.reporting.tables import Cell, Table
from evenface.runs import HISTORY, REPORT, Run
from evenface.statistics.designs import counted
from evenface.studies import figures
from evenface.studies.definition import CONFUSION
from evenface.studies.figures import class_table, confusion_table
from evenface.studies.plan import OWN, StudyPlan
from evenface.studies.statistics import Statistics, classes_of, per_class
from evenface.studies.tables import (
    CLASSWISE,
    COHORTS,
    FOLDS,
    RUNS,
    BaselineDifference,
    by_fold,
    cell_table,
    estimate_over,
    parts,
    printed_elsewhere,
    run_table,
    scalar_metrics,
    shared_note,
)

TITLES = {"repetitions": "Statistics over repetitions", "classes": "Statistics as the paper reads them"}


def statistics_sections(plan: StudyPlan, runs: pd.DataFrame, found: Sequence[Statistics]) -> list[PageSection]:
    """Set out the statistics of a study; nothing where there are none."""
    if not found:
        return []
    from evenface.reporting import figures as drawing

    parts = [_section(plan, statistics) for statistics in found]
    table = per_class(plan, runs)
    if table is not None:
        picture = CaptionedFigure(
            "statistics-classes", drawing.class_heat(_heat(plan, runs)), "Mean over all runs of a class."
        )
        parts.append(PageSection("Each class", "", (picture,), folded=(table,)))
    return parts


def _section(plan: StudyPlan, statistics: Statistics) -> PageSection:
    from evenface.reporting import figures as drawing

    assert plan.study.statistics is not None
    reading = statistics.reading
    margins = {label(name): margin for name, margin in plan.study.statistics.margins.items()}
    contrasts = [contrast for analysis in statistics.analyses for contrast in analysis.contrasts]
    equal = [result for analysis in statistics.analyses for result in analysis.equivalences]
    over = f"over {counted(reading.units, reading.unit)}"
    pictures = []
    if contrasts:
        pictures += [
            CaptionedFigure(
                f"effects-{reading.name}",
                drawing.differences(contrasts, margins),
                f"Differences with 95 % intervals {over}; bands: margins of equivalence.",
            ),
            CaptionedFigure(
                f"sizes-{reading.name}",
                drawing.effect_sizes(contrasts),
                f"Sizes of effects with 95 % intervals {over}.",
            ),
        ]
    if equal:
        caption = f"Equivalence {over}: it holds where the 90 % interval lies inside the margins."
        pictures.append(CaptionedFigure(f"equivalence-{reading.name}", drawing.equivalence(equal), caption))
    if contrasts and not reading.overlap:
        caption = f"Power of a paired t test by number of units; here {counted(reading.units, reading.unit)}."
        pictures.append(
            CaptionedFigure(
                f"power-{reading.name}", drawing.power_curves(count=reading.units, unit=reading.unit), caption
            )
        )
    text = "\n".join(sentence[:1].upper() + sentence[1:] for sentence in (reading.said, *statistics.sentences))
    return PageSection(TITLES[reading.name], text, tuple(pictures), statistics.tables, (statistics.assumptions,))


def _heat(plan: StudyPlan, runs: pd.DataFrame) -> pd.DataFrame:
    """Give the mean of each metric of each class: a row for each class, a column for each metric."""
    own = runs[runs["test"] == OWN]
    each = plan.study.tested
    return pd.DataFrame(
        {
            label(name): {
                label: float(own[f"{partner}{CLASSWISE}{label}"].mean())
                for label in classes_of(own, next(iter(each.values())))
            }
            for name, partner in each.items()
        }
    )


MOST_SHOWN = 8
"""Differences that are not larger than noise, on the screen."""


def change_table(plan: StudyPlan, found: Sequence[BaselineDifference], *, whole: bool = True) -> Table:
    """Set out all differences."""
    inprint = any(not math.isnan(change.printed) for change in found)
    gains = any(not math.isnan(change.printed_gain) for change in found)
    plain = any(change.plain_p != change.difference.p and not math.isnan(change.plain_p) for change in found)
    rows: list[tuple[Cell, ...]] = []
    for change in found:
        where: list[Cell] = [change.test or plan.choice.on or "own data"] if plan.tests else []
        row: list[Cell] = [
            *where,
            f"{change.factor}: {change.level} less {change.baseline}",
            change.where or "–",
            label(change.metric),
        ]
        row += [change.count, change.unit, change.difference] if whole else [change.difference]
        row += [change.relative, change.difference.p, *([change.plain_p] if plain else [])] if whole else []
        row += [change.difference.p_holm, *([change.p_metrics] if whole else [])]
        row += [change.verdict, *([change.printed] if inprint else [])]
        rows.append((*row, *([change.printed_gain] if gains and whole else [])))
    header = [*(["tested on"] if plan.tests else []), "compared", "setting", "metric"]
    header += [*(["pairs", "unit"] if whole else []), "difference", *(["as a share", "p"] if whole else [])]
    header += ["p (plain paired t)"] if plain and whole else []
    header += ["p (Holm)", *(["p (Holm, all metrics)"] if whole else []), "verdict"]
    header += ["difference as printed"] if inprint else []
    header += ["share as printed"] if gains and whole else []
    title = "Differences from the baseline" + (", with pairs and shares" if whole else "")
    note = f"{families(found)} {lower_note(dict.fromkeys(change.metric for change in found))}".strip()
    return Table("differences-whole" if whole else "differences", title, tuple(header), tuple(rows), note)


def families(found: Sequence[BaselineDifference]) -> str:
    """State which comparisons Holm's correction runs over, and that metrics are not among them."""
    single, overall = (
        max((change.family for change in found if (change.setting is None) is whole), default=0)
        for whole in (False, True)
    )
    if not single:
        return ""
    kinds = f" in single settings, and the {overall} over all settings," if overall else ""
    metrics = len({change.metric for change in found})
    rest = f" The {metrics} metrics are not corrected for, but in p (Holm, all metrics)." if metrics > 1 else ""
    return f"Holm: corrected over the {single}{kinds} of one metric and data set.{rest}"


def flatters(plan: StudyPlan) -> str:
    """Say in what the paper's protocol is not honest, empty where the study does not follow it."""
    if plan.choice.protocol != "paper":
        return ""
    recipes = [run.recipe for run in plan.runs]
    found = {
        "weights selected on the test data": any(recipe.training.checkpoint == "test" for recipe in recipes),
        "frames of one clip and person on both sides": any(
            recipe.protocol.by == "frame" and recipe.protocol.test_clips is None for recipe in recipes
        ),
        "people on both sides, and frames of one clip in training and validation": any(
            recipe.protocol.test_clips is not None for recipe in recipes
        ),
    }
    said = " and ".join(text for text, so in found.items() if so)
    return f"{said}, as the paper does: the figures flatter" if said else "the paper's own protocol"


def heading(plan: StudyPlan, ended: int) -> str:
    """Say what was run, and how much of it has ended."""
    on = f" on {plan.choice.on}" if plan.choice.on else ""
    size = f", {plan.choice.size}" if plan.study.sizes else ""
    runs = f"{ended} of {len(plan.runs)}" if ended < len(plan.runs) else f"{ended}"
    selected = f"; {flatters(plan)}" if flatters(plan) else ""
    return f"{plan.study.name}{on}{size}: {runs} runs in {len(plan.cells)} cells{selected}"


def judged(plan: StudyPlan, found: Sequence[BaselineDifference]) -> list[BaselineDifference]:
    """Give the differences of the foremost metric, on which the study's answer rests."""
    names = scalar_metrics(plan)
    return [change for change in found if names and change.metric == names[0]]


def screen(plan: StudyPlan, found: Sequence[BaselineDifference]) -> list[str]:
    """List the differences of the foremost metric with their verdicts."""
    mine = judged(plan, found)
    if not mine:
        return ["nothing is compared: the study names no baseline, or its runs are missing"]
    certain = sorted((change for change in mine if change.certain), key=lambda c: -abs(c.difference.value))
    rest = [change for change in mine if not change.certain]
    shown = rest if len(rest) <= MOST_SHOWN else [change for change in rest if change.setting is None]
    hidden = len(rest) - len(shown)
    lines = [f"{verdict(mine)} ({replication(mine)})"]
    width = max(len(change.verdict) for change in (*certain, *shown))
    lines += [f"  {change.verdict:<{width}}  {sentence(change)}" for change in (*certain, *shown)]
    return lines + ([f"  nor are {hidden} in single settings: see the report"] if hidden else [])


def verdict(mine: Sequence[BaselineDifference]) -> str:
    """Count the differences that are larger than noise, or training noise."""
    certain = sum(change.certain for change in mine)
    are = f"{certain} of {len(mine)} differences" if certain else f"none of {len(mine)} differences"
    noise = mine[0].noise if len({change.noise for change in mine}) == 1 else "noise"
    return f"{label(mine[0].metric)}: {are} {'is' if certain in (0, 1) else 'are'} larger than {noise}"


def sentence(change: BaselineDifference) -> str:
    """Write a difference in one line."""
    d = change.difference
    interval = "" if math.isnan(d.low) else f" [{signed(d.low)}, {signed(d.high)}]"
    where = f" ({change.where})" if change.where else ""
    on = f", tested on {change.test}" if change.test else ""
    over = f", over {change.unit}" if change.unit not in (RUNS, FOLDS, COHORTS) else ""
    way = f", {'better' if d.value < 0 else 'worse'}" if lower_is_better(change.metric) and change.certain else ""
    found = f"{signed(d.value)}{interval}{over}{way}"
    return f"{change.factor} {change.level} instead of {change.baseline}{where}{on}: {found}"


def replication(found: Sequence[BaselineDifference]) -> str:
    """State the unit of replication."""
    units = {change.unit for change in found if not math.isnan(change.difference.p)}
    counts = sorted({change.count for change in found})
    pairs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if units == {RUNS}:
        return f"the unit is the run, {pairs} pairs of the same seed and data"
    if units in ({FOLDS}, {COHORTS}):
        one = next(iter(units))[:-1]
        return f"the unit is the {one}, {pairs} pairs of the same number, seeds of a {one} averaged first"
    if not units:
        return f"noise is not known from {pairs} pairs of runs"
    singular = {**UNITS, RUNS: "run", FOLDS: "fold", COHORTS: "cohort"}
    return f"the unit is {' or '.join(f'the {singular[unit]}' for unit in sorted(units))}"


MOST_TILES, MOST_SETTINGS = 6, 8


def study_report(
    plan: StudyPlan,
    runs: pd.DataFrame,
    found: Sequence[BaselineDifference],
    failed: Mapping[str, str],
    out: Path,
    tested: Sequence[Statistics] = (),
) -> Path:
    """Write the page of a study, and tables beside it."""
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
        tuple(
            _capital(text)
            for text in summaries.shared_warnings([run for run in opened.values() if "on" not in run.facts])
        ),
    )
    return write_page(page, out / REPORT)


def _tiles(plan: StudyPlan, runs: pd.DataFrame) -> list[Tile]:
    """Show the foremost metric of each cell, or of each level of the compared factor where there are many cells."""
    names = scalar_metrics(plan)
    own = runs[runs["test"] == OWN]
    series = figures.series_factor(plan)
    if not names:
        return []
    if len(plan.cells) <= MOST_TILES or series is None:
        groups = [(plan.said(cell), dict(zip(plan.factors, cell, strict=True))) for cell in plan.cells]
    else:
        groups = [(f"{series} {level}", {series: level}) for level in plan.factors[series]]
    tiles = []
    for place, (name, levels) in enumerate(groups[: 2 * MOST_TILES]):
        mean, _, n = estimate_over(figures.chosen(own, levels), names[0], limits(names[0]))
        interval = "" if n < 2 else f"[{number(mean.low)}, {number(mean.high)}]"
        tiles.append(Tile(name, number(mean.value), interval, place if len(groups) <= MOST_TILES else None))
    return tiles


def _verdicts(plan: StudyPlan, runs: pd.DataFrame, found: Sequence[BaselineDifference]) -> list[Verdict]:
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


def _sure(plan: StudyPlan, runs: pd.DataFrame, found: Sequence[BaselineDifference]) -> list[str]:
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


def _notes(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run], failed: Mapping[str, str]) -> list[str]:
    lines = [f"{_capital(flatters(plan))}."] if flatters(plan) else []
    missing = len(plan.runs) - _ended(runs)
    if missing:
        lines.append(f"{missing} of {len(plan.runs)} runs are missing: say the same again to go on.")
    lines += [f"Failed: {folder}: {why.splitlines()[0]}" for folder, why in failed.items()]
    lines += [_capital(note) for note in plan.notes]
    lines += [f"Deviation: {text}" for text in plan.deviations]
    said = [note for run in opened.values() for note in run.facts["notes"] if note not in summaries.warning_notes(run)]
    said += summaries.precision_notes(list(opened.values()))
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
    plan: StudyPlan,
    runs: pd.DataFrame,
    found: Sequence[BaselineDifference],
    opened: Mapping[str, Run],
    tested: Sequence[Statistics],
) -> list[PageSection]:
    names = scalar_metrics(plan)
    pictures = [
        CaptionedFigure(
            f"cells-{name}-{test or 'own'}", figures.cells(plan, runs, name, test), _caption(plan, name, test)
        )
        for test in plan.sides
        for name in names
    ]
    elsewhere = printed_elsewhere(plan)
    parts = [
        PageSection(
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
        PageSection("Runs", folded=(run_table(plan, runs), _counts(plan, runs, opened))),
    ]


def _caption(plan: StudyPlan, metric: str, test: str) -> str:
    where = f", tested on {test}" if test else ""
    printed = any(figures.in_print(plan, levels, metric, test) for levels in figures.all_levels(plan))
    crosses = " Crosses: as printed in the paper." if printed else ""
    return f"{_capital(label(metric))}{where}. Each ring is a run, each bar the interval of the mean.{crosses}"


def _differences(plan: StudyPlan, found: Sequence[BaselineDifference]) -> PageSection:
    groups: dict[tuple[str, str], list[BaselineDifference]] = {}
    for change in found:
        groups.setdefault((change.metric, change.test), []).append(change)
    pictures = tuple(
        CaptionedFigure(
            f"differences-{metric}-{test or 'own'}",
            figures.changes(group),
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
    return PageSection("Differences", text, pictures, *tables)


def _classes(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[PageSection]:
    tables = [class_table(plan, runs, name) for name in plan.study.metrics if is_per_class(name)]
    series = figures.series_factor(plan)
    pictures: list[CaptionedFigure] = []
    own = runs[runs["test"] == OWN]
    for setting in figures.settings(plan, series)[:MOST_SETTINGS]:
        first = figures.chosen(own, setting)["folder"]
        if not len(first):
            continue
        facts = opened[first.iloc[0]].facts
        counts = facts["counts"]
        drawn = figures.class_recall(plan, own, setting, facts["classes"], counts["test"], counts["train"])
        if drawn is not None:
            place = len(pictures) + 1
            pictures.append(
                CaptionedFigure(f"classes-{place}", drawn, f"Recall of each class{figures.named(plan, setting)}.")
            )
    if not pictures and not any(tables):
        return []
    text = "The class rarest in training stands on top; in brackets the test samples." if pictures else ""
    return [PageSection("Classes", text, tuple(pictures), folded=tuple(table for table in tables if table))]


def _confusions(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[PageSection]:
    """Show which class was taken for which, where the study asks for it."""
    table = confusion_table(plan, runs) if CONFUSION in plan.study.metrics else None
    if table is None:
        return []
    pictures: list[CaptionedFigure] = []
    for levels in figures.all_levels(plan)[:MOST_SETTINGS]:
        folders = figures.chosen(runs, levels)["folder"]
        if len(folders):
            drawn = confusion([opened[folder].predictions for folder in folders])
            caption = f"Percent of each true class, and samples{figures.named(plan, levels)}."
            pictures.append(CaptionedFigure(f"confusion-{len(pictures) + 1}", drawn, caption))
    return [PageSection("Confusions", "Means over the runs of a cell.", tuple(pictures), folded=(table,))]


def _training(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[PageSection]:
    """Show what was logged per epoch."""
    own = runs[runs["test"] == OWN]
    histories = {name: opened[name].history for name in own["folder"] if (opened[name].folder / HISTORY).is_file()}
    pictures = tuple(
        CaptionedFigure(f"training-{place}", drawn, f"Training dashed, held-back data solid; means over runs{text}.")
        for place, (text, drawn) in enumerate(figures.curves(plan, own, histories)[:MOST_SETTINGS], start=1)
    )
    return [PageSection("Training", "", pictures)] if pictures else []


def _counts(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> Table:
    """Set out the training samples of each class, by cell; cells may have classes of their own."""
    own = runs[runs["test"] == OWN]
    classes = list(dict.fromkeys(name for folder in own["folder"] for name in opened[folder].facts["classes"]))
    rows: list[tuple[Cell, ...]] = []
    for cell in plan.cells:
        mine = figures.chosen(own, dict(zip(plan.factors, cell, strict=True)))["folder"]
        if len(mine):
            facts = opened[mine.iloc[0]].facts
            counts = dict(zip(facts["classes"], facts["counts"]["train"], strict=True))
            rows.append((*cell, *(counts.get(name, "–") for name in classes)))
    return Table(
        "training-samples", "Training samples of each class (first run)", (*plan.factors, *classes), tuple(rows)
    )


def _facts(plan: StudyPlan, opened: Sequence[Run]) -> dict[str, str]:
    chosen = {
        "paper": plan.study.paper,
        "data set": plan.choice.on or "",
        "size": (plan.choice.size or "") if plan.study.sizes else "",
        "study protocol": plan.choice.protocol if plan.study.paper_protocol else "",
        "settings": ", ".join(f"{key}={value}" for key, value in plan.choice.overrides.items() if "root" not in key),
    }
    whole = summaries.provenance([run for run in opened if "on" not in run.facts])
    seconds = [run.facts["training_seconds"] for run in opened if "training_seconds" in run.facts]
    whole |= {"training": f"{len(opened)} runs, {sum(seconds) / 60:.0f} minutes of training in all"}
    return {name: value for name, value in {**chosen, **whole}.items() if value}
