"""What was compared with what, and over how many: the same for a comparison as for equivalence."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from evenface.statistics.checks import ALPHA, Check, failed, with_p
from evenface.statistics.tidy import Groups, Pairs, counted


@dataclass(frozen=True, kw_only=True)
class Compared(ABC):
    """One level held against another.

    Parameters
    ----------
    metric, factor, level, baseline : str
        What was measured, and what is compared with what.
    robust, robust_p
        Name and p of the test that stands beside, such as a rank test, which takes units as independent; NaN where
        there is none.
    robust_floor : float
        The smallest p that a rank test can reach over so few units; 0 of other tests.
    unit : str
        What was repeated.
    units, count : int
        How many of them, and how many pairs (or values of both groups).
    replication : int
        Units at the level that has more of them: with fewer than three there is no verdict.
    counts : {"pairs", "values"}
        What ``count`` is of.
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
    replication: int
    counts: str = "pairs"
    checks: tuple[Check, ...]

    @property
    def named(self) -> str:
        """Name the comparison."""
        return f"{self.metric}: {self.level} against {self.baseline}"

    @property
    @abstractmethod
    def answer(self) -> str:
        """Say the difference, how sure it is, and over what."""

    @property
    @abstractmethod
    def _doubted(self) -> bool:
        """Whether the test beside is worth a word."""

    @property
    def beside(self) -> list[str]:
        """State p of the test beside where it is worth a word, and where it cannot reach 0.05 whatever the values."""
        if math.isnan(self.robust_p) or not self._doubted:
            return []
        said = f"{self.robust}: {with_p(self.robust_p)}"
        if self.robust_floor > ALPHA:
            return [f"{said}, where the smallest it can reach over {self.over} is {self.robust_floor:.3g}."]
        return [f"{said}."]

    @property
    def sentence(self) -> str:
        """Say the difference, how sure it is, over what, and which assumptions fail."""
        return " ".join([self.answer, *failed(self.checks), *self.beside])

    @property
    def over(self) -> str:
        """Say over how many units, and over how many pairs where those are more."""
        units = counted(self.units, self.unit)
        return f"{self.count:,} {self.counts} of {units}" if self.count > self.units else units


def named_by(given: Pairs | Groups) -> dict[str, Any]:
    """Give the fields of :class:`Compared` that the values themselves say."""
    names = ("metric", "factor", "level", "baseline", "unit", "units")
    replication = given.units if isinstance(given, Pairs) else max(len(given.values), len(given.base))
    return {name: getattr(given, name) for name in names} | {"count": len(given), "replication": replication}
