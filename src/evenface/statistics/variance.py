"""What an analysis of variance found: effects with partial eta squared, and the sentence that says so."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from evenface.evaluation.formatting import listed
from evenface.evaluation.verdict import rejects, verdict
from evenface.statistics.checks import ALPHA, Check, failed, with_p
from evenface.statistics.coding import COLON
from evenface.statistics.effects import eta_word
from evenface.statistics.tidy import counted

Kind = Literal["between", "within"]
INTERACTING = "Where factors interact, a main effect is the mean of effects that differ."


@dataclass(frozen=True)
class Effect:
    """A main effect or an interaction.

    Parameters
    ----------
    name : str
        Factors joined by colons.
    df, df_error : float
        Degrees of freedom.
    sum_squares, f, p : float
        Type III.
    eta, low, high : float
        Partial eta squared and its interval.
    power : float
        Observed power, of a true effect as large as the one seen. A function of p, of no further use; papers print it.
    robust : str
        What ``robust_p`` is of: ``HC3`` (independent values, unequal variances allowed), ``Wilcoxon`` (within, one
        degree of freedom) or ``Greenhouse–Geisser`` (within, several).
    robust_p : float
        NaN where it is not defined.
    unit : str
        What was repeated.
    units : int
        How many of them, at the level that was measured in most.
    epsilon : float
        Greenhouse and Geisser's, 1 if sphericity holds or is not needed.
    robust_floor : float
        The smallest p that Wilcoxon's test can reach over so few units; 0 for the others.
    factors : tuple of str
        The factors of the effect.
    """

    name: str
    df: float
    df_error: float
    sum_squares: float
    f: float
    p: float
    eta: float
    low: float
    high: float
    power: float
    robust: str
    robust_p: float
    unit: str
    units: int
    epsilon: float = 1.0
    robust_floor: float = 0.0
    factors: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether p is at most 0.05, over three units or more."""
        return rejects(self.p, self.units)

    @property
    def sentence(self) -> str:
        """Say F, p, and how large the effect is."""
        if math.isnan(self.f):
            return f"{self.name}: not defined, as nothing spreads."
        said = verdict(self.p, self.units, self.unit, "of an effect", "of an effect")
        size = f"partial η² = {self.eta:.3f} [{self.low:.3f}, {self.high:.3f}], {eta_word(self.eta)}"
        other = (self.robust_p <= ALPHA) != (self.p <= ALPHA)
        least = ", the least that so few units allow" if self.robust_floor > ALPHA else ""
        beside = f"; {self.robust} {with_p(self.robust_p)}{least}" if other else ""
        test = f"F({self.df:g}, {self.df_error:g}) = {self.f:.2f}, {with_p(self.p)}"
        return f"{self.name}: {said} ({test}, {size}{beside})."


@dataclass(frozen=True)
class Factorial:
    """A k-way analysis of variance.

    Parameters
    ----------
    metric : str
        What was measured.
    factors : dict of str to tuple of str
        Factors and their levels.
    kind : {"between", "within"}
        Whether each value stands alone, or each unit was measured in every cell.
    effects : tuple of Effect
        Main effects, then interactions.
    unit : str
        What was repeated.
    units, count : int
        How many of them, and how many values.
    checks : tuple of Check
        Assumptions.
    """

    metric: str
    factors: dict[str, tuple[str, ...]]
    kind: Kind
    effects: tuple[Effect, ...]
    unit: str
    units: int
    count: int
    checks: tuple[Check, ...]

    def effect(self, name: str) -> Effect:
        """Give an effect by its name, such as ``loss`` or ``architecture:loss``; the order of factors is free."""
        return next(
            effect
            for effect in self.effects
            if name in map(COLON.join, itertools.permutations(effect.factors or (effect.name,)))
        )

    @property
    def sentence(self) -> str:
        """Say the design, which effects there is evidence of, and which assumptions fail."""
        shape = " × ".join(str(len(levels)) for levels in self.factors.values())
        over = (
            f"each of {counted(self.units, self.unit)} measured in all cells"
            if self.kind == "within"
            else f"{self.count:,} values taken as independent, of {counted(self.units, self.unit)}"
        )
        found = [e for e in self.effects if e.certain]
        held = "of " + listed([f"{e.name} ({with_p(e.p)}, partial η² = {e.eta:.3f})" for e in found])
        least = min((e.p for e in found), default=math.nan)
        said = verdict(least, self.units, self.unit, held, "of any effect")
        said += "" if found else f" (least p: {self._least})"
        head = f"{self.metric}, {shape} factorial of {', '.join(self.factors)}, {over}: {said}."
        mixed = any(len(effect.factors) > 1 for effect in found)
        return " ".join([head, *([INTERACTING] if mixed else []), *failed(self.checks)])

    @property
    def _least(self) -> str:
        known = [effect for effect in self.effects if not math.isnan(effect.p)]
        best = min(known, key=lambda effect: effect.p, default=None)
        return f"{with_p(best.p)}, {best.name}" if best else "none is defined"

    def frame(self) -> pd.DataFrame:
        """Give a row for each effect, every digit."""
        rows = [
            {"metric": self.metric, **{name: value for name, value in vars(e).items() if name != "factors"}}
            for e in self.effects
        ]
        return pd.DataFrame(rows).rename(columns={"name": "effect", "eta": "partial_eta_squared"})
