"""What every part of a recipe is."""

from typing import Any

from pydantic import BaseModel, ConfigDict


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
