"""Python interface: one function per command."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evenface.config import Recipe, load_recipe
from evenface.data.leakage import LeakageReport
from evenface.evaluation.comparison import Comparison
from evenface.preprocessing.store import Store
from evenface.reporting import summary
from evenface.runs import METRICS, RECIPE, REPORT, Run, check_source
from evenface.studies.definition import STUDY
from evenface.training import build, data
from evenface.training import calibrate as calibrating
from evenface.utils.errors import InputError
from evenface.utils.files import (
    atomic_write,
    lock_folder,
    output_path,
    safe_file_name,
    user_path,
    write_json_with_digest,
)
from evenface.utils.progress import progress
from evenface.utils.tables import escape_csv_table

if TYPE_CHECKING:
    from evenface.audit import Audit
    from evenface.explanation.explain import ExplainResult
    from evenface.inference.export import ExportResult
    from evenface.inference.predict import PredictResult
    from evenface.studies.dataset_guess import DatasetGuess
    from evenface.studies.executors import ExecutorName
    from evenface.studies.own_data import MethodChoice
    from evenface.studies.run import StudyResult


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
    folder = None if sheets is None else output_path(sheets, folder=True)
    settings = load_recipe(recipe, overrides)
    manifest = data.read_manifest(settings)
    if folder is not None:
        data.write_contact_sheets(settings, manifest, folder)
    return data.prepare_store(settings, manifest)


def train(
    recipe: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    resume: bool = False,
    faces: bool = True,
    trust_plugins: bool = False,
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
    trust_plugins : bool, default=False
        Whether code that a run folder's recipe names under ``plugins`` is run. That of a recipe file, of content, or of
        the setting ``plugins`` is the caller's own and always run.
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
    check_source(recipe, settings, overrides, trusted=trust_plugins)
    out = _default_folder(recipe, settings, overrides) if out is None else out
    folder = output_path(out, folder=True)
    # Of several processes that train together the first one holds the folder for all.
    with lock_folder(folder) if is_first_process() else nullcontext():
        run = Run.create(folder, settings, resume=resume or not is_first_process())
        if not run.finished:
            data.check_data(settings)
            build.check_recipe(settings)
            from evenface.training.fit import fit

            fit(run, settings)
        elif (folder / REPORT).is_file():
            return run
        return _evaluated(Run(folder), faces=faces) if is_first_process() else run


def _default_folder(recipe: str | Path | Mapping[str, Any], settings: Recipe, overrides: Mapping[str, Any]) -> Path:
    if isinstance(recipe, str | Path) and (user_path(recipe) / "recipe.yaml").is_file():
        return user_path(recipe)
    words = [f"{key}={value}".replace(" ", "") for key, value in overrides.items() if key != "data.root"]
    return Path("runs") / safe_file_name("-".join([settings.name, *words]))


def evaluate(
    run: str | Path,
    *,
    on: str | Path | Mapping[str, Any] | None = None,
    class_map: Mapping[str, str | None] | None = None,
    merge_classes: Mapping[str, str | Sequence[str]] | None = None,
    all_samples: bool = False,
    out: str | Path | None = None,
    faces: bool = True,
    trust_plugins: bool = False,
    **overrides: Any,
) -> Run:
    """Evaluate a run: recompute its results from the stored predictions, or predict another dataset.

    Without ``on``, metrics, calibration, tables, model card and report are recomputed from the stored predictions.
    With ``on``, the run is evaluated on another dataset (cross-dataset evaluation).

    Parameters
    ----------
    run : str or Path
        Run folder.
    on : str, Path or mapping, optional
        The other dataset: name of a source (its official test set), or a recipe as for :func:`train`, of which the
        data and the test set of the protocol are used. Image size and channels are always those of the run.
    class_map : mapping of str to str or None, optional
        Maps classes of the other dataset to classes of the run, or to None to drop their samples. Other classes are
        matched by name (``happiness`` is ``happy``). Probabilities are restricted to the shared classes and
        renormalised.
    merge_classes : mapping of str to str or sequence of str, optional
        Classes of the run to merge before they are matched, by the name of the merged class:
        ``{"pain": ["PA1", "PA2", "PA3", "PA4"]}``. Their probabilities are added.
    all_samples : bool, default=False
        Use all samples of the other dataset instead of its test set.
    out : str or Path, optional
        Run folder of the cross-dataset evaluation; by default ``on-<name>`` in the folder of ``run``.
    faces : bool, default=True
        Whether the report shows sample faces.
    trust_plugins : bool, default=False
        Whether plugin code named by the run is executed; see :meth:`evenface.runs.Run.open`.
    **overrides
        Settings of the other dataset's recipe by dotted key: ``**{"data.root": "~/rafdb"}``.

    Returns
    -------
    Run
        With ``on``, a new run folder that can be evaluated and compared; if it exists, it is returned as it is.

    Raises
    ------
    InputError
        If the folder is not a finished run, or another process writes to it. With ``on``, if the data cannot be read
        or split, fewer than two classes are shared, ``all_samples`` would include the training data, or ``out`` holds
        something else. Without ``on``, if an argument is given that needs it.
    """
    if on is not None:
        from evenface.inference.cross_dataset import predict_on

        result = predict_on(
            run,
            on,
            classes=class_map,
            merge=merge_classes,
            everything=all_samples,
            out=out,
            overrides=overrides,
            trust_plugins=trust_plugins,
        )
        if (result.folder / REPORT).is_file():
            return result
        run = result.folder
    else:
        given = {"class_map": class_map, "merge_classes": merge_classes, "all_samples": all_samples, "out": out}
        if unused := [name for name, value in given.items() if value]:
            raise InputError(f"{unused[0]} needs the other dataset", "Name it: evenface evaluate RUN --on DATASET.")
        for key in overrides:
            raise InputError(f"{key} is a setting of another dataset", "Name it: evenface evaluate RUN --on DATASET.")
    opened = Run.open(run, trust_plugins=trust_plugins)
    with lock_folder(opened.folder):
        return _evaluated(opened, faces=faces)


def _evaluated(opened: Run, *, faces: bool) -> Run:
    """Write metrics, calibration, card and report of a run whose folder is held."""
    from evenface.evaluation.summary import metrics_of
    from evenface.reporting import model_card
    from evenface.reporting.report import run_report

    opened.verify()
    result = metrics_of(opened.predictions)
    write_json_with_digest(opened.folder / METRICS, result)
    calibration = calibrating.fit(opened)
    card = model_card.card_of(opened)
    with atomic_write(opened.folder / model_card.CARD) as temporary:
        temporary.write_text(model_card.markdown(card), encoding="utf-8")
    run_report(
        opened.folder / REPORT,
        opened.predictions,
        title=summary.title(opened),
        result=result,
        history=opened.history,
        warnings=summary.warnings(opened),
        notes=summary.notes({"": [opened]}),
        counts=summary.counts(opened),
        faces=summary.sample_faces(opened) if faces else None,
        facts=summary.facts([opened]),
        calibration=calibration,
        further=[model_card.section(card)],
    )
    return Run(opened.folder)


def calibrate(
    run: str | Path, *, risk: float | None = None, prior: str | None = None, trust_plugins: bool = False
) -> calibrating.Calibrated:
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
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    Calibrated

    Raises
    ------
    InputError
        If the folder is no run, too few samples validate, or a given value cannot be.
    """
    opened = Run.open(run, trust_plugins=trust_plugins)
    with lock_folder(opened.folder):
        return calibrating.calibrate(opened, risk=risk, prior=prior)


