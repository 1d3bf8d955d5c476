"""Which runs, studies and files of models there are."""

import csv
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from evenface.app.access import redact
from evenface.app.schemas import (
    ChangeResponse,
    ClassResult,
    ComparedRunResponse,
    ComparisonResponse,
    Detail,
    Listed,
    PairResponse,
    StudyDetail,
    StudySummaryResponse,
    Value,
    finite,
    value_of,
)
from evenface.config.yaml import read_mapping
from evenface.evaluation import comparison as comparing
from evenface.evaluation.calibration import Calibration
from evenface.evaluation.summary import measured, metrics_of
from evenface.inference.input_spec import InputSpec, finds_points, input_spec_of
from evenface.inference.model import Model
from evenface.reporting import model_card, summaries
from evenface.reporting.summaries import comparison_summary, verdict
from evenface.runs import FACTS, METRICS, RECIPE, REPORT, WEIGHTS, Run
from evenface.studies.definition import STUDY
from evenface.utils.errors import InputError
from evenface.utils.tables import unescape_csv_cell

DEEPEST = 6
"""Folders below a named one that are looked into."""
MOST = 2_000
FRESH = 2.0
"""Seconds for which what was found holds."""
Kind = Literal["run", "file", "study"]


@dataclass(frozen=True)
class Entry:
    """Something that was found."""

    id: str
    kind: Kind
    path: Path
    name: str
    study: str | None = None

    def file(self, *names: str) -> Path | None:
        """Return the path of a file in the folder; None where there is none, or it is a link to somewhere else."""
        path = self.path.joinpath(*names)
        inside = path.resolve().is_relative_to(self.path.resolve())
        return path if inside and path.is_file() else None


class Catalogue:
    """What lies below the folders that the user named, looked for anew whenever it is asked for.

    Parameters
    ----------
    places : sequence of Path
        Run folders, study folders, folders of these, and ``.onnx`` files.

    Attributes
    ----------
    notes : list of str
        A line for each run or study that was passed over, as of the last look.

    Raises
    ------
    InputError
        If one is not there, or no model at all is found.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.notes: list[str] = []
        self.places = [Path(place) for place in places]
        for place in self.places:
            if not place.exists():
                raise InputError(f"{place}: missing", "Name run folders, folders of runs, or .onnx files.")
            if place.is_file() and place.suffix != ".onnx":
                raise InputError(f"{place} is no trained model", "Name run folders, folders of runs, or .onnx files.")
        self._lock, self._entries, self._looked = threading.Lock(), dict[str, Entry](), 0.0
        if not any(entry.kind != "study" for entry in self.entries().values()):
            named = ", ".join(map(str, self.places))
            passed_over = "; ".join(self.notes[:3]) or "Train one (evenface demo), or name others."
            raise InputError(f"no run that has ended below {named}", passed_over)

    def entries(self) -> dict[str, Entry]:
        """Give all that is there now, by id."""
        with self._lock:
            if not self._entries or time.monotonic() - self._looked > FRESH:
                several = len(self.places) > 1
                notes: list[str] = []
                found = [entry for place in self.places for entry in _found(place, notes, several=several)]
                self.notes = notes
                self._entries = {entry.id: entry for entry in found}
                self._looked = time.monotonic()
            return self._entries

    def get(self, key: str, *kinds: Kind) -> Entry | None:
        """Give the entry of an id, if it is of one of these kinds."""
        found = self.entries().get(key)
        return found if found and found.kind in kinds else None


def identify(path: Path) -> str:
    """Make the id of a place."""
    return hashlib.blake2b(os.fsencode(path.resolve()), digest_size=8).hexdigest()


def _found(place: Path, notes: list[str], *, several: bool) -> Iterator[Entry]:
    """Look below a place; names begin with its own where there are several places."""
    whole = place.resolve()
    for count, entry in enumerate(_walk(place, whole.parent if several else whole, 0, None, notes)):
        if count == MOST:
            return
        yield entry


def _walk(path: Path, root: Path, depth: int, study: str | None, notes: list[str]) -> Iterator[Entry]:
    """Look at a file or folder, and into it; runs are not looked into."""
    if path.is_file():
        if path.suffix == ".onnx":
            yield Entry(identify(path), "file", path, _name(path, root), study)
        return
    known = RECIPE if (path / RECIPE).is_file() else STUDY if (path / STUDY).is_file() else None
    if known and (link := _outside_link(path)):
        notes.append(f"passed over {path}: {link.name} is a link to another place")
        return
    if known == RECIPE:
        if Run(path).finished:
            yield Entry(identify(path), "run", path, _name(path, root), study)
        return
    if known == STUDY:
        study = identify(path)
        yield Entry(study, "study", path, _name(path, root))
    for below in _children(path) if depth < DEEPEST else ():
        yield from _walk(below, root, depth + 1, study, notes)


def _children(folder: Path) -> list[Path]:
    """List folders and files of models in a folder, but for links and hidden ones."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name[0] != "." and not entry.is_symlink())
    except OSError:
        return []  # not ours to read
    return [folder / name for name in names if (folder / name).is_dir() or name.endswith(".onnx")]


