"""Tests, effect sizes, equivalence and power for tables of results; every result states its unit of replication."""

from evenface.evaluation.paired_tests import benjamini_hochberg, bonferroni
from evenface.statistics.analysis import PlannedComparisons, correct, planned
from evenface.statistics.anova import Effect, Factorial, factorial
from evenface.statistics.assumptions import Check
from evenface.statistics.bootstrap_intervals import Bootstrap, bootstrap
from evenface.statistics.comparisons import TOST, Contrast, Equivalence, compare, equivalence, two_one_sided
from evenface.statistics.designs import Groups, Pairs, groups, pairs
from evenface.statistics.effect_sizes import EffectSize, cohens_d, hedges_factor, partial_eta
from evenface.statistics.mixed_model import MixedModel, mixed
from evenface.statistics.nonparametric_tests import McNemarResult, Ranks, friedman, mcnemar
from evenface.statistics.power import Power, power_curve, power_of, smallest_effect, t_power, units_needed
from evenface.statistics.t_tests import ResampledT, fold_overlap, resampled_t_test

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
    "McNemarResult",
    "MixedModel",
    "Pairs",
    "PlannedComparisons",
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
