"""Plan of a study: its runs by factors, seeds and folds, their initial weights, and groups trained as one stack."""

import itertools
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from evenface.config import Recipe, load_recipe
from evenface.config.loading import override, recipe_content
from evenface.config.section import Deviation, in_force
from evenface.runs import PLACE, WEIGHTS, Run
from evenface.studies.definition import VALIDATION, Changes, OnData, Study, Test
from evenface.utils.errors import InputError
from evenface.utils.files import digest
from evenface.utils.registry import find, nearest

RUNS = "runs"
LONGEST_FOLDER = 120
FULL = "full"
TESTS = "test_sets."
MADE = ("synthetic", "synthetic-clips")
"""Sources that need no folder."""
UNCOUNTED = "folds: all: one for each person of the data; counted when the data is available"
"""Note of a plan of the first fold only, as the others are not counted yet."""
START = "start"
"""Value of ``network.weights`` in a study: the weights of its ``start`` run."""
MOST = 192
"""Maximum networks in a group: more do not train faster, and less is lost when a group fails."""
CLASSES = 6
"""Networks that a one-vs-rest run counts as; the actual number is known only from its data."""
FREE: dict[str, Any] = {
    "name": True,
    "about": True,
    "paper": True,
    "deviations": True,
    "seed": True,
    "loss": True,
    "protocol": True,
    "search": True,
    "network": {"recurrent": {"dense", "hidden", "top"}},
}
"""Settings in which runs trained as one stack may differ."""
OWN = ""
"""Name of the test set of the training data, among the test sets."""


@dataclass(frozen=True)
class StudyOptions:
    """Data set, size, protocol, overrides and levels of factors of a study."""

    on: str | None = None
    size: str | None = None
    protocol: Literal["honest", "paper"] = "honest"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedRun:
    """A run of a plan."""

    cell: tuple[str, ...]
    seed: int
    fold: int | None
    recipe: Recipe
    folder: str
    start: "PlannedRun | None" = None

    @property
    def repeat(self) -> tuple[int, int | None]:
        """Seed and fold, by which it is paired with runs of other cells."""
        return self.seed, self.fold

    @property
    def digest(self) -> str:
        """Digest of all settings that determine its result, paths excluded."""
        flat = self.recipe.model_dump(mode="json", exclude={"name", "about", "paper", "deviations"})
        for key in PLACE:
            section, _, last = key.partition(".")
            flat[section].pop(last)
        return digest(_text(flat), *([self.start.folder] if self.start else []))

    def recipe_in(self, out: Path) -> Recipe:
        """Return the recipe for the study's folder ``out``, with the path of the initial weights."""
        if self.start is None:
            return self.recipe
        weights = str((out / self.start.folder / WEIGHTS).resolve())
        network = self.recipe.network.model_copy(update={"weights": weights})
        # Deviations depend on the setting of the weights, which the path replaces.
        stated = tuple(Deviation(text=deviation.text) for deviation in self.recipe.deviations)
        return self.recipe.model_copy(update={"network": network, "deviations": stated})


