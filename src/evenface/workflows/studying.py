"""Runs side by side: two of them, a study, printed ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evenface import reporting
from evenface.errors import InputError
from evenface.evaluation.comparison import Comparison
from evenface.files import lock_folder, output_path
from evenface.progress import progress
from evenface.runs import RECIPE, REPORT, Run
from evenface.studies.schema import STUDY
from evenface.workflows.learning import train

if TYPE_CHECKING:
    from evenface.audit import Audit
    from evenface.studies.executors import ExecutorName
    from evenface.studies.run import Studied


@dataclass(frozen=True)
class Compared:
    """What :func:`compare` found.

    Parameters
    ----------
    comparison : Comparison
        Values, differences, intervals, tests.
    lines : list of str
        The screen: warnings, the answer, how sure.
    report : Path
        The page.
    """

    comparison: Comparison
    lines: list[str]
    report: Path


def compare(
    runs: Sequence[str | Path],
    *,
    out: str | Path = "runs/comparison",
    names: Sequence[str] | None = None,
    faces: bool = True,
    trust_plugins: bool = False,
) -> Compared:
    """Compare runs on the same test samples.

    Parameters
    ----------
    runs : sequence of str or Path
        Run folders, the baseline first. Runs whose recipes differ in the seed only are one method.
    out : str or Path
        Folder of the report and its tables.
    names : sequence of str, optional
        What to call the run of each folder; runs of the same name are one method. By default
        what differs in the recipes.
    faces : bool, default=True
        Whether the report shows sample faces.
    trust_plugins : bool, default=False
        Whether code that runs name under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    Compared

    Raises
    ------
    InputError
        If there are fewer than two methods, they were not tested on the same samples, or the folder is that of a run or
        a study.
    """
    from evenface.evaluation.comparison import compare as compare_predictions
    from evenface.evaluation.report import comparison_report
    from evenface.evaluation.wording import screen

    opened = [Run.open(run, trust_plugins=trust_plugins) for run in runs]
    groups = reporting.groups(opened, names)
    predictions = {name: [run.predictions for run in group] for name, group in groups.items()}
    place = output_path(out, folder=True)
    for name, what in ((RECIPE, "a run"), (STUDY, "a study")):
        if (place / name).is_file():
            raise InputError(f"{out} is the folder of {what}: its report would be lost", "Give another folder: --out.")
    comparison = compare_predictions(predictions)
    first, warned = opened[0], reporting.warned(opened)
    with lock_folder(place):
        report = comparison_report(
            place / REPORT,
            predictions,
            title=" against ".join(groups) if len(groups) == 2 else ", ".join(groups),
            comparison=comparison,
            warnings=warned,
            histories={name: group[0].history for name, group in groups.items()},
            notes=reporting.notes(groups),
            counts=reporting.counts(first),
            faces=reporting.sample_faces(first) if faces else None,
            facts=reporting.facts(opened),
        )
    return Compared(comparison, [*warned, *screen(comparison).splitlines()], report)


def study(
    source: str | Path | Mapping[str, Any],
    *,
    on: str | None = None,
    size: str | None = None,
    protocol: Literal["honest", "paper"] = "honest",
    jobs: int | None = None,
    executor: "ExecutorName" = "local",
    out: str | Path | None = None,
    trust_plugins: bool = False,
    **overrides: Any,
) -> "Studied":
    """Train the runs of a study that have not ended, side by side, and set out what they found.

    Parameters
    ----------
    source : str, Path or mapping
        Name of a shipped study, YAML file, folder of a study that was begun, or the content itself.
    on : str, optional
        One of its data sets; by default the first.
    size : str, optional
        One of its sizes, such as ``quick``; by default ``full``.
    protocol : {"honest", "paper"}
        ``paper`` follows the paper where that is not honest; everything then says so.
    jobs : int, optional
        Runs at a time; by default one per GPU, or one per processor core. Small networks of sequences that can train as
        one are counted as one.
    executor : {"local", "ray"}, default="local"
        Who trains: processes of this machine, or a Ray cluster: the one that is connected (``ray.init``), the one at
        ``RAY_ADDRESS``, or one made here. Results are the same.
    out : str or Path, optional
        The study's folder; by default ``runs/studies/`` with its name and what was chosen.
    trust_plugins : bool, default=False
        Whether code that a study's folder or a run folder names under ``plugins`` is run. That of a study file, of
        content, or of the setting ``plugins`` is the caller's own and always run.
    **overrides
        Settings of every run by dotted key: ``**{"data.root": "~/fer2013"}``.

    Returns
    -------
    Studied
        With ``failed``, the runs that failed; the others are set out all the same.

    Raises
    ------
    InputError
        If anything given cannot be used, every run failed, or the folder holds another definition's runs.
    KeyboardInterrupt
        After Ctrl-C, when all runs are put away. The same call goes on with them.
    """
    from evenface.studies.plan import Choice
    from evenface.studies.run import run_study

    return run_study(
        source,
        Choice(on, size, protocol, overrides),
        out=out,
        jobs=jobs,
        executor=executor,
        trust_plugins=trust_plugins,
    )


def audit_claims(files: Sequence[str | Path | Mapping[str, Any]]) -> "list[Audit]":
    """Find what cannot be among the printed numbers of papers.

    Parameters
    ----------
    files : sequence of str, Path or mapping
        Names of shipped files of claims, paths of YAML files, or their content.

    Returns
    -------
    list of Audit
        One for each file, with its findings.

    Raises
    ------
    InputError
        If a file is not there, or is none of claims; nothing is then told of the others.
    """
    from evenface.audit import audit, load_claims

    claims = [load_claims(file) for file in files]
    with progress("auditing claims", len(claims)) as step:
        audits = []
        for one in claims:
            audits.append(audit(one))
            step(1)
    return audits


DEMO: dict[str, dict[str, Any]] = {
    "cross-entropy": {},
    "class-balanced loss": {"loss.name": "class-balanced"},
    "balanced sampling": {"training.sampling": "inverse"},
}


def demo(out: str | Path = "runs/demo-compared") -> Compared:
    """Train a plain and two imbalance-aware models on synthetic people, and compare them.

    Runs that have ended are not trained again; those that were interrupted go on.
    """
    place, runs = output_path(out, folder=True), []
    for name, overrides in DEMO.items():
        folder = place / name.replace(" ", "-")
        runs.append(train("demo", out=folder, resume=True, **overrides).folder)
    return compare(runs, out=place / "comparison", names=list(DEMO))
