"""One function per verb of the command line; also the Python interface."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evenface import assembly, calibrating, learner, reporting
from evenface.data.leakage import Findings
from evenface.errors import InputError
from evenface.evaluation.comparison import Comparison
from evenface.faces.store import Store
from evenface.files import atomic_write, write_json
from evenface.progress import progress
from evenface.recipes import Recipe, load_recipe
from evenface.runs import METRICS, REPORT, Run

if TYPE_CHECKING:
    from evenface.audit import Audit
    from evenface.serving.using import Predicted
    from evenface.studies.crew import Executor
    from evenface.studies.running import Studied


def is_first_process() -> bool:
    """Whether this is the process that speaks and writes, where several train together."""
    # As torchrun, SLURM and Fabric's own launcher say it.
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))


def prepare(recipe: str | Path | Mapping[str, Any], *, sheets: str | Path | None = None, **overrides: Any) -> Store:
    """Prepare the faces of a recipe, or find them prepared.

    Parameters
    ----------
    recipe : str, Path or mapping
        Name of a shipped recipe, YAML file, run folder, or the content itself.
    sheets : str or Path, optional
        Folder for contact sheets of clips: frames taken, faces found, crops; at most 40.
    **overrides
        Settings by dotted key.

    Raises
    ------
    InputError
        If anything given cannot be used, or nothing is usable; contact sheets are written before that.
    """
    return assembly.prepare_store(load_recipe(recipe, overrides), None if sheets is None else Path(sheets))


def train(
    recipe: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    resume: bool = False,
    faces: bool = True,
    **overrides: Any,
) -> Run:
    """Train by a recipe, predict the test side, and report.

    Parameters
    ----------
    recipe : str, Path or mapping
        Name of a shipped recipe, YAML file, run folder, or the content itself.
    out : str or Path, optional
        Run folder; by default ``runs/`` with the recipe's name and the overrides.
    resume : bool, default=False
        Go on with the run in that folder where it was interrupted; on a CPU the result is bit-identical to that of
        a run that was not. A run that has ended is given back as it is.
    faces : bool, default=True
        Whether the report shows sample faces.
    **overrides
        Settings by dotted key: ``**{"optimizer.lr": 1e-4}``.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If anything given cannot be used; the sentence says what, where and what to do.
    """
    settings = load_recipe(recipe, overrides)
    folder = Path(out) if out is not None else _default_folder(recipe, settings, overrides)
    run = Run.create(folder, settings, resume=resume or not is_first_process())
    if run.finished:
        whole = (folder / REPORT).is_file() or not is_first_process()
        return run if whole else evaluate(folder, faces=faces)
    learner.check_parts(settings)
    from evenface.fitting import fit

    fit(run, settings)
    return evaluate(run.folder, faces=faces) if is_first_process() else run


def _default_folder(recipe: str | Path | Mapping[str, Any], settings: Recipe, overrides: Mapping[str, Any]) -> Path:
    if isinstance(recipe, str | Path) and (Path(recipe) / "recipe.yaml").is_file():
        return Path(recipe)
    words = [
        f"{key}={value}".replace("/", "_").replace(" ", "") for key, value in overrides.items() if key != "data.root"
    ]
    return Path("runs") / "-".join([settings.name, *words])[:200]


def evaluate(run: str | Path, *, faces: bool = True) -> Run:
    """Compute metrics, calibration, tables and report of a run anew from its stored predictions.

    Parameters
    ----------
    run : str or Path
        Run folder.
    faces : bool, default=True
        Whether the report shows sample faces.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the folder is no run, or the run has not ended.
    """
    from evenface.evaluation.report import run_report
    from evenface.evaluation.summary import metrics_of

    opened = Run.open(run)
    result = metrics_of(opened.predictions)
    write_json(opened.folder / METRICS, result)
    run_report(
        opened.folder / REPORT,
        opened.predictions,
        title=reporting.title(opened),
        result=result,
        history=opened.history,
        warnings=reporting.warnings(opened),
        notes=reporting.notes({"": [opened]}),
        counts=reporting.counts(opened),
        faces=reporting.sample_faces(opened) if faces else None,
        facts=reporting.facts([opened]),
        calibration=calibrating.fit(opened),
    )
    return Run(opened.folder)


def calibrate(run: str | Path, *, risk: float | None = None, prior: str | None = None) -> calibrating.Calibrated:
    """Fit a run's calibration on its validation data, and judge it on its test data.

    Parameters
    ----------
    run : str or Path
        Run folder. ``calibration.json`` is written into it.
    risk : float, optional
        Share of wrong answers that is borne, 0 to 1: a threshold is found for it.
    prior : str, optional
        Correct for the balance of classes where the model is used: ``happy=0.5,sad=0.5``, ``uniform``, or
        ``estimate``, from the test data without their labels.

    Returns
    -------
    Calibrated

    Raises
    ------
    InputError
        If the folder is no run, too few samples validate, or a given value cannot be.
    """
    return calibrating.calibrate(Run.open(run), risk=risk, prior=prior)


def transfer(
    run: str | Path,
    on: str | Path | Mapping[str, Any],
    *,
    classes: Mapping[str, str | None] | None = None,
    everything: bool = False,
    out: str | Path | None = None,
    faces: bool = True,
    **overrides: Any,
) -> Run:
    """Test a run on another data set than it learnt from.

    Parameters
    ----------
    run : str or Path
        Run folder.
    on : str, Path or mapping
        The other data: name of a source (its official test side), or a recipe as for :func:`train`, of which only the
        data and the protocol's test side count. Size and channels are always the run's own.
    classes : mapping of str to str or None, optional
        Class of the other data to the run's class, or to None to leave it out. Those not named are matched by name
        (``happiness`` is ``happy``). Probabilities are restricted to the classes that both share and renormalised.
    everything : bool, default=False
        Test on all samples, whatever their side.
    out : str or Path, optional
        Folder; by default ``on-<name>`` in the run's.
    faces : bool, default=True
        Whether the report shows sample faces.
    **overrides
        Settings of the other data's recipe by dotted key: ``**{"data.root": "~/rafdb"}``.

    Returns
    -------
    Run
        A run folder of its own that can be evaluated and compared. If it is there already it is given back.

    Raises
    ------
    InputError
        If the data cannot be read or divided, fewer than two classes are shared, the run learnt from all of it, or the
        folder holds something else.
    """
    from evenface.elsewhere import predict_on

    found = predict_on(run, on, classes=classes, everything=everything, out=out, overrides=overrides)
    return found if (found.folder / REPORT).is_file() else evaluate(found.folder, faces=faces)


def predict(
    run: str | Path,
    inputs: Sequence[str | Path] = (),
    *,
    out: str | Path = "predictions.csv",
    annotate: str | Path | None = None,
    timeline: str | Path | None = None,
    folders: Literal["pictures", "clips"] | None = None,
    camera: int | None = None,
    seconds: float | None = None,
    **settings: Any,
) -> "Predicted":
    """Find faces in pictures, videos or a camera, and say what a run says of them.

    Parameters
    ----------
    run : str or Path
        Run folder.
    inputs : sequence of str or Path
        Files, folders and patterns.
    out : str or Path
        The table, ``.csv`` or ``.parquet``. Files that are in it are not predicted again.
    annotate : str or Path, optional
        Folder for copies of pictures and videos with boxes, numbers of faces, labels and probabilities.
    timeline : str or Path, optional
        Figure of probabilities over time: ``.svg``, ``.pdf`` or ``.png``.
    folders : {"pictures", "clips"}, optional
        What a folder of pictures is; by default what the run learnt from.
    camera : int, optional
        Number of a camera, from 0, in place of inputs.
    seconds : float, optional
        How long to look at it; by default until Ctrl-C.
    **settings
        See :class:`evenface.serving.settings.Settings`.

    Raises
    ------
    InputError
        If anything given cannot be used, or nothing could be predicted.
    KeyboardInterrupt
        After Ctrl-C, with the files that were done in the table; the same call goes on with the others.
    """
    from evenface.serving.inputs import camera_source
    from evenface.serving.opening import open_model
    from evenface.serving.settings import Settings
    from evenface.serving.using import draw, predict_inputs

    if (camera is None) == (not inputs):
        raise InputError("say what to predict", "Name pictures, videos or folders; or a camera.")
    if camera is not None and annotate is not None:
        raise InputError("a camera's pictures are not kept, so they cannot be drawn into", "Leave annotate out.")
    source = None if camera is None else camera_source(camera, seconds)
    folder = None if annotate is None else Path(annotate)
    model = open_model(run)
    found = predict_inputs(model, inputs, Settings(**settings), Path(out), folders=folders, skip=folder, camera=source)
    draw(found, model.classes, folder, None if timeline is None else Path(timeline))
    return found


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

    Returns
    -------
    Compared

    Raises
    ------
    InputError
        If there are fewer than two methods, or they were not tested on the same samples.
    """
    from evenface.evaluation.comparison import compare as compare_predictions
    from evenface.evaluation.report import comparison_report
    from evenface.evaluation.wording import screen

    opened = [Run.open(run) for run in runs]
    groups = reporting.groups(opened, names)
    predictions = {name: [run.predictions for run in group] for name, group in groups.items()}
    comparison = compare_predictions(predictions)
    first, warned = opened[0], reporting.warned(opened)
    report = comparison_report(
        Path(out) / REPORT,
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
    executor: "Executor" = "local",
    out: str | Path | None = None,
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
    from evenface.studies.running import run_study

    return run_study(source, Choice(on, size, protocol, overrides), out=out, jobs=jobs, executor=executor)


def check_data(recipe: str | Path | Mapping[str, Any], *, out: str | Path | None = None, **overrides: Any) -> Findings:
    """Look for leaks and flaws in the data of a recipe, divided by its protocol.

    Parameters
    ----------
    recipe : str, Path or mapping
        As for :func:`train`. Its protocol's ``copies`` and ``imbalance`` do not count: the check looks at everything
        there is.
    out : str or Path, optional
        Folder to write the tables of all findings to, as CSV.
    **overrides
        Settings by dotted key.

    Returns
    -------
    Findings
    """
    from evenface.data.leakage import check

    settings = load_recipe(recipe, {**overrides, "protocol.copies": "keep", "protocol.imbalance": None})
    store = assembly.prepare_store(settings)
    # An official division is checked as its authors gave it, before any validation is cut from it.
    split = None if settings.protocol.kind == "official" else assembly.divide(settings, store)
    found = check(store.manifest, assembly.stored(store), split=split, quarantine=store.quarantine)
    findings = replace(found, notes=store.manifest.notes)
    if out is not None:
        for name, table in findings.tables().items():
            with atomic_write(Path(out) / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)
    return findings


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
    runs = []
    for name, overrides in DEMO.items():
        folder = Path(out) / name.replace(" ", "-")
        runs.append(train("demo", out=folder, resume=True, **overrides).folder)
    return compare(runs, out=Path(out) / "comparison", names=list(DEMO))
