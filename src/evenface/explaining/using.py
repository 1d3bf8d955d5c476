"""Explaining what the user names: pictures for every file, tables, curves, and a page of all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from evenface.errors import InputError
from evenface.explaining import parts
from evenface.explaining.asking import explain_samples, method_for
from evenface.explaining.base import Explanation
from evenface.explaining.checking import Checked, Curves, check, checked
from evenface.explaining.choosing import Chosen, choose, names_of
from evenface.explaining.drawing import Drawn, draw, stacked
from evenface.explaining.page import page_of
from evenface.faces.trouble import UnusableError
from evenface.files import atomic_write, check_place, csv_safe, digest
from evenface.progress import Bar, progress
from evenface.recipes.explain import ExplainSettings
from evenface.recipes.predict import PredictSettings
from evenface.serving.inputs import Source, find_sources
from evenface.serving.model import Model
from evenface.serving.settings import check_settings
from evenface.serving.using import wanted_of

PAGE, TABLE, VALUES = "index.html", "explanations.csv", "importance.parquet"
FEW = 16
"""Places of a map below which a reader is warned."""


@dataclass
class Explained:
    """What became of a call.

    Parameters
    ----------
    folder : Path
        Where everything stands.
    method : str
        By which method.
    files, before : int
        Files that are explained, and how many of them were so before.
    samples : int
        Faces, windows or sequences that are explained.
    checks : list of Checked
        Whether the explanations matter, of places, frames and points.
    troubles : list of str
        A line for each input that could not be used.
    notes : list of str
        What a reader must know.
    """

    folder: Path
    method: str
    files: int = 0
    before: int = 0
    samples: int = 0
    checks: list[Checked] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """The page of all."""
        return self.folder / PAGE

    def lines(self) -> list[str]:
        """Give the last screen."""
        known = f", {self.before:,} of them before" if self.before else ""
        files = f"{self.files:,} file{'s' * (self.files != 1)}{known}"
        lines = [f"{self.samples:,} explained by {self.method}, from {files}"]
        lines += [one.line() for one in self.checks]
        if self.troubles:
            lines.append(f"set aside  {len(self.troubles):,}: {'; '.join(self.troubles[:3])}")
        lines += [f"note  {note}" for note in self.notes]
        return [*lines, f"page  {self.page}", f"table  {self.folder / TABLE}"]


def explain_inputs(
    model: Model,
    inputs: Sequence[str | Path],
    settings: PredictSettings,
    choice: ExplainSettings,
    out: Path,
    *,
    folders: str | None = None,
) -> Explained:
    """Explain files into a folder.

    Parameters
    ----------
    model : Model
        Whose answers.
    inputs : sequence of str or Path
        See :func:`~evenface.serving.inputs.find_sources`.
    settings : PredictSettings
        How samples are prepared.
    choice : ExplainSettings
        How they are explained.
    out : Path
        The folder. Files that were explained in it before are not explained again.
    folders : {"pictures", "clips"}, optional
        See :func:`~evenface.serving.using.wanted_of`.

    Raises
    ------
    InputError
        If a setting is of no effect or does not suit the model, the folder is of other settings, or nothing could be
        explained.
    KeyboardInterrupt
        After Ctrl-C, with the files that were done in the folder; the same call goes on with the others.
    """
    check_settings(settings, model.form)
    check_place(out, folder=True)
    if settings.smooth or settings.prior is not None or settings.abstain is not None:
        raise InputError("smooth, prior and abstain do not change an explanation", "Leave them out.")
    shown, method = _drawn(choice.classes, model.classes), method_for(model, choice.method)
    sources, troubles = find_sources(inputs, wanted_of(model, folders), out)
    said = [model.key, model.form.as_dict(), settings.facts, choice.model_dump(), method]
    key = digest(json.dumps(said, sort_keys=True, default=str))[:12]
    parts.check_folder(out, key)
    found, made = Explained(out, method), []
    with progress("explaining", len(sources)) as bar:
        for line in troubles:
            _set_aside(found, line, bar)
        for source in sources:
            part = parts.load(out, source.path, key)
            found.before += part is not None
            try:
                made.append(part or _explained(model, source, settings, choice, shown, out, key))
            except UnusableError as error:
                _set_aside(found, f"{source.path}: {error}", bar)
            bar(1)
    if not made:
        raise InputError("nothing could be explained", "\n  ".join(found.troubles[:5]) or "Name pictures or videos.")
    found.files, found.samples = len(made), sum(len(part["samples"]) for part in made)
    found.checks, found.notes = _checks(made), notes_of(made)
    with atomic_write(out / TABLE) as temporary:
        csv_safe(parts.table(made, model.classes)).to_csv(temporary, index=False)
    with atomic_write(out / VALUES) as temporary:
        parts.values(made, model.classes).to_parquet(temporary, index=False)
    page_of(
        model,
        made,
        found.checks,
        [*(f"set aside: {line}" for line in found.troubles), *found.notes],
        choice,
        out / PAGE,
    )
    return found


def notes_of(made: Sequence[parts.Part]) -> list[str]:
    """Say what a reader of the maps must know."""
    maps = made[0]["samples"][0]["maps"]
    if maps is None:
        return []
    high, wide = np.shape(maps)[-2:]
    if high * wide >= FEW:
        return []
    return [f"the network's last maps have only {high} × {wide} places: too few to point at parts of a face"]


def _set_aside(found: Explained, line: str, bar: Bar) -> None:
    found.troubles.append(line)
    bar.say(f"set aside  {line}")


def _drawn(names: tuple[str, ...] | None, classes: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the classes to explain; default all."""
    for name in names or ():
        if name not in classes:
            raise InputError(f"there is no class {name!r}", f"The model's classes are {', '.join(classes)}.")
    return tuple(classes.index(name) for name in names or classes)


