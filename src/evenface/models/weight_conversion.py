"""Conversion of pickled weights (.pth, .pt, .bin) to safetensors, with the tensor names of a network here."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from evenface.models.build import build_network
from evenface.models.weights import LoadReport
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, output_path, user_path

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Keys under which checkpoints keep the tensors of their network, the first found is used."""
WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "features.", "net.", "network.")
"""Prefixes of wrappers; one is removed while all tensors, or all but classifiers, have it."""
STAGES = {"4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4", "0": "conv1", "1": "bn1"}
"""Index of a torchvision ResNet's children in ``nn.Sequential(*list(resnet.children())[:-2])`` to its name."""
SEQUENTIAL = re.compile(r"(?:features\.)?([014567])\.(.+)")
CLASSIFIER = re.compile(r"(?:fc\d*|classifier|head|linear|alpha)\.")
"""Classifiers, which belong to the classes of the file."""


@dataclass(frozen=True)
class ConvertedWeights:
    """Result of :func:`convert_weights`.

    Parameters
    ----------
    path : Path
        The safetensors file.
    network : str
        Network whose names the tensors have.
    renamed : dict of str to str
        Name in the pickled file to name in the safetensors file.
    dropped : tuple of str
        Entries of the pickled file that are not in the safetensors file: not tensors, or without a name in the network.
    load_report : LoadReport
        What ``network.weights=FILE`` loads.
    """

    path: Path
    network: str
    renamed: dict[str, str]
    dropped: tuple[str, ...]
    load_report: LoadReport

    def lines(self) -> list[str]:
        """Return the lines of a console summary."""
        report = self.load_report
        lines = [f"network {self.network}: {report.matched} tensors match"]
        lines += [f"missing {_few(report.missing)}"] if report.missing else []
        lines += [f"dropped {_few(self.dropped)}"] if self.dropped else []
        return [*lines, f"weights {self.path}", f"next    evenface train RECIPE network.weights={self.path}"]


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 6:,} more" if len(names) > 6 else ""
    return f"{len(names):,}: {', '.join(names[:6])}{more}"


def convert_weights(source: str | Path, out: str | Path, *, network: str | None = None) -> ConvertedWeights:
    """Convert pickled weights to a safetensors file for ``network.weights``.

    The file is unpickled by ``torch.load(weights_only=True)``, which builds tensors and plain containers only and runs
    no code. Containers such as ``state_dict`` and prefixes such as ``module.`` are removed.

    Parameters
    ----------
    source : str or Path
        File of PyTorch: a dict of tensors, or a checkpoint that contains one.
    out : str or Path
        Safetensors file; its name ends in ``.safetensors``.
    network : str, optional
        Name of the network as in ``network.name``. By default ``resnet18`` to ``resnet152`` by the shapes in the file.

    Returns
    -------
    ConvertedWeights

    Raises
    ------
    InputError
        If the file is missing, needs more than weights to be loaded, has no tensors, or fits no such network.
    """
    path, target = user_path(source), output_path(out)
    if target.suffix != ".safetensors":
        raise InputError(f"the output {target} must end in .safetensors")
    tensors, dropped = state_tensors(_unpickle(path), str(path))
    names = plain_names(tensors)
    network = network or _resnet_of({names[key]: value for key, value in tensors.items()}, path)
    own = build_network(network, 2, size=112, channels=3).state_dict()
    backbone = {key.removeprefix("backbone."): value for key, value in own.items() if key.startswith("backbone.")}
    renamed = {key: name for key, name in names.items() if name in backbone and _fits(tensors[key], backbone[name])}
    if not any(tensors[key].ndim > 1 for key in renamed):
        raise InputError(
            f"{path}: nothing in it fits {network} (it holds {', '.join(list(tensors)[:3])} ...)",
            "Name the network of the file: --network NAME.",
        )
    converted = {name: tensors[key].contiguous().clone() for key, name in renamed.items()}
    with atomic_write(target) as temporary:
        save_file(converted, temporary)
        loaded = build_network(network, 2, size=112, channels=3, weights=str(temporary))
    assert loaded.load_report is not None
    left = tuple(key for key in tensors if key not in renamed)
    return ConvertedWeights(target, network, renamed, (*left, *dropped), loaded.load_report)


def _fits(value: Tensor, own: Tensor) -> bool:
    """Whether a tensor has the shape of the network's; a first convolution may have other input channels."""
    first = value.ndim == 4 and own.shape[1:2] == (3,) and value.shape[1] == 1
    return value.shape == own.shape or (first and value.shape[0] == own.shape[0] and value.shape[2:] == own.shape[2:])


def _unpickle(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"no file of weights at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be loaded as weights only: it is damaged, or it needs code to be loaded",
            "Save its state_dict() alone, where its code is, on a machine that you trust it on.",
        ) from error


def state_tensors(content: Any, where: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a network in the content of a checkpoint, and the names of entries that are none.

    Raises
    ------
    InputError
        If there are no tensors.
    """
    outside: list[str] = []
    while isinstance(content, Mapping):
        inner = next((key for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        outside += [str(key) for key in content if key != inner]
        content = content[inner]
    entries = content if isinstance(content, Mapping) else {}
    tensors = {str(key): value.detach() for key, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{where} holds no tensors", "Save the state_dict() of the network.")
    return tensors, (*outside, *(str(key) for key, value in entries.items() if not isinstance(value, Tensor)))


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Map each name of a state dict to torchvision's, without the prefixes of wrappers.

    Examples
    --------
    >>> plain_names({"module.backbone.conv1.weight": None, "module.fc.weight": None})
    {'module.backbone.conv1.weight': 'conv1.weight', 'module.fc.weight': 'fc.weight'}
    """
    names = {key: key for key in tensors}
    while True:
        inner = [name for name in names.values() if not CLASSIFIER.match(name)]
        prefix = next((text for text in WRAPPERS if inner and all(name.startswith(text) for name in inner)), None)
        if prefix is None:
            break
        names = {key: name.removeprefix(prefix) for key, name in names.items()}
    inner = [name for name in names.values() if not CLASSIFIER.match(name)]
    if inner and all(SEQUENTIAL.fullmatch(name) for name in inner):
        names = {key: _from_sequential(name) for key, name in names.items()}
    return names


def _from_sequential(name: str) -> str:
    match = SEQUENTIAL.fullmatch(name)
    return f"{STAGES[match[1]]}.{match[2]}" if match else name


def _resnet_of(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Return which ResNet of torchvision has these tensors, by the number of blocks and their convolutions."""
    blocks = tuple(len({n.split(".")[1] for n in tensors if n.startswith(f"layer{i}.")}) for i in range(1, 5))
    deep = "layer1.0.conv3.weight" in tensors
    known: dict[tuple[bool, tuple[int, ...]], str] = {
        (False, (2, 2, 2, 2)): "resnet18",
        (False, (3, 4, 6, 3)): "resnet34",
        (True, (3, 4, 6, 3)): "resnet50",
        (True, (3, 4, 23, 3)): "resnet101",
        (True, (3, 8, 36, 3)): "resnet152",
    }
    if (deep, blocks) not in known:
        raise InputError(
            f"{path}: its tensors are not those of a ResNet (it holds {', '.join(list(tensors)[:3])} ...)",
            "Name the network of the file: --network NAME.",
        )
    return known[deep, blocks]
