"""BioVid is read, and what is no BioVid is explained."""

import re

import numpy as np
import pytest
from layouts import columns_of, named, plant, refused

from evenface.config.recipe import Sequences
from evenface.data.datasets import read_dataset
from evenface.data.datasets.biovid import LEAST_EXPRESSIVE
from evenface.data.manifest import attribute_columns, attribute_groups
from evenface.preprocessing.prepare import prepare

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
    got = read_dataset("biovid", biovid(tmp_path / "PartA"))
    assert (got.content, got.ordered, got.classes, got.notes) == ("clips", True, NAMES, ())
    assert all(f"-{name}-" in sample for sample, name in named(got).items())
    assert got.table["path"][4] == "video/071309_w_21/071309_w_21-PA4-084.mp4"
    assert (got.root / got.table["path"][4]).is_file()
    assert got.table["clip"].equals(got.table["sample"])
    assert sorted(set(got.table["subject"])) == list(PEOPLE)
    assert got.has_subjects
    told = {"071309_w_21": ("female", 21), "082315_w_60": ("female", 60), "120614_w_61": ("female", 61)}
    assert {who: (sex, age) for who, sex, age in columns_of(got, "subject", "sex", "age")} == told
    assert read_dataset("biovid", tmp_path).hash == got.hash


def test_biosignals_are_sequences_of_the_same_clips(tmp_path):
    videos = read_dataset("biovid", biovid(tmp_path))
    header = "time\tgsr\tecg\temg_trapezius\temg_corrugator\temg_zygomaticus"
    for number, (subject, sample) in enumerate(columns_of(videos, "subject", "sample")):
        path = tmp_path / f"biosignals_filtered/{subject}/{sample}_bio.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{1953 * t}\t{number + t / 8}\t{-t}\t1\t2\t{t % 2}" for t in range(8)]
        path.write_text("\n".join([header, *rows, ""]))
    signals = read_dataset("biovid", tmp_path, {"modality": "signals"})
    assert signals.content == "sequences"
    shared = ["sample", "label", "subject", "clip", "sex", "age"]
    assert signals.table[shared].equals(videos.table[shared])
    store = prepare(signals, tmp_path / "stores", size=48, sequences=Sequences(frames=4, sampling="mean"))
    assert store.sequences.shape == (15, 4, 5, 1)
    means = [[3 + (2 * k + 0.5) / 8, -(2 * k + 0.5), 1, 2, 0.5] for k in range(4)]
    np.testing.assert_allclose(store.sequences[3, :, :, 0], means, rtol=1e-6)
    with refused("biovid: no folder biosignals_filtered in"):
        read_dataset("biovid", biovid(tmp_path / "other"), {"modality": "signals"})


def test_names_that_do_not_tell_sex_and_age_are_left_as_they_are(tmp_path):
    people = ("071309_m_9", "083009_w_42", "p3")
    got = read_dataset("biovid", biovid(tmp_path, lines(people), people=people))
    assert columns_of(got, "sex", "age")[::5][:2] == [("male", 9), ("female", 42)]
    assert got.table.loc[got.table["subject"] == "p3", ["sex", "age"]].isna().all(axis=None)
    assert attribute_columns(got.table) == ["age", "sex"]
    assert attribute_groups(got.table["age"], "age").dropna().unique().tolist() == ["under 18", "30 to 44"]


@pytest.mark.parametrize("where", ["samples.csv", "starting_point/samples.csv"])
@pytest.mark.parametrize(("newline", "start"), [("\r\n", ""), ("\n", "\ufeff"), ("\t\r\n", "\ufeff"), ("\n\n", "")])
def test_biovid_takes_the_list_in_both_places_and_from_any_editor(tmp_path, where, newline, start):
    plain = read_dataset("biovid", biovid(tmp_path / "plain"))
    assert (
        read_dataset("biovid", biovid(tmp_path / "other", newline=newline, start=start, where=where)).hash == plain.hash
    )


def test_biovid_binary_is_no_pain_against_the_strongest(tmp_path):
    got = read_dataset("biovid", biovid(tmp_path), {"levels": "binary"})
    assert got.classes == ("BL1", "PA4")
    assert got.counts().tolist() == [3, 3]
    assert all(f"-{name}-" in sample for sample, name in named(got).items())
    assert got.notes == ("clips excluded: 9 of PA1, PA2 and PA3",)


