"""Crops that follow a face through a clip, frames without one, sheets to look at, and real clips."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from films import about, make_video, manifest_of
from PIL import Image

from evenface.config.recipe import FaceCrop, FrameSampler
from evenface.data.manifest import Manifest
from evenface.preprocessing import clips
from evenface.preprocessing.detect_align import Face, check_detector, find_faces
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import Store
from evenface.preprocessing.target import target_of
from evenface.preprocessing.video import open_film
from evenface.reporting.contact_sheets import write_contact_sheets
from evenface.utils.errors import InputError

# --- frames without a face ----------------------------------------------------------------------------------------


def spot(image: Image.Image, *_) -> list[Face]:
    """Stand in for a detector: the face is what is bright."""
    rows, columns = np.nonzero(np.asarray(image)[:, :, 1] > 170)
    return [] if not len(rows) else [about(columns.mean() + 0.5, rows.mean() + 0.5, np.ptp(columns) + 1.0)]


def spotted(path: Path, places: list[int | None]) -> Path:
    """Write a clip with a bright square at these columns, or none."""
    frames = []
    for i, place in enumerate(places):
        pixels = np.full((64, 128, 3), 20 + i, np.uint8)
        if place is not None:
            pixels[20:40, place : place + 20] = 230
        frames.append(pixels)
    return make_video(path, frames, codec="ffv1")


@pytest.fixture
def fake_detector(monkeypatch):
    monkeypatch.setattr(clips, "find_faces", spot)


def crop_prepared(tmp_path, sampler: FrameSampler) -> Store:
    faces = FaceCrop(crop="face", margin=0)
    return prepare(
        manifest_of(tmp_path, ["a.mkv", "b.mkv"]), tmp_path / "stores", size=20, faces=faces, clips=sampler, workers=0
    )


def test_the_crop_follows_the_face_and_holds_where_it_is_lost(tmp_path, fake_detector):
    places = [*range(10, 50, 4), *[None] * 4, *range(50, 74, 4)]
    spotted(tmp_path / "a.mkv", places)
    spotted(tmp_path / "b.mkv", [30] * 20)
    store = crop_prepared(tmp_path, FrameSampler(frames=20, missing_face="hold"))
    light = store.images[0].mean(axis=(1, 2, 3))
    assert light[[i for i in range(20) if places[i] is not None]].min() > 220  # the face fills the square
    assert light[10:14].max() < 60  # what lies where it was
    assert store.manifest.table["lost"].tolist() == [4, 0]
    assert store.summary() == "2 samples of 20 frames, no face on 4 frames"
    assert "frames of clips without a face: 4, in 1 samples" in store.manifest.notes


def test_frames_without_a_face_are_left_out_or_cost_the_clip(tmp_path, fake_detector):
    spotted(tmp_path / "a.mkv", [10] * 6 + [None] * 4 + [10] * 2)
    spotted(tmp_path / "b.mkv", [30] * 12)
    store = crop_prepared(tmp_path, FrameSampler(frames=4, missing_face="skip"))
    assert store.images.min() > 220
    assert store.manifest.table["lost"].tolist() == [4, 0]
    for sampler in (
        FrameSampler(frames=6, missing_face="quarantine"),
        FrameSampler(frames=12, max_missing=0.3),
        FrameSampler(frames=12, missing_face="skip", max_missing=0.3),
    ):
        store = crop_prepared(tmp_path, sampler)
        assert store.manifest.table["path"].tolist() == ["b.mkv"]
        assert store.quarantine["reason"][0].startswith(("face lost: on 4 of 12", "face lost: on 2 of 6"))
    store = crop_prepared(tmp_path, FrameSampler(frames=2, sampling="windows"))
    assert store.manifest.table["start"].tolist() == [0, 2, 4, 10, 0, 2, 4, 6, 8, 10]  # those of the gap are left out


def test_no_face_in_any_frame_is_told(tmp_path, fake_detector):
    spotted(tmp_path / "a.mkv", [None] * 8)
    spotted(tmp_path / "b.mkv", [30] * 8)
    assert crop_prepared(tmp_path, FrameSampler(frames=4)).quarantine["reason"].tolist() == ["no face found"]


def test_further_faces_become_samples(tmp_path, monkeypatch):
    make_video(tmp_path / "a.mkv", 10)
    make_video(tmp_path / "b.mkv", 10)
    monkeypatch.setattr(clips, "find_faces", lambda *_: [about(20, 20, 30), about(50, 30, 20)])
    store = prepare(
        manifest_of(tmp_path, ["a.mkv", "b.mkv"]),
        tmp_path / "stores",
        size=8,
        faces=FaceCrop(crop="face", which="all"),
        clips=FrameSampler(frames=2),
        workers=0,
    )
    assert store.manifest.table["sample"].tolist() == ["s0", "s0#2", "s1", "s1#2"]
    assert store.manifest.table["face"].tolist() == [1, 2, 1, 2]
    assert any("further faces of a clip" in note for note in store.manifest.notes)


# --- contact sheets -----------------------------------------------------------------------------------------------


def test_contact_sheets_show_what_was_taken(tmp_path, fake_detector):
    spotted(tmp_path / "a.mkv", [*[10] * 10, *[None] * 2])
    (tmp_path / "b.mkv").write_bytes(b"")
    spotted(tmp_path / "c.mkv", [None] * 6)
    manifest = manifest_of(tmp_path, ["a.mkv", "b.mkv", "c.mkv"])
    target = target_of(
        manifest, size=20, channels=1, faces=FaceCrop(crop="face", margin=0), clips=FrameSampler(frames=12)
    )
    first, broken, without = write_contact_sheets(manifest, target, tmp_path / "sheets")
    assert first.name == "00000-s0.png"
    pixels = np.asarray(Image.open(first).convert("RGB"), int)

    def drawn(pixels, colour) -> int:
        return int((np.abs(pixels - colour).sum(axis=2) < 12).sum())

    green, red = (26, 143, 60), (208, 48, 32)
    assert drawn(pixels, green) > drawn(pixels, red) > 200
    assert Image.open(broken).size[1] < Image.open(without).size[1] < pixels.shape[0]
    still = Manifest(manifest.table, manifest.classes, "test", tmp_path)
    with pytest.raises(InputError, match="these are images"):
        write_contact_sheets(still, target_of(still, size=20), tmp_path / "sheets")


# --- real clips ---------------------------------------------------------------------------------------------------


def test_real_clips_come_out_right(real_data, tmp_path):
    names = ["single_face.mp4", "WolfgangLanger_Pexels.mp4", "face_noface.mov", "no_face.mp4"]
    manifest = manifest_of(real_data / "clips", names)
    sampler = FrameSampler(frames=8, max_missing=0.7)
    store = prepare(manifest, tmp_path, size=64, channels=3, faces=FaceCrop(crop="face"), clips=sampler, workers=1)
    assert store.manifest.table["path"].tolist() == names[:3]
    assert store.manifest.table["lost"].tolist() == [0, 0, 5]
    assert store.quarantine["reason"].tolist() == ["no face found"]
    for sample in store.images[:2]:  # each crop shows a face again, in its middle
        for frame in sample[::3]:
            (face, *_) = find_faces(Image.fromarray(frame).resize((256, 256)), "mediapipe")
            assert math.dist(face.centre, (128, 128)) < 40


def test_a_real_face_that_comes_back_is_the_same_face(real_data, tmp_path):
    face = [
        np.asarray(image) for _, image in open_film(str(real_data / "clips/single_face.mp4")).frames(range(0, 72, 4))
    ]
    away = [np.full_like(face[0], 90)] * 10
    make_video(tmp_path / "a.mkv", [*face[:9], *away, *(np.roll(image, 180, 1) for image in face[9:])], codec="ffv1")
    target = target_of(
        manifest_of(tmp_path, ["a.mkv"]),
        size=64,
        channels=3,
        faces=FaceCrop(crop="face"),
        clips=FrameSampler(frames=14),
    )
    plan = clips.plan_clip(str(tmp_path / "a.mkv"), None, None, target)
    (row,) = plan.rows
    assert len(plan.tracks) == 1
    assert row.seen.tolist() == [not 9 <= frame < 19 for frame in row.frames]
    assert row.squares[-1].centre[0] - row.squares[0].centre[0] == pytest.approx(180, abs=30)


def test_dlib_and_the_detector_see_the_same_eyes(real_data):
    pytest.importorskip("dlib")
    image = Image.open(real_data / "clips" / "single_face.jpg").convert("RGB")
    (by_detector, *_), (by_dlib, *_) = (find_faces(image, "mediapipe", who) for who in ("detector", "dlib"))
    assert by_dlib.box == by_detector.box
    for one, other in zip(by_dlib.eyes, by_detector.eyes, strict=True):
        assert 0 < math.dist(one, other) < 0.06 * by_detector.side


def test_without_dlib_it_is_said_how_to_install_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dlib" else found(name))
    with pytest.raises(InputError, match=r"pip install 'evenface\[dlib\]'.*non-commercial"):
        check_detector(FaceCrop(crop="face", landmarks="dlib"))
