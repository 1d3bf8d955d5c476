"""OpenFace's tables and files of points are read, and others explained."""

import pytest
from layouts import AUS, columns_of, named, plant, refused, table_of

from evenface.data.datasets import read_dataset
from evenface.data.manifest import Manifest


@pytest.fixture
def openface(tmp_path):
    for name in ("calm/S1_a.csv", "calm/deep/S2_b.csv", "pain/S1_c.csv"):
        table_of(tmp_path / name, ["frame", "success", *AUS, *(f"{axis}_{i}" for axis in "xy" for i in range(68))])
    return tmp_path


@pytest.mark.parametrize(
    ("features", "points", "numbers"),
    [
        ("both", "openface-aus", None),
        ("intensities", "openface-aus", "AU*_r"),
        ("presences", "openface-aus", "AU*_c"),
        ("landmarks", "dlib-68", None),
    ],
)
def test_openface_says_what_is_read_of_its_tables(openface, features, points, numbers):
    got = read_dataset("openface", openface, {"features": features, "subjects": "(S[0-9]+)_"})
    assert got.content == "sequences"
    assert named(got) == {"calm/S1_a.csv": "calm", "calm/deep/S2_b.csv": "calm", "pain/S1_c.csv": "pain"}
    assert got.table["subject"].tolist() == ["S1", "S2", "S1"]
    assert got.table["clip"].tolist() == got.table["sample"].tolist()
    assert set(got.table["points"]) == {points}
    assert got.table["numbers"].fillna("-").unique().tolist() == [numbers or "-"]
    got.save(openface / "m.parquet")
    assert Manifest.load(openface / "m.parquet").hash == got.hash


def test_what_is_read_of_the_same_files_changes_the_hash(openface):
    hashes = {
        read_dataset("openface", openface, {"features": features}).hash
        for features in ("both", "presences", "landmarks")
    }
    assert len(hashes) == 3


def test_openface_by_a_table(openface):
    (openface / "who.csv").write_text(
        "file;emotion;subject;start;end\ncalm/S1_a.csv;up;S1;0;2\ncalm/S1_a.csv;down;S1;2;3\npain/S1_c.csv;up;S1;;\n"
    )
    options = {"table": "who.csv", "delimiter": ";", "columns": {"path": "file", "label": "emotion"}, "ordered": True}
    got = read_dataset("openface", openface, options | {"classes": ["up", "down"]})
    assert named(got) == {"calm/S1_a.csv#0": "up", "calm/S1_a.csv#2": "down", "pain/S1_c.csv": "up"}
    assert got.table["end"].tolist()[:2] == [2, 3]
    assert (got.ordered, got.content, got.source) == (True, "sequences", "openface")
    assert (
        read_dataset("openface", openface / "who.csv", {name: options[name] for name in ("delimiter", "columns")})
        .counts()
        .sum()
        == 3
    )
    with refused("openface: the option subjects has no effect with a table"):
        read_dataset("openface", openface, options | {"subjects": "(S1)"})
    for name in ("columns", "delimiter"):
        with refused(f"openface: the option {name} has no effect without a table"):
            read_dataset("openface", openface, {name: options[name]})


def test_openface_says_what_is_wrong(openface, tmp_path_factory):
    with refused("the option classes lists up, down"):
        read_dataset("openface", openface, {"classes": ["up", "down"]})
    plant(openface, "pain/video.avi")
    note = "files other than .csv are ignored: 1, such as pain/video.avi"
    assert read_dataset("openface", openface).notes == (note,)
    other = tmp_path_factory.mktemp("other")
    for name in "ab":
        table_of(other / name / "x.csv", ["time", "smile"])
    with refused("features: both needs columns such as AU01_r,"):
        read_dataset("openface", other)
    with refused("found nothing\n  Expected class/file.csv"):
        read_dataset("openface", plant(tmp_path_factory.mktemp("none"), "a/x.txt", "b/y.txt"))


def test_landmarks_are_files_of_points(tmp_path):
    plant(tmp_path, "train/calm/a.npy", "train/pain/b.npz", "test/calm/c.parquet", "test/pain/d.csv", "test/pain/e.mp4")
    got = read_dataset("landmarks", tmp_path)
    assert (got.content, len(got), got.classes) == ("sequences", 4, ("calm", "pain"))
    assert got.table["split"].value_counts().to_dict() == {"train": 2, "test": 2}
    assert set(got.table["points"]) == {"mesh-468"}
    assert got.table["numbers"].isna().all()
    assert "such as test/pain/e.mp4" in got.notes[0]
    other = read_dataset("landmarks", tmp_path, {"points": "dlib-68", "array": "points"})
    assert set(columns_of(other, "points", "numbers")) == {("dlib-68", "points")}
    with refused("invalid option points, got 'features'"):
        read_dataset("landmarks", tmp_path, {"points": "features"})
