"""Python interface: one function per command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from evenface.config import Recipe, is_own_data, load_recipe
from evenface.evaluation.formatting import signed_interval, with_interval
from evenface.evaluation.metric_registry import label
from evenface.reporting.style import check_formats
from evenface.runs import METRICS, RECIPE, REPORT, Run, check_source, default_folder, is_first_process, numbered_folder
from evenface.studies.definition import STUDY
from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule, needs
from evenface.utils.files import (
    atomic_write,
    check_writable,
    lock_folder,
    output_path,
    safe_file_name,
    user_path,
    write_json_with_digest,
)
from evenface.utils.progress import progress
from evenface.utils.tables import escape_csv_table, html_table

if TYPE_CHECKING:
    import pandas as pd

    from evenface.audit import Audit
    from evenface.data.dataset_audit import DatasetAudit
    from evenface.data.dataset_guess import DatasetGuess
    from evenface.data.leakage import LeakageReport
    from evenface.evaluation.comparison import Comparison
    from evenface.evaluation.predictions import Predictions
    from evenface.explanation.explain import ExplainResult
    from evenface.inference.export import ExportResult
    from evenface.inference.faces import Faces
    from evenface.inference.predictor import Predictor
    from evenface.models.weight_conversion import ConvertedWeights
    from evenface.preprocessing.store import Store
    from evenface.reporting import summaries
    from evenface.studies.executors import ExecutorName
    from evenface.studies.method_selection import MethodChoice
    from evenface.studies.run import StudyResult
    from evenface.training import calibrate as calibration
    from evenface.training import data
    from evenface.training.pretraining import Pretraining
else:  # predicting does without what these import
    summaries = LazyModule("evenface.reporting.summaries")
    calibration = LazyModule("evenface.training.calibrate")
    data = LazyModule("evenface.training.data")


@needs("pandas", "pyarrow")
def prepare(
    recipe: str | Path | Mapping[str, Any], *, contact_sheets: str | Path | None = None, **overrides: Any
) -> Store:
    """Preprocess the data of a recipe into one array, or open the cached result.

    Parameters
    ----------
    recipe : str, Path or mapping
        Name of a shipped recipe, YAML file, run folder, or the content of a recipe; or a folder of files or a table of
        your own, as for :func:`train_folder`.
    contact_sheets : str or Path, optional
        Folder for contact sheets of clips (sampled frames, detected faces, crops); at most 40.
    **overrides
        Settings by dotted key.

    Returns
    -------
    Store

    Raises
    ------
    InputError
        If the recipe or the data are invalid, or no sample is usable; contact sheets are written before that.
    """
    folder = None if contact_sheets is None else output_path(contact_sheets, folder=True)
    settings, _ = _settings_for(recipe, overrides)
    manifest = data.read_manifest(settings)
    if folder is not None:
        from evenface.preprocessing.target import target_of
        from evenface.reporting.contact_sheets import write_contact_sheets

        write_contact_sheets(manifest, target_of(manifest, **data.preparation(settings)), folder)
    return data.prepare_training(settings, manifest)


@needs("torch", "pandas", "pyarrow", "scipy")
def train(
    recipe: str | Path | Mapping[str, Any],
    *,
    start: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    sample_faces: bool = True,
    trust_plugins: bool = False,
    **overrides: Any,
) -> Run:
    """Train a model by a recipe, predict the test set, and write metrics and report.

    Parameters
    ----------
    recipe : str, Path or mapping
        Name of a shipped recipe, YAML file, run folder, or the content of a recipe. For a folder or table of your own,
        see :func:`train_folder`.
    start : str or Path, optional
        Start from the weights of this run folder, of this folder of :func:`pretrain`, or of the bundled model
        ``evenface-synthetic``, with its network.
    out : str or Path, optional
        Run folder; by default ``runs/`` with the name of the recipe and the overrides, and a number (``-2``) where a
        finished run has that name.
    resume : bool, default=False
        Resume the interrupted run in that folder. On a CPU the result is bit-identical to an uninterrupted run. A
        finished run is returned as it is.
    sample_faces : bool, default=True
        Whether the report shows sample faces.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the recipe of a run folder. Plugins of a recipe file, of content, or of
        the setting ``plugins`` are the caller's own and always executed.
    **overrides
        Settings by dotted key: ``**{"optimizer.lr": 1e-4}``.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the recipe, the data or the output folder are invalid.
    """
    settings = load_recipe(recipe, {**({} if start is None else start_settings(start)), **overrides})
    check_source(recipe, settings, overrides, trusted=trust_plugins)
    out = default_folder(recipe, settings, overrides, resume=resume) if out is None else out
    with Run.claim(out, settings, resume=resume) as run:
        if not run.finished:
            data.check_data(settings)
            from evenface.training.fit import fit

            fit(run, settings)
        elif (run.folder / REPORT).is_file():
            return run
        return _write_results(Run(run.folder), sample_faces=sample_faces) if is_first_process() else run


def start_settings(start: str | Path) -> dict[str, Any]:
    """Return the settings of a training that starts from the weights of a trained network of images.

    Parameters
    ----------
    start : str or Path
        Name of the bundled model, a run folder, or the folder of a pretraining.

    Returns
    -------
    dict
        By dotted key: the weights, the network that they fit, and its input.

    Raises
    ------
    InputError
        If there is no such model, or its network is not one of images.
    """
    from evenface.models.weights import FOLDER
    from evenface.training.pretraining import Pretraining

    name = str(start)
    if (FOLDER / f"{name}.safetensors").is_file():
        recipe, weights = load_recipe(name), name
    elif Pretraining(user_path(start)).begun:
        pretraining = Pretraining.open(start)
        recipe, weights = pretraining.recipe, str(pretraining.weights.resolve())
    elif user_path(start).is_dir():
        run = Run.open(start)
        recipe, weights = run.recipe, str(run.weights.resolve())
    else:
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.safetensors")))
        raise InputError(f"{name} is no run folder to start from", f"Name a run folder, or the bundled model: {known}.")
    if recipe.modality != "images":
        raise InputError(f"{name} is a network of sequences", "Start from a run of images or clips.")
    network = {key: getattr(recipe.network, key) for key in ("name", "stem", "norm")}
    inputs = {key: getattr(recipe.data, key) for key in ("size", "channels")}
    settings = {"network": network | {"weights": weights}, "data": inputs}
    return {f"{section}.{key}": value for section, part in settings.items() for key, value in part.items()}


@needs("torch", "pandas", "pyarrow")
def pretrain(
    data: str | Path,
    out: str | Path,
    *,
    epochs: int | None = None,
    network: str | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    resume: bool = False,
    **overrides: Any,
) -> Pretraining:
    """Pretrain a backbone on images without labels by SimSiam; a training starts from its weights.

    Parameters
    ----------
    data : str or Path
        Folder of images at any depth, labelled or not, or a table or Hugging Face dataset of images. Labels are not
        used. Where there are folders or a column of splits, validation and test images are left out.
    out : str or Path
        Output folder.
    epochs, network, size, batch_size, seed, device : optional
        ``training.epochs`` (100), ``network.name`` (``compact_vgg_16``), ``data.size`` (by the images),
        ``training.batch_size`` (256), ``seed`` (0) and ``training.accelerator`` (``auto``).
    resume : bool, default=False
        Resume the interrupted pretraining in that folder. On a CPU the weights are bit-identical to those of an
        uninterrupted one. A finished pretraining is returned as it is.
    **overrides
        Further settings by dotted key, as of :func:`train`: ``**{"augment.zoom": 0.4}``.

    Returns
    -------
    Pretraining

    Raises
    ------
    InputError
        If there are no images, or fewer than a batch, a setting is invalid or has no effect, or ``out`` holds something
        else.
    """
    from evenface.training import pretraining

    named = {"training.epochs": epochs, "network.name": network, "data.size": size, "training.batch_size": batch_size}
    named |= {"seed": seed, "training.accelerator": device}
    given = {key: value for key, value in named.items() if value is not None}
    if twice := given.keys() & overrides.keys():
        raise InputError(f"{min(twice)} is given twice", "Leave out the option or the setting.")
    return pretraining.pretrain(data, out, {**overrides, **given}, resume=resume)


def _settings_for(
    source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe, or one for own data, and messages on how that was chosen."""
    if not is_own_data(source):
        return load_recipe(source, overrides), ()
    from evenface.data.dataset_guess import guess_dataset
    from evenface.studies.method_selection import own_recipe

    guess = guess_dataset(str(source), overrides)
    return own_recipe(guess, overrides), guess.messages


