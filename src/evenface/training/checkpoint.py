"""Checkpoints and weights in safetensors files; from a checkpoint a run resumes bit-exactly.

Which epoch's weights are selected, and when training stops early, is decided in :mod:`evenface.training.trainer`.
"""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, metadata_with_checksum, verified_metadata

_TENSOR = "\0tensor"
RESTART = "Delete it: the run then starts from the beginning."


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state (dicts, lists, numbers, strings, tensors) atomically.

    Tensors are stored as safetensors; the rest as JSON in the file's metadata.
    """
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_split(state, "", tensors))
    with atomic_write(path) as temporary:
        _save_file(tensors, temporary, {"state": plain})


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  safe_open is no mapping
        plain = json.loads(verified_metadata(tensors, metadata)["state"])
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged, or no checkpoint of evenface ({error})", RESTART) from error
    state: dict[str, Any] = _join(plain, tensors)
    return state


def save_weights(path: Path, weights: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write a network's weights atomically, with metadata that any reader of safetensors sees."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    with atomic_write(path) as temporary:
        _save_file(plain, temporary, facts)


def _save_file(tensors: dict[str, Tensor], path: Path, facts: Mapping[str, str]) -> None:
    try:
        save_file(tensors, path, metadata=metadata_with_checksum(tensors, facts))
    except SafetensorError as error:
        # The library reports a full disk only in its message.
        if "No space left" in str(error) or "os error 28" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def _split(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Move tensors into ``tensors`` and leave their names; keys keep their type by being listed as pairs."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {"pairs": [[key, _split(inner, f"{name}/{key}", tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_split(inner, f"{name}/{index}", tensors) for index, inner in enumerate(value)]
    return value


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _join(inner, tensors) for key, inner in value["pairs"]}
    if isinstance(value, list):
        return [_join(inner, tensors) for inner in value]
    return value


def lay_out_like_parameters(optimizer: Optimizer) -> None:
    """Lay out restored moments in memory like their parameters, which files do not record.

    Fused optimisers walk through both in the order of memory: another layout would pair wrong numbers.
    """
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
