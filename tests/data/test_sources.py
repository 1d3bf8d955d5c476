"""The registry, folders, tables and synthetic people: read as they are laid out, and said exactly what is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import columns_of, plant, refused
from PIL import Image

from evenface.data.datasets import DATASETS, WITHOUT_READER, dataset_reader, list_sources, read_dataset
from evenface.data.datasets.synthetic import CLASSES_BY_FREQUENCY, long_tailed_counts
from evenface.synthesis.images import FacePlan, compose_face
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer

# --- the registry


def test_every_registered_source_reads():

    assert all(callable(dataset_reader(name)) for name in DATASETS)


def test_unknown_names_and_options_are_answered_with_the_nearest(tmp_path):
    with refused("Did you mean fer2013?"):
        read_dataset("fer2031", tmp_path)
    with refused("source 'folder' has no option 'subject'\n  Did you mean subjects?"):
        read_dataset("folder", tmp_path, {"subject": "x"})
    with refused("source 'fer2013': invalid option test, got 'both'"):
        read_dataset("fer2013", tmp_path, {"test": "both"})
    with refused("source 'csv': invalid option columns, got 3"):
        read_dataset("csv", tmp_path, {"columns": 3})


def test_sources_are_listed_with_what_is_needed_and_the_terms(capsys):
    from evenface.cli import app

    lines = list_sources()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [*DATASETS, *WITHOUT_READER]
    with pytest.raises(SystemExit) as info:
        app(["data", "list", "disfa"])
    assert not info.value.code
    shown = capsys.readouterr().out
    assert shown.splitlines() == list_sources(["disfa"])
    for words in ("12 action units", "ActionUnit_Labels/SN001", "University of Denver", "http://mohammadmahoor.com"):
        assert words in shown
    with refused("Did you mean disfa"):
        list_sources(["disfaa"])


LEVELS = ("none", "mild", "severe")


def levels_folder(root):
    plant(root, *(f"{name}/{number}.png" for name in LEVELS for number in range(2)))
    return root


def levels_table(root):
    levels_folder(root)
    lines = [f"{name}/{number}.png,{name}" for name in LEVELS for number in range(2)]
    (root / "levels.csv").write_text("\n".join(["path,label", *lines]))
    return root / "levels.csv"


@pytest.mark.parametrize(("source", "tree"), [("folder", levels_folder), ("csv", levels_table)])
def test_levels_of_images_are_ordinal_in_the_given_order(source, tree, tmp_path):
    root = tree(tmp_path)
    got = read_dataset(source, root, {"ordered": True, "classes": LEVELS})
    assert (got.task, got.content, got.classes) == ("ordinal", "stills", LEVELS)
    named_so = {path.partition("/")[0]: got.classes[label] for path, label in columns_of(got, "path", "label")}
    assert named_so == {name: name for name in LEVELS}
    plain = read_dataset(source, root)
    assert (plain.task, plain.classes) == ("classification", ("mild", "none", "severe"))
    assert read_dataset(source, root, {"classes": LEVELS}).task == "classification"
    with refused(f"{source}: the order of the classes mild, none, severe is unknown"):
        read_dataset(source, root, {"ordered": True})


# --- folder


def test_folder_of_classes(tmp_path):
    plant(tmp_path, "pain/S2_a.png", "calm/S1_b.jpg", "calm/deep/S3_c.png", "calm/.hidden", ".git/x", "calm/notes.txt")
    got = read_dataset("folder", tmp_path)
    assert got.classes == ("calm", "pain")
    assert got.table["path"].tolist() == ["calm/S1_b.jpg", "calm/deep/S3_c.png", "calm/notes.txt", "pain/S2_a.png"]
    assert got.labels.tolist() == [0, 0, 0, 1]
    assert got.table["split"].isna().all()
    assert not got.has_subjects


def test_folder_of_sides_knows_their_usual_names(tmp_path):
    plant(tmp_path, "Training/1/a.png", "val/1/a.png", "PrivateTest/10/a.png", "Training/2/a.png", "__MACOSX/x/y")
    got = read_dataset("folder", tmp_path)
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
    got = read_dataset("folder", tmp_path, {"subjects": "^(S[0-9]+)_"})
    assert dict(zip(got.table["path"], got.table["subject"].fillna("-"), strict=True)) == {
        "calm/S1_b.png": "S1",
        "calm/other.png": "-",
        "pain/S2_a.png": "S2",
    }
    assert got.notes == ("subject unknown for 1 of 3 files, such as calm/other.png",)
    for pattern, words in [
        ("^(X)_", "matches none of 3 file names, such as calm/S1_b.png"),
        ("S1", "must have one group in parentheses, 'S1' has 0"),
        ("(", "must be a regular expression"),
    ]:
        with refused(words):
            read_dataset("folder", tmp_path, {"subjects": pattern})


def test_folder_says_what_is_wrong(tmp_path):
    with refused(f"the folder {tmp_path / 'none'} does not exist\n  {tmp_path} exists; it has nothing."):
        read_dataset("folder", tmp_path / "none")
    with refused(f"no folders in {tmp_path}, only files: nothing"):
        read_dataset("folder", tmp_path)
    plant(tmp_path, "a.png")
    with refused(f"no folders in {tmp_path}, only files: a.png"):
        read_dataset("folder", tmp_path)
    with refused("is a file; expected a folder"):
        read_dataset("folder", tmp_path / "a.png")
    (tmp_path / "calm").mkdir()
    with refused("found nothing"):
        read_dataset("folder", tmp_path)
    plant(tmp_path, "calm/a.png")
    with refused("expected at least two classes"):
        read_dataset("folder", tmp_path)
    plant(tmp_path, "train/pain/a.png")
    with refused("mixes folders of splits (train) and other folders (calm)"):
        read_dataset("folder", tmp_path)
    plant(tmp_path / "flat", "train/a.png", "test/a.png")
    with refused("no class folders in"):
        read_dataset("folder", tmp_path / "flat")


def test_folder_notes_empty_classes(tmp_path):
    plant(tmp_path, "calm/a.png", "pain/a.png")
    (tmp_path / "fear").mkdir()
    got = read_dataset("folder", tmp_path)
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
    got = read_dataset("csv", tmp_path, {"columns": columns})
    assert got.classes == ("calm", "pain")
    assert got.table["sample"].tolist() == ["a.mp4#0", "a.mp4#10"]
    assert got.table[["start", "end"]].to_numpy().tolist() == [[0, 10], [10, 20]]
    assert got.table["split"].tolist() == ["train", "test"]
    assert got.labels.tolist() == [1, 0]
    assert got.table["age"].iloc[0] == 31
    other = read_dataset(
        "csv", tmp_path / "samples.csv", {"columns": {"path": "file", "label": "emotion"}, "classes": ["pain", "calm"]}
    )
    assert other.labels.tolist() == [0, 1]
    got.save(tmp_path / "m.parquet")
    assert got.load(tmp_path / "m.parquet").hash == got.hash


def test_csv_takes_absolute_paths_below_root_and_numbered_classes(tmp_path):
    write_table(tmp_path, f"path;label\n{tmp_path}/a.png;10\nsub\\b.png;2\n", "a.png", "sub/b.png")
    got = read_dataset("csv", tmp_path, {"delimiter": ";"})
    assert got.table["path"].tolist() == ["a.png", "sub/b.png"]
    assert got.classes == ("2", "10")


def test_csv_takes_a_class_called_none(tmp_path):
    write_table(tmp_path, "path,label\na.png,None\nb.png,NA\n", "a.png", "b.png")
    assert read_dataset("csv", tmp_path).classes == ("NA", "None")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,emotion\na,b\n", "expected the columns path, label in samples.csv, found path, emotion"),
        ("path,label\n", "has no lines below its header"),
        ("", "samples.csv is empty: it has no header"),
        ("path,label\na.png,x\n,y\n", "line 3 of samples.csv: path is empty"),
        ("path,label\na.png,x\na.png,\n", "line 3 of samples.csv: label is empty"),
        ("path,label\na.png,x\na.png,y\n", "line 3 of samples.csv: sample 'a.png' is a duplicate"),
        ("path,label\na.png,x\nb.png,x\n", "expected at least two classes in samples.csv, found x"),
        ("path,label,split\na.png,x,train\nb.png,y,holdout\n", "split 'holdout' must be train, validation or test"),
        ("path,label,start\na.png,x,0\nb.png,y,inf\n", "line 3 of samples.csv: start 'inf' must be an integer >= 0"),
        ("path,label,start\na.png,x,0\nb.png,y,1e30\n", "line 3 of samples.csv: start '1e30' must be an integer >= 0"),
        (f"path,label\n{'c' * 5000}.png,x\nd.png,y\n", "none of the 2 files listed in samples.csv exists"),
        ("path,label,start\na.png,x,0\nb.png,y,1.5\n", "line 3 of samples.csv: start '1.5' must be an integer >= 0"),
        ("path,label,start,end\na.png,x,5,5\nb.png,y,1,2\n", "line 2 of samples.csv: end '5' must be above start"),
        ("path,label\n../a.png,x\nb.png,y\n", "line 2 of samples.csv: path '../a.png' is outside"),
        ("path,label\nc.png,x\nd.png,y\n", "none of the 2 files listed in samples.csv exists"),
    ],
)
def test_csv_says_which_line_is_wrong(tmp_path, text, words):
    write_table(tmp_path, text, "a.png", "b.png")
    with refused(words):
        read_dataset("csv", tmp_path)


def test_csv_says_which_table_or_column_is_missing(tmp_path):
    with refused("expected one *.csv in"):
        read_dataset("csv", tmp_path)
    write_table(tmp_path, "path,label\na.png,x\nc.png,y\n", "a.png")
    for options, words in [
        ({"table": "other.csv"}, "has samples.csv"),
        ({"columns": {"path": "file"}}, "expected the column file in samples.csv, found path, label"),
        ({"columns": {"labels": "label"}}, "Did you mean label?"),
        ({"classes": ["x", "z"]}, "line 3 of samples.csv: label 'y' is none of x, z"),
    ]:
        with refused(words):
            read_dataset("csv", tmp_path, options)
    assert read_dataset("csv", tmp_path).notes == ("1 of 2 files listed in samples.csv do not exist, such as c.png",)


# --- synthetic people


@given(st.integers(70, 5000), st.floats(1, 20))
def test_long_tailed_counts_have_the_total_and_the_factor(total, factor):
    counts = list(long_tailed_counts("synthetic", CLASSES_BY_FREQUENCY, total, factor).values())
    assert counts == sorted(counts, reverse=True)
    assert abs(sum(counts) - total) <= len(CLASSES_BY_FREQUENCY)
    assert abs(counts[-1] - counts[0] / factor) <= 0.5


def test_synthetic_refuses_what_cannot_be(tmp_path):
    for options, words in [
        ({"total": 3}, "total must be 7 or more"),
        ({"factor": 0.5}, "factor must be >= 1"),
        ({"counts": {"happy": 1, "joy": 1}}, "unknown class 'joy'"),
        ({"people": 0}, "at least 1 person"),
        ({"counts": {"happy": 1}, "total": "many"}, "invalid option total, got 'many'"),
    ]:
        with refused(words):
            read_dataset("synthetic", tmp_path, options)


def test_synthetic_people_come_with_their_truth(tmp_path):
    options = {"people": 2, "counts": {"happy": 2, "sad": 2, "fear": 0}, "size": 32}
    got = read_dataset("synthetic", tmp_path, options)
    assert got.classes == ("happy", "sad")
    assert got.counts().tolist() == [2, 2]
    assert got.has_subjects
    assert got.table["subject"].nunique() == 2
    assert {"AU12", "pspi", "pose_yaw", "age", "sex"} <= set(got.table)
    assert all((got.root / path).is_file() for path in got.table["path"])
    assert got.notes[0].startswith("synthetic people, not real faces")
    assert read_dataset("synthetic", tmp_path, options).hash == got.hash
    assert read_dataset("synthetic", tmp_path, {**options, "seed": 1}).root != got.root


def test_the_people_of_the_demo_come_with_the_package(tmp_path):
    got = read_dataset("synthetic-demo", tmp_path)
    table = got.table
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    assert got.counts(train.index.to_numpy()).max() == 20 * got.counts(train.index.to_numpy()).min()
    assert len(set(got.counts(test.index.to_numpy()).tolist())) == 1
    assert not set(train["subject"]) & set(test["subject"])
    for path in table["path"]:
        with Image.open(got.root / path) as image:
            assert (image.size, image.mode) == ((48, 48), "L")
    first = table["path"].iloc[0]
    (got.root / first).unlink()  # what was deleted from the cache is unpacked again
    assert read_dataset("synthetic-demo", tmp_path).hash == got.hash
    assert (got.root / first).is_file()


def test_the_people_of_the_demo_are_drawn_as_others(tmp_path):
    manifest = read_dataset("synthetic-demo", tmp_path)
    table = manifest.table
    row = table[table["split"] == "test"].iloc[0]
    person, number = map(int, re.fullmatch(r"\w+/p(\d+)-(\d+)\.png", row["path"]).groups())
    face = FacePlan(person, row["path"].partition("/")[0], number)
    state, scene = compose_face(make_person(0, person), face)
    drawn = Renderer(48).render(make_person(0, person), [state], scene)[0]
    with Image.open(manifest.root / row["path"]) as image:
        difference = np.abs(np.asarray(image, int) - np.asarray(Image.fromarray(drawn).convert("L"), int))
    assert difference.max() <= 2