def _outside_link(folder: Path) -> Path | None:
    """Return a link that leads out of a run or study: whoever made it chose a file of this machine to be read."""
    root = folder.resolve()
    tables = folder / "tables"
    inside = [*folder.iterdir(), *(tables.iterdir() if tables.is_dir() and not tables.is_symlink() else ())]
    return next((one for one in inside if one.is_symlink() and not one.resolve().is_relative_to(root)), None)


def _name(path: Path, root: Path) -> str:
    found = path.resolve()
    return found.name if found == root else found.relative_to(root).as_posix()


TABLE = "table.csv"
Taken = Literal["picture", "video", "numbers"]


def takes_of(form: InputSpec) -> list[Taken]:
    """Say what can be judged by a model that is prepared for in this form."""
    how = form.sequences
    if how is None:
        return ["picture", "video"] if form.kind == "stills" else ["video"]
    if how.origin == "files":
        return ["numbers", "video"] if finds_points(form) else ["numbers"]
    return ["picture", "video"] if how.origin == "stills" else ["video"]


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
        takes: list[Taken] = takes_of(input_spec_of(run))
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
    from evenface.inference import open_model

    return open_model(path)


def detail(entry: Entry) -> Detail:
    """Say all that is known of a model."""
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
        warnings=summaries.run_warnings(run),
        notes=summaries.protocol_notes({"": [run]}),
        overall={name: value_of(value) for name, value in result["overall"].items()},
        per_class=[_class(name, found) for name, found in result["per_class"].items()],
        confusion=result["confusion"],
        units=f"{result['units']:,} {result['unit']}",
        card=redact(_card(run), run.folder),
        report=(run.folder / REPORT).is_file(),
    )


def _card(run: Run) -> str:
    """Give the model card; runs of studies, and those of older versions, have none in their folder."""
    if (run.folder / model_card.CARD).is_file():
        return (run.folder / model_card.CARD).read_text(encoding="utf-8")
    try:
        return model_card.markdown(model_card.card_of(run))
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
        card=redact(model_card.markdown(model.card)),
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
            rows = [[unescape_csv_cell(cell) for cell in row] for row in csv.reader(file)]
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


def short(study: StudyDetail) -> StudySummaryResponse:
    """Leave the table out."""
    return StudySummaryResponse(**study.model_dump(include=set(StudySummaryResponse.model_fields)))


def compare(entries: Sequence[Entry], *, trust_plugins: bool = False) -> dict[str, Any]:
    """Compare runs on the same test samples, as ``evenface compare`` does.

    Returns
    -------
    dict
        A :class:`~evenface.app.schemas.Comparison`.

    Raises
    ------
    InputError
        If there are fewer than two methods, a run names code that is not trusted, or they were not tested on the same
        samples.
    """
    opened = [Run.open(entry.path, trust_plugins=trust_plugins) for entry in entries]
    groups = summaries.group_runs(opened)
    found = comparing.compare({name: [run.predictions for run in group] for name, group in groups.items()})
    return ComparisonResponse(
        lines=[*summaries.shared_warnings(opened), *comparison_summary(found).splitlines()],
        classes=list(found.classes),
        support=list(found.support),
        unit=found.unit,
        units=found.units,
        methods=[
            ComparedRunResponse(
                name=method.name,
                runs=len(method.runs),
                overall={name: value_of(value) for name, value in method.overall.items()},
                recall=[value_of(value) for value in method.recall],
            )
            for method in found.methods
        ],
        pairs=[
            PairResponse(
                baseline=pair.baseline,
                candidate=pair.candidate,
                said=verdict(pair, found),
                overall=[_change(one) for one in pair.overall.values()],
                classes=[_change(one) for one in pair.classes],
            )
            for pair in found.pairs
        ],
        notes=summaries.protocol_notes(groups),
    ).model_dump()


def _change(found: comparing.Difference) -> ChangeResponse:
    value, low, high, p = (finite(one) for one in (found.value, found.low, found.high, found.p_holm))
    return ChangeResponse(name=found.name, value=value, low=low, high=high, p=p, certain=bool(found.certain))
