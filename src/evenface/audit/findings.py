"""Findings of an audit and their report."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One inconsistency among printed numbers, or a remark.

    Parameters
    ----------
    where : str
        Location in the paper, such as ``"Table 4, Anger"``.
    message : str
        The inconsistency with its arithmetic, in one line.
    details : tuple of str
        Further arithmetic, one line each.
    impossible : bool, default=True
        Whether the numbers are impossible; False for a remark.
    """

    where: str
    message: str
    details: tuple[str, ...] = ()
    impossible: bool = True

    def lines(self) -> list[str]:
        """Return the printed lines: the message and its details."""
        mark = "x" if self.impossible else "-"
        return [f"{mark} {self.where}: {self.message}", *(f"    {detail}" for detail in self.details)]


@dataclass(frozen=True)
class Audit:
    """Result of the audit of one claims file.

    Parameters
    ----------
    name : str
        Name given in the file.
    about : str
        Description of the paper.
    findings : list of Finding
        Impossible numbers.
    remarks : list of Finding
        Numbers that are possible only under an interpretation that readers should know.
    figures : int
        Number of printed numbers checked.
    """

    name: str
    about: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    figures: int = 0

    def lines(self) -> list[str]:
        """Return the printed lines: the number of findings first."""
        count = len(self.findings)
        verdict = f"{count} finding{'s' * (count != 1)}" if count else "no inconsistencies"
        details = [line for finding in [*self.findings, *self.remarks] for line in finding.lines()]
        return [f"{self.name}  {verdict} in {self.figures:,} printed numbers · {self.about}", *details]


def join_limited(words: list[str], most: int = 6) -> str:
    """Join words with commas; state how many are left out of a long list."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
