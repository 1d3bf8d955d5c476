"""Tables and folders of clips are read as they are laid out."""

import re

import pytest
from layouts import named, plant, refused

from evenface.config.recipe import Protocol
from evenface.data.datasets import read_dataset
from evenface.data.manifest import Manifest
from evenface.data.splits import split_manifest
from evenface.utils.errors import InputError

# --- tables of clips


def table(root, text, *files, start=""):
    plant(root, *files)
    (root / "clips.csv").write_bytes((start + text).encode())
    return root


def test_clips_are_files_folders_and_ranges(tmp_path):
    text = "path,label,subject,start,end,clip,split\r\na.mp4,mild,p1,0,40,,train\r\na.mp4,none,p1,40,,,train\r\n"
    table(tmp_path, text + "b,severe,p2,,,b,test\r\nc.mp4,none,p3,,,,\r\n", "a.mp4", "b/1.png", "c.mp4", start="\ufeff")
    got = read_dataset("clips", tmp_path, {"classes": ["none", "mild", "severe"], "ordered": True})
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
    got = read_dataset("clips", table(tmp_path, "path,label\na.mp4,1\nb.mp4,10\nc.mp4,2\n", "a.mp4", "b.mp4", "c.mp4"))
    assert got.classes == ("1", "2", "10")
    assert not got.ordered
    renamed = {"columns": {"path": "file", "label": "level"}, "delimiter": ";", "table": "clips.csv"}
    assert len(read_dataset("clips", table(tmp_path, "file;level\na.mp4;1\nb.mp4;2\n"), renamed)) == 2


def test_clips_warn_of_pieces_of_a_file_that_nobody_holds_together(tmp_path):
    text = "path,label,start,end\na.mp4,x,0,9\na.mp4,y,9,18\nb.mp4,x,,\n"
    got = read_dataset("clips", table(tmp_path, text, "a.mp4", "b.mp4"))
    note = "1 files contain several samples without subject or clip: samples of one file may be in both training and "
    assert got.notes == (f"{note}test set",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path\na.mp4\n", "clips: expected the columns path, label in clips.csv, found path"),
        ("path,label\na.mp4,x\na.mp4,y\n", "clips: line 3 of clips.csv: sample 'a.mp4' is a duplicate"),
        ("path,label,start,end\na.mp4,x,9,9\nb.mp4,y,,\n", "clips: line 2 of clips.csv: end '9' must be above start"),
        ("path,label\nx.mp4,x\ny.mp4,y\n", "clips: none of the 2 files listed in clips.csv exists"),
        ("path,label\na.mp4,x\n", "clips: expected at least two classes in clips.csv, found x"),
        ("", "clips.csv is empty: it has no header"),
    ],
)
def test_clips_say_which_line_is_wrong(tmp_path, text, words):
    with refused(words):
        read_dataset("clips", table(tmp_path, text, "a.mp4", "b.mp4"))


def test_clips_leave_out_and_name_labels_off_the_scale(tmp_path):
    table(tmp_path, "path,label\na.mp4,0\nb.mp4,1\nc.mp4,7\n", "a.mp4", "b.mp4", "c.mp4")
    got = read_dataset("clips", tmp_path, {"classes": [0, 1], "ordered": True})
    assert named(got) == {"a.mp4": "0", "b.mp4": "1"}
    assert got.notes == ("1 of 3 lines of clips.csv are excluded, as their label is none of 0, 1: line 4 (7)",)
    with refused("clips: line 4 of clips.csv: label '7' is none of 0, 1, 4"):  # 7 may be what is meant by 4
        read_dataset("clips", tmp_path, {"classes": [0, 1, 4]})


# --- folders of clips


def test_clip_folder(tmp_path):
    plant(tmp_path, "pain/S2_a.mp4", "calm/S1_b.MOV", "calm/deep/S3_c.avi", "calm/.hidden.mp4", "calm/notes.txt")
    plant(tmp_path, "pain/S4_d/1.png", "pain/S4_d/2.png", "pain/S4_d/faces.txt", "pain/S4_d/.x.png")
    got = read_dataset("clip-folder", tmp_path, {"subjects": r"(?:^|/)(S\d+)_"})
    assert (got.content, got.ordered, got.classes) == ("clips", False, ("calm", "pain"))
    paths = ["calm/S1_b.MOV", "calm/deep/S3_c.avi", "calm/notes.txt", "pain/S2_a.mp4", "pain/S4_d"]
    assert got.table["path"].tolist() == paths
    assert got.table["clip"].tolist() == got.table["sample"].tolist() == paths
    assert got.table["subject"].fillna("-").tolist() == ["S1", "S3", "-", "S2", "S4"]
    assert got.notes == ("subject unknown for 1 of 5 files, such as calm/notes.txt",)


def test_clip_folder_of_sides_tests_on_the_official_one(tmp_path):
    plant(tmp_path, *(f"{s}/{c}/{n}.mp4" for s in ("train", "test") for c in ("0", "1", "10") for n in range(3)))
    got = read_dataset("clip-folder", tmp_path, {"ordered": True})
    assert got.classes == ("0", "1", "10")
    assert got.ordered
    sides = split_manifest(got, Protocol(kind="official"))
    assert got.table["path"].iloc[sides.test].str.startswith("test/").all()


def test_clip_folder_keeps_the_order_that_is_given(tmp_path):
    plant(tmp_path, "none/a.mp4", "mild/b.mp4", "severe/c/1.jpg")
    got = read_dataset("clip-folder", tmp_path, {"classes": ["none", "mild", "severe"], "ordered": True})
    assert got.classes == ("none", "mild", "severe")
    assert named(got) == {"none/a.mp4": "none", "mild/b.mp4": "mild", "severe/c": "severe"}
    with refused(
        "clip-folder: the option classes lists none, mild, but the classes in "
        + str(tmp_path)
        + " are mild, none, severe"
    ):
        read_dataset("clip-folder", tmp_path, {"classes": ["none", "mild"]})


def test_clip_folder_says_what_is_no_clip(tmp_path):
    with refused("clip-folder: no folders in"):
        read_dataset("clip-folder", tmp_path)
    plant(tmp_path, "pain/a.png", "pain/b.png", "calm/c.png")
    with refused("found nothing\n  3 images are directly in class folders, such as calm/c.png"):
        read_dataset("clip-folder", tmp_path)
    plant(tmp_path, "pain/a.mp4", "calm/c/1.png")
    (tmp_path / "calm" / "d").mkdir()
    (tmp_path / "fear").mkdir()
    got = read_dataset("clip-folder", tmp_path)
    assert named(got) == {"calm/c": "calm", "pain/a.mp4": "pain"}
    assert got.notes == (
        "folders without files: fear",
        "folders without a clip: calm/d",
        "images directly in class folders are ignored, as they are no clips: 3, such as calm/c.png",
    )


def test_no_source_of_clips_is_silent_about_an_empty_folder(tmp_path):
    for name in ("biovid", "pemf", "unbc", "clips", "clip-folder"):
        with pytest.raises(InputError, match=re.escape(str(tmp_path))):
            read_dataset(name, tmp_path)
        with refused(f"{name}: the folder {tmp_path / 'none'} does not exist"):
            read_dataset(name, tmp_path / "none")
