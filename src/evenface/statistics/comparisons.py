"""One level against another: difference, intervals, test, effect size, and what the test takes for granted."""

import math
from dataclasses import dataclass

import numpy as np

from evenface.evaluation.intervals import LEVEL, Estimate
from evenface.evaluation.wording import signed
from evenface.statistics.checks import ALPHA, balance, equal_spread, failed, independent_pairs, normal, with_p
from evenface.statistics.compared import Compared, named_by
from evenface.statistics.effects import EffectSize, Kind, cohens_d
from evenface.statistics.means import estimate, student, t_test, welch
from evenface.statistics.resample import RESAMPLES, Bootstrap, Method, bootstrap
from evenface.statistics.tidy import Groups, Pairs


@dataclass(frozen=True, kw_only=True)
class Contrast(Compared):
    """One level against another; further fields as in :class:`~.compared.Compared`.

    Parameters
    ----------
    difference : Estimate
        Level minus baseline, with the interval of Student's (pairs) or Welch's t (groups).
    sd : float
        Standard deviation of the differences of pairs; pooled, of groups.
    test : str
        Name of the test.
    t, df, p : float
        Of that test.
    bonferroni, fdr : float
        p corrected for the family: Bonferroni, and Benjamini and Hochberg's false discovery rate.
    family : int
        How many comparisons were planned together.
    effects : tuple of EffectSize
        Pairs: d_z and d_av. Groups: d_s.
    resampled : Bootstrap or None
        The difference with a bootstrap interval; pairs are drawn as they are tested. None for groups.
    """

    difference: Estimate
    sd: float
    test: str
    t: float
    df: float
    p: float
    bonferroni: float
    fdr: float
    family: int
    effects: tuple[EffectSize, ...]
    resampled: Bootstrap | None

    @property
    def certain(self) -> bool:
        """Whether p, corrected by the false discovery rate where there are several, is at most 0.05."""
        return self.fdr <= ALPHA

    def effect(self, kind: Kind) -> EffectSize:
        """Give the effect size of a kind."""
        return next(effect for effect in self.effects if effect.kind == kind)

    @property
    def sentence(self) -> str:
        """Say the difference, how sure it is, how large, over what, and which assumptions fail."""
        d = self.difference
        interval = "" if math.isnan(d.low) else f" [{signed(d.low)}, {signed(d.high)}]"
        tests = [with_p(self.p)] if not math.isnan(self.p) else ["without noise to judge it by"]
        if self.family > 1 and not math.isnan(self.p):
            tests += [f"{with_p(self.fdr)} by FDR, {with_p(self.bonferroni)} by Bonferroni over {self.family}"]
        main = self.effects[0]
        size = (
            ""
            if math.isnan(main.value)
            else (
                f"; {main.kind} = {signed(main.value, 2)} [{signed(main.low, 2)}, {signed(main.high, 2)}], {main.word}"
            )
        )
        said = f"{self.named}: {signed(d.value)}{interval} over {self.over} ({self.test}, {', '.join(tests)}{size})"
        return " ".join([f"{said}: {self._verdict}.", *failed(self.checks), *self._beside])

    @property
    def _verdict(self) -> str:
        if not self.certain:
            lost = self.family > 1 and self.p <= ALPHA
            return "no evidence of a difference" + (" once several comparisons are reckoned with" if lost else "")
        word = "higher" if self.difference.value > 0 else "lower"
        weak = ", though not by Bonferroni" if self.bonferroni > ALPHA else ""
        return f"evidence that {self.level} is {word}{weak}"

    @property
    def _beside(self) -> list[str]:
        other = not math.isnan(self.p) and (self.p <= ALPHA) != (self.robust_p <= ALPHA)
        doubtful = any(check.holds is False and check.name in ("normal", "equal spread") for check in self.checks)
        return [f"{self.robust}: {with_p(self.robust_p)}."] if other or doubtful else []


def compare(
    given: Pairs | Groups,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    method: Method = "bca",
    seed: int = 0,
) -> Contrast:
    """Compare two levels: paired t test, or Welch's for independent groups, with Wilcoxon's rank test beside it.

    Parameters
    ----------
    given : Pairs or Groups
        The values; see :func:`~evenface.statistics.tidy.pairs` and :func:`~evenface.statistics.tidy.groups`.
    level : float, default=0.95
        Confidence level of all intervals.
    resamples, method, seed
        Of the bootstrap, see :func:`~evenface.statistics.resample.bootstrap`.
    """
    n = len(given)
    if isinstance(given, Pairs):
        difference, sd, _ = estimate(given.change, level)
        error, df, name, robust = sd / math.sqrt(n), n - 1.0, "paired t test", "Wilcoxon's signed-rank test"
        drawn = bootstrap(
            given.change, method=method, resamples=resamples, level=level, seed=seed, unit=_drawn_unit(given)
        )
        shape = normal(given.change, "differences", f"trust {robust} and the bootstrap interval rather than t")
        checks = [shape, independent_pairs(given)]
        checks += [balance([n], given.incomplete, 0, given.unit)] if given.incomplete else []
        kinds: tuple[Kind, ...] = ("d_z", "d_av")
    else:
        mean, error, df = welch(given.values, given.base)
        difference, name, robust, drawn = (
            student(mean, error, df, level),
            "Welch's t test",
            "Mann and Whitney's test",
            None,
        )
        residuals = np.concatenate([side - side.mean() for side in (given.values, given.base)])
        checks = [
            normal(residuals, "residuals", f"trust {robust} rather than t"),
            equal_spread([given.values, given.base], "Welch's test, which allows for it"),
        ]
        kinds = ("d_s",)
        m = len(given.values) - 1, len(given.base) - 1
        sd = math.sqrt((m[0] * given.values.var(ddof=1) + m[1] * given.base.var(ddof=1)) / sum(m))
    found = t_test(difference.value, error, df)
    if math.isnan(found.p):
        difference = Estimate(difference.value)
    effects = tuple(cohens_d(given, kind, level=level) for kind in kinds)
    return Contrast(
        **named_by(given),
        difference=difference,
        sd=sd,
        test=name,
        **found._asdict(),
        bonferroni=found.p,
        fdr=found.p,
        family=1,
        effects=effects,
        resampled=drawn,
        robust=robust,
        robust_p=_ranks(given),
        checks=tuple(checks),
    )


def _drawn_unit(given: Pairs) -> str:
    return given.unit if len(given) == given.units else "pair"


def _ranks(given: Pairs | Groups) -> float:
    """Two-sided p of the rank test; exact where there are few values without ties."""
    from scipy.stats import mannwhitneyu, wilcoxon

    if isinstance(given, Groups):
        return float(mannwhitneyu(given.values, given.base).pvalue)
    return float(wilcoxon(given.change).pvalue) if np.any(given.change != 0) else 1.0
