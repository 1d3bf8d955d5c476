"""Consistency checks of the numbers that a paper prints (GRIM and its kin), with the arithmetic."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evenface.audit.confusion import check_binaries
from evenface.audit.counts import check_accuracies, check_averages, check_ratios
from evenface.audit.inferential import (
    check_comparisons,
    check_effects,
    check_equivalences,
    check_powers,
    check_samples,
)
from evenface.audit.printed import Audit, Finding, PrintedNumber
from evenface.audit.reports import check_recalls, check_reports
from evenface.audit.schema import Claims, Repeated, load_claims, shipped_claims
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

__all__ = ["Audit", "Finding", "audit", "load_claims", "shipped_claims"]

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
    """Find inconsistent numbers among those that a paper prints.

    Parameters
    ----------
    source : str, Path, mapping or Claims
        Name of a shipped claims file, path of a YAML file, or the content of one.

    Returns
    -------
    Audit

    Raises
    ------
    InputError
        If the file does not exist or is not a valid claims file.

    Notes
    -----
    A printed number represents every value that rounds to it, with ties in either direction; a finding is reported if
    no such values are consistent. If truncation would explain it, the finding states this; ``truncation: true`` in the
    file allows truncation.
    """
    claims = source if isinstance(source, Claims) else load_claims(source)
    results = [
        finding
        for kind, check in _CHECKS.items()
        for part in getattr(claims, kind)
        for finding in _check_section(check, part, claims)
    ]
    return Audit(
        claims.name,
        claims.about,
        [result for result in results if result.impossible],
        [result for result in results if not result.impossible],
        _figures(claims),
    )


def _check_section(check: Callable[[Any, bool], Iterator[Finding]], part: Any, claims: Claims) -> Iterator[Finding]:
    if isinstance(part, Repeated) and part.runs is None:
        section_runs = part.runs_in_text()
        inferred = {part.where: section_runs} if section_runs else {row: part.runs_in_text(row) for row in part.rows}
        for name, runs in inferred.items():
            if runs:
                where = name if name == part.where else f"{part.where}, {name}"
                line = (
                    f"interpreted as means of {runs} runs, from the text; set the key runs, or a column, to be explicit"
                )
                yield Finding(where, line, impossible=False)
    findings = list(check(part, claims.truncation))
    # Sections that stay inconsistent if digits were truncated.
    unexplained = set()
    if findings and not claims.truncation:
        unexplained = {finding.where for finding in check(part, True) if finding.impossible}
    for index, finding in enumerate(findings):
        details = finding.details
        if finding.impossible and not claims.truncation and finding.where not in unexplained:
            details += ("Truncation instead of rounding would explain it.",)
        # The note of a section is printed once.
        yield replace(finding, details=(*details, part.note) if part.note and index == 0 else details)


def _figures(part: Any) -> int:
    """Count the printed numbers in a section, including nested ones."""
    if isinstance(part, PrintedNumber):
        return 1
    if isinstance(part, list | tuple):
        return sum(map(_figures, part))
    if isinstance(part, dict):
        return sum(map(_figures, part.values()))
    fields = getattr(type(part), "model_fields", None)
    return sum(_figures(getattr(part, name)) for name in fields) if fields else int(type(part) is int)
