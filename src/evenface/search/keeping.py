"""Trials in an SQLite file, as optuna keeps them: its own tools can read it."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from evenface.errors import InputError
from evenface.files import digest, exclusive
from evenface.integrity import SEAL
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
        self.file = file
        with (
            quiet(),
            self._readable(),
            exclusive(file.with_name(f".{file.stem}.lock"), f"another process begins {file}"),
        ):
            self._storage = RDBStorage(f"sqlite:///{file.resolve()}", engine_kwargs={"connect_args": {"timeout": WAIT}})

    def begin(self, name: str, told: str, *, larger: bool) -> None:
        """Begin a search, or go on with it; ``told`` says what it is of."""
        import optuna

        with quiet(), self._readable():
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

        found: dict[int, Trial] = {}
        with self._readable():
            study = optuna.load_study(study_name=name, storage=self._storage)
            for one in study.get_trials(deepcopy=False):
                attributes = one.user_attrs
                number, curve = attributes["number"], tuple(attributes["curve"])
                trial = Trial(number, dict(one.params), curve, attributes["figure"], attributes["ended"])
                if attributes.get(SEAL, _seal(trial)) != _seal(trial):
                    raise ValueError(f"trial {number} is not as it was written")
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
            told[SEAL] = _seal(trial)
            study.add_trial(
                optuna.trial.create_trial(
                    state=states[trial.state],
                    params=trial.settings,
                    distributions=space,
                    user_attrs=told,
                    value=trial.figure if trial.state == "complete" else None,
                )
            )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what goes wrong in the file into a sentence: neither SQLite nor optuna names it."""
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
        """Let go of the file."""
        self._storage.engine.dispose()


def _seal(trial: Trial) -> str:
    """Digest a trial; settings that are whole numbers may come back as others."""
    settings = {key: float(value) if isinstance(value, int) else value for key, value in trial.settings.items()}
    return digest(json.dumps([trial.number, settings, list(trial.curve), trial.figure, trial.state], sort_keys=True))
