"""Eyes by dlib's 68 points, for those who align as papers that used dlib did."""

import importlib.util
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evenface.errors import InputError
from evenface.faces.align import Face, Point

MODEL = "shape_predictor_68_face_landmarks.dat"
PACKAGES = ("dlib-bin", "dlib", "face_recognition_models")
EYES = (slice(36, 42), slice(42, 48))
"""Points of the person's right eye and left eye."""
TERMS = "The model was learnt from data for non-commercial use only (iBUG 300-W)."


def model_path() -> Path:
    """Give the place of dlib's 68-point model.

    Raises
    ------
    InputError
        If dlib or the model is not installed.
    """
    # Only the file is wanted: the package that brings it does not import any more.
    found = importlib.util.find_spec("face_recognition_models")
    path = Path(found.origin).parent / "models" / MODEL if found and found.origin else Path(MODEL)
    if importlib.util.find_spec("dlib") is None or not path.is_file():
        raise InputError(
            "faces.landmarks: dlib and its model of 68 points are not installed",
            f"Install them: pip install 'evenface[dlib]'. {TERMS}",
        )
    return path


@lru_cache(maxsize=1)
def _predictor() -> Any:
    path = model_path()
    try:
        import dlib

        return dlib.shape_predictor(str(path))
    except (ImportError, RuntimeError) as error:
        raise InputError(f"dlib cannot be loaded ({error})", "Install it: pip install 'evenface[dlib]'.") from error


def with_dlib_eyes(image: Image.Image, faces: list[Face]) -> list[Face]:
    """Put each face's eyes where dlib sees them: the mean of the six points around each.

    Parameters
    ----------
    image : Image
        Upright, RGB.
    faces : list of Face
        As a detector found them; their boxes stay.

    Raises
    ------
    InputError
        As :func:`model_path` does.

    References
    ----------
    Kazemi and Sullivan, *One millisecond face alignment with an ensemble of regression trees*, CVPR 2014.
    """
    predictor = _predictor()
    pixels = np.asarray(image)
    return [replace(face, eyes=_eyes(predictor, pixels, face)) for face in faces]


def _eyes(predictor: Any, pixels: np.ndarray, face: Face) -> tuple[Point, Point]:
    import dlib

    shape = predictor(pixels, dlib.rectangle(*(round(value) for value in face.box)))
    # dlib gives whole pixels, and a pixel's middle lies at half of it.
    points = np.array([(part.x, part.y) for part in shape.parts()], float) + 0.5
    first, second = (points[eye].mean(axis=0) for eye in EYES)
    return (float(first[0]), float(first[1])), (float(second[0]), float(second[1]))
