"""Definition of a study: every key of a study file, its type and meaning."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from evenface.config.loading import shipped_recipes
from evenface.config.renamed import renamed
from evenface.config.section import Deviations, Section
from evenface.config.yaml import explained, read_mapping
from evenface.evaluation.metric_registry import each_class, is_per_class, limits, metric_names, unknown_metric
from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.registry import nearest

STUDY = "study.yaml"
"""File of a study's folder that holds its definition."""
CONFUSION = "confusion"
"""Counts by true and by predicted class: a value for each pair of classes."""
VALIDATION = "validation"
"""Name of the validation set among the sets that runs are evaluated on."""

ALL = "all"
"""Value of ``folds`` for all folds that the protocol has on its data."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"


def _word(name: Any) -> str:
    """Convert a name that YAML reads as a number or a boolean to text."""
    return str(name).lower() if isinstance(name, bool) else str(name)


Word = Annotated[str, BeforeValidator(_word)]
Settings = dict[str, Any]
"""Values that replace the recipe's, by dotted key."""
Cell = dict[Word, Word]
"""Factor to one of its levels."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Several = Annotated[tuple[Word, ...], BeforeValidator(_as_list)]
Match = dict[Word, Several]
"""Factor to one or several of its levels; factors that are not named match any level."""
Levels = Annotated[dict[Word, Settings], Field(min_length=1)]
Factors = dict[Word, Levels]


def _repeats(value: Any) -> Any:
    """Expand a number to that many values from 0."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = list(range(value))
    if not isinstance(value, list | tuple) or not value or len(set(value)) < len(value):
        raise ValueError("expected a number of at least 1, or a list of distinct numbers")
    return value


def _folds(value: Any) -> Any:
    """Keep ``all``; else expand as repeats."""
    return value if value == ALL else _repeats(value)


Repeats = Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_repeats)]
Folds = Annotated[tuple[NonNegativeInt, ...] | Literal["all"], BeforeValidator(_folds)]


def study_metrics() -> tuple[str, ...]:
    """Return all metrics of studies; per-class metrics have one value for each class."""
    return (*metric_names(), *metric_names(per_class=True), CONFUSION)


def _metric(name: Any) -> Any:
    if name not in study_metrics():
        raise ValueError(f"unknown metric; {unknown_metric(str(name), study_metrics())}")
    return name


Metric = Annotated[str, BeforeValidator(_metric)]


class When(Section):
    """Settings for some combinations of levels."""

    if_: Match = Field(alias="if", description="factor to the level, or the list of levels, that it is about")
    set: Settings = Field(description="settings by dotted key; they come after those of the levels")


class Changes(Section):
    """Changes to a study by a data set or a size."""

    set: Settings = Field({}, description="settings of every cell, before those of the levels")
    factors: Factors = Field({}, description="levels that replace all levels of that factor")
    when: tuple[When, ...] = Field((), description="further settings for combinations")
    exclude: tuple[Match, ...] = Field((), description="further combinations that are not run")
    seeds: Repeats | None = Field(None, description="in place of the study's")
    folds: Folds | None = Field(None, description="in place of the study's")
    start: str | Settings | None = Field(None, description="in place of the study's")
    paper_protocol: Settings = Field({}, description="what the paper's protocol further sets for this choice")
    deviations: Deviations = Field((), description="further deviations, of this choice alone")


class StatisticsSettings(Section):
    """Metrics, margins and models of the statistics over all factors."""

    metrics: tuple[Metric, ...] = Field(
        (), description="what is tested; by default the study's metrics that have one value for each class as well"
    )
    margins: dict[Metric, Annotated[float, Field(gt=0)]] = Field(
        {}, description="metric to the difference, to either side, that is of no practical matter"
    )
    mixed_model: bool = Field(
        False, description="fit a mixed model too, with what is repeated (fold, cohort, person) as random effect"
    )


class OnData(Changes):
    """A data set that the study may be run on."""

    sizes: dict[Word, Changes] = Field({}, description="what a size changes further on this data set")


class Test(Section):
    """A further data set that every run is evaluated on."""

    set: Settings = Field({}, description="data and protocol of this data set, by dotted key")
    classes: dict[Word, Word | None] = Field(
        {},
        description="its class to the class that was trained; null leaves it out; one that is not named keeps its name",
    )
    merge: dict[Word, Several] = Field(
        {}, description="name of a joined class to the classes that were trained which it is made of"
    )


