"""Folders of the Hugging Face library: written here as it writes them, read without it."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import named, refused
from PIL import Image

from evenface.data.dataset_guess import guess_dataset, is_cropped
from evenface.data.datasets import read_dataset
from evenface.preprocessing.prepare import prepare
from evenface.utils.errors import SampleError
from evenface.utils.packed_images import packed_image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["calm", "pain"], "_type": "ClassLabel"}}


def picture(value):
    stream = io.BytesIO()
    Image.new("L", (40, 40), value).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def content(values, features=FEATURES, **columns):
    table = {"image": pa.array([picture(value) for value in values], IMAGE), **columns}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    return pa.table(table).replace_schema_metadata(metadata)


def hub(root, **columns):
    """Parquet as on the hub, two images in each row group."""
    (root / "data").mkdir(parents=True)
    columns = columns or {"label": [0, 1, 0, 1, 1], "subject": ["a", "a", "b", "b", "c"]}
    train = content([10, 20, 30, 40, 50], **{name: pa.array(cells) for name, cells in columns.items()})
    pq.write_table(train, root / "data/train-00000-of-00001.parquet", row_group_size=2)
    test = content([60, 70], **{name: pa.array(cells[:2]) for name, cells in columns.items()})
    pq.write_table(test, root / "data/test-00000-of-00001.parquet")
    return root


def test_levels_are_ordinal_in_the_given_order(tmp_path):
    root = hub(tmp_path)
    got = read_dataset("huggingface", root, {"ordered": True, "classes": ["pain", "calm"]})
    assert (got.task, got.classes) == ("ordinal", ("pain", "calm"))
    train = [got.classes[label] for label in got.labels[got.table["split"] == "train"]]
    assert train == ["calm", "pain", "calm", "pain", "pain"]
    with refused("huggingface: the order of the classes calm, pain is unknown"):
        read_dataset("huggingface", root, {"ordered": True})
    with refused("huggingface: the option classes lists calm, but the classes are calm, pain"):
        read_dataset("huggingface", root, {"classes": ["calm"]})


def saved(root, **columns):
    """Folder of ``save_to_disk``: Arrow streams, in two batches, and a cache file that is not listed."""
    columns = columns or {"label": [0, 1, 0, 1, 1], "subject": ["a", "a", "b", "b", "c"]}
    for side, values in (("train", [10, 20, 30, 40, 50]), ("test", [60, 70])):
        folder = root / side
        folder.mkdir(parents=True)
        table = content(values, **{name: pa.array(cells[: len(values)]) for name, cells in columns.items()})
        with (
            pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as to,
        ):
            to.write_table(table, max_chunksize=2)
        (folder / "cache-1.arrow").write_bytes(b"not listed")
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return root


WRITTEN = pytest.mark.parametrize("write", [hub, saved])


@WRITTEN
def test_rows_classes_subjects_and_splits(write, tmp_path):
    got = read_dataset("huggingface", write(tmp_path))
    assert got.classes == ("calm", "pain")
    assert list(named(got).values()) == ["calm", "pain", "calm", "pain", "calm", "pain", "pain"]
    assert got.table["split"].tolist() == ["test"] * 2 + ["train"] * 5
    assert got.table["subject"].tolist() == ["a", "a", "a", "a", "b", "b", "c"]
    assert got.table["start"].tolist() == [0, 1, 0, 1, 2, 3, 4]
    assert got.notes == ()


@WRITTEN
def test_images_are_prepared_from_their_rows(write, tmp_path):
    store = prepare(read_dataset("huggingface", write(tmp_path / "data")), tmp_path / "stores", size=32)
    assert store.images.reshape(7, -1)[:, 0].tolist() == [60, 70, 10, 20, 30, 40, 50]


@WRITTEN
def test_targets_in_place_of_classes(write, tmp_path):
    got = read_dataset("huggingface", write(tmp_path, AU1=[0, 1, 1, 0, None], AU2=[True, False, True, False, True]))
    assert (got.task, got.targets) == ("multilabel", ("AU1", "AU2"))
    np.testing.assert_array_equal(got.target_values(np.arange(2, 7)), [[0, 1], [1, 0], [1, 1], [0, 0], [np.nan, 1]])


@WRITTEN
def test_a_folder_is_recognised_with_the_size_of_its_images(write, tmp_path):
    guess = guess_dataset(write(tmp_path))
    assert (guess.data["source"], guess.data["size"], guess.data["channels"]) == ("huggingface", 48, 1)
    assert guess.protocol["kind"] == "official"
    assert guess.messages[0].startswith("Images in the rows of ")
    assert is_cropped(guess.manifest)
    (file,) = sorted(tmp_path.rglob("test*.parquet")) or sorted(tmp_path.rglob("test/data*.arrow"))
    assert guess_dataset(file).data["source"] == "huggingface"


def test_labels_of_words_and_rows_without_one(tmp_path):
    got = read_dataset("huggingface", hub(tmp_path / "a", emotion=["sad", None, "angry", "sad", "sad"]))
    assert got.classes == ("angry", "sad")
    assert got.notes == ("rows without label are excluded: 2",)
    got = read_dataset("huggingface", hub(tmp_path / "b", label=[0, -1, 1, 0, 0]))
    assert got.notes == ("rows without label are excluded: 2",)
    got = read_dataset("huggingface", hub(tmp_path / "c", mood=["x", "y", "x", "y", "x"]), {"label": "mood"})
    assert got.classes == ("x", "y")


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"label": [0, 2, 1, 0, 0]}, {}, "has the label 2\n  Expected 0 to 1, the indices of calm, pain."),
        ({"mood": ["x", "y", "x", "y", "x"]}, {}, "has no column of labels, and none of targets, only mood"),
        ({"label": [0, 1, 1, 0, 0]}, {"label": "mood"}, "there is no column mood (option label), only label"),
        ({"label": [0, 1, 1, 0, 0]}, {"subject": "who"}, "there is no column who (option subject)"),
        ({"AU1": ["0", "x", "1", "0", "0"]}, {}, "AU1 'x' is not a number"),
    ],
)
def test_other_content_is_refused(tmp_path, columns, options, words):
    with refused(words):
        read_dataset("huggingface", hub(tmp_path, **columns), options)


def test_other_files_are_refused(tmp_path):
    with refused(f"huggingface: no data in {tmp_path}, which has nothing\n  Expected Parquet files"):
        read_dataset("huggingface", tmp_path)
    pq.write_table(pa.table({"label": [0, 1]}), tmp_path / "train.parquet")
    with refused("huggingface: train.parquet has 0 columns of images; its columns are label"):
        read_dataset("huggingface", tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 damaged")
    with refused(f"huggingface: cannot read {tmp_path / 'train.parquet'} as Parquet or Arrow"):
        read_dataset("huggingface", tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with refused("huggingface: cannot read the list of data files in"):
        read_dataset("huggingface", tmp_path)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}]}')
    with refused("data-0.arrow, listed in state.json, does not exist"):
        read_dataset("huggingface", tmp_path)
    (tmp_path / "data-0.arrow").write_bytes(b"damaged")
    with refused("data-0.arrow as Parquet or Arrow"):
        read_dataset("huggingface", tmp_path)


def test_rows_without_an_image_are_skipped_with_the_reason(tmp_path):
    path = tmp_path / "train.parquet"
    images = pa.array([picture(9), {"bytes": None, "path": "a.png"}], IMAGE)
    pq.write_table(pa.table({"image": images, "label": ["x", "y"]}), path)
    with pytest.raises(SampleError, match="empty: the row has no bytes"):
        packed_image(str(path), 1)
    with pytest.raises(SampleError, match="no row: the file ends before row 2"):
        packed_image(str(path), 2)
    with pytest.raises(SampleError, match="no row: the manifest"):
        packed_image(str(path), None)
    assert packed_image(str(path), 0) == picture(9)["bytes"]


def test_a_damaged_page_is_a_sample_that_is_skipped_with_the_reason(tmp_path):
    path = tmp_path / "train.parquet"
    pq.write_table(content([9, 10]), path, use_dictionary=False)
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 3] = b"\xff\xff\xff"
    path.write_bytes(damaged)
    with pytest.raises(SampleError, match="corrupt: Couldn't deserialize thrift"):
        packed_image(str(path), 0)
    with pytest.raises(FileNotFoundError):
        packed_image(str(tmp_path / "test.parquet"), 0)


def test_a_column_of_labels_may_hold_both_none_and_minus_one(tmp_path):
    got = read_dataset("huggingface", hub(tmp_path, label=[None, -1, 0, 1, 1]))
    assert list(named(got).values()) == ["calm", "pain", "pain"]
    assert got.notes == ("rows without label are excluded: 4",)
