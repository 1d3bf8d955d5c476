"""Request and response models of the HTTP API (``/openapi.json``), and what error messages may reveal."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from evenface.data.manifest import TaskKind
from evenface.utils.errors import InputError

Id = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]


class Schema(BaseModel):
    """Base class: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class ErrorMessage(Schema):
    """Message and hint."""

    what: str = Field(description="What was wrong, in one sentence.")
    do: str = Field(description="What to do about it.")


class ErrorResponse(Schema):
    """Response to every request that failed."""

    error: ErrorMessage


class Health(Schema):
    """State of a server that accepts jobs."""

    state: Literal["running"] = "running"


class ServerInfo(Schema):
    """Version and limits of the server."""

    version: str
    statement: str = Field(description="Notice on prohibited uses.")
    limits: dict[str, float] = Field(description="Limits: bytes, pixels, seconds, frames, waiting jobs.")
    metrics: dict[str, str] = Field(description="Label of each metric.")
    headline: dict[TaskKind, list[str]] = Field(description="Metrics to show first, by task.")
    keeps: bool = Field(description="Whether uploads and results are saved, by --save-uploads.")


class MetricValue(Schema):
    """A value with its 95 % confidence interval; null if undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class ModelSummary(Schema):
    """A run or exported model in the list."""

    id: Id
    name: str
    kind: Literal["run", "file"] = Field(description="A run folder, or an exported .onnx file.")
    task: TaskKind = Field(
        description="What is predicted: a class, an ordered level, values, or which targets are present."
    )
    classes: list[str] = Field(description="Classes; of regression and multilabel, the targets.")
    takes: list[Literal["image", "video", "features"]] = Field(description="Accepted inputs.")
    baseline: bool = Field(description="Whether it takes a person baseline, a second file of the same person.")
    usable: bool = Field(description="Whether it has weights; cross-dataset evaluations have none.")
    metric: str = Field(description="Main metric of the task, by its name in `metrics`.")
    result: MetricValue | None = Field(description="That metric on the test set; null if unknown.")
    study: Id | None = Field(description="Study that it is part of.")


class StudySummaryResponse(Schema):
    """A study in the list."""

    id: Id
    name: str
    about: str
    runs: int = Field(description="Number of finished runs.")
    report: bool = Field(description="Whether there is a report at /api/v1/studies/ID/report.html.")


class CatalogueResponse(Schema):
    """All models and studies."""

    models: list[ModelSummary]
    studies: list[StudySummaryResponse]


class ClassResult(Schema):
    """Metrics of one class on the test set."""

    name: str
    support: int = Field(description="Number of test samples.")
    recall: MetricValue
    precision: MetricValue
    f1: MetricValue


class TargetResult(Schema):
    """Metrics of one target on the test set."""

    name: str
    support: int = Field(description="Test samples in which it is present (multilabel) or known (regression).")
    threshold: float | None = Field(description="Probability from which it is present; null for a regression.")
    metrics: dict[str, MetricValue]


class ModelDetail(ModelSummary):
    """Details of a model."""

    about: str
    calibrated: bool
    temperature: float | None
    ordered: bool
    warnings: list[str]
    notes: list[str]
    overall: dict[str, MetricValue]
    per_class: list[ClassResult] = Field(description="Empty for targets.")
    per_target: list[TargetResult] = Field(description="Empty for classes.")
    confusion: list[list[int]] = Field(description="Confusion matrix, a row per true class; empty if unknown.")
    units: str = Field(description="Units of replication of the intervals, such as '40 people'.")
    card: str = Field(description="Model card, Markdown; empty if there is none.")
    report: bool = Field(description="Whether there is a report at /api/v1/models/ID/report.html.")


class StudyDetail(StudySummaryResponse):
    """A study with its table."""

    header: list[str]
    rows: list[list[str]]
    models: list[Id]


class CompareRequest(Schema):
    """Runs to compare."""

    models: list[Id] = Field(min_length=2, max_length=40, description="Ids of runs; the first is the baseline.")


class FaceResponse(Schema):
    """Prediction of a face, on a frame or in a window; without a face, only frames and times are set."""

    frame: int
    end: int = Field(description="The frame after the last.")
    time: float | None = Field(description="Start in seconds; null for images.")
    until: float | None
    face: int | None = Field(description="Number of the face, constant within a video; in an image, 1 is the largest.")
    box: tuple[float, float, float, float] | None = Field(description="Left, top, right, bottom in pixels.")
    score: float | None = Field(description="Confidence of the face detector, 0 to 1.")
    pose: tuple[float, float, float] | None = Field(description="Yaw, pitch and roll of the head in degrees.")
    label: str = Field(
        description="Most probable class, empty below `abstain`; or the targets that are present, such as AU6+AU12. "
        "Empty without a face, and for a regression."
    )
    probabilities: list[float] | None = Field(
        description="One per class or target, in the order of `classes`; null without a face, and for a regression."
    )
    values: list[float] | None = Field(
        description="One per target of a regression, or per `auxiliary` target, in its own unit; else null."
    )


class ExplainedResponse(Schema):
    """Evidence for each class in one row."""

    row: int = Field(description="Index of the row.")
    kind: Literal["map", "frames", "points"]
    method: str
    crops: list[str] = Field(description="Input of the model as data URIs: an image, or some frames.")
    shown: list[int] = Field(description="Indices of these frames among those of the model's input.")
    maps: list[list[str]] = Field(description="Per class, saliency maps over the crops, as data URIs.")
    frames: list[list[float]] = Field(description="Per class and frame, evidence; positive values favour the class.")
    attention: list[float] = Field(description="Attention weight of each frame; empty where the model has none.")
    points: list[list[float]] = Field(description="Per class and landmark or feature, evidence.")
    places: list[tuple[float, float]] = Field(description="Positions of the landmarks, x and y; empty for features.")


class Prediction(Schema):
    """Predictions on an upload."""

    kind: Literal["image", "video", "features"]
    model: Id
    name: str
    task: TaskKind
    classes: list[str]
    auxiliary: list[str] = Field(description="Targets beside the classes, such as intensities of action units.")
    thresholds: list[float] | None = Field(description="Probability from which each target is present; else null.")
    calibrated: bool
    temperature: float | None
    width: int | None = Field(description="Pixels of the upright image.")
    height: int | None
    seconds: float | None
    frames: int
    rows: list[FaceResponse]
    notes: list[str]
    explained: list[ExplainedResponse]
    unexplained: str = Field(description="Why there are no saliency maps, if they were requested.")


class ComparedRunResponse(Schema):
    """Metrics of one method."""

    name: str
    runs: int
    overall: dict[str, MetricValue]
    each: list[MetricValue] = Field(description="The metric `each` of every class or target.")


class ChangeResponse(Schema):
    """Difference, candidate minus baseline."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None = Field(description="p-value after Holm's correction.")
    certain: bool = Field(description="Whether the interval excludes zero and p is at most 0.05.")


