"""PEMF is read under all its names."""

import pandas as pd
from layouts import named, plant, refused

from evenface.data.datasets import read_dataset
from evenface.data.manifest import attribute_columns, attribute_groups

PLACES = {
    "N": "Neutral/Neutral {}.mp4",
    "L": "Laser Pain/Laser Pain {}.MP4",
    "A": "Algomer Pain/{}A.mp4",
    "P": "Posed Pain/{}F.mp4",
}


def pemf(root, places=PLACES, top="Clips/Original", people=("S001", "S002", "S013")):
    return plant(root, *(f"{top}/{person}/{place.format(person)}" for person in people for place in places.values()))


def test_pemf(tmp_path):
    got = read_dataset("pemf", pemf(tmp_path))
    assert (got.content, got.ordered, got.classes) == ("clips", False, ("neutral", "phasic", "tonic"))
    assert named(got) == {
        f"{person}{letter}": word
        for person in ("S001", "S002", "S013")
        for letter, word in (("A", "tonic"), ("L", "phasic"), ("N", "neutral"))
    }
    assert got.table["clip"].equals(got.table["sample"])
    assert all(s.startswith(who) for s, who in zip(got.table["sample"], got.table["subject"], strict=True))
    assert sorted(set(got.table["condition"])) == ["algometer", "laser", "neutral"]
    assert got.notes == ("clips excluded: 3 of posed",)
    assert (
        read_dataset("pemf", tmp_path / "Clips" / "Original").table["sample"].tolist() == got.table["sample"].tolist()
    )


def test_pemf_reads_one_version_of_each_clip(tmp_path):
    alone = read_dataset("pemf", pemf(tmp_path))
    pemf(tmp_path, top="Clips/Modified")
    for version in ("original", "modified"):
        got = read_dataset("pemf", tmp_path, {"version": version})
        assert got.table["path"].str.startswith(f"Clips/{version.title()}").all()
        assert named(got) == named(alone)
        assert got.notes[0] == f"version {version}: 12 clips of the other version are excluded"
    with refused("no clips of version modified"):
        read_dataset("pemf", pemf(tmp_path / "one"), {"version": "modified"})


def test_pemf_numbers_several_clips_of_a_condition(tmp_path):
    plant(tmp_path, "S019/Algometer Pain/Algometer Pain-2 S019.mp4", "S019/Algometer Pain/Algometer Pain-1 S019.mp4")
    got = read_dataset("pemf", plant(tmp_path, "S019/Neutral/Neutral S019.mp4", "S019/.DS_Store"))
    paths = dict(zip(got.table["sample"], got.table["path"], strict=True))
    assert paths["S019A-1"].endswith("Pain-1 S019.mp4")
    assert paths["S019A-2"].endswith("Pain-2 S019.mp4")
    assert set(paths) == {"S019A-1", "S019A-2", "S019N"}


def test_pemf_takes_flat_names_and_folders_of_pictures(tmp_path):
    plant(tmp_path / "flat", "S001/S001N.mp4", "S001/S001A1.mp4", "S002L.mp4")
    assert named(read_dataset("pemf", tmp_path / "flat")) == {"S001A": "tonic", "S001N": "neutral", "S002L": "phasic"}
    for name in ("Neutral", "Laser Pain"):
        for shade in ("Colour", "Grey"):
            plant(tmp_path / "stills", *(f"Original/S001/{name}/{shade} frames/{n}.jpg" for n in range(3)))
    got = read_dataset("pemf", tmp_path / "stills")
    assert got.table["path"].tolist() == [f"Original/S001/{n}/Colour frames" for n in ("Laser Pain", "Neutral")]


def test_pemf_conditions_become_classes_as_asked(tmp_path):
    got = read_dataset("pemf", pemf(tmp_path), {"conditions": {"posed": "posed", "laser": "real", "algometer": "real"}})
    assert got.classes == ("posed", "real")
    assert got.counts().tolist() == [3, 6]
    assert got.notes == ("clips excluded: 3 of neutral",)
    for conditions, words in [
        ({"lazer": "x"}, "unknown condition 'lazer' in conditions\n  Did you mean laser?"),
        ({"laser": "x", "posed": "x"}, "expected at least two classes in conditions, found x"),
    ]:
        with refused(words):
            read_dataset("pemf", tmp_path, {"conditions": conditions})


def test_pemf_with_other_names(tmp_path):
    plant(tmp_path, "p7_neutral.mp4", "p7_laser.mp4", "talk.mp4")
    with refused("pemf: none of the 3 clips in"):
        read_dataset("pemf", tmp_path)
    got = read_dataset("pemf", tmp_path, {"pattern": r"(?P<subject>p\d+)_(?P<condition>\w+)"})
    assert named(got) == {"P7L": "phasic", "P7N": "neutral"}
    assert got.notes == ("1 of 3 clips are excluded, as pattern does not match their path, such as talk.mp4",)
    for pattern, words in [("(", "must be a regular expression"), ("(?P<subject>.)", "has subject\n  Write them as")]:
        with refused(words):
            read_dataset("pemf", tmp_path, {"pattern": pattern})
    with refused("no videos and no folders of images in"):
        read_dataset("pemf", plant(tmp_path / "other", "PEMF_Database.xlsx"))


def test_pemf_takes_sex_and_age_from_a_table_of_its_people(tmp_path):
    alone = read_dataset("pemf", pemf(tmp_path))
    (tmp_path / "people.csv").write_text("No;Code;Gender;AGE;Remark\n1;s001;F;21;x\n2;S013;male;;y\n3;S099;M;30;z\n")
    noted = read_dataset("pemf", tmp_path).notes[-1]
    assert noted == "tables that are not read: people.csv; people: FILE.csv adds sex and age of subjects"
    for name in ("people.csv", str(tmp_path / "people.csv")):
        got = read_dataset("pemf", tmp_path, {"people": name})
        told = dict(zip(got.table["subject"], zip(got.table["gender"], got.table["age"], strict=True), strict=True))
        assert told["S001"] == ("female", 21)
        assert told["S013"][0] == "male"
        assert all(pd.isna(value) for value in (*told["S002"], told["S013"][1]))
        assert got.notes[-1] == "subjects missing in people.csv: S002"
        assert got.table["sample"].tolist() == alone.table["sample"].tolist()
        assert attribute_columns(got.table) == ["age", "gender"]
    assert attribute_groups(got.table["age"], "age").dropna().unique().tolist() == ["18 to 29"]
    for text, why in (
        ("who,sex\nx,f\n", "no column has names of subjects of the dataset, such as S001"),
        ("who,height\nS001,f\n", "no column is an attribute of subjects, found who, height"),
        ("who,sex\nS001,f\nS001,m\n", "S001 has several rows"),
    ):
        (tmp_path / "people.csv").write_text(text)
        with refused(why):
            read_dataset("pemf", tmp_path, {"people": "people.csv"})
