"""Many searches side by side: all of their trials of a round are trained as one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from evenface.errors import InputError
from evenface.progress import progress
from evenface.recipes import Recipe
from evenface.recipes.space import check_installed, with_settings
from evenface.search.keeping import Kept
from evenface.search.searches import Candidate, Search, Wanted, begun
from evenface.search.trials import best_of
from evenface.training.stacked import MemberSpec

MOST = 128
"""Networks that are trained as one at most: more are not faster, and take memory."""


class Trains(Protocol):
    """Many networks that train as one, see :class:`evenface.training.stacked.trainer.StackedTrainer`."""

    def run(self, until: int) -> None:
        """Train all up to an epoch."""

    def end(self, member: int) -> None:
        """End one."""

    @property
    def histories(self) -> list[list[dict[str, float]]]:
        """A row per member and epoch."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Parameters
    ----------
    settings : dict of str to float
        The best trial's.
    recipe : Recipe
        The run's own with these settings, its own seed among them.
    figure : float
        The monitored figure of the best trial, on validation data.
    trial : int
        Its number, from 0.
    table : DataFrame
        A row per trial: number, settings, figure, epochs, state and how it was proposed.
    facts : dict
        What ``run.json`` says of it.
    """

    settings: dict[str, float]
    recipe: Recipe
    figure: float
    trial: int
    table: pd.DataFrame
    facts: dict[str, Any]

    def __str__(self) -> str:
        """Say what was found, in a line."""
        told = ", ".join(f"{key.rpartition('.')[2]} {value:.4g}" for key, value in self.settings.items())
        return f"{told} (trial {self.trial + 1} of {len(self.table)})"


def found_settings(
    wanted: Sequence[Wanted],
    start: Callable[[Sequence[MemberSpec]], Trains],
    report: Callable[[float], None] | None = None,
) -> list[dict[str, Found]]:
    """Search settings for the networks of runs, or go on where a search was stopped.

    Parameters
    ----------
    wanted : sequence of Wanted
        Runs whose recipes ask for trials, on the same prepared data.
    start : callable
        Makes of members what trains them as one.
    report : callable, optional
        Told the share of the trials that have ended, 0 to 1.

    Returns
    -------
    list of dict
        Of each run, what was found for each name. Runs that differ in their seed alone share their searches.

    Raises
    ------
    InputError
        If a search cannot be as the recipe says, or nothing would judge it but test data.
    KeyboardInterrupt
        After Ctrl-C; trials that had ended are kept.

    Notes
    -----
    A trial's figure is that of the recipe's ``training.monitor`` on validation rows, of the epoch whose weights would
    be tested. Proposals are pure functions of the search's seed and the trials before them, and all trials are trained
    with the search's seed; so a search that was stopped goes on as if it had not been, as far as training alone and in
    other company agree.
    """
    check_installed()
    places: dict[Path, Kept] = {}
    searches: dict[tuple[Path, str], Search] = {}
    owned: list[dict[str, tuple[Path, str]]] = []
    for one in wanted:
        own = [begun(one, name) for name in one.names]
        owned.append({search.name: (one.file, search.key) for search in own})
        for search in own:
            known = searches.setdefault((one.file, search.key), search)
            if search.trials > known.trials:
                searches[one.file, search.key] = search
    try:
        for (file, _), search in searches.items():
            places[file] = places.get(file) or Kept(file)
            told = f"{search.wanted.recipe.name}: {search.name}"
            places[file].begin(search.key, told, larger=search.larger)
            search.done = places[file].trials(search.key)
        _run(list(searches.values()), places, start, report)
    finally:
        for kept in places.values():
            kept.close()
    return [
        {name: _found(searches[place], one.recipe) for name, place in own.items()}
        for one, own in zip(wanted, owned, strict=True)
    ]


def trial_table(found: Mapping[str, Found]) -> pd.DataFrame:
    """Give all trials of a run's searches, a row each; the first column names the network."""
    whole: pd.DataFrame = pd.concat(
        [one.table.assign(network=name)[["network", *one.table.columns]] for name, one in found.items()],
        ignore_index=True,
    )
    return whole


def _run(
    searches: Sequence[Search],
    places: Mapping[Path, Kept],
    start: Callable[[Sequence[MemberSpec]], Trains],
    report: Callable[[float], None] | None,
) -> None:
    """Go through the rounds of all searches."""
    total = sum(search.trials for search in searches)
    ended = sum(len(search.done) for search in searches)
    with progress(f"searching settings, {len(searches)} searches", total, ended) as bar:
        while waiting := [s for s in searches if len(s.done) < s.trials]:
            for part in _parts(waiting):
                _train(part, start)
                for search in dict.fromkeys(one.search.key for one in part):
                    _keep([one for one in part if one.search.key == search], places)
                bar(len(part))
                ended += len(part)
                if report is not None:
                    report(ended / total)


def _parts(searches: Sequence[Search]) -> Iterator[list[Candidate]]:
    """Propose the next round of each, as many at a time as are trained as one; a search's round stays together."""
    part: list[Candidate] = []
    for search in searches:
        more = search.next_round()
        if part and len(part) + len(more) > MOST:
            yield part
            part = []
        part = part + more
    yield part


def _train(candidates: Sequence[Candidate], start: Callable[[Sequence[MemberSpec]], Trains]) -> None:
    """Train trials side by side, and end those that are hopeless."""
    together = start([one.member for one in candidates])
    for epoch in sorted({epoch for one in candidates for epoch in one.looks}):
        together.run(epoch)
        for place, (one, history) in enumerate(zip(candidates, together.histories, strict=True)):
            one.take(history)
            if epoch in one.looks and one.hopeless():
                one.pruned = True
                together.end(place)


def _keep(candidates: Sequence[Candidate], places: Mapping[Path, Kept]) -> None:
    """Keep the trials of a round of one search, and see what another process at the same search kept before."""
    search = candidates[0].search
    kept = places[search.wanted.file]
    kept.add(search.key, search.ranges, [one.trial() for one in candidates])
    search.done = kept.trials(search.key)


def _found(search: Search, recipe: Recipe) -> Found:
    """Set out what a search found, for a run."""
    options = recipe.search
    trials = search.done[: options.trials]
    best = best_of(trials, larger=search.larger)
    if best is None:
        raise InputError(
            f"none of the {len(trials)} trials for {search.name} ended with a figure: every loss became infinite",
            "Search over smaller values, of optimizer.lr above all.",
        )
    monitor = f"validation_{recipe.training.monitor}"
    rows = [
        {
            "trial": trial.number,
            **trial.settings,
            monitor: trial.figure,
            "epochs": len(trial.curve),
            "state": trial.state,
            "proposed": "by chance" if trial.number < options.startup_trials else "guided",
        }
        for trial in trials
    ]
    facts = {
        "settings": best.settings,
        monitor: best.figure,
        "trial": best.number,
        "trials": len(trials),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "search": search.key,
    }
    own = with_settings(recipe, best.settings)
    return Found(best.settings, own, best.figure, best.number, pd.DataFrame(rows), facts)
