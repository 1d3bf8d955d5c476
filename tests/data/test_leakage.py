"""The check finds what was planted, and nothing else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

from evenface.config.recipe import Protocol
from evenface.data.leakage import (
    check_leakage,
    copies_across,
    first_identical_rows,
    grey_thumbnails,
    near_pairs,
    perceptual_hashes,
)
from evenface.data.manifest import Manifest, make_table
from evenface.data.splits import split_manifest
from evenface.utils.errors import InputError


def pictures(count, size=48, channels=1, seed=0):
    """Smooth random pictures: no two alike, none like its mirror."""
    rng = np.random.default_rng(seed)
    waves = np.zeros((count, size, size))
    waves[:, :7, :7] = rng.normal(size=(count, 7, 7)) / (1 + np.arange(7)[:, None] + np.arange(7))
    smooth = scipy.fft.idctn(waves, axes=(1, 2))
    smooth -= smooth.min(axis=(1, 2), keepdims=True)
    smooth *= 255 / smooth.max(axis=(1, 2), keepdims=True)
    return np.repeat(smooth[..., None], channels, axis=-1).astype(np.uint8)


def manifest_of(count, side=None, subjects=None, clips=None, labels=None):
    labels = np.arange(count) % 2 if labels is None else labels
    rows = [{"sample": f"s{i:03d}", "path": f"{i}.png", "label": int(labels[i])} for i in range(count)]
    for row, *facts in zip(rows, *(x for x in (side, subjects, clips) if x is not None), strict=True):
        names = [n for n, x in (("split", side), ("subject", subjects), ("clip", clips)) if x is not None]
        row.update(zip(names, facts, strict=True))
    return Manifest(make_table(rows), ("calm", "pain"), "test", Path())


def halves(count):
    return ["train"] * (count // 2) + ["test"] * (count - count // 2)


def test_nothing_is_found_where_nothing_is_wrong():
    found = check_leakage(manifest_of(40, halves(40)), pictures(40))
    assert not found.leaks
    assert (
        found.lines()[0]
        == "leakage: none found: 40 images, none in both sets; subjects unknown, so not checked (train 20, test 20)"
    )
    assert found.surplus == len(found.near) == len(found.missing) == 0
    named = check_leakage(manifest_of(40, halves(40), [f"s{i // 4}" for i in range(40)]), pictures(40))
    assert "none found: 40 images, none in both sets; 10 subjects, none in both sets" in named.lines()[0]


def test_planted_copies_are_found_and_counted():
    images = pictures(40)
    images[25], images[30], images[31], images[7] = images[3], images[4], images[4], images[6]
    found = check_leakage(manifest_of(40, halves(40)), images)
    assert found.across() == {("train", "test"): 3}
    assert found.surplus == 4
    assert {name: len(table) for name, table in found.tables().items() if len(table)} == {"copies": 7, "conflicts": 5}
    assert found.copies.groupby("group")["row"].apply(list).tolist() == [[3, 25], [4, 30, 31], [6, 7]]
    assert found.pairs().tolist() == [[6, 7], [3, 25], [4, 30], [4, 31]]
    assert found.pairs().tolist() == copies_across(images, manifest_of(40)).tolist()
    assert "3 test images also in train" in found.lines()[0]
    assert len(found.near) == 0


def test_copies_with_different_labels_are_conflicts():
    images, labels = pictures(10), np.arange(10) % 2
    images[5], images[4] = images[2], images[0]  # 2 and 5 differ in label, 0 and 4 do not
    found = check_leakage(manifest_of(10, labels=labels), images)
    assert sorted(found.conflicts["row"]) == [2, 5]
    assert found.lines()[0].startswith("leakage: not checked")


@pytest.mark.parametrize("channels", [1, 3])
def test_near_duplicates_and_mirrors_are_found(channels):
    images = pictures(40, channels=channels)
    rng = np.random.default_rng(1)
    images[21] = np.clip(images[3] * 0.7 + 20 + rng.normal(size=images[3].shape) * 3, 0, 255)
    images[25] = images[5, :, ::-1]
    images[30] = np.clip(images[6, :, ::-1] * 0.8 + rng.normal(size=images[3].shape) * 3, 0, 255)
    found = check_leakage(manifest_of(40, halves(40)), images)
    got = found.near[["row_1", "row_2", "mirrored"]].to_numpy().tolist()
    assert got == [[3, 21, False], [5, 25, True], [6, 30, True]]
    assert found.near_across() == {("train", "test"): 3}
    assert "3 pairs, 2 of them mirrored" in " ".join(found.lines())
    assert found.pairs(near=True).tolist() == [[3, 21], [5, 25], [6, 30]]
    assert copies_across(images, manifest_of(40), near=True).tolist() == [[3, 21], [5, 25], [6, 30]]


def test_a_picture_with_an_equal_is_not_counted_again_as_near():
    images = pictures(20)
    images[12] = images[3]
    images[4] = np.clip(images[3] * 0.9, 0, 255)
    found = check_leakage(manifest_of(20, halves(20)), images)
    assert found.across() == {("train", "test"): 1}
    assert found.near_across() == {}
    assert len(found.near) == 2


def test_pictures_of_one_colour_are_not_near_each_other():
    images = pictures(10)
    images[2], images[7] = 10, 11
    assert len(check_leakage(manifest_of(10), images).near) == 0


def test_frames_of_one_person_on_one_side_are_not_listed():
    images = pictures(12)
    for i in (1, 2, 11):
        images[i] = np.clip(images[0] * (1 - i / 50), 0, 255)
    subjects = ["ann"] * 6 + ["bob"] * 5 + ["ann"]
    found = check_leakage(manifest_of(12, halves(12), subjects=subjects), images)
    assert found.near[["row_1", "row_2"]].to_numpy().tolist() == [[0, 11], [1, 11], [2, 11]]
    assert found.subjects.to_dict("records") == [{"name": "ann", "train": 6, "validation": 0, "test": 1}]
    assert "1 subject in more than one set" in found.lines()[0]


def test_clips_on_both_sides_and_missing_classes_are_found_without_pictures():
    clips = ["a"] * 4 + ["b"] * 6
    found = check_leakage(manifest_of(10, ["train"] * 6 + ["test"] * 4, clips=clips, labels=[0, 1] * 3 + [0] * 4))
    assert found.clips["name"].tolist() == ["b"]
    assert found.missing.to_dict("records") == [{"side": "test", "label": "pain"}]
    assert "missing: the test set has no sample of pain" in found.lines()
    assert found.compared == 0


def test_unreadable_files_are_counted_by_reason():
    bad = pd.DataFrame({"sample": ["x", "y"], "path": ["x", "y"], "reason": ["truncated: a", "truncated: b"]})
    assert "unreadable: 2 files (2 truncated)" in check_leakage(manifest_of(4), quarantine=bad).lines()


def test_the_sides_of_a_split_are_used_and_dropping_copies_cleans_it():
    images = pictures(60)
    images[40:50] = images[:10]
    manifest = manifest_of(60)
    dirty = split_manifest(manifest, Protocol(test=0.5))
    assert check_leakage(manifest, images, split=dirty).leaks
    pairs = copies_across(images, manifest)
    for copies in ("drop-train", "drop-test"):
        clean = split_manifest(manifest, Protocol(test=0.5, validation=0.2, duplicates=copies), pairs)
        assert not check_leakage(manifest, images, split=clean).leaks


def test_clips_of_frames_and_landmarks_are_compared():
    clips = np.stack([pictures(10, seed=s) for s in range(3)], axis=1)
    clips[7] = clips[2]
    clips[8, 1] = np.clip(clips[3, 1] * 0.9, 0, 255)
    found = check_leakage(manifest_of(10), clips)
    assert found.copies["row"].tolist() == [2, 7]
    assert found.near[["row_1", "row_2"]].to_numpy().tolist() == [[3, 8]]
    points = np.random.default_rng(0).normal(size=(10, 3, 68, 2)).astype(np.float32)
    points[9] = points[1]
    assert check_leakage(manifest_of(10), points).copies["row"].tolist() == [1, 9]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_same_content_names_the_first_equal(values):
    images = np.array(values, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    assert first_identical_rows(images).tolist() == [values.index(v) for v in values]


@pytest.mark.parametrize("size", [20, 32, 48, 101])
def test_thumbnails_keep_the_mean_and_hashes_follow_the_transform(size):
    images = pictures(6, size=size, channels=3)
    small = grey_thumbnails(images)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), images.mean(axis=(1, 2, 3)), rtol=1e-4)
    for image, mirror, plain, turned in zip(small, small[:, :, ::-1], *perceptual_hashes(small), strict=True):
        for picture, value in ((image, plain), (mirror, turned)):
            waves = scipy.fft.dctn(picture, norm=None)[:8, :8]
            bits = (waves > np.median(waves.ravel()[1:])).ravel()
            got = np.unpackbits(np.array([value]).view(np.uint8)).astype(bool)
            assert np.count_nonzero(bits != got) <= 1  # the coefficient at the median itself may round


def test_near_pairs_equal_a_naive_search():
    images = pictures(60, seed=3)
    images[30:] = np.clip(images[:30] + np.random.default_rng(4).normal(size=images[:30].shape) * 60, 0, 255)
    got = near_pairs(images, 16, 0.8, lambda a, b: np.zeros(len(a), bool))
    small = grey_thumbnails(images)
    plain, turned = perceptual_hashes(small)
    expected = []
    for i in range(60):
        for j in range(i + 1, 60):
            for hashes, picture in ((plain, small[i]), (turned, small[i, :, ::-1])):
                bits = bin(int(hashes[i]) ^ int(plain[j])).count("1")
                if bits <= 16 and np.corrcoef(picture.ravel(), small[j].ravel())[0, 1] >= 0.8:
                    expected.append((i, j))
    assert len(expected) > 5
    assert sorted(zip(got.first.tolist(), got.second.tolist(), strict=True)) == sorted(set(expected))


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="3 images for 4 samples"):
        check_leakage(manifest_of(4), pictures(3))
    with pytest.raises(InputError, match="distance must be"):
        check_leakage(manifest_of(4), pictures(4), distance=65)


@pytest.mark.slow
def test_fer2013_has_280_test_pictures_in_train(real_data, tmp_path):
    archive = real_data / "fer2013" / "images.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    import tarfile

    from PIL import Image

    from evenface.data.datasets import read_dataset

    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    root = next(path.parent for path in tmp_path.rglob("train"))
    manifest = read_dataset("fer2013", root)
    images = np.stack([np.asarray(Image.open(root / path)) for path in manifest.table["path"]])[..., None]
    found = check_leakage(manifest, images)
    assert found.across() == {("train", "test"): 280}
    assert found.surplus == 1532
    assert "47 groups" in " ".join(found.lines())


def test_pseudo_subjects_are_listed_by_size_with_the_sets_they_are_in():
    clusters = np.arange(40)
    clusters[[0, 1, 39]] = 0  # two of training, one of test
    clusters[[5, 6]] = 5
    clusters[[20, 21, 22, 23]] = 20
    manifest, images = manifest_of(40, halves(40)), pictures(40)
    found = check_leakage(manifest, images, pseudo_subjects=clusters)
    line, proposal = found.lines()[-2:]
    assert line == (
        "pseudo-subjects: 34 clusters of similar faces, 3 of several faces (largest 4, 3, 2); 1 in more than one set"
    )
    assert "guess by similarity" in proposal
    assert "protocol.by=pseudo-subject" in proposal
    table = found.tables()["pseudo_subjects"]
    assert table.groupby("group")["row"].agg(list).tolist() == [[20, 21, 22, 23], [0, 1, 39], [5, 6]]
    assert not found.leaks, "a proposal is no evidence of leakage"
    alone = check_leakage(manifest, images, pseudo_subjects=np.arange(40)).lines()[-1]
    assert alone == "pseudo-subjects: 40 clusters of similar faces, 0 of several faces; 0 in more than one set"
    assert "pseudo_subjects" not in check_leakage(manifest, images).tables()
