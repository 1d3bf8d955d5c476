"""What an explanation is, and laying a map over a picture. Nothing here needs torch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Kind = Literal["map", "frames", "points"]
RAMP = ((255, 236, 90), (250, 140, 20), (190, 10, 30))
"""Colours of a map over a picture, from little to much: yellow, orange, red."""


@dataclass(frozen=True)
class Explanation:
    """What the answer to one sample rests on, for every class.

    Parameters
    ----------
    kind : {"map", "frames", "points"}
        Of a still, a clip or a sequence of numbers.
    method : str
        How it was found, one of :data:`evenface.explanation.METHODS`.
    probabilities : ndarray of shape (C,)
        As :meth:`~evenface.inference.model.Model.calibrated` gives them.
    maps : ndarray of shape (C, h, w), or (C, T, h, w) of clips, float32, or None
        From 0 to 1: where in the picture lies what speaks for a class. Each class is scaled by its own highest value,
        over all frames of a clip. All 0 where nothing speaks for it.
    frames : ndarray of shape (C, T) or None
        What each frame does for each class: above 0 it speaks for the class, below 0 against it.
    points : ndarray of shape (C, P) or None
        The same of each point, or each column of numbers.

    Notes
    -----
    The unit of ``frames`` and ``points`` is that of the method: see :func:`evenface.explanation.explain_samples`.
    """

    kind: Kind
    method: str
    probabilities: Array
    maps: npt.NDArray[np.float32] | None = None
    frames: Array | None = None
    points: Array | None = None


def scaled(values: Array, axes: tuple[int, ...], *, lowest: bool = False) -> npt.NDArray[np.float32]:
    """Bring maps to 0 to 1."""
    values = values - values.min(axes, keepdims=True) if lowest else np.maximum(values, 0)
    highest = values.max(axes, keepdims=True)
    found = np.divide(values, highest, out=np.zeros_like(values), where=highest > 0)
    return np.asarray(found, dtype=np.float32)


def enlarged(values: npt.NDArray[np.floating], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Enlarge a map (h, w) to ``size``, rows and columns, by cubic splines between the middles of its places."""
    image = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC), dtype=np.float32)


def overlay(picture: Pixels, heat: npt.NDArray[np.floating], strength: float = 0.6) -> Pixels:
    """Lay a map over a picture: the more there is, the less is seen through, from yellow to red.

    Parameters
    ----------
    picture : ndarray of shape (H, W, 3), (H, W, 1) or (H, W), uint8
        RGB or grey.
    heat : ndarray of shape (h, w)
        From 0 to 1.
    strength : float, default=0.6
        How much the highest value hides, 0 to 1.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        The picture itself where the map is 0.
    """
    colours = picture if picture.ndim == 3 else picture[..., None]
    below = np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours
    values = enlarged(heat, (below.shape[0], below.shape[1])).clip(0, 1)
    stops = np.linspace(0, 1, len(RAMP))
    over = np.stack([np.interp(values, stops, [colour[i] for colour in RAMP]) for i in range(3)], axis=-1)
    share = (strength * np.sqrt(values))[..., None]  # so that a half is seen as half
    return np.asarray(np.rint(below * (1 - share) + over * share), dtype=np.uint8)
