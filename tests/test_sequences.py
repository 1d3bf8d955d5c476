"""Sequences of numbers: which frames, in what form, from what files, and what happens to broken ones."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evenface import workflows
from evenface.assembly import sequencing_of
from evenface.data.manifest import Manifest, make_table
from evenface.errors import InputError
from evenface.faces import building, clips, mesh, numbers, worker
from evenface.faces.align import Face
from evenface.faces.blendshapes import NAMES, blendshapes
from evenface.faces.points import normalised
from evenface.faces.prepare import prepare
from evenface.faces.sequences import Sequencing, held, places, sampled
from evenface.faces.sheets import write_sheets
from evenface.faces.store import Store
from evenface.faces.targets import target_of
from evenface.recipes import load_recipe
from evenface.training.batches import chosen_frames

UNITS = ["AU01_r", "AU02_r", "AU04_r", "AU01_c", "AU02_c", "AU04_c", "AU28_c"]


def manifest_of(
    root: Path, names: list[str], points: str = "features", content: str = "sequences", **columns
) -> Manifest:
    rows = [{"sample": f"s{i}", "path": name, "label": i % 2, "points": points} for i, name in enumerate(names)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return Manifest(make_table(rows), ("calm", "fear"), "test", root, content=content)


def stored(tmp_path: Path, manifest: Manifest, workers: int = 0, **how) -> Store:
    return prepare(manifest, tmp_path / "stores", size=8, workers=workers, sequences=Sequencing(**how))


def numbers_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


# --- which frames -------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from(["uniform", "paper"]), st.booleans())
def test_frames_are_taken_as_a_loop_over_the_definition_takes_them(count, frames, take, literal):
    values = numbers_of(count, 3, 2, seed=count)
    got = sampled(values, frames, take, "literal" if literal else "interpolate")
    for h in range(1, frames + 1):
        if count < frames and not literal:
            place = (h - 1) * (count - 1) / (frames - 1) if frames > 1 else 0.0
            low, share = int(place), place - int(place)
            wanted = values[low] if not share else (1 - share) * values[low] + share * values[low + 1]
        elif take == "paper":
            wanted = values[count - (frames - h) * math.floor(count / frames) - 1]
        elif count < frames:
            wanted = values[min(h, count) - 1]
        else:
            wanted = values[int(chosen_frames(count, frames)[h - 1])]
        np.testing.assert_allclose(got[h - 1], wanted, atol=1e-6)


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from(["uniform", "paper"]))
def test_places_rise_lie_within_and_end_where_they_must(count, frames, take):
    where = places(count, frames, take)
    assert (np.diff(where) >= 0).all()
    assert where.min() >= 0
    assert where.max() <= count - 1
    if take == "paper" and frames > 1:
        assert where[-1] == count - 1


def test_a_frame_without_a_face_has_the_last_one_or_the_first():
    values = np.arange(6.0)[:, None, None]
    seen = np.array([False, True, False, False, True, False])
    assert held(values, seen)[:, 0, 0].tolist() == [1, 1, 1, 1, 4, 4]


# --- position, scale, roll ----------------------------------------------------------------------------------------


def moved(points: np.ndarray, shift: tuple[float, float], scale: float, angle: float) -> np.ndarray:
    result = points.copy()
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = points[..., 0] * scale, points[..., 1] * scale
    result[..., 0], result[..., 1] = cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]
    result[..., 2] = points[..., 2] * scale
    return result


@given(st.sampled_from([("mesh-468", 468), ("dlib-68", 68)]), st.floats(-3, 3), st.floats(0.3, 4), st.floats(-3, 3))
def test_normalised_points_do_not_know_where_the_head_was(kind, shift, scale, angle):
    points = numbers_of(3, kind[1], 3, seed=1)
    forms = {how: normalised(points, kind[0], how) for how in ("position", "scale", "roll")}
    for how, form in forms.items():
        changed = moved(points, (shift, 2 * shift), 1 if how == "position" else scale, angle if how == "roll" else 0)
        np.testing.assert_allclose(normalised(changed, kind[0], how)[..., :2], form[..., :2], atol=2e-3)
    right, left = ((36, 39), (42, 45)) if kind[1] == 68 else ((33, 133), (362, 263))
    eyes = [forms["roll"][:, ends].mean(axis=1)[:, :2] for ends in (right, left)]
    np.testing.assert_allclose(eyes[0], [[-0.5, 0]] * 3, atol=1e-5)
    np.testing.assert_allclose(eyes[1], [[0.5, 0]] * 3, atol=1e-5)


def test_what_is_no_face_is_not_normalised():
    with pytest.raises(InputError, match="normalise: roll needs points of a face, and these"):
        Sequencing(points="openface-aus", normalise="roll")
    with pytest.raises(InputError, match="measured on MediaPipe's points"):
        Sequencing(points="dlib-68", blendshapes=True)
    with pytest.raises(InputError, match="there is no z in features"):
        Sequencing(points="features", depth=True)


def test_openings_follow_the_face_and_not_its_place():
    points = numbers_of(2, 468, 3, seed=2)
    before = dict(zip(NAMES, blendshapes(points)[..., 0].T, strict=True))
    there = blendshapes(moved(points, (5.0, -2.0), 3.0, 1.0))
    np.testing.assert_allclose(there[..., 0].T, list(before.values()), atol=1e-3)
    points[:, 159] = points[:, 145]  # the lid meets the other one
    points[:, 291, 1] = points[:, 13, 1] = points[:, 14, 1]
    after = dict(zip(NAMES, blendshapes(points)[..., 0].T, strict=True))
    np.testing.assert_allclose(after["right_eye_open"], 0, atol=1e-6)
    np.testing.assert_allclose(after["left_eye_open"], before["left_eye_open"], atol=1e-6)
    assert (after["right_eye_open"] != before["right_eye_open"]).all()


# --- files of numbers ---------------------------------------------------------------------------------------------


def write_units(path: Path, values: np.ndarray, separator: str = ", ", **further) -> None:
    lines = [separator.join([*further, *UNITS])]
    for i, row in enumerate(values):
        lines.append(separator.join([*(str(column[i]) for column in further.values()), *map(str, row)]))
    path.write_text("\n".join(lines) + "\n")


def test_openface_is_read_by_columns_whatever_separates_them(tmp_path):
    values = numbers_of(25, 7)
    write_units(tmp_path / "a.csv", values, frame=range(25), timestamp=range(25), success=[1] * 25)
    write_units(tmp_path / "b.csv", values, ";")
    store = stored(tmp_path, manifest_of(tmp_path, ["a.csv", "b.csv"], "openface-aus"), frames=5, take="paper")
    assert store.images is None
    assert (store.points, store.middle) == ("openface-aus", None)
    assert store.sequences.shape == (2, 5, 7, 1)
    for got in store.sequences:
        np.testing.assert_array_equal(got[..., 0], values[[4, 9, 14, 19, 24]])
    some = stored(tmp_path, manifest_of(tmp_path, ["a.csv"], "openface-aus", numbers=["AU*_r, AU28_c"]), frames=25)
    np.testing.assert_array_equal(some.sequences[0, :, :, 0], values[:, [0, 1, 2, 6]])


def test_the_same_points_are_read_from_every_kind_of_file(tmp_path):
    values = numbers_of(12, 68, 2)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", flat=values.reshape(12, 136), names=np.array(["x"]))
    columns = {f"{axis}_{i}": values[:, i, k] for k, axis in enumerate("xy") for i in range(68)}
    table = pd.DataFrame({"frame": range(12), **columns})
    table.to_parquet(tmp_path / "c.parquet")
    table.to_csv(tmp_path / "d.csv", index=False, sep="\t", float_format="%.9g")
    (tmp_path / "e").mkdir()
    for i in range(12):
        np.savetxt(tmp_path / "e" / f"S1_{i}_landmarks.txt", values[i])
    np.savez(tmp_path / "f.npz", wide=values[None].repeat(2, axis=0), other=values)
    names = ["a.npy", "b.npz", "c.parquet", "d.csv", "e"]
    store = stored(tmp_path, manifest_of(tmp_path, names, "dlib-68"), frames=12)
    assert store.middle == 0.5
    for got in store.sequences:
        np.testing.assert_allclose(got, values, rtol=1e-6)
    many = manifest_of(tmp_path, ["f.npz"], "dlib-68", numbers=["wide"], start=[14], end=[17])
    np.testing.assert_array_equal(stored(tmp_path, many, frames=3).sequences[0], values[2:5])
    assert stored(tmp_path, many, frames=3).manifest.table[["start", "end", "frames"]].to_numpy().tolist() == [
        [14, 17, 3]
    ]


def test_mesh_files_lose_irises_and_keep_z_if_it_is_wanted(tmp_path):
    values = numbers_of(4, 478, 3)
    np.save(tmp_path / "a.npy", values)
    manifest = manifest_of(tmp_path, ["a.npy"], "mesh-468")
    np.testing.assert_array_equal(stored(tmp_path, manifest, frames=4).sequences[0], values[:, :468, :2])
    np.testing.assert_array_equal(stored(tmp_path, manifest, frames=4, depth=True).sequences[0], values[:, :468])
    shapes = stored(tmp_path, manifest, frames=4, blendshapes=True)
    assert (shapes.points, shapes.sequences.shape, shapes.middle) == ("blendshapes", (1, 4, len(NAMES), 1), None)
    assert stored(tmp_path, manifest, frames=4, normalise="scale").middle == 0.0


def test_where_x_is_mirrored_about_is_seen_from_where_points_lie(tmp_path):
    np.save(tmp_path / "pixels.npy", 640 * numbers_of(3, 68, 2))
    np.save(tmp_path / "centred.npy", numbers_of(3, 68, 2) - 0.5)
    assert stored(tmp_path, manifest_of(tmp_path, ["pixels.npy"], "dlib-68")).middle is None
    assert stored(tmp_path, manifest_of(tmp_path, ["centred.npy"], "dlib-68")).middle == 0.0


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_set_aside_with_a_reason_each(tmp_path, workers):
    good = numbers_of(12, 7)
    write_units(tmp_path / "good.csv", good)
    write_units(tmp_path / "nan.csv", np.where(np.arange(84).reshape(12, 7) == 30, np.nan, good))
    write_units(tmp_path / "all_nan.csv", np.full((12, 7), np.nan))
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "no_rows.csv").write_text(",".join(UNITS) + "\n")
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "words.csv").write_text(",".join(UNITS) + "\n" + ",".join(["much"] * 7) + "\n")
    text = (tmp_path / "good.csv").read_text()
    (tmp_path / "cut.csv").write_text(text[: text.rindex("\n", 0, -1) + 8])
    (tmp_path / "fewer.csv").write_text("AU01_r,AU02_r\n1,2\n3,4\n")
    (tmp_path / "ragged.csv").write_text(text + "1,2,3,4,5,6,7,8,9\n")
    (tmp_path / "note.txt").write_text("Dear reader")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "two.npz", a=good, b=good)
    np.save(tmp_path / "cut.npy", good)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:200])
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04 and no more")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.save(tmp_path / "letters.npy", np.array([["a", "b"]]))
    expected = {
        "nan.csv": "not a number: in 1 frames, first in frame 4", "all_nan.csv": "not a number: in all frames",
        "empty.csv": "empty", "no_rows.csv": "no frames", "columns.csv": "wrong columns: no AU01_r",
        "words.csv": "not a number: in the column AU01_r", "cut.csv": "truncated",
        "fewer.csv": "wrong shape: 2 × 1 numbers a frame, 7 × 1 were expected", "ragged.csv": "corrupt",
        "note.txt": "not a file of numbers", "folder": "no frames", "two.npz": "wrong arrays: a, b",
        "cut.npy": "corrupt", "zip.npz": "corrupt", "objects.npy": "not numbers", "letters.npy": "not numbers",
        "gone.csv": "missing", "good.csv": "no frame: the file has 12 frames, asked for are 6 to 40",
    }  # fmt: skip
    names = ["good.csv", "good.csv", *expected]
    manifest = manifest_of(
        tmp_path, names, "openface-aus", start=[None, 6, *[None] * 17, 6], end=[None, 12, *[None] * 17, 40]
    )
    store = stored(tmp_path, manifest, workers)
    assert store.manifest.table["path"].tolist() == ["good.csv", "good.csv"]
    reasons = dict(zip(store.quarantine["path"], store.quarantine["reason"], strict=True))
    assert {name: reason[: len(expected[name])] for name, reason in reasons.items()} == expected
    assert store.manifest.table["repeated"].tolist() == [0, 4]
    assert any("fewer frames than are taken" in note for note in store.manifest.notes)
    assert store.summary().startswith("2 sequences of 10 frames, openface-aus (7 × 1), 18 set aside")


def test_too_few_points_and_no_z_are_told(tmp_path):
    np.save(tmp_path / "a.npy", numbers_of(4, 68, 2))
    np.save(tmp_path / "b.npy", numbers_of(4, 67, 2))
    assert stored(tmp_path, manifest_of(tmp_path, ["a.npy", "b.npy"], "dlib-68")).quarantine["reason"].tolist() == [
        "wrong shape: 4 × 67 × 2, 68 points a frame were expected"
    ]
    with pytest.raises(InputError, match=r"none of 1 samples is usable .*68 × 2 numbers a frame, 68 × 3 were expected"):
        stored(tmp_path, manifest_of(tmp_path, ["a.npy"], "dlib-68"), depth=True)


def test_frames_that_openface_did_not_see_are_lost(tmp_path):
    values, success = numbers_of(10, 7), [1, 1, 1, 0, 0, 0, 1, 1, 1, 1]
    write_units(tmp_path / "a.csv", values, success=success)
    write_units(tmp_path / "b.csv", values, success=[1] * 10)
    manifest = manifest_of(tmp_path, ["a.csv", "b.csv"], "openface-aus")
    hold = stored(tmp_path, manifest)
    np.testing.assert_array_equal(hold.sequences[0, :, :, 0], values[[0, 1, 2, 2, 2, 2, 6, 7, 8, 9]])
    assert hold.manifest.table["lost"].tolist() == [3, 0]
    assert "no face on 3 frames" in hold.summary()
    skip = stored(tmp_path, manifest, frames=7, lost="skip")
    np.testing.assert_array_equal(skip.sequences[0, :, :, 0], values[[0, 1, 2, 6, 7, 8, 9]])
    for how in ({"lost": "quarantine"}, {"lost_share": 0.2}, {"lost": "skip", "lost_share": 0.2}):
        assert stored(tmp_path, manifest, **how).quarantine["reason"].tolist() == ["face lost: on 3 of 10 frames"]


def test_a_manifest_must_say_what_its_numbers_are(tmp_path):
    np.save(tmp_path / "a.npy", numbers_of(4, 5))
    with pytest.raises(InputError, match="does not say what the points"):
        stored(tmp_path, manifest_of(tmp_path, ["a.npy"], ""))
    with pytest.raises(InputError, match="numbers must be the same in all rows"):
        stored(tmp_path, manifest_of(tmp_path, ["a.npy"] * 2, numbers=["a", "b"]))
    manifest = manifest_of(tmp_path, ["a.npy"])
    with pytest.raises(InputError, match="contact sheets show clips, and these are numbers"):
        write_sheets(manifest, target_of(manifest, size=8), tmp_path / "sheets")


def test_a_stopped_prepare_goes_on_to_the_same_bytes_and_settings_make_other_stores(tmp_path, monkeypatch):
    names = []
    for i in range(60):
        np.save(tmp_path / f"{i}.npy", numbers_of(12, 5, 2, seed=i))
        names.append(f"{i}.npy")
    (tmp_path / "7.npy").write_bytes(b"")
    manifest = manifest_of(tmp_path, names)
    whole = prepare(manifest, tmp_path / "whole", size=8, workers=2)
    monkeypatch.setattr(building, "SYNC_SECONDS", 0)
    old, read = worker.read_numbers, []

    def stops(path, *rest):
        if Path(path).name == "40.npy" and len(read) < 45:
            raise KeyboardInterrupt
        read.append(path)
        return old(path, *rest)

    monkeypatch.setattr(worker, "read_numbers", stops)
    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, tmp_path / "stores", size=8, workers=0)
    done = len(read)
    read.extend([""] * 45)
    resumed = prepare(manifest, tmp_path / "stores", size=8, workers=0)
    assert len(read) - 45 - done < 60 - 30
    for name in ("sequences.npy", "manifest.parquet", "quarantine.csv", "store.json"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()
    monkeypatch.setattr(worker, "read_numbers", old)
    keys = {
        stored(tmp_path, manifest, **how).key for how in ({}, {"take": "paper"}, {"short": "literal"}, {"frames": 9})
    }
    assert len(keys | {resumed.key}) == 4
    np.save(tmp_path / "3.npy", numbers_of(12, 5, 2))
    assert stored(tmp_path, manifest).key not in keys


def test_a_damaged_store_of_sequences_is_told(tmp_path):
    np.save(tmp_path / "a.npy", numbers_of(4, 5))
    store = stored(tmp_path, manifest_of(tmp_path, ["a.npy"]))
    assert len(Store.open(store.path)) == 1
    np.save(store.path / "sequences.npy", np.zeros((1, 2, 3), np.float32))
    with pytest.raises(InputError, match="damaged"):
        Store.open(store.path)


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
    monkeypatch.setattr(mesh, "find_points", points)


def filmed(folder: Path, places: list[int | None]) -> str:
    """Write a folder of pictures, 128 by 64, with a bright square about each of these columns, or none."""
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
    skip = stored(tmp_path, manifest, frames=4, lost="skip")
    np.testing.assert_allclose(skip.sequences[0, :, 0, 0] * 128, [20, 30, 60, 70], atol=6)
    assert skip.manifest.table["lost"].tolist() == [2, 0]
    aside = stored(tmp_path, manifest, frames=6, lost="quarantine")
    assert aside.quarantine["reason"].tolist() == ["face lost: on 2 of 6 frames", "no face found"]
    assert stored(tmp_path, manifest, frames=6, lost_share=0.2).quarantine["reason"].tolist()[0].startswith("face lost")


def test_stills_give_one_frame(tmp_path, fake_mesh):
    filmed(tmp_path / "a", [20, 40])
    Image.fromarray(np.full((64, 128, 3), 20, np.uint8)).save(tmp_path / "none.png")
    Image.fromarray(np.full((64, 128, 3), 230, np.uint8)).save(tmp_path / "bright.png")
    manifest = manifest_of(tmp_path, ["a/f0.png", "a/f1.png", "none.png", "bright.png"], content="stills")
    store = stored(tmp_path, manifest, frames=10)
    assert store.sequences.shape == (2, 1, 468, 2)
    np.testing.assert_allclose(store.sequences[:, 0, 0, 0], [20 / 128, 40 / 128], atol=1e-6)
    assert store.quarantine["reason"].tolist() == ["no face found", "no face found"]
    assert store.summary().startswith("2 sequences of 1 frame, mesh-468 (468 × 2), 2 set aside")
    (sheet, *_) = write_sheets(manifest, target_of(manifest, size=8, sequences=Sequencing()), tmp_path / "sheets")
    assert (np.asarray(Image.open(sheet)) == (0x1A, 0x8F, 0x3C)).all(axis=-1).any()  # points are drawn


def test_a_recipe_says_how_sequences_are_made():
    recipe = load_recipe(
        {"name": "x", "data": {"source": "folder", "sequences": {"of": "mesh", "take": "paper", "short": "literal"},
                               "clips": {"lost": "skip", "lost_share": 0.25}}},
        {"data.sequences.frames": 7},
    )  # fmt: skip
    assert sequencing_of(recipe) == Sequencing(7, "paper", "literal", lost="skip", lost_share=0.25)


# --- real ones ----------------------------------------------------------------------------------------------------


def test_real_pictures_give_points_by_any_number_of_processes(real_data, tmp_path):
    names = ["calm/single_face.jpg", "happy/single_face.jpg"]
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        shutil.copy(real_data / "clips" / "single_face.jpg", tmp_path / "data" / name)
    recipe = {"name": "x", "data": {"source": "folder", "root": str(tmp_path / "data"), "sequences": {"of": "mesh"}}}
    store = workflows.prepare(recipe, **{"data.sequences.depth": True})
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
    store = prepare(manifest, tmp_path, size=8, workers=0, sequences=Sequencing(2, blendshapes=True))
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
    numbers._file.cache_clear()


@given(st.integers(1, 40), st.integers(1, 12))
def test_means_are_those_of_equal_stretches(count, frames):
    sequence = np.random.default_rng(count).normal(size=(count, 3, 2)).astype(np.float32)
    got = sampled(sequence, frames, "mean")
    if count < frames:
        np.testing.assert_array_equal(got, sampled(sequence, frames))
        return
    for place in range(frames):
        frame = sequence[place * count // frames : (place + 1) * count // frames]
        np.testing.assert_allclose(got[place], frame.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_means_are_of_files_alone(tmp_path):
    values = numbers_of(7, 3)
    np.save(tmp_path / "a.npy", values)
    store = stored(tmp_path, manifest_of(tmp_path, ["a.npy"]), frames=1, take="mean")
    np.testing.assert_allclose(store.sequences[0, 0, :, 0], values.mean(axis=0), rtol=1e-6)
    with pytest.raises(InputError, match="take: mean needs the numbers of every frame"):
        stored(tmp_path, manifest_of(tmp_path, ["a.csv"], content="clips"), take="mean")
