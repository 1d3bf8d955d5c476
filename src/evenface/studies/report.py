"""Page and console summary of a study: the conclusion first, then its uncertainty, notes, tables and figures."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.formatting import UNITS, signed_interval
from evenface.evaluation.metric_registry import is_per_class, label, limits, lower_is_better
from evenface.reporting import figures, summaries
from evenface.reporting.figures import Mark
from evenface.reporting.page import CaptionedFigure, Page, PageSection, Tile, Verdict, write_page
from evenface.runs import HISTORY, REPORT, Run
from evenface.statistics.designs import counted
from evenface.studies.definition import CONFUSION
from evenface.studies.plan import OWN, StudyPlan
from evenface.studies.results import (
    CLASSWISE,
    COHORTS,
    FOLDS,
    RUNS,
    BaselineDifference,
    by_fold,
    by_size,
    classes_of,
    estimate_over,
    fold_unit,
    is_own_data,
    main_differences,
    overlap_note,
    scalar_metrics,
    select_runs,
)
from evenface.studies.tables import (
    StudyStatistics,
    cell_table,
    class_table,
    confusion_table,
    correction_note,
    difference_table,
    per_class_table,
    printed_elsewhere,
    run_table,
    sample_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"repetitions": "Statistics over repetitions", "classes": "Statistics over classes, as in the paper"}
PRINTED = "Columns called as printed are the paper's results; quoted ones are those of others that it quotes."
MOST_SHOWN = 8
"""Differences that are not larger than noise, on the console."""
MOST_TILES, MOST_SETTINGS, MOST_SERIES = 6, 8, 7
SHARES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_precision")


# Sentences


def protocol_bias(plan: StudyPlan) -> str:
    """State how the paper's protocol biases results upwards; empty where the study does not follow it."""
    if plan.choice.protocol != "paper":
        return ""
    recipes = [run.recipe for run in plan.runs]
    causes = {
        "weights selected on the test data": any(recipe.training.checkpoint == "test" for recipe in recipes),
        "frames of one clip and person in both training and test set": any(
            recipe.protocol.by == "frame" and recipe.protocol.test_clips is None for recipe in recipes
        ),
        "people in both training and test set, and frames of one clip in training and validation set": any(
            recipe.protocol.test_clips is not None for recipe in recipes
        ),
    }
    bias = " and ".join(text for text, applies in causes.items() if applies)
    return f"{bias}, as in the paper: results are biased upwards" if bias else "the paper's own protocol"


def heading(plan: StudyPlan, ended: int) -> str:
    """Name the study, its data and size, and the number of finished runs."""
    on = f" on {plan.choice.on}" if plan.choice.on else ""
    size = f", {plan.choice.size}" if plan.study.sizes else ""
    runs = f"{ended} of {len(plan.runs)}" if ended < len(plan.runs) else f"{ended}"
    bias = f"; {protocol_bias(plan)}" if protocol_bias(plan) else ""
    cells = "cell" if len(plan.cells) == 1 else "cells"
    return f"{plan.study.name}{on}{size}: {runs} runs in {len(plan.cells)} {cells}{bias}"


def console_lines(plan: StudyPlan, differences: Sequence[BaselineDifference]) -> list[str]:
    """Return the verdicts on the differences of the first metric."""
    main = by_size(main_differences(plan, differences))
    if len(plan.cells) == 1:
        return []
    if not main:
        return ["nothing is compared: the study has no baseline, or its runs are missing"]
    certain, rest = [d for d in main if d.certain], [d for d in main if not d.certain]
    shown = [*certain, *(rest if len(rest) <= MOST_SHOWN else [d for d in rest if d.setting is None])]
    hidden = len(main) - len(shown)
    width = max((len(d.verdict) for d in shown), default=0)
    return [
        f"{conclusion(main)} ({replication(main)})",
        *(f"  {d.verdict:<{width}}  {sentence(d)}" for d in shown),
        *([f"  {hidden} more in single settings are not larger than noise: see the report"] if hidden else []),
    ]


def conclusion(differences: Sequence[BaselineDifference]) -> str:
    """State how many differences are larger than noise, or training noise."""
    certain = sum(d.certain for d in differences)
    count = f"{certain} of {len(differences)} differences" if certain else f"none of {len(differences)} differences"
    noise = differences[0].noise if len({d.noise for d in differences}) == 1 else "noise"
    return f"{label(differences[0].metric)}: {count} {'is' if certain in (0, 1) else 'are'} larger than {noise}"


