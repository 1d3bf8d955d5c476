"""Face landmarks: kinds, normalisation, blendshapes and mirroring."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.utils.errors import InputError, SampleError

KINDS = ("mesh-468", "dlib-68", "openface-aus", "features")
"""MediaPipe's 468 points, the 68 of dlib and OpenFace, OpenFace's action units, and any other numbers of each frame."""
COUNTS = {"mesh-468": 468, "dlib-68": 68}
EYES = {"mesh-468": ((33, 133), (362, 263)), "dlib-68": ((36, 39), (42, 45))}
"""Corners of the person's right and left eye, which do not move when eyes close, unlike lids."""
STEPS = ("none", "position", "scale", "roll")


def normalised(points: npt.NDArray[np.float32], kind: str, how: str) -> npt.NDArray[np.float32]:
    """Normalise position, scale and roll of the landmarks of each frame by the eyes.

    Parameters
    ----------
    points : ndarray of shape (T, P, D)
        x, y and, with D = 3, z, in one unit.
    kind : {"mesh-468", "dlib-68"}
        Kind of landmarks. The position of an eye is the midpoint of its corners.
    how : {"none", "position", "scale", "roll"}
        ``position``: the midpoint of the eyes becomes the origin. ``scale``: also, the distance of the eyes in x and y
        becomes 1. ``roll``: also, rotated in the image plane so that the line from the person's right to left eye is
        along x.

    Returns
    -------
    ndarray of shape (T, P, D), float32

    Raises
    ------
    InputError
        If these are not landmarks.
    SampleError
        If both eyes are at one point.
    """
    if how == "none":
        return points
    check_normalise(kind, how)
    values = points.astype(np.float64)
    right, left = (values[:, corners, :].mean(axis=1) for corners in EYES[kind])
    values -= (right + left)[:, None] / 2
    if how == "position":
        return values.astype(np.float32)
    x, y = (left - right)[:, :2].T
    apart = np.hypot(x, y)
    if not (apart > 0).all():
        raise SampleError("no eyes: both are at one point")
    values /= apart[:, None, None]
    if how == "roll":
        cos, sin = x / apart, y / apart
        turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
        values[..., :2] = np.einsum("tij,tpj->tpi", turn, values[..., :2])
    return values.astype(np.float32)


def check_normalise(kind: str, how: str) -> None:
    """Raise an InputError if values of this kind cannot be normalised."""
    if how not in STEPS:
        raise InputError(f"normalise must be one of {', '.join(STEPS)}, got {how!r}")
    if how != "none" and kind not in EYES:
        raise InputError(
            f"data.sequences.normalise: {how} needs face landmarks, and these sequences are {kind}",
            "Set data.sequences.normalise=none.",
        )


Array = npt.NDArray[np.float32]

OPENINGS = {
    "right_eye_open": ((159, 145), (33, 133)),
    "left_eye_open": ((386, 374), (263, 362)),
    "mouth_open": ((13, 14), (61, 291)),
}
"""Ratio of two distances: between the lids and between the corners of an eye; likewise for the mouth."""
WIDTHS = {"mouth_width": (61, 291), "brow_gap": (107, 336), "upper_lip": (2, 0), "chin_drop": (2, 152)}
"""Distances relative to that of the eyes: mouth, inner ends of the brows, nose to upper lip, nose to chin."""
RAISINGS = {
    "right_brow_inner_raise": ((107, 55), (33, 133)),
    "left_brow_inner_raise": ((336, 285), (263, 362)),
    "right_brow_outer_raise": ((70, 46), (33, 133)),
    "left_brow_outer_raise": ((300, 276), (263, 362)),
    "right_mouth_corner_raise": ((61,), (13, 14)),
    "left_mouth_corner_raise": ((291,), (13, 14)),
    "right_cheek_raise": ((50,), (33, 133)),
    "left_cheek_raise": ((280,), (263, 362)),
}
"""Height of the mean of some landmarks above that of others, perpendicular to the line of the eyes, relative to their
distance."""
NAMES = (*OPENINGS, *WIDTHS, *RAISINGS)


def blendshapes(points: Array) -> Array:
    """Compute geometric measures of mouth, eyes and brows.

    Parameters
    ----------
    points : ndarray of shape (T, 468, D)
        x and y in one unit, y down; z is ignored.

    Returns
    -------
    ndarray of shape (T, 15, 1), float32
        In the order of :data:`NAMES`. They are invariant to translation, rotation in the image plane and scale. They
        are plain distances, not MediaPipe's learned blendshapes, and change when the head turns.

    Raises
    ------
    SampleError
        If both eyes are at one point.
    """
    level = normalised(points[..., :2], "mesh-468", "roll")
    measures = [_distance(level, *over) / _distance(level, *under).clip(1e-6) for over, under in OPENINGS.values()]
    measures += [_distance(level, *ends) for ends in WIDTHS.values()]
    measures += [level[:, base, 1].mean(axis=1) - level[:, top, 1].mean(axis=1) for top, base in RAISINGS.values()]
    return np.stack(measures, axis=1)[..., None].astype(np.float32)


def _distance(points: Array, first: int, second: int) -> Array:
    distance: Array = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
    return distance


