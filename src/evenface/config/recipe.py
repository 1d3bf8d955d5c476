"""Recipe: every key, its type, its range and its default."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from evenface.config.section import MANY, SEED, Deviations, OpenSection, Section


class FaceCrop(Section):
    """How images are cropped."""

    crop: Literal["none", "face", "squeeze"] = Field(
        "none",
        description=(
            "none: central square; face: detected face, rotated to level eyes; squeeze: the whole "
            "image, resized to a square"
        ),
    )
    detector: str = Field("mediapipe", description="face detector: mediapipe or mtcnn")
    margin: float = Field(0.25, ge=0, le=2, description="margin around the bounding box, relative to its longer side")
    shift: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="shift of the square towards the forehead, relative to the longer side of the bounding box",
    )
    which: Literal["largest", "all"] = Field(
        "largest",
        description=("faces of an image to use; all: one sample per face, with the label and subject of the image"),
    )
    landmarks: Literal["detector", "dlib"] = Field(
        "detector", description="landmarks for alignment: the detector's own, or dlib's 68"
    )


class MissingFaces(Section):
    """What happens to frames without a detected face."""

    missing_face: Literal["hold", "skip", "quarantine"] = Field(
        "hold",
        description="frames without a detected face: hold uses the position of the last face, skip drops the frame, "
        "quarantine excludes the clip",
    )
    max_missing: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="hold and skip: a clip with a larger share of frames without a face is excluded",
    )


class FrameSampler(MissingFaces):
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

    @model_validator(mode="after")
    def _enough_stored(self) -> "FrameSampler":
        if self.stored_frames is not None and self.stored_frames < self.frames:
            raise ValueError("stored_frames must be at least frames")
        return self

    @property
    def stored(self) -> int:
        """Frames per sample that are kept in the store."""
        return self.stored_frames or self.frames


class Sequences(Section):
    """Sequences of landmarks or other per-frame features; no effect on images and clips of images."""

    source: Literal["none", "mesh"] = Field(
        "none",
        description="mesh: detect MediaPipe's 468 face landmarks in every frame of clips or in images, and learn from "
        "these instead of pixels; no effect on datasets that already contain sequences",
    )
    frames: int = Field(10, ge=1, le=1024, description="frames per sequence given to the network")
    sampling: Literal["uniform", "paper", "mean"] = Field(
        "uniform",
        description="uniform: the middle frame of equal segments; paper: every floor(N/P)-th of N frames up to the "
        "last, for P = frames; mean: the mean of each segment, for files of features",
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


def _listed(value: Any) -> Any:
    """Take a single word for a list of one."""
    return (value,) if isinstance(value, str) else value


def _with_text_names(counts: Any) -> Any:
    """Take classes that are named by digits, which YAML reads as numbers."""
    return {str(name): count for name, count in counts.items()} if isinstance(counts, dict) else counts


class Baseline(Section):
    """Person baseline: inputs are relative to what is usual for each person."""

    identity: ClassVar[tuple[str, ...]] = ("kind",)

    kind: Literal["none", "subject-mean", "neutral", "first-frames"] = Field(
        "none",
        description="subject-mean: mean of all of the person's samples, unlabelled; neutral: mean of the person's "
        "samples of the class neutral, without any unit, or of the lowest level or value, which must not be below 0; "
        "first-frames: mean of the first frames of each recording, or of each person's first images; sequences are "
        "relative to it, images are compared with it by network.temporal.kind: difference",
    )
    clips: int | None = Field(
        None,
        ge=1,
        le=MANY,
        description="subject-mean and neutral: number of samples that the baseline of a test person is computed from, "
        "drawn at random by the recipe's seed; default all",
    )
    frames: int = Field(
        1, ge=1, le=1024, description="first-frames: number of stored frames of a recording, or of images of a person"
    )
    scale: bool = Field(
        False, description="sequences: also divide by the person's standard deviation over the same samples (z-score)"
    )

    @model_validator(mode="after")
    def _is_of_effect(self) -> "Baseline":
        if self.kind not in ("subject-mean", "neutral") and self.clips is not None:
            raise ValueError("clips is for kind: subject-mean and neutral")
        if self.kind != "first-frames" and self.frames != 1:
            raise ValueError("frames is for kind: first-frames")
        if self.kind == "none" and self.scale:
            raise ValueError("scale needs a baseline: set kind")
        return self


def _of_kind(value: Any) -> Any:
    """Take a single word for the kind of a section."""
    return {"kind": value} if isinstance(value, str) else value


class Data(OpenSection):
    """Source of the samples, and how they are preprocessed. Further keys are options of the source."""

    identity: ClassVar[tuple[str, ...]] = ("source",)

    source: str = Field(
        description="name of a source, such as folder, csv, fer2013, synthetic; see the page on datasets"
    )
    root: str | None = Field(
        None, description="directory of the dataset; synthetic people default to the cache directory"
    )
    task: Literal["auto", "classification", "ordinal", "regression", "multilabel"] = Field(
        "auto",
        description="what is predicted; auto: that of the dataset, or, where data.targets names other columns than "
        "those it declares, multilabel for action units and columns of 0 and 1, else regression",
    )
    targets: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (),
        description="regression and multilabel: columns that are predicted, such as [AU1, AU4] or pspi; default: those "
        "that the dataset declares. Missing values are left out of loss and metrics",
    )
    positive_from: float = Field(
        1.0, gt=0, le=MANY, description="multilabel: value from which a target is present, such as an intensity of 2"
    )
    auxiliary: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (),
        description="classes: columns of numbers that a second head of the network predicts beside the class, such as "
        "[AU6, AU12]. Missing values are left out of loss and metrics",
    )
    synthetic: Annotated[dict[str, Annotated[int, Field(ge=0, le=MANY)]], BeforeValidator(_with_text_names)] = Field(
        {},
        description="images of expressions: number of faces of synthetic people that are drawn and added to the "
        "training samples of a class, such as {fear: 500}, after any induced imbalance; never to validation or test",
    )
    size: int = Field(112, ge=32, le=1024, description="side of the preprocessed square images, in pixels")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
    faces: FaceCrop = Field(FaceCrop(), description="face detection and alignment")
    clips: FrameSampler = Field(FrameSampler(), description="frame sampling of clips")
    sequences: Sequences = Field(Sequences(), description="landmarks or features of frames in place of pixels")
    baseline: Annotated[Baseline, BeforeValidator(_of_kind)] = Field(
        Baseline(), description="what inputs are relative to for each person"
    )


class Imbalance(Section):
    """Induced class imbalance of the training set; set either factor or counts."""

    identity: ClassVar[tuple[str, ...]] = ("factor", "counts")

    factor: float | None = Field(
        None,
        ge=1,
        allow_inf_nan=False,
        description="imbalance ratio: largest class over smallest, with counts n = n_i u^i in descending order",
    )
    counts: Annotated[dict[str, NonNegativeInt] | None, BeforeValidator(_with_text_names)] = Field(
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

    @model_validator(mode="after")
    def _one_of_two(self) -> "Imbalance":
        if (self.factor is None) == (self.counts is None):
            raise ValueError("set either factor or counts")
        return self


class Protocol(Section):
    """Split into training, validation and test set, and induced imbalance."""

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
    by: Literal["auto", "subject", "clip", "frame", "pseudo-subject"] = Field(
        "auto",
        description=(
            "holdout and kfold: unit that is kept in one set; auto: subjects if all are known, "
            "otherwise clips; frame: splits clips and subjects, a leaky split that some papers use and "
            "that is marked in all results; pseudo-subject: clusters of similar faces where subjects are unknown, also "
            "marked"
        ),
    )
    seed: int = Field(
        0,
        ge=0,
        le=SEED,
        description="seed of the split, of the induced imbalance and of the faces of data.synthetic, independent of "
        "the run's seed",
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
    imbalance: Imbalance | None = Field(None, description="induced class imbalance of the training set")
    duplicates: Literal["keep", "drop-train", "drop-test"] = Field(
        "keep",
        description="whether images that are in both training and test set are kept, or dropped from one of them",
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
            who = "the split is the dataset's own" if self.kind == "official" else "whole subjects are held out"
            raise ValueError(f"by: {self.by} is for holdout and kfold; with {self.kind} {who}")
        return self


Share = Annotated[float, Field(ge=0, lt=1)]


def _named(value: Any) -> Any:
    """Take a single word for the name of what a section is of."""
    return {"name": value} if isinstance(value, str) else value


class Temporal(Section):
    """Aggregation of frame features over time."""

    identity: ClassVar[tuple[str, ...]] = ("kind",)

    kind: Literal["mean", "difference", "lstm", "bilstm", "gru", "bigru", "attention", "transformer"] = Field(
        "mean",
        description="mean over frames; difference of that mean to the features of the person's baseline image (see "
        "data.baseline); last state of a recurrent network, bidirectional with bi; mean weighted by attention; or "
        "class token of a transformer over the frames",
    )
    over: Literal["frames", "spatial"] = Field(
        "frames",
        description="recurrent, attention, transformer: steps are frames, or spatial positions of the last feature "
        "maps of an image",
    )
    hidden: int = Field(
        256,
        ge=1,
        le=65536,
        description="width; recurrent: of the state in each direction",
    )
    layers: int = Field(2, ge=1, le=64, description="recurrent, transformer: number of layers")
    heads: int = Field(4, ge=1, le=64, description="transformer: attention heads of a layer, a divisor of hidden")
    dropout: float = Field(
        0.3, ge=0, lt=1, description="all but mean and difference: dropout between layers and before the classifier"
    )


class Recurrent(Section):
    """The sequence network: dense, batch norm, recurrent, dropout, dense, classifier."""

    kind: Literal["gru", "lstm"] = Field("gru", description="the recurrent layer")
    dense: int = Field(32, ge=1, le=1024, description="F, width of the dense layer on each step")
    hidden: int = Field(64, ge=1, le=1024, description="Q, width of the recurrent layer's state")
    top: int = Field(64, ge=1, le=1024, description="R, width of the dense layer before the classifier")
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout of the last state")
    norm: Literal["shared", "step", "none"] = Field(
        "shared", description="batch norm over all time steps jointly, per time step, or none"
    )


class NetworkSettings(Section):
    """Network architecture and initial weights."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field("resnet18", description="a timm model or compact CNN, or recurrent for the sequence network")
    weights: str = Field(
        "random",
        description="random; hub: pretrained, from the Hugging Face Hub (download); evenface-synthetic: those of the "
        "bundled model; or path of a .safetensors file",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    stem: Literal["timm", "small"] = Field(
        "timm", description="small: a first layer of stride 1 without pooling, for ResNets on small images"
    )
    norm: Literal["batch", "group", "frozen"] = Field(
        "batch", description="normalisation; group and frozen do not depend on the other samples of a batch"
    )
    head: Literal["linear", "cosine"] = Field(
        "linear", description="cosine: logits are scaled cosines of features and class weights, for LDAM and CosFace"
    )
    head_scale: float = Field(30.0, gt=0, le=1000, description="cosine head: scale, the logit of a cosine of 1")
    normalise: Literal["weights", "half"] = Field(
        "weights",
        description=(
            "input normalisation; weights: that of the pretrained weights; half: pixels are mapped to -1 to 1"
        ),
    )
    temporal: Temporal = Field(Temporal(), description="aggregation of frame features over time")
    recurrent: Recurrent = Field(Recurrent(), description="settings of the sequence network")
    freeze: Literal["none", "backbone"] = Field(
        "none", description="backbone: train only the layers after it; the backbone is in evaluation mode"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute the backbone's activations in the backward pass to save memory"
    )


class LossSettings(OpenSection):
    """The loss. Further keys are its own (gamma, alpha, beta)."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field("cross-entropy", description="name of a loss")


class MethodSettings(OpenSection):
    """The imbalance method around network and loss. Further keys are its own."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field("erm", description="name of an imbalance method; erm: none")


class Optimizer(Section):
    """Optimiser and its hyperparameters."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: Literal["adamw", "adam", "sgd", "lamb", "adabelief", "novograd", "muon"] = Field(
        "adamw", description="optimiser"
    )
    lr: float = Field(1e-3, gt=0, le=1000, description="learning rate, before the schedule")
    weight_decay: float = Field(1e-2, ge=0, le=1000, description="weight decay; adam and sgd add it to the gradient")
    weight_decay_on: Literal["weights", "all"] = Field(
        "weights", description="weights: no weight decay for biases and normalisation"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd and muon")
    nesterov: bool = Field(True, description="sgd and muon: Nesterov momentum; false: classical momentum")
    betas: tuple[Share, Share] | None = Field(
        None, description="all but sgd; the optimiser's defaults if not set, see the page on training"
    )
    eps: float | None = Field(None, gt=0, le=1, description="all but sgd; the optimiser's default if not set")
    clip_norm: float | None = Field(None, gt=0, description="maximum norm of the gradient (clipping)")


class Schedule(Section):
    """Learning-rate schedule."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: Literal["constant", "step", "exponential", "plateau", "cosine"] = Field(
        "cosine", description="course of the learning rate"
    )
    warmup_epochs: float = Field(1.0, ge=0, le=MANY, description="cosine: epochs of linear warm-up")
    min_lr_ratio: float = Field(0.01, ge=0, le=1, description="cosine: final learning rate relative to lr")
    gamma: float = Field(0.1, gt=0, le=1, description="step, exponential and plateau: decay factor")
    step_size: int = Field(20, ge=1, le=MANY, description="step: epochs between decays")
    patience: int = Field(
        10, ge=1, le=MANY, description="plateau: epochs without a lower validation loss before a decay"
    )


