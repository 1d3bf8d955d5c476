"""Find pictures that show the same: byte for byte, or nearly, as they are or mirrored."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evenface.utils.progress import progress

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]

SIDE = 32
BLOCK = 256
MOST = 2_000_000


class DuplicatePairs(NamedTuple):
    """Pairs of pictures that look alike.

    ``first`` < ``second`` are rows; ``mirrored`` says whether one must be mirrored; ``distance`` is the
    Hamming distance of the 64-bit hashes, ``correlation`` that of the pixels (-1 to 1). ``complete`` is
    False where there were more than two million candidates, of which only the first were looked at.
    """

    first: Rows
    second: Rows
    mirrored: NDArray[np.bool_]
    distance: NDArray[np.uint8]
    correlation: NDArray[np.float32]
    complete: bool = True


def first_identical_rows(images: Any) -> Rows:
    """Give rows with equal values the same number."""
    first: dict[bytes, int] = {}
    rows = np.empty(len(images), dtype=np.int64)
    with progress("comparing pictures", len(images)) as advance:
        for row, image in enumerate(images):
            key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
            rows[row] = first.setdefault(key, row)
            if row % 1000 == 999:
                advance(1000)
    return rows


def find_contained(images: Any, rows: Rows, others: Any, other_rows: Rows) -> NDArray[np.bool_]:
    """Find the pictures that stand, pixel by pixel, among the pictures of another array."""
    seen = np.zeros(len(rows), dtype=bool)
    if images.shape[1:] != others.shape[1:]:
        return seen
    middle = images.shape[2] // 2
    places: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(images[row, :, middle].tobytes(), []).append(place)
    with progress("looking for pictures that were learnt from", len(other_rows)) as advance:
        for number, row in enumerate(other_rows, 1):
            for place in places.get(others[row, :, middle].tobytes(), ()):
                seen[place] = seen[place] or np.array_equal(images[rows[place]], others[row])
            if number % 1000 == 0:
                advance(1000)
    return seen


def grey_thumbnails(images: Any) -> NDArray[np.float32]:
    """Shrink to grey pictures of 32 x 32 by area means; of a clip, its middle frame."""
    height, width = images.shape[-3:-1]
    rows, columns = _area_means(height), _area_means(width)
    small = np.empty((len(images), SIDE, SIDE), dtype=np.float32)
    for start in range(0, len(images), 1024):
        block = images[start : start + 1024]
        block = block[:, block.shape[1] // 2] if block.ndim == 5 else block
        grey = np.asarray(block, dtype=np.float32).mean(axis=-1)
        small[start : start + 1024] = rows @ grey @ columns.T
    return small


def _area_means(size: int) -> NDArray[np.float32]:
    """Make the matrix (32, size) that takes the mean over equal stretches, edges weighted by how much lies inside."""
    edges = np.arange(SIDE + 1) * size / SIDE
    low = np.maximum(edges[:-1, None], np.arange(size)[None])
    high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
    inside: NDArray[np.float32] = (np.clip(high - low, 0, None) * SIDE / size).astype(np.float32)
    return inside


def perceptual_hashes(small: NDArray[np.float32]) -> tuple[Hashes, Hashes]:
    """Hash pictures and their mirror images into 64 bits that change little when the picture does.

    Bit (i, j) says whether the coefficient of vertical frequency i and horizontal frequency j, 0 to 7,
    of the discrete cosine transform lies above the median of the 63 without the mean. Mirroring turns
    the sign of the odd horizontal frequencies, so that it needs no second transform.

    References
    ----------
    Zauner, *Implementation and benchmarking of perceptual image hash functions*, 2010.
    """
    frequency, place = np.arange(8)[:, None], np.arange(SIDE)[None]
    cosines = np.cos(np.pi * frequency * (2 * place + 1) / (2 * SIDE)).astype(np.float32)
    waves = cosines @ small @ cosines.T
    turned = waves * (1 - 2 * (np.arange(8) % 2)).astype(np.float32)
    return _bits(waves), _bits(turned)


def _bits(waves: NDArray[np.floating]) -> Hashes:
    flat = waves.reshape(len(waves), 64)
    above = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(np.uint64)[:, 0]


def near_pairs(
    images: Any,
    threshold: int,
    correlation: float,
    skip: Callable[[Rows, Rows], NDArray[np.bool_]],
) -> DuplicatePairs:
    """Find all pairs of pictures that look nearly alike, mirror images included.

    Every pair of hashes is compared; pairs within ``threshold`` bits are then held against each
    other pixel by pixel. Pictures of one colour look like nothing and are left out.
    """
    small = grey_thumbnails(images)
    plain, mirrored = perceptual_hashes(small)
    flat = small.reshape(len(small), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1)
    usable = norm > SIDE  # a standard deviation of one grey level
    flat /= np.maximum(norm, 1e-9)[:, None]
    found: list[tuple[Rows, Rows, NDArray[np.bool_], NDArray[np.uint8], NDArray[np.float32]]] = []
    candidates = 0
    with progress("looking for near-duplicates", len(images)) as advance:
        for start in range(0, len(images), BLOCK):
            stop = min(start + BLOCK, len(images))
            for turned in (False, True):
                ones = (mirrored if turned else plain)[start:stop, None]
                bits = np.bitwise_count(ones ^ plain[None, start:])
                first, second = np.nonzero(bits <= threshold)
                distance = bits[first, second]
                first, second = first + start, second + start
                keep = (first < second) & usable[first] & usable[second] & ~skip(first, second)
                first, second, distance = first[keep], second[keep], distance[keep]
                candidates += len(first)
                likeness = _correlate(flat, first, second, turned)
                good = likeness >= correlation
                turns = np.full(int(good.sum()), turned)
                found.append((first[good], second[good], turns, distance[good], likeness[good]))
            advance(stop - start)
            if candidates > MOST:
                break
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    return _sorted(columns, candidates <= MOST)


def _correlate(flat: NDArray[np.float32], first: Rows, second: Rows, turned: bool) -> NDArray[np.float32]:
    """Correlate pairs of normalised thumbnails, in blocks that fit memory."""
    result = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), 8192):
        one, other = flat[first[start : start + 8192]], flat[second[start : start + 8192]]
        if turned:
            one = one.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(one.shape)
        result[start : start + 8192] = np.einsum("np,np->n", one, other)
    return result


def _sorted(columns: list[NDArray[Any]], complete: bool) -> DuplicatePairs:
    """Sort pairs; of one that is alike plain and mirrored keep the better likeness."""
    order = np.lexsort((-columns[4], columns[1], columns[0]))
    columns = [column[order] for column in columns]
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (columns[0][1:] == columns[0][:-1]) & (columns[1][1:] == columns[1][:-1])
    first, second, mirrored, distance, correlation = (column[~again] for column in columns)
    return DuplicatePairs(first, second, mirrored, distance, correlation, complete)
