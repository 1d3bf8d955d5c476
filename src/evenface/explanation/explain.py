"""Explain input files: select samples, explain them, check faithfulness, and write a folder of results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evenface.config.explain import ExplainSettings
from evenface.config.predict import PredictSettings
from evenface.data.manifest import TARGET_TASKS
from evenface.explanation import results
from evenface.explanation.explanation import (
    Array,
    Explanation,
    explain_samples,
    marked_outputs,
    select_method,
    tested_output,
)
from evenface.explanation.faithfulness import Curves, Faithfulness, deletion_insertion
from evenface.inference.input_spec import InputSpec, check_settings
from evenface.inference.model import Model
from evenface.inference.pipeline import (
    PreparedSample,
    final_probabilities,
    load_reference,
    prepare_samples,
    settings_facts,
)
from evenface.inference.predict import folder_content
from evenface.inference.sources import Source, find_sources
from evenface.preprocessing.baseline import Reference
from evenface.preprocessing.landmarks import COUNTS, NAMES
from evenface.preprocessing.sequence_files import column_names
from evenface.reporting.saliency import SaliencyFigure, stacked
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import atomic_write, check_writable, digest
from evenface.utils.progress import progress, skipped_lines

MIN_CELLS = 16
"""Number of cells of a saliency map below which a note warns of its low resolution."""


@dataclass
class ExplainResult:
    """Result of :func:`evenface.explain`.

    Parameters
    ----------
    folder : Path
        The folder of results.
    method : str
        Attribution method.
    files, cached, samples : int
        Files that are explained; of these, files explained by an earlier call; samples in all files.
    checks : list of Faithfulness
        Comparisons with random orders.
    skipped : list of str
        A message for each input that could not be used.
    notes : list of str
        Notes on how to read the explanations.
    """

    folder: Path
    method: str
    files: int = 0
    cached: int = 0
    samples: int = 0
    checks: list[Faithfulness] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """Path of the report page."""
        return self.folder / results.PAGE

    def lines(self) -> list[str]:
        """Return the summary for the screen."""
        cached = f", {self.cached:,} of them explained before" if self.cached else ""
        files = f"{self.files:,} file{'s' * (self.files != 1)}{cached}"
        samples = f"{self.samples:,} sample{'s' * (self.samples != 1)}"
        lines = [f"{samples} explained by {self.method}, from {files}"]
        lines += [check.line() for check in self.checks]
        lines += skipped_lines(self.skipped)
        lines += [f"note  {note}" for note in self.notes]
        return [*lines, f"page  {self.page}", f"table  {self.folder / results.TABLE}"]


def explain_inputs(
    model: Model,
    inputs: Sequence[str | Path],
    prediction: PredictSettings,
    settings: ExplainSettings,
    out: Path,
    *,
    folder_type: str | None = None,
) -> ExplainResult:
    """Explain files, and write the results into a folder."""
    check_settings(prediction, model.input_spec)
    check_writable(out, folder=True)
    if prediction.smooth or prediction.prior is not None or prediction.abstain is not None:
        raise InputError("smooth, prior and abstain do not apply to explanations", "Remove them.")
    shown, method = _class_indices(settings.classes, model.classes), select_method(model, settings.method)
    sources, skipped = find_sources(inputs, folder_content(model, folder_type), out)
    depends = settings_facts(model.input_spec, prediction)
    facts = [results.RECORD_FORMAT, model.key, model.input_spec.as_dict(), depends, settings.model_dump(), method]
    key = digest(json.dumps(facts, sort_keys=True, default=str))[:12]
    results.check_folder(out, key)
    result, records = ExplainResult(out, method), []
    task = _ExplainTask(model, prediction, settings, shown, out, key, load_reference(model.input_spec, prediction))
    result.skipped += skipped
    with progress("explaining", len(sources)) as bar:
        for source in sources:
            record = results.load_record(out, source, key)
            result.cached += record is not None
            try:
                records.append(record or task.explain(source))
            except SampleError as error:
                result.skipped.append(f"{source.path}: {error}")
            bar(1)
    if not records:
        reasons = "\n  ".join(result.skipped[:5])
        raise InputError("no input could be explained", reasons or "Specify images or videos.")
    result.files, result.samples = len(records), sum(len(record["samples"]) for record in records)
    result.checks = results.faithfulness_of(records)
    result.notes = _notes(records, results.other_files(out, records))
    results.write_tables(out, records, model)
    notes = [*(f"skipped: {message}" for message in result.skipped), *result.notes]
    results.write_report(out, model, records, result.checks, notes, settings)
    return result


def _class_indices(names: tuple[str, ...] | None, classes: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the classes to explain; default all."""
    for name in names or ():
        if name not in classes:
            raise InputError(f"there is no class {name!r}", f"The model's classes are {', '.join(classes)}.")
    return tuple(classes.index(name) for name in names or classes)


def _notes(records: Sequence[results.Record], others: int) -> list[str]:
    """Return notes on how to read the explanations."""
    notes = []
    if any(sample["curves"] for record in records for sample in record["samples"]) and not results.draws_curves():
        notes.append("the figure of the deletion and insertion curves needs matplotlib: pip install 'evenface[train]'")
    maps = records[0]["samples"][0]["maps"]
    if maps is not None:
        rows, columns = np.shape(maps)[-2:]
        if rows * columns < MIN_CELLS:
            notes.append(
                f"the network's last feature maps have only {rows} × {columns} cells: too coarse to locate parts of a "
                "face"
            )
    if others:
        notes.append(
            f"the folder also holds explanations of {others:,} other file{'s' * (others != 1)} from earlier calls, "
            "which are not in this table and page"
        )
    return notes


