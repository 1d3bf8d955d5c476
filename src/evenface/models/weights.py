"""Initial weights: a local safetensors file or a download from the Hugging Face hub."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from evenface.utils.errors import InputError
from evenface.utils.files import user_path, verified_metadata

FOLDER = Path(__file__).parent / "bundled"
PRETRAINING = "pretraining"
"""Key of the metadata in which a self-supervised pretraining states what it was on, as JSON."""


def weights_file(weights: str) -> Path:
    """Return the file of weights: that of a bundled model by its name, that in a folder, or a path."""
    bundled, path = FOLDER / f"{weights}.safetensors", user_path(weights)
    if bundled.is_file():
        return bundled
    return path / "weights.safetensors" if path.is_dir() else path


@dataclass(frozen=True)
class LoadReport:
    """What became of a file of weights, and what the file states about its self-supervised pretraining, if any."""

    matched: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    pretraining: dict[str, Any] | None = None

    def __str__(self) -> str:
        def few(names: tuple[str, ...]) -> str:
            return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

        parts = [f"{self.matched} tensors taken"]
        if self.missing:
            parts.append(f"{len(self.missing)} left as initialised ({few(self.missing)})")
        if self.unused:
            parts.append(f"{len(self.unused)} of the file not used ({few(self.unused)})")
        return "; ".join(parts)


def load_weights(network: nn.Module, path: Path, *, first: str, classifier: str) -> LoadReport:
    """Copy what fits from a safetensors file into a network.

    The file may come from timm or from a run of evenface. A classifier of another shape is left out; the first
    convolution is adapted to the number of channels (summed for grey, repeated for colour).
    """
    given, metadata = _read(path)
    own = network.state_dict()
    names = {key: _own_name(key, classifier) for key in given}
    taken: dict[str, Tensor] = {}
    unused = []
    for key, value in given.items():
        name = names[key]
        if name == f"backbone.{first}.weight":
            value = _adapt_channels(value, own.get(name))
        elif name in ("mean", "std") and value.shape[1] != own[name].shape[1]:
            value = value.mean(dim=1, keepdim=True).expand_as(own[name])
        if name in own and own[name].shape == value.shape:
            taken[name] = value
        else:
            unused.append(key)
    if not any(name.startswith("backbone.") for name in taken):
        raise InputError(
            f"{path}: nothing in it fits this network (it holds {', '.join(list(given)[:3]) or 'no tensors'} ...)",
            "Give the file of the same network, or weights: random.",
        )
    network.load_state_dict(taken, strict=False)
    counters = "num_batches_tracked"
    missing = [name for name in own if name not in taken and name not in ("mean", "std") and counters not in name]
    return LoadReport(len(taken), tuple(missing), tuple(unused), _pretraining(metadata))


def download(name: str, config: Any) -> Path:
    """Fetch timm's weights of a network from the Hugging Face hub, unless they are here already."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    filename = config.hf_hub_filename or "model.safetensors"
    if not config.hf_hub_id or not filename.endswith(".safetensors"):
        raise InputError(
            f"network {name!r}: timm knows of no safetensors weights on the hub for it",
            "Give another network, the path of a local .safetensors file, or weights: random.",
        )
    try:
        return Path(hf_hub_download(config.hf_hub_id, filename, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(hf_hub_download(config.hf_hub_id, filename))
    except Exception as error:
        raise InputError(
            f"network {name!r}: {config.hf_hub_id}/{filename} could not be had from the Hugging Face hub",
            "This needs a network connection once. Without one, give the path of a local .safetensors file, or "
            "weights: random.",
        ) from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise InputError(f"no file of weights at {path}", "Give random, hub, or the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a safetensors file ({error})",
            "Pickled weights (.pt, .pth, .bin) are never loaded: convert them on a machine that you trust them on.",
        ) from error
    try:
        return tensors, verified_metadata(tensors, metadata)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}", "Bring back a copy.") from error


def _pretraining(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the statement of a pretraining in the metadata of a file; None if there is none, or it is incomplete."""
    kinds = {"method": str, "images": int, "epochs": int, "data": str, "licence": str}
    try:
        stated = json.loads(metadata[PRETRAINING])
        return {key: kind(stated[key]) for key, kind in kinds.items()}
    except (KeyError, TypeError, ValueError):
        return None


def _own_name(key: str, classifier: str) -> str:
    key = key.removeprefix("network.")
    if key.startswith(("backbone.", "temporal.")) or key in ("mean", "std", "classifier.weight", "classifier.bias"):
        return key
    if key in (f"{classifier}.weight", f"{classifier}.bias"):
        return "classifier." + key.rpartition(".")[2]
    return f"backbone.{key}"


def _adapt_channels(value: Tensor, own: Tensor | None) -> Tensor:
    if own is None or value.ndim != 4 or own.ndim != 4 or value.shape[1] == own.shape[1]:
        return value
    if own.shape[1] == 1:
        return value.sum(dim=1, keepdim=True)
    if value.shape[1] == 1:
        return (value / own.shape[1]).expand(-1, own.shape[1], -1, -1).to(torch.float32)
    return value
