"""Files of numbers: reading, skipping of unusable ones, and stores of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numbered import manifest_of, numbers_of, stored

from evenface.preprocessing import store as building
from evenface.preprocessing import worker
from evenface.preprocessing.landmarks import NAMES
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import Store
from evenface.preprocessing.target import target_of
from evenface.reporting.contact_sheets import write_contact_sheets
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")

UNITS = ["AU01_r", "AU02_r", "AU04_r", "AU01_c", "AU02_c", "AU04_c", "AU28_c"]


def write_units(path: Path, values: np.ndarray, separator: str = ", ", **further) -> None:
    lines = [separator.join([*further, *UNITS])]
    for i, row in enumerate(values):
        lines.append(separator.join([*(str(column[i]) for column in further.values()), *map(str, row)]))
    path.write_text("\n".join(lines) + "\n")


def test_openface_is_read_by_columns_whatever_separates_them(tmp_path):
    values = numbers_of(25, 7)
    write_units(tmp_path / "a.csv", values, frame=range(25), timestamp=range(25), success=[1] * 25)
    write_units(tmp_path / "b.csv", values, ";")
    store = stored(tmp_path, manifest_of(tmp_path, ["a.csv", "b.csv"], "openface-aus"), frames=5, sampling="paper")
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
def test_broken_files_are_skipped_with_a_reason_each(tmp_path, workers):
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
        "fewer.csv": "wrong shape: 2 × 1 values per frame, expected 7 × 1", "ragged.csv": "corrupt",
        "note.txt": "not a file of numbers", "folder": "no frames", "two.npz": "wrong arrays: a, b",
        "cut.npy": "corrupt", "zip.npz": "corrupt", "objects.npy": "not numbers", "letters.npy": "not numbers",
        "gone.csv": "missing", "good.csv": "no frame: the file has 12 frames, requested are 6 to 40",
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
    assert any("fewer frames than are sampled" in note for note in store.manifest.notes)
    assert store.summary().startswith("2 sequences of 10 frames, openface-aus (7 × 1), 18 skipped")


def test_too_few_points_and_no_z_are_told(tmp_path):
    np.save(tmp_path / "a.npy", numbers_of(4, 68, 2))
    np.save(tmp_path / "b.npy", numbers_of(4, 67, 2))
    assert stored(tmp_path, manifest_of(tmp_path, ["a.npy", "b.npy"], "dlib-68")).quarantine["reason"].tolist() == [
        "wrong shape: 4 × 67 × 2, expected 68 points per frame"
    ]
    with pytest.raises(InputError, match=r"none of 1 samples is usable .*68 × 2 values per frame, expected 68 × 3"):
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
    skip = stored(tmp_path, manifest, frames=7, missing_face="skip")
    np.testing.assert_array_equal(skip.sequences[0, :, :, 0], values[[0, 1, 2, 6, 7, 8, 9]])
    for how in ({"missing_face": "quarantine"}, {"max_missing": 0.2}, {"missing_face": "skip", "max_missing": 0.2}):
        assert stored(tmp_path, manifest, **how).quarantine["reason"].tolist() == ["face lost: on 3 of 10 frames"]


def test_a_manifest_must_say_what_its_numbers_are(tmp_path):
    np.save(tmp_path / "a.npy", numbers_of(4, 5))
    with pytest.raises(InputError, match="does not state what the points"):
        stored(tmp_path, manifest_of(tmp_path, ["a.npy"], ""))
    with pytest.raises(InputError, match="numbers must be the same in all rows"):
        stored(tmp_path, manifest_of(tmp_path, ["a.npy"] * 2, numbers=["a", "b"]))
    manifest = manifest_of(tmp_path, ["a.npy"])
    with pytest.raises(InputError, match="contact sheets show clips, and these are sequences"):
        write_contact_sheets(manifest, target_of(manifest, size=8), tmp_path / "sheets")


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
        stored(tmp_path, manifest, **how).key
        for how in ({}, {"sampling": "paper"}, {"padding": "repeat"}, {"frames": 9})
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
