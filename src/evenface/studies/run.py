"""Run a study: claim its folder, train what it lacks, and write its tables and page."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from evenface.config import Recipe, load_recipe
from evenface.config.yaml import read_mapping
from evenface.data.splits import fold_count
from evenface.reporting import summaries
from evenface.runs import PLACE, Run, check_source, check_trust, differing_keys
from evenface.studies.definition import STUDY, load_study
from evenface.studies.executors import Answer, Executor, ExecutorName, LocalExecutor, ProgressFiles, RayExecutor
from evenface.studies.plan import OWN, UNCOUNTED, Count, PlannedRun, StudyOptions, StudyPlan, grouped, make_plan
from evenface.studies.report import change_table, heading, screen, study_report
from evenface.studies.statistics import statistics_of, told
from evenface.studies.tables import BaselineDifference, cell_table, changes, measure, run_table, write_table
from evenface.training import data
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest, is_vacant, lock_folder, output_path, user_path
from evenface.utils.progress import ProgressBar, progress
from evenface.utils.workers import available_cores

TABLE, DIFFERENCES, EACH = "table.csv", "differences.csv", "runs.csv"
LOG, PROGRESS, SEARCHES = "log.txt", ".progress", "search.sqlite"


@dataclass(frozen=True)
class StudyResult:
    """What came of a study.

    Parameters
    ----------
    plan : Plan
        What was run.
    folder : Path
        Where it stands: ``study.yaml``, ``table.csv``, ``table.md``, ``differences.csv``, ``runs.csv``, ``report.html``
        and ``runs/``.
    runs : DataFrame
        Every run's values, see :func:`evenface.studies.tables.measure`.
    changes : list of Change
        Differences from the baseline.
    failed : dict of str to str
        Folder of each run that failed to the sentence that says why.
    lines : list of str
        The screen: warnings, the answer, how sure.
    report : Path
        The page.
    """

    plan: StudyPlan
    folder: Path
    runs: pd.DataFrame
    changes: list[BaselineDifference]
    failed: dict[str, str]
    lines: list[str]
    report: Path


def _counter(*, prepared: bool) -> Count:
    """Count folds on prepared data, which may lack people whose samples are unusable, or on what the source lists."""
    known: dict[str, int] = {}

    def count(recipe: Recipe) -> int:
        key = digest(recipe.data.model_dump_json(), recipe.protocol.model_dump_json())
        if key not in known:
            manifest = data.prepare_store(recipe).manifest if prepared else data.read_manifest(recipe)
            known[key] = fold_count(manifest, recipe.protocol)
        return known[key]

    return count


def open_plan(
    source: str | Path | Mapping[str, Any], choice: StudyOptions, count: Count | None = None
) -> tuple[StudyPlan, Path | None]:
    """Plan a study, or the one whose folder is given, which then is its own folder."""
    if not isinstance(source, Mapping) and (user_path(source) / STUDY).is_file():
        path = user_path(source) / STUDY
        content = read_mapping(path, "study")
        if not all(isinstance(content.get(key, {}), dict) for key in ("study", "overrides")) or "study" not in content:
            raise InputError(f"{path} is damaged: it does not hold what a study's folder says", "Bring back a copy.")
        kept = StudyOptions(
            choice.on or content.get("on"),
            choice.size or content.get("size"),
            "paper" if choice.protocol == "paper" else content.get("protocol", "honest"),
            {**content.get("overrides", {}), **choice.overrides},
        )
        return make_plan(load_study(content["study"]), kept, count), user_path(source)
    return make_plan(load_study(source), choice, count), None


def run_study(
    source: str | Path | Mapping[str, Any],
    choice: StudyOptions | None = None,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    executor: ExecutorName = "local",
    trust_plugins: bool = False,
) -> StudyResult:
    """Train what a study lacks, and set out what it found; see :func:`evenface.api.study`."""
    chosen = choice or StudyOptions()
    plan, own = open_plan(source, chosen)
    folder = output_path(out or own or Path("runs") / "studies" / plan.name, folder=True)
    if not trust_plugins:
        _check_trust(plan, own, chosen.overrides)
    if UNCOUNTED in plan.notes:  # counting reads the data, so not before plugins are trusted
        plan, own = open_plan(source, chosen, _counter(prepared=True))
    prepare_data(plan, folder)  # first of all, so that data that are not there leave no folder behind
    with lock_folder(folder):
        return _run(plan, folder, jobs, executor)


def _check_trust(plan: StudyPlan, own: Path | None, named: Mapping[str, Any]) -> None:
    """Refuse code that a study's folder, or a run folder that its runs follow, names; not that of a study file."""
    if own is not None and "plugins" not in named:
        for run in plan.trainings:
            for recipe in (run.recipe, *([run.start.recipe] if run.start else [])):
                check_trust(recipe, own, trusted=False)
    for source in (plan.study.recipe, plan.study.start, *(part.start for part in plan.study.datasets.values())):
        if isinstance(source, str):
            check_source(source, load_recipe(source), named, trusted=False)


