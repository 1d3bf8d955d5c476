"""What a recipe may say of its data: where faces come from, how they are prepared, who trains and who tests."""

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from evenface.recipes.section import MANY, SEED, OpenSection, Section


class FaceCrop(Section):
    """How pictures are cropped to faces."""

    crop: Literal["none", "face", "squeeze"] = Field(
        "none",
        description=(
            "none: central square; face: detected face, rotated to level eyes; squeeze: the whole "
            "image, resized to a square"
        ),
    )
    detector: str = Field("mediapipe", description="face detector: mediapipe or mtcnn")
    margin: float = Field(0.25, ge=0, le=2, description="margin around the bounding box, relative to its longer side")
    which: Literal["largest", "all"] = Field(
        "largest",
        description=("faces of an image to use; all: one sample per face, with the label and subject of the image"),
    )
    landmarks: Literal["detector", "dlib"] = Field(
        "detector", description="landmarks for alignment: the detector's own, or dlib's 68"
    )


class Clips(Section):
    """Frame sampling of clips; no effect on images."""

    frames: int = Field(16, ge=1, le=1024, description="frames per sample given to the network")
    stored_frames: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="frames per sample kept in the store, which training draws its frames from; default: frames",
    )
    sampling: Literal["uniform", "stride", "windows"] = Field(
        "uniform",
        description="uniform: the middle frame of equal segments of the clip; stride: frames at a fixed stride around "
        "the middle of the clip; windows: consecutive windows, each a sample; with frames: 1, every frame",
    )
    stride: int = Field(1, ge=1, le=MANY, description="stride and windows: step between sampled frames")
    missing_face: Literal["hold", "skip", "quarantine"] = Field(
        "hold",
        description="frames without a detected face: hold crops where the last face was, skip drops the frame, "
        "quarantine excludes the clip",
    )
    max_missing: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="hold and skip: a clip with a larger share of frames without a face is excluded",
    )

    @model_validator(mode="after")
    def _enough_stored(self) -> "Clips":
        if self.stored_frames is not None and self.stored_frames < self.frames:
            raise ValueError("stored_frames must be at least frames")
        return self


class Sequences(Section):
    """Sequences of landmarks or other per-frame features; no effect on images and clips of images."""

    source: Literal["none", "mesh"] = Field(
        "none",
        description="mesh: detect MediaPipe's 468 face landmarks in every frame of clips or in images, and learn from "
        "these instead of pixels; data sets of sequences bring their own features",
    )
    frames: int = Field(10, ge=1, le=1024, description="frames per sequence given to the network")
    sampling: Literal["uniform", "paper", "mean"] = Field(
        "uniform",
        description="uniform: the middle frame of equal segments; paper: every floor(N/P)-th frame up to the last; "
        "mean: the mean of each segment, for files of features",
    )
    padding: Literal["interpolate", "repeat"] = Field(
        "interpolate",
        description="sequences shorter than frames: interpolate linearly between frames, or repeat the last frame",
    )
    depth: bool = Field(False, description="landmarks: add the z coordinate to x and y")
    blendshapes: bool = Field(
        False, description="mesh landmarks: geometric measures of mouth, eyes and brows in place of the landmarks"
    )
    normalise: Literal["none", "position", "scale", "roll"] = Field(
        "none",
        description="landmark normalisation: position moves the midpoint of the eyes to the origin; scale also sets "
        "the distance of the eyes to 1; roll also rotates the eyes level",
    )


class Data(OpenSection):
    """Where the faces come from. Further keys are options of the source."""

    identity: ClassVar[tuple[str, ...]] = ("source",)

    source: str = Field(
        description="name of a source, such as folder, csv, fer2013, synthetic; see the page on datasets"
    )
    root: str | None = Field(
        None, description="directory of the dataset; synthetic people default to the cache directory"
    )
    size: int = Field(112, ge=32, le=1024, description="side of the preprocessed square images, in pixels")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
    faces: FaceCrop = Field(FaceCrop(), description="face detection and alignment")
    clips: Clips = Field(Clips(), description="frame sampling of clips")
    sequences: Sequences = Field(Sequences(), description="numbers of frames in place of pixels")


