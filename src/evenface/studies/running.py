"""A study from its file to its tables and page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evenface import assembly, reporting
from evenface.data.protocol import fold_count
from evenface.errors import InputError
from evenface.files import digest, lock_folder, output_path
from evenface.places import user_path
from evenface.recipes import Recipe, load_recipe
from evenface.recipes.reading import read_mapping
from evenface.runs import Run, check_source, check_trust
from evenface.studies.claim import STUDY, claim
from evenface.studies.compare import Change, changes
from evenface.studies.crew import Executor
from evenface.studies.execute import cores, duration, execute, prepare_data
from evenface.studies.loading import load_study
from evenface.studies.plan import OWN, UNCOUNTED, Choice, Count, Plan, make_plan
from evenface.studies.report import study_report
from evenface.studies.statistics import statistics_of, told
from evenface.studies.table import cell_table, measure, run_table, write_table
from evenface.studies.wording import change_table, heading, screen

TABLE, DIFFERENCES, EACH = "table.csv", "differences.csv", "runs.csv"


@dataclass(frozen=True)
class Studied:
    """What came of a study.

    Parameters
    ----------
    plan : Plan
        What was run.
    folder : Path
        Where it stands: ``study.yaml``, ``table.csv``, ``table.md``, ``differences.csv``, ``runs.csv``, ``report.html``
        and ``runs/``.
    runs : DataFrame
        Every run's values, see :func:`evenface.studies.table.measure`.
    changes : list of Change
        Differences from the baseline.
    failed : dict of str to str
        Folder of each run that failed to the sentence that says why.
    lines : list of str
        The screen: warnings, the answer, how sure.
    report : Path
        The page.
    """

    plan: Plan
    folder: Path
    runs: pd.DataFrame
    changes: list[Change]
    failed: dict[str, str]
    lines: list[str]
    report: Path


def _counter(*, prepared: bool) -> Count:
    """Count folds on prepared data, which may lack people whose samples are unusable, or on what the source lists."""
    known: dict[str, int] = {}

    def count(recipe: Recipe) -> int:
        key = digest(recipe.data.model_dump_json(), recipe.protocol.model_dump_json())
        if key not in known:
            manifest = assembly.prepare_store(recipe).manifest if prepared else assembly.read_manifest(recipe)
            known[key] = fold_count(manifest, recipe.protocol)
        return known[key]

    return count


def open_plan(
    source: str | Path | Mapping[str, Any], choice: Choice, count: Count | None = None
) -> tuple[Plan, Path | None]:
    """Plan a study, or the one whose folder is given, which then is its own folder."""
    if not isinstance(source, Mapping) and (user_path(source) / STUDY).is_file():
        path = user_path(source) / STUDY
        content = read_mapping(path, "study")
        if not all(isinstance(content.get(key, {}), dict) for key in ("study", "overrides")) or "study" not in content:
            raise InputError(f"{path} is damaged: it does not hold what a study's folder says", "Bring back a copy.")
        kept = Choice(
            choice.on or content.get("on"),
            choice.size or content.get("size"),
            "paper" if choice.protocol == "paper" else content.get("protocol", "honest"),
            {**content.get("overrides", {}), **choice.overrides},
        )
        return make_plan(load_study(content["study"]), kept, count), user_path(source)
    return make_plan(load_study(source), choice, count), None


def run_study(
    source: str | Path | Mapping[str, Any],
    choice: Choice | None = None,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    executor: Executor = "local",
    trust_plugins: bool = False,
) -> Studied:
    """Train what a study lacks, and set out what it found; see :func:`evenface.workflows.study`."""
    chosen = choice or Choice()
    plan, own = open_plan(source, chosen)
    folder = output_path(out or own or Path("runs") / "studies" / plan.name, folder=True)
    if not trust_plugins:
        _check_trust(plan, own, chosen.overrides)
    if UNCOUNTED in plan.notes:  # counting reads the data, so not before plugins are trusted
        plan, own = open_plan(source, chosen, _counter(prepared=True))
    prepare_data(plan, folder)  # first of all, so that data that are not there leave no folder behind
    with lock_folder(folder):
        return _run(plan, folder, jobs, executor)


def _check_trust(plan: Plan, own: Path | None, named: Mapping[str, Any]) -> None:
    """Refuse code that a study's folder, or a run folder that its runs follow, names; not that of a study file."""
    if own is not None and "plugins" not in named:
        for run in plan.trainings:
            for recipe in (run.recipe, *([run.start.recipe] if run.start else [])):
                check_trust(recipe, own, trusted=False)
    for source in (plan.study.recipe, plan.study.start, *(part.start for part in plan.study.datasets.values())):
        if isinstance(source, str):
            check_source(source, load_recipe(source), named, trusted=False)


def _run(plan: Plan, folder: Path, jobs: int | None, executor: Executor) -> Studied:
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
    warned = reporting.warned([Run(folder / name) for name in dict.fromkeys(runs.loc[runs["test"] == OWN, "folder"])])
    head = heading(plan, int((runs["test"] == OWN).sum()))
    lines = [*warned, *told(plan, runs, tested), head, *short.text().splitlines(), "", *screen(plan, found)]
    return Studied(plan, folder, runs, found, outcome.failed, lines, report)


def described(source: str | Path | Mapping[str, Any], choice: Choice, jobs: int | None = None) -> list[str]:
    """Say what a study would run, and how long that took where some of it has ended."""
    plan, own = open_plan(source, choice)
    if UNCOUNTED in plan.notes and all(run.recipe.data.root is not None for run in plan.runs):
        plan, own = open_plan(source, choice, _counter(prepared=False))
    folder = own or Path("runs") / "studies" / plan.name
    ended = [run for run in plan.trainings if Run(folder / run.folder).finished]
    lines = [heading(plan, len(plan.runs)), *([plan.study.about] if plan.study.about else [])]
    lines += [f"  {factor}: {', '.join(levels)}" for factor, levels in plan.factors.items()]
    lines.append(f"  {len(plan.trainings)} runs to train, {len(ended)} of them ended; {jobs or cores()} at a time")
    seconds = [float(run.facts.get("training_seconds", 0)) for run in (Run(folder / run.folder) for run in ended)]
    if seconds and len(ended) < len(plan.trainings):
        rest = sum(seconds) / len(seconds) * (len(plan.trainings) - len(ended)) / (jobs or cores())
        lines.append(f"  about {duration(rest)} left")
    lines += [f"  note: {note}" for note in (*plan.notes, *plan.deviations)]
    return [*lines, f"folder  {folder}"]
