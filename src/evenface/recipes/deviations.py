"""Deviations of a recipe or study from its paper, and the settings under which each is true."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WrapSerializer,
    field_validator,
)

from evenface.recipes.renamed import renamed
from evenface.recipes.section import Section


class Deviation(Section):
    """A difference from the paper, and the settings under which it is one."""

    text: str = Field(description="what differs, in a sentence")
    while_: dict[str, Any] = Field(
        {},
        alias="while",
        description="dotted keys to the value, or the list of values, that settings must have for the text to be true",
    )

    @field_validator("while_")
    @classmethod
    def _keys_are_todays(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for key in settings:
            if new := renamed(key):
                raise ValueError(f"the key {key} was renamed to {new}")
        return settings

    def __hash__(self) -> int:
        return hash(self.text)

    def holds(self, recipe: BaseModel) -> bool:
        """Return whether the text is true of a recipe's settings."""
        return all(_matches(setting(recipe, key), wanted) for key, wanted in self.while_.items())


def _from_text(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


def _to_text(value: Deviation, _: SerializerFunctionWrapHandler) -> Any:
    """Write a deviation as it is written in a file: a sentence, or with its condition."""
    return {"text": value.text, "while": value.while_} if value.while_ else value.text


Deviations = tuple[Annotated[Deviation, BeforeValidator(_from_text), WrapSerializer(_to_text)], ...]


def setting(recipe: BaseModel, key: str) -> Any:
    """Return the value of a dotted key as a file would hold it; None where the recipe has no such key."""
    found: Any = recipe.model_dump(mode="json", include={key.partition(".")[0]})
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def in_force(deviations: Iterable[Deviation], recipe: BaseModel) -> Deviations:
    """Return those deviations that are true of a recipe's settings."""
    return tuple(deviation for deviation in deviations if deviation.holds(recipe))


def _matches(value: Any, wanted: Any) -> bool:
    return value == wanted or (isinstance(wanted, list) and value in wanted)
