"""The audit finds planted augmentation and changed labels, and nothing in clean data."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from test_leakage import pictures
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.data.dataset_audit import Release, base_name, named_copies, rotate, rotated_pairs
from evenface.utils.errors import InputError


def sides(count):
    return np.array(["train"] * (count // 2) + ["test"] * (count - count // 2), dtype=object)


@pytest.mark.parametrize("angle", [-20, 10, 90, 33])
def test_rotation_is_that_of_scipy_within_the_disc(angle):
    small = pictures(3, 32)[..., 0].astype(np.float32)
    expected = ndimage.rotate(small, angle, axes=(1, 2), reshape=False, order=1, mode="nearest")
    y, x = np.mgrid[:32, :32] - 15.5
    inside = np.hypot(x, y) < 15
    np.testing.assert_allclose(rotate(small, angle)[:, inside], expected[:, inside], atol=0.5)


@given(st.integers(-30, 30).filter(lambda angle: abs(angle) > 4), st.booleans(), st.booleans())
def test_rotated_copies_across_sets_are_found_whatever_the_angle(angle, mirrored, across):
    images = pictures(12, 64, seed=2)[..., 0]
    copy = images[2, :, ::-1] if mirrored else images[2]
    images[9 if across else 4] = ndimage.rotate(copy, angle, reshape=False, order=1, mode="nearest")
    small = images.reshape(12, 32, 2, 32, 2).mean(axis=(2, 4)).astype(np.float32)
    found = rotated_pairs(small, sides(12))
    assert found[["first", "second"]].to_numpy().tolist() == ([[2, 9]] if across else [])
    if across:
        assert abs(abs(found["angle"].iloc[0]) - abs(angle)) <= 5
        assert bool(found["mirrored"].iloc[0]) == mirrored


@given(
    st.from_regex(r"[a-eg-z]{2}[0-9]{1,4}", fullmatch=True),
    st.sampled_from(["aug_{}", "{}_flip", "{}_rot90", "flipped_{}", "{}_bright", "{}-hflip", "{} (1)", "{} - Copy"]),
)
def test_a_marked_name_has_the_base_of_its_original(base, pattern):
    assert base_name(f"test/happy/{pattern.format(base)}.png")[:2] == (base, True)
    assert base_name(f"{base}.jpg") == (base, False, False)


@pytest.mark.parametrize(
    ("paths", "where", "found"),
    [
        (["a.png", "a_flip.png"], ["train", "test"], [(0, 1)]),
        (["a_flip.png", "a.png"], ["train", "test"], [(1, 0)]),
        (["a.png", "a_flip.png", "b.png"], ["train", "train", "test"], []),
        (["a.png", "a_flip.png", "a.png"], ["train", "train", "test"], []),  # the copy is of its own set
        (["a_flip.png", "a_rot90.png"], ["train", "test"], [(0, 1)]),
        (["a (1).png", "a (2).png"], ["train", "test"], []),  # how a file manager numbers any files
        (["a.png", "a (2).png"], ["train", "test"], [(0, 1)]),
        (["a_jpg.rf.0123456789ab.jpg", "a_jpg.rf.ba9876543210.jpg"], ["train", "test"], [(0, 1)]),
        (["a.png", "a_flip.png"], ["", ""], [(0, 1)]),
        (["flip.png", "flip2.png"], ["train", "test"], []),
    ],
)
def test_pairs_by_name(paths, where, found):
    label, side = np.array(["x"] * len(paths), dtype=object), np.array(where, dtype=object)
    assert named_copies(paths, label, side) == found
    if len(paths) == 2:
        assert named_copies(paths, np.array(["x", "y"], dtype=object), side) == []


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A clean dataset in two sets, and one with a rotated, a mirrored and a darker copy and a changed label."""
    folder, images = tmp_path_factory.mktemp("faces"), pictures(16)[..., 0]
    for name in ("clean", "dirty"):
        for row, image in enumerate(images):
            label = ("happy", "sad")[row % 2 if (name, row) != ("dirty", 3) else 0]
            path = folder / name / ("train" if row < 8 else "test") / label / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    test = folder / "dirty" / "test" / "happy"
    Image.fromarray(ndimage.rotate(images[0], 12, reshape=False, order=1, mode="nearest")).save(test / "x.png")
    Image.fromarray(np.ascontiguousarray(images[2][:, ::-1])).save(test / "y.png")
    Image.fromarray((images[4] * 0.7).astype(np.uint8)).save(test / "z.png")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENFACE_CACHE", str(tmp_path / "cache"))