class PrintedValue(BaseModel):
    """Printed results; further keys are metrics."""

    model_config = ConfigDict(extra="allow", frozen=True)

    cell: Cell = Field(description="factor to level")
    dataset: Word | None = Field(None, description="data set of the study they are of; by default the first")
    test_set: Word | None = Field(None, description="which of the study's further data sets they are of, or validation")
    seed: int | None = Field(None, description="the figures are of one run, of this seed")
    gain: bool = Field(False, description="the figures are gains over the baseline, as shares of its value")
    source: str = Field("", description="source, if not the study's paper")

    @property
    def values(self) -> dict[str, float | dict[str, Any]]:
        """Metric to value; per-class metrics to class and value; ``confusion`` to true, predicted class, count."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _are_metrics(self) -> "PrintedValue":
        if not self.values:
            raise ValueError("printed results need a metric and its value, such as accuracy: 0.71")
        for name, value in self.values.items():
            if new := renamed(f"printed.{name}"):
                raise ValueError(f"the key printed.{name} was renamed to {new}")
            if name not in study_metrics():
                raise ValueError(f"unknown metric {name!r}; {unknown_metric(name, study_metrics())}")
            numbers: list[Any] = list(value.values()) if isinstance(value, dict) else [value]
            if name == CONFUSION and all(isinstance(row, dict) for row in numbers):
                numbers = [count for row in numbers for count in row.values()]
            if isinstance(value, dict) != (is_per_class(name) or name == CONFUSION):
                form = "one value for each class" if is_per_class(name) else "one value"
                raise ValueError(f"{name} needs {'counts by true and predicted class' if name == CONFUSION else form}")
            if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
                raise ValueError(f"{name} is not a number: {value!r}")
            low, high = limits(name)
            if not self.gain and any(not low <= number <= high for number in numbers):
                raise ValueError(f"{name} must be {low:g} to {high:g}, got {value!r}")
        return self


class PrintedStatistic(Section):
    """A row of a printed table of statistics."""

    table: Literal["conditions", "variance", "comparisons", "equivalence", "power"] = Field(
        description="which of the study's tables of statistics it belongs to"
    )
    metric: Metric
    factor: Word | None = Field(None, description="the factor that the row is about; conditions have a cell instead")
    cell: Cell = Field({}, description="conditions: factor to level, of all factors")
    figures: dict[str, bool | int | float | str] = Field(
        min_length=1, description="title of the column to what is printed"
    )

    @model_validator(mode="after")
    def _factor_or_cell(self) -> "PrintedStatistic":
        if (self.table == "conditions") != bool(self.cell) or (self.factor is None) != bool(self.cell):
            raise ValueError("printed statistics need a factor, those of conditions a cell")
        return self


class Study(Section):
    """A study: a recipe, factors whose levels are crossed, repetitions, and what to measure.

    See ``docs/studies.md``. The settings of a run, later ones replacing earlier ones, are those of the recipe, of
    ``set``, of the data set, of the size, of the size on this data set, of the levels in the order of the factors,
    of ``when`` (the study's, the data set's, the size's), of ``paper_protocol`` if asked for, of the command line,
    then seed and fold.
    """

    name: str = Field(pattern=NAME, description="letters, digits and . _ + - only: it names the folder")
    about: str = Field("", description="one line")
    paper: str = Field("", description="which paper and table")
    deviations: Deviations = Field(
        (), description="what differs from the paper: sentences, or {text, while}, true of runs with such settings"
    )
    recipe: str | Settings = Field(
        description="name of a shipped recipe, path of a file (beside the study), or content"
    )
    start: str | Settings | None = Field(
        None,
        description="shipped recipe, or content, of a run that is trained before all others; networks of "
        "network.weights: start begin with its weights",
    )
    set: Settings = Field({}, description="settings of every cell")
    factors: Factors = Field(min_length=1, description="factor to its levels, each with its settings by dotted key")
    exclude: tuple[Match, ...] = Field((), description="combinations that are not run")
    when: tuple[When, ...] = Field((), description="settings for combinations")
    seeds: Repeats = Field((0,), description="how many, from 0, or which")
    folds: Folds | None = Field(
        None,
        description="how many, from 0, or which, or all: every fold of the protocol, with leave-one-out every person; "
        "crossed with the seeds",
    )
    metrics: tuple[Metric, ...] = Field(
        ("balanced_accuracy", "accuracy"),
        min_length=1,
        description="metrics; the first decides",
    )
    baseline: Cell = Field({}, description="factor to the level that its others are compared with")
    statistics: StatisticsSettings | None = Field(
        None, description="analysis of variance, planned comparisons, equivalence and power over all factors"
    )
    datasets: dict[Word, OnData] = Field({}, description="data sets, the paper's own first")
    sizes: dict[Word, Changes] = Field({}, description="how large a study it is; full where none is asked for")
    validation: bool = Field(False, description="list results on the validation set too")
    paper_protocol: Settings = Field({}, description="settings of the paper's protocol, where it is not an honest one")
    test_sets: dict[Word, Test] = Field({}, description="further data sets that every run is tested on")
    printed: tuple[PrintedValue, ...] = Field((), description="the paper's own figures")
    printed_statistics: tuple[PrintedStatistic, ...] = Field(
        (), description="the paper's own tables of statistics, shown in the reading that takes classes as repeated"
    )
    quoted: tuple[PrintedValue, ...] = Field((), description="figures of others, which the paper quotes; never run")

    @property
    def tested(self) -> dict[str, str]:
        """Metrics that the statistics are of, each with its name for one class."""
        if self.statistics is None:
            return {}
        names = self.statistics.metrics or self.metrics
        return {name: own for name in names if (own := each_class(name)) is not None}

    @model_validator(mode="after")
    def _statistics_are_of_metrics_with_classes(self) -> "Study":
        if self.statistics is not None:
            for name in (*self.statistics.metrics, *self.statistics.margins):
                if name not in self.metrics:
                    raise ValueError(f"statistics names {name!r}, which is not among the metrics")
                if name not in self.tested:
                    known = ", ".join(other for other in metric_names() if each_class(other) is not None)
                    raise ValueError(f"statistics: {name} has no per-class values; known are {known}")
        return self

    @model_validator(mode="after")
    def _factors_in_print_exist(self) -> "Study":
        for row in self.printed_statistics:
            if row.factor is not None:
                _known("printed_statistics", row.factor, self.factors)
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> "Study":
        levels = {name: dict.fromkeys(own) for name, own in self.factors.items()}
        for where, changes in self._changes():
            for factor, own in changes.factors.items():
                _known(f"{where}.factors", factor, self.factors)
                levels[factor] |= dict.fromkeys(own)
        for where, match in self._matches():
            for factor, named in match.items():
                _known(where, factor, levels)
                for level in named:
                    _known(f"{where}: {factor}", level, levels[factor])
        for row in (*self.printed, *self.quoted):
            if row.test_set is not None:
                _known(
                    "printed: test_set",
                    row.test_set,
                    {**self.test_sets, **({VALIDATION: None} if self.validation else {})},
                )
            if row.dataset is not None:
                _known("printed: dataset", row.dataset, self.datasets)
        return self

    def _changes(self) -> Iterator[tuple[str, Changes]]:
        for name, data in self.datasets.items():
            yield f"datasets.{name}", data
            for size, changes in data.sizes.items():
                yield f"datasets.{name}.sizes.{size}", changes
        for size, changes in self.sizes.items():
            yield f"sizes.{size}", changes

    def _matches(self) -> Iterator[tuple[str, Mapping[str, tuple[str, ...]]]]:
        parts: list[tuple[str, Study | Changes]] = [
            ("", self),
            *((f"{where}.", part) for where, part in self._changes()),
        ]
        for where, part in parts:
            yield from ((f"{where}exclude", match) for match in part.exclude)
            yield from ((f"{where}when", when.if_) for when in part.when)
        yield from (("baseline", {factor: (level,)}) for factor, level in self.baseline.items())
        yield from (("printed", {factor: (level,)}) for row in self.printed for factor, level in row.cell.items())
        for row in self.printed_statistics:
            yield "printed_statistics", {factor: (level,) for factor, level in row.cell.items()}


def _known(where: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise ValueError(f"{where}: unknown name {name!r}; {nearest(name, known)}")


SHIPPED = Path(__file__).parent / "definitions"


def shipped_studies() -> dict[str, Path]:
    """Return the files of the shipped studies, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_study(source: str | Path | Mapping[str, Any]) -> Study:
    """Load a study and validate every key."""
    if isinstance(source, Mapping):
        return _checked(dict(source), "study")
    return _checked(_content(_study_file(source)), str(_study_file(source)))


def _study_file(source: str | Path) -> Path:
    """Return the file of a study by its path or name."""
    if user_path(source).is_file():
        return user_path(source)
    shipped = shipped_studies()
    if str(source) not in shipped and (
        str(source) in shipped_recipes() or (user_path(source) / "recipe.yaml").is_file()
    ):
        raise _not_a_study(source)
    if str(source) not in shipped:
        near = nearest(str(source), shipped, show=0)
        raise InputError(
            f"no study {str(source)!r}",
            f"{near} `evenface studies` lists the shipped ones; or use the path of a YAML file.".strip(),
        )
    return shipped[str(source)]


def _not_a_study(source: object) -> InputError:
    return InputError(f"{source} is a recipe, not a study", f"Train it: evenface train {source}")


def _content(path: Path) -> dict[str, Any]:
    """Load a study's file, merged over that of the study it extends."""
    content = read_mapping(path, "study")
    if "data" in content and not {"factors", "extends"} & set(content):
        raise _not_a_study(path)
    beside = path.parent / str(content.get("recipe"))
    if isinstance(content.get("recipe"), str) and beside.is_file():
        content["recipe"] = str(beside.resolve())
    if "extends" not in content:
        return content
    name = str(content.pop("extends"))
    under = _content(path.parent / name if (path.parent / name).is_file() else _study_file(name))
    together = {key: value for key, value in under.items() if key not in ("about", "paper")} | content
    return together | (
        {"datasets": _merged(content["datasets"], under.get("datasets", {}))} if "datasets" in content else {}
    )


def _merged(own: Any, under: Any) -> Any:
    """Merge mappings recursively; other values are replaced."""
    if not (isinstance(own, dict) and isinstance(under, dict)):
        return own
    return {key: _merged(value, under[key]) if key in under else value for key, value in own.items()} | {
        key: value for key, value in under.items() if key not in own
    }


def _checked(content: dict[str, Any], origin: str) -> Study:
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise explained(error, Study, origin) from None
