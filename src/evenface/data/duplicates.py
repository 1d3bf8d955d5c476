"""Duplicates and near-duplicates of images, mirror images included."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evenface.utils.progress import progress

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]

SIDE = 32
"""Height and width of thumbnails, in pixels."""
BLOCK = 256
MOST = 2_000_000
"""Candidate pairs after which the search stops."""


class DuplicatePairs(NamedTuple):
    """Pairs of near-duplicate images.

    ``first`` < ``second`` are rows; ``mirrored`` is True if one is similar to the mirror image of the other;
    ``distance`` is the Hamming distance of the 64-bit hashes, ``correlation`` that of the pixels (-1 to 1).
    ``complete`` is False if there were more than two million candidates, of which only the first were compared.
    """

    first: Rows
    second: Rows
    mirrored: NDArray[np.bool_]
    distance: NDArray[np.uint8]
    correlation: NDArray[np.float32]
    complete: bool = True


def first_identical_rows(images: Any) -> Rows:
    """Return for every row the first row with identical values."""
    first: dict[bytes, int] = {}
    rows = np.empty(len(images), dtype=np.int64)
    with progress("comparing images", len(images)) as advance:
        for row, image in enumerate(images):
            key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
            rows[row] = first.setdefault(key, row)
            if row % 1000 == 999:
                advance(1000)
    return rows


def find_contained(images: Any, rows: Rows, others: Any, other_rows: Rows) -> NDArray[np.bool_]:
    """Return which of ``images[rows]`` are, pixel by pixel, in ``others[other_rows]``."""
    contained = np.zeros(len(rows), dtype=bool)
    if images.shape[1:] != others.shape[1:]:
        return contained
    middle = images.shape[2] // 2
    candidates: dict[bytes, list[int]] = {}
    for index, row in enumerate(rows):
        candidates.setdefault(images[row, :, middle].tobytes(), []).append(index)
    with progress("searching for training images", len(other_rows)) as advance:
        for number, row in enumerate(other_rows, 1):
            for index in candidates.get(others[row, :, middle].tobytes(), ()):
                contained[index] = contained[index] or np.array_equal(images[rows[index]], others[row])
            if number % 1000 == 0:
                advance(1000)
    return contained


def grey_thumbnails(images: Any) -> NDArray[np.float32]:
    """Reduce images, or middle frames of clips, to grey thumbnails of 32 x 32 by area averaging."""
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
    """Return the matrix (32, size) of area averaging over equal intervals, with partial weights at their ends."""
    edges = np.arange(SIDE + 1) * size / SIDE
    low = np.maximum(edges[:-1, None], np.arange(size)[None])
    high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
    inside: NDArray[np.float32] = (np.clip(high - low, 0, None) * SIDE / size).astype(np.float32)
    return inside


def perceptual_hashes(small: NDArray[np.float32]) -> tuple[Hashes, Hashes]:
    """Compute 64-bit perceptual hashes of thumbnails and of their mirror images.

    Bit (i, j) is 1 if the coefficient of vertical frequency i and horizontal frequency j, 0 to 7, of the discrete
    cosine transform is above the median of the 63 coefficients without the mean. Mirroring changes the sign of odd
    horizontal frequencies, so that it needs no second transform.

    References
    ----------
    Zauner, *Implementation and benchmarking of perceptual image hash functions*, 2010.
    """
    frequency, position = np.arange(8)[:, None], np.arange(SIDE)[None]
    cosines = np.cos(np.pi * frequency * (2 * position + 1) / (2 * SIDE)).astype(np.float32)
    coefficients = cosines @ small @ cosines.T
    mirrored = coefficients * (1 - 2 * (np.arange(8) % 2)).astype(np.float32)
    return _bits(coefficients), _bits(mirrored)


def _bits(coefficients: NDArray[np.floating]) -> Hashes:
    flat = coefficients.reshape(len(coefficients), 64)
    above = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(np.uint64)[:, 0]


def near_pairs(
    images: Any,
    threshold: int,
    correlation: float,
    skip: Callable[[Rows, Rows], NDArray[np.bool_]],
) -> DuplicatePairs:
    """Find all pairs of near-duplicates, mirror images included, except where ``skip(first, second)`` is True.

    All pairs of hashes are compared; the pixels of pairs within ``threshold`` bits are then correlated. Images of a
    single colour are excluded.
    """
    small = grey_thumbnails(images)
    hashes, mirrored_hashes = perceptual_hashes(small)
    flat = small.reshape(len(small), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1)
    usable = norm > SIDE  # a standard deviation of one grey level
    flat /= np.maximum(norm, 1e-9)[:, None]
    blocks: list[tuple[Rows, Rows, NDArray[np.bool_], NDArray[np.uint8], NDArray[np.float32]]] = []
    candidates = 0
    with progress("searching for near-duplicates", len(images)) as advance:
        for start in range(0, len(images), BLOCK):
            stop = min(start + BLOCK, len(images))
            for mirrored in (False, True):
                block = (mirrored_hashes if mirrored else hashes)[start:stop, None]
                bits = np.bitwise_count(block ^ hashes[None, start:])
                first, second = np.nonzero(bits <= threshold)
                distance = bits[first, second]
                first, second = first + start, second + start
                keep = (first < second) & usable[first] & usable[second] & ~skip(first, second)
                first, second, distance = first[keep], second[keep], distance[keep]
                candidates += len(first)
                similarity = _correlate(flat, first, second, mirrored)
                near = similarity >= correlation
                flags = np.full(int(near.sum()), mirrored)
                blocks.append((first[near], second[near], flags, distance[near], similarity[near]))
            advance(stop - start)
            if candidates > MOST:
                break
    columns = [np.concatenate(column) for column in zip(*blocks, strict=True)]
    return _sorted(columns, candidates <= MOST)


def _correlate(flat: NDArray[np.float32], first: Rows, second: Rows, mirrored: bool) -> NDArray[np.float32]:
    """Compute the correlation of pairs of normalised thumbnails, in blocks that fit in memory."""
    result = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), 8192):
        a, b = flat[first[start : start + 8192]], flat[second[start : start + 8192]]
        if mirrored:
            a = a.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(a.shape)
        result[start : start + 8192] = np.einsum("np,np->n", a, b)
    return result


def _sorted(columns: list[NDArray[Any]], complete: bool) -> DuplicatePairs:
    """Sort pairs; of a pair found both plain and mirrored, keep the one with the higher correlation."""
    order = np.lexsort((-columns[4], columns[1], columns[0]))
    columns = [column[order] for column in columns]
    repeated = np.zeros(len(order), dtype=bool)
    repeated[1:] = (columns[0][1:] == columns[0][:-1]) & (columns[1][1:] == columns[1][:-1])
    first, second, mirrored, distance, correlation = (column[~repeated] for column in columns)
    return DuplicatePairs(first, second, mirrored, distance, correlation, complete)
