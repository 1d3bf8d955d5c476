"""Folder of explanations: a record per input file, which later calls reuse; tables, figure and report page."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from evenface.config.explain import ExplainSettings
from evenface.data.manifest import TARGET_TASKS
from evenface.explanation.explanation import Explanation, marked_outputs, tested_output
from evenface.explanation.faithfulness import FRACTIONS, UNITS, Curves, Faithfulness, faithfulness
from evenface.inference.model import Model
from evenface.inference.pipeline import PreparedSample
from evenface.inference.prediction_table import write_csv
from evenface.inference.sources import Source
from evenface.reporting.page import CaptionedFigure, CaptionedImage, Page, PageSection, Tile, Verdict, write_page
from evenface.reporting.saliency import LEGEND
from evenface.reporting.style import MUTED, colour, panels, save, styled
from evenface.reporting.tables import Table
from evenface.utils import __version__
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORDS, IMAGES = "parts", "pictures"
PAGE, TABLE, VALUES, CURVES = "index.html", "explanations.csv", "importance.csv", "deletion-insertion.png"
POSITION = ("frame", "end", "time", "until", "face", "left", "top", "right", "bottom")
KEY = re.compile(r'\{"key": "(\w+)"')
RECORD_FORMAT = 2
"""Version of what a record holds of a sample; part of the key, so that those of others are not read."""
Record = dict[str, Any]
"""Content of a record: file, settings key, image, method, and all that tables and page show of its samples."""


# ---- records


def file_id(path: str) -> str:
    """Return an identifier of a file, the same for all paths to it."""
    return digest(os.path.realpath(path))[:12]


def image_name(path: str) -> str:
    """Return the name of a file's image: its own name, and an identifier because names can be equal."""
    return f"{Path(path).stem}-{file_id(path)[:6]}.png"


def record_of(
    source: Source,
    key: str,
    samples: Sequence[PreparedSample],
    explanations: Sequence[Explanation],
    curves: Sequence[Sequence[Curves]],
    truth: int | None,
    names: Sequence[str],
    model: Model,
) -> Record:
    """Collect the record of a file."""
    return {
        "key": key,
        "file": source.path,
        "digest": source.content_digest(),
        "picture": f"{IMAGES}/{image_name(source.path)}",
        "method": explanations[0].method,
        "truth": truth,
        "names": list(names),
        "samples": [_sample_record(*each, model) for each in zip(samples, explanations, curves, strict=True)],
    }


def _sample_record(sample: PreparedSample, explanation: Explanation, curves: Sequence[Curves], model: Model) -> Record:
    box = [None] * 4 if sample.box is None else [round(float(side), 2) for side in sample.box]
    position = (sample.first_frame, sample.end_frame, sample.start_time, sample.end_time, sample.face_id, *box)
    return {
        **dict(zip(POSITION, position, strict=True)),
        "probabilities": explanation.probabilities.tolist(),
        "predicted": list(marked_outputs(model, explanation.probabilities)),
        "tested": tested_output(model, explanation.probabilities),
        "maps": _as_list(explanation.maps),
        "frames": _as_list(explanation.frames),
        "points": _as_list(explanation.points),
        "attention": _as_list(explanation.attention),
        "curves": [
            {
                "what": curve.what,
                "deletion": _as_list(curve.deletion),
                "insertion": _as_list(curve.insertion),
                "random": _as_list(curve.random),
            }
            for curve in curves
        ],
    }


def _as_list(values: np.ndarray | None) -> list[Any] | None:
    rounded: list[Any] | None = None if values is None else np.asarray(values, dtype=np.float64).round(5).tolist()
    return rounded


def save_record(folder: Path, record: Record) -> None:
    """Write a record atomically."""
    with atomic_write(folder / RECORDS / f"{file_id(record['file'])}.json") as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")


def load_record(folder: Path, source: Source, key: str) -> Record | None:
    """Load the record of a file; None without a valid one for its content and these settings, or without its image."""
    file = folder / RECORDS / f"{file_id(source.path)}.json"
    try:
        record: Record = json.loads(file.read_text(encoding="utf-8"))
        valid = record["key"] == key and bool(record["samples"]) and record["digest"] == source.content_digest()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if valid and (folder / record["picture"]).is_file() else None