def check_data(
    recipe: str | Path | Mapping[str, Any], *, out: str | Path | None = None, **overrides: Any
) -> LeakageReport:
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
    LeakageReport
    """
    from evenface.data.leakage import check_leakage

    place = None if out is None else output_path(out, folder=True)
    settings = load_recipe(recipe, {**overrides, "protocol.duplicates": "keep", "protocol.imbalance": None})
    store = data.prepare_store(settings)
    store.verify()
    # An official division is checked as its authors gave it, before any validation is cut from it.
    split = None if settings.protocol.kind == "official" else data.split_store(settings, store)
    found = check_leakage(store.manifest, data.stored_samples(store), split=split, quarantine=store.quarantine)
    findings = replace(found, notes=store.manifest.notes)
    if place is not None:
        for name, table in findings.tables().items():
            with atomic_write(place / f"{name}.csv") as temporary:
                escape_csv_table(table).to_csv(temporary, index=False)
    return findings


AUTO, MODEL = "auto", "model"


@dataclass(frozen=True)
class OwnDataResult:
    """What :func:`train_own` made.

    Parameters
    ----------
    run : Run
        The trained and tested run.
    choice : Choice or None
        How its method was chosen; none where it was named.
    lines : list of str
        The screen: the result, where to look.
    report : Path
        The page.
    """

    run: Run
    choice: "MethodChoice | None"
    lines: list[str]
    report: Path


def train_own(
    data: str | Path,
    *,
    method: str = AUTO,
    recipe: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    faces: bool = True,
    candidates: Sequence[str] | None = None,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _text: None,
    trust_plugins: bool = False,
    **overrides: Any,
) -> OwnDataResult:
    """Train on data of one's own.

    Parameters
    ----------
    data : str or Path
        Folder with a folder of files for each class, or a table.
    method : str, default="auto"
        ``auto`` tries some methods on folds of the training side and takes one only if it is better than plain
        training by more than noise. Else the name of a method or a loss.
    recipe : str, Path or mapping, optional
        Not with ``auto``: a recipe whose data are replaced by these.
    out : str or Path, optional
        Folder; by default ``runs/`` with the names of data and method.
    resume : bool, default=False
        Go on with a run that was interrupted; ``auto`` always does.
    faces : bool, default=True
        Whether the run's report shows sample faces.
    candidates : sequence of str, optional
        What ``auto`` tries.
    jobs : int, optional
        Trainings that ``auto`` does at a time.
    say : callable
        Is given each sentence about the data and the choice as soon as it is known.
    trust_plugins : bool, default=False
        Whether code that the recipe of a run folder names is run; see :func:`evenface.train`.
    **overrides
        Settings by dotted key.

    Raises
    ------
    InputError
        If there is nothing to learn from, too few samples or people, or anything given cannot be used.
    """
    from evenface.studies.dataset_guess import guess_dataset
    from evenface.studies.own_data import CANDIDATES, choose, named_settings, own_recipe, write_report

    name = user_path(data).resolve().stem
    folder = output_path(out or Path("runs") / f"{name}-{method}", folder=True)
    if method == AUTO:
        if recipe is not None:
            raise InputError("auto makes a recipe of its own", "Leave the recipe out, or name a method.")
        tried = tuple(CANDIDATES) if candidates is None else tuple(candidates)
        choice = choose(data, folder, overrides, candidates=tried, jobs=jobs, say=say)
        run = train(choice.recipe.model_dump(mode="json"), out=folder / MODEL, resume=True, faces=faces)
        report = write_report(choice, run)
        lines = [*summary.screen(run)[:-1], f"model   {run.folder}", f"report  {report}"]
        return OwnDataResult(run, choice, lines, report)
    looked = guess_dataset(data, overrides)
    for text in looked.said:
        say(text)
    settings = own_recipe(looked, overrides) if recipe is None else _with_data(load_recipe(recipe, overrides), looked)
    check_source(recipe, settings, overrides, trusted=trust_plugins)
    final = load_recipe(settings.model_dump(mode="json"), named_settings(method))
    run = train(final.model_dump(mode="json"), out=folder, resume=resume, faces=faces)
    return OwnDataResult(run, None, summary.screen(run), run.folder / REPORT)


def _with_data(recipe: Recipe, looked: "DatasetGuess") -> Recipe:
    """Put other data into a recipe; what it says of size, faces and clips stays."""
    content = recipe.model_dump(mode="json")
    form = type(recipe.data).model_fields
    kept = {key: value for key, value in content["data"].items() if key in form}
    content["data"] = kept | {k: v for k, v in looked.data.items() if k in ("source", "root") or k not in form}
    if content["protocol"]["kind"] == "official" and "train" not in set(looked.manifest.table["split"].dropna()):
        content["protocol"]["kind"] = "holdout"
    return load_recipe(content)


def serve(
    runs: Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8420,
    keep: str | Path | None = None,
    trust_plugins: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve a page of runs until Ctrl-C.

    Parameters
    ----------
    runs : sequence of str or Path
        Run folders, study folders, folders of these, and ``.onnx`` files; by default the folder ``runs``.
    host : str, default="127.0.0.1"
        Address to bind to. By default nobody else can open the page; on any other address a token is needed, which is
        part of the page's address.
    port : int, default=8420
        0 takes a free one.
    keep : str or Path, optional
        Folder for uploads and results. By default neither is kept.
    trust_plugins : bool, default=False
        Whether code that runs name under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.
    ready : callable, default=print
        Told the address of the page when it can be opened.

    Raises
    ------
    InputError
        If a package is missing, no run that has ended is found, or the port cannot be used.
    """
    from evenface.app.server import serve as begin
    from evenface.config.limits import Limits

    places = [user_path(run) for run in runs] or [Path("runs")]
    if not runs and not places[0].is_dir():
        raise InputError("there is no folder runs here", "Name run folders: evenface app RUN...")
    limits = Limits(trust_plugins=trust_plugins)
    begin(
        places,
        host=host,
        port=port,
        keep=None if keep is None else output_path(keep, folder=True),
        limits=limits,
        ready=ready,
    )


