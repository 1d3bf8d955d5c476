"""Explaining what the user names: pictures for every file, tables, curves, and a page of all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from evenface.config.explain import ExplainSettings
from evenface.config.predict import PredictSettings
from evenface.explanation import storage
from evenface.explanation.drawing import DrawnExplanation, draw, stacked
from evenface.explanation.explanation import Array, Explanation, scaled
from evenface.explanation.faithfulness import Curves, Faithfulness, check, faithfulness
from evenface.explanation.occlusion import (
    blurred,
    frames_by_occlusion,
    map_by_occlusion,
    points_by_occlusion,
    usual_sequence,
)
from evenface.explanation.page import page_of
from evenface.explanation.select import SelectedSample, choose, names_of
from evenface.inference.model import Model
from evenface.inference.predict import wanted_of
from evenface.inference.settings import check_settings
from evenface.inference.sources import Source, find_sources
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import atomic_write, check_writable, digest
from evenface.utils.progress import ProgressBar, progress
from evenface.utils.tables import escape_csv_table

Method = Literal["gradcam", "cam", "gradients", "occlusion"]
METHODS: dict[str, str] = {
    "gradcam": "Grad-CAM: maps of pictures and of the frames of clips",
    "cam": "class-activation maps, where a linear classifier on the mean of the maps is all that follows them",
    "gradients": "integrated gradients: frames and points of sequences",
    "occlusion": "what is lost when something is left out: everything, exported files too",
}
"""How explanations are found, and of what."""


def method_for(model: Model, method: str | None = None) -> str:
    """Say how a model is explained: as is asked, or as suits it best."""
    gradients = hasattr(model, "method")
    pictures = model.form.kind != "sequences"
    if method is None:
        return "gradcam" if pictures and gradients else "occlusion"
    if method not in METHODS:
        raise InputError(f"there is no method {method!r} of explaining", f"Known are {', '.join(METHODS)}.")
    if method != "occlusion" and not gradients:
        raise InputError(
            f"{model.name} is an exported file, which gives no gradients: {method} needs the run folder",
            "Name the run folder, or take method occlusion.",
        )
    able = ("gradcam", "cam", "occlusion") if pictures else ("gradients", "occlusion")
    if method not in able:
        what = "pictures" if pictures else "numbers"
        raise InputError(f"{method} does not explain a model of {what}", f"Take {', '.join(able)}.")
    return method


def explain_samples(model: Model, arrays: np.ndarray, method: str | None = None) -> list[Explanation]:
    """Say what the answers to prepared samples rest on.

    Parameters
    ----------
    model : Model
        Whose answers; what is explained is what its method says at inference, averaged with the mirror where it is.
    arrays : ndarray of shape (B, T', H, W, channels), uint8, or (B, T', P, D), float32
        As :attr:`evenface.inference.pipeline.Sample.array` holds them.
    method : str, optional
        One of :data:`METHODS`; by default Grad-CAM of pictures and clips, and what is lost when something is left out
        of sequences and where there are no gradients.

    Returns
    -------
    list of Explanation
        One for each sample. Frames and points found by leaving out are in units of the logarithm of the probability
        (log-odds, where each class is judged by itself); by integrated gradients, in units of the logit.

    Raises
    ------
    InputError
        If the method does not suit the model, in one sentence.

    Notes
    -----
    Grad-CAM and CAM are of the network's last maps. Frames of clips are always explained by leaving out: each gives
    way to its nearest neighbour.
    """
    chosen = method_for(model, method)
    seen = model.form.seen(arrays)
    p = model.calibrated(model.scores(arrays))
    if model.form.kind == "sequences":
        return _of_sequences(model, seen, p, chosen)
    clips = model.form.kind == "clips" and model.form.frames > 1
    maps = _maps(model, seen, chosen)
    axes = (-3, -2, -1)[0 if clips else 1 :]
    found = []
    for sample, shares, values in zip(seen, p, maps, strict=True):
        heat = scaled(values if clips else values[:, 0], axes, lowest=chosen == "cam")
        frames = frames_by_occlusion(model, sample) if clips else None
        found.append(Explanation("frames" if clips else "map", chosen, shares, heat, frames))
    return found


def _maps(model: Model, seen: np.ndarray, method: str) -> list[Array]:
    """Give maps (C, T, h, w) of each sample, as they come."""
    if method == "occlusion":
        found = [map_by_occlusion(model, sample, blurred(sample)) for sample in seen]
        return [np.repeat(one[:, None], seen.shape[1], axis=1) for one in found]
    from evenface.explanation.gradients import class_maps

    return [class_maps(_torch(model), sample, method) for sample in seen]


def _of_sequences(model: Model, seen: np.ndarray, p: Array, method: str) -> list[Explanation]:
    found = []
    for sample, shares in zip(seen, p, strict=True):
        usual = usual_sequence(model, sample)
        if method == "gradients":
            from evenface.explanation.gradients import integrated

            parts = integrated(_torch(model), sample, usual)
            frames, points = parts.sum(axis=(2, 3)), parts.sum(axis=(1, 3))
        else:
            frames, points = frames_by_occlusion(model, sample), points_by_occlusion(model, sample, usual)
        found.append(Explanation("points", method, shares, None, frames, points))
    return found


def _torch(model: Model) -> Any:
    """Give the model, known to have gradients."""
    return model


PAGE, TABLE, VALUES = "index.html", "explanations.csv", "importance.parquet"
FEW = 16
"""Places of a map below which a reader is warned."""


@dataclass
class ExplainResult:
    """What became of a call."""

    folder: Path
    method: str
    files: int = 0
    before: int = 0
    samples: int = 0
    checks: list[Faithfulness] = field(default_factory=list)
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
    folder_type: str | None = None,
) -> ExplainResult:
    """Explain files into a folder."""
    check_settings(settings, model.form)
    check_writable(out, folder=True)
    if settings.smooth or settings.prior is not None or settings.abstain is not None:
        raise InputError("smooth, prior and abstain do not change an explanation", "Leave them out.")
    shown, method = _drawn(choice.classes, model.classes), method_for(model, choice.method)
    sources, troubles = find_sources(inputs, wanted_of(model, folder_type), out)
    said = [model.key, model.form.as_dict(), settings.facts, choice.model_dump(), method]
    key = digest(json.dumps(said, sort_keys=True, default=str))[:12]
    storage.check_folder(out, key)
    found, made = ExplainResult(out, method), []
    with progress("explaining", len(sources)) as bar:
        for line in troubles:
            _set_aside(found, line, bar)
        for source in sources:
            part = storage.load(out, source.path, key)
            found.before += part is not None
            try:
                made.append(part or _explained(model, source, settings, choice, shown, out, key))
            except SampleError as error:
                _set_aside(found, f"{source.path}: {error}", bar)
            bar(1)
    if not made:
        raise InputError("nothing could be explained", "\n  ".join(found.troubles[:5]) or "Name pictures or videos.")
    found.files, found.samples = len(made), sum(len(part["samples"]) for part in made)
    found.checks, found.notes = _checks(made), notes_of(made)
    with atomic_write(out / TABLE) as temporary:
        escape_csv_table(storage.table(made, model.classes)).to_csv(temporary, index=False)
    with atomic_write(out / VALUES) as temporary:
        storage.values(made, model.classes).to_parquet(temporary, index=False)
    page_of(
        model,
        made,
        found.checks,
        [*(f"set aside: {line}" for line in found.troubles), *found.notes],
        choice,
        out / PAGE,
    )
    return found


def notes_of(made: Sequence[storage.Part]) -> list[str]:
    """Say what a reader of the maps must know."""
    maps = made[0]["samples"][0]["maps"]
    if maps is None:
        return []
    high, wide = np.shape(maps)[-2:]
    if high * wide >= FEW:
        return []
    return [f"the network's last maps have only {high} × {wide} places: too few to point at parts of a face"]


def _set_aside(found: ExplainResult, line: str, bar: ProgressBar) -> None:
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
) -> storage.Part:
    """Explain one source: its picture is written, then its part."""
    chosen, count = choose(model, source, settings, choice.samples)
    if not chosen:
        raise SampleError("no face")
    arrays = np.stack([one.sample.array for one in chosen if one.sample.array is not None])
    found: list[Explanation] = []
    for begin in range(0, len(arrays), settings.batch):
        found += explain_samples(model, arrays[begin : begin + settings.batch], choice.method)
    seen = model.form.seen(arrays)
    curves: list[list[Curves]] = [[] for _ in found]
    if choice.check:
        options = {"orders": choice.random_orders, "baseline": choice.baseline, "seed": choice.seed}
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
        said = DrawnExplanation(heading, model.classes, shown, int(one.probabilities.argmax()), truth, names)
        pictures.append(draw(sample, one, said))
    with atomic_write(out / storage.PICTURES / storage.picture_of(source.path)) as temporary:
        stacked(pictures).save(temporary)
    part = storage.part_of(source.path, key, chosen, found, curves, truth, names)
    storage.save(out, part)
    return part


def _heading(source: Source, picked: SelectedSample, chosen: int, count: int) -> str:
    """Say which sample it is, as far as there are others."""
    sample = picked.sample
    words = [Path(source.path).name]
    if sample.time is not None and sample.until is not None and source.kind == "clip":
        span = "" if sample.end - sample.frame == 1 else f" to {sample.until:.2f}"
        words.append(f"{sample.time:.2f}{span} s")
    if sample.face is not None and source.kind != "numbers" and (chosen > 1 or count > 1):
        words.append(f"face {sample.face}")
    return ", ".join(words)


def _checks(made: Sequence[storage.Part]) -> list[Faithfulness]:
    """Sum up the curves of all files."""
    gathered: dict[str, tuple[list[np.ndarray], list[str]]] = {}
    for part in made:
        for one in storage.curves_of(part):
            areas, files = gathered.setdefault(one.what, ([], []))
            areas.append(one.areas)
            files.append(part["file"])
    return [faithfulness(what, np.stack(areas), files) for what, (areas, files) in gathered.items()]  # type: ignore[arg-type]