def check_folder(folder: Path, key: str) -> None:
    """Raise InputError if a folder holds records of another model or version, or of other settings."""
    for file in sorted((folder / RECORDS).glob("*.json")):
        with file.open(encoding="utf-8", errors="replace") as opened:
            stored = KEY.match(opened.read(64))
        if stored and stored[1] != key:
            raise InputError(
                f"{folder} holds explanations of another model or version, or with other settings",
                "Choose another folder with --out, or delete this one.",
            )


def other_files(folder: Path, records: Sequence[Record]) -> int:
    """Count the records of files that are not among these."""
    own = {f"{file_id(record['file'])}.json" for record in records}
    return sum(file.name not in own for file in (folder / RECORDS).glob("*.json"))


def curves_of(record: Record) -> Iterator[Curves]:
    """Iterate over the curves of all samples of a record."""
    for sample in record["samples"]:
        yield from _sample_curves(sample)


def _sample_curves(sample: Record) -> Iterator[Curves]:
    for curve in sample["curves"]:
        yield Curves(curve["what"], *(np.array(curve[name]) for name in ("deletion", "insertion", "random")))


def faithfulness_of(records: Sequence[Record]) -> list[Faithfulness]:
    """Compare all explanations with random orders."""
    areas: dict[str, list[np.ndarray]] = {}
    files: dict[str, list[str]] = {}
    for record in records:
        for curves in curves_of(record):
            areas.setdefault(curves.what, []).append(curves.areas)
            files.setdefault(curves.what, []).append(record["file"])
    return [faithfulness(what, np.stack(values), files[what]) for what, values in areas.items()]  # type: ignore[arg-type]


# ---- tables


COLUMNS = ("file", *POSITION, "class", "probability", "predicted", "true", "method", "picture")
OF_VALUES = {"probability": "value"}
"""Column of a regression, by that of classes."""
VALUE_COLUMNS = ("file", "frame", "face", "class", "what", "step", "row", "column", "name", "value")


def write_tables(folder: Path, records: Sequence[Record], model: Model) -> None:
    """Write both tables."""
    columns = tuple(OF_VALUES.get(name, name) for name in COLUMNS) if model.task == "regression" else COLUMNS
    rows = list(explanation_rows(records, model.classes, columns))
    areas = dict.fromkeys(name for row in rows for name in row if name not in columns)
    with atomic_write(folder / TABLE) as temporary:
        write_csv(temporary, (dict.fromkeys(areas) | row for row in rows), (*columns, *areas))
    with atomic_write(folder / VALUES) as temporary:
        write_csv(temporary, importance_rows(records, model.classes), VALUE_COLUMNS)


def explanation_rows(
    records: Sequence[Record], classes: Sequence[str], columns: Sequence[str] = COLUMNS
) -> Iterator[dict[str, Any]]:
    """Iterate over a row per sample and class or target; areas under the curves in the row of the tested one."""
    for record in records:
        for sample in record["samples"]:
            areas: dict[str, float] = {}
            for curves in _sample_curves(sample):
                names = (f"{curves.what}_{name}" for name in ("out", "in", "random"))
                areas |= dict(zip(names, map(float, curves.areas), strict=True))
            for label, name in enumerate(classes):
                true = None if record["truth"] is None else label == record["truth"]
                position = (record["file"], *(sample[place] for place in POSITION))
                facts = (name, sample["probabilities"][label], label in sample["predicted"], true)
                row = zip(columns, (*position, *facts, record["method"], record["picture"]), strict=True)
                yield {**dict(row), **(areas if label == sample["tested"] else {})}


