"""Stores of clips."""

import os

import numpy as np
import pytest
from films import make_sound, make_video, manifest_of, number_of, painted, shade
from PIL import Image

from evenface.config.recipe import FaceCrop, FrameSampler
from evenface.data.manifest import Manifest, make_table
from evenface.preprocessing import clips
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import IMAGES, Store
from evenface.preprocessing.target import store_settings, target_of
from evenface.preprocessing.video import open_film
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")


def test_a_store_of_clips_holds_their_frames(tmp_path):
    make_video(tmp_path / "a.mp4", 30)
    make_video(tmp_path / "b.avi", 4)
    (tmp_path / "c").mkdir()
    for i in range(9):
        Image.fromarray(painted(i)).save(tmp_path / "c" / f"f{i}.png")
    manifest = manifest_of(tmp_path, ["a.mp4", "b.avi", "c", "a.mp4"], start=[None, None, None, 10], end=[None] * 4,
                           clip=[None, "second", None, None])  # fmt: skip
    store = prepare(manifest, tmp_path / "stores", size=24, channels=3, clips=FrameSampler(frames=5), workers=0)
    assert store.images.shape == (4, 5, 24, 24, 3)
    numbers = [[number_of(Image.fromarray(frame)) for frame in sample] for sample in store.images]
    expected = [[3, 9, 15, 21, 27], [0, 1, 2, 2, 3], [0, 2, 4, 6, 8], [12, 16, 20, 24, 28]]
    assert np.abs(np.array(numbers) - expected).max() <= 1
    table = store.manifest.table
    assert table["clip"].tolist() == ["s0", "second", "s2", "s3"]
    assert table["frames"].tolist() == [30, 4, 9, 20]
    assert table["start"].tolist() == [0, 0, 0, 10]
    assert table["end"].tolist() == [30, 4, 9, 30]
    assert table["repeated"].tolist() == [0, 1, 0, 0]
    assert store.summary() == "4 samples of 5 frames"
    assert any("fewer frames than are sampled" in note for note in store.manifest.notes)
    assert Store.open(store.path).manifest.content == "clips"


def test_windows_are_samples_of_their_own_that_share_the_clip(tmp_path):
    make_video(tmp_path / "a.mkv", 23)
    manifest = manifest_of(tmp_path, ["a.mkv", "a.mkv"], start=[2, 0], end=[22, 3], subject=["x", "y"])
    store = prepare(
        manifest, tmp_path / "stores", size=16, clips=FrameSampler(frames=4, sampling="windows", stride=2), workers=0
    )
    table = store.manifest.table
    assert table["sample"].tolist() == ["s0", "s0#2", "s1"]
    assert table["clip"].tolist() == ["s0", "s0", "s1"]
    assert table["subject"].tolist() == ["x", "x", "y"]
    assert table[["start", "end"]].to_numpy().tolist() == [[2, 9], [10, 17], [0, 3]]
    assert np.abs(store.images[1, :, 13, 8, 0] - [shade(i) for i in (10, 12, 14, 16)]).max() <= 3
    assert "3 samples are from 2 clips" in store.manifest.notes
    frames = prepare(
        manifest, tmp_path / "stores", size=16, clips=FrameSampler(frames=1, sampling="windows"), workers=0
    )
    assert frames.images.shape == (23, 1, 16, 16, 1)
    taken = manifest_of(tmp_path, ["a.mkv"], sample=["s#2"])
    with pytest.raises(InputError, match="s#2 is named as the further"):
        prepare(taken, tmp_path / "stores", size=16, clips=FrameSampler(frames=1, sampling="windows"), workers=0)


def test_squeezing_keeps_the_whole_frame(tmp_path):
    make_video(tmp_path / "a.mkv", 3, size=(96, 48))
    manifest = manifest_of(tmp_path, ["a.mkv"])
    whole, middle = (
        prepare(
            manifest,
            tmp_path / "stores",
            size=48,
            channels=3,
            faces=FaceCrop(crop=crop),
            clips=FrameSampler(frames=3),
            workers=0,
        ).images[0, 0]
        for crop in ("squeeze", "none")
    )
    image = next(open_film(str(tmp_path / "a.mkv")).frames([0]))[1]
    np.testing.assert_array_equal(whole, np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR)))
    np.testing.assert_array_equal(middle, np.asarray(image)[:, 24:72])


