"""Clusters of similar faces: copies are together, and neither order nor blocks matter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evenface.data.datasets import read_dataset
from evenface.preprocessing import pseudo_subjects
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.pseudo_subjects import (
    cluster_vectors,
    embed_faces,
    find_pseudo_subjects,
)
from evenface.utils.errors import InputError


def partition(first):
    return {frozenset(np.flatnonzero(first == name).tolist()) for name in np.unique(first)}


def naive_clusters(vectors, threshold):
    """Breadth-first search over all pairs."""
    left, clusters = set(range(len(vectors))), set()
    while left:
        found, open_rows = set(), [min(left)]
        while open_rows:
            row = open_rows.pop()
            found.add(row)
            open_rows += [o for o in left - found if float(vectors[row] @ vectors[o]) >= threshold]
        clusters.add(frozenset(found))
        left -= found
    return clusters


def unit_vectors(seed, count, noise=0.3):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(6, 8))
    vectors = centres[random.integers(0, 6, count)] + noise * random.normal(size=(count, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([0.6, 0.9, 0.97]), st.sampled_from([3, 512]))
def test_clusters_are_the_connected_components_whatever_the_blocks(seed, count, threshold, block):
    vectors = unit_vectors(seed, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pseudo_subjects, "BLOCK", block)
        first = cluster_vectors(vectors, threshold)
    assert partition(first) == naive_clusters(vectors, threshold)
    assert all(first[row] == min(np.flatnonzero(first == first[row])) for row in range(count))


@given(st.integers(0, 10**6))
def test_the_order_of_the_rows_does_not_matter(seed):
    vectors = unit_vectors(seed, 30)
    order = np.random.default_rng(seed).permutation(30)
    shuffled = partition(cluster_vectors(vectors[order], 0.9))
    assert {frozenset(int(order[row]) for row in cluster) for cluster in shuffled} == partition(
        cluster_vectors(vectors, 0.9)
    )


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A manifest of 40 synthetic faces whose people are unknown, the last ten copies of the first, changed a little."""
    folder = tmp_path_factory.mktemp("demo")
    manifest = read_dataset("synthetic-demo", folder)
    manifest = manifest.take(np.arange(0, len(manifest), len(manifest) // 39)[:40])
    table = manifest.table.assign(subject=None, clip=None)
    changes = (
        lambda image: image,
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.point(lambda grey: 20 + 0.6 * grey),
    )
    for row in range(10):
        with Image.open(manifest.root / table["path"].iloc[row]) as image:
            changes[row % 3](image).save(manifest.root / table["path"].iloc[30 + row])
    return replace(manifest, table=table)


def stored(manifest, folder):
    return prepare(manifest, folder, size=48, channels=1)


def test_copies_mirrored_and_darker_faces_are_in_one_cluster(faces, tmp_path):
    store = stored(faces, tmp_path)
    first = find_pseudo_subjects(store)
    assert np.array_equal(first[30:], first[:10])
    assert len(np.unique(first)) > 20


def test_embeddings_are_unit_vectors_of_the_middle_frame(faces, tmp_path):
    images = np.asarray(stored(faces, tmp_path).images)[:3]
    vectors = embed_faces(images)
    assert vectors.shape == (3, 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    clips = np.stack([images[:, 0] * 0, images[:, 0], images[:, 0] * 0], axis=1)
    assert np.allclose(embed_faces(clips), vectors, atol=1e-5)
    colour = np.repeat(images, 3, axis=-1)
    assert np.allclose(embed_faces(colour), vectors, atol=1e-4)


def test_the_order_of_the_samples_does_not_matter(faces, tmp_path):
    order = np.random.default_rng(0).permutation(40)
    names = faces.table["sample"].to_numpy()
    straight = find_pseudo_subjects(stored(faces, tmp_path / "a"))
    shuffled = find_pseudo_subjects(stored(faces.take(order), tmp_path / "b"))
    assert {frozenset(names[list(c)]) for c in partition(straight)} == {
        frozenset(names[order][list(c)]) for c in partition(shuffled)
    }


def test_samples_of_a_clip_or_of_a_known_subject_are_in_one_cluster(faces, tmp_path):
    free = find_pseudo_subjects(stored(faces, tmp_path / "a"))
    table = faces.table.copy()
    clips, subjects = np.full(40, None, dtype=object), np.full(40, None, dtype=object)
    clips[[3, 20]], subjects[[20, 25]] = "c", "p"
    linked = replace(faces, table=table.assign(clip=clips, subject=subjects))
    first = find_pseudo_subjects(stored(linked, tmp_path / "b"))
    assert first[3] == first[20] == first[25]
    assert all(len({first[row] for row in cluster}) == 1 for cluster in partition(free))


def test_clusters_are_kept_beside_the_store(faces, tmp_path, monkeypatch):
    store = stored(faces, tmp_path)
    found = find_pseudo_subjects(store)
    monkeypatch.setattr(pseudo_subjects, "embed_faces", lambda _: pytest.fail("faces were embedded again"))
    assert np.array_equal(find_pseudo_subjects(store), found)
    (kept,) = store.path.glob("pseudo-subjects-*.npy")
    assert np.load(kept).dtype == np.int64


def test_sequences_of_numbers_have_no_faces_to_compare(faces, tmp_path):
    store = replace(stored(faces, tmp_path), images=None)
    with pytest.raises(InputError, match="sequences of numbers"):
        find_pseudo_subjects(store)
