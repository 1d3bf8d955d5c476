"""Settings of explanations and of their check against a random baseline."""

from typing import Literal

from pydantic import Field

from evenface.config.section import MANY, SEED, Section


class ExplainSettings(Section):
    """How predictions are explained."""

    method: Literal["gradcam", "cam", "gradients", "occlusion"] | None = Field(
        None, description="attribution method; default gradcam for images, occlusion for sequences and ONNX files"
    )
    classes: tuple[str, ...] | None = Field(None, description="classes to explain; default all")
    samples: int = Field(8, ge=1, le=MANY, description="frames or windows of a video that are explained")
    check: bool = Field(True, description="test faithfulness: deletion and insertion compared with random orders")
    random_orders: int = Field(5, ge=1, le=MANY, description="random orders per sample in the faithfulness test")
    baseline: Literal["blur", "mean"] = Field(
        "blur", description="replacement of deleted pixels in the faithfulness test"
    )
    seed: int = Field(0, ge=0, le=SEED, description="seed of the random orders")
