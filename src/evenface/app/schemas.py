"""What the interface takes and gives, as programs see it in ``/openapi.json``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]


class Shape(BaseModel):
    """What all shapes share: keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid")


class Problem(Shape):
    """What went wrong."""

    what: str = Field(description="What was wrong, in one sentence.")
    do: str = Field(description="What to do about it.")


class Error(Shape):
    """The answer of every request that failed."""

    error: Problem


class About(Shape):
    """What serves here."""

    version: str
    statement: str = Field(description="What it is not for.")
    limits: dict[str, float] = Field(description="What is refused: bytes, pixels, seconds, frames, waiting jobs.")
    keeps: bool = Field(description="Whether uploads and results are kept in a folder, by --keep.")


class Value(Shape):
    """A number and its 95 % interval; null where not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Listed(Shape):
    """A run, or a file of a model, in the list."""

    id: Id
    name: str
    kind: Literal["run", "file"] = Field(description="A run folder, or an exported .onnx file.")
    classes: list[str]
    takes: list[Literal["picture", "video", "numbers"]] = Field(description="What can be judged by it.")
    usable: bool = Field(description="Whether it has weights: tests on other data have none.")
    balanced_accuracy: Value | None = Field(description="On the test side; of files as their card says, or null.")
    study: Id | None = Field(description="Study that it is part of.")


class StudySummaryResponse(Shape):
    """A study in the list."""

    id: Id
    name: str
    about: str
    runs: int = Field(description="Of its runs, those that have ended.")
    report: bool = Field(description="Whether there is a report at /api/v1/studies/ID/report.html.")


class CatalogueResponse(Shape):
    """All that was found."""

    models: list[Listed]
    studies: list[StudySummaryResponse]


class ClassResult(Shape):
    """How well one class was found on the test side."""

    name: str
    support: int = Field(description="Test samples of it.")
    recall: Value
    precision: Value
    f1: Value


class Detail(Listed):
    """All that is known of a model."""

    about: str
    calibrated: bool
    temperature: float | None
    ordered: bool
    warnings: list[str]
    notes: list[str]
    overall: dict[str, Value]
    per_class: list[ClassResult]
    confusion: list[list[int]] = Field(description="Test samples: a row for each true class. Empty if not known.")
    units: str = Field(description="What the intervals are over, such as '40 people'.")
    card: str = Field(description="The model card, Markdown. Empty if there is none.")
    report: bool = Field(description="Whether there is a report at /api/v1/models/ID/report.html.")


class StudyDetail(StudySummaryResponse):
    """A study with its table."""

    header: list[str]
    rows: list[list[str]]
    models: list[Id]


class ChosenResponse(Shape):
    """Which runs to compare."""

    models: list[Id] = Field(min_length=2, max_length=40, description="Ids of runs; the first is the baseline.")


class FaceResponse(Shape):
    """What was said of a face, on a frame or in a window. Without a face, only frames and times."""

    frame: int
    end: int = Field(description="The frame after the last.")
    time: float | None = Field(description="Seconds of the first frame; null of a picture.")
    until: float | None
    face: int | None = Field(description="The same number throughout a video; in a picture 1 is the largest.")
    box: tuple[float, float, float, float] | None = Field(description="Left, top, right, bottom in pixels.")
    score: float | None = Field(description="How sure the detector is, 0 to 1.")
    label: str = Field(description="The most probable class; empty without a face, or below `abstain`.")
    probabilities: list[float] | None = Field(description="Of each class, in the order of `classes`.")


class ExplainedResponse(Shape):
    """What spoke for each class, in one row."""

    row: int = Field(description="Place of the row.")
    kind: Literal["map", "frames", "points"]
    method: str
    crops: list[str] = Field(description="What the model was given, as data URIs: a picture, or some frames.")
    shown: list[int] = Field(description="Places of these frames among those the model sees.")
    maps: list[list[str]] = Field(description="Of each class, heat maps over the crops, as data URIs.")
    frames: list[list[float]] = Field(description="Of each class and frame, evidence: above 0 speaks for the class.")
    points: list[list[float]] = Field(description="Of each class and point, evidence.")
    places: list[tuple[float, float]] = Field(description="Where the points are, x and y; empty where they have none.")


class Prediction(Shape):
    """What a model says of an upload."""

    kind: Literal["picture", "clip", "numbers"]
    model: Id
    name: str
    classes: list[str]
    calibrated: bool
    temperature: float | None
    width: int | None = Field(description="Pixels, of the upright picture.")
    height: int | None
    seconds: float | None
    frames: int
    rows: list[FaceResponse]
    notes: list[str]
    explained: list[ExplainedResponse]
    unexplained: str = Field(description="Why there are no heat maps, where they were asked for.")


class ComparedRunResponse(Shape):
    """Values of one method."""

    name: str
    runs: int
    overall: dict[str, Value]
    recall: list[Value]


class ChangeResponse(Shape):
    """Candidate minus baseline."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None = Field(description="After Holm's correction.")
    certain: bool


class PairResponse(Shape):
    """A candidate against the baseline."""

    baseline: str
    candidate: str
    said: str = Field(description="In words.")
    overall: list[ChangeResponse]
    classes: list[ChangeResponse] = Field(description="Recall of each class.")


class ComparisonResponse(Shape):
    """Which is better, for which class, and how sure one can be."""

    lines: list[str] = Field(description="The answer, as `evenface compare` prints it.")
    classes: list[str]
    support: list[int]
    unit: str
    units: int
    methods: list[ComparedRunResponse]
    pairs: list[PairResponse]
    notes: list[str]


class JobResponse(Shape):
    """A piece of work; one is done at a time."""

    id: Id
    kind: Literal["prediction", "comparison"]
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    before: int = Field(description="Jobs that are done first.")
    done: float = Field(description="Share that is done, 0 to 1.")
    error: Problem | None = Field(description="Where it failed.")
    prediction: Prediction | None = None
    comparison: ComparisonResponse | None = None


def finite(value: Any) -> float | None:
    """Give a number as JSON knows it: none where it is not finite."""
    number = None if value is None else float(value)
    return None if number is None or number != number or number in (float("inf"), float("-inf")) else number


def value_of(entry: Any) -> Value:
    """Turn an entry of ``metrics.json``, or an estimate, into a value."""
    known = entry if isinstance(entry, dict) else vars(entry)
    return Value(**{part: finite(known.get(part)) for part in ("value", "low", "high")})
