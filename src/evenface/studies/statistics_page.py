"""What the page of a study shows of its statistics: one part for each reading, and one for the classes."""

from collections.abc import Sequence

import pandas as pd

from evenface.evaluation.metric_registry import label
from evenface.evaluation.page import Picture, Section
from evenface.statistics.designs import counted
from evenface.studies.plan import OWN, Plan
from evenface.studies.readings import classes_of
from evenface.studies.statistics import Statistics, per_class
from evenface.studies.table import CLASSWISE

TITLES = {"repetitions": "Statistics over repetitions", "classes": "Statistics as the paper reads them"}


def statistics_sections(plan: Plan, runs: pd.DataFrame, found: Sequence[Statistics]) -> list[Section]:
    """Set out the statistics of a study; nothing where there are none.

    Parameters
    ----------
    plan : Plan
        The study.
    runs : DataFrame
        What :func:`evenface.studies.table.measure` gave.
    found : sequence of Statistics
        What :func:`evenface.studies.statistics.statistics_of` gave.
    """
    if not found:
        return []
    from evenface.statistics import drawing

    parts = [_section(plan, statistics) for statistics in found]
    table = per_class(plan, runs)
    if table is not None:
        picture = Picture("statistics-classes", drawing.class_heat(_heat(plan, runs)), "Mean over all runs of a class.")
        parts.append(Section("Each class", "", (picture,), folded=(table,)))
    return parts


def _section(plan: Plan, statistics: Statistics) -> Section:
    from evenface.statistics import drawing

    assert plan.study.statistics is not None
    reading = statistics.reading
    margins = {label(name): margin for name, margin in plan.study.statistics.margins.items()}
    contrasts = [contrast for analysis in statistics.analyses for contrast in analysis.contrasts]
    equal = [result for analysis in statistics.analyses for result in analysis.equivalences]
    over = f"over {counted(reading.units, reading.unit)}"
    pictures = []
    if contrasts:
        pictures += [
            Picture(
                f"effects-{reading.name}",
                drawing.differences(contrasts, margins),
                f"Differences with 95 % intervals {over}; bands: margins of equivalence.",
            ),
            Picture(
                f"sizes-{reading.name}",
                drawing.effect_sizes(contrasts),
                f"Sizes of effects with 95 % intervals {over}.",
            ),
        ]
    if equal:
        caption = f"Equivalence {over}: it holds where the 90 % interval lies inside the margins."
        pictures.append(Picture(f"equivalence-{reading.name}", drawing.equivalence(equal), caption))
    if contrasts and not reading.overlap:
        caption = f"Power of a paired t test by number of units; here {counted(reading.units, reading.unit)}."
        pictures.append(
            Picture(f"power-{reading.name}", drawing.power_curves(count=reading.units, unit=reading.unit), caption)
        )
    text = "\n".join(sentence[:1].upper() + sentence[1:] for sentence in (reading.said, *statistics.sentences))
    return Section(TITLES[reading.name], text, tuple(pictures), statistics.tables, (statistics.assumptions,))


def _heat(plan: Plan, runs: pd.DataFrame) -> pd.DataFrame:
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
