"""FER2013 and FERPlus are read, and what is wrong with others is said."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import EMOTIONS, NAMES, USAGES, VOTES, plant, refused, write_fer, write_votes

from evenface.data.datasets import read_dataset
from evenface.data.datasets.fer2013 import majority


def test_fer2013_table(tmp_path):
    got = read_dataset("fer2013", write_fer(tmp_path))
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert got.labels.tolist() == EMOTIONS
    assert got.table["split"].tolist() == ["train"] * 6 + ["validation"] * 3 + ["test"] * 2
    assert set(got.table["path"]) == {"fer2013.csv"}
    assert got.table["start"].tolist() == list(range(11))
    assert (got.table["end"] - got.table["start"]).eq(1).all()
    again = read_dataset("fer2013", tmp_path / "fer2013.csv")
    assert again.hash == got.hash


def test_fer2013_on_the_public_test(tmp_path):
    got = read_dataset("fer2013", write_fer(tmp_path), {"test": "public"})
    assert got.table["split"].fillna("-").tolist() == ["train"] * 6 + ["test"] * 3 + ["-"] * 2
    assert got.notes == ("the test set is PublicTest; 2 PrivateTest samples are not used",)
    fewer = read_dataset("fer2013", write_fer(tmp_path, rows=9))
    assert fewer.table["split"].tolist() == ["train"] * 6 + ["test"] * 3
    with refused("test: private needs PrivateTest samples"):
        read_dataset("fer2013", tmp_path, {"test": "private"})


def test_fer2013_folders_name_the_same_samples_as_the_table(tmp_path):
    table = read_dataset("fer2013", write_fer(tmp_path / "table"))
    for row, (usage, label) in enumerate(zip(USAGES, table.labels, strict=True)):
        side = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}[usage]
        plant(tmp_path / "folders", f"{side}/{table.classes[label]}/{row:05d}.png")
    folders = read_dataset("fer2013", tmp_path / "folders")
    columns = ["sample", "label", "split", "row"]
    pd.testing.assert_frame_equal(
        folders.table.sort_values("sample", ignore_index=True)[columns], table.table[columns], check_dtype=False
    )


def test_fer2013_file_names_may_say_the_usage(tmp_path):
    plant(tmp_path, "train/angry/Training_1.jpg", "test/angry/PublicTest_1.jpg", "test/sad/PrivateTest_1.jpg")
    got = read_dataset("fer2013", tmp_path)
    assert sorted(got.table["split"]) == ["test", "train", "validation"]
    assert "row" not in got.table


def test_fer2013_says_what_is_wrong(tmp_path):
    write_fer(tmp_path, header="emotion,pixels,usage")
    with refused(
        "fer2013: expected the columns emotion, pixels, Usage in fer2013.csv, found emotion, pixels, usage\n"
        "  Older copies have no column Usage: add it, or give a folder of train/<class>/*.png instead."
    ):
        read_dataset("fer2013", tmp_path)
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n0,1,Training\n7,1,Training\n")
    with refused("line 3 of fer2013.csv has emotion 7 and Usage Training"):
        read_dataset("fer2013", tmp_path)
    write_fer(tmp_path, rows=6)
    with refused("found only Training"):
        read_dataset("fer2013", tmp_path)
    with refused("neither fer2013.csv nor folders of splits in"):
        read_dataset("fer2013", plant(tmp_path / "x", "other/a.png"))
    with refused("the folder train/joy is not a known class"):
        read_dataset("fer2013", plant(tmp_path / "y", "train/joy/a.png"))
    with refused("no files in train"):
        (tmp_path / "z" / "train" / "sad").mkdir(parents=True)
        read_dataset("fer2013", tmp_path / "z")


def test_ferplus_labels_by_majority_and_keeps_the_votes(tmp_path):
    write_votes(write_fer(tmp_path) / "fer2013new.csv")
    got = read_dataset("ferplus", tmp_path)
    assert got.classes == tuple(NAMES.split(",")[:8])
    named = {int(s): got.classes[y] for s, y in zip(got.table["sample"], got.labels, strict=True)}
    assert named == {0: "neutral", 2: "neutral", 3: "contempt", 8: "disgust", 9: "happiness", 10: "surprise"}
    assert got.table["split"].tolist() == ["train"] * 3 + ["validation"] + ["test"] * 2
    kept = got.table[[f"votes_{name}" for name in NAMES.split(",")]].to_numpy().tolist()
    assert kept == [list(VOTES[row]) for row in named]
    said = "images excluded: 3 without a majority, 1 with a majority for unknown, 1 with a majority for not a face"
    assert got.notes == (said,)


def test_ferplus_without_contempt(tmp_path):
    votes = write_votes(tmp_path / "other.csv")
    got = read_dataset("ferplus", write_fer(tmp_path / "fer"), {"contempt": False, "votes": str(votes)})
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
    with refused("ferplus: the file of votes"):
        read_dataset("ferplus", tmp_path)
    write_votes(tmp_path / "fer2013new.csv", VOTES[:5])
    with refused("has 5 rows, but FER2013 in"):
        read_dataset("ferplus", tmp_path)
    write_votes(tmp_path / "fer2013new.csv", usages=USAGES[::-1])
    with refused("the Usage of row 0 is PrivateTest in fer2013new.csv, but differs in"):
        read_dataset("ferplus", tmp_path)
    (tmp_path / "fer2013new.csv").write_text("Usage,neutral\nTraining,1\n")
    with refused("happiness, surprise"):
        read_dataset("ferplus", tmp_path)
    write_votes(tmp_path / "fer2013new.csv", [("many", *row[1:]) for row in VOTES])
    with refused("votes in line 2 of fer2013new.csv must be integers >= 0"):
        read_dataset("ferplus", tmp_path)
    named = plant(tmp_path / "named", "train/angry/Training_1.jpg", "test/sad/PrivateTest_1.jpg")
    with refused("file names in"):
        read_dataset("ferplus", named)


def test_ferplus_on_real_votes(real_data, tmp_path):
    path = real_data / "ferplus" / "fer2013new.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    usage = pd.read_csv(path, usecols=["Usage"])["Usage"]
    lines = "".join(f"0,1,{u}\n" for u in usage)
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + lines)
    got = read_dataset("ferplus", tmp_path, {"votes": str(path)})
    assert got.table["split"].value_counts().to_dict() == {"train": 25060, "validation": 3199, "test": 3153}
    assert got.counts().tolist() == [11012, 9045, 3960, 3749, 2660, 161, 677, 148]
