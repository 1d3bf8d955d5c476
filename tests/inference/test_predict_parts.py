"""What prediction is made of: inputs, windows, numbers of faces, smoothing, walking ahead, the journal, words."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evenface.inference.drawing import _free, marked
from evenface.inference.pipeline import Ended, FaceIdTracker, FaceResult, PreparedSample, prefetch, smoothed, spans
from evenface.inference.sources import Source, find_sources
from evenface.inference.table import Columns, PredictionTable, read_table
from evenface.preprocessing.detect import Face
from evenface.utils.errors import InputError


def test_folders_patterns_and_missing_files_are_understood(tmp_path):
    for name in ("a2.png", "a10.png", "b/c.mp4", "b/.hidden.png", "t/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found, troubles = find_sources([tmp_path, tmp_path / "a2.png", tmp_path / "none.png", tmp_path / "t"])
    assert [(os.path.relpath(one.path, tmp_path), one.kind) for one in found] == [
        ("a2.png", "picture"),
        ("a10.png", "picture"),
        ("b/c.mp4", "clip"),
    ]
    assert troubles == [
        f"{tmp_path}: passed over files of other kinds: 1, such as {tmp_path / 't' / 'x.csv'}",
        f"{tmp_path / 'none.png'}: missing",
        f"{tmp_path / 't'}: it holds nothing that can be used",
    ]
    assert [one.kind for one in find_sources([tmp_path], "clips")[0]] == ["clip", "clip"]
    assert [one.kind for one in find_sources([f"{tmp_path}/*/*.csv"], "numbers")[0]] == ["numbers"]


@given(st.integers(1, 200), st.floats(0.05, 5), st.floats(0, 0.9))
def test_windows_cover_all_frames_are_equally_long_and_step_evenly(count, window, overlap):
    times = np.arange(count) / 25
    found = spans(times, window, overlap)
    seen = np.zeros(count, bool)
    for first, last in found:
        assert 0 <= first < last <= count
        seen[first:last] = True
    if window >= 0.08:
        assert seen.all()
        lengths = [last - first for first, last in found]
        assert max(lengths) - min(lengths) <= 1
    assert found == sorted(set(found))


def face(x, side=10.0):
    return Face((x, 0.0, x + side, side), 0.9, ((x, 1.0), (x + side, 1.0)))


def test_faces_keep_their_numbers_until_they_were_away_for_long():
    numbers = FaceIdTracker()
    assert numbers.of([face(0), face(50)], 0.0) == [1, 2]
    assert numbers.of([face(52), face(1)], 0.1) == [2, 1]
    assert numbers.of([face(2)], 0.2) == [1]
    assert numbers.of([face(3), face(51), face(200)], 4.0) == [1, 2, 3]
    assert numbers.of([face(51)], 9.5) == [4]


@given(st.lists(st.tuples(st.integers(1, 2), st.floats(0, 1)), min_size=1, max_size=30), st.floats(0.01, 2))
def test_smoothing_is_the_mean_of_the_face_within_the_window(drawn, seconds):
    source = Source("a", "clip")
    rows = [
        FaceResult(source, PreparedSample(i, i + 1, i / 10, i / 10, number), np.array([p, 1 - p]))
        for i, (number, p) in enumerate(drawn)
    ]
    rows.append(FaceResult(source, PreparedSample(99, 100, 9.9, 9.9), None))
    *got, end = smoothed([*rows, Ended(source)], seconds)
    assert end == Ended(source)
    assert got[-1].probabilities is None
    for row, other in zip(rows[:-1], got, strict=False):
        near = [
            one.probabilities
            for one in rows[:-1]
            if one.sample.face == row.sample.face and abs(one.sample.time - row.sample.time) <= seconds / 2 + 1e-9
        ]
        np.testing.assert_allclose(other.probabilities, np.mean(near, axis=0))


def test_walking_ahead_keeps_order_raises_in_place_and_stops():
    taken = []

    def items():
        try:
            for i in range(100):
                taken.append(i)
                yield i
        finally:
            taken.append("closed")

    walk = prefetch(items(), 2)
    assert [next(walk) for _ in range(3)] == [0, 1, 2]
    walk.close()
    assert taken[-1] == "closed"
    assert len(taken) < 12

    def broken():
        yield 1
        raise InputError("no")

    walk = prefetch(broken(), 2)
    assert next(walk) == 1
    with pytest.raises(InputError):
        next(walk)


def test_a_journal_that_a_kill_left_is_taken_up_to_the_last_whole_file(tmp_path):
    columns, sources = Columns(("a", "b"), None, 0.0, "m@1"), [Source(name, "picture") for name in "xyz"]
    rows = [FaceResult(source, PreparedSample(0, 1, None, None, 1), np.array([0.25, 0.75])) for source in sources]
    table = PredictionTable(tmp_path / "t.csv", columns)
    table.__enter__()
    for source, row in zip(sources[:2], rows[:2], strict=True):
        table.add(row)
        table.end(source)
    table.add(rows[2])
    table._file.write('["z", 0')
    table._file.close()
    with PredictionTable(tmp_path / "t.csv", columns) as again:
        assert again.done == {"x", "y"}
        again.add(rows[2])
        again.end(sources[2])
    (whole,) = read_table(tmp_path / "t.csv")
    assert whole["file"].tolist() == ["x", "y", "z"]
    assert whole["label"].tolist() == ["b"] * 3
    with pytest.raises(InputError, match="another model"):
        PredictionTable(tmp_path / "t.csv", Columns(("a", "b"), None, 0.0, "m@2"))


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=1, max_size=4))
def test_words_stand_inside_the_picture(corners):
    image = Image.new("RGB", (320, 320))
    marks = [(i + 1, (x, y, x + 30, y + 30), "1  happy 0.99") for i, (x, y) in enumerate(corners)]
    assert marked(image, marks).size == image.size
    for _, box, _ in marks:
        area = _free(image.size, box, (120.0, 20.0), [other for _, other, _ in marks])
        assert min(area) >= 0
        assert max(area) <= 320.0001
