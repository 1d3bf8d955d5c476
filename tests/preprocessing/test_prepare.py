"""What a picture becomes in a store, and when a store is made."""

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stores import folder_of, manifest_of, no_decoding, picture, pixels, save

from evenface.preprocessing import image as read
from evenface.preprocessing import worker
from evenface.preprocessing.image import fit
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import IMAGES, Store
from evenface.preprocessing.target import Target
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")

# --- what a picture becomes ---------------------------------------------------------------------------------------


def test_the_store_holds_the_files_pixels_in_the_manifests_order(tmp_path):
    manifest = folder_of(tmp_path / "faces", 5)
    store = prepare(manifest, tmp_path / "stores", size=12)
    assert store.images.shape == (5, 1, 12, 12, 1)
    for i in range(5):
        np.testing.assert_array_equal(store.images[i, 0, :, :, 0], np.asarray(picture(i)))
    assert store.summary() == "5 faces"
    assert not store.images.flags.writeable


def test_the_same_samples_as_levels_have_a_store_of_their_own(tmp_path):
    manifest = folder_of(tmp_path / "faces", 5)
    for task in ("classification", "ordinal", "classification"):
        store = prepare(replace(manifest, task=task), tmp_path / "stores", size=12)
        assert (store.manifest.task, Store.open(store.path).manifest.task) == (task, task)


def test_every_mode_gives_the_colours_that_were_painted(tmp_path):
    red, grey = (200, 40, 10), (90, 90, 90)
    luma = round((200 * 299 + 40 * 587 + 10 * 114) / 1000)
    colour = Image.new("RGB", (6, 6), red)
    clear = Image.new("RGBA", (6, 6), (*red, 0))
    half = Image.new("RGBA", (6, 6), (*red, 128))
    keyed = Image.new("RGB", (6, 6), red)
    cases = {
        "rgb.png": (colour, {}, red, luma),
        "palette.png": (colour.convert("P", palette=Image.Palette.ADAPTIVE), {}, red, luma),
        "grey.png": (Image.new("L", (6, 6), 90), {}, grey, 90),
        "bit.png": (Image.new("1", (6, 6), 1), {}, (255, 255, 255), 255),
        "clear.png": (clear, {}, (128, 128, 128), 128),
        "half.png": (half, {}, (164, 84, 69), None),
        "keyed.png": (keyed, {"transparency": red}, (128, 128, 128), 128),
        "clear.gif": (Image.new("P", (6, 6), 0), {"transparency": 0}, (128, 128, 128), 128),
        "cmyk.tif": (Image.new("CMYK", (6, 6), (0, 0, 0, 165)), {}, grey, 90),
        "sixteen.png": (Image.fromarray(np.full((6, 6), 90 * 257, np.uint16)), {}, grey, 90),
        "sixteen.tif": (Image.fromarray(np.full((6, 6), 65535, np.uint16)), {}, (255, 255, 255), 255),
        "integer.tif": (Image.fromarray(np.full((6, 6), 90 * 257, np.int32)), {}, grey, 90),
    }
    for name, (image, options, rgb, light) in cases.items():
        path = save(tmp_path / name, image, **options)
        found = pixels(path, 3, 4).reshape(-1, 3).astype(int)
        assert np.abs(found - np.array(rgb)).max() <= 1, name
        if light is not None:
            assert np.abs(pixels(path, 1, 4).astype(int) - light).max() <= 1, name


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_cameras_orientation_is_undone(tmp_path, kind, turn):
    upright = np.zeros((32, 32), np.uint8)
    upright[:8, :] = 120  # a bar on top, its left end bright
    upright[:8, :8] = 250
    # how the sensor stored it, from the EXIF table: 0th row and 0th column of the file are ...
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
              6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1)}[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"quality": 95} if kind == "jpg" else {}
    path = save(tmp_path / f"a.{kind}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif, **options)
    found = pixels(path, 1, 32)[:, :, 0].astype(int)
    assert np.abs(found - upright).max() < 30


def test_broken_exif_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path / "a.jpg", picture(1), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xffgarbage")
    with read.quiet_pillow():
        assert pixels(path, 1, 12).std() > 10


def test_shrinking_averages_and_does_not_pick_single_pixels(tmp_path):
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    path = save(tmp_path / "a.png", Image.fromarray(checks.astype(np.uint8)))
    assert np.abs(pixels(path, 1, 16).astype(int) - 127).max() <= 3


def test_the_middle_square_is_kept_and_nothing_is_squashed(tmp_path):
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    for image in (wide, wide.T):
        path = save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(image)))
        assert pixels(path, 1, 10).min() == 255


@given(st.integers(1, 1000), st.integers(1, 40), st.booleans(), st.sampled_from([1, 3]), st.integers(1, 33))
def test_any_shape_of_one_colour_stays_that_colour(long, short, upright, channels, size):
    image = Image.new("RGB", (short, long) if upright else (long, short), (77, 77, 77))
    made = np.asarray(fit(image, Target(size, channels)))
    assert made.shape[:2] == (size, size)
    assert (made == 77).all()