@dataclass(frozen=True)
class _ExplainTask:
    """Explains one source after another with the same settings."""

    model: Model
    prediction: PredictSettings
    settings: ExplainSettings
    shown: tuple[int, ...]
    out: Path
    key: str
    reference: Reference | None = None

    def explain(self, source: Source) -> results.Record:
        """Explain a source; write its image, then its record."""
        model, limit = self.model, self.settings.samples
        samples, count = select_samples(model, source, self.prediction, limit, self.reference)
        if not samples:
            raise SampleError("no face")
        arrays = np.stack([sample.array for sample in samples if sample.array is not None])
        explanations: list[Explanation] = []
        for start in range(0, len(arrays), self.prediction.batch):
            batch = arrays[start : start + self.prediction.batch]
            explanations += explain_samples(model, batch, self.settings.method)
        inputs = model.input_spec.select_frames(arrays)
        curves = [self._curves(array, each) for array, each in zip(inputs, explanations, strict=True)]
        folder = Path(source.path).resolve().parent.name
        truth = model.classes.index(folder) if folder in model.classes and model.task not in TARGET_TASKS else None
        names = feature_names(model.input_spec, source)
        images = []
        for sample, array, each in zip(samples, inputs, explanations, strict=True):
            heading = _heading(source, sample, several=len(samples) > 1 or count > 1)
            parts = (each.probabilities, truth, names, each.maps, each.frames, each.points, each.attention)
            marks = marked_outputs(model, each.probabilities), "present" if model.thresholds else "predicted"
            figure = SaliencyFigure(heading, model.classes, self.shown, *parts, *marks)
            images.append(figure.draw(model.input_spec.shown(array)))
        with atomic_write(self.out / results.IMAGES / results.image_name(source.path)) as temporary:
            stacked(images).save(temporary)
        record = results.record_of(source, self.key, samples, explanations, curves, truth, names, model)
        results.save_record(self.out, record)
        return record

    def _curves(self, array: np.ndarray, explanation: Explanation) -> list[Curves]:
        settings = self.settings
        if not settings.check:
            return []
        label = tested_output(self.model, explanation.probabilities)
        return deletion_insertion(
            self.model,
            array,
            explanation,
            label,
            orders=settings.random_orders,
            baseline=settings.baseline,
            seed=settings.seed,
        )


def _heading(source: Source, sample: PreparedSample, *, several: bool) -> str:
    """Return the heading of a sample's image: its file, and time and face where there are several."""
    parts = [Path(source.path).name]
    if sample.start_time is not None and sample.end_time is not None and source.kind == "clip":
        single = sample.end_frame - sample.first_frame == 1
        parts.append(f"{sample.start_time:.2f}{'' if single else f' to {sample.end_time:.2f}'} s")
    if sample.face_id is not None and source.kind != "numbers" and several:
        parts.append(f"face {sample.face_id}")
    return ", ".join(parts)


# ---- selection of samples


def select_samples(
    model: Model, source: Source, settings: PredictSettings, limit: int, reference: Reference | None = None
) -> tuple[list[PreparedSample], int]:
    """Select the samples to explain, and count all.

    All faces of an image; of a video the ``limit`` samples of :func:`class_peaks`. No more than these and one batch are
    held in memory.
    """
    selected: list[tuple[PreparedSample, Array]] = []
    pending: list[PreparedSample] = []
    count = 0

    def select() -> None:
        if not pending:
            return
        scores = model.scores(np.stack([sample.array for sample in pending if sample.array is not None]))
        selected.extend(zip(pending, final_probabilities(model, scores, settings), strict=True))
        pending.clear()
        if source.kind != "picture":
            selected[:] = [selected[i] for i in class_peaks(np.stack([p for _, p in selected]), limit)]

    for sample in prepare_samples(source, model.input_spec, settings, reference):
        if sample.array is not None:
            pending.append(sample)
            count += 1
        if len(pending) == settings.batch:
            select()
    select()
    samples = [sample for sample, _ in selected]
    return sorted(samples, key=lambda sample: (sample.first_frame, sample.face_id or 0)), count


def class_peaks(probabilities: Array, limit: int) -> list[int]:
    """Select samples round-robin: those where each class is most probable, then the second ones, and so on."""
    order = np.argsort(-probabilities, axis=0, kind="stable")
    chosen: dict[int, None] = {}
    for ranked in order:
        for label in np.argsort(-probabilities[ranked, np.arange(probabilities.shape[1])], kind="stable"):
            if len(chosen) == limit:
                return sorted(chosen)
            chosen.setdefault(int(ranked[label]))
    return sorted(chosen)


def feature_names(spec: InputSpec, source: Source) -> tuple[str, ...]:
    """Return the names of the features of sequences; empty for landmarks."""
    sequences = spec.sequences
    if sequences is None or spec.points in COUNTS:
        return ()
    if spec.points == "blendshapes":
        return tuple(NAMES)
    names: Sequence[str] = column_names(source.path, sequences) if source.kind == "numbers" else ()
    return tuple(names) or tuple(str(i) for i in range(sequences.shape[0]))
