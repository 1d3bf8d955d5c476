"""Explanations of a model's predictions for prepared samples; imports torch only for gradient-based methods."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evenface.explanation.occlusion import (
    baseline_image,
    baseline_sequence,
    frame_importance,
    occlusion_map,
    point_importance,
)
from evenface.inference.model import Model
from evenface.utils.errors import InputError

Array = npt.NDArray[np.float64]
Kind = Literal["map", "frames", "points"]
METHODS: dict[str, str] = {
    "gradcam": "Grad-CAM: saliency maps of images and of the frames of clips",
    "cam": "class activation maps, for networks that end in a linear classifier on the mean of their maps",
    "gradients": "integrated gradients: frames and points of sequences",
    "occlusion": "occlusion: drop of the class score without a region, frame or point; for all models and ONNX files",
}
"""Attribution methods."""


@dataclass(frozen=True)
class Explanation:
    """Attribution of a prediction to regions, frames or points of one sample, for every class.

    Parameters
    ----------
    kind : {"map", "frames", "points"}
        Of an image, a clip or a sequence.
    method : str
        Attribution method, one of :data:`evenface.explanation.METHODS`.
    probabilities : ndarray of shape (C,)
        As :meth:`~evenface.inference.model.Model.calibrated` computes them; of a regression the values.
    maps : ndarray of shape (C, h, w), or (C, T, h, w) of clips, float32, or None
        Saliency maps from 0 to 1 of the evidence for a class. Each class is scaled by its own maximum, over all frames
        of a clip. All 0 if there is no evidence for it.
    frames : ndarray of shape (C, T) or None
        Importance of each frame for each class: positive for the class, negative against it.
    points : ndarray of shape (C, P) or None
        Importance of each landmark, or each feature.
    attention : ndarray of shape (T,) or None
        Share of each frame of a clip in the network's attention, which sums to 1; None for networks without attention
        over frames, and for exported files.

    Notes
    -----
    The unit of ``frames`` and ``points`` depends on the method: see :func:`evenface.explanation.explain_samples`.
    """

    kind: Kind
    method: str
    probabilities: Array
    maps: npt.NDArray[np.float32] | None = None
    frames: Array | None = None
    points: Array | None = None
    attention: Array | None = None


def select_method(model: Model, method: str | None = None) -> str:
    """Return the attribution method for a model: the given one, or its default."""
    gradients = hasattr(model, "method")
    images = model.input_spec.kind != "sequences"
    if method is None:
        return "gradcam" if images and gradients else "occlusion"
    if method not in METHODS:
        raise InputError(f"there is no attribution method {method!r}", f"Choose from {', '.join(METHODS)}.")
    if method != "occlusion" and not gradients:
        raise InputError(
            f"{model.name} is an exported file, which has no gradients: {method} requires the run folder",
            "Use --method occlusion, or specify the run folder with 'evenface[explain]' installed.",
        )
    applicable = ("gradcam", "cam", "occlusion") if images else ("gradients", "occlusion")
    if method not in applicable:
        kind = "image" if images else "sequence"
        raise InputError(f"{method} does not apply to {kind} models", f"Choose from {', '.join(applicable)}.")
    return method


def explain_samples(model: Model, arrays: np.ndarray, method: str | None = None) -> list[Explanation]:
    """Explain the predictions for prepared samples.

    Parameters
    ----------
    model : Model
        The model; its scores at inference are explained, averaged over flipped samples where the run does so.
    arrays : ndarray of shape (B, T', H, W, channels), uint8, or (B, T', P, D), float32
        As :attr:`evenface.inference.pipeline.PreparedSample.array` holds them.
    method : str, optional
        One of :data:`METHODS`; by default Grad-CAM for images and clips, and occlusion for sequences and for models
        without gradients.

    Returns
    -------
    list of Explanation
        One for each sample. The importance of frames and points by occlusion is a drop of the log-probability
        (log-odds for one-vs-rest models and multi-label targets, the value itself of a regression); by integrated
        gradients it is in units of the logit.

    Raises
    ------
    InputError
        If the method does not apply to the model.

    Notes
    -----
    Grad-CAM and CAM use the network's last feature maps. The importance of the frames of a clip is always computed by
    occlusion, replacing each frame by its nearest neighbour. Attention shows which frames the network reads, the same
    for all classes; it need not agree with their importance.

    References
    ----------
    Jain and Wallace, *Attention is not explanation*, NAACL 2019.
    """
    method = select_method(model, method)
    samples = model.input_spec.select_frames(arrays)
    probabilities = model.calibrated(model.scores(arrays))
    if model.input_spec.kind == "sequences":
        return [_explain_sequence(model, *pair, method) for pair in zip(samples, probabilities, strict=True)]
    first = int(model.input_spec.has_baseline_image)
    clips = model.input_spec.kind == "clips" and model.input_spec.frames - first > 1
    axes = (-3, -2, -1)[0 if clips else 1 :]
    explanations = []
    attention = _attention(model, samples) if clips else [None] * len(samples)
    parts = zip(samples, probabilities, _raw_maps(model, samples, method), attention, strict=True)
    for sample, p, maps, weights in parts:
        saliency = scaled(maps[:, first:] if clips else maps[:, -1], axes, lowest=method == "cam")
        frames = frame_importance(model, sample) if clips else None
        kind: Kind = "frames" if clips else "map"
        explanations.append(Explanation(kind, method, p, saliency, frames, attention=weights))
    return explanations


def _attention(model: Model, samples: np.ndarray) -> list[Array] | list[None]:
    """Compute the attention (T,) of each clip; None where the model has none."""
    weights = None
    if hasattr(model, "method"):
        from evenface.explanation.attention import frame_attention

        weights = frame_attention(_with_gradients(model), samples)
    return [None] * len(samples) if weights is None else list(weights)


def _raw_maps(model: Model, samples: np.ndarray, method: str) -> list[Array]:
    """Compute maps (C, T, h, w) of each sample, before scaling."""
    if method == "occlusion":
        keep = int(model.input_spec.has_baseline_image)
        maps = [occlusion_map(model, sample, baseline_image(sample, keep=keep)) for sample in samples]
        return [np.repeat(each[:, None], samples.shape[1], axis=1) for each in maps]
    from evenface.explanation.gradients import class_maps

    return [class_maps(_with_gradients(model), sample, method) for sample in samples]


def _explain_sequence(model: Model, sample: np.ndarray, probabilities: Array, method: str) -> Explanation:
    baseline = baseline_sequence(model, sample)
    if method == "gradients":
        from evenface.explanation.gradients import integrated_gradients

        attribution = integrated_gradients(_with_gradients(model), sample, baseline)
        frames, points = attribution.sum(axis=(2, 3)), attribution.sum(axis=(1, 3))
    else:
        frames, points = frame_importance(model, sample), point_importance(model, sample, baseline)
    return Explanation("points", method, probabilities, None, frames, points)


def _with_gradients(model: Model) -> Any:
    """Return the model as TorchModel, which this module must not import: select_method checked that it is one."""
    return model


def marked_outputs(model: Model, probabilities: Array) -> tuple[int, ...]:
    """Return what a model predicts: the class, or the targets that are present; nothing for a regression."""
    if model.task == "regression":
        return ()
    if model.task != "multilabel":
        return (int(probabilities.argmax()),)
    return tuple(np.flatnonzero(probabilities >= np.array(model.thresholds)).tolist())


def tested_output(model: Model, probabilities: Array) -> int:
    """Return whose explanation is tested: the most probable class or target, or the first value of a regression."""
    return 0 if model.task == "regression" else int(probabilities.argmax())


def scaled(values: Array, axes: tuple[int, ...], *, lowest: bool = False) -> npt.NDArray[np.float32]:
    """Scale maps to 0 to 1: negative values become 0, or with ``lowest`` the minimum becomes 0."""
    values = values - values.min(axes, keepdims=True) if lowest else np.maximum(values, 0)
    maximum = values.max(axes, keepdims=True)
    result = np.divide(values, maximum, out=np.zeros_like(values), where=maximum > 0)
    return np.asarray(result, dtype=np.float32)