# --- rows of a table ----------------------------------------------------------------------------------------------


def test_rows_of_the_official_table_are_read_by_number(tmp_path):
    faces = [np.random.default_rng(i).integers(0, 256, (4, 4)) for i in range(4)]
    lines = ["emotion,pixels,Usage", *(f'0,"{" ".join(map(str, face.ravel()))}",Training' for face in faces)]
    lines.insert(2, "")  # a blank line is no row
    lines += ["0,1 2 3,Training", "0,1 2 3 x,Training", "0,1 2 3 256,Training", "0,,"]
    (tmp_path / "fer2013.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    order = [3, 0, 2, 1, 4, 5, 6, 7, 8]
    manifest = manifest_of(tmp_path, ["fer2013.csv"] * 9, start=order, end=[row + 1 for row in order])
    store = prepare(manifest, tmp_path / "stores", size=4)
    assert len(store) == 4
    for image, row in zip(store.images, order, strict=False):
        np.testing.assert_array_equal(image[0, :, :, 0], faces[row])
    assert [reason.split(":")[0] for reason in store.quarantine["reason"]] == ["corrupt"] * 4 + ["no row"]
    assert "3 pixels make no square" in store.quarantine["reason"][0]


# --- made once ----------------------------------------------------------------------------------------------------


def test_a_second_call_decodes_nothing_whether_files_were_touched_or_moved(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 6)
    first = prepare(manifest, tmp_path / "stores", size=8)
    no_decoding(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "hash_files", None)  # not even the bytes are looked at
        assert prepare(manifest, tmp_path / "stores", size=8).key == first.key
    for file in (tmp_path / "faces").iterdir():
        os.utime(file, (1, 1))
    assert prepare(manifest, tmp_path / "stores", size=8).key == first.key
    (tmp_path / "faces").rename(tmp_path / "moved")
    moved = prepare(manifest_of(tmp_path / "moved", list(manifest.table["path"])), tmp_path / "stores", size=8)
    assert moved.key == first.key
    assert moved.manifest.root == tmp_path / "moved"


def test_other_bytes_labels_or_settings_make_another_store(tmp_path):
    manifest = folder_of(tmp_path / "faces", 4)
    names = list(manifest.table["path"])
    keys = [prepare(manifest, tmp_path / "stores", size=8).key]
    keys.append(prepare(manifest, tmp_path / "stores", size=9).key)
    keys.append(prepare(manifest, tmp_path / "stores", size=8, channels=3).key)
    keys.append(prepare(manifest_of(tmp_path / "faces", names, [1, 1, 0, 0]), tmp_path / "stores", size=8).key)
    file = tmp_path / "faces" / names[0]
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # same size, and the old time put back, as unpacking an archive does
    time.sleep(0.02)
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    keys.append(prepare(manifest, tmp_path / "stores", size=8).key)
    assert len(set(keys)) == 5


def test_processes_and_chunks_do_not_change_a_byte(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 40)
    monkeypatch.setattr("evenface.preprocessing.prepare.CHUNK_BYTES", 7 * 64)
    found = [prepare(manifest, tmp_path / str(n), size=8, workers=n).path for n in (0, 1, 2)]
    assert len({(path / IMAGES).read_bytes() for path in found}) == 1


def test_files_that_change_meanwhile_are_noticed(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 3)
    old = worker.read_samples

    def meddle(*rest):
        save(tmp_path / "faces" / "0001.png", picture(99, 20))
        return old(*rest)

    monkeypatch.setattr(worker, "read_samples", meddle)
    with pytest.raises(InputError, match="changed while they were read"):
        prepare(manifest, tmp_path / "stores", size=8)
    assert not list((tmp_path / "stores").glob("*/store.json"))


@pytest.mark.parametrize("harm", ["delete", "cut", "facts", "lone"])
def test_a_damaged_store_is_told_and_not_used(tmp_path, harm):
    store = prepare(folder_of(tmp_path / "faces", 3), tmp_path / "stores", size=8)
    if harm == "delete":
        (store.path / "manifest.parquet").unlink()
    elif harm == "cut":
        os.truncate(store.path / IMAGES, 150)
    elif harm == "facts":
        (store.path / "store.json").write_text("{")
    else:
        np.save(store.path / IMAGES, np.zeros((2, 1, 8, 8, 1), np.uint8))
    with pytest.raises(InputError):
        Store.open(store.path)


def test_real_faces_keep_their_pixels(real_data, tmp_path):
    import tarfile

    with tarfile.open(real_data / "fer2013" / "images.tar.xz") as archive:
        taken = []
        for member in archive:
            if member.isfile():
                taken.append(member.name)
                archive.extract(member, tmp_path / "faces", filter="data")
            if len(taken) == 20:
                break
    store = prepare(manifest_of(tmp_path / "faces", taken), tmp_path / "stores", size=48)
    for image, name in zip(store.images, taken, strict=True):
        with Image.open(tmp_path / "faces" / name) as original:
            np.testing.assert_array_equal(image[0, :, :, 0], np.asarray(original))
