"""Propose trials: random ones first, then by a Gaussian process and expected improvement."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evenface.recipes.schema import Search
from evenface.recipes.space import Range
from evenface.search.trials import Trial, distributions, quiet
from evenface.training.randomness import key

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


WORST = 1e6
"""Value of a trial without a finite one, on the worse side: optuna takes no other."""


def round_of(number: int, options: Search) -> range:
    """Return the numbers of the trials proposed at once; a round ends where guided proposals begin."""
    origin = 0 if number < options.startup_trials else options.startup_trials
    start = origin + (number - origin) // options.parallel_trials * options.parallel_trials
    end = min(start + options.parallel_trials, options.trials)
    return range(start, min(end, options.startup_trials) if number < options.startup_trials else end)


def propose(
    ranges: Sequence[Range], done: Sequence[Trial], numbers: range, options: Search, seed: int, *, larger: bool
) -> list[dict[str, float]]:
    """Propose a round's settings by optuna's ``GPSampler``, a pure function of the arguments: resuming is exact."""
    from optuna.samplers import GPSampler, RandomSampler

    space = distributions(ranges)
    if numbers.start < options.startup_trials:
        return [
            _ask(RandomSampler(seed=key(seed, "trial", number) % 2**32), space, (), 1, larger)[0] for number in numbers
        ]
    guided = GPSampler(seed=key(seed, "round", numbers.start) % 2**32, n_startup_trials=1)
    return _ask(guided, space, done, len(numbers), larger)


def _ask(
    sampler: "BaseSampler", space: "dict[str, BaseDistribution]", done: Sequence[Trial], count: int, larger: bool
) -> list[dict[str, float]]:
    """Ask an in-memory study that holds the finished trials."""
    import optuna

    known: list[Any] = [
        optuna.trial.create_trial(params=trial.settings, distributions=space, value=_finite(trial.figure, larger))
        for trial in done
    ]
    with quiet():
        study = optuna.create_study(direction="maximize" if larger else "minimize", sampler=sampler)
        study.add_trials(known)
        return [study.ask(space).params for _ in range(count)]


def _finite(figure: float, larger: bool) -> float:
    return figure if math.isfinite(figure) else -WORST if larger else WORST
