"""What every part of a recipe is."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

MANY = 1_000_000
"""Largest count of epochs, frames, units and the like; more is a slip of the pen."""
SEED = 2**63 - 1


class Part(BaseModel):
    """What every part of a recipe holds to: numbers are finite, and true or false is none."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    identity: ClassVar[tuple[str, ...]] = ()
    """Keys that say what the section is: settings that have one take its place, others are merged into it."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError("input should be a number")
        return value


class Section(Part):
    """Part of a recipe; keys that it does not know are errors."""

    model_config = ConfigDict(extra="forbid")


class OpenSection(Part):
    """Part of a recipe whose further keys belong to what it names; the one named checks them."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        """Keys beyond those that every recipe has."""
        return dict(self.model_extra or {})


def part_at(section: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """Return the section that a key of a section holds, or None where the key holds a value."""
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
    """Merge settings into a section, key by key, all the way down.

    Parameters
    ----------
    section : type of Section, optional
        What both are of; None for a value, such as a number, a list, or a mapping from classes.
    before, settings : Any
        The content so far, and what shall change in it.

    Returns
    -------
    Any
        ``settings`` alone where it is no section, or names what the section is (``name``, ``source``, ``kind``):
        then nothing of another kind's options is left.
    """
    if section is None or not (isinstance(before, Mapping) and isinstance(settings, Mapping)):
        return settings
    if issubclass(section, Part) and any(key in settings for key in section.identity):
        return dict(settings)
    changed = {key: merge(part_at(section, key), before.get(key), value) for key, value in settings.items()}
    return {**before, **changed}