@dataclass(frozen=True)
class ComparisonResult:
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
) -> ComparisonResult:
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
    from evenface.reporting.report import comparison_report
    from evenface.reporting.wording import screen

    opened = [Run.open(run, trust_plugins=trust_plugins) for run in runs]
    groups = summary.groups(opened, names)
    predictions = {name: [run.predictions for run in group] for name, group in groups.items()}
    place = output_path(out, folder=True)
    for name, what in ((RECIPE, "a run"), (STUDY, "a study")):
        if (place / name).is_file():
            raise InputError(f"{out} is the folder of {what}: its report would be lost", "Give another folder: --out.")
    comparison = compare_predictions(predictions)
    first, warned = opened[0], summary.warned(opened)
    with lock_folder(place):
        report = comparison_report(
            place / REPORT,
            predictions,
            title=" against ".join(groups) if len(groups) == 2 else ", ".join(groups),
            comparison=comparison,
            warnings=warned,
            histories={name: group[0].history for name, group in groups.items()},
            notes=summary.notes(groups),
            counts=summary.counts(first),
            faces=summary.sample_faces(first) if faces else None,
            facts=summary.facts(opened),
        )
    return ComparisonResult(comparison, [*warned, *screen(comparison).splitlines()], report)


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
) -> "StudyResult":
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
    from evenface.studies.plan import StudyOptions
    from evenface.studies.run import run_study

    return run_study(
        source,
        StudyOptions(on, size, protocol, overrides),
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


def demo(out: str | Path = "runs/demo-compared") -> ComparisonResult:
    """Train a plain and two imbalance-aware models on synthetic people, and compare them.

    Runs that have ended are not trained again; those that were interrupted go on.
    """
    place, runs = output_path(out, folder=True), []
    for name, overrides in DEMO.items():
        folder = place / name.replace(" ", "-")
        runs.append(train("demo", out=folder, resume=True, **overrides).folder)
    return compare(runs, out=place / "comparison", names=list(DEMO))


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
    trust_plugins: bool = False,
    **settings: Any,
) -> "PredictResult":
    """Find faces in pictures, videos or a camera, and say what a run says of them.

    Parameters
    ----------
    run : str or Path
        Run folder, or an ``.onnx`` file that was exported, which needs no torch.
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
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.
    **settings
        See :class:`evenface.config.predict.PredictSettings`.

    Raises
    ------
    InputError
        If anything given cannot be used, or nothing could be predicted.
    KeyboardInterrupt
        After Ctrl-C, with the files that were done in the table; the same call goes on with the others.
    """
    from evenface.config.predict import PredictSettings
    from evenface.inference import open_model
    from evenface.inference.predict import check_outputs, draw, predict_inputs
    from evenface.inference.sources import camera_source

    if camera is None and not inputs:
        raise InputError("say what to predict", "Name pictures, videos or folders; or a camera.")
    if camera is not None and inputs:
        raise InputError("a camera stands in place of inputs, and both were named", "Leave one of them out.")
    if camera is None and seconds is not None:
        raise InputError("seconds says how long to look at a camera, and none was named", "Leave it out.")
    if camera is not None and annotate is not None:
        raise InputError("a camera's pictures are not kept, so they cannot be drawn into", "Leave annotate out.")
    source = None if camera is None else camera_source(camera, seconds)
    folder, figure = (None if place is None else user_path(place) for place in (annotate, timeline))
    table = user_path(out)
    from evenface.config.yaml import checked

    chosen = checked(PredictSettings, settings, "predict")
    check_outputs(table, folder, figure)
    model = open_model(run, trust_plugins=trust_plugins)
    found = predict_inputs(model, inputs, chosen, table, folders=folders, skip=folder, camera=source)
    draw(found, model.classes, folder, figure)
    return found


