"""From a recipe to a run that has been tested."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from evenface import assembly, calibrating, learner, reporting
from evenface.data.leakage import Findings
from evenface.faces.store import Store
from evenface.files import atomic_write, csv_safe, file_name, lock_folder, output_path
from evenface.integrity import write_sealed
from evenface.places import user_path
from evenface.recipes import Recipe, load_recipe
from evenface.runs import METRICS, REPORT, Run, check_source


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
    manifest = assembly.read_manifest(settings)
    if folder is not None:
        assembly.write_contact_sheets(settings, manifest, folder)
    return assembly.prepare_store(settings, manifest)


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
            assembly.check_data(settings)
            learner.check_recipe(settings)
            from evenface.fitting import fit

            fit(run, settings)
        elif (folder / REPORT).is_file():
            return run
        return _evaluated(Run(folder), faces=faces) if is_first_process() else run


def _default_folder(recipe: str | Path | Mapping[str, Any], settings: Recipe, overrides: Mapping[str, Any]) -> Path:
    if isinstance(recipe, str | Path) and (user_path(recipe) / "recipe.yaml").is_file():
        return user_path(recipe)
    words = [f"{key}={value}".replace(" ", "") for key, value in overrides.items() if key != "data.root"]
    return Path("runs") / file_name("-".join([settings.name, *words]))


def evaluate(run: str | Path, *, faces: bool = True, trust_plugins: bool = False) -> Run:
    """Compute metrics, calibration, tables, model card and report of a run anew from its stored predictions.

    Parameters
    ----------
    run : str or Path
        Run folder.
    faces : bool, default=True
        Whether the report shows sample faces.
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the folder is no run, the run has not ended, or another process writes to it.
    """
    opened = Run.open(run, trust_plugins=trust_plugins)
    with lock_folder(opened.folder):
        return _evaluated(opened, faces=faces)


def _evaluated(opened: Run, *, faces: bool) -> Run:
    """Write metrics, calibration, card and report of a run whose folder is held."""
    from evenface import cards
    from evenface.evaluation.report import run_report
    from evenface.evaluation.summary import metrics_of

    opened.verify()
    result = metrics_of(opened.predictions)
    write_sealed(opened.folder / METRICS, result)
    calibration = calibrating.fit(opened)
    card = cards.card_of(opened)
    with atomic_write(opened.folder / cards.CARD) as temporary:
        temporary.write_text(cards.markdown(card), encoding="utf-8")
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
        calibration=calibration,
        further=[cards.section(card)],
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


def transfer(
    run: str | Path,
    on: str | Path | Mapping[str, Any],
    *,
    classes: Mapping[str, str | None] | None = None,
    merge: Mapping[str, str | Sequence[str]] | None = None,
    everything: bool = False,
    out: str | Path | None = None,
    faces: bool = True,
    trust_plugins: bool = False,
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
    merge : mapping of str to str or sequence of str, optional
        Classes of the run to join before they are matched, by the name of the joined one:
        ``{"pain": ["PA1", "PA2", "PA3", "PA4"]}``. Their probabilities are added.
    everything : bool, default=False
        Test on all samples, whatever their side.
    out : str or Path, optional
        Folder; by default ``on-<name>`` in the run's.
    faces : bool, default=True
        Whether the report shows sample faces.
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.
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

    found = predict_on(
        run,
        on,
        classes=classes,
        merge=merge,
        everything=everything,
        out=out,
        overrides=overrides,
        trust_plugins=trust_plugins,
    )
    if (found.folder / REPORT).is_file():
        return found
    return evaluate(found.folder, faces=faces, trust_plugins=trust_plugins)


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

    place = None if out is None else output_path(out, folder=True)
    settings = load_recipe(recipe, {**overrides, "protocol.duplicates": "keep", "protocol.imbalance": None})
    store = assembly.prepare_store(settings)
    store.verify()
    # An official division is checked as its authors gave it, before any validation is cut from it.
    split = None if settings.protocol.kind == "official" else assembly.split_store(settings, store)
    found = check(store.manifest, assembly.stored_samples(store), split=split, quarantine=store.quarantine)
    findings = replace(found, notes=store.manifest.notes)
    if place is not None:
        for name, table in findings.tables().items():
            with atomic_write(place / f"{name}.csv") as temporary:
                csv_safe(table).to_csv(temporary, index=False)
    return findings
