"""What each sample is prepared to: its form, the checks of its settings, and what the key of a store depends on."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from evenface.config.recipe import FaceCrop, FrameSampler, MissingFaces, Sequences
from evenface.data.manifest import Manifest
from evenface.preprocessing.blazeface import FACE_MODELS
from evenface.preprocessing.detect_align import check_detector, crop_facts, versions
from evenface.preprocessing.frame_sampling import Array
from evenface.preprocessing.landmarks import COUNTS, KINDS, NAMES, blendshapes, check_normalise, normalised
from evenface.utils.errors import InputError

IMAGES, SEQUENCES = "images.npy", "sequences.npy"
PREPARATION = 1
"""Version of what reading does to pixels; a change makes new stores."""
LARGEST = 2048
MESH_MARGIN = 0.5
"""Margin around the detector's box, so that the detector inside the face mesh finds the face in the square."""


class SequenceSpec(Sequences, MissingFaces):
    """Settings of sequences, and what the samples they are made of are.

    ``origin`` is where frames come from (a still has one frame), ``points`` what the values of a frame are,
    ``numbers`` which columns or array of a file are read, and ``shape`` is that of one stored frame, (P, D).
    """

    points: str = "mesh-468"
    numbers: str = ""
    origin: Literal["clips", "stills", "files"] = "clips"
    shape: tuple[int, int] = (468, 2)

    @classmethod
    def build(
        cls,
        sequences: Sequences,
        missing: MissingFaces,
        *,
        origin: str,
        points: str = "mesh-468",
        numbers: str = "",
        shape: tuple[int, int] = (468, 2),
    ) -> Self:
        """Build it from settings and samples; an InputError where the settings do not suit such samples."""
        if sequences.blendshapes:
            shape = (len(NAMES), 1)
        elif points in COUNTS:
            shape = (COUNTS[points], 3 if sequences.depth else 2)
        settings = {name: getattr(sequences, name) for name in Sequences.model_fields}
        settings |= {name: getattr(missing, name) for name in MissingFaces.model_fields}
        if origin == "stills":
            settings["frames"] = 1
        spec = cls(**settings, points=points, numbers=numbers, origin=origin, shape=shape)
        spec.check()
        return spec

    def check(self) -> None:
        """Raise an InputError where settings do not suit the points."""
        if self.points not in KINDS:
            raise InputError(f"unknown points {self.points!r}", f"Known are {', '.join(KINDS)}.")
        if self.sampling == "mean" and self.origin != "files":
            raise InputError(
                "data.sequences.sampling: mean needs the numbers of every frame, which only files of numbers have",
                "Set data.sequences.sampling: uniform.",
            )
        check_normalise(self.points, self.normalise)
        if self.blendshapes and self.points != "mesh-468":
            raise InputError(
                f"data.sequences.blendshapes are measured on MediaPipe's points, and these sequences are {self.points}",
                "Set data.sequences.blendshapes=false.",
            )
        if self.depth and self.points not in COUNTS:
            raise InputError(f"data.sequences.depth: there is no z in {self.points}", "Set data.sequences.depth=false.")

    @property
    def facts(self) -> dict[str, Any]:
        """Settings that a sample depends on, under the names and in the order that keys of stores are computed from."""
        return {
            "frames": self.frames,
            "take": self.sampling,
            "short": self.padding,
            "depth": self.depth,
            "blendshapes": self.blendshapes,
            "normalise": self.normalise,
            "lost": self.missing_face,
            "lost_share": self.max_missing,
            "points": self.points,
            "numbers": self.numbers,
            "of": self.origin,
        }

    @property
    def stored_points(self) -> str:
        """What the values of a stored sequence are."""
        return "blendshapes" if self.blendshapes else self.points

    def transform(self, values: Array) -> Array:
        """Normalise the values of some frames, (T, P, D) with x and y in one unit, or measure blendshapes on them."""
        if self.blendshapes:
            return blendshapes(values)
        return normalised(values[..., : self.shape[1]], self.points, self.normalise)


