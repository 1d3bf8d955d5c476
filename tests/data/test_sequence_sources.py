"""Generic sequences are read and prepared as they stand, and others are explained."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import columns_of, named, plant, prepared, refused

from evenface.data.datasets import read_dataset
from evenface.data.leakage import check_leakage
from evenface.utils.errors import InputError


def arrays(path, **given_arrays):
    np.savez(path, **given_arrays)
    return path


@given(
    lengths=st.lists(st.integers(1, 5), min_size=2, max_size=6),
    points=st.sampled_from([("features", (3, 2)), ("features", (3,)), ("openface-aus", (4,)), ("dlib-68", (68, 2))]),
    data=st.data(),
)
def test_ragged_sequences_are_cut_where_their_lengths_say(tmp_path_factory, lengths, points, data):
    kind, frame = points
    labels = [0, 1, *data.draw(st.lists(st.integers(0, 2), min_size=len(lengths) - 2, max_size=len(lengths) - 2))]
    values = np.arange(sum(lengths) * int(np.prod(frame)), dtype=np.float32).reshape(-1, *frame)
    path = arrays(tmp_path_factory.mktemp("npz") / "all.npz", values=values, lengths=lengths, labels=labels)
    got = read_dataset("sequences", path, {"points": kind})
    at = 0
    for (start, end), length in zip(columns_of(got, "start", "end"), lengths, strict=True):
        assert (start, end) == (at, at + length)
        at += length
    assert list(named(got).values()) == [str(label) for label in labels]
    assert set(columns_of(got, "path", "points", "numbers")) == {("all.npz", kind, "values")}


def test_equal_sequences_with_all_that_may_be_said(tmp_path):
    arrays(
        tmp_path / "all.npz",
        sequences=np.zeros((4, 6, 5, 1)),
        labels=np.array([2, 0, 2, 2]),
        classes=np.array(["calm", "fear", "pain"]),
        subjects=np.array(["a", "a", "b", "b"]),
        clips=np.array([7, 7, 8, 9]),
        samples=np.array(["w", "x", "y", "z"]),
        splits=np.array(["Training", "train", "test", "val"]),
    )
    got = read_dataset("sequences", tmp_path, {"ordered": True})
    assert (got.classes, got.content, got.ordered) == (("calm", "fear", "pain"), "sequences", True)
    assert columns_of(got, "sample", "subject", "clip", "split", "start", "end", "label") == [
        ("w", "a", "7", "train", 0, 6, 2),
        ("x", "a", "7", "train", 6, 12, 0),
        ("y", "b", "8", "test", 12, 18, 2),
        ("z", "b", "9", "validation", 18, 24, 2),
    ]
    assert read_dataset("sequences", tmp_path, {"classes": ["pain", "fear", "calm"]}).labels.tolist() == [0, 2, 0, 0]


def test_ratings_give_the_class_that_is_rated_highest(tmp_path):
    ratings = np.array([[0.1, 0.9], [0.5, 0.5], [3.0, 1.0]])
    path = arrays(
        tmp_path / "r.npz", tracks=np.zeros((3, 10, 68, 2)), ratings=ratings, words=np.array(["sad", "happy"])
    )
    got = read_dataset("sequences", path, {"points": "dlib-68", "label": "ratings", "names": "words"})
    assert named(got) == {"00000": "happy", "00002": "sad"}
    assert columns_of(got, "start", "end", "numbers") == [(0, 10, "tracks"), (20, 30, "tracks")]
    assert got.notes[1] == "1 sequences without a unique highest rating in ratings are excluded"


def test_real_tracks_with_ratings(real_data):
    path = real_data / "sequences" / "plsr_tracking.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    got = read_dataset("sequences", path, {"points": "dlib-68", "label": "ratings", "names": "rating_names"})
    assert got.classes == ("happy", "sad", "surprised", "disgusted", "angry", "fearful", "interested")
    assert got.counts().tolist() == [8, 4, 4, 4, 9, 3, 8]
    with np.load(path) as file:
        for row, end, label in columns_of(got, "start", "end", "label"):
            assert file["ratings"][row // 10].max() == file["ratings"][row // 10, label]
            assert end == row + 10


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"sequences": None}, {}, "has no array sequences or values, only labels"),
        ({"labels": None}, {}, "has no array labels, only sequences"),
        ({"labels": np.zeros(3, int)}, {}, "labels in all.npz has the shape (3,), expected (4,)"),
        ({"labels": np.full(4, 0.5)}, {}, "must be integers or strings, found float64"),
        (
            {"labels": np.array([0, 1, 2, 3]), "classes": np.array(["a", "b"])},
            {},
            "must be 0 to 1, the indices of a, b; found 0 to 3",
        ),
        ({"labels": np.zeros(4, int)}, {}, "expected at least two classes in all.npz, found 0"),
        ({"sequences": np.zeros((4, 6, 5))}, {}, "4 axes\n  Turn an array (N, T, F) of features into one of four axes"),
        (
            {"sequences": np.zeros((24, 5, 1)), "lengths": np.array([6, 6, 6, 7])},
            {},
            "that sum to 24, the number of frames",
        ),
        ({"sequences": np.zeros((24, 5, 1)), "lengths": np.array([12, 12, 0, 0])}, {}, "integers >= 1"),
        ({"samples": np.array(["a", "a", "b", "c"])}, {}, "duplicate sample name 'a'"),
        ({"subjects": np.array(["a"])}, {}, "subjects in all.npz has the shape (1,), expected (4,)"),
        (
            {"splits": np.array(["train"] * 3 + ["later"])},
            {},
            "split 'later' in all.npz must be train, validation or test",
        ),
        ({"labels": np.zeros((4, 2))}, {}, "no row of labels in all.npz has a unique highest rating"),
        ({}, {"numbers": "tracks"}, "has no array tracks"),
        ({}, {"numbers": ["a", "b"]}, "the option numbers must name one array"),
        ({}, {"classes": ["0", "2"]}, "has the label '1', which is none of 0, 2"),
        ({"sequences": np.array([{}], object)}, {}, "cannot read"),
    ],
)
def test_arrays_that_do_not_fit_are_explained(tmp_path, change, options, words):
    whole = {"sequences": np.zeros((4, 6, 5, 1)), "labels": np.array([0, 1, 1, 0])} | change
    arrays(tmp_path / "all.npz", **{name: array for name, array in whole.items() if array is not None})
    with refused(words):
        read_dataset("sequences", tmp_path, options)


def long_form():
    rows = [(s, f) for s, n in (("b", 3), ("a", 2), ("c", 1)) for f in range(n)]
    table = pd.DataFrame(rows, columns=["sample", "frame"])
    table["label"] = table["sample"].map({"a": "calm", "b": "pain", "c": "calm"})
    table["subject"] = table["sample"].map({"a": 1, "b": 2, "c": 1})
    return table.assign(AU01_r=np.arange(6.0), AU01_c=1, note="x")


def test_long_form_gives_the_rows_of_each_sequence(tmp_path):
    long_form().to_parquet(tmp_path / "all.parquet", row_group_size=2)
    got = read_dataset("sequences", tmp_path)
    assert columns_of(got, "sample", "start", "end", "subject") == [
        ("b", 0, 3, "2"),
        ("a", 3, 5, "1"),
        ("c", 5, 6, "1"),
    ]
    assert named(got) == {"a": "calm", "b": "pain", "c": "calm"}
    assert set(got.table["numbers"]) == {"AU01_r,AU01_c"}
    units = read_dataset("sequences", tmp_path, {"points": "openface-aus", "numbers": "AU*_r"})
    assert set(columns_of(units, "points", "numbers")) == {("openface-aus", "AU*_r")}
    assert read_dataset("sequences", tmp_path, {"points": "openface-aus"}).table["numbers"].isna().all()
    assert set(read_dataset("sequences", tmp_path, {"label": "subject"}).classes) == {"1", "2"}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (
            lambda t: t.drop(columns="frame"),
            {},
            "expected the columns sample, frame, label in all.parquet, found sample",
        ),
        (lambda t: t.iloc[::-1], {}, "the rows of 'a' in all.parquet are not in order"),
        (lambda t: t.iloc[[0, 1, 3, 2, 4, 5]], {}, "the rows of 'a' in all.parquet are not in order"),
        (lambda t: t.assign(label=list("xyxxxx")), {}, "'b' in all.parquet has several values of label"),
        (lambda t: t.assign(label=["x", None, *"xxxx"]), {}, "rows without sample, frame or label"),
        (lambda t: t.iloc[:0], {}, "has no rows"),
        (lambda t: t[["sample", "frame", "label"]], {}, "has no numeric columns"),
        (lambda t: t.rename(columns={"AU01_r": "a,b"}), {}, "has a comma"),
        (lambda t: t, {"numbers": "AU09_r"}, "no numeric column of all.parquet matches AU09_r, found AU01_r, AU01_c"),
        (lambda t: t.assign(split="later"), {}, "split 'later' in all.parquet must be"),
    ],
)
def test_tables_that_do_not_fit_are_explained(tmp_path, change, options, words):
    change(long_form()).to_parquet(tmp_path / "all.parquet")
    with refused(words):
        read_dataset("sequences", tmp_path, options)


def test_the_one_file_of_sequences_is_found(tmp_path):
    with refused(f"expected one .npz or .parquet in {tmp_path}, found nothing"):
        read_dataset("sequences", tmp_path)
    long_form().to_parquet(tmp_path / "a.parquet")
    plant(tmp_path, "b.npz", "c.txt")
    with refused("found a.parquet, b.npz\n  Name the file with the option file"):
        read_dataset("sequences", tmp_path)
    assert len(read_dataset("sequences", tmp_path, {"file": "a.parquet"})) == 3
    assert len(read_dataset("sequences", tmp_path / "a.parquet")) == 3
    for path, options, words in [
        (tmp_path, {"file": "d.npz"}, "d.npz does not exist"),
        (tmp_path / "c.txt", {}, "expected an .npz or .parquet file"),
        (tmp_path / "b.npz", {}, "cannot read"),
    ]:
        with refused(words):
            read_dataset("sequences", path, options)


@pytest.mark.parametrize("points", ["features", "openface-aus", "dlib-68"])
@pytest.mark.parametrize("form", ["equal", "in line", "table"])
def test_what_is_prepared_is_what_stands_in_the_file(tmp_path, points, form):
    frame = {"features": (3, 1), "openface-aus": (4,), "dlib-68": (68, 2)}[points]
    values = np.random.default_rng(0).normal(size=(4, 6, *frame)).astype(np.float32)
    labels = np.array([0, 1, 1, 0])
    if form == "table":
        axes = {"dlib-68": [f"{axis}_{i}" for i in range(68) for axis in "xy"]}
        names = axes.get(points, [f"AU{i:02}_r" for i in range(frame[0])])
        table = pd.DataFrame(values.reshape(24, -1), columns=names)
        table = table.assign(sample=np.repeat(list("dbca"), 6), frame=np.tile(np.arange(6), 4), label=labels.repeat(6))
        table.to_parquet(tmp_path / "all.parquet")
    elif form == "in line":
        arrays(tmp_path / "all.npz", values=values.reshape(24, *frame), lengths=np.full(4, 6), labels=labels)
    else:
        arrays(tmp_path / "all.npz", sequences=values, labels=labels)
    store = prepared("sequences", tmp_path, 6, points=points)
    assert store.points == points
    assert len(store.quarantine) == 0
    np.testing.assert_array_equal(np.asarray(store.sequences).reshape(4, 6, -1), values.reshape(4, 6, -1))
    assert store.manifest.labels.tolist() == labels.tolist()


def test_the_check_finds_equal_sequences_and_says_that_it_looks_for_no_others(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 4, 3, 1)).astype(np.float32)
    values[5] = values[1]
    sides = np.array(["train"] * 4 + ["test"] * 2)
    path = arrays(tmp_path / "all.npz", sequences=values, labels=[0, 1, 0, 1, 0, 0], splits=sides)
    said = check_leakage(read_dataset("sequences", path), values).lines()
    assert said[0] == "leakage: 1 test sequence also in train, number by number"
    assert "duplicates: 1 of 6 sequences are copies of another" in said
    assert "near-duplicates: not searched for in sequences of numbers" in said
    assert "conflicting labels: 1 groups of identical sequences" in said
    clean = check_leakage(read_dataset("sequences", path), np.arange(6.0)[:, None, None, None]).lines()
    assert clean[0].startswith("leakage: none found: 6 sequences, none in both sets; subjects unknown, so not checked")


def test_no_source_of_sequences_is_silent_about_an_empty_folder(tmp_path):
    for name in ("ckplus", "ravdess", "openface", "landmarks", "sequences"):
        with pytest.raises(InputError, match=re.escape(str(tmp_path))):
            read_dataset(name, tmp_path)
        with refused(f"{name}: the folder {tmp_path / 'none'} does not exist"):
            read_dataset(name, tmp_path / "none")