@needs("pandas", "pyarrow", "scipy", "matplotlib")
def evaluate(
    run: str | Path | None = None,
    *,
    model: str | Path | None = None,
    spec: str | Path | None = None,
    on: str | Path | Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    class_map: Mapping[str, str | None] | None = None,
    merge_classes: Mapping[str, str | Sequence[str]] | None = None,
    all_samples: bool = False,
    out: str | Path | None = None,
    sample_faces: bool = True,
    figures: Sequence[str] = (),
    trust_plugins: bool = False,
    **overrides: Any,
) -> Run:
    """Recompute a run's results from the stored predictions, or evaluate a run or a model file on a dataset.

    Without ``on`` and ``data``, metrics, calibration, tables, model card and report are recomputed from the stored
    predictions. With one of them, the run or the model predicts that dataset (cross-dataset evaluation).

    Parameters
    ----------
    run : str or Path
        Run folder.
    model : str or Path, optional
        In place of a run: an ``.onnx`` file, or the name of a model; see :func:`evenface.inference.open_model`.
    spec : str or Path, optional
        Specification of a model of another project.
    on : str, Path or mapping, optional
        The other dataset: name of a source (its official test set), or a recipe as for :func:`train`, of which the
        data and the test set of the protocol are used. Image size and channels are always those of the run.
    data : str or Path, optional
        In place of ``on``: your own data, as for :func:`train_folder`. The test set is the same as there.
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
    sample_faces : bool, default=True
        Whether the report shows sample faces.
    figures : sequence of str, optional
        Formats (``pdf``, ``svg``, ``png``) in which the report's figures are also written, to ``figures/``.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the run; see :meth:`evenface.runs.Run.open`.
    **overrides
        Settings of the other dataset's recipe by dotted key: ``**{"data.root": "~/rafdb"}``.

    Returns
    -------
    Run
        With a dataset, a new run folder that can be evaluated and compared; if it exists, it is returned as it is.

    Raises
    ------
    InputError
        If the folder is not a finished run, or another process writes to it. With a dataset, if the data cannot be read
        or split, fewer than two classes are shared, ``all_samples`` would include the training data, or ``out`` holds
        something else. Without a dataset, if an argument is given that needs it.
    """
    check_formats(figures)
    if (run is None) == (model is None):
        raise InputError("name either a run or a model", "For example: evenface evaluate --model NAME --data FOLDER.")
    arguments = {"class_map": class_map, "merge_classes": merge_classes, "all_samples": all_samples, "out": out}
    if on is None and data is None:
        needed = "Name it: --on DATASET or --data FOLDER."
        if unused := [name for name, value in {"model": model, "spec": spec, **arguments}.items() if value]:
            raise InputError(f"{unused[0]} needs the other dataset", needed)
        for key in overrides:
            raise InputError(f"{key} is a setting of another dataset", needed)
    else:
        result = _predict_dataset(run, model, spec, on, data, arguments, overrides, trust_plugins=trust_plugins)
        if (result.folder / REPORT).is_file() and not figures:
            return result
        run = result.folder
    opened = Run.open(str(run), trust_plugins=trust_plugins)
    with lock_folder(opened.folder):
        return _write_results(opened, sample_faces=sample_faces, figures=figures)