@dataclass(frozen=True)
class StudyPlan:
    """A study with the chosen options, and its runs."""

    study: Study
    choice: StudyOptions
    factors: dict[str, tuple[str, ...]]
    runs: tuple[PlannedRun, ...]
    tests: dict[str, Test]
    deviations: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """All cells, in order."""
        return list(dict.fromkeys(run.cell for run in sorted(self.runs, key=self._place)))

    @property
    def trainings(self) -> list[PlannedRun]:
        """The runs that are trained: one of each folder."""
        return list({run.folder: run for run in reversed(self.runs)}.values())[::-1]

    @property
    def starts(self) -> "StudyPlan | None":
        """The runs whose weights others start from, as a plan; None where there are none."""
        first = {run.start.folder: run.start for run in self.runs if run.start is not None}
        if not first:
            return None
        names = tuple(run.cell[0] for run in first.values())
        return replace(self, factors={START: names}, runs=tuple(first.values()), tests={})

    @property
    def evaluation_sets(self) -> tuple[str, ...]:
        """Names of the sets every run is evaluated on: the test set, the validation set if requested, further data."""
        return (OWN, *([VALIDATION] if self.study.validation else []), *self.tests)

    @property
    def name(self) -> str:
        """Study, data set, size and protocol, for a folder name."""
        chosen = [self.study.name, self.choice.on, self.choice.size if self.study.sizes else None]
        words = [
            f"{k}={v}".replace("/", "_").replace(" ", "") for k, v in self.choice.overrides.items() if "root" not in k
        ]
        parts = [*chosen, "paper" if self.choice.protocol == "paper" else None, *words]
        return "-".join(part for part in parts if part)[:200]

    def chosen(self) -> "StudyPlan":
        """Return the plan of the levels that ``only`` of the options names, and of the baseline; by default of all.

        Raises
        ------
        InputError
            If a factor or a level is unknown, or no run has these levels.
        """
        factors, notes = dict(self.factors), list(self.notes)
        for factor, named in self.choice.only.items():
            levels = find(f"factor in the study {self.study.name}:", factor, self.factors)
            for level in named:
                find(f"level of {factor} in the study {self.study.name}:", level, dict.fromkeys(levels))
            kept = {*named, self.study.baseline.get(factor, named[0])}
            factors[factor] = tuple(level for level in levels if level in kept)
            notes.append(
                f"only {len(factors[factor])} of {len(levels)} levels of {factor}: {', '.join(factors[factor])}"
            )
        runs = tuple(
            run
            for run in self.runs
            if all(level in levels for level, levels in zip(run.cell, factors.values(), strict=True))
        )
        if not runs:
            raise InputError(f"the study {self.study.name} has no run of these levels", "Name others by --only.")
        stated = {deviation.text for run in runs for deviation in run.recipe.deviations}
        deviations = tuple(text for text in self.deviations if text in stated)
        return replace(self, factors=factors, runs=runs, deviations=deviations, notes=tuple(notes))

    def ended(self, run: PlannedRun, out: Path) -> bool:
        """Return whether a run in the study's folder ``out`` has predictions on all test sets."""
        folder = out / run.folder
        return Run(folder).finished and all(Run(folder / f"on-{name}").finished for name in self.tests)

    def cell_name(self, cell: Sequence[str]) -> str:
        """Name a cell by its levels, leaving out factors of one level."""
        named = zip(self.factors.items(), cell, strict=True)
        return ", ".join(f"{factor} {level}" for (factor, levels), level in named if len(levels) > 1) or "all"

    def _place(self, run: PlannedRun) -> list[int]:
        return [levels.index(level) for levels, level in zip(self.factors.values(), run.cell, strict=True)]


Count = Callable[[Recipe], int]
"""Counts the folds of a recipe's protocol on its data."""


def _text(settings: Mapping[str, Any]) -> str:
    """Write settings as YAML, section by section, as runs of a study differ in few of them."""
    return "".join(_section_text(key, json.dumps(settings[key])) for key in sorted(settings))


