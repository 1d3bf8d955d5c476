"""Parts of the prediction pipeline: inputs, windows, face ids, smoothing, journal, labels."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evenface.config.predict import PredictSettings
from evenface.inference import open_model
from evenface.inference.onnx_model import OnnxModel
from evenface.inference.pipeline import (
    FaceResult,
    PreparedSample,
    SourceEnd,
    predict_sources,
    smooth_probabilities,
    split_windows,
)
from evenface.inference.prediction_table import Columns, PredictionTable, read_rows
from evenface.inference.registry import resolve_model
from evenface.inference.sources import Source, find_sources
from evenface.preprocessing.detect_align import Face
from evenface.preprocessing.track_faces import FaceIdTracker
from evenface.reporting.annotation import _label_area, annotated
from evenface.utils.errors import InputError


def test_inputs_are_files_folders_and_patterns(tmp_path):
    for name in ("a2.png", "a10.png", "b/c.mp4", "b/.hidden.png", "t/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    sources, skipped = find_sources([tmp_path, tmp_path / "a2.png", tmp_path / "none.png", tmp_path / "t"])
    assert [(os.path.relpath(one.path, tmp_path), one.kind) for one in sources] == [
        ("a2.png", "picture"),
        ("a10.png", "picture"),
        ("b/c.mp4", "clip"),
    ]
    assert skipped == [
        f"{tmp_path}: 1 files of other types are left out, such as {tmp_path / 't' / 'x.csv'}",
        f"{tmp_path / 'none.png'}: not found",
        f"{tmp_path / 't'}: contains no usable file",
    ]
    assert [one.kind for one in find_sources([tmp_path], "clips")[0]] == ["clip", "clip"]
    assert [one.kind for one in find_sources([f"{tmp_path}/*/*.csv"], "numbers")[0]] == ["numbers"]


@given(st.integers(1, 200), st.floats(0.05, 5), st.floats(0, 0.9))
def test_windows_cover_all_frames_are_equally_long_and_step_evenly(count, window, overlap):
    times = np.arange(count) / 25
    found = split_windows(times, window, overlap)
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


def test_faces_keep_their_ids_over_short_gaps():
    tracker = FaceIdTracker()
    assert tracker.assign([face(0), face(50)], 0.0) == [1, 2]
    assert tracker.assign([face(52), face(1)], 0.1) == [2, 1]
    assert tracker.assign([face(2)], 0.2) == [1]
    assert tracker.assign([face(3), face(51), face(200)], 4.0) == [1, 2, 3]
    assert tracker.assign([face(51)], 9.5) == [4]


@given(st.lists(st.tuples(st.integers(1, 2), st.floats(0, 1)), min_size=1, max_size=30), st.floats(0.01, 2))
def test_smoothing_is_the_mean_of_the_face_within_the_window(drawn, seconds):
    source = Source("a", "clip")
    rows = [
        FaceResult(source, PreparedSample(i, i + 1, i / 10, i / 10, number), np.array([p, 1 - p]))
        for i, (number, p) in enumerate(drawn)
    ]
    rows.append(FaceResult(source, PreparedSample(99, 100, 9.9, 9.9), None))
    *got, end = smooth_probabilities([*rows, SourceEnd(source)], seconds)
    assert end == SourceEnd(source)
    assert got[-1].outputs is None
    for row, other in zip(rows[:-1], got, strict=False):
        near = [
            one.outputs
            for one in rows[:-1]
            if one.sample.face_id == row.sample.face_id
            and abs(one.sample.start_time - row.sample.start_time) <= seconds / 2 + 1e-9
        ]
        np.testing.assert_allclose(other.outputs, np.mean(near, axis=0))


def test_a_single_image_is_prepared_without_a_thread_and_several_ahead_of_the_model(tmp_path):
    model = open_model(resolve_model())
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / name)

    def threads(names):
        seen = []
        sources = [Source(str(tmp_path / name), "picture") for name in names]
        results = predict_sources(model, sources, PredictSettings(), lambda _: seen.append(threading.current_thread()))
        assert sum(isinstance(result, FaceResult) for result in results) == len(names)
        return {thread is threading.current_thread() for thread in seen}

    assert threads(["a.png"]) == {True}
    assert threads(["a.png", "b.png"]) == {False}


def test_sessions_leave_the_cores_alone_while_they_wait():
    model = OnnxModel(resolve_model(), threads=2)
    assert model._session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"


def judged(source, columns, p=(0.25, 0.75)):
    return columns.row(FaceResult(source, PreparedSample(0, 1, None, None, 1), np.array(p)))


@pytest.fixture
def files(tmp_path):
    """Three files of different content."""
    for name in "xyz":
        (tmp_path / name).write_text(name)
    return [Source(str(tmp_path / name), "picture") for name in "xyz"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_the_journal_of_a_killed_process_is_resumed_after_its_last_complete_file(files, tmp_path, suffix):
    path, columns = tmp_path / f"t{suffix}", Columns(("a", "b"), None, 0.0, "m@1")
    rows = [judged(source, columns) for source in files]
    table = PredictionTable(path, columns)
    table.__enter__()
    for source, row in zip(files[:2], rows[:2], strict=True):
        table.add(row)
        table.end(source)
    table.add(rows[2])
    table._file.write('["z", 0')
    table._file.close()
    with PredictionTable(path, columns) as again:
        assert [again.needs(source) for source in files] == [False, False, True]
        again.add(rows[2])
        again.end(files[2])
    whole = list(read_rows(path))
    assert [row["file"] for row in whole] == [source.path for source in files]
    assert [{name: value for name, value in row.items() if name != "digest"} for row in whole] == rows
    with pytest.raises(InputError, match="another model"):
        PredictionTable(path, Columns(("a", "b"), None, 0.0, "m@2"))


@pytest.mark.parametrize("killed", [False, True])
def test_a_file_replaced_under_its_name_is_predicted_again(files, tmp_path, killed):
    path, columns = tmp_path / "t.csv", Columns(("a", "b"), None, 0.0, "m@1")
    with PredictionTable(path, columns) as table:
        for source in files:
            table.add(judged(source, columns))
            table.end(source)
    assert not any(PredictionTable(path, columns).needs(source) for source in files)
    os.utime(files[0].path, (0, 0))  # the time of a file says nothing of its content
    (tmp_path / "y").write_text("Y")
    table = PredictionTable(path, columns)
    assert [table.needs(source) for source in files] == [False, True, False]
    table.__enter__()
    table.add(judged(files[1], columns, (0.75, 0.25)))
    table.end(files[1])
    if killed:
        table._file.close()
        table = PredictionTable(path, columns).__enter__()
        assert not any(table.needs(source) for source in files)
    table.__exit__()
    assert sorted((row["file"][-1], row["label"]) for row in read_rows(path)) == [("x", "b"), ("y", "a"), ("z", "b")]


def test_the_content_of_a_folder_of_frames_and_of_images_in_memory_is_told_apart(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "0.png").write_bytes(b"0")
    source = Source(str(tmp_path / "clip"), "clip")
    first = source.content_digest()
    assert source.content_digest() == first
    (tmp_path / "clip" / "1.png").write_bytes(b"1")
    assert source.content_digest() != first
    grey = [Source("image", "picture", image=np.full((3, 3), value, np.uint8)).content_digest() for value in (1, 1, 2)]
    assert grey[0] == grey[1] != grey[2]
    frames = Source("frames", "frames", frames=lambda: iter(()))
    assert frames.content_digest() != frames.content_digest()  # seen once, never twice


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_what_is_no_table_of_predictions_is_refused(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_text('[{"a": 1}]' if suffix == ".json" else "a,b\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="is not a table of predictions"):
        PredictionTable(path, Columns(("a", "b"), None, 0.0, "m@1"))
    assert path.read_bytes() == before


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=1, max_size=4))
def test_labels_are_inside_the_image(corners):
    image = Image.new("RGB", (320, 320))
    marks = [(i + 1, (x, y, x + 30, y + 30), "1  happy 0.99") for i, (x, y) in enumerate(corners)]
    assert annotated(image, marks).size == image.size
    for _, box, _ in marks:
        area = _label_area(image.size, box, (120.0, 20.0), [other for _, other, _ in marks])
        assert min(area) >= 0
        assert max(area) <= 320.0001
