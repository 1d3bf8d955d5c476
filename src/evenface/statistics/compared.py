"""What was compared with what, and over how many: the same for a comparison as for equivalence."""

from dataclasses import dataclass
from typing import Any

from evenface.statistics.checks import ALPHA, Check, with_p
from evenface.statistics.tidy import Groups, Pairs, counted


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One level held against another.

    Parameters
    ----------
    metric, factor, level, baseline : str
        What was measured, and what is compared with what.
    robust, robust_p
        Name and p of the rank test that stands beside; it takes units as independent.
    robust_floor : float
        The smallest p that the rank test can reach over so few units.
    unit : str
        What was repeated.
    units, count : int
        How many of them, and how many pairs (or values of both groups).
    checks : tuple of Check
        Assumptions.
    """

    metric: str
    factor: str
    level: str
    baseline: str
    robust: str
    robust_p: float
    robust_floor: float
    unit: str
    units: int
    count: int
    checks: tuple[Check, ...]

    @property
    def named(self) -> str:
        """Name the comparison."""
        return f"{self.metric}: {self.level} against {self.baseline}"

    @property
    def beside(self) -> str:
        """State p of the rank test, and where it cannot reach 0.05 whatever the values are."""
        said = f"{self.robust}: {with_p(self.robust_p)}"
        if self.robust_floor > ALPHA:
            return f"{said}, where the smallest it can reach over {self.over} is {self.robust_floor:.3g}."
        return f"{said}."

    @property
    def over(self) -> str:
        """Say over how many units, and over how many pairs where those are more."""
        units = counted(self.units, self.unit)
        return f"{self.count:,} pairs of {units}" if self.count > self.units else units


def named_by(given: Pairs | Groups) -> dict[str, Any]:
    """Give the fields of :class:`Compared` that the values themselves say."""
    names = ("metric", "factor", "level", "baseline", "unit", "units")
    return {name: getattr(given, name) for name in names} | {"count": len(given)}