def sentence(d: BaselineDifference) -> str:
    """Write a difference in one line."""
    where = f" ({d.where})" if d.where else ""
    on = f", tested on {d.test}" if d.test else ""
    over = f", over {d.unit}" if d.unit not in (RUNS, FOLDS, COHORTS) else ""
    direction = ""
    if lower_is_better(d.metric) and d.certain:
        direction = ", better" if d.difference.value < 0 else ", worse"
    return (
        f"{d.factor} {d.level} instead of {d.baseline}{where}{on}: {signed_interval(d.difference, 3)}{over}{direction}"
    )


def replication(differences: Sequence[BaselineDifference]) -> str:
    """State the unit of replication."""
    units = {d.unit for d in differences if not math.isnan(d.difference.p)}
    counts = sorted({d.count for d in differences})
    pairs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if units == {RUNS}:
        return f"the unit of replication is the run, {pairs} pairs of the same seed and data"
    if units in ({FOLDS}, {COHORTS}):
        unit = next(iter(units))[:-1]
        return f"the unit of replication is the {unit}, {pairs} pairs, seeds of a {unit} averaged first"
    if not units:
        return f"noise is unknown from {pairs} pairs of runs"
    singular = {**UNITS, RUNS: "run", FOLDS: "fold", COHORTS: "cohort"}
    return f"the unit of replication is {' or '.join(f'the {singular[unit]}' for unit in sorted(units))}"


def _sentence(text: str) -> str:
    """Return a text with a capital and a full stop, unless it ends with a mark of its own."""
    return _capital(text) + ("" if text.endswith((".", "?", "!")) or not text else ".")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# Page


def study_report(
    plan: StudyPlan,
    runs: pd.DataFrame,
    differences: Sequence[BaselineDifference],
    failed: Mapping[str, str],
    out: Path,
    statistics: Sequence[StudyStatistics] = (),
) -> Path:
    """Write the page of a study, and tables beside it."""
    opened = {folder: Run(out / folder) for folder in dict.fromkeys(runs["folder"])}
    names = scalar_metrics(plan)
    unit = fold_unit(plan) if by_fold(runs) else RUNS
    page = Page(
        f"study · {protocol_bias(plan)}" if protocol_bias(plan) else "study",
        plan.study.name + (f" on {plan.choice.on}" if plan.choice.on else ""),
        f"{_capital(label(names[0]))}, mean over {unit}" if names else "",
        tuple(_tiles(plan, runs)),
        tuple(_verdicts(plan, runs, differences)),
        tuple(_uncertainty(plan, runs, differences)),
        tuple(_notes(plan, runs, opened, failed)),
        tuple(_sections(plan, runs, differences, opened, statistics)),
        _provenance(plan, list(opened.values())),
        tuple(study_warnings(opened.values())),
    )
    return write_page(page, out / REPORT)


def study_warnings(runs: Iterable[Run]) -> list[str]:
    """Return the warnings of a study's runs, without those of further test sets."""
    return summaries.shared_warnings([run for run in runs if "on" not in run.facts])


def _tiles(plan: StudyPlan, runs: pd.DataFrame) -> list[Tile]:
    """Show the first metric of each cell, or of each level of the compared factor where there are many cells."""
    names = scalar_metrics(plan)
    own = runs[runs["test"] == OWN]
    series = series_factor(plan)
    if not names:
        return []
    if len(plan.cells) <= MOST_TILES or series is None:
        groups = [(plan.cell_name(cell), levels) for cell, levels in zip(plan.cells, all_levels(plan), strict=True)]
    else:
        groups = [(f"{series} {level}", {series: level}) for level in plan.factors[series]]
    return [
        Tile.of(
            name,
            estimate_over(select_runs(own, levels), names[0], limits(names[0]))[0],
            index if len(groups) <= MOST_TILES else None,
        )
        for index, (name, levels) in enumerate(groups[: 2 * MOST_TILES])
    ]


def _verdicts(plan: StudyPlan, runs: pd.DataFrame, differences: Sequence[BaselineDifference]) -> list[Verdict]:
    main = by_size(main_differences(plan, differences))
    lines = [Verdict(heading(plan, finished_runs(runs)) + ".", _sentence(plan.study.about))]
    if len(plan.cells) == 1:
        return lines
    if not main:
        return [*lines, Verdict("Nothing is compared.", "The study has no baseline, or its runs are missing.")]
    lines.append(Verdict(_capital(conclusion(main)) + ".", f"{_capital(replication(main))}."))
    shown = [d for d in main if d.certain or d.setting is None]
    return lines + [Verdict(_capital(d.verdict) + ":", sentence(d) + ".") for d in shown]


