"""Input specification of a model: how its samples are prepared, and which prediction settings apply to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from evenface.config.predict import PredictSettings
from evenface.config.recipe import Baseline, FaceCrop, FrameSampler
from evenface.config.section import Section
from evenface.preprocessing.frame_sampling import uniform
from evenface.preprocessing.landmarks import mirrored
from evenface.preprocessing.target import MESH_MARGIN, SequenceSpec, Target
from evenface.runs import Run
from evenface.utils.errors import InputError

Kind = Literal["stills", "clips", "sequences"]
DEFAULT_MARGIN = PredictSettings().margin


@dataclass(frozen=True)
class InputSpec:
    """Input specification of a model: shape and preparation of its samples.

    Parameters
    ----------
    kind : {"stills", "clips", "sequences"}
        Images, clips, or sequences of landmarks or features.
    size, channels : int
        Height and width in pixels, and channels, of images and frames; 1 and 1 for sequences.
    frames : int
        T, frames of a sample that the network takes.
    faces : FaceCrop
        How images are cropped.
    clips : FrameSampler or None
        Frame sampling of clips: as many frames as the store holds, of which the network may take fewer.
    sequences : SequenceSpec or None
        How sequences are computed.
    points : str
        Landmark scheme or feature set of the sequences; empty for images.
    middle : float or None
        x coordinate about which landmarks are mirrored; see :class:`~evenface.preprocessing.store.Store`.
    mirror : {"", "picture", "swapped", "literal"}
        Test-time augmentation: none, the horizontally flipped image, or the named kind of flipped sequence. The scores
        of both views are averaged.
    baseline : Baseline or None
        What samples are relative to for each person. Sequences are differences from the baseline; of images and clips,
        the first of the ``frames`` is the baseline image.
    """

    kind: Kind
    size: int
    channels: int
    frames: int = 1
    faces: FaceCrop = field(default_factory=FaceCrop)
    clips: FrameSampler | None = None
    sequences: SequenceSpec | None = None
    points: str = ""
    middle: float | None = None
    mirror: str = ""
    baseline: Baseline | None = None

    @property
    def target(self) -> Target:
        """Target of preparation, as in training; see :func:`~evenface.preprocessing.prepare.prepare`."""
        return Target(self.size, self.channels, self.faces, self.clips, self.sequences)

    @property
    def crop(self) -> FaceCrop | None:
        """How faces are detected and cropped; None where they are not."""
        return self.target.crop

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (T, H, W, C) for uint8 images and clips, (T, P, D) for float32 sequences."""
        return self.frames, *self.target.shape[1:]

    def select_frames(self, batch: np.ndarray) -> np.ndarray:
        """Select the frames that the network takes from those that are stored, ``(B, T', ...) -> (B, T, ...)``."""
        stored, first = batch.shape[1], int(self.has_baseline_image)
        if stored == self.frames:
            return batch
        chosen = first + uniform(stored - first, self.frames - first)
        return batch[:, np.concatenate([np.arange(first), chosen])]

    @property
    def has_baseline_image(self) -> bool:
        """Whether the first frame of a sample is the person's baseline image."""
        return self.baseline is not None and self.kind != "sequences"

    def shown(self, sample: np.ndarray) -> np.ndarray:
        """Return the frames of a sample that are of the input itself, ``(T, ...)``: not the baseline image."""
        return sample[1:] if self.has_baseline_image else sample

    def mirrored(self, batch: np.ndarray) -> np.ndarray:
        """Flip images (B, T, H, W, C) or sequences (B, T, P, D) horizontally."""
        if self.kind != "sequences":
            return np.ascontiguousarray(batch[:, :, :, ::-1])
        middle = self.middle if self.baseline is None else 0.0  # of differences
        flipped: np.ndarray = mirrored(batch, self.points, self.mirror or "swapped", middle)
        return flipped

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as values that JSON can hold."""
        return {
            name: value.model_dump(mode="json") if isinstance(value, Section) else value
            for name, value in vars(self).items()
            if name != "baseline" or value is not None  # digests of models without one do not change
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "InputSpec":
        """Restore from the result of :meth:`as_dict`; raises ValueError if a setting is out of range."""
        sections = {"faces": FaceCrop, "clips": FrameSampler, "sequences": SequenceSpec, "baseline": Baseline}
        parts = {name: section(**fields[name]) for name, section in sections.items() if fields.get(name) is not None}
        spec = cls(**{**fields, **parts})
        if spec.sequences:
            spec.sequences.check()
        return spec


def input_spec_of(run: Run) -> InputSpec:
    """Return the input specification of a run."""
    recipe, stored = run.recipe, run.facts.get("sequences")
    baseline = None if recipe.data.baseline.kind == "none" else recipe.data.baseline
    if stored is None:
        single = run.facts.get("frames", 1) == 1 and run.facts.get(
            "single_frames", False
        )  # as images: one answer a frame
        clips = run.facts["content"] == "clips" and not single
        return InputSpec(
            "clips" if clips else "stills",
            recipe.data.size,
            recipe.data.channels,
            run.facts.get("frames", 1) + (baseline is not None),
            recipe.data.faces,
            recipe.data.clips if clips else None,
            mirror="picture" if recipe.training.tta_flip else "",
            baseline=baseline,
        )
    sequences, (frames, *shape) = _sequence_spec(run), stored["shape"]
    files = sequences.origin == "files"
    return InputSpec(
        "sequences",
        1,
        1,
        frames,
        FaceCrop() if files else recipe.data.faces.replace(crop="face", margin=MESH_MARGIN, shift=0.0),
        sequences=sequences.replace(shape=tuple(shape)),
        points=stored["points"],
        middle=stored["middle"],
        mirror=recipe.augment.flip_landmarks if recipe.training.tta_flip else "",
        baseline=baseline,
    )


def _sequence_spec(run: Run) -> SequenceSpec:
    data, content = run.recipe.data, run.facts["content"]
    if content != "sequences":
        return SequenceSpec.build(data.sequences, data.clips, origin=content)
    files = run.facts["files"]
    return SequenceSpec.build(
        data.sequences, data.clips, origin="files", points=files["points"], numbers=files["numbers"]
    )


def finds_points(spec: InputSpec) -> bool:
    """Return whether the landmarks that a sequence model takes can be detected in images and videos."""
    sequences = spec.sequences
    # Landmarks read from files only if x is relative to the width or to the centre of the eyes, as detected here.
    return sequences is not None and (
        sequences.origin != "files" or (sequences.points == "mesh-468" and spec.middle is not None)
    )


def check_settings(settings: PredictSettings, spec: InputSpec) -> None:
    """Raise InputError if a prediction setting does not apply to a model."""
    if settings.person_baseline is not None and spec.baseline is None:
        raise InputError(
            "a person baseline applies to models trained with data.baseline; this model was trained without",
            "Remove it.",
        )
    if spec.kind == "stills" and settings.window is not None:
        raise InputError("window applies to clip and sequence models; this model takes single images", "Remove window.")
    if spec.kind != "stills" and settings.frame_stride != 1:
        raise InputError(
            "frame_stride applies to image models; this model samples frames as in training", "Use window instead."
        )
    if not settings.tracking and spec.kind != "stills":
        raise InputError("tracking can be turned off for image models only", "Remove --no-tracking.")
    if settings.pose and spec.kind != "stills":
        raise InputError("pose applies to image models; this model takes several frames at once", "Remove pose.")
    if settings.margin != DEFAULT_MARGIN and (spec.kind == "sequences" or spec.crop or settings.faces == "none"):
        raise InputError(
            "margin applies only to models trained on uncropped images, when faces are cropped at prediction",
            "Remove margin, or set faces to all or largest.",
        )
    if spec.crop and spec.kind != "sequences" and settings.faces == "none":
        raise InputError("the model was trained on cropped faces: faces cannot be none", "Use all or largest.")
    if spec.sequences and spec.sequences.origin != "files" and settings.faces == "none":
        raise InputError("landmarks are detected on faces: faces cannot be none", "Use all or largest.")


def target_for(settings: PredictSettings, spec: InputSpec, *, files: bool = False) -> Target:
    """Return the preparation target of new inputs: as in training, with the faces that the settings select.

    For models trained on uncropped images, faces are cropped unless ``faces`` is none; see
    :mod:`evenface.inference.face_crops` for inputs that are crops already.
    """
    if files:
        return spec.target
    target, which = spec.target, "all" if settings.faces in (None, "none") else settings.faces
    if spec.sequences:
        faces = spec.faces.replace(crop="face", which=which, margin=MESH_MARGIN, shift=0.0)
        origin = "clips" if spec.sequences.origin == "files" else spec.sequences.origin
        target = replace(target, faces=faces, sequences=spec.sequences.replace(origin=origin))
    elif spec.crop:
        target = replace(target, faces=spec.crop.replace(which=which))
    elif settings.faces != "none":
        target = replace(target, faces=FaceCrop(crop="face", margin=settings.margin, which=which))
    return target
