"""What a trained model is given: all that preparing needs to know, as it was when the model learnt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from evenface.config.recipe import FaceCrop, FrameSampler
from evenface.config.section import Section
from evenface.preprocessing.frame_sampling import uniform
from evenface.preprocessing.landmarks import mirrored
from evenface.preprocessing.store import content_of
from evenface.preprocessing.target import MESH_MARGIN, SequenceSpec, Target
from evenface.runs import Run
from evenface.utils.errors import InputError

Kind = Literal["stills", "clips", "sequences"]


@dataclass(frozen=True)
class InputSpec:
    """How samples are prepared for a model.

    Parameters
    ----------
    kind : {"stills", "clips", "sequences"}
        Pictures, clips, or numbers of frames.
    size, channels : int
        Of pictures and frames; 1 by 1 for sequences.
    frames : int
        T, frames of a sample that the network sees.
    faces : FaceCrop
        How images are cropped.
    clips : FrameSampler or None
        Frame sampling of clips: as many as are stored, of which the network may be given fewer.
    sequences : SequenceSpec or None
        How sequences are made.
    points : str
        What the stored points are; empty for pictures.
    middle : float or None
        Where x of points is mirrored about; see :class:`~evenface.preprocessing.store.Store`.
    mirror : {"", "picture", "swapped", "literal"}
        What a model's answer is averaged with: nothing, the mirror picture, or that sort of mirror sequence.
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

    @property
    def target(self) -> Target:
        """What every sample becomes, as :func:`~evenface.preprocessing.prepare.prepare` made it."""
        return Target(self.size, self.channels, self.faces, self.clips, self.sequences)

    @property
    def crop(self) -> FaceCrop | None:
        """How faces are detected and cropped; None where they are not."""
        return self.target.crop

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample as the network is given it: (T, H, W, C) uint8, or (T, P, D) float32 of sequences."""
        return self.frames, *self.target.shape[1:]

    def seen(self, batch: np.ndarray) -> np.ndarray:
        """Choose the frames that the network sees of those that are stored, ``(B, T', ...) -> (B, T, ...)``."""
        stored = batch.shape[1]
        return batch if stored == self.frames else batch[:, uniform(stored, self.frames)]

    def mirrored(self, batch: np.ndarray) -> np.ndarray:
        """Give the mirror images of pictures (B, T, H, W, C) or sequences (B, T, P, D)."""
        if self.kind != "sequences":
            return np.ascontiguousarray(batch[:, :, :, ::-1])
        found: np.ndarray = mirrored(batch, self.points, self.mirror or "swapped", self.middle)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return values that can be written as JSON."""
        return {
            name: value.model_dump(mode="json") if isinstance(value, Section) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "InputSpec":
        """Build it from what :meth:`as_dict` returned; a ValueError if a setting is out of range."""
        sections = {"faces": FaceCrop, "clips": FrameSampler, "sequences": SequenceSpec}
        parts = {name: section(**content[name]) for name, section in sections.items() if content[name] is not None}
        spec = cls(**{**content, **parts})
        if spec.sequences:
            spec.sequences.check()
        return spec


def input_spec_of(run: Run) -> InputSpec:
    """Return how the samples of a run were prepared."""
    recipe, known = run.recipe, run.facts.get("sequences")
    if known is None:
        clips = _content(run) == "clips"
        return InputSpec(
            "clips" if clips else "stills",
            recipe.data.size,
            recipe.data.channels,
            run.facts.get("frames", 1),
            recipe.data.faces,
            recipe.data.clips if clips else None,
            mirror="picture" if recipe.training.tta_flip else "",
        )
    spec, (frames, *shape) = _sequence_spec(run), known["shape"]
    faces = FaceCrop() if spec.origin == "files" else recipe.data.faces.replace(crop="face", margin=MESH_MARGIN)
    return InputSpec(
        "sequences",
        1,
        1,
        frames,
        faces,
        sequences=spec.replace(shape=tuple(shape)),
        points=known["points"],
        middle=known["middle"],
        mirror=recipe.augment.flip_landmarks if recipe.training.tta_flip else "",
    )


def _content(run: Run) -> str:
    """Say what the run's manifest held; runs that do not say it themselves are asked by their store, or guessed."""
    if "content" in run.facts:
        return str(run.facts["content"])
    try:
        return str(run.store.manifest.content)
    except InputError:
        if run.facts.get("frames", 1) > 1:
            return "clips"
        return "stills" if "sequences" not in run.facts or run.recipe.data.sequences.source == "mesh" else "sequences"


def _sequence_spec(run: Run) -> SequenceSpec:
    data, content = run.recipe.data, _content(run)
    if content != "sequences":
        return SequenceSpec.build(data.sequences, data.clips, origin=content)
    files = run.facts.get("files")
    if files is None:
        files = content_of(run.store.manifest)["files"]
    return SequenceSpec.build(
        data.sequences, data.clips, origin="files", points=files["points"], numbers=files["numbers"]
    )


def finds_points(form: InputSpec) -> bool:
    """Return whether what a model of sequences was trained on can be detected in images and videos."""
    spec = form.sequences
    # Of files of points, only where x is a share of the width, or about the eyes' middle, as it is detected here.
    return spec is not None and (spec.origin != "files" or (spec.points == "mesh-468" and form.middle is not None))
