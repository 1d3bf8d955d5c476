"""Settings of prediction: how a trained model is applied to images, videos and the camera."""

from typing import Any, Literal

from pydantic import Field, model_validator

from evenface.config.section import MANY, Section

DAY = 86_400
RELIABLE = 0.7
"""ROC-AUC of an action unit on real faces below which it is not shown unasked."""
AUTO = "auto"
"""Person baseline from the inputs themselves."""


class PredictSettings(Section):
    """How a model is applied to new inputs."""

    faces: Literal["all", "largest", "none"] | None = Field(
        None, description="which faces to use; default all, and all of an image that is the crop of a face already"
    )
    margin: float = Field(
        0.25,
        ge=0,
        le=2,
        description="margin around a face, as a fraction of its longer side; for models trained on uncropped images",
    )
    frame_stride: int = Field(
        1,
        ge=1,
        le=MANY,
        description="image models: use every N-th frame of a video",
        json_schema_extra={"models": "images"},
    )
    tracking: bool = Field(
        True,
        description="image models: follow faces from frame to frame of a video; otherwise detect them in each frame",
        json_schema_extra={"models": "images"},
    )
    window: float | None = Field(
        None,
        gt=0,
        le=DAY,
        description="clip and sequence models: window length in seconds; default the whole video",
        json_schema_extra={"models": "clips"},
    )
    overlap: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="overlap of consecutive windows, as a fraction of their length",
        json_schema_extra={"models": "clips"},
    )
    smooth: float = Field(
        0.0, ge=0, le=DAY, description="average the probabilities of a face over this many seconds; 0 for none"
    )
    prior: str | None = Field(
        None,
        max_length=2000,
        description="correct for label shift to this class prior: happy=0.5,sad=0.5, or uniform, or estimate",
        json_schema_extra={"tasks": "classes"},
    )
    abstain: float | None = Field(
        None,
        ge=0,
        le=1,
        description="leave the label empty if no class reaches this probability",
        json_schema_extra={"tasks": "classes"},
    )
    pose: bool = Field(
        False,
        description="image models: estimate the head pose, yaw, pitch and roll in degrees, from face landmarks",
        json_schema_extra={"models": "images"},
    )
    all_units: bool = Field(
        False,
        description="models of classes with action units beside them: show also the units that are not known to be "
        "right on real faces (AUC below 0.70, or not measured)",
    )
    person_baseline: str | None = Field(
        None,
        max_length=2000,
        description="models trained with data.baseline: file or folder of the same person, such as neutral.jpg; or "
        "auto, the running mean of each face, or of a feature file's own frames; default auto",
    )
    batch: int = Field(32, ge=1, le=MANY, description="batch size")

    @model_validator(mode="after")
    def _overlap_has_a_window(self) -> "PredictSettings":
        if self.overlap and self.window is None:
            raise ValueError("overlap needs window, in seconds")
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """Every setting that a prediction depends on."""
        return self.model_dump(exclude={"batch"})
