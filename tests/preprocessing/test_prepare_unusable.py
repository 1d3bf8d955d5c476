"""Unusable images are skipped and invalid settings refused, each with its reason."""

import contextlib
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import (
    JPEG,
    PNG,
    TIFF,
    encoded,
    folder_of,
    manifest_of,
    picture,
    pixels,
    save,
)

from evenface.preprocessing import image, worker
from evenface.preprocessing.image import fit
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import Store
from evenface.preprocessing.target import Target
from evenface.utils.errors import InputError, SampleError

pytestmark = pytest.mark.usefixtures("forked_workers")


def bomb() -> bytes:
    """A valid PNG header of 20,000 by 20,000 pixels, and little else."""
    import struct
    import zlib

    body = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    data = zlib.compress(bytes(1000))
    content = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return b"\x89PNG\r\n\x1a\n" + header + content


BAD = {
    "empty.png": (b"", "empty"),
    "cut.png": (PNG[: len(PNG) // 2], "truncated"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "cut.tif": (TIFF[: len(TIFF) // 2], ("truncated", "corrupt")),
    "head.png": (PNG[:20], "truncated"),
    "magic.png": (PNG[:8] + bytes(90), "corrupt"),
    "flipped.png": (PNG[:60] + bytes(200) + PNG[260:], "corrupt"),
    "paper.jpg": (b"%PDF-1.7\n" + bytes(500), "not an image: a PDF document"),
    "words.jpg": (b"Dear reader,\nthis is no face. \xc3\xa4", "not an image: text"),
    "page.jpg": (b"<!DOCTYPE html><html>404</html>", "not an image: a web page"),
    "drawing.png": (b"<?xml version='1.0'?><svg/>", "not an image: an SVG drawing"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "not an image: a Git LFS pointer"),
    "zeros.png": (bytes(300), "not an image: only zero bytes"),
    "noise.png": (b"\xfe\xed\xfa\xce" * 50, "not an image: unknown bytes"),
    "film.jpg": (b"\0\0\0\x18ftypmp42" + bytes(50), "not an image: an MP4 video"),
    "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(50), "not an image: a HEIC image"),
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image: a PostScript document"),
    "bomb.png": (bomb(), "huge"),
    "sub": (None, "not a file"),
    "gone.png": (None, "missing"),
    "nothing.csv": (b"emotion,Usage\n0,Training\n", "no row"),
}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_kind_of_bad_file_is_skipped_with_its_reason(tmp_path, workers):
    root = tmp_path / "faces"
    (root / "sub").mkdir(parents=True)
    for name, (content, _) in BAD.items():
        if content is not None:
            (root / name).write_bytes(content)
    os.mkfifo(root / "pipe.png")
    for i in range(3):
        save(root / f"good{i}.png", picture(i))
    names = ["good0.png", *BAD, "good1.png", "pipe.png", "good2.png"]
    store = prepare(manifest_of(root, names), tmp_path / "stores", size=12, workers=workers)
    assert list(store.manifest.table["path"]) == ["good0.png", "good1.png", "good2.png"]
    for i in range(3):
        np.testing.assert_array_equal(store.images[i, 0, :, :, 0], np.asarray(picture(i)))
    reasons = dict(zip(store.quarantine["path"], store.quarantine["reason"], strict=True))
    assert set(reasons) == {*BAD, "pipe.png"}
    for name, (_, expected) in BAD.items():
        assert reasons[name].startswith(expected), (name, reasons[name])
    assert reasons["pipe.png"] == "not a file"
    assert store.summary().startswith(f"3 faces, {len(BAD) + 1} skipped (quarantine.csv: ")
    assert "were skipped" in store.manifest.notes[-1]


def test_a_wrong_suffix_on_a_real_picture_is_no_harm(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded("PNG", 12))
    np.testing.assert_array_equal(pixels(tmp_path / "a.jpg", 1, 12)[:, :, 0], np.asarray(picture(3)))


@given(st.data())
def test_damaged_bytes_never_raise_anything_but_a_reason(data):
    content = bytearray(data.draw(st.sampled_from([PNG, JPEG, TIFF, encoded("GIF"), encoded("WEBP"), encoded("BMP")])))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with worker.quiet_pillow(), contextlib.suppress(SampleError):
        assert len(fit(image._decode(bytes(content), None, Target(8, 3)), Target(8, 3)).tobytes()) == 192


def test_a_class_without_any_usable_sample_is_named(tmp_path):
    save(tmp_path / "a.png", picture(0))
    (tmp_path / "b.png").write_bytes(b"")
    store = prepare(manifest_of(tmp_path, ["a.png", "b.png"], [0, 1]), tmp_path / "stores", size=8)
    assert store.lost == ("pain",)
    assert store.summary() == "1 face, 1 skipped (quarantine.csv: 1 empty); no usable sample is left of pain"
    assert Store.open(store.path).lost == ("pain",)


def test_nothing_usable_is_an_error_with_the_first_reasons(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 2 samples is usable \(a.png: empty.*b.png: missing"):
        prepare(manifest_of(tmp_path, ["a.png", "b.png"]), tmp_path / "stores", size=8)
    assert not list((tmp_path / "stores").glob("*.partial"))


def test_an_image_that_crashes_its_process_is_skipped_alone(tmp_path, monkeypatch):
    names = folder_of(tmp_path / "faces", 9).table["path"].tolist()
    read = worker.read_sample
    monkeypatch.setattr(worker, "read_sample", lambda path, *rest: os.abort() if "0004" in path else read(path, *rest))
    store = prepare(manifest_of(tmp_path / "faces", names), tmp_path / "stores", size=12, workers=1)
    assert list(store.quarantine["sample"]) == ["s4"]
    assert store.quarantine["reason"][0] == "corrupt: it crashes the decoder"
    assert len(store) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [({"size": 0}, "size must be"), ({"size": 8, "channels": 2}, "channels"), ({"size": 8, "workers": -1}, "workers")],
)
def test_settings_out_of_range_are_refused(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        prepare(folder_of(tmp_path, 1), tmp_path / "stores", **options)


def test_clips_and_a_file_in_place_of_the_folder_are_refused(tmp_path):
    manifest = folder_of(tmp_path, 2)
    with pytest.raises(InputError, match="is a file"):
        prepare(manifest, tmp_path / "0000.png", size=8)
    clip = manifest_of(tmp_path, ["0000.png"], start=[0], end=[5])
    with pytest.raises(InputError, match="spans several frames"):
        prepare(clip, tmp_path / "stores", size=8)
