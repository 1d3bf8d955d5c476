"""Trials in an SQLite file, as optuna keeps them: its own tools can read it."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from evenface.files import exclusive
from evenface.recipes.space import Range
from evenface.search.proposals import distributions, quiet
from evenface.search.trials import State, Trial

WAIT = 120.0
"""Seconds to wait for another process that writes."""


class Kept:
    """The trials of searches, each search a study of its own.

    Parameters
    ----------
    file : Path
        Made where it is missing, its folder too. Several processes may use it at a time.

    Notes
    -----
    Only trials that have ended are kept, so that none is ever half done. Two processes at the same search keep the
    same trials twice; the first of each number counts.
    """

    def __init__(self, file: Path) -> None:
        from optuna.storages import RDBStorage

        file.parent.mkdir(parents=True, exist_ok=True)
        with quiet(), exclusive(file.with_name(f".{file.stem}.lock"), f"another process begins {file}"):
            self._storage = RDBStorage(f"sqlite:///{file.resolve()}", engine_kwargs={"connect_args": {"timeout": WAIT}})
        self.file = file

    def begin(self, name: str, told: str, *, larger: bool) -> None:
        """Begin a search, or go on with it; ``told`` says what it is of."""
        import optuna

        with quiet():
            study = optuna.create_study(
                study_name=name,
                storage=self._storage,
                direction="maximize" if larger else "minimize",
                load_if_exists=True,
            )
        if not study.user_attrs:
            study.set_user_attr("of", told)

    def trials(self, name: str) -> list[Trial]:
        """Give the trials of a search, in their order."""
        import optuna

        study = optuna.load_study(study_name=name, storage=self._storage)
        found: dict[int, Trial] = {}
        for one in study.get_trials(deepcopy=False):
            attributes = one.user_attrs
            number, curve = attributes["number"], tuple(attributes["curve"])
            trial = Trial(number, dict(one.params), curve, attributes["figure"], attributes["ended"])
            found.setdefault(number, trial)
        return [found[number] for number in sorted(found)]

    def add(self, name: str, ranges: Sequence[Range], trials: Sequence[Trial]) -> None:
        """Keep trials that have ended."""
        import optuna
        from optuna.trial import TrialState

        states = dict(zip(get_args(State), (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL), strict=True))
        study, space = optuna.load_study(study_name=name, storage=self._storage), distributions(ranges)
        for trial in trials:
            told = {"number": trial.number, "figure": trial.figure, "curve": list(trial.curve), "ended": trial.state}
            study.add_trial(
                optuna.trial.create_trial(
                    state=states[trial.state],
                    params=trial.settings,
                    distributions=space,
                    user_attrs=told,
                    value=trial.figure if trial.state == "complete" else None,
                )
            )

    def close(self) -> None:
        """Let go of the file."""
        self._storage.engine.dispose()