def importance_rows(records: Sequence[Record], classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Iterate over all values: a row per sample, class and cell of a map, frame or point; attention without class."""
    for record in records:
        for sample in record["samples"]:
            place = {"file": record["file"], "frame": sample["frame"], "face": sample["face"]}
            for part, what in (("maps", "place"), ("frames", "frame"), ("points", "point")):
                if sample[part] is not None:
                    for cell in _cells(np.array(sample[part]), part, classes, record["names"]):
                        yield place | {"what": what} | cell
            if sample["attention"] is not None:
                for cell in _cells(np.array([sample["attention"]]), "frames", ("",), ()):
                    yield place | {"what": "attention"} | cell


def _cells(values: np.ndarray, part: str, classes: Sequence[str], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Iterate over the values of an array with their indices; -1 for those that it lacks."""
    for (label, *indices), value in np.ndenumerate(values):
        step = row = column = -1
        name = ""
        if part == "maps":
            row, column = indices[-2:]
            step = indices[0] if len(indices) == 3 else -1
        elif part == "frames":
            (step,) = indices
        else:
            (column,) = indices
            name = names[column] if column < len(names) else str(column)
        yield {
            "class": classes[label],
            "step": step,
            "row": row,
            "column": column,
            "name": name,
            "value": float(value),
        }


# ---- report page

MAX_IMAGES = 60
"""Maximum number of images on the page; the others are in the folder."""
MAX_NOTES = 20
CURVES_CAPTION = "{} against the fraction deleted or inserted; means over samples."
TESTED = {"multilabel": "Probability of the most probable target", "regression": "Value of the first target"}
"""What is tested for faithfulness; of classes, the probability of the predicted one."""
PERTURBATIONS = {
    "places": "Deleted image regions are {baseline}; a random order is the same map with its cells shuffled.",
    "frames": "A deleted frame is replaced by the nearest remaining one; the last one remains.",
    "attention": "Frames are also deleted in the order of their attention.",
    "points": "A deleted point is replaced by the mean of the run's prepared sequences.",
}
ATTENTION_NOTE = (
    "Attention is the share of each frame in what the network reads, the same for all classes; it sums to 1. It need "
    "not agree with the importance of frames."
)
METHOD_NOTES = {
    "gradcam": "Grad-CAM of the network's last feature maps. A map shows where, not how much: each class has its own "
    "scale.",
    "cam": "Class activation maps of the network's last feature maps, each class scaled from its minimum to its "
    "maximum.",
    "gradients": "Integrated gradients from the mean sequence to this one, in units of the logit.",
    "occlusion": "Drop of the class score (log-probability; log-odds for one-vs-rest models and targets that are "
    "present or not; the value of a regression) without a region, frame or point.",
}


def write_report(
    folder: Path,
    model: Model,
    records: Sequence[Record],
    checks: Sequence[Faithfulness],
    notes: Sequence[str],
    settings: ExplainSettings,
) -> None:
    """Write the report page, and the figure of the curves beside it."""
    sections = [_images(folder, records)]
    if checks:
        drawn: tuple[CaptionedFigure, ...] = ()
        if draws_curves():
            save(curves_figure(records, model), folder / CURVES)
            caption = CURVES_CAPTION.format(_tested(model))
            drawn = (CaptionedFigure("deletion-insertion", curves_figure(records, model), caption),)
        sections.append(_faithfulness_section(drawn, checks, _tested(model)))
    method = records[0]["method"]
    orders = f"{settings.random_orders} of each sample, seed {settings.seed}"
    baseline = "blurred" if settings.baseline == "blur" else "replaced by the mean colour of their frame"
    page = Page(
        "explanations",
        f"Explanations of {model.name}",
        "Better than random orders, area under the curve" if checks else "",
        tuple(
            Tile(f"{UNITS[check.what]}, {name}", f"{gain.value:+.3f}", _interval(gain), index)
            for check in checks
            for index, (name, gain) in enumerate(
                (("deletion", check.deletion_gain), ("insertion", check.insertion_gain))
            )
        ),
        tuple(Verdict(f"{check.verdict[0].upper()}{check.verdict[1:]}.", _areas(check)) for check in checks),
        (
            METHOD_NOTES[method],
            *([ATTENTION_NOTE] if _has_attention(records) else []),
            *(PERTURBATIONS[check.what].format(baseline=baseline) for check in checks),
        ),
        (*notes[:MAX_NOTES], *_reading_notes(model, records, settings)),
        tuple(sections),
        {
            "model": model.name,
            "targets" if model.task in TARGET_TASKS else "classes": ", ".join(model.classes),
            "files": f"{len(records):,}",
            "explained": f"{sum(len(record['samples']) for record in records):,}",
            "method": method,
            "random orders": orders if checks else "not computed",
            "evenface": __version__,
        },
        source="the input files",
    )
    write_page(page, folder / PAGE)


def _tested(model: Model) -> str:
    return TESTED.get(model.task, "Probability of the predicted class")


def _reading_notes(model: Model, records: Sequence[Record], settings: ExplainSettings) -> Iterator[str]:
    if any(record["truth"] is not None for record in records):
        yield "The true class is the name of the folder that contains the file."
    if model.input_spec.kind != "stills" or any(len(record["samples"]) == settings.samples for record in records):
        yield (
            f"Of videos and sequence files at most {settings.samples} frames or windows are explained: those where "
            "each class is most probable."
        )
    yield "An explanation shows what this model's prediction depends on, not what a face expresses."


def _interval(gain: Any) -> str:
    return "no interval for one file" if np.isnan(gain.low) else f"95 % interval {gain.low:+.3f} to {gain.high:+.3f}"


def _areas(check: Faithfulness) -> str:
    return (
        f"Area under the curve: deletion {check.deletion:.3f}, insertion {check.insertion:.3f}, random orders "
        f"{check.random:.3f}."
    )


def _images(folder: Path, records: Sequence[Record]) -> PageSection:
    shown = []
    for record in records[:MAX_IMAGES]:
        with Image.open(folder / record["picture"]) as image:
            shown.append(CaptionedImage(image.convert("RGB"), record["file"], record["picture"]))
    text = "The face is on the left, then the saliency map of each class or target, from yellow to red."
    if records[0]["samples"][0]["maps"] is None or records[0]["samples"][0]["frames"] is not None:
        text = f"Bars and points: {LEGEND}."
    if _has_attention(records):
        text += " Grey bars: attention to each frame."
    if len(records) > MAX_IMAGES:
        text += f"\nThe first {MAX_IMAGES} of {len(records):,} files; the others are in the folder {IMAGES}."
    return PageSection("Explanations", text, images=tuple(shown))


def _has_attention(records: Sequence[Record]) -> bool:
    return records[0]["samples"][0]["attention"] is not None


def draws_curves() -> bool:
    """Return whether the figure of the curves can be drawn: everything else does without matplotlib."""
    return importlib.util.find_spec("matplotlib") is not None


def _faithfulness_section(
    figures: tuple[CaptionedFigure, ...], checks: Sequence[Faithfulness], tested: str
) -> PageSection:
    rows = tuple(
        (
            UNITS[check.what],
            check.samples,
            check.files,
            check.deletion,
            check.insertion,
            check.random,
            check.deletion_gain,
            check.insertion_gain,
        )
        for check in checks
    )
    header = ("perturbed", "samples", "files", "deletion", "insertion", "random", "deletion gain", "insertion gain")
    table = Table(
        "deletion-insertion",
        f"Areas under the deletion and insertion curves: {tested[0].lower()}{tested[1:]}",
        header,
        rows,
        "Lower is better for deletion, higher for insertion; a positive gain is better than random. 95 % bootstrap "
        "intervals over files.",
    )
    text = (
        f"If an explanation is faithful, the {tested.split()[0].lower()} falls sooner when the most salient parts are "
        "deleted first, and rises sooner when they are inserted first."
    )
    return PageSection("Faithfulness", text, figures, (table,))


@styled
def curves_figure(records: Sequence[Record], model: Model) -> Figure:
    """Draw mean curves: a row for regions, frames and points, deletion on the left, insertion on the right."""
    by_unit: dict[str, list[Curves]] = {}
    for record in records:
        for curves in curves_of(record):
            by_unit.setdefault(curves.what, []).append(curves)
    figure, axes = panels(len(by_unit), 2, 0.5 + 1.9 * len(by_unit), sharex=True, sharey="row")
    for row, (what, group) in enumerate(by_unit.items()):
        random = np.mean([curves.random.mean(axis=0) for curves in group], axis=0)
        for column, name in enumerate(("deletion", "insertion")):
            mean = np.mean([getattr(curves, name) for curves in group], axis=0)
            axis = axes[2 * row + column]
            baseline = random if name == "deletion" else random[::-1]
            axis.plot(FRACTIONS, baseline, color=MUTED, linestyle="--", label="random orders")
            axis.plot(FRACTIONS, mean, color=colour(column), label="most salient first")
            axis.set_title(f"{UNITS[what]}, {name}", loc="left")
            if model.task != "regression":
                axis.set_ylim(0, 1)
            axis.legend(loc="lower left" if column == 0 and mean[-1] > 0.5 else "best")
    for axis in axes[-2:]:
        axis.set_xlabel("fraction")
    axes[0].set_ylabel(_tested(model).split()[0].lower())
    return figure
