"""What a recipe may say: every key, its type, its range and its default."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, field_validator, model_validator

Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Part of a recipe; keys that it does not know are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenSection(BaseModel):
    """Part of a recipe whose further keys belong to what it names; the one named checks them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        """Keys beyond those that every recipe has."""
        return dict(self.model_extra or {})


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
    """How samples of frames are made of clips; of no effect on stills."""

    frames: int = Field(16, ge=1, le=1024, description="frames of a sample that the network sees")
    keep: int | None = Field(
        None, ge=1, le=4096, description="frames of a sample that are stored, to draw those it sees from; none: as many"
    )
    take: Literal["uniform", "stride", "windows"] = Field(
        "uniform",
        description="uniform: from equal stretches of the whole clip; stride: every so many frames about its middle; "
        "windows: one stretch after the other, each a sample; with frames 1, every frame",
    )
    every: int = Field(1, ge=1, description="stride and windows: take every so many frames")
    lost: Literal["hold", "skip", "quarantine"] = Field(
        "hold", description="frames without a face: crop where the face was last, leave them out, or set the clip aside"
    )
    lost_share: float = Field(
        0.5, ge=0, lt=1, description="hold and skip: a clip with a larger share of frames without a face is set aside"
    )

    @model_validator(mode="after")
    def _enough_to_draw_from(self) -> "Clips":
        if self.keep is not None and self.keep < self.frames:
            raise ValueError("keep must be at least frames")
        return self


class Data(OpenSection):
    """Where the faces come from. Further keys are options of the source."""

    source: str = Field(description="name of a source, such as folder, csv, fer2013, synthetic; see the page on data")
    root: str | None = Field(
        None, description="folder of the data set; synthetic people are made in a cache folder when none is given"
    )
    size: int = Field(112, ge=32, le=1024, description="side of the prepared square faces, in pixels")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
    faces: FaceCrop = Field(FaceCrop(), description="finding and aligning faces in raw pictures")
    clips: Clips = Field(Clips(), description="taking frames from clips")


class Imbalance(Section):
    """How uneven the training classes shall be; give one of factor and counts."""

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
        "samples", description="leave out samples one by one, or with all that a person has of the class"
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
    folds: int = Field(5, ge=2, description="kfold: number of folds")
    fold: int = Field(0, ge=0, description="kfold and leave-one-out: which fold, or which person in order, tests")
    by: Literal["auto", "subject", "clip", "frame"] = Field(
        "auto",
        description="holdout and kfold: what stays together; auto takes people where all are known, else clips; frame "
        "tears people and clips apart, as some papers do, and results say so",
    )
    seed: int = Field(0, ge=0, description="seed of the split and of the imbalance; the run's own does not touch them")
    imbalance: Imbalance | None = Field(None, description="how uneven training shall be made")
    copies: Literal["keep", "drop-train", "drop-test"] = Field(
        "keep", description="what happens to pictures that stand in training and in testing"
    )

    @model_validator(mode="after")
    def _fold_exists(self) -> "Protocol":
        if self.kind == "kfold" and self.fold >= self.folds:
            raise ValueError(f"fold must be 0 to {self.folds - 1}")
        return self

    @model_validator(mode="after")
    def _by_is_of_effect(self) -> "Protocol":
        if self.by != "auto" and self.kind in ("official", "leave-one-out"):
            who = "the data set's authors divide" if self.kind == "official" else "whole people are left out"
            raise ValueError(f"by: {self.by} is for holdout and kfold; with {self.kind} {who}")
        return self


class Temporal(Section):
    """What turns the features of frames into those of a clip."""

    kind: Literal["mean", "lstm", "bilstm", "gru", "bigru"] = Field(
        "mean", description="mean over frames, or the last state of a recurrent network; of bi..., of both directions"
    )
    over: Literal["frames", "spatial"] = Field(
        "frames", description="recurrent: steps are frames, or the places of a still's last maps"
    )
    hidden: int = Field(256, ge=1, description="recurrent: width of the state in each direction")
    layers: int = Field(2, ge=1, description="recurrent: number of layers")
    dropout: float = Field(0.3, ge=0, lt=1, description="recurrent: dropout between layers and before the classifier")


class Network(Section):
    """The network and what it starts from."""

    name: str = Field("resnet18", description="any timm model")
    weights: str = Field("random", description="random, hub (downloads), or the path of a .safetensors file")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    stem: Literal["timm", "small"] = Field(
        "timm", description="small: a first layer that keeps the size, for ResNets on small pictures"
    )
    norm: Literal["batch", "group", "frozen"] = Field(
        "batch", description="group and frozen do not depend on the other samples of a batch"
    )
    head: Literal["linear", "cosine"] = Field(
        "linear", description="cosine: logits by the angle of features and class weights alone, for LDAM and CosFace"
    )
    head_scale: float = Field(30.0, gt=0, description="the logit of a cosine of 1, cosine head only")
    normalise: Literal["weights", "half"] = Field(
        "weights", description="weights: as those it starts from were trained; half: pixels become -1 to 1"
    )
    temporal: Temporal = Field(Temporal(), description="from frames to clips")
    freeze: Literal["none", "backbone"] = Field(
        "none", description="backbone: only what stands behind it learns; it stays in evaluation mode"
    )
    recompute: bool = Field(
        False, description="forget the backbone's inner results and compute them again for the gradient: less memory"
    )