def explain(
    run: str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path = "explanations",
    folders: Literal["pictures", "clips"] | None = None,
    trust_plugins: bool = False,
    **settings: Any,
) -> "ExplainResult":
    """Draw what a run's answers to pictures, videos or files of numbers rest on, and check that it matters.

    Parameters
    ----------
    run : str or Path
        Run folder, or exported file, which is explained by occlusion.
    inputs : sequence of str or Path
        Files, folders and patterns.
    out : str or Path
        Folder for a picture of each file, tables, curves and a page of all. Files that were explained in it before are
        not explained again.
    folders : {"pictures", "clips"}, optional
        What a folder of pictures is; by default what the run learnt from.
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.
    **settings
        Those of :class:`evenface.config.explain.ExplainSettings`; and ``faces``, ``margin``, ``every``, ``window``,
        ``overlap`` and ``batch`` of :class:`evenface.config.predict.PredictSettings`.

    Raises
    ------
    InputError
        If anything given cannot be used, or nothing could be explained.
    KeyboardInterrupt
        After Ctrl-C, with the files that were done in the folder; the same call goes on with the others.
    """
    from evenface.config.explain import ExplainSettings
    from evenface.config.predict import PredictSettings
    from evenface.config.yaml import checked
    from evenface.explanation.explain import explain_inputs
    from evenface.inference import open_model

    own = {name: settings.pop(name) for name in ExplainSettings.model_fields if name in settings}
    chosen = checked(ExplainSettings, own, "explain")
    prediction = checked(PredictSettings, settings, "explain")
    place = output_path(out, folder=True)
    model = open_model(run, trust_plugins=trust_plugins)
    return explain_inputs(model, inputs, prediction, chosen, place, folders=folders)


def export(
    run: str | Path,
    *,
    out: str | Path | None = None,
    int8: bool = False,
    tolerance: float = 1e-4,
    limit: float = 0.01,
    trust_plugins: bool = False,
) -> "ExportResult":
    """Write a run as one ONNX file that other programs run, and compare it with the run on the run's own samples.

    Parameters
    ----------
    run : str or Path
        Run folder.
    out : str or Path, optional
        The file; by default ``model.onnx`` or ``model-int8.onnx`` in the run folder.
    int8 : bool
        Write it in 8 bits.
    tolerance : float
        Largest difference from the run's scores that is borne, of the file in 32 bits.
    limit : float
        Largest loss of balanced accuracy on validation data that is borne for 8 bits.
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.

    Raises
    ------
    InputError
        If anything given cannot be used, the file says something else than the run, or 8 bits cost too much; nothing
        is written then.
    """
    from evenface.inference.export import export_run
    from evenface.runs import Run

    place = None if out is None else output_path(out)
    opened = Run.open(run, trust_plugins=trust_plugins)
    return export_run(opened, out=place, int8=int8, tolerance=tolerance, limit=limit)