class Training(Section):
    """Training: epochs, batches, sampling, checkpoints, devices."""

    epochs: int = Field(
        20, ge=1, le=MANY, description="passes over the training samples, or as many draws with replacement"
    )
    batch_size: int = Field(64, ge=2, le=MANY, description="global batch size, over all devices")
    start_size: int | None = Field(
        None,
        ge=8,
        le=MANY,
        description="images: side in pixels in the first epoch (progressive resizing), which grows to data.size within "
        "the first two thirds of the epochs; data.size throughout if not set",
    )
    sampling: Literal["none", "inverse", "effective", "reversed"] = Field(
        "none",
        description=("class-balanced sampling: by inverse frequency, effective number or squared inverse frequency"),
    )
    auxiliary_weight: float = Field(
        1.0, gt=0, le=MANY, description="weight of the squared error of data.auxiliary, beside the loss of the classes"
    )
    sampling_beta: float = Field(
        0.999, ge=0, lt=1, description="effective sampling: beta of the effective number, 0 for none"
    )
    checkpoint: Literal["best", "last", "test"] = Field(
        "best",
        description=(
            "weights to test; best: best epoch on validation data; test: best epoch on the test data, "
            "as in some papers, which biases results and is marked in all of them"
        ),
    )
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="decay of the exponential moving average of the weights, 0 for none"
    )
    tta_flip: bool = Field(
        False, description="test-time augmentation: average the predictions of an image and its horizontal flip"
    )
    cache_features: bool = Field(
        False, description="frozen backbone: compute its features once per frame and train only the layers after it"
    )
    monitor: Literal["balanced_accuracy", "accuracy", "macro_f1", "macro_average_precision", "ccc", "mae", "loss"] = (
        Field(
            "balanced_accuracy",
            description="validation metric for best and early stopping; where targets are no classes the default is "
            "macro_average_precision (multilabel) or ccc (regression)",
        )
    )
    thresholds: Literal["half", "validation"] = Field(
        "half",
        description="multilabel: probability from which a target is predicted, 0.5 or the one of highest F1 of each "
        "target on validation data",
    )
    patience: int | None = Field(
        None, ge=1, le=MANY, description="early stopping: epochs without improvement of the monitor"
    )
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto",
        description="auto: bf16-mixed on hardware with bfloat16 units, otherwise 32-true; recorded in the run",
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="device type; auto: a GPU if there is one")
    compile: Literal["none", "default", "reduce-overhead"] = Field(
        "none",
        description="images: compile the network for training by torch.compile; reduce-overhead: replay CUDA graphs",
    )
    devices: int = Field(1, ge=1, le=65536, description="devices of each node; on the CPU, processes")
    nodes: int = Field(1, ge=1, le=65536, description="machines that train together")
    checkpoint_minutes: float = Field(
        5.0, gt=0, le=MANY, description="interval of checkpoints within an epoch, in minutes"
    )
    loggers: Annotated[tuple[Literal["tensorboard", "mlflow"], ...], BeforeValidator(_listed)] = Field(
        (), description="loggers of the training curves; both write to disk only"
    )