class PairResponse(Schema):
    """A candidate compared with the baseline."""

    baseline: str
    candidate: str
    summary: str = Field(description="Summary in words.")
    overall: list[ChangeResponse]
    classes: list[ChangeResponse] = Field(description="The metric `each` of every class or target.")


class ComparisonResponse(Schema):
    """Statistical comparison of runs."""

    lines: list[str] = Field(description="Summary as printed by `evenface compare`.")
    task: TaskKind
    each: str = Field(description="Metric that is compared for every class or target.")
    classes: list[str] = Field(description="Classes, or targets.")
    support: list[int]
    unit: str
    units: int
    methods: list[ComparedRunResponse]
    pairs: list[PairResponse]
    notes: list[str]


class JobResponse(Schema):
    """A job; one runs at a time."""

    id: Id
    kind: Literal["prediction", "comparison"]
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    before: int = Field(description="Number of jobs that run first.")
    done: float = Field(description="Progress, 0 to 1.")
    error: ErrorMessage | None = Field(description="Error, if it failed.")
    prediction: Prediction | None = None
    comparison: ComparisonResponse | None = None


def finite(value: Any) -> float | None:
    """Return a number as JSON supports it: None if it is not finite."""
    number = None if value is None else float(value)
    return None if number is None or number != number or number in (float("inf"), float("-inf")) else number


def metric_value(entry: Any) -> MetricValue:
    """Convert an entry of ``metrics.json``, or an estimate."""
    values = entry if isinstance(entry, dict) else vars(entry)
    return MetricValue(**{part: finite(values.get(part)) for part in ("value", "low", "high")})


INTERNAL_ERROR = "An internal error occurred in evenface"
# A slash that does not follow a letter or digit starts a path if folders follow it; so does a drive letter.
_FOLDERS = re.compile(r"(?<![\w.)\]>/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>|:*?]+[/\\])+")


def redact(text: str, *paths: Path) -> str:
    """Remove the directories from the paths in a text.

    Examples
    --------
    >>> redact("the run /home/ann/runs/a-1 has no weights.safetensors")
    'the run a-1 has no weights.safetensors'
    >>> redact("/home/Ann Lee/x.onnx is damaged, 3/4 of it", Path("/home/Ann Lee/x.onnx"))
    'x.onnx is damaged, 3/4 of it'
    """
    for path in paths:
        text = text.replace(f"{path.parent}{os.sep}", "")
    return _FOLDERS.sub("", text)


def error_message(error: BaseException, *paths: Path) -> dict[str, str]:
    """Return message and hint of an error for the client, without the details of internal errors."""
    if isinstance(error, InputError):
        hint = redact(error.hint, *paths)
        return {"what": redact(error.message, *paths), "do": hint or "Correct this and try again."}
    if isinstance(error, MemoryError):
        return {"what": "Not enough memory", "do": "Use a smaller file."}
    return {"what": INTERNAL_ERROR, "do": "The terminal of evenface app shows the details."}
