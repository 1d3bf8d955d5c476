"""Run a study: claim its folder, train its unfinished runs, and write its tables and page."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from evenface.config import Recipe, load_recipe
from evenface.config.yaml import read_mapping
from evenface.data.splits import fold_count
from evenface.reporting.summaries import next_step
from evenface.runs import PLACE, Run, check_source, check_trust, differing_keys
from evenface.studies.definition import STUDY, load_study
from evenface.studies.executors import (
    Answer,
    Executor,
    ExecutorName,
    LocalExecutor,
    ProgressFiles,
    RayExecutor,
    import_ray,
)
from evenface.studies.plan import OWN, START, UNCOUNTED, Count, PlannedRun, StudyOptions, StudyPlan, grouped, make_plan
from evenface.studies.report import console_lines, finished_runs, heading, study_report, study_warnings
from evenface.studies.results import BaselineDifference, baseline_differences, measure, unit_note
from evenface.studies.tables import (
    cell_table,
    difference_table,
    run_table,
    statistics_lines,
    statistics_of,
    write_table,
)
from evenface.training import data
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest, is_vacant, lock_folder, output_path, user_path
from evenface.utils.progress import ProgressBar, progress
from evenface.utils.workers import available_cores

TABLE, DIFFERENCES, EACH = "table.csv", "differences.csv", "runs.csv"
LOG, PROGRESS, SEARCHES = "log.txt", ".progress", "search.sqlite"


@dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Parameters
    ----------
    plan : StudyPlan
        The planned runs.
    folder : Path
        Folder of the study: ``study.yaml``, ``table.csv``, ``table.md``, ``differences.csv``, ``runs.csv``,
        ``report.html`` and ``runs/``.
    runs : DataFrame
        Every run's values, see :func:`evenface.studies.results.measure`.
    differences : list of BaselineDifference
        Differences from the baseline.
    failed : dict of str to str
        Folder of each failed run to the reason.
    lines : list of str
        Console summary: warnings, cells, verdicts.
    report : Path
        The page.
    """

    plan: StudyPlan
    folder: Path
    runs: pd.DataFrame
    differences: list[BaselineDifference]
    failed: dict[str, str]
    lines: list[str]
    report: Path

    @property
    def next_step(self) -> str:
        """Line that names the command to go on with: the study itself where runs are missing."""
        if finished_runs(self.runs) < len(self.plan.runs):
            return f"next    evenface study {self.folder}"
        return next_step(Run(self.folder / str(self.runs["folder"].iloc[0])))