def finished_runs(runs: pd.DataFrame) -> int:
    """Return the number of finished runs."""
    return int((runs["test"] == OWN).sum())


def _uncertainty(plan: StudyPlan, runs: pd.DataFrame, differences: Sequence[BaselineDifference]) -> list[str]:
    seeds, folds = runs["seed"].nunique(), runs["fold"].nunique()
    repeats = "1 seed" if seeds == 1 else f"{seeds} seeds"
    lines = [
        f"Each cell, a combination of levels, has {repeats}"
        + (f" in each of {folds} {fold_unit(plan)}." if folds else ".")
    ]
    if seeds * max(1, folds) > 1:
        averaged = ", the seeds of each averaged first" if seeds > 1 else ""
        unit = f"{fold_unit(plan)}{averaged}" if by_fold(runs) else RUNS
        lines.append(f"Intervals of cells are 95% t-intervals of the mean over {unit}.")
    if shared := overlap_note(plan, runs):
        lines.append(shared)
    if main := main_differences(plan, differences):
        lines.append(f"For differences {replication(main)}.")
        if not shared:
            lines.append(f"Over runs and {fold_unit(plan)} p is that of the paired t test.")
        lines.append(
            "A difference is called larger than noise if its interval excludes zero and p after Holm's correction is "
            "at most 0.05, over three pairs or more. Not larger than noise does not mean equal."
        )
        lines.append(correction_note(differences))
    if folds and fold_unit(plan) == COHORTS:
        lines.append("Cohorts share nobody, in training or in testing: they are independent.")
    elif not folds:
        lines.append(
            "All runs are tested on the same samples: differences larger than training noise may not generalise to "
            "other people, whose variation is not in the intervals."
        )
    if 1 < (folds if by_fold(runs) else seeds * max(1, folds)) < 5:
        lines.append("With so few runs only large and consistent differences can be distinguished from noise.")
    return lines


def _notes(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run], failed: Mapping[str, str]) -> list[str]:
    lines = [f"{protocol_bias(plan)}."] if protocol_bias(plan) else []
    missing = len(plan.runs) - finished_runs(runs)
    if missing:
        lines.append(f"{missing} of {len(plan.runs)} runs are missing: repeat the command to resume.")
    lines += [f"Failed: {folder}: {reason.splitlines()[0]}" for folder, reason in failed.items()]
    lines += plan.notes
    lines += [f"Deviation: {text}" for text in plan.deviations]
    notes = [note for run in opened.values() for note in run.facts["notes"] if note not in summaries.warning_notes(run)]
    notes += summaries.precision_notes(list(opened.values()))
    return lines + _distinct(dict.fromkeys(notes))