def test_stills_keep_their_stores(tmp_path):
    still = Manifest(make_table([{"sample": "a", "path": "a.png", "label": 0}]), ("x",), "test", tmp_path)
    assert store_settings(target_of(still, size=8), still) == [1, 8, 1, still.hash]
    facts = store_settings(target_of(still, size=8, faces=FaceCrop(crop="face"), clips=FrameSampler(frames=3)), still)[
        -1
    ]
    assert set(facts) == {"detector", "margin", "which", "alignment", "versions"}


def test_other_samplers_and_other_bytes_make_another_store(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(painted(i)).save(tmp_path / name / f"{name}{i}.png")
    manifest = manifest_of(tmp_path, ["a", "b"])

    def key(**options) -> str:
        return prepare(manifest, tmp_path / "stores", size=8, workers=0, **options).key

    keys = [
        key(),
        key(clips=FrameSampler(frames=4)),
        key(clips=FrameSampler(frames=4, missing_face="skip")),
        key(faces=FaceCrop(crop="squeeze")),
    ]
    assert key(clips=FrameSampler(frames=4)) == keys[1]
    Image.fromarray(painted(9)).save(tmp_path / "b" / "b1.png")
    keys.append(key())
    (tmp_path / "b" / "b0.png").rename(tmp_path / "a" / "b0.png")  # the same bytes in the same order
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_processes_and_files_for_large_clips_do_not_change_a_byte(tmp_path, monkeypatch):
    names = [make_video(tmp_path / f"{i}.mp4", 20 + i).name for i in range(5)]
    manifest, sampler = manifest_of(tmp_path, names), FrameSampler(frames=3, sampling="windows")
    found = [prepare(manifest, tmp_path / str(n), size=8, clips=sampler, workers=n).path for n in (0, 2)]
    monkeypatch.setattr(clips, "INLINE", 0)
    spilled = []
    old = clips._spilled
    monkeypatch.setattr(clips, "_spilled", lambda *rest: spilled.append(rest) or old(*rest))
    found.append(prepare(manifest, tmp_path / "spilled", size=8, clips=sampler, workers=0).path)
    assert len(spilled) == 5
    assert len({(path / IMAGES).read_bytes() for path in found}) == 1
    assert not list((tmp_path / "spilled").glob("*.spill"))


@pytest.mark.parametrize("workers", [0, 2])
def test_unusable_clips_are_skipped_with_a_reason_each(tmp_path, workers):
    make_video(tmp_path / "good.mp4", 12)
    make_video(tmp_path / "one.mkv", 1)
    cut = make_video(tmp_path / "cut.mp4", 12)
    os.truncate(cut, cut.stat().st_size // 2)
    make_sound(tmp_path / "sound.mp4")
    make_video(tmp_path / "dot.avi", [np.zeros((1, 1, 3), np.uint8)] * 3, codec="ffv1")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "words.mp4").write_text("Dear reader, this is no video.")
    (tmp_path / "folder").mkdir()
    bad = ["cut.mp4", "sound.mp4", "dot.avi", "empty.mp4", "words.mp4", "folder", "gone.mp4", "good.mp4"]
    names = ["good.mp4", *bad, "one.mkv"]
    manifest = manifest_of(tmp_path, names, start=[*[None] * 8, 12, None], end=[None] * 10)
    store = prepare(manifest, tmp_path / "stores", size=8, clips=FrameSampler(frames=4), workers=workers)
    assert store.manifest.table["path"].tolist() == ["good.mp4", "one.mkv"]
    assert store.manifest.table["repeated"].tolist() == [0, 3]
    assert store.quarantine["path"].tolist() == bad
    kinds = [reason.split(":")[0] for reason in store.quarantine["reason"]]
    assert kinds == [
        "truncated",
        "not a video",
        "too small",
        "empty",
        "not a video",
        "no frames",
        "missing",
        "no frame",
    ]
