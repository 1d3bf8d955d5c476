"""ONNX classifiers of other projects: specification of their input and output, and the catalogue of known ones."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from evenface.config.recipe import FaceCrop
from evenface.config.section import Section
from evenface.config.yaml import checked, read_mapping
from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.registry import find

CATALOGUE = Path(__file__).with_name("catalogue.yaml")


class OnnxSpec(Section):
    """Specification of an ONNX image classifier: its labels, and the form of its input and output."""

    labels: tuple[str | None, ...] = Field(
        min_length=2, description="classes in the order of the outputs; null for an output that is no class"
    )
    classes: dict[str, str] = Field(
        {}, description="label to class of the data; the probabilities of labels of one class are added"
    )
    size: int = Field(ge=32, le=1024, description="height and width of the input in pixels")
    colour: Literal["rgb", "bgr", "grey", "grey3"] = Field(
        "rgb", description="channels of the input and their order; grey3: grey, in three equal channels"
    )
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="order of batch, channels, height and width")
    scale: float = Field(1.0, gt=0, le=65535, description="value of a white pixel before mean and std are applied")
    mean: tuple[float, ...] = Field((0.0,), description="subtracted from each channel; one value, or one per channel")
    std: tuple[float, ...] = Field((1.0,), description="divides each channel; one value, or one per channel")
    output: Literal["logits", "probabilities"] | None = Field(
        None, description="what the outputs are; default: probabilities if they are 0 to 1 and sum to 1, else logits"
    )
    crop: Literal["face", "none"] = Field(
        "face", description="face: detected face, rotated to level eyes; none: the central square of the image"
    )
    margin: float = Field(FaceCrop().margin, ge=0, le=2, description="margin around the face, as in data.faces.margin")
    shift: float = Field(0.0, ge=-1, le=1, description="shift of the crop towards the forehead, as in data.faces.shift")
    input_name: str | None = Field(None, description="name of the input, if there are several")
    output_name: str | None = Field(None, description="name of the output, if there are several")
    trained_on: tuple[str, ...] = Field(
        (), description="names of evenface's sources that it was trained on; a test on one of them is marked"
    )

    @model_validator(mode="after")
    def _labels_are_unique(self) -> "OnnxSpec":
        named = [label for label in self.labels if label is not None]
        if len(set(named)) < len(named):
            raise ValueError("each label must be unique")
        if unknown := sorted(set(self.classes) - set(named)):
            raise ValueError(f"classes: there is no label {unknown[0]}")
        if len({self.classes.get(label, label) for label in named}) < 2:
            raise ValueError("there must be at least two classes")
        return self

    @model_validator(mode="after")
    def _values_fit_channels(self) -> "OnnxSpec":
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.network_channels):
                raise ValueError(f"{name} must have 1 or {self.network_channels} values")
        if min(self.std) <= 0:
            raise ValueError("std must be greater than 0")
        return self

    @property
    def network_channels(self) -> int:
        """Channels of the network's input."""
        return 1 if self.colour == "grey" else 3

    @property
    def channels(self) -> Literal[1, 3]:
        """Channels of prepared images: 1 for grey, 3 for RGB."""
        return 3 if self.colour in ("rgb", "bgr") else 1

    @property
    def faces(self) -> FaceCrop:
        """How images are cropped."""
        return FaceCrop(crop="face", margin=self.margin, shift=self.shift) if self.crop == "face" else FaceCrop()


class Download(Section):
    """Address of a file, with its size and digest."""

    address: str = Field(description="https address")
    size: int = Field(gt=0, description="size in bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 digest")


class CatalogueEntry(Section):
    """A known model: what it is, its terms, where it is from, and its specification."""

    about: str = Field(description="what it is, in a sentence")
    licence: str = Field(description="licence of the weights, as their authors state it")
    training_data: str = Field(description="what it was trained on, as far as it is stated")
    terms: str = Field(description="terms of the training data, and what they mean for use of the model")
    page: str = Field("", description="page of the project; none for models of evenface")
    download: Download | None = Field(None, description="where it is downloaded from, if its digest is published")
    spec: OnnxSpec | None = Field(None, description="form of its input and output; none for models of evenface")


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Load the catalogue: entries by name, those of evenface first."""
    content = read_mapping(CATALOGUE, "catalogue")
    return {name: checked(CatalogueEntry, entry, f"{CATALOGUE.name}: {name}") for name, entry in content.items()}


def load_spec(source: str | Path | Mapping[str, Any]) -> OnnxSpec:
    """Load a specification.

    Parameters
    ----------
    source : str, Path or mapping
        Path of a YAML file, name of a model in the catalogue, or the content of a specification.

    Raises
    ------
    InputError
        If there is no such file or name, or a key or value is invalid.
    """
    if isinstance(source, Mapping):
        return checked(OnnxSpec, source, "specification")
    path = user_path(source)
    if path.is_file():
        return checked(OnnxSpec, read_mapping(path, "specification"), str(path))
    if path.suffix in (".yaml", ".yml"):
        raise InputError(f"there is no specification {source}", "It is a YAML file; see the page on other models.")
    spec = find("specification", str(source), {name: entry.spec for name, entry in catalogue().items() if entry.spec})
    assert spec is not None
    return spec