def _predict_dataset(
    run: str | Path | None,
    model: str | Path | None,
    spec: str | Path | None,
    on: str | Path | Mapping[str, Any] | None,
    own_data: str | Path | None,
    arguments: Mapping[str, Any],
    overrides: Mapping[str, Any],
    *,
    trust_plugins: bool,
) -> Run:
    """Predict a dataset, or own data, with a run or a model file."""
    from evenface.inference import open_model
    from evenface.inference.cross_dataset import model_predictor, predict_with, run_predictor

    if on is not None and own_data is not None:
        raise InputError("both a dataset and own data were given", "Leave out one of --on and --data.")
    if model is not None:
        predictor = model_predictor(open_model(model, spec=spec, trust_plugins=trust_plugins), model, spec)
    elif spec is not None:
        raise InputError("a specification is for a model, not for a run", "Leave it out, or name the model: --model.")
    else:
        predictor = run_predictor(Run.open(str(run), trust_plugins=trust_plugins))
    return predict_with(
        predictor,
        on,
        own_data=own_data,
        classes=arguments["class_map"],
        merge=arguments["merge_classes"],
        everything=arguments["all_samples"],
        out=arguments["out"],
        overrides=overrides,
    )


def _write_results(run: Run, *, sample_faces: bool, figures: Sequence[str] = ()) -> Run:
    """Write metrics, calibration, model card and report of a run whose folder is locked."""
    from evenface.evaluation.target_predictions import TargetPredictions
    from evenface.evaluation.target_summary import compute_metrics
    from evenface.reporting import model_card
    from evenface.reporting.report import run_report
    from evenface.reporting.target_report import target_run_report

    run.verify()
    results = run.results
    metrics = compute_metrics(results)
    if run.auxiliary is not None:
        metrics["auxiliary"] = compute_metrics(run.auxiliary)
    write_json_with_digest(run.folder / METRICS, metrics)
    calibrated = calibration.fit(run)
    card = model_card.card_of(run)
    with atomic_write(run.folder / model_card.CARD) as temporary:
        temporary.write_text(model_card.markdown(card), encoding="utf-8")
    shown: dict[str, Any] = {
        "title": summaries.run_title(run),
        "result": metrics,
        "history": run.history,
        "warnings": summaries.run_warnings(run),
        "notes": summaries.protocol_notes({"": [run]}),
        "counts": summaries.class_counts(run),
        "faces": summaries.sample_faces(run) if sample_faces else None,
        "provenance": summaries.provenance([run]),
        "further": [model_card.section(card)],
        "formats": figures,
        "calibration": calibrated,
    }
    if isinstance(results, TargetPredictions):
        target_run_report(run.folder / REPORT, results, counted=summaries.counted_names(run), **shown)
    else:
        run_report(run.folder / REPORT, results, **shown)
    return Run(run.folder)


@needs("pandas", "pyarrow", "scipy")
def calibrate(
    run: str | Path, *, max_error_rate: float | None = None, prior: str | None = None, trust_plugins: bool = False
) -> calibration.Calibrated | calibration.CalibratedTargets:
    """Calibrate a run's probabilities on its validation data, and evaluate them on its test data.

    Of a multi-label run each target is calibrated by itself (Platt scaling).

    Parameters
    ----------
    run : str or Path
        Run folder. ``calibration.json`` is written into it.
    max_error_rate : float, optional
        Selective prediction: maximum error rate you accept, 0 to 1. The confidence threshold for it is determined.
    prior : str, optional
        Correct for label shift to this class prior: ``happy=0.5,sad=0.5``, ``uniform``, or ``estimate`` (from the test
        data without their labels).
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the run; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    Calibrated or CalibratedTargets

    Raises
    ------
    InputError
        If the folder is not a finished run, there are too few validation samples, no threshold reaches the error rate,
        an argument is out of range, or the run predicts values, which have no probabilities.
    """
    opened = Run.open(run, trust_plugins=trust_plugins)
    with lock_folder(opened.folder):
        if "targets" in opened.facts:
            return calibration.calibrate_targets(opened, risk=max_error_rate, prior=prior)
        return calibration.calibrate(opened, risk=max_error_rate, prior=prior)


@needs("pandas", "pyarrow", "scipy")
def check_data(
    recipe: str | Path | Mapping[str, Any], *, out: str | Path | None = None, **overrides: Any
) -> LeakageReport:
    """Check the data of a recipe, split by its protocol, for leakage and label errors.

    Parameters
    ----------
    recipe : str, Path or mapping
        As for :func:`train`. ``protocol.duplicates`` and ``protocol.imbalance`` are ignored: all samples are checked.
    out : str or Path, optional
        Folder for the tables of all findings, as CSV.
    **overrides
        Settings by dotted key.

    Returns
    -------
    LeakageReport

    Raises
    ------
    InputError
        If the recipe or the data are invalid.
    """
    folder = None if out is None else output_path(out, folder=True)
    settings, messages = _settings_for(recipe, {**overrides, "protocol.duplicates": "keep", "protocol.imbalance": None})
    findings, _ = _leakage_of(settings, messages, official=settings.protocol.kind == "official")
    _write_tables(folder, findings.tables())
    return findings


DRAWN_UNCHECKED = "faces of data.synthetic are not among the samples: they are drawn for the training set alone"
"""Note of a check of data that training adds drawn faces to."""


def _leakage_of(settings: Recipe, messages: Sequence[str], *, official: bool) -> tuple[LeakageReport, Store]:
    """Check the data of a recipe, in its official sets, or split by its protocol; return the store too."""
    from evenface.data.leakage import check_leakage

    store = data.prepare_store(settings)
    store.verify()
    # An official split is checked as published, before validation samples are taken from it.
    split = None if official else data.split_store(settings, store)
    people = None
    if store.images is not None and not store.manifest.has_subjects:
        from evenface.preprocessing.pseudo_subjects import find_pseudo_subjects

        people = find_pseudo_subjects(store)
    findings = check_leakage(
        store.manifest,
        data.stored_samples(store),
        split=split,
        quarantine=store.quarantine,
        pseudo_subjects=people,
    )
    drawn = [DRAWN_UNCHECKED] if any(settings.data.synthetic.values()) else []
    return replace(findings, notes=(*messages, *store.manifest.notes, *drawn)), store


