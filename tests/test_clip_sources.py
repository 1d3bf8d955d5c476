"""BioVid, PEMF, UNBC-McMaster, tables and folders of clips are read as they are laid out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sources import plant, refused

from evenface.data.manifest import Manifest
from evenface.data.protocol import split
from evenface.data.sources import read
from evenface.data.sources.biovid import LEAST_EXPRESSIVE
from evenface.errors import InputError
from evenface.recipes.data import Protocol


def named(manifest):
    return {s: manifest.classes[y] for s, y in zip(manifest.table["sample"], manifest.labels, strict=True)}


# --- BioVid

HEADER = "subject_id\tsubject_name\tclass_id\tclass_name\tsample_id\tsample_name"
PEOPLE = ("071309_w_21", "082315_w_60", "120614_w_61")
NAMES = ("BL1", "PA1", "PA2", "PA3", "PA4")


def lines(people=PEOPLE):
    for number, person in enumerate(people, 1):
        for code, name in enumerate(NAMES):
            yield f"{number}\t{person}\t{code}\t{name}\t{number * 10 + code}\t{person}-{name}-08{code}"


def biovid(root, rows=None, *, newline="\n", start="", where="samples.csv", people=PEOPLE):
    plant(root, where, *(f"video/{person}/{person}-{n}-08{c}.mp4" for person in people for c, n in enumerate(NAMES)))
    text = newline.join([HEADER, *(lines() if rows is None else rows), ""])
    (root / where).write_bytes((start + text).encode())
    return root


def test_biovid(tmp_path):
    got = read("biovid", biovid(tmp_path / "PartA"))
    assert (got.content, got.ordered, got.classes, got.notes) == ("clips", True, NAMES, ())
    assert all(f"-{name}-" in sample for sample, name in named(got).items())
    assert got.table["path"][4] == "video/071309_w_21/071309_w_21-PA4-084.mp4"
    assert (got.root / got.table["path"][4]).is_file()
    assert got.table["clip"].equals(got.table["sample"])
    assert sorted(set(got.table["subject"])) == list(PEOPLE)
    assert got.has_subjects
    assert read("biovid", tmp_path).hash == got.hash


@pytest.mark.parametrize("where", ["samples.csv", "starting_point/samples.csv"])
@pytest.mark.parametrize(("newline", "start"), [("\r\n", ""), ("\n", "\ufeff"), ("\t\r\n", "\ufeff"), ("\n\n", "")])
def test_biovid_takes_the_list_in_both_places_and_from_any_editor(tmp_path, where, newline, start):
    plain = read("biovid", biovid(tmp_path / "plain"))
    assert read("biovid", biovid(tmp_path / "other", newline=newline, start=start, where=where)).hash == plain.hash


def test_biovid_binary_is_no_pain_against_the_strongest(tmp_path):
    got = read("biovid", biovid(tmp_path), {"levels": "binary"})
    assert got.classes == ("BL1", "PA4")
    assert got.counts().tolist() == [3, 3]
    assert all(f"-{name}-" in sample for sample, name in named(got).items())
    assert got.notes == ("clips left out: 9 of PA1, PA2 and PA3",)


def test_biovid_leaves_people_out(tmp_path):
    biovid(tmp_path)
    assert len(set(LEAST_EXPRESSIVE)) == 20
    assert all(re.fullmatch(r"\d{6}_[wm]_\d\d", name) for name in LEAST_EXPRESSIVE)
    got = read("biovid", tmp_path, {"exclude": "least-expressive"})
    assert set(got.table["subject"]) == {"071309_w_21"}
    assert got.notes == ("people left out by exclude: 2 of 3",)
    named_one = read("biovid", tmp_path, {"exclude": ["082315_w_60"]})
    assert set(named_one.table["subject"]) == {"071309_w_21", "120614_w_61"}
    with refused("exclude names '082315_w_61', who is not in samples.csv\n  Did you mean 082315_w_60"):
        read("biovid", tmp_path, {"exclude": ["082315_w_61"]})
    with refused("the option exclude cannot be 'some'"):
        read("biovid", tmp_path, {"exclude": "some"})


def test_biovid_says_who_is_in_the_list_or_in_the_folder_alone(tmp_path):
    biovid(tmp_path, [*lines(), "9\t099999_m_30\t0\tBL1\t99\t099999_m_30-BL1-080"])
    (tmp_path / "video" / "082315_w_60" / "082315_w_60-BL1-080.mp4").unlink()
    plant(tmp_path, "video/000000_w_20/x.mp4", "video/.hidden/x.mp4", "biosignals_filtered/x.csv")
    got = read("biovid", tmp_path)
    assert len(got) == 15
    assert got.notes == (
        "1 of 4 people in samples.csv have no folder in video and are left out with 1 clips: 099999_m_30",
        "1 folders in video are not in samples.csv and are left out: 000000_w_20",
        "1 of 15 files in samples.csv are not there, such as video/082315_w_60/082315_w_60-BL1-080.mp4",
    )
    assert len(read("biovid", tmp_path, {"exclude": ["099999_m_30"]}).notes) == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ["1\t071309_w_21\t5\tPA5\t1\ta"],
            "line 2 of samples.csv: class_id 5 of a is none of 0 BL1, 1 PA1, 2 PA2, 3 PA3, 4 PA4",
        ),
        (["", "1\t071309_w_21\t-1\t\t1\ta"], "line 3 of samples.csv: class_id -1 of a is none of"),
        (["1\t071309_w_21\t2.5\tPA2\t1\ta"], "line 2 of samples.csv: class_id 2.5 of a"),
        (["1\t071309_w_21\t1\tPA2\t1\ta"], "line 2 of samples.csv: class_id 1 is PA1, but class_name says PA2"),
        (["1\t071309_w_21\t1\tPA1\t1\ta"] * 2, "line 3 of samples.csv: a stands twice"),
        (["1\t\t1\tPA1\t1\ta"], "line 2 of samples.csv: subject_name is empty"),
        (["1\t071309_w_21\t1"], "line 2 of samples.csv: sample_name is empty"),
        (["1\t099999_m_30\t1\tPA1\t1\ta"], "none of the 1 people in samples.csv has a folder in"),
        (["1\t071309_w_21\t1\tPA1\t1\ta"], "none of the 1 files in samples.csv is there, such as"),
        ([], "has no lines below its header"),
    ],
)
def test_biovid_says_which_line_is_wrong(tmp_path, rows, words):
    with refused(words):
        read("biovid", biovid(tmp_path, rows))


def test_biovid_leaves_out_and_names_a_level_that_does_not_exist(tmp_path):
    whole = read("biovid", biovid(tmp_path))
    got = read("biovid", biovid(tmp_path, [*lines(), "1\t071309_w_21\t5\tPA5\t99\t071309_w_21-PA5-085"]))
    assert got.table["sample"].tolist() == whole.table["sample"].tolist()
    (said,) = got.notes
    assert said.startswith("1 of 16 clips in samples.csv are left out, their class_id is none of 0 BL1, 1 PA1,")
    assert said.endswith(": line 17 (5)")


def test_biovid_says_which_part_is_missing(tmp_path):
    with refused(f"biovid: there is no list of samples in {tmp_path}, which holds nothing\n  Expected part A"):
        read("biovid", tmp_path)
    plant(tmp_path, "samples.csv", "biosignals_raw/x.csv")
    with refused(f"biovid: there is no folder video in {tmp_path}, which holds biosignals_raw"):
        read("biovid", tmp_path)
    (tmp_path / "video").mkdir()
    (tmp_path / "samples.csv").write_text(HEADER.replace("\t", ",") + "\n1,a,0,BL1,1,b\n")
    with refused("expected the columns subject_name, class_id, sample_name in samples.csv, found subject_id,subject"):
        read("biovid", tmp_path)
    (tmp_path / "samples.csv").write_bytes(b"\xff\xfe\x00")
    with refused("biovid: cannot read"):
        read("biovid", tmp_path)


# --- PEMF

PLACES = {
    "N": "Neutral/Neutral {}.mp4",
    "L": "Laser Pain/Laser Pain {}.MP4",
    "A": "Algomer Pain/{}A.mp4",
    "P": "Posed Pain/{}F.mp4",
}


def pemf(root, places=PLACES, top="Clips/Original", people=("S001", "S002", "S013")):
    return plant(root, *(f"{top}/{person}/{place.format(person)}" for person in people for place in places.values()))


def test_pemf(tmp_path):
    got = read("pemf", pemf(tmp_path))
    assert (got.content, got.ordered, got.classes) == ("clips", False, ("neutral", "phasic", "tonic"))
    assert named(got) == {
        f"{person}{letter}": word
        for person in ("S001", "S002", "S013")
        for letter, word in (("A", "tonic"), ("L", "phasic"), ("N", "neutral"))
    }
    assert got.table["clip"].equals(got.table["sample"])
    assert all(s.startswith(who) for s, who in zip(got.table["sample"], got.table["subject"], strict=True))
    assert sorted(set(got.table["condition"])) == ["algometer", "laser", "neutral"]
    assert got.notes == ("clips left out: 3 of posed",)
    assert read("pemf", tmp_path / "Clips" / "Original").table["sample"].tolist() == got.table["sample"].tolist()


def test_pemf_reads_one_version_of_each_clip(tmp_path):
    alone = read("pemf", pemf(tmp_path))
    pemf(tmp_path, top="Clips/Modified")
    for version in ("original", "modified"):
        got = read("pemf", tmp_path, {"version": version})
        assert got.table["path"].str.startswith(f"Clips/{version.title()}").all()
        assert named(got) == named(alone)
        assert got.notes[0] == f"version {version}: 12 clips of the other version are left out"
    with refused("no clips of version modified"):
        read("pemf", pemf(tmp_path / "one"), {"version": "modified"})


def test_pemf_numbers_several_clips_of_a_condition(tmp_path):
    plant(tmp_path, "S019/Algometer Pain/Algometer Pain-2 S019.mp4", "S019/Algometer Pain/Algometer Pain-1 S019.mp4")
    got = read("pemf", plant(tmp_path, "S019/Neutral/Neutral S019.mp4", "S019/.DS_Store"))
    paths = dict(zip(got.table["sample"], got.table["path"], strict=True))
    assert paths["S019A-1"].endswith("Pain-1 S019.mp4")
    assert paths["S019A-2"].endswith("Pain-2 S019.mp4")
    assert set(paths) == {"S019A-1", "S019A-2", "S019N"}


def test_pemf_takes_flat_names_and_folders_of_pictures(tmp_path):
    plant(tmp_path / "flat", "S001/S001N.mp4", "S001/S001A1.mp4", "S002L.mp4")
    assert named(read("pemf", tmp_path / "flat")) == {"S001A": "tonic", "S001N": "neutral", "S002L": "phasic"}
    for name in ("Neutral", "Laser Pain"):
        for shade in ("Colour", "Grey"):
            plant(tmp_path / "stills", *(f"Original/S001/{name}/{shade} frames/{n}.jpg" for n in range(3)))
    got = read("pemf", tmp_path / "stills")
    assert got.table["path"].tolist() == [f"Original/S001/{n}/Colour frames" for n in ("Laser Pain", "Neutral")]


def test_pemf_conditions_become_classes_as_asked(tmp_path):
    got = read("pemf", pemf(tmp_path), {"conditions": {"posed": "posed", "laser": "real", "algometer": "real"}})
    assert got.classes == ("posed", "real")
    assert got.counts().tolist() == [3, 6]
    assert got.notes == ("clips left out: 3 of neutral",)
    for conditions, words in [
        ({"lazer": "x"}, "conditions names 'lazer'\n  Did you mean laser?"),
        ({"laser": "x", "posed": "x"}, "at least two classes are needed, conditions has x"),
    ]:
        with refused(words):
            read("pemf", tmp_path, {"conditions": conditions})


def test_pemf_with_other_names(tmp_path):
    plant(tmp_path, "p7_neutral.mp4", "p7_laser.mp4", "talk.mp4")
    with refused("pemf: none of the 3 clips in"):
        read("pemf", tmp_path)
    got = read("pemf", tmp_path, {"pattern": r"(?P<subject>p\d+)_(?P<condition>\w+)"})
    assert named(got) == {"P7L": "phasic", "P7N": "neutral"}
    assert got.notes == ("1 of 3 clips are left out: pattern does not match, such as talk.mp4",)
    for pattern, words in [("(", "is no regular expression"), ("(?P<subject>.)", "has subject\n  Write them as")]:
        with refused(words):
            read("pemf", tmp_path, {"pattern": pattern})
    with refused("no videos and no folders of pictures in"):
        read("pemf", plant(tmp_path / "other", "PEMF_Database.xlsx"))


# --- UNBC-McMaster


def unbc(root, values, twice=""):
    """Write an archive: person, sequence, PSPI of each frame, ratings."""
    for person, sequence, pspi, ratings in values:
        for number, value in enumerate(pspi, 1):
            stem = f"{person}/{sequence}/{sequence}{number:03d}"
            label = f"Frame_Labels/{twice and 'Frame_Labels/'}PSPI/{stem}_facs.txt"
            plant(root, f"Images/{twice and 'Images/'}{stem}.png", label)
            (root / label).write_text(f"   {value:.7e}\n")
        for scale, value in ratings.items():
            path = f"Sequence_Labels/{twice and 'Sequence_Labels/'}{scale}/{person}/{sequence}.txt"
            plant(root, path)
            (root / path).write_text(f"   {value:.7e}\r\n")
    return root


RATED = {"OPR": 3, "VAS": 7, "AFF": 9, "SEN": 15}
ARCHIVE = [
    ("042-ll042", "ll042t1aaaff", [0, 0, 1, 2, 3], RATED),
    ("042-ll042", "ll042t1aeaff", [4, 5, 6, 15], {**RATED, "OPR": 5}),
    ("043-jh043", "jh043t1aeaff", [0, 1], {**RATED, "OPR": 0}),
]


@pytest.mark.parametrize("twice", ["", "twice"])
def test_unbc_frames_in_six_levels(tmp_path, twice):
    got = read("unbc", unbc(tmp_path, ARCHIVE, twice))
    assert (got.content, got.ordered, got.classes) == ("stills", True, ("0", "1", "2", "3", "4-5", "6-16"))
    assert got.table["pspi"].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 15, 0, 1]
    assert got.labels.tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 5, 0, 1]
    assert got.table["clip"].tolist()[4:6] == ["042-ll042/ll042t1aaaff", "042-ll042/ll042t1aeaff"]
    assert got.table["sample"][0] == "042-ll042/ll042t1aaaff/ll042t1aaaff001"
    assert set(got.table["subject"]) == {"042-ll042", "043-jh043"}
    assert all((tmp_path / path).is_file() for path in got.table["path"])
    assert got.notes == ()


@given(st.lists(st.integers(0, 16), min_size=1, max_size=12), st.sets(st.integers(1, 16), min_size=1))
def test_unbc_levels_by_a_plain_loop(tmp_path_factory, pspi, further):
    root = unbc(tmp_path_factory.mktemp("unbc"), [("042-ll042", "a", pspi, {})])
    starts = [0, *sorted(further)]
    got = read("unbc", root, {"levels": starts})
    for value, name in zip(pspi, (got.classes[y] for y in got.labels), strict=True):
        low, _, high = name.partition("-")
        assert int(low) in starts
        assert int(low) <= value <= int(high or low)


def test_unbc_all_levels_and_others(tmp_path):
    unbc(tmp_path, ARCHIVE)
    every = read("unbc", tmp_path, {"levels": "all"})
    assert every.classes == (*map(str, range(15)), "15-16")
    assert every.labels.tolist() == every.table["pspi"].astype(int).tolist()
    assert every.notes == ("levels of pspi that do not occur: 7, 8, 9, 10, 11, 12, 13, 14",)
    assert read("unbc", tmp_path, {"levels": [0, 1]}).classes == ("0", "1-16")
    for levels in ([0], [1, 2], [0, 2, 2], [0, 17]):
        with refused(f"unbc: levels cannot be {levels}"):
            read("unbc", tmp_path, {"levels": levels})


@pytest.mark.parametrize("scale", ["opr", "vas", "aff", "sen"])
def test_unbc_clips_are_labelled_by_what_was_rated(tmp_path, scale):
    got = read("unbc", unbc(tmp_path, ARCHIVE), {"unit": "clip", "scale": scale})
    expected = [3, 5, 0] if scale == "opr" else [RATED[scale.upper()]] * 3
    assert got.table[scale].tolist() == expected
    assert [got.classes[label] for label in got.labels] == list(map(str, expected))
    assert got.content == "clips"
    assert all((tmp_path / path).is_dir() for path in got.table["path"])
    assert got.table["path"][0] == "Images/042-ll042/ll042t1aaaff"


def test_unbc_clips_are_labelled_by_the_observer_or_by_their_highest_frame(tmp_path):
    unbc(tmp_path, ARCHIVE)
    observed = read("unbc", tmp_path, {"unit": "clip", "scale": "opr"})
    assert read("unbc", tmp_path, {"unit": "clip"}).hash == observed.hash
    got = read("unbc", tmp_path, {"unit": "clip", "scale": "pspi"})
    assert got.table["pspi"].tolist() == [3, 15, 1]
    assert got.table["sample"].tolist() == observed.table["sample"].tolist()
    assert got.table["path"].tolist() == observed.table["path"].tolist()
    with refused("frames are labelled by pspi, not by vas\n  Say unit: clip."):
        read("unbc", tmp_path, {"scale": "vas"})


def test_unbc_notes_what_has_no_partner(tmp_path):
    unbc(tmp_path, ARCHIVE)
    images = tmp_path / "Images" / "042-ll042" / "ll042t1aaaff"
    (images / "ll042t1aaaff001.png").unlink()
    (tmp_path / "Frame_Labels/PSPI/043-jh043/jh043t1aeaff/jh043t1aeaff002_facs.txt").unlink()
    (tmp_path / "Sequence_Labels/OPR/043-jh043/jh043t1aeaff.txt").unlink()
    (tmp_path / "Images" / "044-xx044").mkdir()
    plant(tmp_path, "Images/.DS_Store", "Images/042-ll042/ll042t1aaaff/._ll042t1aaaff001.png")
    empty = "folders without pictures: 044-xx044"
    got = read("unbc", tmp_path)
    assert len(got) == 9
    assert got.notes == (
        empty,
        "1 frames without a label are left out, such as 043-jh043/jh043t1aeaff/jh043t1aeaff002.png",
        "1 labels have no frame, such as ll042t1aaaff/ll042t1aaaff001_facs.txt",
    )
    rated = read("unbc", tmp_path, {"unit": "clip"})
    assert len(rated) == 2
    said = "1 sequences without a label are left out, such as 043-jh043/jh043t1aeaff"
    assert rated.notes[:2] == (empty, said)


@pytest.mark.parametrize(
    ("content", "shown"),
    [(b"17", "'17'"), (b"-1", "'-1'"), (b"", "nothing"), (b"nan", "'nan'"), (b"1 2", "'1 2'")],
)
def test_unbc_leaves_out_and_names_what_is_off_its_scale(tmp_path, content, shown):
    whole = read("unbc", unbc(tmp_path, ARCHIVE))
    name = "042-ll042/ll042t1aaaff/ll042t1aaaff002"
    path = tmp_path / f"Frame_Labels/PSPI/{name}_facs.txt"
    path.write_bytes(content)
    got = read("unbc", tmp_path)
    assert got.table["sample"].tolist() == [sample for sample in whole.table["sample"] if sample != name]
    said = "1 labels are left out with what they are of, expected one number from 0 to"
    assert f"{said} 16: {name}_facs.txt holds {shown}" in got.notes
    path = tmp_path / "Sequence_Labels/VAS/042-ll042/ll042t1aaaff.txt"
    path.write_bytes(b"11")
    got = read("unbc", tmp_path, {"unit": "clip", "scale": "vas"})
    assert "042-ll042/ll042t1aaaff" not in set(got.table["sample"])
    assert f"{said} 10: 042-ll042/ll042t1aaaff.txt holds '11'" in got.notes


def test_unbc_refuses_an_archive_without_any_value_of_the_scale(tmp_path):
    unbc(tmp_path, ARCHIVE)
    for path in (tmp_path / "Frame_Labels").rglob("*.txt"):
        path.write_text("17")
    with refused("_facs.txt holds '17', expected one number from 0 to 16"):
        read("unbc", tmp_path)


def test_unbc_says_which_part_is_missing(tmp_path):
    with refused(f"unbc: there is no folder Images in {tmp_path}, which holds nothing\n  Expected Images/"):
        read("unbc", tmp_path)
    plant(tmp_path, "Images/042-ll042/a/readme.txt")
    with refused("unbc: no sequences with pictures in"):
        read("unbc", tmp_path)
    plant(tmp_path, "Images/042-ll042/a/a001.png")
    with refused("unbc: there is no folder Frame_Labels in"):
        read("unbc", tmp_path)
    with refused("unbc: there is no folder Sequence_Labels in"):
        read("unbc", tmp_path, {"unit": "clip"})
    (tmp_path / "Frame_Labels").mkdir()
    (tmp_path / "Sequence_Labels").mkdir()
    with refused("unbc: none of the 1 frames has a label in"):
        read("unbc", tmp_path)
    with refused("unbc: none of the 1 sequences has a label in"):
        read("unbc", tmp_path, {"unit": "clip"})


# --- tables of clips


def table(root, text, *files, start=""):
    plant(root, *files)
    (root / "clips.csv").write_bytes((start + text).encode())
    return root


def test_clips_are_files_folders_and_ranges(tmp_path):
    text = "path,label,subject,start,end,clip,split\r\na.mp4,mild,p1,0,40,,train\r\na.mp4,none,p1,40,,,train\r\n"
    table(tmp_path, text + "b,severe,p2,,,b,test\r\nc.mp4,none,p3,,,,\r\n", "a.mp4", "b/1.png", "c.mp4", start="\ufeff")
    got = read("clips", tmp_path, {"classes": ["none", "mild", "severe"], "ordered": True})
    assert (got.content, got.ordered, got.source, got.notes) == ("clips", True, "clips", ())
    assert named(got) == {"a.mp4#0": "mild", "a.mp4#40": "none", "b": "severe", "c.mp4": "none"}
    assert got.table["clip"].tolist() == ["a.mp4#0", "a.mp4#40", "b", "c.mp4"]
    assert got.table["start"].fillna(-1).tolist() == [0, 40, -1, -1]
    assert got.table["end"].fillna(-1).tolist() == [40, -1, -1, -1]
    assert got.labels.tolist() == [1, 0, 2, 0]
    got.save(tmp_path / "m.parquet")
    again = Manifest.load(tmp_path / "m.parquet")
    assert (again.hash, again.content, again.ordered) == (got.hash, "clips", True)


def test_clips_need_only_path_and_label(tmp_path):
    got = read("clips", table(tmp_path, "path,label\na.mp4,1\nb.mp4,10\nc.mp4,2\n", "a.mp4", "b.mp4", "c.mp4"))
    assert got.classes == ("1", "2", "10")
    assert not got.ordered
    renamed = {"columns": {"path": "file", "label": "level"}, "delimiter": ";", "table": "clips.csv"}
    assert len(read("clips", table(tmp_path, "file;level\na.mp4;1\nb.mp4;2\n"), renamed)) == 2


def test_clips_warn_of_pieces_of_a_file_that_nobody_holds_together(tmp_path):
    text = "path,label,start,end\na.mp4,x,0,9\na.mp4,y,9,18\nb.mp4,x,,\n"
    got = read("clips", table(tmp_path, text, "a.mp4", "b.mp4"))
    said = "1 files hold several clips and say neither subject nor clip: pieces of one may be trained on and tested on"
    assert got.notes == (said,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path\na.mp4\n", "clips: expected the columns path, label in clips.csv, found path"),
        ("path,label\na.mp4,x\na.mp4,y\n", "clips: line 3 of clips.csv: sample 'a.mp4' stands twice"),
        ("path,label,start,end\na.mp4,x,9,9\nb.mp4,y,,\n", "clips: line 2 of clips.csv: end '9' is not above start"),
        ("path,label\nx.mp4,x\ny.mp4,y\n", "clips: none of the 2 files in clips.csv is there"),
        ("path,label\na.mp4,x\n", "clips: at least two classes are needed, clips.csv has x only"),
        ("", "clips: cannot read"),
    ],
)
def test_clips_say_which_line_is_wrong(tmp_path, text, words):
    with refused(words):
        read("clips", table(tmp_path, text, "a.mp4", "b.mp4"))


def test_clips_leave_out_and_name_labels_off_the_scale(tmp_path):
    table(tmp_path, "path,label\na.mp4,0\nb.mp4,1\nc.mp4,7\n", "a.mp4", "b.mp4", "c.mp4")
    got = read("clips", tmp_path, {"classes": [0, 1], "ordered": True})
    assert named(got) == {"a.mp4": "0", "b.mp4": "1"}
    assert got.notes == ("1 of 3 lines of clips.csv are left out, their label is none of 0, 1: line 4 (7)",)
    with refused("clips: line 4 of clips.csv: label '7' is none of 0, 1, 4"):  # 7 may be what is meant by 4
        read("clips", tmp_path, {"classes": [0, 1, 4]})


# --- folders of clips


def test_clip_folder(tmp_path):
    plant(tmp_path, "pain/S2_a.mp4", "calm/S1_b.MOV", "calm/deep/S3_c.avi", "calm/.hidden.mp4", "calm/notes.txt")
    plant(tmp_path, "pain/S4_d/1.png", "pain/S4_d/2.png", "pain/S4_d/faces.txt", "pain/S4_d/.x.png")
    got = read("clip-folder", tmp_path, {"subjects": r"(?:^|/)(S\d+)_"})
    assert (got.content, got.ordered, got.classes) == ("clips", False, ("calm", "pain"))
    paths = ["calm/S1_b.MOV", "calm/deep/S3_c.avi", "calm/notes.txt", "pain/S2_a.mp4", "pain/S4_d"]
    assert got.table["path"].tolist() == paths
    assert got.table["clip"].tolist() == got.table["sample"].tolist() == paths
    assert got.table["subject"].fillna("-").tolist() == ["S1", "S3", "-", "S2", "S4"]
    assert got.notes == ("the subject is not found in 1 of 5 file names, such as calm/notes.txt",)


def test_clip_folder_of_sides_tests_on_the_official_one(tmp_path):
    plant(tmp_path, *(f"{s}/{c}/{n}.mp4" for s in ("train", "test") for c in ("0", "1", "10") for n in range(3)))
    got = read("clip-folder", tmp_path, {"ordered": True})
    assert got.classes == ("0", "1", "10")
    assert got.ordered
    sides = split(got, Protocol(kind="official"))
    assert got.table["path"].iloc[sides.test].str.startswith("test/").all()


def test_clip_folder_keeps_the_order_that_is_given(tmp_path):
    plant(tmp_path, "none/a.mp4", "mild/b.mp4", "severe/c/1.jpg")
    got = read("clip-folder", tmp_path, {"classes": ["none", "mild", "severe"], "ordered": True})
    assert got.classes == ("none", "mild", "severe")
    assert named(got) == {"none/a.mp4": "none", "mild/b.mp4": "mild", "severe/c": "severe"}
    with refused("clip-folder: the classes in " + str(tmp_path) + " are mild, none, severe, classes says none, mild"):
        read("clip-folder", tmp_path, {"classes": ["none", "mild"]})


def test_clip_folder_says_what_is_no_clip(tmp_path):
    with refused("clip-folder: no folders in"):
        read("clip-folder", tmp_path)
    plant(tmp_path, "pain/a.png", "pain/b.png", "calm/c.png")
    with refused("of nothing only\n  3 pictures lie in class folders themselves, such as calm/c.png"):
        read("clip-folder", tmp_path)
    plant(tmp_path, "pain/a.mp4", "calm/c/1.png")
    (tmp_path / "calm" / "d").mkdir()
    (tmp_path / "fear").mkdir()
    got = read("clip-folder", tmp_path)
    assert named(got) == {"calm/c": "calm", "pain/a.mp4": "pain"}
    assert got.notes == (
        "folders without files: fear",
        "folders without a clip: calm/d",
        "pictures that lie in class folders themselves are no clips: 3, such as calm/c.png",
    )


def test_no_source_of_clips_is_silent_about_an_empty_folder(tmp_path):
    for name in ("biovid", "pemf", "unbc", "clips", "clip-folder"):
        with pytest.raises(InputError, match=re.escape(str(tmp_path))):
            read(name, tmp_path)
        with refused(f"{name}: there is no folder"):
            read(name, tmp_path / "none")
