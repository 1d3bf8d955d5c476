"""Sources read the official layouts, and say exactly what is wrong with others."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.data.sources import SOURCES, read
from evenface.data.sources.ferplus import majority
from evenface.data.sources.synthetic import FALLING, long_tail
from evenface.errors import InputError


def plant(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not looked at")
    return root


def refused(words: str):
    return pytest.raises(InputError, match=re.escape(words))


# --- the registry


def test_every_registered_source_reads():
    from importlib import import_module

    assert all(callable(import_module(module).read) for module in SOURCES.values())


def test_unknown_names_and_options_are_answered_with_the_nearest(tmp_path):
    with refused("Did you mean fer2013?"):
        read("fer2031", tmp_path)
    with refused("source 'folder' has no option 'subject'\n  Did you mean subjects?"):
        read("folder", tmp_path, {"subject": "x"})
    with refused("fer2013: the option test cannot be 'both'"):
        read("fer2013", tmp_path, {"test": "both"})
    with refused("csv: the option columns cannot be 3"):
        read("csv", tmp_path, {"columns": 3})


# --- folder


def test_folder_of_classes(tmp_path):
    plant(tmp_path, "pain/S2_a.png", "calm/S1_b.jpg", "calm/deep/S3_c.png", "calm/.hidden", ".git/x", "calm/notes.txt")
    got = read("folder", tmp_path)
    assert got.classes == ("calm", "pain")
    assert got.table["path"].tolist() == ["calm/S1_b.jpg", "calm/deep/S3_c.png", "calm/notes.txt", "pain/S2_a.png"]
    assert got.labels.tolist() == [0, 0, 0, 1]
    assert got.table["split"].isna().all()
    assert not got.has_subjects


def test_folder_of_sides_knows_their_usual_names(tmp_path):
    plant(tmp_path, "Training/1/a.png", "val/1/a.png", "PrivateTest/10/a.png", "Training/2/a.png", "__MACOSX/x/y")
    got = read("folder", tmp_path)
    assert got.classes == ("1", "2", "10")
    sides = dict(zip(got.table["path"], got.table["split"], strict=True))
    assert sides == {
        "Training/1/a.png": "train",
        "Training/2/a.png": "train",
        "val/1/a.png": "validation",
        "PrivateTest/10/a.png": "test",
    }


def test_folder_finds_subjects_in_file_names(tmp_path):
    plant(tmp_path, "pain/S2_a.png", "calm/S1_b.png", "calm/other.png")
    got = read("folder", tmp_path, {"subjects": "^(S[0-9]+)_"})
    assert dict(zip(got.table["path"], got.table["subject"].fillna("-"), strict=True)) == {
        "calm/S1_b.png": "S1",
        "calm/other.png": "-",
        "pain/S2_a.png": "S2",
    }
    assert got.notes == ("the subject is not found in 1 of 3 file names, such as calm/other.png",)
    for pattern, words in [
        ("^(X)_", "finds nobody in the file names, such as calm/S1_b.png"),
        ("S1", "must have one group in parentheses, 'S1' has 0"),
        ("(", "is no regular expression"),
    ]:
        with refused(words):
            read("folder", tmp_path, {"subjects": pattern})


def test_folder_says_what_is_wrong(tmp_path):
    with refused(f"there is no folder {tmp_path / 'none'}\n  {tmp_path} exists; it holds nothing."):
        read("folder", tmp_path / "none")
    with refused(f"no folders in {tmp_path}, found nothing"):
        read("folder", tmp_path)
    plant(tmp_path, "a.png")
    with refused(f"no folders in {tmp_path}, found a.png"):
        read("folder", tmp_path)
    with refused("is a file, a folder was expected"):
        read("folder", tmp_path / "a.png")
    (tmp_path / "calm").mkdir()
    with refused("has files of nothing only"):
        read("folder", tmp_path)
    plant(tmp_path, "calm/a.png")
    with refused("at least two classes are needed"):
        read("folder", tmp_path)
    plant(tmp_path, "train/pain/a.png")
    with refused("mixes sides (train) and other folders (calm)"):
        read("folder", tmp_path)
    plant(tmp_path / "flat", "train/a.png", "test/a.png")
    with refused("no class folders in"):
        read("folder", tmp_path / "flat")


def test_folder_notes_empty_classes(tmp_path):
    plant(tmp_path, "calm/a.png", "pain/a.png")
    (tmp_path / "fear").mkdir()
    got = read("folder", tmp_path)
    assert got.classes == ("calm", "pain")
    assert got.notes == ("folders without files: fear",)


# --- csv


def write_table(root: Path, text: str, *files: str) -> Path:
    plant(root, *files)
    (root / "samples.csv").write_text(text, encoding="utf-8")
    return root


def test_csv_reads_all_columns_and_renames(tmp_path):
    header = "file,emotion,subject,clip,split,start,end,age"
    text = f"{header}\na.mp4,pain,p1,c1,Training,0,10,31\na.mp4,calm,p1,c1,test,10,20,\n"
    write_table(tmp_path, text, "a.mp4")
    columns = {"path": "file", "label": "emotion"}
    got = read("csv", tmp_path, {"columns": columns})
    assert got.classes == ("calm", "pain")
    assert got.table["sample"].tolist() == ["a.mp4#0", "a.mp4#10"]
    assert got.table[["start", "end"]].to_numpy().tolist() == [[0, 10], [10, 20]]
    assert got.table["split"].tolist() == ["train", "test"]
    assert got.labels.tolist() == [1, 0]
    assert got.table["age"].iloc[0] == 31
    other = read(
        "csv", tmp_path / "samples.csv", {"columns": {"path": "file", "label": "emotion"}, "classes": ["pain", "calm"]}
    )
    assert other.labels.tolist() == [0, 1]
    got.save(tmp_path / "m.parquet")
    assert got.load(tmp_path / "m.parquet").hash == got.hash


def test_csv_takes_absolute_paths_below_root_and_numbered_classes(tmp_path):
    write_table(tmp_path, f"path;label\n{tmp_path}/a.png;10\nsub\\b.png;2\n", "a.png", "sub/b.png")
    got = read("csv", tmp_path, {"delimiter": ";"})
    assert got.table["path"].tolist() == ["a.png", "sub/b.png"]
    assert got.classes == ("2", "10")


def test_csv_takes_a_class_called_none(tmp_path):
    write_table(tmp_path, "path,label\na.png,None\nb.png,NA\n", "a.png", "b.png")
    assert read("csv", tmp_path).classes == ("NA", "None")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,emotion\na,b\n", "expected the columns path, label in samples.csv, found path, emotion"),
        ("path,label\n", "has no lines below its header"),
        ("", "cannot read"),
        ("path,label\na.png,x\n,y\n", "line 3 of samples.csv: path is empty"),
        ("path,label\na.png,x\na.png,\n", "line 3 of samples.csv: label is empty"),
        ("path,label\na.png,x\na.png,y\n", "line 3 of samples.csv: sample 'a.png' stands twice"),
        ("path,label\na.png,x\nb.png,x\n", "at least two classes are needed, samples.csv has x only"),
        ("path,label,split\na.png,x,train\nb.png,y,holdout\n", "split 'holdout' is none of train, validation, test"),
        ("path,label,start\na.png,x,0\nb.png,y,1.5\n", "line 3 of samples.csv: start '1.5' is no whole number"),
        ("path,label,start,end\na.png,x,5,5\nb.png,y,1,2\n", "line 2 of samples.csv: end '5' is not above start"),
        ("path,label\n../a.png,x\nb.png,y\n", "line 2 of samples.csv: path '../a.png' lies outside"),
        ("path,label\nc.png,x\nd.png,y\n", "none of the 2 files in samples.csv is there"),
    ],
)
def test_csv_says_which_line_is_wrong(tmp_path, text, words):
    write_table(tmp_path, text, "a.png", "b.png")
    with refused(words):
        read("csv", tmp_path)


def test_csv_says_which_table_or_column_is_missing(tmp_path):
    with refused("expected one *.csv in"):
        read("csv", tmp_path)
    write_table(tmp_path, "path,label\na.png,x\nc.png,y\n", "a.png")
    for options, words in [
        ({"table": "other.csv"}, "holds samples.csv"),
        ({"columns": {"path": "file"}}, "expected the column file in samples.csv, found path, label"),
        ({"columns": {"labels": "label"}}, "Did you mean label?"),
        ({"classes": ["x", "z"]}, "line 3 of samples.csv: label 'y' is none of x, z"),
    ]:
        with refused(words):
            read("csv", tmp_path, options)
    assert read("csv", tmp_path).notes == ("1 of 2 files in samples.csv are not there, such as c.png",)


# --- FER2013

USAGES = ["Training"] * 6 + ["PublicTest"] * 3 + ["PrivateTest"] * 2
EMOTIONS = [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]


def write_fer(root: Path, rows: int = 11, header: str = "emotion,pixels,Usage") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{e},{' '.join(['7'] * 9)},{u}" for e, u in zip(EMOTIONS[:rows], USAGES, strict=False)]
    (root / "fer2013.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


def test_fer2013_table(tmp_path):
    got = read("fer2013", write_fer(tmp_path))
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert got.labels.tolist() == EMOTIONS
    assert got.table["split"].tolist() == ["train"] * 6 + ["validation"] * 3 + ["test"] * 2
    assert set(got.table["path"]) == {"fer2013.csv"}
    assert got.table["start"].tolist() == list(range(11))
    assert (got.table["end"] - got.table["start"]).eq(1).all()
    again = read("fer2013", tmp_path / "fer2013.csv")
    assert again.hash == got.hash


def test_fer2013_on_the_public_test(tmp_path):
    got = read("fer2013", write_fer(tmp_path), {"test": "public"})
    assert got.table["split"].fillna("-").tolist() == ["train"] * 6 + ["test"] * 3 + ["-"] * 2
    assert got.notes == ("tested on the PublicTest; 2 PrivateTest samples are on no side",)
    fewer = read("fer2013", write_fer(tmp_path, rows=9))
    assert fewer.table["split"].tolist() == ["train"] * 6 + ["test"] * 3
    with refused("test: private was asked for"):
        read("fer2013", tmp_path, {"test": "private"})


def test_fer2013_folders_name_the_same_samples_as_the_table(tmp_path):
    table = read("fer2013", write_fer(tmp_path / "table"))
    for row, (usage, label) in enumerate(zip(USAGES, table.labels, strict=True)):
        side = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}[usage]
        plant(tmp_path / "folders", f"{side}/{table.classes[label]}/{row:05d}.png")
    folders = read("fer2013", tmp_path / "folders")
    columns = ["sample", "label", "split", "row"]
    pd.testing.assert_frame_equal(
        folders.table.sort_values("sample", ignore_index=True)[columns], table.table[columns], check_dtype=False
    )


def test_fer2013_file_names_may_say_the_usage(tmp_path):
    plant(tmp_path, "train/angry/Training_1.jpg", "test/angry/PublicTest_1.jpg", "test/sad/PrivateTest_1.jpg")
    got = read("fer2013", tmp_path)
    assert sorted(got.table["split"]) == ["test", "train", "validation"]
    assert "row" not in got.table


def test_fer2013_says_what_is_wrong(tmp_path):
    write_fer(tmp_path, header="emotion,pixels,usage")
    with refused(
        "fer2013: expected the columns emotion, pixels, Usage in fer2013.csv, found emotion, pixels, usage.\n"
        "  Older copies lack Usage; add it, or give a folder of train/<class>/*.png instead."
    ):
        read("fer2013", tmp_path)
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n0,1,Training\n7,1,Training\n")
    with refused("line 3 of fer2013.csv has emotion 7 and Usage Training"):
        read("fer2013", tmp_path)
    write_fer(tmp_path, rows=6)
    with refused("has only Training samples"):
        read("fer2013", tmp_path)
    with refused("holds other"):
        read("fer2013", plant(tmp_path / "x", "other/a.png"))
    with refused("train/joy is no class"):
        read("fer2013", plant(tmp_path / "y", "train/joy/a.png"))
    with refused("no files in train"):
        (tmp_path / "z" / "train" / "sad").mkdir(parents=True)
        read("fer2013", tmp_path / "z")


# --- FERPlus

NAMES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = [
    (9, 0, 0, 1, 0, 0, 0, 0, 0, 0),  # neutral; the single vote does not count
    (5, 5, 0, 0, 0, 0, 0, 0, 0, 0),  # half is no majority
    (5, 4, 1, 0, 0, 0, 0, 0, 0, 0),  # nine count: five are more than half
    (0, 0, 0, 0, 0, 0, 0, 10, 0, 0),  # contempt
    (0, 0, 0, 0, 2, 0, 0, 0, 8, 0),  # unknown
    (0, 0, 0, 0, 0, 0, 0, 0, 0, 10),  # not a face
    (1, 1, 1, 1, 1, 1, 1, 1, 1, 1),  # nothing counts
    (0, 0, 0, 0, 0, 4, 1, 1, 2, 2),  # half of eight
    (0, 0, 0, 0, 0, 5, 1, 1, 2, 1),  # disgust
    (0, 6, 0, 0, 0, 0, 0, 0, 4, 0),  # happiness
    (0, 0, 6, 0, 0, 0, 0, 0, 0, 4),  # surprise
]


def write_votes(path: Path, votes=VOTES, usages=USAGES) -> Path:
    lines = [f"{u},x.png,{','.join(map(str, v))}" for u, v in zip(usages, votes, strict=False)]
    path.write_text("\n".join([f"Usage,Image name,{NAMES}", *lines]) + "\n")
    return path


def test_ferplus_labels_by_majority_and_keeps_the_votes(tmp_path):
    write_votes(write_fer(tmp_path) / "fer2013new.csv")
    got = read("ferplus", tmp_path)
    assert got.classes == tuple(NAMES.split(",")[:8])
    named = {int(s): got.classes[y] for s, y in zip(got.table["sample"], got.labels, strict=True)}
    assert named == {0: "neutral", 2: "neutral", 3: "contempt", 8: "disgust", 9: "happiness", 10: "surprise"}
    assert got.table["split"].tolist() == ["train"] * 3 + ["validation"] + ["test"] * 2
    kept = got.table[[f"votes_{name}" for name in NAMES.split(",")]].to_numpy().tolist()
    assert kept == [list(VOTES[row]) for row in named]
    said = "pictures left out: 3 without a majority, 1 with a majority for unknown, 1 that are no face"
    assert got.notes == (said,)


def test_ferplus_without_contempt(tmp_path):
    votes = write_votes(tmp_path / "other.csv")
    got = read("ferplus", write_fer(tmp_path / "fer"), {"contempt": False, "votes": str(votes)})
    assert len(got.classes) == 7
    assert "00003" not in set(got.table["sample"])
    assert got.notes[0].endswith("1 with a majority for contempt")


@given(st.lists(st.lists(st.integers(0, 5), min_size=10, max_size=10), min_size=1, max_size=20))
def test_majority_by_a_plain_loop(votes):
    expected = []
    for row in votes:
        counted = [v if v > 1 else 0 for v in row]
        winners = [i for i, v in enumerate(counted) if v > sum(counted) / 2]
        expected.append(winners[0] if winners else -1)
    assert majority(np.array(votes)).tolist() == expected


def test_ferplus_says_what_is_wrong(tmp_path):
    write_fer(tmp_path)
    with refused("there is no file of votes"):
        read("ferplus", tmp_path)
    write_votes(tmp_path / "fer2013new.csv", VOTES[:5])
    with refused("ends at row 4, FER2013 here goes to row 10"):
        read("ferplus", tmp_path)
    write_votes(tmp_path / "fer2013new.csv", usages=USAGES[::-1])
    with refused("row 0 is PrivateTest in fer2013new.csv, but not so in"):
        read("ferplus", tmp_path)
    (tmp_path / "fer2013new.csv").write_text("Usage,neutral\nTraining,1\n")
    with refused("happiness, surprise"):
        read("ferplus", tmp_path)
    write_votes(tmp_path / "fer2013new.csv", [("many", *row[1:]) for row in VOTES])
    with refused("line 2 of fer2013new.csv has votes that are no whole numbers"):
        read("ferplus", tmp_path)
    named = plant(tmp_path / "named", "train/angry/Training_1.jpg", "test/sad/PrivateTest_1.jpg")
    with refused("file names in"):
        read("ferplus", named)


def test_ferplus_on_real_votes(real_data, tmp_path):
    path = real_data / "ferplus" / "fer2013new.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    usage = pd.read_csv(path, usecols=["Usage"])["Usage"]
    lines = "".join(f"0,1,{u}\n" for u in usage)
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + lines)
    got = read("ferplus", tmp_path, {"votes": str(path)})
    assert got.table["split"].value_counts().to_dict() == {"train": 25060, "validation": 3199, "test": 3153}
    assert got.counts().tolist() == [11012, 9045, 3960, 3749, 2660, 161, 677, 148]


# --- synthetic people


@given(st.integers(70, 5000), st.floats(1, 20))
def test_long_tail_has_the_total_and_the_factor(total, factor):
    counts = list(long_tail(total, factor).values())
    assert counts == sorted(counts, reverse=True)
    assert abs(sum(counts) - total) <= len(FALLING)
    assert abs(counts[-1] - counts[0] / factor) <= 0.5


def test_synthetic_refuses_what_cannot_be(tmp_path):
    for options, words in [
        ({"total": 3}, "total must be 7 or more"),
        ({"factor": 0.5}, "factor must be >= 1"),
        ({"counts": {"happy": 1, "joy": 1}}, "unknown class 'joy'"),
        ({"people": 0}, "at least 1 person"),
        ({"counts": {"happy": 1}, "total": "many"}, "the option total cannot be 'many'"),
    ]:
        with refused(words):
            read("synthetic", tmp_path, options)


def test_synthetic_people_come_with_their_truth(tmp_path):
    pytest.importorskip("anny")
    options = {"people": 2, "counts": {"happy": 2, "sad": 2, "fear": 0}, "size": 32}
    got = read("synthetic", tmp_path, options)
    assert got.classes == ("happy", "sad")
    assert got.counts().tolist() == [2, 2]
    assert got.has_subjects
    assert got.table["subject"].nunique() == 2
    assert {"au_12", "pose_yaw", "age", "sex"} <= set(got.table)
    assert all((got.root / path).is_file() for path in got.table["path"])
    assert got.notes[0].startswith("synthetic people, not real faces")
    assert read("synthetic", tmp_path, options).hash == got.hash
    assert read("synthetic", tmp_path, {**options, "seed": 1}).root != got.root
