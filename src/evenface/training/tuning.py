"""Hyperparameter searches side by side: the trials of a round, of all searches, are trained as one stack."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from evenface.config import Recipe
from evenface.config.recipe import SearchSettings
from evenface.config.recipe_checks import SearchRange, check_installed, ranges, with_settings
from evenface.training.batches import key
from evenface.training.optimizers import early_stopping
from evenface.training.prediction import larger_is_better
from evenface.training.stacked import MemberSpec
from evenface.utils.errors import InputError
from evenface.utils.files import DIGEST_KEY, digest, exclusive_lock
from evenface.utils.progress import progress

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


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


def distributions(ranges: Sequence[SearchRange]) -> "dict[str, BaseDistribution]":
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
            exclusive_lock(file.with_name(f".{file.stem}.lock"), f"another process begins {file}"),
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
                if stored.user_attrs.get(DIGEST_KEY) != _seal(trial):
                    raise ValueError(f"trial {number} is not as it was written")
                trials.setdefault(number, trial)
        return [trials[number] for number in sorted(trials)]

    def add(self, name: str, ranges: Sequence[SearchRange], trials: Sequence[Trial]) -> None:
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
                    user_attrs={"number": trial.number, "figure": trial.figure, DIGEST_KEY: _seal(trial)},
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
                f"{self.file} is damaged, or cannot be used: {why}",
                "Delete it: the search then starts from the beginning.",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._storage.engine.dispose()


def _seal(trial: Trial) -> str:
    """Digest a trial; integer settings may be loaded as floats."""
    settings = {key: float(value) if isinstance(value, int) else value for key, value in trial.settings.items()}
    return digest(json.dumps([trial.number, settings, list(trial.curve), trial.figure, trial.state], sort_keys=True))


WORST = 1e6
"""Value of a trial without a finite one, on the worse side: optuna takes no other."""


def round_of(number: int, options: SearchSettings) -> range:
    """Return the numbers of the trials proposed at once; a round ends where guided proposals begin."""
    origin = 0 if number < options.startup_trials else options.startup_trials
    start = origin + (number - origin) // options.parallel_trials * options.parallel_trials
    end = min(start + options.parallel_trials, options.trials)
    return range(start, min(end, options.startup_trials) if number < options.startup_trials else end)


def propose(
    ranges: Sequence[SearchRange],
    done: Sequence[Trial],
    numbers: range,
    options: SearchSettings,
    seed: int,
    *,
    larger: bool,
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
    """Propose settings by an in-memory study of the finished trials."""
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


MOST = 128
"""Networks trained as one stack at most: more are not faster, and take memory."""
CHECKS = 20
"""Times per training at which pruning is considered, about."""
FORM = "1"
"""Version of the name of a search; proposals are seeded by the name, so another version proposes other trials."""
IRRELEVANT: dict[str, Any] = {
    "name": True,
    "about": True,
    "paper": True,
    "deviations": True,
    "seed": True,
    "data": {"root"},
    "protocol": True,
    "search": True,
    "training": {"accelerator", "compile", "devices", "nodes", "loggers", "checkpoint_minutes"},
}
"""Parts of a recipe that a search does not depend on; of the protocol only the rows matter."""


@dataclass(frozen=True)
class SearchRequest:
    """Networks of a run to search settings for; each is searched on its own.

    ``basis`` names the prepared data and the loss for a network and recipe, ``member`` builds what is trained, ``file``
    is the SQLite file of the trials.
    """

    recipe: Recipe
    names: tuple[str, ...]
    basis: Callable[[str, Recipe], str]
    member: Callable[[str, Recipe], MemberSpec]
    file: Path


@dataclass
class RunningSearch:
    """A running search of one network; ``key`` names all that its result depends on but the number of trials."""

    request: SearchRequest
    name: str
    key: str
    ranges: tuple[SearchRange, ...]
    larger: bool
    done: list[Trial] = field(default_factory=list)
    running: list["RunningTrial"] = field(default_factory=list)

    @property
    def trials(self) -> int:
        """Number of trials in the recipe."""
        return self.request.recipe.search.trials

    def next_round(self) -> list["RunningTrial"]:
        """Propose the remaining trials of the current round."""
        recipe, number = self.request.recipe, len(self.done)
        numbers = round_of(number, recipe.search)
        seed = recipe.search.seed
        before = self.done[: numbers.start]
        proposed = propose(self.ranges, before, numbers, recipe.search, _seed(seed, self.key), larger=self.larger)
        self.running = [
            RunningTrial(
                self, place, settings, self.request.member(self.name, with_settings(recipe, settings, seed=seed))
            )
            for place, settings in zip(numbers, proposed, strict=True)
            if place >= number
        ]
        return self.running


@dataclass
class RunningTrial:
    """A running trial and its values so far."""

    search: RunningSearch
    number: int
    settings: dict[str, float]
    member: MemberSpec
    curve: list[float] = field(default_factory=list)
    pruned: bool = False

    @property
    def check_epochs(self) -> range:
        """Epochs at which pruning is considered, and the last one."""
        epochs = self.member.training.epochs
        every = max(1, epochs // CHECKS) if self.search.request.recipe.search.prune else epochs
        return range(epochs, 0, -every)

    def append_from(self, history: Sequence[Mapping[str, float]]) -> None:
        """Append the monitored values of further epochs."""
        monitor = f"validation_{self.search.request.recipe.training.monitor}"
        self.curve += [row[monitor] for row in history[len(self.curve) :]]

    def should_prune(self) -> bool:
        """Return whether it is worse than the median of the trials proposed before it."""
        recipe, training = self.search.request.recipe, self.member.training
        stopping = early_stopping(self.curve, larger_is_better=self.search.larger, patience=training.patience)
        if self.pruned or not recipe.search.prune or stopping.stop or len(self.curve) >= training.epochs:
            return False
        beside = [other.curve for other in self.search.running if other.number < self.number]
        curves = [trial.curve for trial in self.search.done] + beside
        # every trial gets a tenth of the epochs, three at least
        return should_prune(self.curve, curves, max(3, recipe.training.epochs // 10), larger=self.search.larger)

    def trial(self) -> Trial:
        """Return the finished trial."""
        last = self.search.request.recipe.training.checkpoint == "last"
        figure = figure_of(self.curve, larger=self.search.larger, last=last)
        state: State = "pruned" if self.pruned else "complete" if math.isfinite(figure) else "diverged"
        return Trial(self.number, self.settings, tuple(self.curve), figure, state)


def start_search(request: SearchRequest, name: str) -> RunningSearch:
    """Check a request and name its search by all that the result depends on; equivalent losses give one search."""
    recipe = request.recipe
    over = ranges(recipe)
    lowest = with_settings(recipe, {r.key: r.low for r in over}, seed=recipe.search.seed)
    member = request.member(name, lowest)
    if not len(member.validation):
        raise InputError("a search needs validation data to judge by", "Set protocol.validation above 0.")
    tries_losses = any(r.key.startswith(("loss.", "method.")) for r in over)
    excluded = IRRELEVANT if tries_losses else {**IRRELEVANT, "loss": True, "method": True}
    settings = json.dumps(
        [
            recipe.search.model_dump(mode="json", exclude={"trials"}),
            lowest.model_dump(mode="json", exclude=excluded),
            [member.classes, member.one_output],
        ],
        sort_keys=True,
    )
    sides = (member.train, member.targets, member.validation, member.validation_targets)
    rows = [side.astype("<i8").tobytes() for side in sides]
    key = digest(FORM, name, request.basis(name, lowest), settings, *rows)
    return RunningSearch(request, name, key, over, larger=larger_is_better(recipe.training.monitor))


def _seed(seed: int, name: str) -> int:
    """Derive a seed per search, so that two classes begin with different settings."""
    return int(digest(str(seed), name)[:15], 16)


class StackedTraining(Protocol):
    """Networks trained as one stack, see :class:`evenface.training.stacked.trainer.StackedTrainer`."""

    def run(self, until: int) -> None:
        """Train all up to an epoch."""

    def end(self, member: int) -> None:
        """Stop training one."""

    @property
    def histories(self) -> list[list[dict[str, float]]]:
        """A row per member and epoch."""


@dataclass(frozen=True)
class SearchResult:
    """Best settings of a search, with the run's own recipe and seed, a row per trial, and what ``run.json`` records."""

    settings: dict[str, float]
    recipe: Recipe
    figure: float
    trial: int
    table: pd.DataFrame
    facts: dict[str, Any]

    def __str__(self) -> str:
        """Return the settings and the trial in a line."""
        best = ", ".join(f"{key.rpartition('.')[2]} {value:.4g}" for key, value in self.settings.items())
        return f"{best} (trial {self.trial + 1} of {len(self.table)})"