def _counter(*, prepared: bool) -> Count:
    """Return a counter of folds on prepared data, which may lack people of rejected samples, or on the manifest."""
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
            raise InputError(f"{path} is damaged: it lacks the study's definition", "Restore a copy.")
        kept = StudyOptions(
            choice.on or content.get("on"),
            choice.size or content.get("size"),
            "paper" if choice.protocol == "paper" else content.get("protocol", "honest"),
            {**content.get("overrides", {}), **choice.overrides},
            choice.only,
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
    """Train the unfinished runs of a study and write its results; see :func:`evenface.api.study`."""
    chosen = choice or StudyOptions()
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be 1 or more, got {jobs}")
    if executor == "ray":
        import_ray()
    plan, own = open_plan(source, chosen)
    folder = output_path(out or own or Path("runs") / "studies" / plan.name, folder=True)
    if not trust_plugins:
        _check_trust(plan, own, chosen.overrides)
    if UNCOUNTED in plan.notes:  # counting reads the data, so not before plugins are trusted
        plan, own = open_plan(source, chosen, _counter(prepared=True))
    prepare_data(plan.chosen(), folder)  # first, so that missing data leaves no folder behind
    with lock_folder(folder):
        return _run(plan, folder, jobs, executor)


def _check_trust(plan: StudyPlan, own: Path | None, named: Mapping[str, Any]) -> None:
    """Reject plugins named by a study's folder or by run folders its runs follow, but not those of a study file."""
    if own is not None and "plugins" not in named:
        for run in plan.trainings:
            for recipe in (run.recipe, *([run.start.recipe] if run.start else [])):
                check_trust(recipe, own, trusted=False)
    for source in (plan.study.recipe, plan.study.start, *(part.start for part in plan.study.datasets.values())):
        if isinstance(source, str):
            check_source(source, load_recipe(source), named, trusted=False)


def _run(plan: StudyPlan, folder: Path, jobs: int | None, executor: ExecutorName) -> StudyResult:
    """Train a study whose folder is locked, and write its results."""
    notes = claim(plan, folder)
    chosen = plan.chosen()
    plan = replace(chosen, notes=(*chosen.notes, *notes))
    failed = execute(plan, folder, jobs, executor)
    runs = measure(plan, folder)
    if not len(runs):
        where, why = next(iter(failed.items()))
        raise InputError(f"every run of {plan.study.name} failed; {where}: {why}")
    differences = baseline_differences(plan, runs, folder)
    cells = cell_table(plan, runs)
    write_table(cells, folder / TABLE)
    write_table(cells, (folder / TABLE).with_suffix(".md"))
    write_table(difference_table(plan, differences), folder / DIFFERENCES)
    write_table(run_table(plan, runs), folder / EACH)
    analyses = statistics_of(plan, runs)
    report = study_report(plan, runs, differences, failed, folder, analyses)
    warnings = study_warnings(Run(folder / name) for name in dict.fromkeys(runs.loc[runs["test"] == OWN, "folder"]))
    lines = [
        *(f"note  {note}" for note in notes),
        *warnings,
        *statistics_lines(plan, runs, analyses),
        heading(plan, finished_runs(runs)),
    ]
    lines += [*cell_table(plan, runs, spread=False).text().splitlines(), "", *console_lines(plan, differences)]
    if len(plan.cells) == 1:  # nothing is compared, so the values themselves are the result
        lines[-1] = unit_note(plan, runs, spread=False)
    return StudyResult(plan, folder, runs, differences, failed, lines, report)


def describe_plan(source: str | Path | Mapping[str, Any], choice: StudyOptions, jobs: int | None = None) -> list[str]:
    """Return the runs of a study, and the time left where some have finished."""
    plan, own = open_plan(source, choice)
    if UNCOUNTED in plan.notes and all(run.recipe.data.root is not None for run in plan.runs):
        plan, own = open_plan(source, choice, _counter(prepared=False))
    folder, plan = own or Path("runs") / "studies" / plan.name, plan.chosen()
    ended = [run for run in plan.trainings if Run(folder / run.folder).finished]
    lines = [heading(plan, len(plan.runs)), *([plan.study.about] if plan.study.about else [])]
    lines += [f"  {factor}: {', '.join(levels)}" for factor, levels in plan.factors.items()]
    count = jobs or available_cores()
    lines.append(f"  {len(plan.trainings)} runs to train, {len(ended)} of them finished; {count} in parallel")
    seconds = [float(run.facts.get("training_seconds", 0)) for run in (Run(folder / run.folder) for run in ended)]
    if seconds and len(ended) < len(plan.trainings):
        rest = sum(seconds) / len(seconds) * (len(plan.trainings) - len(ended)) / count
        lines.append(f"  about {duration(rest)} left")
    lines += [f"  note: {note}" for note in (*plan.notes, *plan.deviations)]
    return [*lines, f"folder  {folder}"]


def claim(plan: StudyPlan, out: Path) -> list[str]:
    """Write the plan into the study's folder, or check that the folder holds the same plan.

    Finished runs of the same definition are reported also if another version of evenface, with other defaults or
    shipped recipes, trained them; returns a note on that.
    """
    path = out / STUDY
    kept = read_mapping(path, "study") if path.is_file() else None
    if kept is None and not is_vacant(out):
        raise InputError(f"{out} exists and is not a study folder", "Use another folder: --out.")
    if kept is not None and (keys := _changed_settings(plan, out, kept)):
        return [f"the runs were trained by another version of evenface, with other values of {', '.join(keys)}"]
    content = {**_definition(plan), "runs": {run.folder: run.digest for run in plan.trainings}}
    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    return []


def _definition(plan: StudyPlan) -> dict[str, Any]:
    """Return a study's definition and the options chosen for it, as its folder keeps them."""
    return {
        "study": plan.study.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "on": plan.choice.on,
        "size": plan.choice.size,
        "protocol": plan.choice.protocol,
        "overrides": dict(plan.choice.overrides),
    }


def _changed_settings(plan: StudyPlan, out: Path, kept: Mapping[str, Any]) -> list[str]:
    """Return the settings in which a finished study differs from the plan of its own definition.

    Raises
    ------
    InputError
        If the folder holds runs of another definition, or runs are missing and would be trained with other settings.
    """
    before = kept.get("runs", {})
    if not isinstance(before, dict):
        raise InputError(f"{out / STUDY} is damaged: runs lists no folders", "Restore a copy.")
    own = all(kept.get(key) == value for key, value in _definition(plan).items())
    finished = own and all(plan.ended(run, out) for run in plan.trainings)
    planned = {run.folder: run for run in plan.trainings}
    changed: set[str] = set()
    for folder in (folder for folder in before if (out / folder).is_dir()):
        run, difference = planned.get(folder), f"{folder} is not among its runs"
        if run is not None:
            keys = [] if run.digest == before[folder] else _differing_settings(run, out)
            if not keys or finished:
                changed.update(keys)
                continue
            difference = f"{folder} differs in {', '.join(keys)}"
        if own:
            raise InputError(
                f"another version of evenface began the study in {out}, with other settings: {difference}",
                "Train it in another folder: --out.",
            )
        raise InputError(
            f"{out} holds runs of another definition of the study: {difference}",
            "Use the former definition, or another folder: --out.",
        )
    return sorted(changed)


def _differing_settings(run: PlannedRun, out: Path) -> list[str]:
    """Return the settings in which the run in a study's folder differs from the planned one.

    Keys that recipes of an older version lack have their defaults. A study with initial weights may have been moved.
    """
    if not Run(out / run.folder).begun:
        return ["its settings"]
    trained, planned = Run(out / run.folder).recipe, run.recipe_in(out)
    keys = list(differing_keys([trained, planned], ignore=PLACE))
    initial, expected = (Path(recipe.network.weights).parts[-3:] for recipe in (trained, planned))
    if "network.weights" in keys and run.start is not None and initial in ((START,), expected):
        keys.remove("network.weights")
    return keys


def execute(plan: StudyPlan, out: Path, jobs: int | None = None, executor: ExecutorName = "local") -> dict[str, str]:
    """Train the unfinished runs; return the folders of failed ones, which do not stop the others, with the reason."""
    waiting = [run for run in plan.trainings if not plan.ended(run, out)]
    failed: dict[str, str] = {}
    if not waiting:
        return failed
    _train_starts(plan, waiting, out, jobs, executor)
    with _executor(executor, waiting, jobs, out / LOG) as workers:
        groups = grouped(plan.trainings, {run.folder for run in waiting}, workers.count)
        clock = _Clock(plan, waiting, workers.count, out)
        sizes = [len(group) for group in groups]
        with (
            progress(f"training {plan.study.name}", len(plan.trainings), len(plan.trainings) - len(waiting)) as bar,
            ProgressFiles(out / PROGRESS, sizes, bar) as files,
        ):
            requests = [
                [_request(run, plan, out, files.file(index)) for run in group] for index, group in enumerate(groups)
            ]
            for index, answer in workers.train(requests, files.update, bar.say):
                files.finish(index)
                _record(plan, groups[index], answer, failed, clock, bar)
    return failed


def _record(
    plan: StudyPlan,
    group: Sequence[PlannedRun],
    answer: Answer,
    failed: dict[str, str],
    clock: "_Clock",
    bar: ProgressBar,
) -> None:
    """Record failures and log the outcome of a group of runs that were trained together."""
    names = {run.folder: f"{plan.cell_name(run.cell)}, seed {run.seed}" for run in group}
    names |= {run.folder: f"{names[run.folder]}, fold {run.fold}" for run in group if run.fold is not None}
    seconds = 0.0
    finished = []
    for run, result in zip(group, answer, strict=True):
        if "failed" in result:
            known = result["failed"] in failed.values()
            failed[run.folder] = result["failed"]
            bar.say(f"failed: {names[run.folder]}: {'as before' if known else result['failed']}")
            clock.finish(run, None)
        else:
            finished.append(names[run.folder])
            seconds += result["seconds"]
            clock.finish(run, result["seconds"])
    if finished:
        name = finished[0] if len(finished) == 1 else f"{len(finished)} runs together, {finished[0]} to {finished[-1]}"
        bar.say(f"{clock.position}  {name}  ({duration(seconds)}){clock.left}")


def _executor(executor: ExecutorName, waiting: Sequence[PlannedRun], jobs: int | None, log: Path) -> Executor:
    """Return the executor of a name."""
    if executor == "ray":
        gpu = any(run.recipe.training.accelerator != "cpu" for run in waiting)
        return RayExecutor(jobs, len(waiting), cores=available_cores(), gpu=gpu, log=log)
    gpus = _gpus(waiting)
    return LocalExecutor(min(jobs or len(gpus) or available_cores(), len(waiting)), available_cores(), gpus, log)


def _train_starts(
    plan: StudyPlan, waiting: Sequence[PlannedRun], out: Path, jobs: int | None, executor: ExecutorName
) -> None:
    """Train the runs whose weights others start from."""
    starts = plan.starts
    if starts is None or all(run.start is None for run in waiting):
        return
    for where, why in execute(starts, out, jobs, executor).items():
        raise InputError(f"{plan.study.name}: the initial weights could not be trained ({where}): {why}")


def duration(seconds: float) -> str:
    """Write a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def prepare_data(plan: StudyPlan, out: Path) -> None:
    """Prepare each data set of unfinished runs once, before several processes would."""
    seen = set()
    waiting = [run for run in plan.trainings if not plan.ended(run, out)]
    starts = {run.start.folder: run.start for run in waiting if run.start is not None}
    for run in (*starts.values(), *waiting):
        drawn = [str(run.recipe.protocol.seed)] if run.recipe.data.synthetic else []
        key = digest(run.recipe.data.model_dump_json(), *drawn)
        if key not in seen:
            seen.add(key)
            try:
                data.prepare_training(run.recipe)
            except InputError as error:
                raise InputError(f"{plan.study.name}: {error.message}", error.hint) from error


def _gpus(runs: Sequence[PlannedRun]) -> list[str]:
    """List the GPUs for the runs, none where they use the CPU."""
    if all(run.recipe.training.accelerator == "cpu" for run in runs):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]


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
    """Counts finished runs and estimates the time left from the times of their cells."""

    def __init__(self, plan: StudyPlan, waiting: Sequence[PlannedRun], jobs: int, out: Path) -> None:
        self.total, self.waiting, self.jobs = len(plan.trainings), {run.folder: run for run in waiting}, jobs
        self.times: dict[tuple[str, ...], list[float]] = {}
        for run in plan.trainings:
            opened = Run(out / run.folder)
            if opened.finished and "training_seconds" in opened.facts:
                self.times.setdefault(run.cell, []).append(float(opened.facts["training_seconds"]))

    def finish(self, run: PlannedRun, seconds: float | None) -> None:
        self.waiting.pop(run.folder)
        if seconds is not None:
            self.times.setdefault(run.cell, []).append(seconds)

    @property
    def position(self) -> str:
        return f"{self.total - len(self.waiting):>{len(str(self.total))}}/{self.total}"

    @property
    def left(self) -> str:
        if not self.waiting or not self.times:
            return ""
        typical = statistics.fmean(time for times in self.times.values() for time in times)
        rest = sum(statistics.fmean(self.times.get(run.cell, [typical])) for run in self.waiting.values())
        return f"; about {duration(rest / min(self.jobs, len(self.waiting)))} left"
