"""What a trained model is given: all that preparing needs to know, as it was when the model learnt."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from evenface.preprocessing.description import content_of
from evenface.preprocessing.detect import Crop
from evenface.preprocessing.face_mesh import MARGIN
from evenface.preprocessing.frame_sampling import Taking, uniform
from evenface.preprocessing.image import Target
from evenface.preprocessing.landmarks import mirrored
from evenface.preprocessing.sequences import Sequencing
from evenface.runs import Run
from evenface.training import data
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
    crop : Crop or None
        How faces are cropped; none where the samples were taken as they are.
    squeeze : bool
        Without ``crop``: whole pictures, squeezed to a square.
    taking : Taking or None
        How frames are taken from clips: as many as were stored, of which the network may see fewer.
    sequencing : Sequencing or None
        How numbers are made.
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
    crop: Crop | None = None
    squeeze: bool = False
    taking: Taking | None = None
    sequencing: Sequencing | None = None
    points: str = ""
    middle: float | None = None
    mirror: str = ""

    @property
    def target(self) -> Target:
        """What every sample becomes, as :func:`~evenface.preprocessing.prepare.prepare` made it."""
        return Target(self.size, self.channels, self.crop, self.squeeze, self.taking, self.sequencing)

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
        """Say all of it in words and numbers that JSON knows."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> "InputSpec":
        """Take what :meth:`as_dict` said.

        Raises
        ------
        InputError
            If a setting is out of range, or the face detector is not installed.
        """
        parts = {"crop": Crop, "taking": Taking, "sequencing": Sequencing}
        made = {name: parts[name](**value) if name in parts and value else value for name, value in said.items()}
        return cls(**made)


def input_spec_of(run: Run) -> InputSpec:
    """Say how the samples of a run were prepared."""
    recipe, known = run.recipe, run.facts.get("sequences")
    settings = recipe.data.faces
    crop = None
    if settings.crop == "face" or recipe.data.sequences.source == "mesh":
        crop = Crop(**settings.model_dump(exclude={"crop"}))
    if known is None:
        frames = run.facts.get("frames", 1)
        clips = _content(run) == "clips"
        return InputSpec(
            "clips" if clips else "stills",
            recipe.data.size,
            recipe.data.channels,
            frames,
            crop,
            settings.crop == "squeeze",
            data.taking_of(recipe) if clips else None,
            mirror="picture" if recipe.training.tta_flip else "",
        )
    how, (steps, *shape) = _sequencing(run), known["shape"]
    return InputSpec(
        "sequences",
        1,
        1,
        steps,
        None if how.of == "files" else replace(crop or Crop(), margin=MARGIN),
        sequencing=replace(how, shape=tuple(shape)),
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


def _sequencing(run: Run) -> Sequencing:
    how, content = data.sequencing_of(run.recipe), _content(run)
    if content != "sequences":
        return replace(how, of=content, points="mesh-468", numbers="")
    files = run.facts.get("files")
    if files is None:
        files = content_of(run.store.manifest)["files"]
    return replace(how, of="files", points=files["points"], numbers=files["numbers"])


def finds_points(form: InputSpec) -> bool:
    """Whether what a model of sequences learnt from can be found in pictures and videos."""
    how = form.sequencing
    # Of files of points, only where x is a share of the width, or about the eyes' middle, as it is found here.
    return how is not None and (how.of != "files" or (how.points == "mesh-468" and form.middle is not None))