@lru_cache(4096)
def _section_text(key: str, content: str) -> str:
    """Write a section, given as JSON; libyaml does so five times faster than Python."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump({key: json.loads(content)}, Dumper=dumper, sort_keys=True))


def make_plan(study: Study, choice: StudyOptions | None = None, count: Count | None = None) -> StudyPlan:
    """Cross a study's factors with its seeds and folds."""
    choice = choice or StudyOptions()
    on = choice.on if choice.on is not None else next(iter(study.datasets), None)
    data = find(f"data set in the study {study.name}:", on, study.datasets) if on is not None else OnData()
    size = choice.size or FULL
    sizes = {FULL: Changes()} | study.sizes | {name: study.sizes.get(name, Changes()) for name in data.sizes}
    parts = [data, find(f"size in the study {study.name}:", size, sizes), data.sizes.get(size, Changes())]
    literal = [study.paper_protocol, *(part.paper_protocol for part in parts)]
    if choice.protocol == "paper" and not any(literal):
        raise InputError(f"the study {study.name} defines no paper_protocol", "Leave out --protocol paper.")
    factors = {
        name: next((p.factors[name] for p in reversed(parts) if name in p.factors), own)
        for name, own in study.factors.items()
    }
    own = {key: value for key, value in choice.overrides.items() if not key.startswith(TESTS)}
    last = [*(literal if choice.protocol == "paper" else []), own]
    rules = [*study.when, *(when for part in parts for when in part.when)]
    excluded = [*study.exclude, *(match for part in parts for match in part.exclude)]
    seeds = next((part.seeds for part in reversed(parts) if part.seeds is not None), study.seeds)
    folds = next((part.folds for part in reversed(parts) if part.folds is not None), study.folds)
    base = [study.set, *(part.set for part in parts)]
    load_recipe(study.recipe, *base)  # so that an error common to all cells names no cell
    content = recipe_content(study.recipe)
    deviations = dict.fromkeys((*study.deviations, *(text for part in parts for text in part.deviations)))
    stated: set[Deviation] = set()
    source = next((part.start for part in reversed(parts) if part.start is not None), study.start)
    tests, notes = _tests(study, choice.overrides)
    runs: list[PlannedRun] = []
    for cell in itertools.product(*factors.values()):
        levels = dict(zip(factors, cell, strict=True))
        if any(_matches(match, levels) for match in excluded):
            continue
        settings = [factors[name][level] for name, level in levels.items()]
        settings += [when.set for when in rules if _matches(when.if_, levels)]
        recipe = _recipe(content, [*base, *settings, *last], f"{study.name}, {_words(levels)}")
        true_here = in_force(deviations, recipe)
        stated.update(true_here)
        recipe = recipe.model_copy(update={"deviations": tuple(dict.fromkeys((*recipe.deviations, *true_here)))})
        start = _start(recipe, source, study.name)
        numbers, messages = _numbers(recipe, folds, count, f"{study.name}, {_words(levels)}")
        notes += [note for note in messages if note not in notes]
        repeats = [(seed, fold) for fold in numbers for seed in seeds]
        runs += [PlannedRun(cell, seed, fold, _repeated(recipe, seed, fold), "", start) for seed, fold in repeats]
    if not runs:
        raise InputError(f"the study {study.name} excludes every cell", "Check its exclude key.")
    fold_order, seed_order = (list(dict.fromkeys(getattr(run, name) for run in runs)) for name in ("fold", "seed"))
    ordered = sorted(
        _with_folders(runs, list(factors)), key=lambda run: (fold_order.index(run.fold), seed_order.index(run.seed))
    )
    return StudyPlan(
        study,
        StudyOptions(on, size, choice.protocol, dict(choice.overrides), dict(choice.only)),
        {name: tuple(levels) for name, levels in factors.items()},
        tuple(ordered),
        tests,
        tuple(deviation.text for deviation in deviations if deviation in stated),
        tuple(notes),
    )


def _recipe(content: Mapping[str, Any], settings: Iterable[Mapping[str, Any]], where: str) -> Recipe:
    try:
        recipe = load_recipe(content, *settings)
    except InputError as error:
        raise InputError(f"{where}: {error.message.removeprefix('recipe: ')}", error.hint) from None
    if recipe.training.devices * recipe.training.nodes > 1:
        raise InputError(f"{where}: a study trains its runs in parallel, on one device each", "Set training.devices 1.")
    return recipe


def _start(recipe: Recipe, source: str | Mapping[str, Any] | None, study: str) -> PlannedRun | None:
    settings = start_recipe(recipe, source, study)
    if settings is None:
        return None
    name = settings.network.name
    planned = PlannedRun((name,), settings.seed, None, settings, "")
    return replace(planned, folder=f"{START}/{name}-{planned.digest[:8]}")


def _numbers(
    recipe: Recipe, folds: tuple[int, ...] | Literal["all"] | None, count: Count | None, where: str
) -> tuple[Sequence[int | None], list[str]]:
    """Return the folds of a cell, and a note where they could not be counted yet."""
    if folds is None:
        return (None,), []
    if not isinstance(folds, str):
        return folds, []
    protocol = recipe.protocol
    if protocol.cohorts > 1:
        return range(protocol.cohorts), []
    if protocol.kind == "kfold":
        return range(protocol.folds), []
    if protocol.kind != "leave-one-out":
        raise InputError(
            f"{where}: folds: all needs a protocol that has folds, protocol.kind is {protocol.kind}",
            "Set protocol.kind: leave-one-out or kfold.",
        )
    if count is None:
        return (0,), [UNCOUNTED]
    return range(count(recipe)), []


def _repeated(recipe: Recipe, seed: int, fold: int | None) -> Recipe:
    content = recipe.model_dump(mode="json") | {"seed": seed}
    if fold is not None:
        content["protocol"]["cohort" if recipe.protocol.cohorts > 1 else "fold"] = fold
    return load_recipe(content)