def _run(plan: StudyPlan, folder: Path, jobs: int | None, executor: ExecutorName) -> StudyResult:
    """Train and set out a study whose folder is held."""
    claim(plan, folder)
    outcome = execute(plan, folder, jobs, executor)
    runs = measure(plan, folder)
    if not len(runs):
        where, why = next(iter(outcome.failed.items()))
        raise InputError(f"every run of {plan.study.name} failed; {where}: {why}")
    found = changes(plan, runs, folder)
    cells = cell_table(plan, runs)
    write_table(cells, folder / TABLE)
    write_table(cells, (folder / TABLE).with_suffix(".md"))
    write_table(change_table(plan, found), folder / DIFFERENCES)
    write_table(run_table(plan, runs), folder / EACH)
    tested = statistics_of(plan, runs)
    report = study_report(plan, runs, found, outcome.failed, folder, tested)
    short = cell_table(plan, runs, spread=False)
    warned = summaries.shared_warnings(
        [Run(folder / name) for name in dict.fromkeys(runs.loc[runs["test"] == OWN, "folder"])]
    )
    head = heading(plan, int((runs["test"] == OWN).sum()))
    lines = [*warned, *told(plan, runs, tested), head, *short.text().splitlines(), "", *screen(plan, found)]
    return StudyResult(plan, folder, runs, found, outcome.failed, lines, report)


def described(source: str | Path | Mapping[str, Any], choice: StudyOptions, jobs: int | None = None) -> list[str]:
    """Say what a study would run, and how long that took where some of it has ended."""
    plan, own = open_plan(source, choice)
    if UNCOUNTED in plan.notes and all(run.recipe.data.root is not None for run in plan.runs):
        plan, own = open_plan(source, choice, _counter(prepared=False))
    folder = own or Path("runs") / "studies" / plan.name
    ended = [run for run in plan.trainings if Run(folder / run.folder).finished]
    lines = [heading(plan, len(plan.runs)), *([plan.study.about] if plan.study.about else [])]
    lines += [f"  {factor}: {', '.join(levels)}" for factor, levels in plan.factors.items()]
    count = jobs or available_cores()
    lines.append(f"  {len(plan.trainings)} runs to train, {len(ended)} of them ended; {count} at a time")
    seconds = [float(run.facts.get("training_seconds", 0)) for run in (Run(folder / run.folder) for run in ended)]
    if seconds and len(ended) < len(plan.trainings):
        rest = sum(seconds) / len(seconds) * (len(plan.trainings) - len(ended)) / count
        lines.append(f"  about {duration(rest)} left")
    lines += [f"  note: {note}" for note in (*plan.notes, *plan.deviations)]
    return [*lines, f"folder  {folder}"]


