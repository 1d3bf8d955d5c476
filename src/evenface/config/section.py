"""Base classes of recipe sections, and deviations from a paper."""

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WrapSerializer,
    field_validator,
)

from evenface.config.renamed import renamed

MANY = 1_000_000
"""Upper limit of counts such as epochs, frames and units."""
SEED = 2**63 - 1


class Part(BaseModel):
    """Base of all sections: numbers are finite, and booleans are not numbers."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    identity: ClassVar[tuple[str, ...]] = ()
    """Keys that identify the section: overrides with one replace the section, others are merged into it."""

    @field_validator("*", mode="before")
    @classmethod
    def _boolean_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool):
            kind = cls.model_fields[str(info.field_name)].annotation
            if {int, float} & {kind, *get_args(kind)}:
                raise ValueError("input should be a number")
        return value

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with changed settings."""
        return type(self)(**{**dict(self), **changes})


class Section(Part):
    """Section of a recipe; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class OpenSection(Part):
    """Section of a recipe with additional keys, which are options of the source, method or loss that it names."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        """Additional keys."""
        return dict(self.model_extra or {})


def part_at(section: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """Return the section class of a key, or None if the key has a value."""
    if section is None or key not in section.model_fields:
        return None
    kinds: list[Any] = [section.model_fields[key].annotation]
    while kinds:
        kind = kinds.pop()
        if get_origin(kind) in (Annotated, Union, UnionType):
            kinds += get_args(kind)
        elif isinstance(kind, type) and issubclass(kind, Part):
            return kind
    return None


def merge(section: type[BaseModel] | None, before: Any, settings: Any) -> Any:
    """Merge settings into a section recursively."""
    if section is None or not (isinstance(before, Mapping) and isinstance(settings, Mapping)):
        return settings
    if issubclass(section, Part) and any(key in settings for key in section.identity):
        return dict(settings)
    changed = {key: merge(part_at(section, key), before.get(key), value) for key, value in settings.items()}
    return {**before, **changed}


class Deviation(Section):
    """A difference from the paper, and the settings under which it applies."""

    text: str = Field(description="what differs, in a sentence")
    while_: dict[str, Any] = Field(
        {},
        alias="while",
        description="dotted keys to the value, or the list of values, that settings must have for the text to be true",
    )

    @field_validator("while_")
    @classmethod
    def _keys_are_current(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for key in settings:
            if new := renamed(key):
                raise ValueError(f"the key {key} was renamed to {new}")
        return settings

    def __hash__(self) -> int:
        return hash(self.text)

    def holds(self, recipe: BaseModel) -> bool:
        """Return whether the difference applies to a recipe's settings."""
        return all(_matches(setting(recipe, key), wanted) for key, wanted in self.while_.items())


def _from_text(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


def _to_text(value: Deviation, _: SerializerFunctionWrapHandler) -> Any:
    """Serialise a deviation as a sentence, or with its condition."""
    return {"text": value.text, "while": value.while_} if value.while_ else value.text


Deviations = tuple[Annotated[Deviation, BeforeValidator(_from_text), WrapSerializer(_to_text)], ...]


def setting(recipe: BaseModel, key: str) -> Any:
    """Return the value of a dotted key as in a file; None if the recipe has no such key."""
    value: Any = recipe.model_dump(mode="json", include={key.partition(".")[0]})
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def in_force(deviations: Iterable[Deviation], recipe: BaseModel) -> Deviations:
    """Return the deviations that apply to a recipe's settings."""
    return tuple(deviation for deviation in deviations if deviation.holds(recipe))


def _matches(value: Any, wanted: Any) -> bool:
    return value == wanted or (isinstance(wanted, list) and value in wanted)
