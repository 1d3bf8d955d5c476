"""What a recipe may say: every key, its type, its range and its default; those of data are in another file."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from evenface.recipes.data import Data, Protocol
from evenface.recipes.deviations import Deviations
from evenface.recipes.section import MANY, SEED, OpenSection, Section

Share = Annotated[float, Field(ge=0, lt=1)]


def _listed(value: Any) -> Any:
    """Take a single word for a list of one."""
    return (value,) if isinstance(value, str) else value


def _named(value: Any) -> Any:
    """Take a single word for the name of what a section is of."""
    return {"name": value} if isinstance(value, str) else value


class Temporal(Section):
    """What turns the features of frames into those of a clip."""

    identity: ClassVar[tuple[str, ...]] = ("kind",)

    kind: Literal["mean", "lstm", "bilstm", "gru", "bigru"] = Field(
        "mean", description="mean over frames, or the last state of a recurrent network; of bi..., of both directions"
    )
    over: Literal["frames", "spatial"] = Field(
        "frames", description="recurrent: steps are frames, or the places of a still's last maps"
    )
    hidden: int = Field(256, ge=1, le=65536, description="recurrent: width of the state in each direction")
    layers: int = Field(2, ge=1, le=64, description="recurrent: number of layers")
    dropout: float = Field(0.3, ge=0, lt=1, description="recurrent: dropout between layers and before the classifier")


class Recurrent(Section):
    """The network of sequences: dense, batch norm, recurrent, dropout, dense, classifier."""

    kind: Literal["gru", "lstm"] = Field("gru", description="the recurrent layer")
    dense: int = Field(32, ge=1, le=1024, description="F, width of the dense layer on each step")
    hidden: int = Field(64, ge=1, le=1024, description="Q, width of the recurrent layer's state")
    top: int = Field(64, ge=1, le=1024, description="R, width of the dense layer before the classifier")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the last state that is dropped, in training")
    norm: Literal["shared", "step", "none"] = Field(
        "shared", description="batch norm by statistics of all steps together, of each step on its own, or none"
    )


class Network(Section):
    """The network and what it starts from."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field("resnet18", description="any timm model; recurrent, for sequences")
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
    head_scale: float = Field(30.0, gt=0, le=1000, description="the logit of a cosine of 1, cosine head only")
    normalise: Literal["weights", "half"] = Field(
        "weights", description="weights: as those it starts from were trained; half: pixels become -1 to 1"
    )
    temporal: Temporal = Field(Temporal(), description="from frames to clips")
    recurrent: Recurrent = Field(Recurrent(), description="the network of sequences")
    freeze: Literal["none", "backbone"] = Field(
        "none", description="backbone: only what stands behind it learns; it stays in evaluation mode"
    )
    gradient_checkpointing: bool = Field(
        False, description="forget the backbone's inner results and compute them again for the gradient: less memory"
    )


class Loss(OpenSection):
    """The loss. Further keys are its own (gamma, alpha, beta)."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: str = "cross-entropy"


class MethodSettings(OpenSection):
    """The imbalance method around network and loss. Further keys are its own."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: str = "erm"


