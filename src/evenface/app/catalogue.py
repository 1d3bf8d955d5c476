"""Runs, studies and exported models below the served folders, and what the API reports of them."""

import csv
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from evenface.app.schemas import (
    ChangeResponse,
    ClassResult,
    ComparedRunResponse,
    ComparisonResponse,
    MetricValue,
    ModelDetail,
    ModelSummary,
    PairResponse,
    StudyDetail,
    StudySummaryResponse,
    TargetResult,
    finite,
    metric_value,
    redact,
)
from evenface.config.yaml import read_mapping
from evenface.data.manifest import TaskKind
from evenface.evaluation import comparison
from evenface.evaluation.calibration import Calibration
from evenface.evaluation.metric_registry import headline_of
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured
from evenface.evaluation.target_calibration import load_calibration
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.evaluation.target_summary import compute_metrics, measured_targets
from evenface.inference.input_spec import InputSpec, finds_points, input_spec_of
from evenface.inference.model import Model
from evenface.inference.third_party import ThirdPartyModel
from evenface.reporting import model_card, summaries
from evenface.reporting.summaries import comparison_summary, verdict
from evenface.runs import FACTS, METRICS, RECIPE, REPORT, WEIGHTS, Run
from evenface.studies.definition import STUDY
from evenface.utils.errors import InputError
from evenface.utils.tables import unescape_csv_cell

MAX_DEPTH = 6
"""Levels of folders below a served one that are searched."""
MAX_ENTRIES = 2_000
CACHE_SECONDS = 2.0
Kind = Literal["run", "file", "study"]


@dataclass(frozen=True)
class Entry:
    """A run, an exported model or a study."""

    id: str
    kind: Kind
    path: Path
    name: str
    study: str | None = None

    def file(self, *names: str) -> Path | None:
        """Return the path of a file in the folder; None if it is missing or links to another location."""
        path = self.path.joinpath(*names)
        inside = path.resolve().is_relative_to(self.path.resolve())
        return path if inside and path.is_file() else None


class Catalogue:
    """Runs, studies and exported models below the served folders; searched again on request.

    Parameters
    ----------
    folders : sequence of Path
        Run folders, study folders, folders of these, and ``.onnx`` files.
    named : callable, optional
        Returns the files of models that are served by name, whatever the folders hold.

    Attributes
    ----------
    notes : list of str
        A line for each run or study that was skipped in the last search, or that there is none.

    Raises
    ------
    InputError
        If a folder is missing, or no model is found.
    """

    def __init__(self, folders: Sequence[Path], named: Callable[[], Mapping[str, Path]] | None = None) -> None:
        self.notes: list[str] = []
        self.named = named or dict
        self.folders = [Path(folder) for folder in folders]
        for folder in self.folders:
            if not folder.exists():
                raise InputError(f"{folder}: missing", "Name run folders, folders of runs, or .onnx files.")
            if folder.is_file() and folder.suffix != ".onnx":
                raise InputError(
                    f"{folder} is not a trained model", "Name run folders, folders of runs, or .onnx files."
                )
        self._lock, self._entries, self._searched = threading.Lock(), dict[str, Entry](), 0.0
        if not any(entry.kind != "study" for entry in self.entries().values()):
            names = ", ".join(map(str, self.folders))
            hint = "; ".join(self.notes[:3]) or "Train one (evenface demo), or name other folders."
            raise InputError(f"no finished run in {names}", hint)

    def entries(self) -> dict[str, Entry]:
        """Return all entries by id."""
        with self._lock:
            if not self._entries or time.monotonic() - self._searched > CACHE_SECONDS:
                several = len(self.folders) > 1
                notes: list[str] = []
                entries = [entry for folder in self.folders for entry in _search(folder, notes, several=several)]
                named = [Entry(entry_id(path), "file", path, name) for name, path in self.named().items()]
                if self.folders and named and not any(entry.kind != "study" for entry in entries):
                    notes.append(f"no finished run in {', '.join(map(str, self.folders))}")
                self.notes = notes
                self._entries = {entry.id: entry for entry in (*entries, *named)}
                self._searched = time.monotonic()
            return self._entries

    def get(self, key: str, *kinds: Kind) -> Entry | None:
        """Return the entry with an id, if it is of one of these kinds."""
        entry = self.entries().get(key)
        return entry if entry and entry.kind in kinds else None


def entry_id(path: Path) -> str:
    """Return the id of a path."""
    return hashlib.blake2b(os.fsencode(path.resolve()), digest_size=8).hexdigest()


def _search(folder: Path, notes: list[str], *, several: bool) -> Iterator[Entry]:
    """Search a folder; names of entries start with its own if several folders are served."""
    root = folder.resolve()
    yield from islice(_walk(folder, root.parent if several else root, 0, None, notes), MAX_ENTRIES)


