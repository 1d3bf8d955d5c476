"""The audit of a file: every section to its check, findings in the order of the file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evenface.audit.binary import check_binaries
from evenface.audit.counts import check_accuracies, check_averages, check_ratios
from evenface.audit.findings import Audit, Finding
from evenface.audit.inferential import (
    check_comparisons,
    check_effects,
    check_equivalences,
    check_powers,
    check_samples,
)
from evenface.audit.printed import PrintedNumber
from evenface.audit.reports import check_recalls, check_reports
from evenface.audit.schema import Claims, Repeated, load_claims
from evenface.audit.sums import (
    check_bests,
    check_differences,
    check_gains,
    check_orders,
    check_parameters,
    check_products,
    check_repeats,
    check_sums,
)

_CHECKS: dict[str, Callable[[Any, bool], Iterator[Finding]]] = {
    "accuracies": check_accuracies,
    "recalls": check_recalls,
    "averages": check_averages,
    "reports": check_reports,
    "binaries": check_binaries,
    "ratios": check_ratios,
    "samples": check_samples,
    "effects": check_effects,
    "comparisons": check_comparisons,
    "powers": check_powers,
    "equivalences": check_equivalences,
    "sums": check_sums,
    "gains": check_gains,
    "bests": check_bests,
    "orders": check_orders,
    "differences": check_differences,
    "repeats": check_repeats,
    "products": check_products,
    "parameters": check_parameters,
}


def audit(source: str | Path | Mapping[str, Any] | Claims) -> Audit:
    """Find what cannot be among a paper's printed numbers.

    Parameters
    ----------
    source : str, Path, mapping or Claims
        Name of a shipped file of claims, path of a YAML file, or the content itself.

    Returns
    -------
    Audit

    Raises
    ------
    InputError
        If the file is not there, or not one of claims.

    Notes
    -----
    A printed number stands for every value that rounds to it, half up or half to even alike; a finding is what none
    of them explains. Where cutting digits off would explain it, the finding says so; ``truncation: true`` in the file
    takes that as honest.
    """
    claims = source if isinstance(source, Claims) else load_claims(source)
    found = [
        finding
        for kind, check in _CHECKS.items()
        for part in getattr(claims, kind)
        for finding in _of(check, part, claims)
    ]
    return Audit(
        claims.name,
        claims.about,
        [one for one in found if one.cannot],
        [one for one in found if not one.cannot],
        _figures(claims),
    )


def _of(check: Callable[[Any, bool], Iterator[Finding]], part: Any, claims: Claims) -> Iterator[Finding]:
    if isinstance(part, Repeated) and part.runs is None:
        said = {part.where: part.runs_said()} if part.runs_said() else {row: part.runs_said(row) for row in part.rows}
        for place, runs in said.items():
            if runs:
                where = place if place == part.where else f"{part.where}, {place}"
                line = (
                    f"read as means of {runs} runs, as the text there says; the key runs, or a column, says it surely"
                )
                yield Finding(where, line, cannot=False)
    found = list(check(part, claims.truncation))
    cut = {one.where for one in check(part, True) if one.cannot} if found and not claims.truncation else set()
    for index, one in enumerate(found):
        details = one.details
        if one.cannot and not claims.truncation and one.where not in cut:
            details += ("Digits cut off instead of rounded would explain it.",)
        # What holds for the whole section is said once.
        yield replace(one, details=(*details, part.note) if part.note and index == 0 else details)


def _figures(part: Any) -> int:
    """Count the printed numbers in a section and all that it holds."""
    if isinstance(part, PrintedNumber):
        return 1
    if isinstance(part, list | tuple):
        return sum(map(_figures, part))
    if isinstance(part, dict):
        return sum(map(_figures, part.values()))
    fields = getattr(type(part), "model_fields", None)
    return sum(_figures(getattr(part, name)) for name in fields) if fields else int(type(part) is int)
