"""Trials of a search: the best one, pruning, and their storage in an SQLite file that optuna's tools read."""

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from evenface.errors import InputError
from evenface.files import digest, exclusive
from evenface.integrity import SEAL
from evenface.recipes.space import Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

State = Literal["complete", "pruned", "diverged"]
STATES: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "diverged"}
"""optuna's names of the states; a trial diverged where its loss became infinite."""
WAIT = 120.0
"""Seconds to wait for another process that writes."""
LEAST_OTHERS = 4
"""Other trials needed before one can be pruned."""


@dataclass(frozen=True)
class Trial:
    """Settings tried, the monitored value after each epoch, and that of the weights that would be tested."""

    number: int
    settings: dict[str, float]
    curve: tuple[float, ...]
    figure: float
    state: State


def figure_of(curve: Sequence[float], *, larger: bool, last: bool) -> float:
    """Return the value of the weights that would be tested: of the best epoch, or of the last one."""
    if last:
        return curve[-1]
    return _best(curve, larger)


def best_of(trials: Sequence[Trial], *, larger: bool) -> Trial | None:
    """Return the best complete trial, the earliest of ties."""
    whole = [trial for trial in trials if trial.state == "complete"]
    return max(whole, key=lambda trial: (_score(trial.figure, larger), -trial.number), default=None)


def should_prune(curve: Sequence[float], others: Sequence[Sequence[float]], start: int, *, larger: bool) -> bool:
    """Whether the best value so far is worse than the median of the others' at this epoch (Golovin et al. 2017, 3.5.1).

    ``others`` are the curves of all trials proposed earlier, running, pruned or complete: a result does not depend on
    how many trials follow. optuna's ``MedianPruner`` counts complete trials alone, and would end none of a round that
    trains as one stack.
    """
    reached = len(curve)
    if reached < max(1, start) or len(others) < LEAST_OTHERS:
        return False
    median = float(np.median([_score(_best(other[:reached], larger), larger) for other in others]))
    return _score(_best(curve, larger), larger) < median


def _best(curve: Sequence[float], larger: bool) -> float:
    return max(curve, key=lambda figure: _score(figure, larger))


def _score(figure: float, larger: bool) -> float:
    """Return a number that is larger for better values; NaN is worst."""
    if math.isnan(figure):
        return -math.inf
    return figure if larger else -figure


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence optuna's log of every study and trial."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def distributions(ranges: Sequence[Range]) -> "dict[str, BaseDistribution]":
    """Return optuna's distributions of search ranges."""
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        r.key: IntDistribution(int(r.low), int(r.high), log=r.log)
        if r.whole
        else FloatDistribution(r.low, r.high, log=r.log)
        for r in ranges
    }


class TrialStorage:
    """Finished trials of searches, each search an optuna study, in an SQLite file that several processes may share.

    Unfinished trials are not stored. Two processes at the same search store the same trials twice; the first of each
    number counts.
    """

    def __init__(self, file: Path) -> None:
        from optuna.storages import RDBStorage

        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        with (
            quiet(),
            self._readable(),
            exclusive(file.with_name(f".{file.stem}.lock"), f"another process begins {file}"),
        ):
            self._storage = RDBStorage(f"sqlite:///{file.resolve()}", engine_kwargs={"connect_args": {"timeout": WAIT}})

    def begin(self, name: str, description: str, *, larger: bool) -> None:
        """Begin a search, or continue it."""
        import optuna

        with quiet(), self._readable():
            study = optuna.create_study(
                study_name=name,
                storage=self._storage,
                direction="maximize" if larger else "minimize",
                load_if_exists=True,
            )
            if not study.user_attrs:
                study.set_user_attr("of", description)

    def trials(self, name: str) -> list[Trial]:
        """Load the trials of a search, in the order of proposal."""
        import optuna

        trials: dict[int, Trial] = {}
        with self._readable():
            study = optuna.load_study(study_name=name, storage=self._storage)
            for stored in study.get_trials(deepcopy=False):
                number, value = stored.user_attrs["number"], stored.user_attrs["figure"]
                curve = tuple(stored.intermediate_values[epoch] for epoch in sorted(stored.intermediate_values))
                trial = Trial(number, dict(stored.params), curve, value, STATES[stored.state.name])
                if stored.user_attrs.get(SEAL) != _seal(trial):
                    raise ValueError(f"trial {number} is not as it was written")
                trials.setdefault(number, trial)
        return [trials[number] for number in sorted(trials)]

    def add(self, name: str, ranges: Sequence[Range], trials: Sequence[Trial]) -> None:
        """Store finished trials."""
        import optuna

        names = {state: optuna.trial.TrialState[name] for name, state in STATES.items()}
        study, space = optuna.load_study(study_name=name, storage=self._storage), distributions(ranges)
        for trial in trials:
            study.add_trial(
                optuna.trial.create_trial(
                    state=names[trial.state],
                    params=trial.settings,
                    distributions=space,
                    user_attrs={"number": trial.number, "figure": trial.figure, SEAL: _seal(trial)},
                    intermediate_values=dict(enumerate(trial.curve, 1)),
                    value=trial.figure if trial.state == "complete" else None,
                )
            )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise errors of SQLite and optuna as an InputError that names the file."""
        try:
            yield
        except (InputError, OSError):
            raise
        except Exception as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"{self.file} is damaged, or cannot be used: {why}", "Delete it: the search then begins anew."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._storage.engine.dispose()


def _seal(trial: Trial) -> str:
    """Digest a trial; integer settings may be loaded as floats."""
    settings = {key: float(value) if isinstance(value, int) else value for key, value in trial.settings.items()}
    return digest(json.dumps([trial.number, settings, list(trial.curve), trial.figure, trial.state], sort_keys=True))
