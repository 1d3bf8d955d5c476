"""Points found in pictures and clips, and real ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numbered import manifest_of, stored
from PIL import Image

from evenface import api
from evenface.config import load_recipe
from evenface.config.recipe import Sequences
from evenface.preprocessing import clips, face_mesh, sequence_files
from evenface.preprocessing.detect_align import Face
from evenface.preprocessing.landmarks import NAMES
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.target import target_of
from evenface.reporting.contact_sheets import write_contact_sheets
from evenface.training.data import preparation

# --- points found in pictures -------------------------------------------------------------------------------------


def spot(image: Image.Image, *_) -> list[Face]:
    """Stand in for a detector: the face is what is bright."""
    rows, columns = np.nonzero(np.asarray(image)[:, :, 1] > 170)
    if not len(rows):
        return []
    x, y = columns.mean() + 0.5, rows.mean() + 0.5
    return [Face((x - 10, y - 10, x + 10, y + 10), 1.0, ((x - 5, y), (x + 5, y)))]


@pytest.fixture
def fake_mesh(monkeypatch):
    """Put all points where the square is, the eyes 10 pixels apart; of a very bright picture none are found."""

    def points(image, square):
        if np.asarray(image).mean() > 150:
            return None
        found = np.tile(np.float32([*square.centre, 0]), (468, 1))
        found[[33, 133], 0] -= 5
        found[[263, 362], 0] += 5
        return found

    monkeypatch.setattr(clips, "find_faces", spot)
    monkeypatch.setattr(face_mesh, "find_points", points)


def filmed(folder: Path, places: list[int | None]) -> str:
    """Write a folder of images, 128 by 64, with a bright square about each of these columns, or none."""
    folder.mkdir()
    for i, place in enumerate(places):
        pixels = np.full((64, 128, 3), 20, np.uint8)
        if place is not None:
            pixels[22:42, place - 10 : place + 10] = 230
        Image.fromarray(pixels).save(folder / f"f{i}.png")
    return folder.name


def test_points_are_shares_of_the_frame_on_the_frames_that_are_taken(tmp_path, fake_mesh):
    ways = [filmed(tmp_path / "a", list(range(20, 44, 2))), filmed(tmp_path / "b", [30, 40, 50])]
    manifest = manifest_of(tmp_path, ways, content="clips")
    store = stored(tmp_path, manifest, frames=4)
    assert (store.sequences.shape, store.points, store.middle) == ((2, 4, 468, 2), "mesh-468", 0.5)
    middle = store.sequences[:, :, 0]
    np.testing.assert_allclose(middle[0, :, 0], np.array([22, 28, 34, 40]) / 128, atol=1.5 / 128)
    np.testing.assert_allclose(
        middle[1, :, 0], np.interp([0, 2 / 3, 4 / 3, 2], range(3), [30, 40, 50]) / 128, atol=0.04
    )
    np.testing.assert_allclose(middle[..., 1], 32 / 64, atol=1e-6)
    assert store.manifest.table[["frames", "lost", "repeated"]].to_numpy().tolist() == [[12, 0, 0], [3, 0, 1]]
    level = stored(tmp_path, manifest, frames=4, normalise="scale", depth=True)
    np.testing.assert_allclose(level.sequences[:, :, 33, 0], -0.5, atol=1e-6)  # pixels are square, frames are not
    np.testing.assert_allclose(level.sequences[:, :, 0], 0, atol=1e-5)
    assert level.middle == 0.0
    assert len({store.key, level.key}) == 2


def test_frames_without_points_follow_the_clips_rules(tmp_path, fake_mesh):
    ways = [filmed(tmp_path / "a", [20, 30, None, None, 60, 70]), filmed(tmp_path / "b", [30] * 6),
            filmed(tmp_path / "c", [None] * 6)]  # fmt: skip
    manifest = manifest_of(tmp_path, ways, content="clips")
    hold = stored(tmp_path, manifest, frames=6)
    x = hold.sequences[0, :, 0, 0]
    assert x[1] == x[2] == x[3] < x[4]
    assert hold.manifest.table["lost"].tolist() == [2, 0]
    assert hold.quarantine["reason"].tolist() == ["no face found"]
    skip = stored(tmp_path, manifest, frames=4, missing_face="skip")
    np.testing.assert_allclose(skip.sequences[0, :, 0, 0] * 128, [20, 30, 60, 70], atol=6)
    assert skip.manifest.table["lost"].tolist() == [2, 0]
    aside = stored(tmp_path, manifest, frames=6, missing_face="quarantine")
    assert aside.quarantine["reason"].tolist() == ["face lost: on 2 of 6 frames", "no face found"]
    assert (
        stored(tmp_path, manifest, frames=6, max_missing=0.2).quarantine["reason"].tolist()[0].startswith("face lost")
    )


def test_stills_give_one_frame(tmp_path, fake_mesh):
    filmed(tmp_path / "a", [20, 40])
    Image.fromarray(np.full((64, 128, 3), 20, np.uint8)).save(tmp_path / "none.png")
    Image.fromarray(np.full((64, 128, 3), 230, np.uint8)).save(tmp_path / "bright.png")
    manifest = manifest_of(tmp_path, ["a/f0.png", "a/f1.png", "none.png", "bright.png"], content="stills")
    store = stored(tmp_path, manifest, frames=10)
    assert store.sequences.shape == (2, 1, 468, 2)
    np.testing.assert_allclose(store.sequences[:, 0, 0, 0], [20 / 128, 40 / 128], atol=1e-6)
    assert store.quarantine["reason"].tolist() == ["no face found", "no face found"]
    assert store.summary().startswith("2 sequences of 1 frame, mesh-468 (468 × 2), 2 skipped")
    (sheet, *_) = write_contact_sheets(
        manifest, target_of(manifest, size=8, sequences=Sequences(source="mesh")), tmp_path / "sheets"
    )
    assert (np.asarray(Image.open(sheet)) == (0x1A, 0x8F, 0x3C)).all(axis=-1).any()  # points are drawn


def test_a_recipe_says_how_sequences_are_made(tmp_path):
    recipe = load_recipe(
        {"name": "x", "data": {"source": "folder",
                               "sequences": {"source": "mesh", "sampling": "paper", "padding": "repeat"},
                               "clips": {"missing_face": "skip", "max_missing": 0.25}}},
        {"data.sequences.frames": 7},
    )  # fmt: skip
    target = target_of(manifest_of(tmp_path, ["a"], content="clips"), **preparation(recipe))
    spec = target.sequences
    assert (spec.frames, spec.sampling, spec.padding, spec.missing_face, spec.max_missing) == (
        7, "paper", "repeat", "skip", 0.25,
    )  # fmt: skip


# --- real ones ----------------------------------------------------------------------------------------------------


def test_real_pictures_give_points_by_any_number_of_processes(real_data, tmp_path):
    names = ["calm/single_face.jpg", "happy/single_face.jpg"]
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        shutil.copy(real_data / "clips" / "single_face.jpg", tmp_path / "data" / name)
    recipe = {
        "name": "x",
        "data": {"source": "folder", "root": str(tmp_path / "data"), "sequences": {"source": "mesh"}},
    }
    store = api.prepare(recipe, **{"data.sequences.depth": True})
    alone = stored(tmp_path, manifest_of(tmp_path / "data", names, content="stills"), depth=True)
    np.testing.assert_array_equal(store.sequences, alone.sequences)
    points = np.asarray(store.sequences[0, 0])
    assert (points[:, :2] > 0).all()
    assert (points[:, :2] < 1).all()
    assert points[33, 0] < points[263, 0]  # the person's right eye is on the left
    assert points[10, 1] < points[1, 1] < points[152, 1]  # forehead, nose, chin
    assert points[1, 2] < points[234, 2]  # the nose is nearer than the ear
    assert json.loads((store.path / "store.json").read_text())["mediapipe"]


def test_a_smile_widens_the_mouth_of_a_real_face(real_data, tmp_path):
    manifest = manifest_of(real_data / "clips", ["single_face.mp4"] * 2, content="clips", start=[0, 50], end=[2, 52])
    store = prepare(
        manifest, tmp_path, size=8, workers=0, sequences=Sequences(source="mesh", frames=2, blendshapes=True)
    )
    width = store.sequences[:, :, NAMES.index("mouth_width"), 0]
    assert width[1].min() > 1.15 * width[0].max()


def test_real_tracks_are_read_as_they_stand(real_data, tmp_path):
    values = np.load(real_data / "sequences" / "plsr_tracking.npz")["landmarks"]
    manifest = manifest_of(
        real_data / "sequences", ["plsr_tracking.npz"] * 40, "dlib-68", numbers=["landmarks"] * 40,
        start=[10 * i for i in range(40)], end=[10 * i + 10 for i in range(40)],
    )  # fmt: skip
    store = prepare(manifest, tmp_path, size=8, workers=0)
    np.testing.assert_array_equal(store.sequences, values.astype(np.float32))
    assert store.middle == 0.0
    sequence_files._file.cache_clear()