def _distinct(notes: Iterable[str]) -> list[str]:
    """Return the first of notes that begin alike but for numbers."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        kinds.setdefault(re.sub(r"[0-9.]+", "", note.partition(":")[0]), []).append(note)
    return [
        same[0] + (f" (one of {len(same)} such notes; the others are in the runs)" if len(same) > 1 else "")
        for same in kinds.values()
    ]


def _sections(
    plan: StudyPlan,
    runs: pd.DataFrame,
    differences: Sequence[BaselineDifference],
    opened: Mapping[str, Run],
    statistics: Sequence[StudyStatistics],
) -> list[PageSection]:
    drawn = [
        CaptionedFigure(
            f"cells-{name}-{test or 'own'}", cell_figure(plan, runs, name, test), _caption(plan, name, test)
        )
        for test in plan.evaluation_sets
        for name in scalar_metrics(plan)
    ]
    elsewhere = printed_elsewhere(plan)
    return [
        PageSection(
            "Cells",
            PRINTED if plan.study.printed or plan.study.quoted else "",
            tuple(drawn),
            (cell_table(plan, runs, spread=False),),
            (cell_table(plan, runs), *((elsewhere,) if elsewhere else ())),
        ),
        *([_differences(plan, differences)] if differences else []),
        *_statistics(plan, runs, statistics),
        *_classes(plan, runs, opened),
        *_confusions(plan, runs, opened),
        *_training(plan, runs, opened),
        PageSection("Runs", folded=(run_table(plan, runs), sample_table(plan, runs, opened))),
    ]


def _caption(plan: StudyPlan, metric: str, test: str) -> str:
    on = f", tested on {test}" if test else ""
    printed = any(printed_values(plan, levels, metric, test) for levels in all_levels(plan))
    crosses = " Crosses: as printed in the paper." if printed else ""
    return f"{_capital(label(metric))}{on}. Each ring is a run, each bar the interval of the mean.{crosses}"


def _differences(plan: StudyPlan, differences: Sequence[BaselineDifference]) -> PageSection:
    groups: dict[tuple[str, str], list[BaselineDifference]] = {}
    for d in differences:
        groups.setdefault((d.metric, d.test), []).append(d)
    drawn = tuple(
        CaptionedFigure(
            f"differences-{metric}-{test or 'own'}",
            difference_figure(group),
            f"Difference in {label(metric)}{f', tested on {test}' if test else ''}. Filled marks are larger than "
            f"{group[0].noise}." + (" Crosses: as printed." if any(not math.isnan(d.printed) for d in group) else ""),
        )
        for (metric, test), group in groups.items()
    )
    text = "Each level minus its factor's baseline, the other factors being equal."
    largest = by_size(differences)[0]
    if largest.certain:
        change = signed_interval(Estimate(largest.difference.value), 3)
        text += f" The largest one that is larger than noise: {change} in {label(largest.metric)}."
    short, complete = (difference_table(plan, differences, complete=value) for value in (False, True))
    return PageSection("Differences", text, drawn, (short,), (complete,))


def _statistics(plan: StudyPlan, runs: pd.DataFrame, statistics: Sequence[StudyStatistics]) -> list[PageSection]:
    sections = [_statistics_section(plan, entry) for entry in statistics]
    table = per_class_table(plan, runs) if statistics else None
    if table is not None:
        heat = figures.class_heat(_class_means(plan, runs))
        drawn = CaptionedFigure("statistics-classes", heat, "Mean over all runs of a class.")
        sections.append(PageSection("Each class", "", (drawn,), folded=(table,)))
    return sections


def _statistics_section(plan: StudyPlan, statistics: StudyStatistics) -> PageSection:
    assert plan.study.statistics is not None
    unit = statistics.replication
    margins = {label(name): margin for name, margin in plan.study.statistics.margins.items()}
    contrasts = [contrast for analysis in statistics.analyses for contrast in analysis.contrasts]
    equivalences = [result for analysis in statistics.analyses for result in analysis.equivalences]
    count = counted(unit.units, unit.unit)
    drawn: list[tuple[str, Figure, str]] = []
    if contrasts:
        caption = f"Differences with 95% intervals over {count}; bands: equivalence margins."
        drawn.append(("effects", figures.differences(contrasts, margins), caption))
        caption = f"Effect sizes with 95% intervals over {count}."
        drawn.append(("sizes", figures.effect_sizes(contrasts), caption))
    if equivalences:
        caption = f"Equivalence over {count}: shown where the 90 % interval lies within the margins."
        drawn.append(("equivalence", figures.equivalence(equivalences), caption))
    if contrasts and not unit.overlap:
        caption = f"Power of a paired t test by number of units; here {count}."
        drawn.append(("power", figures.power_curves(count=unit.units, unit=unit.unit), caption))
    text = "\n".join(_capital(line) for line in (unit.note, *statistics.sentences))
    captioned = tuple(CaptionedFigure(f"{name}-{unit.kind}", figure, caption) for name, figure, caption in drawn)
    return PageSection(TITLES[unit.kind], text, captioned, statistics.tables, (statistics.assumptions,))


def _class_means(plan: StudyPlan, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each metric of each class: a row for each class, a column for each metric."""
    own = runs[runs["test"] == OWN]
    classes = classes_of(own, next(iter(plan.study.tested.values())))
    return pd.DataFrame(
        {
            label(name): {cls: float(own[f"{each}{CLASSWISE}{cls}"].mean()) for cls in classes}
            for name, each in plan.study.tested.items()
        }
    )


