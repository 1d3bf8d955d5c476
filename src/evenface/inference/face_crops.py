"""Crop the faces of an input, or use all of it where it is the crop of a face already."""

from dataclasses import replace

import numpy as np
from PIL import Image

from evenface.config.predict import PredictSettings
from evenface.inference.input_spec import InputSpec
from evenface.preprocessing.detect_align import Detector, Face, square_of
from evenface.preprocessing.image import cropped
from evenface.preprocessing.target import Target
from evenface.utils.errors import NoFaceError

ABOUT_SQUARE = 1.25
"""Largest ratio of the sides of an image that can be the crop of a face."""
SMALL = 2
"""An image that is about square and at most so many times as large as the input of the model is taken for a crop."""
FILLED = 0.9
"""A face with its margin fills an image if it takes this share of the shorter side: a crop would change little."""
Crops = list[tuple[Face | None, np.ndarray]]


def is_small_square(size: tuple[int, int], spec: InputSpec) -> bool:
    """Return whether an image of this width and height looks like the crop of a face by its size alone."""
    return max(size) <= ABOUT_SQUARE * min(size) and max(size) <= SMALL * spec.size


def fills(face: Face, size: tuple[int, int], margin: float) -> bool:
    """Return whether a face with its margin fills an image of this width and height."""
    return max(size) <= ABOUT_SQUARE * min(size) and square_of(face, margin).side >= FILLED * min(size)


def crop_input(
    image: Image.Image, target: Target, spec: InputSpec, settings: PredictSettings, find: Detector | None = None
) -> Crops:
    """Crop the faces of an image, as arrays of one frame; an empty list without a face.

    Notes
    -----
    Where the settings leave it open which faces are used, a model that was trained on uncropped images takes all of an
    image that is a crop of a face already: a small square, or one that a single face fills. A model that was trained on
    cropped faces takes all of a small square in which no face is found. ``find`` replaces the target's detector.
    """
    if settings.faces is not None or target.crop is None:
        return _crops(image, target, find)
    small = is_small_square(image.size, spec)
    if spec.crop:
        return _crops(image, target, find) or (_crops(image, _whole(target, spec)) if small else [])
    if small:
        return _crops(image, spec.target)
    faces = _crops(image, target, find)
    if len(faces) == 1 and faces[0][0] and fills(faces[0][0], image.size, settings.margin):
        ((_, array),) = _crops(image, spec.target)
        return [(faces[0][0], array)]
    return faces


def clip_target(image: Image.Image, target: Target, spec: InputSpec, settings: PredictSettings) -> Target:
    """Return the target for a clip by one of its frames: without face detection if it is a crop of a face already."""
    if settings.faces is not None or target.crop is None or spec.crop or target.sequences:
        return target
    if is_small_square(image.size, spec):
        return spec.target
    still = replace(target, clips=None)
    faces = [face for face, _ in _crops(image, still) if face]
    return spec.target if len(faces) == 1 and fills(faces[0], image.size, settings.margin) else target


def _whole(target: Target, spec: InputSpec) -> Target:
    return replace(target, faces=spec.faces.replace(crop="none"))


def _crops(image: Image.Image, target: Target, find: Detector | None = None) -> Crops:
    try:
        pairs = cropped(image, target, find)
    except NoFaceError:
        return []
    shape = (1, target.size, target.size, target.channels)
    return [(face, np.asarray(crop).reshape(shape)) for face, crop in pairs]
