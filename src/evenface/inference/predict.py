"""Predicting what the user names: sources, table, log, pictures and figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evenface.config.predict import PredictSettings
from evenface.inference.drawing import draw_all
from evenface.inference.drawing import timeline as draw_timeline
from evenface.inference.model import Model
from evenface.inference.pipeline import Ended, predicted, with_balance
from evenface.inference.settings import ESTIMATE, check_settings
from evenface.inference.sources import Source, Wanted, find_sources
from evenface.inference.table import SUFFIXES, Columns, PredictionTable, read_table
from evenface.preprocessing.video import open_film
from evenface.reporting.style import check_format
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import check_writable
from evenface.utils.progress import ProgressBar, progress

COUNTED = 100
"""Sources up to which progress is told in frames, which are counted first; else in files."""


@dataclass
class PredictResult:
    """What became of a call.

    Parameters
    ----------
    out : Path
        The table.
    sources : list of Source
        What was named, predicted or not.
    new : list of Source
        Those that were predicted now.
    files : int
        Files that are in it, of those that were named.
    before : int
        How many of them were in it before.
    rows, faces, empty : int
        New rows; new rows with probabilities, and without because there was no face.
    troubles : list of str
        A line for each input that could not be used.
    pictures : list of Path
        What was drawn.
    notes : list of str
        What a reader must know.
    """

    out: Path
    sources: list[Source]
    new: list[Source] = field(default_factory=list)
    files: int = 0
    before: int = 0
    rows: int = 0
    faces: int = 0
    empty: int = 0
    troubles: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Give the last screen."""
        known = f", {self.before:,} of them before" if self.before else ""
        lines = [f"{self.faces:,} predictions from {self.files:,} file{'s' * (self.files != 1)}{known}"]
        if self.empty:
            lines.append(f"no face  {self.empty:,} frames, pictures or windows; their rows have no probabilities")
        if self.troubles:
            lines.append(f"set aside  {len(self.troubles):,}: {'; '.join(self.troubles[:3])}")
        lines += [f"note  {note}" for note in self.notes]
        if self.files:
            lines.append(f"table  {self.out}")
        return [*lines, *(f"drawn  {path}" for path in self.pictures[:10])]


def check_outputs(out: Path, folder: Path | None = None, figure: Path | None = None) -> None:
    """Refuse what cannot be written, before anything is predicted."""
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out} must end in {' or '.join(SUFFIXES)}")
    check_writable(out)
    if folder is not None:
        check_writable(folder, folder=True)
    if figure is not None:
        check_format(figure)
        check_writable(figure)


def wanted_of(model: Model, folder_type: str | None) -> Wanted:
    """Return what folders are searched for."""
    form = model.form
    if form.sequences and form.sequences.origin == "files":
        return "numbers"
    if folder_type not in (None, "images", "clips"):
        raise InputError(f"folder_type must be images or clips, got {folder_type!r}")
    single = form.kind == "stills" or (form.sequences is not None and form.sequences.origin == "stills")
    return "pictures" if (folder_type or ("images" if single else "clips")) == "images" else "clips"


def predict_inputs(
    model: Model,
    inputs: Sequence[str | Path],
    settings: PredictSettings,
    out: Path,
    *,
    folder_type: str | None = None,
    skip: Path | None = None,
    camera: Source | None = None,
) -> PredictResult:
    """Predict files, or a camera, into a table."""
    check_settings(settings, model.form)
    check_outputs(out)
    sources, troubles = ([camera], []) if camera else find_sources(inputs, wanted_of(model, folder_type), skip)
    estimated = settings.prior == ESTIMATE
    settings = with_balance(model, sources, settings)
    found = PredictResult(out, sources, notes=notes_of(model, settings))
    if estimated:
        found.notes.append(f"balance estimated from these files, without labels: {settings.prior}")
    with PredictionTable(out, Columns.of(model, settings)) as table:
        left = [source for source in sources if source.path not in table.done]
        found.before = len(sources) - len(left)
        lengths = {source.path: _length(source) if len(left) <= COUNTED else 1 for source in left}
        with progress("predicting", sum(lengths.values())) as bar:
            for line in troubles:
                _set_aside(found, line, bar)
            _fill(model, left, settings, table, found, lengths, bar)
        found.files = sum(source.path in table.done for source in sources)
    if not found.files:
        raise InputError("nothing could be predicted", "\n  ".join(found.troubles[:5]) or "Name pictures or videos.")
    return found


def notes_of(model: Model, settings: PredictSettings) -> list[str]:
    """Say what a reader of the table must know."""
    form = model.form
    notes = []
    if model.calibration is None:
        notes.append("probabilities are not calibrated: the run has no calibration.json")
    if form.kind != "sequences" and form.crop is None:
        if settings.faces in (None, "none"):
            notes.append(
                "the model learnt from pictures as they are, so no faces are looked for; --faces all looks for them"
            )
        else:
            notes.append(
                f"the model learnt from pictures as they are; here faces are cropped, margin {settings.margin:g}"
            )
    if settings.smooth:
        notes.append(f"probabilities are means over {settings.smooth:g} s of each face")
    return notes


def _length(source: Source) -> int:
    """Count the frames of a clip."""
    if source.kind != "clip":
        return 1
    try:
        return len(open_film(source.path).times)
    except SampleError:
        return 1


def _set_aside(found: PredictResult, line: str, bar: ProgressBar) -> None:
    found.troubles.append(line)
    bar.say(f"set aside  {line}")


def _fill(
    model: Model,
    sources: Sequence[Source],
    settings: PredictSettings,
    table: PredictionTable,
    found: PredictResult,
    lengths: Mapping[str, int],
    bar: ProgressBar,
) -> None:
    """Add the rows of sources to a table, and count."""
    at = rows = faces = 0

    def end(source: Source) -> None:
        table.end(source)
        found.new.append(source)
        found.rows, found.faces, found.empty = found.rows + rows, found.faces + faces, found.empty + rows - faces

    try:
        for item in predicted(model, sources, settings):
            if isinstance(item, Ended):
                if item.trouble:
                    table.drop()
                    _set_aside(found, f"{item.source.path}: {item.trouble}", bar)
                else:
                    end(item.source)
                bar(max(0, lengths[item.source.path] - at))
                at = rows = faces = 0
                continue
            table.add(item)
            rows, faces = rows + 1, faces + (item.probabilities is not None)
            reached = min(item.sample.end, lengths[item.source.path])
            if reached > at:
                bar(reached - at)
                at = reached
    except KeyboardInterrupt:
        if not rows or sources[0].kind != "camera":
            raise
        end(sources[0])


def draw(found: PredictResult, classes: Sequence[str], folder: Path | None, figure: Path | None) -> None:
    """Draw into copies of pictures and videos, and over time, where a folder and a file are given."""
    if folder is not None:
        with progress("drawing", len(found.sources)) as bar:
            for made in draw_all(found.sources, found.new, read_table(found.out), folder):
                if isinstance(made, Path):
                    found.pictures.append(made)
                else:
                    _set_aside(found, made, bar)
                bar(1)
    if figure is not None:
        if draw_timeline(read_table(found.out), [source.path for source in found.sources], classes, figure):
            found.pictures.append(figure)
        else:
            found.notes.append("no timeline is drawn: there is no face in a video")