def _classes(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[PageSection]:
    tables = [class_table(plan, runs, name) for name in plan.study.metrics if is_per_class(name)]
    drawn: list[CaptionedFigure] = []
    own = runs[runs["test"] == OWN]
    for setting in settings(plan, series_factor(plan))[:MOST_SETTINGS]:
        folders = select_runs(own, setting)["folder"]
        figure = recall_figure(plan, own, setting, opened[folders.iloc[0]]) if len(folders) else None
        if figure is not None:
            caption = f"Recall of each class{_setting_suffix(plan, setting)}."
            drawn.append(CaptionedFigure(f"classes-{len(drawn) + 1}", figure, caption))
    if not drawn and not any(tables):
        return []
    text = (
        "Classes are ordered by number of training samples, rarest on top; test samples in brackets." if drawn else ""
    )
    return [PageSection("Classes", text, tuple(drawn), folded=tuple(table for table in tables if table))]


def _confusions(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[PageSection]:
    """Show confusion matrices, where the study requests them."""
    table = confusion_table(plan, runs) if CONFUSION in plan.study.metrics else None
    if table is None:
        return []
    drawn: list[CaptionedFigure] = []
    for levels in all_levels(plan)[:MOST_SETTINGS]:
        folders = select_runs(runs, levels)["folder"]
        if len(folders):
            figure = figures.confusion([opened[folder].predictions for folder in folders])
            caption = f"Percent of each true class, and samples{_setting_suffix(plan, levels)}."
            drawn.append(CaptionedFigure(f"confusion-{len(drawn) + 1}", figure, caption))
    return [PageSection("Confusion matrices", "Means over the runs of a cell.", tuple(drawn), folded=(table,))]


def _training(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> list[PageSection]:
    """Show what was logged per epoch."""
    own = runs[runs["test"] == OWN]
    histories = {name: opened[name].history for name in own["folder"] if (opened[name].folder / HISTORY).is_file()}
    drawn = tuple(
        CaptionedFigure(f"training-{index}", figure, f"Training dashed, validation solid; means over runs{suffix}.")
        for index, (suffix, figure) in enumerate(training_figures(plan, own, histories)[:MOST_SETTINGS], start=1)
    )
    return [PageSection("Training", "", drawn)] if drawn else []


def _provenance(plan: StudyPlan, opened: Sequence[Run]) -> dict[str, str]:
    options = {
        "paper": plan.study.paper,
        "data set": plan.choice.on or "",
        "size": (plan.choice.size or "") if plan.study.sizes else "",
        "study protocol": plan.choice.protocol if plan.study.paper_protocol else "",
        "settings": ", ".join(f"{key}={value}" for key, value in plan.choice.overrides.items() if "root" not in key),
    }
    made = summaries.provenance([run for run in opened if "on" not in run.facts])
    seconds = [run.facts["training_seconds"] for run in opened if "training_seconds" in run.facts]
    made |= {"training": f"{len(opened)} runs, {sum(seconds) / 60:.0f} minutes of training in total"}
    return {name: value for name, value in {**options, **made}.items() if value}


# Figures


def series_factor(plan: StudyPlan) -> str | None:
    """Return the factor whose levels are colours: the first with a baseline and few levels; None of a single factor."""
    several = [name for name, levels in plan.factors.items() if len(levels) > 1]
    candidates = [name for name in plan.study.baseline if name in several] or several[-1:]
    fits = [name for name in candidates if len(plan.factors[name]) <= MOST_SERIES]
    return fits[0] if fits and len(several) > 1 else None


def settings(plan: StudyPlan, series: str | None) -> list[dict[str, str]]:
    """List the combinations of the factors other than the series that are run."""
    others = [name for name in plan.factors if name != series]
    combined = itertools.product(*(plan.factors[name] for name in others))
    planned = {tuple(levels[name] for name in others) for levels in all_levels(plan)}
    return [dict(zip(others, levels, strict=True)) for levels in combined if levels in planned]


def all_levels(plan: StudyPlan) -> list[dict[str, str]]:
    """List the cells as factor to level."""
    return [dict(zip(plan.factors, cell, strict=True)) for cell in plan.cells]


def _setting_name(plan: StudyPlan, setting: dict[str, str]) -> str:
    """Name a setting, leaving out factors of one level, and the factor's name where it is the only one."""
    several = {factor: level for factor, level in setting.items() if len(plan.factors[factor]) > 1}
    if len(several) == 1:
        return next(iter(several.values()))
    return (
        ", ".join(f"{factor} {level}" if level[:1].isdigit() else level for factor, level in several.items()) or "all"
    )


def _setting_suffix(plan: StudyPlan, setting: dict[str, str]) -> str:
    """Name a setting with its factors, for the end of a sentence."""
    names = [f"{factor} {level}" for factor, level in setting.items() if len(plan.factors[factor]) > 1]
    return f": {', '.join(names)}" if names else ""


def _axis_label(metric: str) -> str:
    return label(metric) + (" (lower is better)" if lower_is_better(metric) else "")


def cell_figure(plan: StudyPlan, runs: pd.DataFrame, metric: str, test: str = OWN) -> "Figure":
    """Draw each cell's mean and interval; each run as a small ring; a cross for a printed value."""
    series = series_factor(plan)
    names = plan.factors[series] if series else ("",)
    marks = []
    for setting in settings(plan, series):
        for index, name in enumerate(names):
            levels = {**setting, **({series: name} if series else {})}
            own = select_runs(runs, levels, test)
            estimate, _, _ = estimate_over(own, metric, limits(metric))
            marks.append(
                Mark.of(
                    _setting_name(plan, setting),
                    estimate,
                    index,
                    runs=tuple(own[metric].dropna()),
                    printed=tuple(printed_values(plan, levels, metric, test)),
                )
            )
    # an interval over few runs may reach beyond the range of a share
    ends = [end for mark in marks for end in (mark.low, mark.high, *mark.runs, *mark.printed) if not math.isnan(end)]
    xlim = None
    if metric in SHARES and ends and (min(ends) < 0 or max(ends) > 1):
        xlim = (max(-0.01, min(ends) - 0.02), min(1.01, max(ends) + 0.02))
    return figures.intervals({"": marks}, names, xlabel=_axis_label(metric), xlim=xlim, legend_title=series or "")


def printed_values(plan: StudyPlan, levels: dict[str, str], metric: str, test: str) -> list[float]:
    """Return the paper's results of a cell."""
    return [
        float(value)
        for row in plan.study.printed
        if is_own_data(plan, row) and row.cell == levels and row.seed is None and not row.gain
        if (row.test_set or OWN) == test and isinstance(value := row.values.get(metric), int | float)
    ]


def difference_figure(differences: Sequence[BaselineDifference]) -> "Figure":
    """Draw differences of one metric with intervals; filled marks: larger than noise; crosses: as printed."""
    levels = list(dict.fromkeys((d.factor, d.level) for d in differences))
    marks = [
        Mark.of(
            f"{d.level}" + (f" ({d.where})" if d.where else ""),
            d.difference,
            levels.index((d.factor, d.level)),
            filled=d.certain,
            printed=() if math.isnan(d.printed) else (d.printed,),
        )
        for d in differences
    ]
    # Long names leave a narrow axis: a label in its middle would run over the edge.
    xlabel = f"difference in {_axis_label(differences[0].metric)}"
    return figures.intervals({"": marks}, xlabel=xlabel, zero=True, label_loc="right")


def recall_figure(plan: StudyPlan, runs: pd.DataFrame, setting: dict[str, str], run: Run) -> "Figure | None":
    """Draw the recall of each class in one setting, a colour for each level; None where no run has finished."""
    series = series_factor(plan)
    classes, counts = run.facts["classes"], run.facts["counts"]
    columns = [name for c in classes if (name := f"recall{CLASSWISE}{c}") in runs.columns]
    estimates: dict[str, list[Estimate]] = {}
    for name in plan.factors[series] if series else ("",):
        own = select_runs(runs, {**setting, **({series: name} if series else {})})
        if len(own):
            estimates[f"{series} {name}" if series else _setting_name(plan, setting)] = [
                estimate_over(own, column, limits("recall"))[0] for column in columns
            ]
    if not estimates or not columns:
        return None
    return figures.recalls(estimates, classes, counts["test"], counts["train"])


def training_figures(
    plan: StudyPlan, runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame]
) -> "list[tuple[str, Figure]]":
    """Draw what was logged per epoch, the mean over the runs of a cell: one figure, or one a setting of many cells."""
    series = series_factor(plan)
    groups = {"": {plan.cell_name(cell): dict(zip(plan.factors, cell, strict=True)) for cell in plan.cells}}
    if len(plan.cells) > MOST_SERIES:
        levels = plan.factors[series] if series else ()
        groups = {
            _setting_suffix(plan, setting): {name: {**setting, str(series): name} for name in levels}
            for setting in settings(plan, series)
        }
    drawn = []
    for suffix, members in groups.items():
        means = {
            name: pd.concat(known).groupby("epoch").mean(numeric_only=True).reset_index()
            for name, selected in members.items()
            if (known := [histories[folder] for folder in select_runs(runs, selected)["folder"] if folder in histories])
        }
        figure = figures.training_curves(means)
        if figure is not None:
            drawn.append((suffix, figure))
    return drawn