class Loss(OpenSection):
    """The loss. Further keys are its own (gamma, alpha, beta)."""

    name: str = "cross-entropy"


class MethodSettings(OpenSection):
    """The imbalance method around network and loss. Further keys are its own."""

    name: str = "plain"


class Optimizer(Section):
    """How weights move."""

    name: Literal["adamw", "adam", "sgd", "lamb", "adabelief", "novograd"] = "adamw"
    lr: float = Field(1e-3, gt=0, description="learning rate, before the schedule")
    weight_decay: float = Field(1e-2, ge=0, description="weight decay; adam and sgd add it to the gradient")
    decay: Literal["weights", "all"] = Field(
        "weights", description="weights spares biases and normalisation from weight decay"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only; Nesterov's form")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="all but sgd")
    eps: float | None = Field(None, gt=0, description="the optimiser's own where none is given")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the whole gradient")


class Schedule(Section):
    """How the learning rate changes."""

    name: Literal["constant", "step", "exponential", "plateau", "cosine"] = "cosine"
    warmup_epochs: float = Field(1.0, ge=0, description="cosine: epochs of linear rise before the fall")
    final: float = Field(0.01, ge=0, le=1, description="cosine: last rate as a share of lr")
    gamma: float = Field(0.1, gt=0, le=1, description="step, exponential and plateau: factor of each fall")
    every: int = Field(20, ge=1, description="step: epochs between falls")
    patience: int = Field(10, ge=0, description="plateau: epochs without a lower validation loss before a fall")


class Training(Section):
    """How long, in what portions, on what."""

    epochs: int = Field(20, ge=1, description="passes over the training samples, or as many draws")
    batch_size: int = Field(64, ge=2, description="samples of one step over all devices together")
    sampling: Literal["none", "inverse", "effective", "reversed"] = Field(
        "none",
        description="draw rare classes more often, by inverse frequency, effective number or inverse frequency squared",
    )
    select: Literal["best", "last", "test"] = Field(
        "best",
        description="which weights are tested; best is judged on validation data only; test selects on the test data, "
        "as some papers do, and every result says so",
    )
    average: float = Field(
        0.0, ge=0, lt=1, description="test a moving average of the weights: share of the past at each step, 0 for none"
    )
    mirror: bool = Field(False, description="average what is predicted of a picture and of its mirror")
    features: Literal["computed", "stored"] = Field(
        "computed",
        description="stored: compute what a frozen backbone says of each frame once, and train only what stands behind",
    )
    monitor: Literal["balanced_accuracy", "accuracy", "macro_f1", "loss"] = Field(
        "balanced_accuracy", description="validation figure that best and early stopping go by"
    )
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without a better monitor")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1, description="devices of each node; on the CPU, processes")
    nodes: int = Field(1, ge=1)
    checkpoint_minutes: float = Field(
        5.0, gt=0, description="longest time that a kill can cost; every epoch's end is kept anyway"
    )
    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = ()


class Augment(Section):
    """Random changes of the training pictures, drawn anew for each sample and epoch."""

    frames: Literal["middle", "random"] = Field(
        "middle", description="clips stored with more frames than are seen: the middle of each stretch, or any of it"
    )
    flip: float = Field(0.5, ge=0, le=1, description="chance of the mirror picture")
    rotate: float = Field(0.0, ge=0, le=180, description="largest angle, in degrees")
    shift: float = Field(0.0, ge=0, le=1, description="largest shift, as a share of the side")
    zoom: float = Field(0.0, ge=0, lt=1, description="largest change of scale, as a share")
    shear: float = Field(0.0, ge=0, le=1, description="largest shear, as a share of the side")
    brightness: float = Field(0.0, ge=0, le=1, description="largest change, as a share")
    contrast: float = Field(0.0, ge=0, le=1, description="largest change, as a share")
    saturation: float = Field(0.0, ge=0, le=1, description="largest change, as a share; colour only")
    erase: float = Field(0.0, ge=0, le=1, description="chance that a rectangle is erased")
    erase_area: tuple[Share, Share] = Field(
        (0.02, 0.25), description="smallest and largest share of the picture that is erased"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Augment":
        if self.erase_area[0] > self.erase_area[1]:
            raise ValueError("erase_area must name the smaller share first")
        return self


def _listed(value: Any) -> Any:
    """Take a single word for a list of one."""
    return (value,) if isinstance(value, str) else value


class Recipe(Section):
    """Everything that fixes a run.

    See ``docs/recipes.md``. The resolved recipe is written into every run folder.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$",
        description="letters, digits and . _ + - only: it names the run folder",
    )
    about: str = ""
    paper: str = Field("", description="where the setting comes from")
    deviations: tuple[str, ...] = Field((), description="what differs from the paper")
    seed: int = Field(0, ge=0, description="seed of the weights, of the order and of the random changes")
    plugins: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), description="Python files, from the working directory, or modules that register further losses and methods"
    )
    data: Data
    protocol: Protocol = Protocol()
    network: Network = Network()
    method: MethodSettings = MethodSettings()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    augment: Augment = Augment()