def run_searches(
    requests: Sequence[SearchRequest],
    start: Callable[[Sequence[MemberSpec]], StackedTraining],
    report: Callable[[float], None] | None = None,
) -> list[dict[str, SearchResult]]:
    """Search settings for the networks of runs on the same prepared data, or continue a stopped search.

    Returns for each run the result of each network; runs that differ in their seed alone share their searches. A trial
    is judged by ``training.monitor`` on validation rows; proposals are pure functions of the search's seed and the
    trials before them, so a resumed search gives what an uninterrupted one gives, up to the float tolerance of other
    stacks. Raises InputError where nothing but test data would judge; after Ctrl-C finished trials are kept.
    """
    check_installed()
    places: dict[Path, TrialStorage] = {}
    searches: dict[tuple[Path, str], RunningSearch] = {}
    owned: list[dict[str, tuple[Path, str]]] = []
    for request in requests:
        own = [start_search(request, name) for name in request.names]
        owned.append({search.name: (request.file, search.key) for search in own})
        for search in own:
            known = searches.setdefault((request.file, search.key), search)
            if search.trials > known.trials:
                searches[request.file, search.key] = search
    try:
        for (file, _), search in searches.items():
            places[file] = places.get(file) or TrialStorage(file)
            description = f"{search.request.recipe.name}: {search.name}"
            places[file].begin(search.key, description, larger=search.larger)
            search.done = places[file].trials(search.key)
        _run(list(searches.values()), places, start, report)
    finally:
        for storage in places.values():
            storage.close()
    return [
        {name: _result(searches[place], request.recipe) for name, place in own.items()}
        for request, own in zip(requests, owned, strict=True)
    ]


