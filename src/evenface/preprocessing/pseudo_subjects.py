"""Pseudo-subjects: clusters of similar faces, where the people in the images are unknown."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.data.leakage import grey_thumbnails
from evenface.preprocessing.blazeface import session
from evenface.preprocessing.store import Store
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write
from evenface.utils.progress import progress

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

MODEL = "face_embedding"
"""File of the embedding in ``face_models``; written by ``tools/train_face_embedding.py``."""
SIDE = 48
"""Height and width of the embedding's input, in pixels."""
THRESHOLD = 0.85
"""Cosine similarity from which two faces are linked; conservative, as chains of links join different people."""
FACES, BLOCK = 256, 512


def embed_faces(images: Any) -> Vectors:
    """Embed faces as unit vectors, which are close for similar faces.

    Parameters
    ----------
    images : uint8 array of shape (N, H, W, C) or (N, T, H, W, C)
        Faces; of clips, the middle frame is used.

    Returns
    -------
    float32 array of shape (N, 64)
        The same for a face and its mirror image, and hardly dependent on brightness and contrast.
    """
    vectors = [np.empty((0, 64), np.float32)]
    with progress("comparing faces", len(images)) as advance:
        for start in range(0, len(images), FACES):
            grey = grey_thumbnails(images[start : start + FACES], SIDE)
            vectors += session(MODEL).run(None, {"faces": grey[:, np.newaxis]})
            advance(len(grey))
    return np.concatenate(vectors)


def cluster_vectors(vectors: Vectors, threshold: float) -> Rows:
    """Cluster unit vectors: the connected components of pairs with a cosine similarity of at least ``threshold``.

    Parameters
    ----------
    vectors : float32 array of shape (N, D)
        Unit vectors.
    threshold : float
        Smallest cosine similarity that links two vectors.

    Returns
    -------
    int64 array of shape (N,)
        For every row the first row of its cluster, which may be itself.
    """
    first = np.arange(len(vectors), dtype=np.int64)
    for rows, others in _similar_pairs(vectors, threshold):
        first = _join(first, rows, others)
    return first


def _similar_pairs(vectors: Vectors, threshold: float) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs of similar rows, block by block, so that all pairs never are in memory."""
    for start in range(0, len(vectors), BLOCK):
        rows, others = np.nonzero(vectors[start : start + BLOCK] @ vectors[start:].T >= threshold)
        yield rows + start, others + start


def _join(first: Rows, rows: Rows, others: Rows) -> Rows:
    """Merge the clusters of each pair of rows."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = (first[rows], first[others])
    matrix = coo_array((np.ones(len(rows), dtype=bool), links), shape=(len(first), len(first)))
    component = connected_components(matrix, directed=False)[1][first]
    _, start, index = np.unique(component, return_index=True, return_inverse=True)
    return np.asarray(start[index], dtype=np.int64)


def find_pseudo_subjects(store: Store) -> Rows:
    """Cluster the similar faces of a store, or load the clusters found before.

    Samples of one clip, and of one subject where some are known, are in one cluster. The clusters are kept in the
    store's folder.

    Parameters
    ----------
    store : Store
        Prepared images or clips.

    Returns
    -------
    int64 array of shape (N,)
        For every row the first row of its cluster, which may be itself.

    Raises
    ------
    InputError
        If the samples are sequences of numbers.
    """
    if store.images is None:
        raise InputError(
            "pseudo-subjects are clusters of similar faces, but these are sequences of numbers",
            "Set protocol.by: auto.",
        )
    file = store.path / f"pseudo-subjects-{_version()}.npy"
    if file.is_file():
        kept = np.load(file, allow_pickle=False)
        if kept.shape == (len(store),):
            return np.asarray(kept, dtype=np.int64)
    first = cluster_vectors(embed_faces(store.images), THRESHOLD)
    for column in ("clip", "subject"):
        known = np.flatnonzero(store.manifest.table[column].notna())
        names = store.manifest.table[column].iloc[known].astype(str)
        _, start, index = np.unique(names, return_index=True, return_inverse=True)
        first = _join(first, known, known[start[index]])
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, first)
    return first


def _version() -> str:
    """Return a digest of the embedding and the threshold."""
    model = Path(__file__).parent / "face_models" / f"{MODEL}.onnx"
    return hashlib.blake2b(model.read_bytes() + str(THRESHOLD).encode(), digest_size=6).hexdigest()