def claim(plan: StudyPlan, out: Path) -> None:
    """Write what is run into the study's folder, or see that the folder holds the same."""
    runs = {run.folder: run.digest for run in plan.trainings}
    path = out / STUDY
    if path.is_file():
        before = read_mapping(path, "study").get("runs", {})
        if not isinstance(before, dict):
            raise InputError(f"{path} is damaged: runs holds no folders", "Bring back a copy.")
        for folder in before:
            changed = runs.get(folder) != before[folder] and (out / folder).is_dir()
            difference = _difference(plan, out, folder) if changed else None
            if difference:
                raise InputError(
                    f"{out} holds runs of another definition of the study: {difference}",
                    "Go on with the definition as it was, or give another folder: --out.",
                )
    elif not is_vacant(out):
        raise InputError(f"{out} exists and is no study", "Give another folder: --out.")
    chosen = {"on": plan.choice.on, "size": plan.choice.size, "protocol": plan.choice.protocol}
    content = {
        "study": plan.study.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        **chosen,
        "overrides": dict(plan.choice.overrides),
        "runs": runs,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def _difference(plan: StudyPlan, out: Path, folder: str) -> str | None:
    """Say in which settings the run in a folder differs from what is planned there; None if in none.

    Recipes of an older version lack keys that have come since: those have their defaults.
    """
    planned = [run for run in plan.trainings if run.folder == folder]
    if not planned:
        return f"{folder} is no part of this one"
    if not (out / folder / "recipe.yaml").is_file():
        return f"{folder} differs in its settings"
    keys = differing_keys([Run(out / folder).recipe, planned[0].recipe_in(out)], ignore=PLACE)
    return f"{folder} differs in {', '.join(keys)}" if keys else None


@dataclass
class Outcome:
    """What came of training: runs that failed, each with the sentence that says why."""

    failed: dict[str, str] = field(default_factory=dict)


def execute(plan: StudyPlan, out: Path, jobs: int | None = None, executor: ExecutorName = "local") -> Outcome:
    """Train what has not ended yet; a run that fails does not keep the others from going on."""
    waiting = [run for run in plan.trainings if not plan.ended(run, out)]
    outcome = Outcome()
    if not waiting:
        return outcome
    _train_starts(plan, waiting, out, jobs, executor)
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be 1 or more, got {jobs}")
    with _executor(executor, waiting, jobs, out / LOG) as workers:
        groups = grouped(plan.trainings, {run.folder for run in waiting}, workers.count)
        clock = _Clock(plan, waiting, workers.count, out)
        sizes = [len(group) for group in groups]
        with (
            progress(f"training {plan.study.name}", len(plan.trainings), len(plan.trainings) - len(waiting)) as bar,
            ProgressFiles(out / PROGRESS, sizes, bar) as files,
        ):
            requests = [
                [_request(run, plan, out, files.file(place)) for run in group] for place, group in enumerate(groups)
            ]
            for place, answer in workers.train(requests, files.update, bar.say):
                files.finish(place)
                _note(plan, groups[place], answer, outcome, clock, bar)
    return outcome


def _note(
    plan: StudyPlan, group: Sequence[PlannedRun], answer: Answer, outcome: Outcome, clock: "_Clock", bar: ProgressBar
) -> None:
    """Keep what came of runs that were trained as one, and say it."""
    named = {run.folder: f"{plan.said(run.cell)}, seed {run.seed}" for run in group}
    named |= {run.folder: f"{named[run.folder]}, fold {run.fold}" for run in group if run.fold is not None}
    seconds = 0.0
    ended = []
    for run, found in zip(group, answer, strict=True):
        if "failed" in found:
            outcome.failed[run.folder] = found["failed"]
            bar.say(f"failed: {named[run.folder]}: {found['failed']}")
            clock.gone(run, None)
        else:
            ended.append(named[run.folder])
            seconds += found["seconds"]
            clock.gone(run, found["seconds"])
    if ended:
        what = ended[0] if len(ended) == 1 else f"{len(ended)} runs as one, {ended[0]} to {ended[-1]}"
        bar.say(f"{clock.place}  {what}  ({duration(seconds)}){clock.left}")


def _executor(executor: ExecutorName, waiting: Sequence[PlannedRun], jobs: int | None, log: Path) -> Executor:
    """Return the executor of that name."""
    if executor == "ray":
        gpu = any(run.recipe.training.accelerator != "cpu" for run in waiting)
        return RayExecutor(jobs, len(waiting), cores=available_cores(), gpu=gpu, log=log)
    gpus = _gpus(waiting)
    return LocalExecutor(min(jobs or len(gpus) or available_cores(), len(waiting)), available_cores(), gpus, log)


def _train_starts(
    plan: StudyPlan, waiting: Sequence[PlannedRun], out: Path, jobs: int | None, executor: ExecutorName
) -> None:
    """Train first what runs that wait begin with."""
    starts = plan.starts
    if starts is None or all(run.start is None for run in waiting):
        return
    for where, why in execute(starts, out, jobs, executor).failed.items():
        raise InputError(f"{plan.study.name}: what networks start from could not be trained ({where}): {why}")


def duration(seconds: float) -> str:
    """Write a time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def prepare_data(plan: StudyPlan, out: Path) -> None:
    """Prepare each data set that runs still ask for once, before several processes do."""
    seen = set()
    waiting = [run for run in plan.trainings if not plan.ended(run, out)]
    starts = {run.start.folder: run.start for run in waiting if run.start is not None}
    for run in (*starts.values(), *waiting):
        key = digest(run.recipe.data.model_dump_json())
        if key not in seen:
            seen.add(key)
            try:
                data.prepare_store(run.recipe)
            except InputError as error:
                raise InputError(f"{plan.study.name}: {error.message}", error.hint) from error


def _gpus(runs: Sequence[PlannedRun]) -> list[str]:
    """Name the GPUs that runs may have, none where they shall use the processor."""
    if all(run.recipe.training.accelerator == "cpu" for run in runs):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(place) for place in range(torch.cuda.device_count())]


def _request(run: PlannedRun, plan: StudyPlan, out: Path, file: Path) -> dict[str, Any]:
    tests = {name: {"set": test.set, "classes": test.classes, "merge": test.merge} for name, test in plan.tests.items()}
    return {
        "recipe": run.recipe_in(out).model_dump(mode="json"),
        "folder": str((out / run.folder).resolve()),
        "tests": tests,
        "progress": str(file.resolve()),
        "searches": str((out / SEARCHES).resolve()),
    }


class _Clock:
    """How many runs have ended, and how long the rest may take, by what runs of their cells took."""

    def __init__(self, plan: StudyPlan, waiting: Sequence[PlannedRun], jobs: int, out: Path) -> None:
        self.total, self.waiting, self.jobs = len(plan.trainings), {run.folder: run for run in waiting}, jobs
        self.times: dict[tuple[str, ...], list[float]] = {}
        for run in plan.trainings:
            opened = Run(out / run.folder)
            if opened.finished and "training_seconds" in opened.facts:
                self.times.setdefault(run.cell, []).append(float(opened.facts["training_seconds"]))

    def gone(self, run: PlannedRun, seconds: float | None) -> None:
        self.waiting.pop(run.folder)
        if seconds is not None:
            self.times.setdefault(run.cell, []).append(seconds)

    @property
    def place(self) -> str:
        return f"{self.total - len(self.waiting):>{len(str(self.total))}}/{self.total}"

    @property
    def left(self) -> str:
        if not self.waiting or not self.times:
            return ""
        typical = statistics.fmean(time for times in self.times.values() for time in times)
        rest = sum(statistics.fmean(self.times.get(run.cell, [typical])) for run in self.waiting.values())
        return f"; about {duration(rest / min(self.jobs, len(self.waiting)))} left"