MESH_PAIRS = """
3-248 7-249 20-250 21-251 22-252 23-253 24-254 25-255 26-256 27-257 28-258 29-259 30-260 31-261 32-262 33-263 34-264
35-265 36-266 37-267 38-268 39-269 40-270 41-271 42-272 43-273 44-274 45-275 46-276 47-277 48-278 49-279 50-280
51-281 52-282 53-283 54-284 55-285 56-286 57-287 58-288 59-289 60-290 61-291 62-292 63-293 64-294 65-295 66-296
67-297 68-298 69-299 70-300 71-301 72-302 73-303 74-304 75-305 76-306 77-307 78-308 79-309 80-310 81-311 82-312
83-313 84-314 85-315 86-316 87-317 88-318 89-319 90-320 91-321 92-322 93-323 95-324 96-325 97-326 98-327 99-328
100-329 101-330 102-331 103-332 104-333 105-334 106-335 107-336 108-337 109-338 110-339 111-340 112-341 113-342
114-343 115-344 116-345 117-346 118-347 119-348 120-349 121-350 122-351 123-352 124-353 125-354 126-355 127-356
128-357 129-358 130-359 131-360 132-361 133-362 134-363 135-364 136-365 137-366 138-367 139-368 140-369 141-370
142-371 143-372 144-373 145-374 146-375 147-376 148-377 149-378 150-379 153-380 154-381 155-382 156-383 157-384
158-385 159-386 160-387 161-388 162-389 163-390 165-391 166-392 167-393 169-394 170-395 171-396 172-397 173-398
174-399 176-400 177-401 178-402 179-403 180-404 181-405 182-406 183-407 184-408 185-409 186-410 187-411 188-412
189-413 190-414 191-415 192-416 193-417 194-418 196-419 198-420 201-421 202-422 203-423 204-424 205-425 206-426
207-427 208-428 209-429 210-430 211-431 212-432 213-433 214-434 215-435 216-436 217-437 218-438 219-439 220-440
221-441 222-442 223-443 224-444 225-445 226-446 227-447 228-448 229-449 230-450 231-451 232-452 233-453 234-454
235-455 236-456 237-457 238-458 239-459 240-460 241-461 242-462 243-463 244-464 245-465 246-466 247-467
"""
"""Mirrored pairs of MediaPipe's 468 landmarks; those not listed are on the midline."""
DLIB_PAIRS = """
0-16 1-15 2-14 3-13 4-12 5-11 6-10 7-9 17-26 18-25 19-24 20-23 21-22 31-35 32-34 36-45 37-44 38-43 39-42 40-47 41-46
48-54 49-53 50-52 55-59 56-58 60-64 61-63 65-67
"""
"""Mirrored pairs of the 68 landmarks of dlib and OpenFace."""


@lru_cache
def order(points: str) -> npt.NDArray[np.int64]:
    """Return the index of the mirrored landmark of each landmark.

    Notes
    -----
    The 468 pairs were determined on faces of videos: their mean was aligned with its mirror image, and each landmark
    was assigned the nearest one, each once. The edges of the mesh agree, except for three squares with the other
    diagonal.
    """
    if points == "blendshapes":
        found = np.array([NAMES.index(_other_side(name)) for name in NAMES])
    elif points in ("mesh-468", "dlib-68"):
        count, text = (468, MESH_PAIRS) if points == "mesh-468" else (68, DLIB_PAIRS)
        found = np.arange(count)
        pairs = np.array([pair.split("-") for pair in text.split()], dtype=np.int64)
        found[pairs] = pairs[:, ::-1]
    else:
        raise InputError(
            f"{points} cannot be mirrored",
            "Set augment.flip=0 and augment.flip_duplicates=false for these sequences.",
        )
    found.flags.writeable = False
    return found


def _other_side(name: str) -> str:
    sides = {"left": "right", "right": "left"}
    return "_".join(sides.get(word, word) for word in name.split("_"))


def mirrored(sequences: Any, points: str, kind: str = "swapped", middle: float | None = 0.5) -> Any:
    """Mirror sequences.

    Parameters
    ----------
    sequences : ndarray or Tensor of shape (..., P, D)
        Values of each frame; the first of the D is x.
    points : str
        Kind of values, see :attr:`evenface.preprocessing.store.Store.points`.
    kind : {"swapped", "literal"}, default="swapped"
        ``swapped``: left and right landmarks are exchanged, and x becomes ``2 * middle - x``, as detected on the
        mirrored image. ``literal``: only x is changed, as in one paper; the landmark of the right eye is then where a
        left eye would be, with the index of the right eye.
    middle : float or None, default=0.5
        x of the mirror axis: 0.5 (``1 - x``) where x is relative to the frame's width, 0 (``-x``) where the midpoint of
        the eyes is the origin. See :attr:`evenface.preprocessing.store.Store.middle`.

    Returns
    -------
    ndarray or Tensor
        A copy of the shape of ``sequences``. Action units have no side of the face and are returned unchanged.

    Raises
    ------
    InputError
        If such values cannot be mirrored, or x is in pixels, so that the mirror axis is unknown.
    """
    if kind not in ("swapped", "literal"):
        raise InputError(f"mirror must be swapped or literal, got {kind!r}")
    if points == "openface-aus":
        return sequences
    partners = order(points).tolist()
    if points == "blendshapes":
        if kind == "literal":
            raise InputError("blendshapes have no x to mirror", "Set augment.flip_landmarks=swapped.")
        return sequences[..., partners, :]
    if middle is None:
        raise InputError(
            "x is in pixels of frames of unknown width: the mirror axis is unknown",
            "Set data.sequences.normalise=position, or augment.flip=0 and augment.flip_duplicates=false.",
        )
    found = sequences[..., partners if kind == "swapped" else range(len(partners)), :]
    found[..., 0] = 2 * middle - found[..., 0]
    return found
