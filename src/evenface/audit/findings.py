"""Findings of an audit and their report."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing in a paper that cannot be as printed, or one that is worth knowing.

    Parameters
    ----------
    where : str
        Place in the paper, such as ``"Table 4, Anger"``.
    line : str
        What cannot be, with its arithmetic, in one line.
    details : tuple of str
        More arithmetic, a line each.
    cannot : bool, default=True
        Whether it is impossible; False for a remark.
    """

    where: str
    line: str
    details: tuple[str, ...] = ()
    cannot: bool = True

    def lines(self) -> list[str]:
        """Give what is printed: the line, its details beneath it."""
        mark = "x" if self.cannot else "-"
        return [f"{mark} {self.where}: {self.line}", *(f"    {detail}" for detail in self.details)]


@dataclass(frozen=True)
class Audit:
    """What was found in one file of claims.

    Parameters
    ----------
    name : str
        The file's name for itself.
    about : str
        The paper.
    findings : list of Finding
        What cannot be.
    remarks : list of Finding
        What fits, but only by a reading that one should know of.
    figures : int
        How many printed numbers were looked at.
    """

    name: str
    about: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    figures: int = 0

    def lines(self) -> list[str]:
        """Give the screen: the answer first."""
        count = len(self.findings)
        verdict = f"{count} finding{'s' * (count != 1)}" if count else "nothing found that cannot be"
        description = [line for one in [*self.findings, *self.remarks] for line in one.lines()]
        return [f"{self.name}  {verdict} in {self.figures:,} printed numbers · {self.about}", *description]


def join_limited(words: list[str], most: int = 6) -> str:
    """Write a list, cut short where it is long."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
