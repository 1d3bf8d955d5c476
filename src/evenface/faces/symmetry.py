"""Mirror sequences: which point of a face is whose partner on the other side."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.errors import InputError
from evenface.faces.blendshapes import NAMES

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
"""Partners among MediaPipe's 468 points; points that are not named lie on the midline."""
DLIB_PAIRS = """
0-16 1-15 2-14 3-13 4-12 5-11 6-10 7-9 17-26 18-25 19-24 20-23 21-22 31-35 32-34 36-45 37-44 38-43 39-42 40-47 41-46
48-54 49-53 50-52 55-59 56-58 60-64 61-63 65-67
"""
"""Partners among the 68 points of dlib and OpenFace."""


@lru_cache
def order(points: str) -> npt.NDArray[np.int64]:
    """Give the partner of each point.

    Parameters
    ----------
    points : {"mesh-468", "dlib-68", "blendshapes"}
        What the points are.

    Returns
    -------
    ndarray of shape (P,), int64
        A point on the midline is its own partner; partners of partners are the points themselves. Not to be written to.

    Raises
    ------
    InputError
        If nobody knows how such numbers look in a mirror.

    Notes
    -----
    The 468 pairs were found on faces of videos: the mean of their points, brought onto its own mirror picture, gives
    each point the nearest one, each taken once. The mesh's own edges agree, but for three squares that it divides by
    the other diagonal.
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
            f"there is no mirror of {points}",
            "Set augment.flip=0 and augment.flip_duplicates=false for these sequences.",
        )
    found.flags.writeable = False
    return found


def _other_side(name: str) -> str:
    sides = {"left": "right", "right": "left"}
    return "_".join(sides.get(word, word) for word in name.split("_"))


def mirrored(sequences: Any, points: str, kind: str = "swapped", middle: float | None = 0.5) -> Any:
    """Give the mirror sequences.

    Parameters
    ----------
    sequences : ndarray or Tensor of shape (..., P, D)
        Numbers of each frame; the first of the D is x.
    points : str
        What the points are, see :attr:`evenface.faces.store.Store.points`.
    kind : {"swapped", "literal"}, default="swapped"
        ``swapped``: partners change places, and x becomes ``2 * middle - x``: what would be found on the mirror
        picture. ``literal``: only x is changed, as a paper writes it; what was the right eye's point is now where a
        left eye would be, under the right eye's number.
    middle : float or None, default=0.5
        About which x is mirrored: 0.5 (``1 - x``) where x is a share of the frame's width, 0 (``-x``) where the eyes'
        middle is the origin. See :attr:`evenface.faces.store.Store.middle`.

    Returns
    -------
    ndarray or Tensor
        A new one, of the shape of ``sequences``. Action units do not say on which side of a face they are: they are
        given back as they came.

    Raises
    ------
    InputError
        If there is no mirror of such numbers, or x is in pixels, so that nobody knows about what to mirror.
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
            "x is in pixels of frames of unknown width: there is nothing to mirror about",
            "Set data.sequences.normalise=position, or augment.flip=0 and augment.flip_duplicates=false.",
        )
    found = sequences[..., partners if kind == "swapped" else range(len(partners)), :]
    found[..., 0] = 2 * middle - found[..., 0]
    return found