def _matches(match: Mapping[str, Sequence[str]], levels: Mapping[str, str]) -> bool:
    return all(levels[factor] in named for factor, named in match.items())


def _words(levels: Mapping[str, str]) -> str:
    return ", ".join(f"{factor} {level}" for factor, level in levels.items())


def _with_folders(runs: Sequence[PlannedRun], factors: Sequence[str]) -> list[PlannedRun]:
    """Assign each run its folder; runs of the same recipe share that of the first."""
    names: dict[tuple[str, ...], str] = {}
    folders: dict[str, str] = {}
    ordered = []
    for run in runs:
        if run.cell not in names:
            full = "_".join(f"{factor}-{level}" for factor, level in zip(factors, run.cell, strict=True))
            name = re.sub(r"[^A-Za-z0-9._+-]", "-", full)
            clear = name == full and len(name) <= LONGEST_FOLDER
            names[run.cell] = name if clear else f"{name[:LONGEST_FOLDER]}-{digest(*run.cell)[:6]}"
        last = f"seed-{run.seed}" + ("" if run.fold is None else f"-fold-{run.fold}")
        folder = folders.setdefault(run.digest, f"{RUNS}/{names[run.cell]}/{last}")
        ordered.append(replace(run, folder=folder))
    return ordered


def _tests(study: Study, overrides: Mapping[str, Any]) -> tuple[dict[str, Test], list[str]]:
    """Return the further test sets with their settings, and notes on those without a folder, which are skipped."""
    own: dict[str, dict[str, Any]] = {name: {} for name in study.test_sets}
    for key, value in overrides.items():
        if key.startswith(TESTS):
            name, _, rest = key.removeprefix(TESTS).partition(".")
            if name not in own or not rest:
                raise InputError(f"{key}: unknown test set of the study", nearest(name, own))
            own[name][rest] = value
    tests, notes = {}, []
    for name, test in study.test_sets.items():
        content = {"data": {"source": name}, "protocol": {"kind": "official"}}
        for settings in (test.set, own[name]):
            content = override(content, settings)
        data = load_recipe({"name": name, **content}).data
        if data.source not in MADE and data.root is None:
            notes.append(f"not tested on {name}: set its folder by test_sets.{name}.data.root=FOLDER")
        else:
            flat = {f"{part}.{key}": value for part, keys in content.items() for key, value in keys.items()}
            tests[name] = test.model_copy(update={"set": flat})
    return tests, notes


def start_recipe(recipe: Recipe, source: str | Mapping[str, Any] | None, study: str) -> Recipe | None:
    """Return the recipe of the run that a run of this recipe starts from; None where it starts from something else."""
    if recipe.network.weights != START:
        return None
    if source is None:
        raise InputError(
            f"the study {study} has no start run, which network.weights: {START} requires",
            "Add start to the study, or set network.weights to random, hub or a file.",
        )
    content = load_recipe(source).model_dump(mode="json")
    for key in ("name", "stem", "norm", "normalise"):
        content["network"][key] = getattr(recipe.network, key)
    content["data"] |= {"size": recipe.data.size, "channels": recipe.data.channels}
    return load_recipe(content)


def grouped(trainings: Sequence[PlannedRun], waiting: Collection[str], count: int) -> list[list[PlannedRun]]:
    """Group the runs that are trained as one stack, in the planned order."""
    alike: dict[str, list[PlannedRun]] = {}
    for run in trainings:
        alike.setdefault(_key(run), []).append(run)
    groups = []
    for runs in alike.values():
        size = min(_most(runs[0]), -(-len(runs) // count))
        groups += [runs[start : start + size] for start in range(0, len(runs), size)]
    position = {run.folder: index for index, run in enumerate(trainings)}
    left = [[run for run in group if run.folder in waiting] for group in groups]
    return sorted((group for group in left if group), key=lambda group: position[group[0].folder])


def _key(run: PlannedRun) -> str:
    """Return a key that runs of one group share; unique for a run that is trained alone."""
    recipe = run.recipe
    if recipe.modality != "sequences":
        return run.folder
    content = recipe.model_dump(mode="json", exclude=FREE)
    content["method"] = recipe.method.name
    return digest(_text(content))


def _most(run: PlannedRun) -> int:
    """Return the maximum number of runs like this one in a group."""
    from evenface.training.build import is_one_vs_rest

    return max(1, MOST // (CLASSES if is_one_vs_rest(run.recipe) else 1))
