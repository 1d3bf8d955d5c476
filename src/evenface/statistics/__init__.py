"""Statistics of tidy tables: tests, sizes of effects, equivalence, power; each result says its unit of replication."""

from evenface.statistics.anova import factorial
from evenface.statistics.checks import Check
from evenface.statistics.comparisons import Contrast, compare
from evenface.statistics.effects import EffectSize, cohens_d, hedges_factor, partial_eta
from evenface.statistics.family import Planned, benjamini_hochberg, bonferroni, correct, planned
from evenface.statistics.margins import TOST, Equivalence, equivalence, two_one_sided
from evenface.statistics.outcomes import Outcomes, mcnemar
from evenface.statistics.power import Power, power_curve, power_of, smallest_effect, t_power, units_needed
from evenface.statistics.random_effects import Mixed, mixed
from evenface.statistics.ranks import Ranks, friedman
from evenface.statistics.resample import Bootstrap, bootstrap
from evenface.statistics.resampled import ResampledT, fold_overlap, resampled_t_test
from evenface.statistics.tidy import Groups, Pairs, groups, pairs
from evenface.statistics.variance import Effect, Factorial

__all__ = [
    "TOST",
    "Bootstrap",
    "Check",
    "Contrast",
    "Effect",
    "EffectSize",
    "Equivalence",
    "Factorial",
    "Groups",
    "Mixed",
    "Outcomes",
    "Pairs",
    "Planned",
    "Power",
    "Ranks",
    "ResampledT",
    "benjamini_hochberg",
    "bonferroni",
    "bootstrap",
    "cohens_d",
    "compare",
    "correct",
    "equivalence",
    "factorial",
    "fold_overlap",
    "friedman",
    "groups",
    "hedges_factor",
    "mcnemar",
    "mixed",
    "pairs",
    "partial_eta",
    "planned",
    "power_curve",
    "power_of",
    "resampled_t_test",
    "smallest_effect",
    "t_power",
    "two_one_sided",
    "units_needed",
]
