"""What is said of runs that are compared."""

from collections.abc import Sequence
from typing import Any

from evenface import reporting
from evenface.app.catalogue import Entry
from evenface.app.shapes import Change, Compared, Comparison, Pair, finite, value_of
from evenface.evaluation import comparison as comparing
from evenface.evaluation.wording import screen, verdict
from evenface.runs import Run


def compare(entries: Sequence[Entry], *, trust_plugins: bool = False) -> dict[str, Any]:
    """Compare runs on the same test samples, as ``evenface compare`` does.

    Returns
    -------
    dict
        A :class:`~evenface.app.shapes.Comparison`.

    Raises
    ------
    InputError
        If there are fewer than two methods, a run names code that is not trusted, or they were not tested on the same
        samples.
    """
    opened = [Run.open(entry.path, trust_plugins=trust_plugins) for entry in entries]
    groups = reporting.groups(opened)
    found = comparing.compare({name: [run.predictions for run in group] for name, group in groups.items()})
    return Comparison(
        lines=[*reporting.warned(opened), *screen(found).splitlines()],
        classes=list(found.classes),
        support=list(found.support),
        unit=found.unit,
        units=found.units,
        methods=[
            Compared(
                name=method.name,
                runs=len(method.runs),
                overall={name: value_of(value) for name, value in method.overall.items()},
                recall=[value_of(value) for value in method.recall],
            )
            for method in found.methods
        ],
        pairs=[
            Pair(
                baseline=pair.baseline,
                candidate=pair.candidate,
                said=verdict(pair, found),
                overall=[_change(one) for one in pair.overall.values()],
                classes=[_change(one) for one in pair.classes],
            )
            for pair in found.pairs
        ],
        notes=reporting.notes(groups),
    ).model_dump()


def _change(found: comparing.Difference) -> Change:
    value, low, high, p = (finite(one) for one in (found.value, found.low, found.high, found.p_holm))
    return Change(name=found.name, value=value, low=low, high=high, p=p, certain=bool(found.certain))
