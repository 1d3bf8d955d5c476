"""Tables and texts are read alike everywhere: encodings, delimiters, blanks, blank lines, and which line is wrong."""

import csv
import io
import os
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import named, plant, refused, write_fer, write_votes

from evenface.config import load_recipe
from evenface.data.datasets import read_dataset
from evenface.preprocessing.image import read_sample
from evenface.preprocessing.target import Target
from evenface.utils.errors import InputError, SampleError
from evenface.utils.tables import index_rows, read_delimited, read_text

CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=5)


@given(st.data(), st.sampled_from(",;\t"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans())
def test_a_table_is_read_as_it_was_written(tmp_path_factory, data, delimiter, encoding, blank):
    names = ["path", "label", "note"]
    rows = data.draw(st.lists(st.tuples(CELL, CELL, CELL), max_size=5))
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([names, *rows])
    text = file.getvalue().replace("\n", "\n \n", 1) if blank else file.getvalue()
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_bytes(text.encode(encoding))
    kept = [tuple(cell.strip(" \t\r\n\f\v\u00a0\u3000\ufeff\u200b") or None for cell in row) for row in rows]
    found = read_delimited(path, delimiter=delimiter)
    assert list(found.columns) == names
    assert [tuple(None if pd.isna(cell) else cell for cell in row) for row in found.to_numpy()] == [
        row for row in kept if any(row)
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", ", "])
def test_delimiter_and_line_ends_are_found(tmp_path, delimiter, end):
    lines = [["path", "label"], ["a.png", " happy "], ["b.png ", "sad"]]
    (tmp_path / "t.csv").write_bytes(end.join(map(delimiter.join, lines)).encode())
    assert read_delimited(tmp_path / "t.csv").to_dict("list") == {"path": ["a.png", "b.png"], "label": ["happy", "sad"]}


def test_lines_are_counted_as_an_editor_does(tmp_path):
    (tmp_path / "t.csv").write_text('sep=;\npath;label;\n\na.png;"two\nlines";\n;;\nb.png;x\n')
    found = read_delimited(tmp_path / "t.csv")
    assert list(found.index) == [4, 7]
    assert list(found.columns) == ["path", "label"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"path,label\na.png,x\nb.png,y,z\n", "t.csv, line 3: 3 cells, the header has 2 columns"),
        (b"path,label\na.png,\xe9\n", "t.csv, line 2: not UTF-8 (byte 0xe9)"),
        (b'path,label\na.png,"x\nb.png,y\n', "t.csv, line 2: a quote is not closed"),
        (b"path,label,label\n", "t.csv has two columns named label"),
        (b"", "t.csv is empty: it has no header"),
        (b" \n\n", "t.csv is empty: it has no header"),
        (b"PK\x03\x04 and so on", "t.csv is not a text file: it is a zip archive, as Excel workbooks (.xlsx) are"),
        (b"path,label\n\0a.png,x\n", "t.csv is not a text file: it contains zero bytes"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\xff\xd9", "t.csv is not a text file: it is an image"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, content, words):
    (tmp_path / "t.csv").write_bytes(content)
    for source in ("csv", "clips", "landmarks"):
        with pytest.raises(InputError, match=re.escape(words)) as told:
            read_dataset(source, tmp_path / "t.csv")
        assert "\n" not in told.value.message
        assert told.value.hint


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_text_is_read_in_its_encoding(tmp_path, encoding):
    plant(tmp_path, "Image/aligned/train_00001_aligned.jpg", "Image/aligned/test_0001_aligned.jpg")
    lists = tmp_path / "EmoLabel" / "list_patition_label.txt"
    lists.parent.mkdir()
    lists.write_bytes("train_00001.jpg 5\r\ntest_0001.jpg 4\r\n".encode(encoding))
    assert named(read_dataset("rafdb", tmp_path)) == {"train_00001": "sad", "test_0001": "happy"}
    recipe = tmp_path / "r.yaml"
    recipe.write_bytes("name: q\ndata: {source: folder, root: café}\n".encode(encoding))
    assert load_recipe(recipe).data.root == "café"


def test_a_recipe_in_another_encoding_is_refused_by_its_line(tmp_path):
    (tmp_path / "r.yaml").write_bytes("name: q\ndata: {source: folder, root: café}\n".encode("latin-1"))
    with refused("r.yaml, line 2: not UTF-8 (byte 0xe9)"):
        load_recipe(tmp_path / "r.yaml")
    with refused("cannot read"):
        read_text(tmp_path)


def test_labels_that_differ_by_blanks_are_one_class_and_others_are_noted(tmp_path):
    plant(tmp_path, *"abcdef")
    table = tmp_path / "t.csv"
    table.write_text("path,label\na,happy\nb , sad\nc,sad \nd,happy\u00a0\n")
    found = read_dataset("csv", table)
    assert (found.classes, found.notes) == (("happy", "sad"), ())
    table.write_text("path,label\na,happy\nb,Happy\nc,HAPPY\nd,nan\ne,caf\u00e9\nf,cafe\u0301\n")
    notes = " ".join(read_dataset("csv", table).notes)
    assert "'HAPPY', 'Happy', 'happy'" in notes.replace('"', "'") or "'happy'" in notes
    assert "'nan' is read as a class" in notes
    assert "caf" in notes
    table.write_text("path,label\na,1\nb,1.0\nc,2\n")
    assert "'1', '1.0'" in read_dataset("csv", table).notes[0]


# A blank or empty line, wherever it stands, belongs to no row.
@pytest.mark.parametrize("blank", ["\n", "   \n", "\t\r\n", ",,\n", " " * 100 + "\n"])
@pytest.mark.parametrize("place", [0, 1, 3, 6])
def test_a_blank_line_does_not_shift_the_pixels_of_fer2013(tmp_path, blank, place):
    lines = ["emotion,pixels,Usage\n"]
    usages = ["Training"] * 4 + ["PrivateTest"]
    lines += [f"{row},{' '.join([str(10 * row + 5)] * 9)},{usages[row]}\n" for row in range(5)]
    (tmp_path / "fer2013.csv").write_text("".join([*lines[:place], blank, *lines[place:]]))
    found = read_dataset("fer2013", tmp_path)
    assert list(found.table["row"]) == list(range(5))
    assert list(found.labels) == list(range(5))
    values = [read_sample(str(tmp_path / "fer2013.csv"), row, Target(3, 1))[0] for row in range(5)]
    assert values == [10 * row + 5 for row in range(5)]


def test_fer2013_names_the_line_that_an_editor_shows(tmp_path):
    write_fer(tmp_path)
    lines = (tmp_path / "fer2013.csv").read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace("2,", "9,", 1)
    (tmp_path / "fer2013.csv").write_text("".join([*lines[:2], "\n", *lines[2:]]))
    with refused("line 5 of fer2013.csv has emotion 9 and Usage Training"):
        read_dataset("fer2013", tmp_path)


def test_rows_of_a_table_with_semicolons_are_found(tmp_path):
    (tmp_path / "f.csv").write_text("Usage; emotion ;pixels\r\nTraining;1;5 5 5 5\r\nPrivateTest;2.0;7 7 7 7\r\n")
    assert index_rows(tmp_path / "f.csv").names == ["Usage", "emotion", "pixels"]
    assert list(read_dataset("fer2013", tmp_path / "f.csv").labels) == [1, 2]
    assert read_sample(str(tmp_path / "f.csv"), 1, Target(2, 1)) == bytes([7] * 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a,b\r1,2\r", "carriage returns only"), (b"\n", "is empty"), ("a,b\n".encode("utf-16"), "UTF-16")],
)
def test_a_table_of_pictures_that_cannot_be_indexed_is_told(tmp_path, content, words):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_dataset("fer2013", tmp_path)
    with pytest.raises(SampleError, match=words):
        read_sample(str(tmp_path / "fer2013.csv"), 0, Target(2, 1))


def test_the_whole_table_of_the_challenge_is_chosen(tmp_path):
    write_fer(tmp_path)
    (tmp_path / "fer2013.csv").rename(tmp_path / "icml_face_data.csv")
    (tmp_path / "train.csv").write_text("emotion,pixels\n0,1 1 1 1\n")
    (tmp_path / "test.csv").write_text("pixels\n1 1 1 1\n")
    assert len(read_dataset("fer2013", tmp_path)) == 11
    (tmp_path / "copy.csv").write_bytes((tmp_path / "icml_face_data.csv").read_bytes())
    with refused("has several tables: copy.csv, icml_face_data.csv"):
        read_dataset("fer2013", tmp_path)


def test_folders_of_fer2013_may_be_called_by_other_forms_of_the_words(tmp_path):
    plant(tmp_path, "train/anger/0.png", "train/happiness/1.png", "test/fearful/2.png", "test/Surprised/3.png")
    assert named(read_dataset("fer2013", tmp_path)) == {
        "00000": "angry",
        "00001": "happy",
        "00002": "fear",
        "00003": "surprise",
    }


def test_a_blank_line_does_not_shift_votes(tmp_path):
    write_fer(tmp_path)
    votes = write_votes(tmp_path / "fer2013new.csv")
    whole = read_dataset("ferplus", tmp_path)
    lines = votes.read_text().splitlines(keepends=True)
    votes.write_text("".join([*lines[:4], "  \n", *lines[4:]]))
    again = read_dataset("ferplus", tmp_path)
    assert np.array_equal(again.labels, whole.labels)
    assert list(again.table["row"]) == list(whole.table["row"])


def test_a_library_keeps_what_it_says_of_damaged_pictures_off_the_screen(tmp_path, capfd):
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "x.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    content[1000:4000] = b"\xff" * 3000
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(SampleError, match=r"corrupt|truncated"):
        read_sample(str(tmp_path / "x.tif"), None, Target(32, 1))
    assert capfd.readouterr().err == ""
    os.write(2, b"still heard")
    assert capfd.readouterr().err == "still heard"


@pytest.mark.parametrize(("top", "told"), [(4095, True), (16383, True), (65535, False), (0, False)])
def test_pictures_that_use_few_of_their_bits_are_told(tmp_path, top, told):
    from PIL import Image

    import evenface as ef

    for i, name in enumerate("aabb"):
        (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
        grey = np.linspace(0, top, 40 * 40).reshape(40, 40).astype(np.uint16)
        Image.fromarray(np.roll(grey, i, axis=1)).save(tmp_path / "d" / name / f"{i}.png")
    data = {"source": "folder", "root": str(tmp_path / "d"), "size": 32, "channels": 1}
    for _ in range(2):  # prepared, and found prepared
        notes = [note for note in ef.prepare({"name": "q", "data": data}).manifest.notes if "16-bit" in note]
        assert bool(notes) == told
    if told:
        assert f"use only {top.bit_length()} bits: they are prepared {65536 // (top + 1)} times too dark" in notes[0]


def test_eight_bits_and_mixed_sets_are_not_told(tmp_path):
    from PIL import Image

    from evenface.preprocessing.image import bits_in_use

    Image.new("L", (16, 16), 9).save(tmp_path / "8.png")
    Image.fromarray(np.full((16, 16), 1000, np.uint16)).save(tmp_path / "16.png")
    (tmp_path / "none.png").write_bytes(b"damaged")
    paths = [str(tmp_path / name) for name in ("16.png", "none.png")]
    assert bits_in_use(paths) == 10
    assert bits_in_use([*paths, str(tmp_path / "8.png")]) == 0
