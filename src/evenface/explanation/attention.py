"""Attention of a clip network to the frames of a clip."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evenface.inference.run_model import as_input
from evenface.models.temporal import ClipNetwork

Array = npt.NDArray[np.float64]


def frame_attention(model: Any, samples: np.ndarray) -> Array | None:
    """Compute the weights of the frames of clips (B, T, H, W, channels), ``(B, T)``; each clip's sum to 1.

    See :meth:`evenface.models.ClipNetwork.frame_weights`; averaged over flipped clips where the run does so. None for
    a model whose network has no attention over frames; ``model`` has a ``method``, as that of a run.
    """
    network, spec = model.method.network, model.input_spec
    if not isinstance(network, ClipNetwork):
        return None
    views = [samples, spec.mirrored(samples)] if spec.mirror else [samples]
    weights = []
    with torch.inference_mode():
        for view in views:
            found = network.frame_weights(as_input(torch.from_numpy(np.ascontiguousarray(view)).to(model.device), spec))
            if found is None:
                return None
            weights.append(found.double().cpu().numpy())
    return np.asarray(np.mean(weights, axis=0))
