"""What is said of runs, files of models and studies, from what lies in their folders."""

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from evenface import cards, reporting
from evenface.app.catalogue import Catalogue, Entry
from evenface.app.shapes import ClassResult, Detail, Listed, Studied, StudyDetail, Value, finite, value_of
from evenface.app.telling import told
from evenface.errors import InputError
from evenface.evaluation.fitted import Calibration
from evenface.evaluation.summary import measured, metrics_of
from evenface.files import from_csv_text
from evenface.recipes.reading import read_mapping
from evenface.runs import FACTS, METRICS, REPORT, WEIGHTS, Run
from evenface.serving.form import Form, finds_points, form_of
from evenface.serving.model import Model
from evenface.studies.schema import STUDY

TABLE = "table.csv"
Taken = Literal["picture", "video", "numbers"]


def takes_of(form: Form) -> list[Taken]:
    """Say what can be judged by a model that is prepared for in this form."""
    how = form.sequencing
    if how is None:
        return ["picture", "video"] if form.kind == "stills" else ["video"]
    if how.of == "files":
        return ["numbers", "video"] if finds_points(form) else ["numbers"]
    return ["picture", "video"] if how.of == "stills" else ["video"]


def listed(entry: Entry) -> Listed | None:
    """Say in short what a model is; nothing where it cannot be read at all."""
    try:
        file = entry.path / FACTS if entry.kind == "run" else entry.path
        return _listed(entry, file.stat().st_mtime_ns)
    except (OSError, InputError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=4_000)
def _listed(entry: Entry, _changed: int) -> Listed:
    base: dict[str, Any] = {"id": entry.id, "name": entry.name, "kind": entry.kind, "study": entry.study}
    if entry.kind == "file":
        model = _file(entry.path, _changed)
        return Listed(
            **base, classes=list(model.classes), takes=takes_of(model.form), usable=True, balanced_accuracy=None
        )
    run = Run(entry.path)
    try:
        takes: list[Taken] = takes_of(form_of(run))
    except (InputError, KeyError):  # of an older version, or what finds faces is not installed
        takes = []
    usable = bool(takes) and (run.folder / WEIGHTS).is_file()
    return Listed(**base, classes=run.facts["classes"], takes=takes, usable=usable, balanced_accuracy=_main(run))


def _main(run: Run) -> Value:
    """Give balanced accuracy; runs of studies have no metrics of their own, and intervals take long."""
    if (run.folder / METRICS).is_file():
        return value_of(run.metrics["overall"]["balanced_accuracy"])
    return Value(value=finite(measured("balanced_accuracy", run.predictions)))


@lru_cache(maxsize=8)
def _file(path: Path, _changed: int) -> Model:
    from evenface.serving.opening import open_model

    return open_model(path)


def detail(entry: Entry) -> Detail:
    """Say all that is known of a model.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    known = listed(entry)
    if known is None:
        raise InputError(f"{entry.name} cannot be read", "Its files are damaged, or gone; evaluate or train it anew.")
    return _of_run(entry, known) if entry.kind == "run" else _of_file(entry, known)


def _of_run(entry: Entry, known: Listed) -> Detail:
    run = Run(entry.path)
    result = run.metrics if (run.folder / METRICS).is_file() else metrics_of(run.predictions)
    calibration = Calibration.load(run.folder)
    return Detail(
        **known.model_dump(),
        about=run.recipe.about,
        calibrated=calibration is not None,
        temperature=calibration.temperature if calibration else None,
        ordered=run.predictions.ordered,
        warnings=reporting.warnings(run),
        notes=reporting.notes({"": [run]}),
        overall={name: value_of(value) for name, value in result["overall"].items()},
        per_class=[_class(name, found) for name, found in result["per_class"].items()],
        confusion=result["confusion"],
        units=f"{result['units']:,} {result['unit']}",
        card=told(_card(run), run.folder),
        report=(run.folder / REPORT).is_file(),
    )


def _card(run: Run) -> str:
    """Give the model card; runs of studies, and those of older versions, have none in their folder."""
    if (run.folder / cards.CARD).is_file():
        return (run.folder / cards.CARD).read_text(encoding="utf-8")
    try:
        return cards.markdown(cards.card_of(run))
    except (InputError, OSError, KeyError):  # its store is gone, or it does not say what a card tells
        return ""


def _class(name: str, found: dict[str, Any]) -> ClassResult:
    values: dict[str, Value] = {key: value_of(found[key]) for key in ("recall", "precision", "f1")}
    return ClassResult(name=name, support=found["support"], **values)


def _of_file(entry: Entry, known: Listed) -> Detail:
    model = _file(entry.path, entry.path.stat().st_mtime_ns)
    return Detail(
        **known.model_dump(),
        about=str(model.card.get("about", "")),
        calibrated=model.calibration is not None,
        temperature=model.calibration.temperature if model.calibration else None,
        ordered=model.ordered,
        warnings=[],
        notes=[],
        overall={},
        per_class=[],
        confusion=[],
        units="",
        card=told(cards.markdown(model.card)),
        report=False,
    )


def studied(entry: Entry, catalogue: Catalogue) -> StudyDetail:
    """Say what a study is, and give its table."""
    models = [other.id for other in catalogue.entries().values() if other.study == entry.id and other.kind == "run"]
    try:
        about = str(read_mapping(entry.path / STUDY, "study").get("study", {}).get("about", ""))
    except (InputError, AttributeError):
        about = ""
    table = entry.path / TABLE
    rows: list[list[str]] = []
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            rows = [[from_csv_text(cell) for cell in row] for row in csv.reader(file)]
    report = (entry.path / REPORT).is_file()
    header = rows[0] if rows else []
    return StudyDetail(
        id=entry.id,
        name=entry.name,
        about=about,
        runs=len(models),
        report=report,
        header=header,
        rows=rows[1:],
        models=models,
    )


def short(study: StudyDetail) -> Studied:
    """Leave the table out."""
    return Studied(**study.model_dump(include=set(Studied.model_fields)))
