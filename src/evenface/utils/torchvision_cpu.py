"""Make ``import torchvision`` work where its wheel was built for CUDA and torch for the CPU.

torchvision's compiled operators then cannot be loaded, and its import, also through timm, fails with ``operator
torchvision::nms does not exist``. ``import evenface`` installs an import hook for torchvision. If the import fails with
this message, the hook declares the two missing operators, implements non-maximum suppression in Python, and imports
again. Otherwise nothing is changed.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader

    from torch import Tensor

NAME = "torchvision"
MESSAGE = "operator torchvision::nms does not exist"
_libraries: list[Any] = []


def install() -> None:
    """Install the import hook, once per process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:  # no subclass of importlib.abc, which takes longer to import than this package
    """Finds torchvision by the other finders, and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target)) is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _TorchvisionLoader(spec.loader)  # type: ignore[assignment]
        return spec


class _TorchvisionLoader:
    """Loads torchvision by its own loader, and again with the missing operators if that fails."""

    def __init__(self, loader: "Loader") -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # while the loader is copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.loader.exec_module(module)
        except RuntimeError as error:
            if MESSAGE not in str(error) or _libraries:
                raise
        else:
            return
        for name in [name for name in sys.modules if name.startswith(f"{NAME}.")]:
            del sys.modules[name]
        _declare_operators()
        self.loader.exec_module(module)
        from torchvision.ops import boxes

        boxes._assert_has_ops = lambda: None


def _declare_operators() -> None:
    """Declare the operators that the import of torchvision needs."""
    import torch

    library: Any = torch.library.Library
    _libraries.append(library(NAME, "DEF"))  # deleted with the object, so it is kept
    _libraries[0].define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries[0].define(
        "qnms(Tensor dets, Tensor dets_scale, Tensor dets_zero, Tensor scores, float iou_threshold) -> Tensor"
    )
    _libraries[0].impl("nms", nms, "CPU")


def nms(dets: "Tensor", scores: "Tensor", iou_threshold: float) -> "Tensor":
    """Compute non-maximum suppression: return the indices of the highest-scoring of overlapping boxes."""
    import torch

    order = scores.argsort(descending=True, stable=True)
    area = (dets[:, 2] - dets[:, 0]) * (dets[:, 3] - dets[:, 1])
    kept = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        corner = torch.maximum(dets[best, :2], dets[rest, :2])
        other = torch.minimum(dets[best, 2:], dets[rest, 2:])
        shared = (other - corner).clamp_min(0).prod(dim=1)
        overlap = shared / (area[best] + area[rest] - shared)
        order = rest[~(overlap > iou_threshold)]
    return torch.stack(kept) if kept else scores.new_zeros(0, dtype=torch.int64)
