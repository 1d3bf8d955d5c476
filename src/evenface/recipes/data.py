"""What a recipe may say of its data: where faces come from, how they are prepared, who trains and who tests."""

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from evenface.recipes.section import MANY, SEED, OpenSection, Section


class FaceCrop(Section):
    """How pictures are cropped to faces."""

    crop: Literal["none", "face", "squeeze"] = Field(
        "none",
        description="none keeps the middle square; face looks for faces and turns their eyes level; squeeze keeps the "
        "whole picture, squeezed to a square",
    )
    detector: str = Field("mediapipe", description="who finds them: mediapipe or mtcnn")
    margin: float = Field(
        0.25, ge=0, le=2, description="what is added around the detector's box, as a share of its longer side"
    )
    which: Literal["largest", "all"] = Field(
        "largest", description="all makes a sample of every face, with the label and the subject of its picture"
    )
    landmarks: Literal["detector", "dlib"] = Field(
        "detector", description="what eyes are levelled by: the detector's own points, or dlib's 68"
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

    source: str = Field(description="name of a source, such as folder, csv, fer2013, synthetic; see the page on data")
    root: str | None = Field(
        None, description="folder of the data set; synthetic people are made in a cache folder when none is given"
    )
    size: int = Field(112, ge=32, le=1024, description="side of the prepared square faces, in pixels")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
    faces: FaceCrop = Field(FaceCrop(), description="finding and aligning faces in raw pictures")
    clips: Clips = Field(Clips(), description="taking frames from clips")
    sequences: Sequences = Field(Sequences(), description="numbers of frames in place of pixels")


class Imbalance(Section):
    """How uneven the training classes shall be; give one of factor and counts."""

    identity: ClassVar[tuple[str, ...]] = ("factor", "counts")

    factor: float | None = Field(
        None,
        ge=1,
        allow_inf_nan=False,
        description="largest class over smallest, by n = n_i u^i in falling order",
    )
    counts: dict[str, NonNegativeInt] | None = Field(
        None, description="samples to keep of each class, by name; a class that is not named keeps all"
    )
    by: Literal["samples", "subjects"] = Field(
        "samples",
        description="leave out samples one by one; or with all that a person has of the class, so that rare classes "
        "are shown by few people, which confounds identity with class",
    )
    on: Literal["train", "all"] = Field(
        "train", description="train leaves the test untouched; all is what some papers do, and results say so"
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
        description="as the authors divide it; one part held out; each of several parts in turn; each person in turn",
    )
    test: float = Field(0.2, gt=0, lt=1, description="holdout: share that tests, of people where they are known")
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of training held back to judge weights, 0 for none; an official one is kept",
    )
    test_clips: int | None = Field(
        None,
        ge=2,
        le=MANY,
        description="holdout by frame: so many whole clips test, evenly over the classes, in place of the share test; "
        "all other frames are divided into training and validation",
    )
    folds: int = Field(5, ge=2, le=MANY, description="kfold: number of folds")
    fold: int = Field(
        0, ge=0, le=MANY, description="kfold and leave-one-out: which fold, or which person in order, tests"
    )
    by: Literal["auto", "subject", "clip", "frame"] = Field(
        "auto",
        description="holdout and kfold: what stays together; auto takes people where all are known, else clips; frame "
        "tears people and clips apart, as some papers do, and results say so",
    )
    seed: int = Field(
        0, ge=0, le=SEED, description="seed of the split and of the imbalance; the run's own does not touch them"
    )
    cohorts: int = Field(
        1, ge=1, le=MANY, description="deal people into so many groups that share nobody; a run knows one of them alone"
    )
    cohort: int = Field(0, ge=0, le=MANY, description="which group trains, judges and tests")
    train_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the training people (samples, where people are not known) that are trained on; "
        "validation and test stay",
    )
    imbalance: Imbalance | None = Field(None, description="how uneven training shall be made")
    duplicates: Literal["keep", "drop-train", "drop-test"] = Field(
        "keep", description="what happens to pictures that stand in training and in testing"
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