def test_biovid_leaves_people_out(tmp_path):
    biovid(tmp_path)
    assert len(set(LEAST_EXPRESSIVE)) == 20
    assert all(re.fullmatch(r"\d{6}_[wm]_\d\d", name) for name in LEAST_EXPRESSIVE)
    got = read_dataset("biovid", tmp_path, {"exclude": "least-expressive"})
    assert set(got.table["subject"]) == {"071309_w_21"}
    assert got.notes == ("subjects excluded by the option exclude: 2 of 3",)
    named_one = read_dataset("biovid", tmp_path, {"exclude": ["082315_w_60"]})
    assert set(named_one.table["subject"]) == {"071309_w_21", "120614_w_61"}
    with refused(
        "the option exclude has the subject '082315_w_61', who is not in samples.csv\n  Did you mean 082315_w_60"
    ):
        read_dataset("biovid", tmp_path, {"exclude": ["082315_w_61"]})
    with refused("invalid option exclude, got 'some'"):
        read_dataset("biovid", tmp_path, {"exclude": "some"})


def test_biovid_says_who_is_in_the_list_or_in_the_folder_alone(tmp_path):
    biovid(tmp_path, [*lines(), "9\t099999_m_30\t0\tBL1\t99\t099999_m_30-BL1-080"])
    (tmp_path / "video" / "082315_w_60" / "082315_w_60-BL1-080.mp4").unlink()
    plant(tmp_path, "video/000000_w_20/x.mp4", "video/.hidden/x.mp4", "biosignals_filtered/x.csv")
    got = read_dataset("biovid", tmp_path)
    assert len(got) == 15
    assert got.notes == (
        "1 of 4 subjects in samples.csv have no folder in video and are excluded with 1 clips: 099999_m_30",
        "1 folders in video are not in samples.csv and are excluded: 000000_w_20",
        "1 of 15 files listed in samples.csv do not exist, such as video/082315_w_60/082315_w_60-BL1-080.mp4",
    )
    assert len(read_dataset("biovid", tmp_path, {"exclude": ["099999_m_30"]}).notes) == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ["1\t071309_w_21\t5\tPA5\t1\ta"],
            "line 2 of samples.csv: class_id 5 of a is none of 0 BL1, 1 PA1, 2 PA2, 3 PA3, 4 PA4",
        ),
        (["", "1\t071309_w_21\t-1\t\t1\ta"], "line 3 of samples.csv: class_id -1 of a is none of"),
        (["1\t071309_w_21\t2.5\tPA2\t1\ta"], "line 2 of samples.csv: class_id 2.5 of a"),
        (["1\t071309_w_21\t1\tPA2\t1\ta"], "line 2 of samples.csv: class_id 1 is PA1, but class_name is PA2"),
        (["1\t071309_w_21\t1\tPA1\t1\ta"] * 2, "line 3 of samples.csv: duplicate sample_name a"),
        (["1\t\t1\tPA1\t1\ta"], "line 2 of samples.csv: subject_name is empty"),
        (["1\t071309_w_21\t1"], "line 2 of samples.csv: sample_name is empty"),
        (["1\t099999_m_30\t1\tPA1\t1\ta"], "none of the 1 subjects in samples.csv has a folder in"),
        (["1\t071309_w_21\t1\tPA1\t1\ta"], "none of the 1 files listed in samples.csv exists, such as"),
        ([], "has no lines below its header"),
    ],
)
def test_biovid_says_which_line_is_wrong(tmp_path, rows, words):
    with refused(words):
        read_dataset("biovid", biovid(tmp_path, rows))


def test_biovid_leaves_out_and_names_a_level_that_does_not_exist(tmp_path):
    whole = read_dataset("biovid", biovid(tmp_path))
    got = read_dataset("biovid", biovid(tmp_path, [*lines(), "1\t071309_w_21\t5\tPA5\t99\t071309_w_21-PA5-085"]))
    assert got.table["sample"].tolist() == whole.table["sample"].tolist()
    (said,) = got.notes
    assert said.startswith("1 of 16 clips in samples.csv are excluded, as their class_id is none of 0 BL1, 1 PA1,")
    assert said.endswith(": line 17 (5)")


def test_biovid_says_which_part_is_missing(tmp_path):
    with refused(f"biovid: no list of samples (samples.csv) in {tmp_path}, which has nothing\n  Expected part A"):
        read_dataset("biovid", tmp_path)
    plant(tmp_path, "samples.csv", "biosignals_raw/x.csv")
    with refused(f"biovid: no folder video in {tmp_path}, which has biosignals_raw"):
        read_dataset("biovid", tmp_path)
    (tmp_path / "video").mkdir()
    (tmp_path / "samples.csv").write_text(HEADER.replace("subject_name", "name") + "\n1\ta\t0\tBL1\t1\tb\n")
    with refused("expected the columns subject_name, class_id, sample_name in samples.csv, found subject_id, name"):
        read_dataset("biovid", tmp_path)
    (tmp_path / "samples.csv").write_bytes(b"\xff\xfe\x00")
    with refused("samples.csv, line 1: not UTF-16"):
        read_dataset("biovid", tmp_path)