def _walk(path: Path, root: Path, depth: int, study: str | None, notes: list[str]) -> Iterator[Entry]:
    """Search a file or folder recursively, without the contents of runs."""
    if path.is_file():
        if path.suffix == ".onnx":
            yield Entry(entry_id(path), "file", path, _name(path, root), study)
        return
    marker = RECIPE if (path / RECIPE).is_file() else STUDY if (path / STUDY).is_file() else None
    if marker and (link := _outside_link(path)):
        notes.append(f"skipped {path}: {link.name} is a symbolic link to another location")
        return
    if marker == RECIPE:
        if Run(path).finished:
            yield Entry(entry_id(path), "run", path, _name(path, root), study)
        return
    if marker == STUDY:
        study = entry_id(path)
        yield Entry(study, "study", path, _name(path, root))
    for child in _children(path) if depth < MAX_DEPTH else ():
        yield from _walk(child, root, depth + 1, study, notes)


def _children(folder: Path) -> list[Path]:
    """List the folders and .onnx files in a folder, without links and hidden ones."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name[0] != "." and not entry.is_symlink())
    except OSError:
        return []  # not readable
    return [folder / name for name in names if (folder / name).is_dir() or name.endswith(".onnx")]


def _outside_link(folder: Path) -> Path | None:
    """Return a link that leads out of a run or study, by which its author could have any file of this machine read."""
    root = folder.resolve()
    tables = folder / "tables"
    paths = [*folder.iterdir(), *(tables.iterdir() if tables.is_dir() and not tables.is_symlink() else ())]
    return next((path for path in paths if path.is_symlink() and not path.resolve().is_relative_to(root)), None)


def _name(path: Path, root: Path) -> str:
    resolved = path.resolve()
    return resolved.name if resolved == root else resolved.relative_to(root).as_posix()


TABLE = "table.csv"
InputKind = Literal["image", "video", "features"]


def accepted_inputs(spec: InputSpec) -> list[InputKind]:
    """Return the kinds of files that a model with this input can predict on."""
    how = spec.sequences
    if how is None:
        return ["image", "video"] if spec.kind == "stills" else ["video"]
    if how.origin == "files":
        return ["features", "video"] if finds_points(spec) else ["features"]
    return ["image", "video"] if how.origin == "stills" else ["video"]


def model_summary(entry: Entry) -> ModelSummary | None:
    """Return the summary of a model; None if it cannot be read."""
    try:
        file = entry.path / FACTS if entry.kind == "run" else entry.path
        return _model_summary(entry, file.stat().st_mtime_ns)
    except (OSError, InputError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=4_000)
def _model_summary(entry: Entry, _changed: int) -> ModelSummary:
    base: dict[str, Any] = {"id": entry.id, "name": entry.name, "kind": entry.kind, "study": entry.study}
    if entry.kind == "file":
        model = _open_file(entry.path, _changed)
        takes, main = accepted_inputs(model.input_spec), headline_of(model.task)[0]
        shown: dict[str, Any] = {"task": model.task, "classes": list(model.classes), "takes": takes, "metric": main}
        shown["baseline"] = model.input_spec.baseline is not None
        return ModelSummary(**base, **shown, usable=True, result=None)
    run = Run(entry.path)
    try:
        takes = accepted_inputs(input_spec_of(run))
    except (InputError, KeyError):  # written by an older version, or the face detector is not installed
        takes = []
    usable = bool(takes) and (run.folder / WEIGHTS).is_file()
    task = _task(run)
    names, main = list(run.facts.get("targets", run.facts["classes"])), headline_of(task)[0]
    shown = {"task": task, "classes": names, "takes": takes, "metric": main}
    shown["baseline"] = run.recipe.data.baseline.kind != "none"
    return ModelSummary(**base, **shown, usable=usable, result=_main_result(run, main))


def _task(run: Run) -> TaskKind:
    """Return the task of a run; runs of older versions are of classes."""
    task: TaskKind = run.facts.get("task", "classification")
    return task


def _main_result(run: Run, name: str) -> MetricValue:
    """Return the main metric; without interval for runs of studies, whose metrics are not stored."""
    if (run.folder / METRICS).is_file():
        return metric_value(run.metrics["overall"][name])
    results = run.results
    value = measured_targets(name, results) if isinstance(results, TargetPredictions) else measured(name, results)
    return MetricValue(value=finite(value))


@lru_cache(maxsize=8)
def _open_file(path: Path, _changed: int) -> Model:
    from evenface.inference import open_model

    return open_model(path)


def model_detail(entry: Entry) -> ModelDetail:
    """Return the details of a model."""
    known = model_summary(entry)
    if known is None:
        raise InputError(f"{entry.name} cannot be read", "Files are damaged or missing; evaluate or train it again.")
    return _run_detail(entry, known) if entry.kind == "run" else _file_detail(entry, known)


def _run_detail(entry: Entry, known: ModelSummary) -> ModelDetail:
    run = Run(entry.path)
    metrics = run.metrics if (run.folder / METRICS).is_file() else compute_metrics(run.results)
    calibration, results = load_calibration(run.folder), run.results
    return ModelDetail(
        **known.model_dump(),
        about=run.recipe.about,
        calibrated=calibration is not None,
        temperature=calibration.temperature if isinstance(calibration, Calibration) else None,
        ordered=isinstance(results, Predictions) and results.ordered,
        warnings=summaries.run_warnings(run),
        notes=summaries.protocol_notes({"": [run]}),
        overall={name: metric_value(value) for name, value in metrics["overall"].items()},
        per_class=[_class_result(name, values) for name, values in metrics.get("per_class", {}).items()],
        per_target=[_target_result(name, values) for name, values in metrics.get("per_target", {}).items()],
        confusion=metrics.get("confusion", []),
        units=f"{metrics['units']:,} {metrics['unit']}",
        card=redact(_card(run), run.folder),
        report=(run.folder / REPORT).is_file(),
    )


def _card(run: Run) -> str:
    """Return the model card, built now if the folder has none: runs of studies and of older versions."""
    if (run.folder / model_card.CARD).is_file():
        return (run.folder / model_card.CARD).read_text(encoding="utf-8")
    try:
        return model_card.markdown(model_card.card_of(run))
    except (InputError, OSError, KeyError):  # its store or some metadata is missing
        return ""


def _class_result(name: str, values: dict[str, Any]) -> ClassResult:
    metrics = {key: metric_value(values[key]) for key in ("recall", "precision", "f1")}
    return ClassResult(name=name, support=values["support"], **metrics)


def _target_result(name: str, values: dict[str, Any]) -> TargetResult:
    metrics = {key: metric_value(value) for key, value in values.items() if isinstance(value, dict)}
    return TargetResult(name=name, support=values["support"], threshold=values.get("threshold"), metrics=metrics)


def _file_detail(entry: Entry, known: ModelSummary) -> ModelDetail:
    model = _open_file(entry.path, entry.path.stat().st_mtime_ns)
    source = model.entry if isinstance(model, ThirdPartyModel) else None
    terms = ("licence", "training_data", "terms", "page") if source else ()
    return ModelDetail(
        **known.model_dump(),
        about=str(model.card.get("about", "")),
        calibrated=model.calibration is not None,
        temperature=model.calibration.temperature if isinstance(model.calibration, Calibration) else None,
        ordered=model.ordered,
        warnings=[],
        notes=[f"{name.replace('_', ' ').capitalize()}: {getattr(source, name)}" for name in terms],
        overall={},
        per_class=[],
        per_target=[],
        confusion=[],
        units="",
        card=redact(model_card.markdown(model.card)) if "results" in model.card else "",
        report=False,
    )


def study_detail(entry: Entry, catalogue: Catalogue) -> StudyDetail:
    """Return a study with its table."""
    models = [other.id for other in catalogue.entries().values() if other.study == entry.id and other.kind == "run"]
    try:
        about = str(read_mapping(entry.path / STUDY, "study").get("study", {}).get("about", ""))
    except (InputError, AttributeError):
        about = ""
    table = entry.path / TABLE
    rows: list[list[str]] = []
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            rows = [[unescape_csv_cell(cell) for cell in row] for row in csv.reader(file)]
    return StudyDetail(
        id=entry.id,
        name=entry.name,
        about=about,
        runs=len(models),
        report=(entry.path / REPORT).is_file(),
        header=rows[0] if rows else [],
        rows=rows[1:],
        models=models,
    )


def study_summary(entry: Entry, catalogue: Catalogue) -> StudySummaryResponse:
    """Return a study without its table."""
    detail = study_detail(entry, catalogue)
    return StudySummaryResponse(**detail.model_dump(include=set(StudySummaryResponse.model_fields)))


def compare(entries: Sequence[Entry], *, trust_plugins: bool = False) -> dict[str, Any]:
    """Compare runs on the same test samples, as ``evenface compare`` does.

    Returns
    -------
    dict
        A :class:`~evenface.app.schemas.ComparisonResponse`.

    Raises
    ------
    InputError
        If there are fewer than two methods, a run names plugin code that is not trusted, or the test samples differ.
    """
    runs = [Run.open(entry.path, trust_plugins=trust_plugins) for entry in entries]
    groups = summaries.group_runs(runs)
    result = comparison.compare({name: [run.results for run in group] for name, group in groups.items()})
    return ComparisonResponse(
        lines=[*summaries.shared_warnings(runs), *comparison_summary(result).splitlines()],
        task=_task(runs[0]),
        each=result.each,
        classes=list(result.classes),
        support=list(result.support),
        unit=result.unit,
        units=result.units,
        methods=[
            ComparedRunResponse(
                name=method.name,
                runs=len(method.runs),
                overall={name: metric_value(value) for name, value in method.overall.items()},
                each=[metric_value(value) for value in method.by_class],
            )
            for method in result.methods
        ],
        pairs=[
            PairResponse(
                baseline=pair.baseline,
                candidate=pair.candidate,
                summary=verdict(pair, result),
                overall=[_change(difference) for difference in pair.overall.values()],
                classes=[_change(difference) for difference in pair.classes],
            )
            for pair in result.pairs
        ],
        notes=summaries.protocol_notes(groups),
    ).model_dump()


def _change(difference: comparison.Difference) -> ChangeResponse:
    interval = {name: finite(getattr(difference, name)) for name in ("value", "low", "high")}
    return ChangeResponse(
        name=difference.name, **interval, p=finite(difference.p_holm), certain=bool(difference.certain)
    )
