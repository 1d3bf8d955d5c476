"""RAF-DB, AffectNet, MMAFEDB and Emotion-Domestic are read as their owners lay them out."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import NAMES, columns_of, named, plant, refused, write_fer, write_votes

from evenface.config.recipe import Protocol
from evenface.data.datasets import read_dataset
from evenface.data.datasets.affectnet import CODES
from evenface.data.labels import EXPRESSIONS
from evenface.data.splits import split_manifest
from evenface.utils.errors import InputError

# --- RAF-DB

RAF = """train_00001.jpg 5
train_00002.jpg 4
test_0001.jpg 1

test_0002.jpg 7
"""


def raf(root, text=RAF, kind="aligned"):
    ending = "_aligned" if kind == "aligned" else ""
    names = [line.split()[0].removesuffix(".jpg") for line in RAF.splitlines() if line]
    plant(root, "EmoLabel/list_patition_label.txt", *(f"Image/{kind}/{name}{ending}.jpg" for name in names))
    (root / "EmoLabel" / "list_patition_label.txt").write_text(text)
    return root


def test_rafdb(tmp_path):
    got = read_dataset("rafdb", raf(tmp_path / "basic"))
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert named(got) == {
        "train_00001": "sad",
        "train_00002": "happy",
        "test_0001": "surprise",
        "test_0002": "neutral",
    }
    assert got.table["split"].tolist() == ["train", "train", "test", "test"]
    assert got.table["path"][0] == "Image/aligned/train_00001_aligned.jpg"
    assert got.notes == ()
    assert read_dataset("rafdb", tmp_path).hash == got.hash


def test_rafdb_knows_every_code(tmp_path):
    text = "".join(f"train_0000{code}.jpg {code}\n" for code in range(1, 8))
    plant(tmp_path, *(f"Image/aligned/train_0000{code}_aligned.jpg" for code in range(1, 8)))
    plant(tmp_path, "EmoLabel/list_patition_label.txt")
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text(text)
    official = ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
    assert list(named(read_dataset("rafdb", tmp_path)).values()) == official


def test_rafdb_original_pictures(tmp_path):
    got = read_dataset("rafdb", raf(tmp_path, kind="original"), {"images": "original"})
    assert got.table["path"].tolist()[2] == "Image/original/test_0001.jpg"
    with refused("Image/aligned"):
        read_dataset("rafdb", tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train_00001.jpg 8\n", "line 1 of list_patition_label.txt has the label 8\n  Known: 1 surprise, 2 fear"),
        ("\ntrain_00001.jpg\n", "line 2 of list_patition_label.txt is 'train_00001.jpg', expected a line such as"),
        ("val_00001.jpg 3\n", "line 1 of list_patition_label.txt is 'val_00001.jpg 3'"),
        ("train_00001.jpg 1\ntrain_00001.jpg 2\n", "duplicate sample name 'train_00001' in list_patition_label.txt"),
        ("\n", "is empty"),
        ("train_9.jpg 1\ntest_9.jpg 1\n", "none of the 2 files listed in list_patition_label.txt exists"),
    ],
)
def test_rafdb_says_what_is_wrong(tmp_path, text, words):
    with refused(words):
        read_dataset("rafdb", raf(tmp_path, text))


def test_rafdb_notes_pictures_that_are_not_there(tmp_path):
    (raf(tmp_path) / "Image" / "aligned" / "test_0001_aligned.jpg").unlink()
    said = "1 of 4 files listed in list_patition_label.txt do not exist, such as Image/aligned/test_0001_aligned.jpg"
    assert read_dataset("rafdb", tmp_path).notes == (said,)


def test_rafdb_says_which_part_is_missing(tmp_path):
    with refused("rafdb: the folder"):
        read_dataset("rafdb", tmp_path / "none")
    with refused("EmoLabel/list_patition_label.txt does not exist\n  Expected"):
        read_dataset("rafdb", tmp_path)
    shutil.rmtree(raf(tmp_path) / "Image")
    with refused("Image/aligned does not exist\n  Expected EmoLabel/list_patition_label.txt and Image/aligned/"):
        read_dataset("rafdb", tmp_path)


# --- AffectNet


def annotate(root, side, codes, save=str):
    for number, code in enumerate(codes):
        plant(root, f"{side}/images/{number}.jpg", f"{side}/annotations/{number}_exp.npy")
        np.save(root / side / "annotations" / f"{number}_exp.npy", np.array(save(code)))
        plant(root, f"{side}/annotations/{number}_val.npy", f"{side}/annotations/{number}_lnd.npy")
    return root


@pytest.mark.parametrize("save", [str, int, np.uint8, lambda code: [code]])
def test_affectnet_eight_classes_in_every_form_of_number(tmp_path, save):
    annotate(tmp_path, "train_set", range(8), save)
    got = read_dataset("affectnet", annotate(tmp_path, "val_set", [7, 6], save))
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
    official = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"]
    assert list(named(got).values()) == [*official, "contempt", "angry"]
    assert got.table["split"].tolist() == ["train"] * 8 + ["test"] * 2
    assert got.table["path"].iloc[-1] == "val_set/images/1.jpg"
    assert got.notes == ()


def test_affectnet_seven_classes_leave_out_contempt(tmp_path):
    annotate(tmp_path, "train_set", range(8))
    got = read_dataset("affectnet", annotate(tmp_path, "val_set", [7, 6, 7]), {"classes": 7})
    assert got.classes == EXPRESSIONS[:7]
    assert len(got) == 8
    assert got.notes == ("images excluded: 3 of contempt",)
    with refused("invalid option classes, got 6"):
        read_dataset("affectnet", tmp_path, {"classes": 6})


@given(st.lists(st.integers(0, 7), min_size=1, max_size=30))
def test_affectnet_reads_each_annotation_of_its_own_picture(tmp_path_factory, codes):
    root = tmp_path_factory.mktemp("affectnet")
    got = read_dataset("affectnet", annotate(annotate(root, "train_set", codes), "val_set", [0]))
    assert named(got) == {
        **{f"train_set/images/{number}.jpg": CODES[code] for number, code in enumerate(codes)},
        "val_set/images/0.jpg": "neutral",
    }


def test_affectnet_notes_pictures_or_annotations_that_are_not_there(tmp_path):
    annotate(annotate(tmp_path, "train_set", [0, 1, 2]), "val_set", [3])
    (tmp_path / "train_set" / "images" / "1.jpg").unlink()
    (tmp_path / "train_set" / "annotations" / "2_exp.npy").unlink()
    got = read_dataset("affectnet", tmp_path)
    assert got.notes == (
        "1 of 2 images of train_set do not exist, such as 1.jpg",
        "1 images of train_set without annotation are excluded, such as 2",
    )
    assert list(named(got)) == ["train_set/images/0.jpg", "train_set/images/1.jpg", "val_set/images/0.jpg"]


class Trap:
    """What must never run: unpickling it would."""

    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array("8"), "0_exp.npy contains 8, expected 0 to 7\n  Known: 0 neutral, 1 happy"),
        (np.array(-1), "contains -1"),
        (np.array([1, 2]), "contains an array of shape (2,)"),
        (np.array([Trap()], dtype=object), "cannot read"),
        (None, "cannot read"),
    ],
)
def test_affectnet_refuses_other_annotations(tmp_path, value, words, capsys):
    annotate(annotate(tmp_path, "train_set", [0]), "val_set", [1])
    path = tmp_path / "train_set" / "annotations" / "0_exp.npy"
    if value is None:
        path.write_bytes(b"")
    else:
        np.save(path, value, allow_pickle=True)
    with refused(words):
        read_dataset("affectnet", tmp_path)
    assert "unpickled" not in capsys.readouterr().out


def test_affectnet_says_which_part_is_missing(tmp_path):
    annotate(tmp_path, "train_set", [0])
    with refused(
        "affectnet: the folder " + str(tmp_path / "val_set") + " does not exist\n  Expected train_set/ and val_set/"
    ):
        read_dataset("affectnet", tmp_path)
    plant(tmp_path, "val_set/images/0.jpg")
    with refused("val_set/annotations"):
        read_dataset("affectnet", tmp_path)
    plant(tmp_path, "val_set/annotations/7_val.npy")
    with refused("no image in val_set/images has an annotation: found 1 images and 0 files *_exp.npy"):
        read_dataset("affectnet", tmp_path)


# --- MMAFEDB and Emotion-Domestic

LAYOUTS = {
    "mmafedb": ("MMAFEDB", ("train", "valid", "test")),
    "emotion-domestic": ("emotion-domestic", ("train", "test")),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_sides_of_class_folders(tmp_path, name):
    top, sides = LAYOUTS[name]
    for side in sides:
        plant(tmp_path / top, *(f"{side}/{word}/{side}-{word}.png" for word in EXPRESSIONS[:7]))
    got = read_dataset(name, tmp_path)
    assert got.classes == EXPRESSIONS[:7]
    assert all(f"/{word}/" in sample for sample, word in named(got).items())
    assert got.table.groupby("split").size().to_dict() == {{"valid": "validation"}.get(side, side): 7 for side in sides}
    assert got.notes == ()
    assert read_dataset(name, tmp_path / top).hash == got.hash


@pytest.mark.parametrize("name", LAYOUTS)
def test_sides_of_class_folders_say_what_is_missing(tmp_path, name):
    _, sides = LAYOUTS[name]
    with refused(f"{name}: no folder train of {tmp_path}, which has nothing\n  Expected folders train"):
        read_dataset(name, tmp_path)
    for side in sides[:-1]:
        plant(tmp_path, f"{side}/Happiness/a.png", f"{side}/sad/b.png")
    with refused(f"{name}: no folder test of {tmp_path}"):
        read_dataset(name, tmp_path)
    (tmp_path / "test" / "angry").mkdir(parents=True)
    with refused(f"{name}: no images in the folder test of {tmp_path}"):
        read_dataset(name, tmp_path)
    plant(tmp_path, "test/angry/a.png", "others/x/y.png")
    got = read_dataset(name, tmp_path)
    assert set(named(got).values()) == {"happy", "sad", "angry"}
    assert got.notes[0].startswith("classes without images: test/disgust, test/fear")
    plant(tmp_path, "train/contempt/c.png")
    with refused(f"{name}: the folder train/contempt is not a known class\n  Known: angry"):
        read_dataset(name, tmp_path)


def test_emotion_domestic_is_tested_on_val_where_a_copy_calls_it_so(tmp_path):
    plant(
        tmp_path, *(f"{side}/{word}/{n}.png" for side in ("train", "val") for word in EXPRESSIONS[:7] for n in range(3))
    )
    got = read_dataset("emotion-domestic", tmp_path)
    sides = split_manifest(got, Protocol(kind="official"))
    assert set(got.table["path"].iloc[sides.test].str.split("/").str[0]) == {"val"}
    assert "there is no official test set: the official validation set is the test set" in sides.notes


# --- FERPlus in seven classes


def test_ferplus_seven_classes_have_the_papers_counts(real_data, tmp_path):
    path = real_data / "ferplus" / "fer2013new.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    usage = pd.read_csv(path, usecols=["Usage"])["Usage"]
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(f"0,1,{u}\n" for u in usage))
    got = read_dataset("ferplus", tmp_path, {"votes": str(path), "contempt": False})
    counts = got.table["split"].value_counts()
    assert (counts["train"], counts["test"]) == (24941, 3137)


def test_ferplus_seven_classes_keep_the_other_labels(tmp_path):
    write_votes(write_fer(tmp_path) / "fer2013new.csv")
    eight, seven = read_dataset("ferplus", tmp_path), read_dataset("ferplus", tmp_path, {"contempt": False})
    assert seven.classes == tuple(NAMES.split(",")[:7])
    assert {s: c for s, c in named(eight).items() if c != "contempt"} == named(seven)


def test_no_source_is_silent_about_an_empty_folder(tmp_path):
    for name in ("rafdb", "affectnet", "mmafedb", "emotion-domestic"):
        with pytest.raises(InputError, match=re.escape(str(tmp_path))):
            read_dataset(name, tmp_path)


AFFECT = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def write_affectnet_2017(root, training, validation, lists=""):
    for name, rows in (("training.csv", training), ("validation.csv", validation)):
        lines = [f"{path},1,2,3,4,1.5;2.5;3.5,{code},0.1,0.2" for path, code in rows]
        path = root / lists / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([AFFECT, *lines]) + "\n")
        plant(root, *(f"Manually_Annotated_Images/{path}" for path, _ in rows))


@pytest.mark.parametrize("lists", ["", "Manually_Annotated_file_lists"])
def test_affectnet_of_2017_is_read_by_its_lists(tmp_path, lists):
    training = [(f"{i}/a{i}.jpg", i) for i in range(11)]
    write_affectnet_2017(tmp_path, training, [("1/v.jpg", 1), ("7/v.jpg", 7)], lists)
    found = read_dataset("affectnet", tmp_path)
    words = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
    assert list(named(found).values()) == [*words, "happy", "contempt"]
    assert list(found.table["split"]) == ["train"] * 8 + ["test"] * 2
    assert found.table["path"].iloc[0] == "Manually_Annotated_Images/0/a0.jpg"
    assert found.notes == ("lines of training.csv excluded: 1 none, 1 uncertain, 1 no face",)
    assert len(read_dataset("affectnet", tmp_path, {"classes": 7})) == 8


def test_affectnet_of_2017_names_the_line(tmp_path):
    write_affectnet_2017(tmp_path, [("1/a.jpg", 1), ("1/b.jpg", 11)], [("1/v.jpg", 1)])
    with refused("affectnet: line 3 of training.csv has the path 1/b.jpg and the expression 11"):
        read_dataset("affectnet", tmp_path)
    (tmp_path / "validation.csv").unlink()
    (tmp_path / "training.csv").write_text(f"{AFFECT}\n1/a.jpg,1,2,3,4,1,1,0,0\n")
    with refused("affectnet: validation.csv does not exist"):
        read_dataset("affectnet", tmp_path)


@pytest.mark.parametrize("above", ["basic", "RAF-DB/basic", "d/RAF-DB/basic"])
def test_rafdb_is_found_below_folders_that_hold_it(tmp_path, above):
    root = tmp_path / above
    plant(root, "Image/aligned/train_00001_aligned.jpg", "Image/aligned/test_0001_aligned.jpg")
    plant(tmp_path / above.rpartition("/")[0] / "compound", "x.txt")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg 5\ntest_0001.jpg 4\n")
    found = read_dataset("rafdb", tmp_path if above.count("/") < 2 else tmp_path / "d")
    assert (len(found), found.root) == (2, root)


@pytest.mark.parametrize(("source", "side"), [("mmafedb", "valid"), ("emotion-domestic", "val")])
def test_adjusted_training_folders_take_the_place_of_the_whole_one(tmp_path, source, side):
    plant(tmp_path, "imbalanced_train_100/happy/1.jpg", f"{side}/sad/2.jpg", "test/happy/3.jpg")
    with refused("train: imbalanced_train_100"):
        read_dataset(source, tmp_path)
    plant(tmp_path, *(f"train/happy/{i}.jpg" for i in range(5)))
    found = read_dataset(source, tmp_path, {"train": "imbalanced_train_100"})
    assert list(found.table["path"][found.table["split"] == "train"]) == ["imbalanced_train_100/happy/1.jpg"]
    with refused("the folder imbalanced_train_10 (option train) does not exist in"):
        read_dataset(source, tmp_path, {"train": "imbalanced_train_10"})


def test_an_adjusted_table_of_fer2013_takes_the_place_of_its_training_rows(tmp_path):
    write_fer(tmp_path)
    (tmp_path / "imbalanced_train_100.csv").write_text("emotion,pixels\n3,1 1 1 1\n\n6,2 2 2 2\n")
    with refused("set train: imbalanced_train_100.csv"):
        read_dataset("fer2013", tmp_path / "imbalanced_train_100.csv")
    found = read_dataset("fer2013", tmp_path, {"train": "imbalanced_train_100.csv"})
    assert columns_of(found, "sample", "path", "split")[:2] == [
        ("imbalanced_train_100-00000", "imbalanced_train_100.csv", "train"),
        ("imbalanced_train_100-00001", "imbalanced_train_100.csv", "train"),
    ]
    assert list(found.labels[:2]) == [3, 6]
    assert found.counts().sum() == 2 + 5
    assert "row" not in found.table
    with refused("fer2013: the table"):
        read_dataset("fer2013", tmp_path, {"train": "none.csv"})
