"""Makes ``import torchvision`` work where its wheel was built for CUDA and torch for the CPU.

torchvision's compiled operators then cannot be loaded, and its import ends with ``operator torchvision::nms does
not exist``; timm falls with it. Importing this module first declares the two missing operators, gives non-maximum
suppression in Python, and imports again. Where torchvision imports by itself, nothing is changed.
"""

import importlib
import sys
from typing import Any

import torch
from torch import Tensor

MESSAGE = "operator torchvision::nms does not exist"
_library: Any = None


def ensure_torchvision() -> bool:
    """Import torchvision, with a stand-in for its compiled operators where they are missing.

    Returns
    -------
    bool
        True if the stand-in was needed.

    Raises
    ------
    ImportError, RuntimeError
        What the import of torchvision says for any other reason.
    """
    global _library
    if _library is not None:
        return True
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if MESSAGE not in str(error):
            raise
    else:
        return False
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library: Any = torch.library.Library
    _library = library("torchvision", "DEF")
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define(
        "qnms(Tensor dets, Tensor dets_scale, Tensor dets_zero, Tensor scores, float iou_threshold) -> Tensor"
    )
    _library.impl("nms", nms, "CPU")
    from torchvision.ops import boxes

    boxes._assert_has_ops = lambda: None
    return True


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keep the best of overlapping boxes.

    Parameters
    ----------
    dets : Tensor of shape (N, 4)
        Corners ``x1, y1, x2, y2``.
    scores : Tensor of shape (N,)
        The higher, the sooner a box is kept.
    iou_threshold : float
        A box is dropped if its overlap (intersection over union) with a kept box is above this.

    Returns
    -------
    Tensor of shape (K,), int64
        Positions of the boxes kept, by falling score.
    """
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


ensure_torchvision()