def _explained(
    model: Model,
    source: Source,
    settings: PredictSettings,
    choice: ExplainSettings,
    shown: tuple[int, ...],
    out: Path,
    key: str,
) -> parts.Part:
    """Explain one source: its picture is written, then its part."""
    chosen, count = choose(model, source, settings, choice.samples)
    if not chosen:
        raise UnusableError("no face")
    arrays = np.stack([one.sample.array for one in chosen if one.sample.array is not None])
    found: list[Explanation] = []
    for begin in range(0, len(arrays), settings.batch):
        found += explain_samples(model, arrays[begin : begin + settings.batch], choice.method)
    seen = model.form.seen(arrays)
    curves: list[list[Curves]] = [[] for _ in found]
    if choice.check:
        options = {"orders": choice.orders, "baseline": choice.baseline, "seed": choice.seed}
        curves = [
            check(model, sample, one, int(one.probabilities.argmax()), **options)  # type: ignore[arg-type]
            for sample, one in zip(seen, found, strict=True)
        ]
    folder = Path(source.path).resolve().parent.name
    truth = model.classes.index(folder) if folder in model.classes else None
    names = names_of(model.form, source)
    pictures: list[Image.Image] = []
    for sample, one, picked in zip(seen, found, chosen, strict=True):
        heading = _heading(source, picked, len(chosen), count)
        said = Drawn(heading, model.classes, shown, int(one.probabilities.argmax()), truth, names)
        pictures.append(draw(sample, one, said))
    with atomic_write(out / parts.PICTURES / parts.picture_of(source.path)) as temporary:
        stacked(pictures).save(temporary)
    part = parts.part_of(source.path, key, chosen, found, curves, truth, names)
    parts.save(out, part)
    return part


def _heading(source: Source, picked: Chosen, chosen: int, count: int) -> str:
    """Say which sample it is, as far as there are others."""
    sample = picked.sample
    words = [Path(source.path).name]
    if sample.time is not None and sample.until is not None and source.kind == "clip":
        span = "" if sample.end - sample.frame == 1 else f" to {sample.until:.2f}"
        words.append(f"{sample.time:.2f}{span} s")
    if sample.face is not None and source.kind != "numbers" and (chosen > 1 or count > 1):
        words.append(f"face {sample.face}")
    return ", ".join(words)


def _checks(made: Sequence[parts.Part]) -> list[Checked]:
    """Sum up the curves of all files."""
    gathered: dict[str, tuple[list[np.ndarray], list[str]]] = {}
    for part in made:
        for one in parts.curves_of(part):
            areas, files = gathered.setdefault(one.what, ([], []))
            areas.append(one.areas)
            files.append(part["file"])
    return [checked(what, np.stack(areas), files) for what, (areas, files) in gathered.items()]  # type: ignore[arg-type]