@dataclass(frozen=True)
class Target:
    """What every sample becomes."""

    size: int
    channels: int
    faces: FaceCrop = field(default_factory=FaceCrop)
    clips: FrameSampler | None = None
    sequences: SequenceSpec | None = None

    @property
    def crop(self) -> FaceCrop | None:
        """How faces are detected and cropped; None where they are not."""
        return self.faces if self.faces.crop == "face" else None

    @property
    def squeeze(self) -> bool:
        """Whether the whole image is resized to a square."""
        return self.faces.crop == "squeeze"

    @property
    def frames(self) -> int:
        """Frames of one sample, 1 for a still."""
        if self.sequences:
            return self.sequences.frames
        return self.clips.stored if self.clips else 1

    @property
    def one_by_one(self) -> bool:
        """Whether samples are read one at a time, because each takes long."""
        return bool(self.clips) or bool(self.sequences and self.sequences.origin != "files")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (T, H, W, C) of pixels, (T, P, D) of sequences."""
        frame = self.sequences.shape if self.sequences else (self.size, self.size, self.channels)
        return self.frames, *frame

    @property
    def dtype(self) -> str:
        """Type of the array as NumPy writes it: bytes of pixels, or 32-bit floats."""
        return "<f4" if self.sequences else "|u1"

    @property
    def nbytes(self) -> int:
        """Bytes of one sample: an image, or the frames of a clip."""
        return math.prod(self.shape) * (4 if self.sequences else 1)


def target_of(
    manifest: Manifest,
    *,
    size: int,
    channels: int = 1,
    faces: FaceCrop | None = None,
    clips: FrameSampler | None = None,
    sequences: Sequences | None = None,
) -> Target:
    """Return what each sample is prepared to; parameters and errors are those of ``prepare``."""
    faces, clips, sequences = faces or FaceCrop(), clips or FrameSampler(), sequences or Sequences()
    if sequences.source == "mesh" or manifest.content == "sequences":
        spec = sequence_spec(manifest, sequences, clips)
        # The mesh needs a square of a certain width around the face, whatever the margin of images is.
        faces = faces.replace(crop="face", margin=MESH_MARGIN, shift=0.0) if spec.origin != "files" else FaceCrop()
        target = Target(1, 1, faces, sequences=spec)
    else:
        target = Target(size, channels, faces, clips if manifest.content == "clips" else None)
    if target.crop:
        check_detector(target.crop)
    _check(manifest, target)
    return target


def sequence_spec(manifest: Manifest, sequences: Sequences, missing: MissingFaces) -> SequenceSpec:
    """Complete the settings of sequences by what the samples of a manifest are."""
    if manifest.content != "sequences":
        return SequenceSpec.build(sequences, missing, origin=manifest.content)
    columns = {}
    for name in ("points", "numbers"):
        values = manifest.table[name].fillna("").unique().tolist() if name in manifest.table else [""]
        if len(values) > 1:
            raise InputError(f"{manifest.source}: {name} must be the same in all rows, found {', '.join(values)}")
        columns[name] = str(values[0])
    if not columns["points"]:
        raise InputError(f"{manifest.source}: the manifest does not state what the points of its sequences are")
    return SequenceSpec.build(sequences, missing, origin="files", points=columns["points"], numbers=columns["numbers"])


def _check(manifest: Manifest, target: Target) -> None:
    if not 1 <= target.size <= LARGEST:
        raise InputError(f"size must be 1 to {LARGEST} pixels, got {target.size}")
    if target.channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB), got {target.channels}")
    spans = ((manifest.table["end"] - manifest.table["start"]) > 1).fillna(value=False).to_numpy(dtype=bool)
    if spans.any() and manifest.content == "stills":
        name = manifest.table["sample"].iloc[int(spans.argmax())]
        raise InputError(
            f"{manifest.source}: the sample {name} spans several frames", "Set the manifest's content to clips."
        )
    several = (target.crop and target.crop.which == "all") or (target.clips and target.clips.sampling == "windows")
    if several and (reserved := manifest.table["sample"].str.contains(r"#\d+$")).any():
        name = manifest.table["sample"][reserved].iloc[0]
        raise InputError(
            f"{manifest.source}: the sample {name} is named as the further faces or windows are",
            "Use only the largest face of each image, or rename the sample.",
        )


def store_settings(target: Target, manifest: Manifest) -> list[Any]:
    """Return what the content of a store depends on beside the bytes of the files: its key is computed from it."""
    scale = ["ordinal"] if manifest.task == "ordinal" else []  # an option of sources that changes no sample
    if target.sequences:
        spec = target.sequences.facts
        if not target.crop:
            return [PREPARATION, manifest.hash, SEQUENCES, spec, None, *scale]
        crop = crop_facts(target.crop)
        return [PREPARATION, manifest.hash, SEQUENCES, spec, FACE_MODELS, decoder_version(), crop, *scale]
    # In the order, and with no more entries, than stores of stills always had: they are found again by it.
    further: list[Any] = [crop_facts(target.crop)] if target.crop else []
    further += ["squeeze"] if target.squeeze else []
    further += [{"clips": clip_facts(target.clips), "decoder": decoder_version()}] if target.clips else []
    return [PREPARATION, target.size, target.channels, manifest.hash, *further, *scale]


def clip_facts(clips: FrameSampler) -> dict[str, Any]:
    """Return the settings that sampled frames depend on, named and ordered as keys of stores are computed from them."""
    return {
        "frames": clips.stored,
        "take": clips.sampling,
        "every": clips.stride,
        "lost": clips.missing_face,
        "lost_share": clips.max_missing,
    }


def decoder_version() -> str:
    """Return the version of PyAV, which decodes videos; an empty string where it is not installed."""
    return versions(("av",)).get("av", "")