def test_a_clean_dataset_is_clean_and_its_digests_are_those_of_its_pixels(faces, tmp_path):
    result = CliRunner().invoke(app, ["audit", "dataset", str(faces / "clean"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "verdict: nothing was found that speaks against the use of this dataset" in result.output
    assert "changed copies in two sets: none found" in result.output
    table = pd.read_csv(tmp_path / "out" / "digests.csv")
    image = Image.open(faces / "clean" / "train" / "happy" / "0.png").convert("RGB")
    assert hashlib.sha256(b"48x48" + image.tobytes()).hexdigest() in set(table.query("side == 'train'")["digest"])
    assert len(table) == 16


def test_a_dataset_that_was_augmented_and_relabelled_is_found(faces, tmp_path):
    ef.audit_dataset(faces / "clean", out=tmp_path / "official")
    found = ef.audit_dataset(faces / "dirty", official=tmp_path / "official" / "digests.csv", out=tmp_path / "out")
    names = found.augmented[["sample_1", "sample_2"]].map(lambda name: name.rpartition("/")[2].removesuffix(".png"))
    changes = found.augmented["change"].str.partition(" by")[0]
    assert {(*sorted(pair), kind) for pair, kind in zip(names.to_numpy().tolist(), changes, strict=True)} == {
        ("0", "x", "rotated"),
        ("2", "y", "mirrored"),
        ("4", "z", "changed in brightness or contrast"),
    }
    differing = found.official[found.official["difference"] != "unknown"]
    assert differing[["side", "label", "official_label", "difference"]].to_numpy().tolist() == [
        ["train", "happy", "sad", "label"]
    ]
    assert found.matched == 16
    assert len(found.official) == 1 + 3
    verdicts = " ".join(found.verdicts())
    assert "37.5% of train are changed copies of images in another set: it was probably augmented before" in verdicts
    assert "labels were changed" in verdicts
    assert "official release: 16 samples are in it, 3 are not; 1 differ in label" in found.lines()
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"augmented.csv", "official.csv", "copies.csv"}


def test_a_few_changed_copies_are_not_taken_for_augmentation(faces):
    found = ef.audit_dataset(faces / "dirty")
    many = pd.concat([found.digests, pd.DataFrame({"digest": "0", "label": "sad", "side": ["test"] * 50})])
    verdicts = " ".join(replace(found, digests=many).verdicts())
    assert "37.5% of train" in verdicts  # the larger share
    more = pd.concat([many, pd.DataFrame({"digest": "0", "label": "sad", "side": ["train"] * 80})])
    verdicts = " ".join(replace(found, digests=more).verdicts())
    assert "4.9% of test are changed copies of images in another set: results are slightly too high" in verdicts
    assert "augmented before" not in verdicts


def test_digests_of_files_are_known_too(faces, tmp_path):
    rows = [
        (hashlib.sha256(path.read_bytes()).hexdigest(), path.parent.name, "train")
        for path in sorted((faces / "clean").rglob("*.png"))
    ]
    pd.DataFrame(rows, columns=["digest", "label", "side"]).to_csv(tmp_path / "o.csv", index=False)
    found = ef.audit_dataset(faces / "clean", official=tmp_path / "o.csv")
    assert found.matched == 16
    assert set(found.official["difference"]) == {"side"}
    assert set(found.official["side"]) == {"test"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "no column digest"),
        ("digest,label\nxyz,happy\n", "is not a SHA-256 digest"),
        (f"digest,label,side\n{'0' * 64},happy,elsewhere\n", "unknown set"),
    ],
)
def test_a_table_that_is_no_release_is_refused(text, says, tmp_path):
    (tmp_path / "o.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        Release.load(tmp_path / "o.csv")
