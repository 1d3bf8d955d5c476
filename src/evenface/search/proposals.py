"""What to try next: by chance at first, then by a Gaussian process and expected improvement."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evenface.recipes.schema import Search
from evenface.recipes.space import Range
from evenface.search.trials import Trial
from evenface.training.randomness import key

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

FALLEN = 1e6
"""What a figure that is no number counts as, on the bad side: optuna knows no others."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep optuna from telling of every study and trial."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def distributions(ranges: Sequence[Range]) -> "dict[str, BaseDistribution]":
    """Give ranges as optuna takes them."""
    from optuna.distributions import FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for one in ranges:
        if one.whole:
            found[one.key] = IntDistribution(int(one.low), int(one.high), log=one.log)
        else:
            found[one.key] = FloatDistribution(one.low, one.high, log=one.log)
    return found


def round_of(number: int, options: Search) -> range:
    """Give the numbers of the trials that are proposed at once with a trial.

    A round ends where proposals begin to be guided, so that those see all that were drawn by chance.
    """
    origin = 0 if number < options.startup_trials else options.startup_trials
    start = origin + (number - origin) // options.parallel_trials * options.parallel_trials
    end = min(start + options.parallel_trials, options.trials)
    return range(start, min(end, options.startup_trials) if number < options.startup_trials else end)


def propose(
    ranges: Sequence[Range], done: Sequence[Trial], numbers: range, options: Search, seed: int, *, larger: bool
) -> list[dict[str, float]]:
    """Propose the settings of a round of trials.

    Parameters
    ----------
    ranges : sequence of Range
        What may be tried.
    done : sequence of Trial
        All trials before the round.
    numbers : range
        Those of the round, from :func:`round_of`.
    options : Search
        The recipe's section.
    seed : int
        Of this search.
    larger : bool
        Whether larger figures are better.

    Returns
    -------
    list of dict
        A pure function of what is given, so that a search that was stopped goes on as if it had not been.

    Notes
    -----
    Guided proposals are those of optuna's ``GPSampler``: Matern 5/2 with a length scale for each key, log expected
    improvement, and its batch form where others of the round are under way. A trial that was ended early counts with
    the figure that it had, so that the process learns where not to look.
    """
    from optuna.samplers import GPSampler, RandomSampler

    space = distributions(ranges)
    if numbers.start < options.startup_trials:
        return [
            _asked(RandomSampler(seed=key(seed, "trial", number) % 2**32), space, (), 1, larger)[0]
            for number in numbers
        ]
    guided = GPSampler(seed=key(seed, "round", numbers.start) % 2**32, n_startup_trials=1)
    return _asked(guided, space, done, len(numbers), larger)


def _asked(
    sampler: "BaseSampler", space: "dict[str, BaseDistribution]", done: Sequence[Trial], count: int, larger: bool
) -> list[dict[str, float]]:
    """Ask a study in memory, which holds the trials that are done."""
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
    return figure if math.isfinite(figure) else -FALLEN if larger else FALLEN
