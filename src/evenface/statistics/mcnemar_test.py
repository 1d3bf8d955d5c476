"""McNemar's test of two methods on the same samples, with its assumptions."""

from dataclasses import dataclass

from evenface.evaluation.bootstrap import units_of
from evenface.evaluation.formatting import UNITS
from evenface.evaluation.paired_tests import McNemar, verdict
from evenface.evaluation.paired_tests import mcnemar as compare_outcomes
from evenface.evaluation.predictions import Predictions, align
from evenface.statistics.assumptions import Check, failed, with_p

FEW = 25


@dataclass(frozen=True)
class McNemarResult:
    """McNemar's test of two methods, named."""

    baseline: str
    candidate: str
    test: McNemar
    unit: str
    count: int
    checks: tuple[Check, ...]

    @property
    def sentence(self) -> str:
        """Render the discordant counts, the verdict and the p-values."""
        test = self.test
        better = self.candidate if test.only_candidate > test.only_baseline else self.baseline
        answer = verdict(test.mid_p, self.count, self.unit, f"that {better} is correct more often")
        counts = (
            f"Of {self.count:,} samples only {self.candidate} is correct on {test.only_candidate:,}, only "
            f"{self.baseline} on {test.only_baseline:,}"
        )
        tests = f"McNemar's mid-{with_p(test.mid_p)}, exact {with_p(test.exact)}, corrected {with_p(test.corrected)}"
        return " ".join([f"{counts}: {answer} ({tests}).", *failed(self.checks)])


def mcnemar(
    baseline: Predictions, candidate: Predictions, *, names: tuple[str, str] = ("baseline", "candidate")
) -> McNemarResult:
    """Compare two methods on the same samples by McNemar's test.

    Parameters
    ----------
    baseline, candidate : Predictions
        Predictions of both methods on the same samples, in any order.
    names : (str, str)
        Names of the methods.

    Raises
    ------
    InputError
        If the samples, their labels or the classes differ.

    References
    ----------
    McNemar, *Note on the sampling error of the difference between correlated proportions*, Psychometrika 1947. Edwards,
    *Note on the correction for continuity*, Psychometrika 1948.
    """
    (first,), (second,) = align({names[0]: (baseline,), names[1]: (candidate,)}).values()
    test = compare_outcomes(*(run.predicted == run.labels for run in (first, second)))
    discordant = test.only_baseline + test.only_candidate
    units = units_of(first)
    clustered = units.name != "samples" and units.count < len(first)
    checks = (
        Check(
            "independence",
            not clustered,
            f"Samples are assumed to be independent, but {len(first):,} of them come from {units.count:,} "
            f"{units.name}: p may be too small. The paired permutation test of a comparison takes the "
            f"{UNITS[units.name]} as the unit."
            if clustered
            else "Samples are assumed to be independent.",
        ),
        Check("units", None if discordant < FEW else True, f"The methods differ on {discordant:,} samples."),
    )
    return McNemarResult(*names, test, "sample", len(first), checks)