def _write_tables(folder: Path | None, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write tables as CSV, if a folder is given."""
    for name, table in tables.items() if folder is not None else ():
        with atomic_write(cast(Path, folder) / f"{name}.csv") as temporary:
            escape_csv_table(table).to_csv(temporary, index=False)


@needs("pandas", "pyarrow", "scipy")
def audit_dataset(
    source: str | Path | Mapping[str, Any],
    *,
    official: str | Path | None = None,
    out: str | Path | None = None,
    **overrides: Any,
) -> DatasetAudit:
    """Audit a dataset as it is distributed.

    Everything that :func:`check_data` finds, in the sets of the files themselves; images that were augmented before the
    dataset was split; and labels that differ from an official release.

    Parameters
    ----------
    source : str, Path or mapping
        A folder of files, a table, or a recipe, as for :func:`train`.
    official : str or Path, optional
        Table of the official release with the columns ``digest`` (SHA-256 of an image file, or of its pixels as in
        ``digests.csv``), ``label`` and ``side``.
    out : str or Path, optional
        Folder for the tables of all findings, as CSV; its ``digests.csv`` is such a table.
    **overrides
        Settings by dotted key.

    Returns
    -------
    DatasetAudit

    Raises
    ------
    InputError
        If the data or the table are invalid.
    """
    from evenface.data.dataset_audit import DatasetAudit, Release, changed_copies, digest_table
    from evenface.preprocessing.pixel_digests import sample_digests

    folder = None if out is None else output_path(out, folder=True)
    release = None if official is None else Release.load(user_path(official))
    settings, messages = _settings_for(source, {**overrides, "protocol.duplicates": "keep", "protocol.imbalance": None})
    leakage, store = _leakage_of(settings, messages, official=True)
    digests = sample_digests(store.manifest)
    compared, matched = release.compare(store.manifest, digests) if release else (None, 0)
    augmented = changed_copies(store.manifest, store.images, leakage)
    result = DatasetAudit(leakage, augmented, compared, digest_table(store.manifest, digests), matched)
    _write_tables(folder, result.tables())
    return result


AUTO, MODEL = "auto", "model"


@dataclass(frozen=True)
class TrainFolderResult:
    """Result of :func:`train_folder`.

    Parameters
    ----------
    run : Run
        The trained and tested run.
    choice : MethodChoice or None
        The comparison that selected the method; None if the method was named.
    lines : list of str
        Summary for the screen.
    report : Path
        The HTML report.
    """

    run: Run
    choice: MethodChoice | None
    lines: list[str]
    report: Path


@needs("torch", "pandas", "pyarrow", "scipy")
def train_folder(
    data: str | Path,
    *,
    method: str | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    start: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    sample_faces: bool = True,
    candidates: Sequence[str] | None = None,
    jobs: int | None = None,
    on_message: Callable[[str], None] = lambda _message: None,
    trust_plugins: bool = False,
    **overrides: Any,
) -> TrainFolderResult:
    """Train a model on your own data: a folder of files, or a table.

    Parameters
    ----------
    data : str or Path
        Folder with one subfolder of files per class, or a table.
    method : str, optional
        Name of an imbalance method or loss; by default that of the recipe or the settings, else none (``erm``).
        ``auto`` compares several by cross-validation on the training set, and selects one only if it is better than
        cross-entropy by more than noise. It takes some 26 times as long, so it is not the default; where classes are
        imbalanced a message names it. For targets it trains without a method and states why.
    recipe : str, Path or mapping, optional
        Recipe whose data are replaced by these. Not with ``auto``.
    start : str or Path, optional
        Start from the weights of this run folder, of this folder of :func:`pretrain`, or of the bundled model
        ``evenface-synthetic``, with its network.
    out : str or Path, optional
        Output folder; by default ``runs/`` with the names of data and method, and a number where a finished run has
        that name.
    resume : bool, default=False
        Resume an interrupted run; ``auto`` always does.
    sample_faces : bool, default=True
        Whether the report shows sample faces.
    candidates : sequence of str, optional
        Methods and losses that ``auto`` compares; refused with others.
    jobs : int, optional
        Number of parallel runs of ``auto``; likewise.
    on_message : callable
        Called with each message about the data and the selection.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the recipe of a run folder; see :func:`train`.
    **overrides
        Settings by dotted key.

    Returns
    -------
    TrainFolderResult

    Raises
    ------
    InputError
        If no training data are found, there are too few samples or subjects, or an argument is invalid.
    """
    from evenface.data.dataset_guess import guess_dataset
    from evenface.studies.method_selection import (
        CANDIDATES,
        ERM,
        choose,
        imbalance_messages,
        method_settings,
        own_recipe,
        write_report,
    )

    overrides = {**({} if start is None else start_settings(start)), **overrides}
    name = user_path(data).resolve().stem
    default = Path("runs") / f"{name}-{method or overrides.get('method.name', ERM)}"
    folder = output_path(out or (default if method == AUTO else numbered_folder(default, resume=resume)), folder=True)
    if method == AUTO:
        if recipe is not None:
            raise InputError("auto builds its own recipe", "Leave out the recipe, or name a method.")
        names = tuple(CANDIDATES) if candidates is None else tuple(candidates)
        choice = choose(data, folder, overrides, candidates=names, jobs=jobs, on_message=on_message)
        run = train(choice.recipe.model_dump(mode="json"), out=folder / MODEL, resume=True, sample_faces=sample_faces)
        if not choice.counts:  # of targets: nothing was compared
            return TrainFolderResult(run, choice, summaries.run_summary(run), run.folder / REPORT)
        report = write_report(choice, run)
        lines = [*summaries.run_warnings(run), *summaries.metrics_summary(run.metrics), f"model   {run.folder}"]
        lines += [f"report  {report}", summaries.next_step(run)]
        return TrainFolderResult(run, choice, lines, report)
    if candidates is not None or jobs is not None:
        raise InputError("candidates and jobs are settings of method='auto'", "Set method='auto', or leave them out.")
    selected = {} if method is None else method_settings(method)
    guess = guess_dataset(data, overrides)
    for message in guess.messages:
        on_message(message)
    settings = own_recipe(guess, overrides) if recipe is None else _with_data(load_recipe(recipe, overrides), guess)
    check_source(recipe, settings, overrides, trusted=trust_plugins)
    final = load_recipe(settings.model_dump(mode="json"), selected)
    for message in imbalance_messages(guess.manifest, final) if method is None and recipe is None else ():
        on_message(message)
    run = train(final.model_dump(mode="json"), out=folder, resume=resume, sample_faces=sample_faces)
    return TrainFolderResult(run, None, summaries.run_summary(run), run.folder / REPORT)


def _with_data(recipe: Recipe, guess: DatasetGuess) -> Recipe:
    """Replace the data of a recipe; its settings of size, faces and clips stay."""
    content = recipe.model_dump(mode="json")
    fields = type(recipe.data).model_fields
    kept = {key: value for key, value in content["data"].items() if key in fields}
    new = {key: value for key, value in guess.data.items() if key in ("source", "root") or key not in fields}
    content["data"] = kept | new
    if content["protocol"]["kind"] == "official" and "train" not in set(guess.manifest.table["split"].dropna()):
        content["protocol"]["kind"] = "holdout"
    return load_recipe(content)


def serve(
    runs: Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8420,
    save_uploads: str | Path | None = None,
    trust_plugins: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the local web page and HTTP API until Ctrl-C.

    Parameters
    ----------
    runs : sequence of str or Path
        Run folders, study folders, folders of these, and ``.onnx`` files; by default the folder ``runs`` if there is
        one. The bundled model is always served.
    host : str, default="127.0.0.1"
        Address to bind to. By default only this machine reaches the page; any other address requires a token, which
        is part of the page's address.
    port : int, default=8420
        0 selects a free one.
    save_uploads : str or Path, optional
        Folder to save uploads and results to. By default neither is saved.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by runs; see :meth:`evenface.runs.Run.open`.
    ready : callable, default=print
        Called with the address of the page once it can be opened.

    Raises
    ------
    InputError
        If no finished run is found, or the port cannot be used.
    """
    from evenface.app.server import serve as serve_page
    from evenface.config.limits import Limits

    folders = [user_path(run) for run in runs] or [folder for folder in (Path("runs"),) if folder.is_dir()]
    serve_page(
        folders,
        host=host,
        port=port,
        save_uploads=None if save_uploads is None else output_path(save_uploads, folder=True),
        limits=Limits(trust_plugins=trust_plugins),
        ready=ready,
    )


@dataclass(frozen=True, repr=False)
class ComparisonResult:
    """Result of :func:`compare`.

    Parameters
    ----------
    comparison : Comparison
        Values, differences, intervals, tests.
    lines : list of str
        Summary for the screen: warnings, difference, interval.
    report : Path
        The HTML report.
    next_step : str
        Line that names the command to go on with.
    """

    comparison: Comparison
    lines: list[str]
    report: Path
    next_step: str

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value, _ in self._methods())
        return f"<comparison by {label(self.comparison.main)}: {values}>"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook."""
        return html_table(["method", label(self.comparison.main), "difference from the first"], self._methods())

    def _methods(self) -> list[tuple[str, str, str]]:
        """Return name, value and difference of each method."""
        differences = ["", *(signed_interval(pair.overall[pair.main], 3) for pair in self.comparison.pairs)]
        methods = [
            (method.name, with_interval(method.overall[self.comparison.main])) for method in self.comparison.methods
        ]
        return [(*method, difference) for method, difference in zip(methods, differences, strict=True)]


@needs("pandas", "pyarrow", "scipy", "matplotlib")
def compare(
    runs: Sequence[str | Path],
    *,
    out: str | Path = "runs/comparison",
    names: Sequence[str] | None = None,
    sample_faces: bool = True,
    figures: Sequence[str] = (),
    trust_plugins: bool = False,
) -> ComparisonResult:
    """Compare runs statistically on the same test samples.

    Parameters
    ----------
    runs : sequence of str or Path
        Run folders, the baseline first. Runs whose recipes differ only in the seed are one method.
    out : str or Path
        Folder of the report and its tables.
    names : sequence of str, optional
        A method name per run folder; runs of the same name are one method. By default the differences between the
        recipes.
    sample_faces : bool, default=True
        Whether the report shows sample faces; that of targets, such as action units, has none.
    figures : sequence of str, optional
        Formats (``pdf``, ``svg``, ``png``) in which the report's figures are also written, to ``figures/``.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by runs; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    ComparisonResult

    Raises
    ------
    InputError
        If there are fewer than two methods, the test samples differ, or ``out`` is the folder of a run or study.
    """
    from evenface.evaluation.comparison import compare as compare_predictions
    from evenface.evaluation.target_predictions import TargetPredictions
    from evenface.reporting.report import comparison_report
    from evenface.reporting.summaries import comparison_summary
    from evenface.reporting.target_report import target_comparison_report

    check_formats(figures)
    folder = output_path(out, folder=True)
    for name, kind in ((RECIPE, "run"), (STUDY, "study")):
        if (folder / name).is_file():
            raise InputError(f"{out} is a {kind} folder; its report would be overwritten", "Choose another --out.")
    opened = [Run.open(run, trust_plugins=trust_plugins) for run in runs]
    groups = summaries.group_runs(opened, names)
    predictions = {name: [run.results for run in group] for name, group in groups.items()}
    comparison = compare_predictions(predictions)
    first, warnings = opened[0], [*summaries.chance_warnings(comparison), *summaries.shared_warnings(opened)]
    with lock_folder(folder):
        shown: dict[str, Any] = {
            "title": " against ".join(groups) if len(groups) == 2 else ", ".join(groups),
            "comparison": comparison,
            "warnings": warnings,
            "histories": summaries.comparable_histories(groups),
            "notes": summaries.protocol_notes(groups),
            "provenance": summaries.provenance(opened),
            "formats": figures,
        }
        if isinstance(first.results, TargetPredictions):
            report = target_comparison_report(folder / REPORT, **shown)
        else:
            counts, faces = summaries.class_counts(first), summaries.sample_faces(first) if sample_faces else None
            of_classes = cast("dict[str, list[Predictions]]", predictions)
            report = comparison_report(folder / REPORT, of_classes, counts=counts, faces=faces, **shown)
    next_step = summaries.next_step(groups[summaries.best_method(comparison)][0])
    return ComparisonResult(comparison, [*warnings, *comparison_summary(comparison).splitlines()], report, next_step)


@needs("torch", "pandas", "pyarrow", "scipy", "matplotlib")
def fuse(
    runs: Sequence[str | Path],
    *,
    out: str | Path = "runs/fused",
    by: Literal["logits", "features"] = "logits",
    sample_faces: bool = True,
    figures: Sequence[str] = (),
    trust_plugins: bool = False,
) -> Run:
    """Fuse runs on the same samples, such as of video and of biosignals, into predictions of all of them.

    Parameters
    ----------
    runs : sequence of str or Path
        Two or more run folders of the same classes or targets, data and split. Inputs and networks may differ.
    out : str or Path
        Folder of the fused run.
    by : {"logits", "features"}
        ``logits`` averages the logits, or the values of a regression; ``features`` trains a joint linear head on the
        features of all networks.
    sample_faces : bool, default=True
        Whether the report shows sample faces.
    figures : sequence of str, optional
        Formats (``pdf``, ``svg``, ``png``) in which the report's figures are also written, to ``figures/``.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by runs; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    Run
        With predictions and report, which can be compared with the runs themselves; it has no weights.

    Raises
    ------
    InputError
        If the runs are of other classes or targets, or split in other ways, or ``out`` holds something else.
    """
    from evenface.inference.fusion import fuse_runs

    check_formats(figures)
    fused = fuse_runs([Run.open(run, trust_plugins=trust_plugins) for run in runs], out, by)
    with lock_folder(fused.folder):
        return _write_results(fused, sample_faces=sample_faces, figures=figures)


@needs("torch", "pandas", "pyarrow", "scipy")
def study(
    source: str | Path | Mapping[str, Any],
    *,
    on: str | None = None,
    size: str | None = None,
    protocol: Literal["honest", "paper"] = "honest",
    only: Mapping[str, Sequence[str]] | None = None,
    jobs: int | None = None,
    executor: ExecutorName = "local",
    out: str | Path | None = None,
    trust_plugins: bool = False,
    **overrides: Any,
) -> StudyResult:
    """Train the unfinished runs of a study in parallel, and test the differences between its runs.

    Parameters
    ----------
    source : str, Path or mapping
        Name of a shipped study, YAML file, study folder, or the content of a study.
    on : str, optional
        One of the study's datasets; by default the first.
    size : str, optional
        One of the study's sizes, such as ``quick``; by default ``full``.
    protocol : {"honest", "paper"}
        ``paper`` follows the paper's protocol even where it is biased; all results are marked.
    only : mapping of str to sequence of str, optional
        Levels of factors that are trained and reported, such as ``{"method": ["mixup"]}``; that of the baseline is
        included. A later call with others, or all, keeps what was trained.
    jobs : int, optional
        Number of parallel runs; by default one per GPU or processor core. Small networks for sequences that train as
        one stack count as one.
    executor : {"local", "ray"}, default="local"
        Processes on this machine, or a Ray cluster: the connected one (``ray.init``), the one at ``RAY_ADDRESS``, or a
        local one. Results are the same.
    out : str or Path, optional
        Study folder; by default ``runs/studies/`` with the study's name and the selection.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by a study folder or run folder. Plugins of a study file, of content, or
        of the setting ``plugins`` are the caller's own and always executed.
    **overrides
        Settings of every run by dotted key: ``**{"data.root": "~/fer2013"}``.

    Returns
    -------
    StudyResult
        ``failed`` maps the folders of failed runs to the reason; the others are reported nevertheless.

    Raises
    ------
    InputError
        If an argument is invalid, every run failed, or the folder holds runs of another definition.
    KeyboardInterrupt
        On Ctrl-C, after all running runs have saved a checkpoint. The same call resumes them.
    """
    from evenface.studies.plan import StudyOptions
    from evenface.studies.run import run_study

    return run_study(
        source,
        StudyOptions(on, size, protocol, overrides, only or {}),
        out=out,
        jobs=jobs,
        executor=executor,
        trust_plugins=trust_plugins,
    )


@needs("torch", "pandas", "pyarrow", "scipy")
def cross_validate(
    recipe: str | Path | Mapping[str, Any],
    folds: int | Literal["subjects"] = 5,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    trust_plugins: bool = False,
    **overrides: Any,
) -> StudyResult:
    """Train and test a recipe on every fold of a cross-validation: mean and interval over the folds.

    Finished folds are not repeated; interrupted ones are resumed.

    Parameters
    ----------
    recipe : str, Path or mapping
        As for :func:`train`, or a folder or table of your own.
    folds : int or "subjects", default=5
        Number of folds, which share no subjects if these are known; ``"subjects"`` leaves one out at a time.
    out : str or Path, optional
        Output folder; by default ``runs/`` with the names of the recipe and the folds.
    jobs : int, optional
        Number of parallel runs, as for :func:`study`.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the recipe of a run folder; see :func:`train`.
    **overrides
        Settings by dotted key.

    Returns
    -------
    StudyResult
        A study of one cell; see :func:`study`.

    Raises
    ------
    InputError
        If an argument is invalid, or every fold failed.
    """
    if folds != "subjects" and folds < 2:
        raise InputError(f"cross-validation needs 2 folds or more, got {folds}", "Choose 5, or subjects.")
    alone = folds == "subjects"
    protocol = {"protocol.kind": "leave-one-out"} if alone else {"protocol.kind": "kfold", "protocol.folds": folds}
    settings, _ = _settings_for(recipe, overrides)
    check_source(recipe, settings, overrides, trusted=trust_plugins)
    name = user_path(str(recipe)).resolve().stem if is_own_data(recipe) else settings.name
    name = safe_file_name(f"{name}-cv-{folds}")
    content = {
        "name": name,
        "recipe": settings.model_dump(mode="json"),
        "set": protocol,
        "factors": {"method": {settings.method.name: {}}},
        "folds": "all",
        "metrics": ["balanced_accuracy", "accuracy", "macro_f1"],
    }
    return study(content, out=out or Path("runs") / name, jobs=jobs, trust_plugins=True)


def audit_claims(files: Sequence[str | Path | Mapping[str, Any]]) -> list[Audit]:
    """Find inconsistent numbers among the printed results of papers.

    Parameters
    ----------
    files : sequence of str, Path or mapping
        Names of shipped files of claims, paths of YAML files, or their content.

    Returns
    -------
    list of Audit
        One per file, with its findings.

    Raises
    ------
    InputError
        If a file is missing or invalid; nothing is audited then.
    """
    from evenface.audit import audit, load_claims

    claims = [load_claims(file) for file in files]
    audits = []
    with progress("auditing claims", len(claims)) as step:
        for claim in claims:
            audits.append(audit(claim))
            step(1)
    return audits


def get_model(name: str) -> Path:
    """Download a model of another project from the catalogue, and verify its size and SHA-256 digest.

    An interrupted download is continued by the next call. A file that differs from the catalogue is not kept.

    Parameters
    ----------
    name : str
        Name of a model, as listed by ``evenface models``.

    Returns
    -------
    Path
        The file. One that is there already is verified, and not downloaded again.

    Raises
    ------
    InputError
        If the name is unknown, no digest of the model is published, the server fails, or the file differs.
    """
    from evenface.inference.third_party import download_model

    return download_model(name)


@needs("torch")
def convert_weights(source: str | Path, out: str | Path, *, network: str | None = None) -> ConvertedWeights:
    """Convert pickled weights to a safetensors file for ``network.weights``.

    See :func:`evenface.models.weight_conversion.convert_weights`.

    Parameters
    ----------
    source : str or Path
        File of PyTorch: a dict of tensors, or a checkpoint that contains one.
    out : str or Path
        Safetensors file.
    network : str, optional
        Name of the network; by default a ResNet by the shapes in the file.

    Returns
    -------
    ConvertedWeights

    Raises
    ------
    InputError
        If the file needs more than weights to be loaded, or does not fit the network.
    """
    from evenface.models import weight_conversion

    return weight_conversion.convert_weights(source, out, network=network)


DEMO: dict[str, dict[str, Any]] = {
    "cross-entropy": {},
    "balanced sampling": {"training.sampling": "inverse"},
    "logit adjustment": {"loss.name": "logit-adjustment"},
}


PICTURES = Path(__file__).parent / "synthesis" / "pictures"
"""Two images of synthetic people."""


@needs("torch", "pandas", "pyarrow", "scipy")
def demo(out: str | Path = "runs/demo-compared", *, on_message: Callable[[str], None] = print) -> ComparisonResult:
    """Predict on two images, then train a baseline and two imbalance methods on synthetic people and compare them.

    Finished runs are not repeated; interrupted ones are resumed.

    Parameters
    ----------
    out : str or Path, default="runs/demo-compared"
        Folder of the runs and the comparison.
    on_message : callable, default=print
        Called with each line of the predictions before training starts.

    Raises
    ------
    InputError
        If the folder cannot be written, or the packages for training are not installed.
    """
    from evenface.inference.predictor import load

    folder, runs = output_path(out, folder=True), []
    for line in load()(PICTURES).lines():
        on_message(line)
    for name, overrides in DEMO.items():
        runs.append(train("demo", out=folder / name.replace(" ", "-"), resume=True, **overrides).folder)
    return compare(runs, out=folder / "comparison", names=list(DEMO))


def predict(
    inputs: Any = (),
    model: str | Path | Predictor | None = None,
    *,
    out: str | Path | Sequence[str | Path] = (),
    annotate: str | Path | None = None,
    timeline: str | Path | None = None,
    pain_change: str | Path | None = None,
    folder_type: Literal["images", "clips"] | None = None,
    camera: int | None = None,
    seconds: float | None = None,
    spec: str | Path | None = None,
    trust_plugins: bool = False,
    **settings: Any,
) -> Faces:
    """Predict on images, videos, frames, feature files or a camera.

    Parameters
    ----------
    inputs : object
        Files, folders and glob patterns, or images and frames in memory; see
        :class:`evenface.inference.predictor.Predictor`.
    model : str, Path or Predictor, optional
        A run folder, an ``.onnx`` file, the name of a model, or what :func:`evenface.load` returned. By default the
        bundled model.
    out : str, Path or sequence of these, optional
        Tables to write, ``.csv``, ``.parquet`` or ``.json``. Files that are already in them are skipped, unless their
        content has changed. By default nothing is written.
    annotate : str or Path, optional
        Folder for copies of images and videos with boxes, face numbers, labels and probabilities.
    timeline : str or Path, optional
        Figure of probabilities over time: ``.svg``, ``.pdf`` or ``.png``.
    pain_change : str or Path, optional
        Table (``.csv``) of a pain score like PSPI over time, less each face's own baseline, of a model of action unit
        intensities; see :func:`evenface.inference.pain_change.pain_changes`.
    folder_type : {"images", "clips"}, optional
        Whether a folder of images is separate images or one clip; by default as in training.
    camera : int, optional
        Number of a camera, from 0, instead of inputs.
    seconds : float, optional
        Duration of the camera's recording in seconds; by default until Ctrl-C.
    spec : str or Path, optional
        Specification of a model of another project; see :func:`evenface.inference.open_model`.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the run; see :meth:`evenface.runs.Run.open`.
    **settings
        See :class:`evenface.config.predict.PredictSettings`.

    Returns
    -------
    Faces
        A sequence with the prediction for each face.

    Raises
    ------
    InputError
        If an argument is invalid, or no input could be predicted.
    KeyboardInterrupt
        On Ctrl-C, with the finished files in the tables; the same call continues with the others.
    """
    from evenface.config.predict import PredictSettings
    from evenface.config.yaml import checked
    from evenface.inference.pain_change import check_units, notes_of, pain_changes, write_changes
    from evenface.inference.predict import check_output_paths, draw, predict_inputs
    from evenface.inference.predictor import Predictor, load
    from evenface.inference.sources import camera_source

    given = not isinstance(inputs, list | tuple) or bool(inputs)
    if camera is None and not given:
        raise InputError("no input given", "Name images, videos or folders, or a camera.")
    if camera is not None and given:
        raise InputError("inputs and a camera were given", "Leave out one of them.")
    if camera is None and seconds is not None:
        raise InputError("seconds requires a camera", "Leave it out, or name a camera.")
    if camera is not None and annotate is not None:
        raise InputError("annotate does not apply to a camera, whose frames are not saved", "Leave it out.")
    check_no_model(inputs, "predict")
    source = None if camera is None else camera_source(camera, seconds)
    folder, figure = (None if path is None else user_path(path) for path in (annotate, timeline))
    tables = [user_path(path) for path in ([out] if isinstance(out, str | Path) else out)]
    chosen = checked(PredictSettings, settings, "predict")
    check_output_paths(tables, folder, figure)
    course = None if pain_change is None else user_path(pain_change)
    if course is not None and course.suffix.lower() != ".csv":
        raise InputError(f"{course} must end in .csv", "The change of pain over time is written as a table.")
    if course is not None:
        check_writable(course)
    predictor = model if isinstance(model, Predictor) else load(model, spec=spec, trust_plugins=trust_plugins)
    if course is not None:
        check_units(predictor.model.classes, predictor.model.task, predictor.model.name)
    result = predict_inputs(
        predictor.model, inputs, chosen, tables, folder_type=folder_type, skip=folder, camera=source
    )
    draw(result, folder, figure)
    if course is not None:
        changes = pain_changes(result)
        result.notes += notes_of(changes)
        if changes:
            write_changes(changes, course)
            result.tables.append(course)
    return result


def check_no_model(inputs: Any, command: str) -> None:
    """Raise InputError if the first input is a model: it is an option, and was the first argument once."""
    first = inputs[0] if isinstance(inputs, list | tuple) and inputs else inputs
    if isinstance(first, str | Path):
        path = user_path(first)
        if (path / RECIPE).is_file() or path.suffix == ".onnx":
            raise InputError(
                f"{first} is a model, and no input",
                f"Name it after the inputs: evenface {command} INPUT --model {first}",
            )


def explain(
    inputs: str | Path | Sequence[str | Path],
    model: str | Path | Predictor | None = None,
    *,
    out: str | Path = "explanations",
    folder_type: Literal["images", "clips"] | None = None,
    trust_plugins: bool = False,
    **settings: Any,
) -> ExplainResult:
    """Explain predictions with saliency maps, and test their faithfulness by deletion and insertion.

    Parameters
    ----------
    inputs : str, Path or sequence of these
        Files, folders and glob patterns.
    model : str, Path or Predictor, optional
        A run folder; or an ``.onnx`` file or the name of a model, which are explained by occlusion. By default the
        bundled model.
    out : str or Path
        Output folder: an image per file, tables, curves and a page of all. Files that are already explained in it are
        skipped.
    folder_type : {"images", "clips"}, optional
        Whether a folder of images is separate images or one clip; by default as in training.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the run; see :meth:`evenface.runs.Run.open`.
    **settings
        Those of :class:`evenface.config.explain.ExplainSettings`; and ``faces``, ``margin``, ``frame_stride``,
        ``window``, ``overlap``, ``person_baseline`` and ``batch`` of :class:`evenface.config.predict.PredictSettings`.

    Returns
    -------
    ExplainResult

    Raises
    ------
    InputError
        If an argument is invalid, or no input could be explained.
    KeyboardInterrupt
        On Ctrl-C, with the finished files in the folder; the same call continues with the others.
    """
    from evenface.config.explain import ExplainSettings
    from evenface.config.predict import PredictSettings
    from evenface.config.yaml import checked
    from evenface.explanation.explain import explain_inputs
    from evenface.inference.predictor import Predictor, load

    inputs = [inputs] if isinstance(inputs, str | Path) else inputs
    check_no_model(inputs, "explain")
    own = {name: settings.pop(name) for name in ExplainSettings.model_fields if name in settings}
    chosen = checked(ExplainSettings, own, "explain")
    prediction = checked(PredictSettings, settings, "explain")
    folder = output_path(out, folder=True)
    predictor = model if isinstance(model, Predictor) else load(model, trust_plugins=trust_plugins)
    return explain_inputs(predictor.model, inputs, prediction, chosen, folder, folder_type=folder_type)


@needs("torch", "onnx")
def export(
    run: str | Path,
    *,
    out: str | Path | None = None,
    int8: bool = False,
    tolerance: float = 1e-4,
    max_accuracy_loss: float = 0.01,
    trust_plugins: bool = False,
) -> ExportResult:
    """Export a run to ONNX, and verify the file on the run's own samples.

    Parameters
    ----------
    run : str or Path
        Run folder.
    out : str or Path, optional
        Output file; by default ``model.onnx`` or ``model-int8.onnx`` in the run folder.
    int8 : bool, default=False
        Quantise to 8 bits.
    tolerance : float, default=1e-4
        Maximum allowed difference between the scores of the 32-bit file and of the run.
    max_accuracy_loss : float, default=0.01
        Maximum allowed loss of balanced accuracy on validation data by quantisation.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by the run; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    ExportResult

    Raises
    ------
    InputError
        If an argument is invalid, the file differs from the run, or quantisation costs too much accuracy; no file is
        written then.
    """
    from evenface.inference.export import export_run

    path = None if out is None else output_path(out)
    opened = Run.open(run, trust_plugins=trust_plugins)
    return export_run(opened, out=path, int8=int8, tolerance=tolerance, limit=max_accuracy_loss)