class Optimizer(Section):
    """How weights move."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: Literal["adamw", "adam", "sgd", "lamb", "adabelief", "novograd"] = "adamw"
    lr: float = Field(1e-3, gt=0, le=1000, description="learning rate, before the schedule")
    weight_decay: float = Field(1e-2, ge=0, le=1000, description="weight decay; adam and sgd add it to the gradient")
    weight_decay_on: Literal["weights", "all"] = Field(
        "weights", description="weights spares biases and normalisation from weight decay"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    nesterov: bool = Field(True, description="sgd only: Nesterov's momentum; false for plain momentum")
    betas: tuple[Share, Share] | None = Field(
        None, description="all but sgd; the optimiser's own where none are given, see the page on training"
    )
    eps: float | None = Field(None, gt=0, le=1, description="all but sgd; the optimiser's own where none is given")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the whole gradient")


class Schedule(Section):
    """How the learning rate changes."""

    identity: ClassVar[tuple[str, ...]] = ("name",)

    name: Literal["constant", "step", "exponential", "plateau", "cosine"] = "cosine"
    warmup_epochs: float = Field(1.0, ge=0, le=MANY, description="cosine: epochs of linear rise before the fall")
    min_lr_ratio: float = Field(0.01, ge=0, le=1, description="cosine: last rate as a share of lr")
    gamma: float = Field(0.1, gt=0, le=1, description="step, exponential and plateau: factor of each fall")
    step_size: int = Field(20, ge=1, le=MANY, description="step: epochs between falls")
    patience: int = Field(
        10, ge=1, le=MANY, description="plateau: epochs without a lower validation loss before a fall"
    )


class Training(Section):
    """How long, in what portions, on what."""

    epochs: int = Field(20, ge=1, le=MANY, description="passes over the training samples, or as many draws")
    batch_size: int = Field(64, ge=2, le=MANY, description="samples of one step over all devices together")
    sampling: Literal["none", "inverse", "effective", "reversed"] = Field(
        "none",
        description="draw rare classes more often, by inverse frequency, effective number or inverse frequency squared",
    )
    sampling_beta: float = Field(
        0.999, ge=0, lt=1, description="effective sampling: beta of the effective number, 0 for none"
    )
    checkpoint: Literal["best", "last", "test"] = Field(
        "best",
        description="which weights are tested; best is judged on validation data only; test selects on the test data, "
        "as some papers do, and every result says so",
    )
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="test a moving average of the weights: share of the past at each step, 0 for none"
    )
    tta_flip: bool = Field(False, description="average what is predicted of a picture and of its mirror")
    cache_features: bool = Field(
        False, description="frozen backbone: compute its features of every frame once and train only what follows it"
    )
    monitor: Literal["balanced_accuracy", "accuracy", "macro_f1", "loss"] = Field(
        "balanced_accuracy", description="validation figure that best and early stopping go by"
    )
    patience: int | None = Field(None, ge=1, le=MANY, description="stop after so many epochs without a better monitor")
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto",
        description="auto: bf16-mixed where the hardware has bfloat16 units, else 32-true; the run says which",
    )
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1, le=65536, description="devices of each node; on the CPU, processes")
    nodes: int = Field(1, ge=1, le=65536)
    checkpoint_minutes: float = Field(
        5.0, gt=0, le=MANY, description="longest time that a kill can cost; every epoch's end is kept anyway"
    )
    loggers: Annotated[tuple[Literal["tensorboard", "mlflow"], ...], BeforeValidator(_listed)] = ()


class Augment(Section):
    """Random changes of the training pictures, drawn anew for each sample and epoch."""

    temporal_jitter: bool = Field(
        False, description="clips with more stored frames than are used: sample each frame at random within its segment"
    )
    flip: float = Field(0.5, ge=0, le=1, description="chance of the mirror picture, or of the mirror sequence")
    flip_landmarks: Literal["swapped", "literal"] = Field(
        "swapped", description="sequences of points: left and right points change places, or only x becomes 1 - x"
    )
    flip_duplicates: bool = Field(
        False, description="sequences: train on each sample and its mirror, twice as many, in place of drawing by flip"
    )
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


class Search(Section):
    """Settings that are chosen by a search on validation data before training."""

    trials: int = Field(0, ge=0, le=10000, description="how many are tried; 0 searches nothing")
    space: dict[str, tuple[float, float] | tuple[float, float, Literal["log"]]] = Field(
        {}, description="dotted key to its lowest and highest value; log: even steps are factors"
    )
    startup_trials: int = Field(
        10, ge=1, le=10000, description="trials drawn by chance before the search is guided by the others"
    )
    parallel_trials: int = Field(
        5, ge=1, le=10000, description="trials that are proposed, and where shapes allow trained, at a time"
    )
    prune: bool = Field(True, description="end trials early that are worse than the median of the others")
    seed: int = Field(0, ge=0, le=SEED, description="seed of the search and of its trials")


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
    deviations: Annotated[Deviations, BeforeValidator(_listed)] = Field(
        (), description="what differs from the paper: sentences, or {text, while}, true only while settings are such"
    )
    seed: int = Field(0, ge=0, le=SEED, description="seed of the weights, of the order and of the random changes")
    plugins: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), description="Python files, from the working directory, or modules that register further losses and methods"
    )
    data: Data
    protocol: Protocol = Protocol()
    network: Annotated[Network, BeforeValidator(_named)] = Network()
    method: Annotated[MethodSettings, BeforeValidator(_named)] = MethodSettings()
    loss: Annotated[Loss, BeforeValidator(_named)] = Loss()
    optimizer: Annotated[Optimizer, BeforeValidator(_named)] = Optimizer()
    schedule: Annotated[Schedule, BeforeValidator(_named)] = Schedule()
    training: Training = Training()
    augment: Augment = Augment()
    search: Search = Search()