def trial_table(results: Mapping[str, SearchResult]) -> pd.DataFrame:
    """Return all trials of a run's searches, a row each; the first column names the network."""
    whole: pd.DataFrame = pd.concat(
        [r.table.assign(network=name)[["network", *r.table.columns]] for name, r in results.items()],
        ignore_index=True,
    )
    return whole


def _run(
    searches: Sequence[RunningSearch],
    places: Mapping[Path, TrialStorage],
    start: Callable[[Sequence[MemberSpec]], StackedTraining],
    report: Callable[[float], None] | None,
) -> None:
    """Run the rounds of all searches."""
    total = sum(search.trials for search in searches)
    ended = sum(len(search.done) for search in searches)
    with progress(f"searching settings, {len(searches)} searches", total, ended) as bar:
        while waiting := [s for s in searches if len(s.done) < s.trials]:
            for part in _parts(waiting):
                _train(part, start)
                for key in dict.fromkeys(trial.search.key for trial in part):
                    _store([trial for trial in part if trial.search.key == key], places)
                bar(len(part))
                ended += len(part)
                if report is not None:
                    report(ended / total)


def _parts(searches: Sequence[RunningSearch]) -> Iterator[list[RunningTrial]]:
    """Propose the next round of each in stacks of at most MOST; a search's round stays stack."""
    part: list[RunningTrial] = []
    for search in searches:
        more = search.next_round()
        if part and len(part) + len(more) > MOST:
            yield part
            part = []
        part = part + more
    yield part


def _train(trials: Sequence[RunningTrial], start: Callable[[Sequence[MemberSpec]], StackedTraining]) -> None:
    """Train trials as one stack, and prune."""
    stack = start([trial.member for trial in trials])
    for epoch in sorted({epoch for trial in trials for epoch in trial.check_epochs}):
        stack.run(epoch)
        for place, (trial, history) in enumerate(zip(trials, stack.histories, strict=True)):
            trial.append_from(history)
            if epoch in trial.check_epochs and trial.should_prune():
                trial.pruned = True
                stack.end(place)


def _store(trials: Sequence[RunningTrial], places: Mapping[Path, TrialStorage]) -> None:
    """Store the trials of a round, and load what another process at the same search stored before."""
    search = trials[0].search
    storage = places[search.request.file]
    storage.add(search.key, search.ranges, [trial.trial() for trial in trials])
    search.done = storage.trials(search.key)


def _result(search: RunningSearch, recipe: Recipe) -> SearchResult:
    """Return the result of a search for a run."""
    options = recipe.search
    trials = search.done[: options.trials]
    best = best_of(trials, larger=search.larger)
    if best is None:
        raise InputError(
            f"none of the {len(trials)} trials for {search.name} has a finite value: every loss became infinite",
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
    return SearchResult(best.settings, own, best.figure, best.number, pd.DataFrame(rows), facts)