class Augment(Section):
    """Random augmentation of the training samples, drawn for each sample and epoch."""

    temporal_jitter: bool = Field(
        False, description="clips with more stored frames than are used: sample each frame at random within its segment"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip, or of the mirrored sequence")
    policy: Literal["none", "randaugment", "trivialaugment"] = Field(
        "none", description="images: randomly chosen operations of torchvision, before all others; none: none"
    )
    operations: int = Field(2, ge=1, le=100, description="randaugment: operations on each image")
    magnitude: int = Field(9, ge=0, le=30, description="randaugment: strength of the operations, from 0 to 30")
    flip_landmarks: Literal["swapped", "literal"] = Field(
        "swapped", description="landmark sequences: exchange left and right landmarks, or only map x to 1 - x"
    )
    flip_duplicates: bool = Field(
        False, description="sequences: train on each sample and its mirror, in place of random flips"
    )
    rotate: float = Field(0.0, ge=0, le=180, description="maximum rotation, in degrees")
    shift: float = Field(0.0, ge=0, le=1, description="maximum translation, relative to the side")
    zoom: float = Field(0.0, ge=0, lt=1, description="maximum change of scale")
    shear: float = Field(0.0, ge=0, le=1, description="maximum shear, relative to the side")
    brightness: float = Field(0.0, ge=0, le=1, description="maximum relative change")
    contrast: float = Field(0.0, ge=0, le=1, description="maximum relative change")
    saturation: float = Field(0.0, ge=0, le=1, description="maximum relative change; colour images only")
    erase: float = Field(0.0, ge=0, le=1, description="probability of random erasing")
    erase_area: tuple[Share, Share] = Field((0.02, 0.25), description="minimum and maximum erased share of the image")

    @model_validator(mode="after")
    def _in_order(self) -> "Augment":
        if self.erase_area[0] > self.erase_area[1]:
            raise ValueError("erase_area must be the minimum and the maximum share, in this order")
        return self


class SearchSettings(Section):
    """Settings that are chosen by a search on validation data before training."""

    trials: int = Field(0, ge=0, le=10000, description="number of trials; 0: no search")
    space: dict[str, tuple[float, float] | tuple[float, float, Literal["log"]]] = Field(
        {}, description="search space: dotted key with its lower and upper bound; log: logarithmic scale"
    )
    startup_trials: int = Field(10, ge=1, le=10000, description="number of random trials before the Gaussian process")
    parallel_trials: int = Field(5, ge=1, le=10000, description="trials proposed, and if possible trained, in parallel")
    prune: bool = Field(True, description="stop trials early that are worse than the median of the others")
    seed: int = Field(0, ge=0, le=SEED, description="seed of the search and of its trials")


RECURRENT = "recurrent"
"""Name of the sequence network."""


DEFAULT_LOSS = {"regression": "squared-error", "multilabel": "binary-cross-entropy"}
"""Loss of a task whose targets are no classes, where a recipe has none of its own."""


class Recipe(Section):
    """All settings of a run.

    See ``docs/recipes.md``. The resolved recipe is written into every run folder.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$",
        description="name of the run folder; letters, digits and . _ + - only",
    )
    about: str = Field("", description="one line about the run")
    paper: str = Field("", description="source of the settings")
    deviations: Annotated[Deviations, BeforeValidator(_listed)] = Field(
        (),
        description=(
            "differences from the paper: sentences, or {text, while} for those that apply only with certain settings"
        ),
    )
    seed: int = Field(0, ge=0, le=SEED, description="seed of initial weights, sample order and augmentation")
    plugins: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (),
        description=(
            "Python files, relative to the working directory, or modules that register additional losses and methods"
        ),
    )
    data: Data
    protocol: Protocol = Protocol()
    network: Annotated[NetworkSettings, BeforeValidator(_named)] = NetworkSettings()
    method: Annotated[MethodSettings, BeforeValidator(_named)] = MethodSettings()
    loss: Annotated[LossSettings, BeforeValidator(_named)] = LossSettings()
    optimizer: Annotated[Optimizer, BeforeValidator(_named)] = Optimizer()
    schedule: Annotated[Schedule, BeforeValidator(_named)] = Schedule()
    training: Training = Training()
    augment: Augment = Augment()
    search: SearchSettings = SearchSettings()

    @property
    def modality(self) -> Literal["images", "sequences"]:
        """What the recipe trains on: images (and clips of them), or sequences of numbers."""
        return "sequences" if self.network.name == RECURRENT else "images"