class Imbalance(Section):
    """How uneven the training classes shall be; give one of factor and counts."""

    identity: ClassVar[tuple[str, ...]] = ("factor", "counts")

    factor: float | None = Field(
        None,
        ge=1,
        allow_inf_nan=False,
        description="imbalance ratio: largest class over smallest, with counts n = n_i u^i in descending order",
    )
    counts: dict[str, NonNegativeInt] | None = Field(
        None, description="samples to keep per class, by name; other classes keep all"
    )
    by: Literal["samples", "subjects"] = Field(
        "samples",
        description=(
            "remove single samples; or all samples of a subject and class, so that rare classes have "
            "few subjects, which confounds identity with class"
        ),
    )
    on: Literal["train", "all"] = Field(
        "train",
        description="train: training set only; all: also the test set, as in some papers, marked in all results",
    )

    @field_validator("counts", mode="before")
    @classmethod
    def _names(cls, counts: Any) -> Any:
        """Take classes that are named by digits, which YAML reads as numbers."""
        return {str(name): count for name, count in counts.items()} if isinstance(counts, dict) else counts

    @model_validator(mode="after")
    def _one_of_two(self) -> "Imbalance":
        if (self.factor is None) == (self.counts is None):
            raise ValueError("give either factor or counts")
        return self


class Protocol(Section):
    """Who trains and who tests."""

    identity: ClassVar[tuple[str, ...]] = ("kind",)

    kind: Literal["official", "holdout", "kfold", "leave-one-out"] = Field(
        "holdout",
        description="official split of the dataset, hold-out, k-fold cross-validation, or leave-one-subject-out",
    )
    test: float = Field(
        0.2, gt=0, lt=1, description="holdout: share of the test set, of subjects if known, otherwise of samples"
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description=("share of the training set used for validation, 0 for none; an official validation set is kept"),
    )
    test_clips: int | None = Field(
        None,
        ge=2,
        le=MANY,
        description=(
            "holdout by frame: number of whole clips in the test set, balanced over classes, in place "
            "of test; all other frames are split into training and validation"
        ),
    )
    folds: int = Field(5, ge=2, le=MANY, description="kfold: number of folds")
    fold: int = Field(0, ge=0, le=MANY, description="kfold and leave-one-out: index of the test fold or test subject")
    by: Literal["auto", "subject", "clip", "frame"] = Field(
        "auto",
        description=(
            "holdout and kfold: unit that is kept in one set; auto: subjects if all are known, "
            "otherwise clips; frame: splits clips and subjects, a leaky split that some papers use and "
            "that is marked in all results"
        ),
    )
    seed: int = Field(
        0, ge=0, le=SEED, description="seed of the split and of the induced imbalance, independent of the run's seed"
    )
    cohorts: int = Field(1, ge=1, le=MANY, description="number of disjoint groups of subjects; a run uses one of them")
    cohort: int = Field(0, ge=0, le=MANY, description="index of the group that the run uses")
    train_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description=(
            "share of the training subjects (samples, if subjects are unknown) to use; validation and "
            "test sets are unchanged"
        ),
    )
    imbalance: Imbalance | None = Field(None, description="how uneven training shall be made")
    duplicates: Literal["keep", "drop-train", "drop-test"] = Field(
        "keep", description="images that are in both training and test set"
    )

    @model_validator(mode="after")
    def _fold_exists(self) -> "Protocol":
        if self.kind == "kfold" and self.fold >= self.folds:
            raise ValueError(f"fold must be 0 to {self.folds - 1}")
        return self

    @model_validator(mode="after")
    def _cohort_exists(self) -> "Protocol":
        if self.cohort >= self.cohorts:
            raise ValueError(f"cohort must be 0 to {self.cohorts - 1}")
        return self

    @model_validator(mode="after")
    def _test_clips_is_of_effect(self) -> "Protocol":
        if self.test_clips is not None and (self.kind != "holdout" or self.by != "frame"):
            raise ValueError("test_clips is for kind: holdout with by: frame")
        return self

    @model_validator(mode="after")
    def _by_is_of_effect(self) -> "Protocol":
        if self.by != "auto" and self.kind in ("official", "leave-one-out"):
            who = "the data set's authors divide" if self.kind == "official" else "whole people are left out"
            raise ValueError(f"by: {self.by} is for holdout and kfold; with {self.kind} {who}")
        return self
