"""Explaining prepared samples, whatever they are of."""

from typing import Any, Literal

import numpy as np

from evenface.errors import InputError
from evenface.explaining.base import Array, Explanation, scaled
from evenface.explaining.occlusion import frames_by_occlusion, map_by_occlusion, points_by_occlusion
from evenface.explaining.removing import blurred, usual_sequence
from evenface.serving.model import Model

Method = Literal["gradcam", "cam", "gradients", "occlusion"]
METHODS: dict[str, str] = {
    "gradcam": "Grad-CAM: maps of pictures and of the frames of clips",
    "cam": "class-activation maps, where a linear classifier on the mean of the maps is all that follows them",
    "gradients": "integrated gradients: frames and points of sequences",
    "occlusion": "what is lost when something is left out: everything, exported files too",
}
"""How explanations are found, and of what."""


def method_for(model: Model, method: str | None = None) -> str:
    """Say how a model is explained: as is asked, or as suits it best.

    Raises
    ------
    InputError
        If the method is unknown or does not suit the model.
    """
    gradients = hasattr(model, "method")
    pictures = model.form.kind != "sequences"
    if method is None:
        return "gradcam" if pictures and gradients else "occlusion"
    if method not in METHODS:
        raise InputError(f"there is no method {method!r} of explaining", f"Known are {', '.join(METHODS)}.")
    if method != "occlusion" and not gradients:
        raise InputError(
            f"{model.name} is an exported file, which gives no gradients: {method} needs the run folder",
            "Name the run folder, or take method occlusion.",
        )
    able = ("gradcam", "cam", "occlusion") if pictures else ("gradients", "occlusion")
    if method not in able:
        what = "pictures" if pictures else "numbers"
        raise InputError(f"{method} does not explain a model of {what}", f"Take {', '.join(able)}.")
    return method


def explain_samples(model: Model, arrays: np.ndarray, method: str | None = None) -> list[Explanation]:
    """Say what the answers to prepared samples rest on.

    Parameters
    ----------
    model : Model
        Whose answers; what is explained is what its method says at inference, averaged with the mirror where it is.
    arrays : ndarray of shape (B, T', H, W, channels), uint8, or (B, T', P, D), float32
        As :attr:`evenface.serving.samples.Sample.array` holds them.
    method : str, optional
        One of :data:`METHODS`; by default Grad-CAM of pictures and clips, and what is lost when something is left out
        of sequences and where there are no gradients.

    Returns
    -------
    list of Explanation
        One for each sample. Frames and points found by leaving out are in units of the logarithm of the probability
        (log-odds, where each class is judged by itself); by integrated gradients, in units of the logit.

    Raises
    ------
    InputError
        If the method does not suit the model, in one sentence.

    Notes
    -----
    Grad-CAM and CAM are of the network's last maps. Frames of clips are always explained by leaving out: each gives
    way to its nearest neighbour.
    """
    chosen = method_for(model, method)
    seen = model.form.seen(arrays)
    p = model.calibrated(model.scores(arrays))
    if model.form.kind == "sequences":
        return _of_sequences(model, seen, p, chosen)
    clips = model.form.kind == "clips" and model.form.frames > 1
    maps = _maps(model, seen, chosen)
    axes = (-3, -2, -1)[0 if clips else 1 :]
    found = []
    for sample, shares, values in zip(seen, p, maps, strict=True):
        heat = scaled(values if clips else values[:, 0], axes, lowest=chosen == "cam")
        frames = frames_by_occlusion(model, sample) if clips else None
        found.append(Explanation("frames" if clips else "map", chosen, shares, heat, frames))
    return found


def _maps(model: Model, seen: np.ndarray, method: str) -> list[Array]:
    """Give maps (C, T, h, w) of each sample, as they come."""
    if method == "occlusion":
        found = [map_by_occlusion(model, sample, blurred(sample)) for sample in seen]
        return [np.repeat(one[:, None], seen.shape[1], axis=1) for one in found]
    from evenface.explaining.gradients import class_maps

    return [class_maps(_torch(model), sample, method) for sample in seen]


def _of_sequences(model: Model, seen: np.ndarray, p: Array, method: str) -> list[Explanation]:
    found = []
    for sample, shares in zip(seen, p, strict=True):
        usual = usual_sequence(model, sample)
        if method == "gradients":
            from evenface.explaining.gradients import integrated

            parts = integrated(_torch(model), sample, usual)
            frames, points = parts.sum(axis=(2, 3)), parts.sum(axis=(1, 3))
        else:
            frames, points = frames_by_occlusion(model, sample), points_by_occlusion(model, sample, usual)
        found.append(Explanation("points", method, shares, None, frames, points))
    return found


def _torch(model: Model) -> Any:
    """Give the model, known to have gradients."""
    return model
