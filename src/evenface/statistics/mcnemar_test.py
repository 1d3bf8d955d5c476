"""Two methods' right and wrong answers on the same samples: McNemar's test, and what it takes for granted."""

from dataclasses import dataclass

from evenface.evaluation.bootstrap import units_of
from evenface.evaluation.formatting import UNITS
from evenface.evaluation.paired_tests import McNemar, verdict
from evenface.evaluation.paired_tests import mcnemar as count_apart
from evenface.evaluation.predictions import Predictions, align
from evenface.statistics.assumptions import Check, failed, with_p

FEW = 25


@dataclass(frozen=True)
class McNemarResult:
    """McNemar's test of two methods."""

    baseline: str
    candidate: str
    test: McNemar
    chi2: float
    corrected: float
    unit: str
    count: int
    checks: tuple[Check, ...]

    @property
    def sentence(self) -> str:
        """Render the discordant counts and the p-values."""
        mine, other = self.test.only_candidate, self.test.only_baseline
        held = f"that {self.candidate if mine > other else self.baseline} is right more often"
        judged = verdict(self.test.mid_p, self.count, self.unit, held)
        said = (
            f"of {self.count:,} samples {self.candidate} alone is right on {mine:,}, {self.baseline} alone on {other:,}"
        )
        others = f"exact {with_p(self.test.exact)}, corrected {with_p(self.corrected)}"
        tests = f"McNemar's mid-{with_p(self.test.mid_p)}, {others}"
        return " ".join([f"{said[0].upper()}{said[1:]}: {judged} ({tests}).", *failed(self.checks)])


def mcnemar(
    baseline: Predictions, candidate: Predictions, *, names: tuple[str, str] = ("baseline", "candidate")
) -> McNemarResult:
    """Compare two methods on the same samples by McNemar's test.

    Parameters
    ----------
    baseline, candidate : Predictions
        What each said of the same samples, in any order.
    names : (str, str)
        What to call them.

    Raises
    ------
    InputError
        If the samples, their labels or the classes differ.

    References
    ----------
    McNemar, *Note on the sampling error of the difference between correlated proportions*, Psychometrika 1947. Edwards,
    *Note on the correction for continuity*, Psychometrika 1948.
    """
    from scipy.stats import chi2

    (first,), (second,) = align({names[0]: (baseline,), names[1]: (candidate,)}).values()
    test = count_apart(*(run.predicted == run.labels for run in (first, second)))
    apart = test.only_baseline + test.only_candidate
    # own code: statsmodels has no mid-p, and corrects equal counts to 1/n; R, as here, to 0
    statistic = max(0, abs(test.only_baseline - test.only_candidate) - 1) ** 2 / apart if apart else 0.0
    corrected = float(chi2.sf(statistic, 1)) if apart else 1.0
    units = units_of(first)
    clustered = units.name != "samples" and units.count < len(first)
    checks = (
        Check(
            "independence",
            not clustered,
            f"Samples are taken as independent, yet {len(first):,} of them come from {units.count:,} {units.name}: p "
            f"may be too small. The swap test of a comparison takes the {UNITS[units.name]} as the unit."
            if clustered
            else "Samples are taken as independent.",
        ),
        Check("units", None if apart < FEW else True, f"The methods part on {apart:,} samples."),
    )
    return McNemarResult(*names, test, statistic, corrected, "sample", len(first), checks)
