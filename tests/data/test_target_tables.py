"""Tables of targets in place of classes: which columns are predicted, as what, and what is refused."""

import numpy as np
import pytest
from layouts import plant, refused
from PIL import Image

from evenface.data.dataset_guess import guess_dataset
from evenface.data.datasets import read_dataset
from evenface.data.targets import select_targets


def table(root, text, files=9):
    for n in range(files):
        (root / f"{n}.png").parent.mkdir(exist_ok=True, parents=True)
        Image.new("L", (40, 40), 9 * n).save(root / f"{n}.png")
    (root / "faces.csv").write_text(text, encoding="utf-8")
    return root / "faces.csv"


UNITS = "image,subject,AU1,AU12,note\n0.png,a,1,0,x\n1.png,a,0,,y\n2.png,b,1,1,z\n3.png,b,,0,\n"


def test_units_of_0_and_1_are_a_multilabel_task(tmp_path):
    got = read_dataset("csv", table(tmp_path, UNITS))
    assert (got.task, got.targets) == ("multilabel", ("AU1", "AU12"))
    np.testing.assert_array_equal(got.target_values(np.arange(4)), [[1, 0], [0, np.nan], [1, 1], [np.nan, 0]])
    assert got.table["path"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    assert got.table["subject"].tolist() == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("header", "rows", "targets"),
    [
        ("AU1,AU2", ["0,1", "3,0", "5,1"], ("AU1", "AU2")),  # a unit that never exceeds 1 is an intensity as the others
        ("pspi", ["0", "4", "2.5"], ("pspi",)),
        ("valence,arousal", ["-1,0.5", "0.25,0", "1,-0.5"], ("valence", "arousal")),
        ("vas", ["0", "", "10"], ("vas",)),
    ],
)
def test_other_values_are_a_regression(tmp_path, header, rows, targets):
    text = "\n".join([f"path,{header}", *(f"{n}.png,{row}" for n, row in enumerate(rows))])
    got = read_dataset("csv", table(tmp_path, text))
    assert (got.task, got.targets) == ("regression", targets)
    expected = [[float(cell or "nan") for cell in row.split(",")] for row in rows]
    np.testing.assert_array_equal(got.target_values(np.arange(3)), np.float32(expected))


MIXED = "path,AU1,AU2,pspi\n0.png,1,0,3\n1.png,0,1,0\n2.png,0,0,5\n"


def test_a_mixed_choice_is_refused_until_columns_are_chosen(tmp_path):
    path = table(tmp_path, MIXED)
    with refused("csv: in faces.csv, AU1, AU2 are 0 or 1, pspi have other values\n  Choose the targets: data.targets="):
        read_dataset("csv", path)
    assert read_dataset("csv", path, targets=["AU2"]).task == "multilabel"
    assert read_dataset("csv", path, targets=["pspi"]).targets == ("pspi",)
    assert read_dataset("csv", path, targets=["AU1", "pspi"]).task == "regression"


def test_naming_the_units_of_a_table_does_not_change_its_task(tmp_path):
    path = table(tmp_path, "path,AU1,AU2\n0.png,0,1\n1.png,3,0\n2.png,5,1\n")
    named = read_dataset("csv", path, targets=["AU1", "AU2"])
    assert select_targets(named, None, ("AU1", "AU2")).task == read_dataset("csv", path).task == "regression"


def test_columns_of_any_name_can_be_chosen(tmp_path):
    path = table(tmp_path, "path,joy,tired\n0.png,0.5,1\n1.png,0.25,0\n2.png,1,0\n")
    with refused("csv: expected the columns path, label in faces.csv, found path, joy, tired"):
        read_dataset("csv", path)
    assert read_dataset("csv", path, targets=["joy"]).targets == ("joy",)
    with refused(
        "csv: expected the column joi of data.targets in faces.csv, found path, joy, tired\n  Did you mean joy?"
    ):
        read_dataset("csv", path, targets=["joi"])


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("strong", "csv: line 3 of faces.csv: AU1 'strong' is not a number; leave a cell empty where the value is"),
        ("inf", "csv: line 3 of faces.csv: AU1 'inf' is not a number"),
        ("-1", "line 3 of faces.csv: AU1 '-1' must be 0 to 5"),
        ("9", "line 3 of faces.csv: AU1 '9' must be 0 to 5; leave a cell empty where it is not known"),
    ],
)
def test_cells_that_are_no_values_are_refused_with_line_and_value(tmp_path, cell, words):
    with refused(words):
        read_dataset("csv", table(tmp_path, f"path,AU1\n0.png,1\n1.png,{cell}\n2.png,0\n"))


def test_classes_come_first_where_a_table_has_both(tmp_path):
    path = table(tmp_path, "path,label,AU1,AU2\n0.png,calm,1,x\n1.png,pain,0,\n2.png,pain,1,0\n")
    got = read_dataset("csv", path)
    assert (got.task, got.classes, got.targets) == ("classification", ("calm", "pain"), ())
    units = read_dataset("csv", path, targets=["AU1"])
    assert units.task == "classification"
    assert select_targets(units, None, ("AU1",)).targets == ("AU1",)
    with refused("line 2 of faces.csv: AU2 'x' is not a number"):
        read_dataset("csv", path, targets=["AU2"])


def test_clips_may_have_targets(tmp_path):
    plant(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "clips.csv").write_text("video,subject,start,end,vas\na.mp4,p,0,10,2\na.mp4,p,10,20,7\nb.mp4,q,,,0\n")
    got = read_dataset("clips", tmp_path / "clips.csv")
    assert (got.content, got.task, got.targets) == ("clips", "regression", ("vas",))
    assert got.table["sample"].tolist() == ["a.mp4#0", "a.mp4#10", "b.mp4"]


def test_a_table_of_units_is_recognised(tmp_path):
    guess = guess_dataset(table(tmp_path, UNITS))
    assert guess.data["source"] == "csv"
    assert (guess.manifest.task, guess.manifest.targets) == ("multilabel", ("AU1", "AU12"))
    assert "Subjects are unknown" not in " ".join(guess.messages)
    chosen = guess_dataset(tmp_path / "faces.csv", {"data.targets": "AU12", "data.positive_from": 1})
    assert chosen.manifest.targets == ("AU12",)
    assert not {"targets", "positive_from"} & set(chosen.data)
    with refused("expected the columns image and label in"):
        guess_dataset(table(tmp_path, "image,joy\n0.png,1\n"))


# --- tables of other tools

HEADER = (
    "frame,FaceRectX,FaceScore,x_0,x_67,AU01,AU12,anger,disgust,fear,happiness,sadness,surprise,neutral,Pitch,Roll,Yaw"
)


def pyfeat(root, rows=(0, 1, 2), lost=()):
    names = HEADER.split(",")
    for word in ("calm", "pain"):
        (root / word).mkdir(parents=True, exist_ok=True)
        cells = [[str(n), *("" if n in lost else f"{n}.{i:02}" for i in range(1, len(names)))] for n in rows]
        (root / word / "p1.csv").write_text("\n".join([HEADER, *map(",".join, cells), ""]))
    return root


def read_values(manifest, row=0):
    from evenface.preprocessing.sequence_files import read_frame_table

    path, fields = manifest.root / manifest.table["path"].iloc[row], manifest.table.iloc[row]
    numbers = "" if fields["numbers"] is None or fields["numbers"] != fields["numbers"] else str(fields["numbers"])
    return read_frame_table(str(path), ".csv", path.read_bytes()[:4096], fields["points"], numbers, False)


def test_pyfeat_tables(tmp_path):
    got = read_dataset("py-feat", pyfeat(tmp_path))
    assert (got.content, got.classes) == ("sequences", ("calm", "pain"))
    values, seen = read_values(got)
    np.testing.assert_allclose(values[:, :, 0], [[n + 0.05, n + 0.06] for n in range(3)], rtol=1e-6)
    assert seen.all()
    emotions = read_values(read_dataset("py-feat", tmp_path, {"features": "emotions"}))[0]
    np.testing.assert_allclose(emotions[1, :, 0], 1 + np.arange(7, 14) / 100, rtol=1e-6)
    assert read_values(read_dataset("py-feat", tmp_path, {"features": "pose"}))[0].shape == (3, 3, 1)
    assert guess_dataset(tmp_path).data["source"] == "py-feat"
    (tmp_path / "calm/p1.csv").write_text("a,b\n1,2\n")
    with refused("py-feat: features: units needs columns such as AU01"):
        read_dataset("py-feat", tmp_path)


def test_frames_with_several_faces_are_refused(tmp_path):
    from evenface.utils.errors import SampleError

    with pytest.raises(SampleError, match="several faces: frame 1 has more than one row"):
        read_values(read_dataset("py-feat", pyfeat(tmp_path, rows=(0, 1, 1))))


def test_frames_without_a_face_are_missing_in_pyfeat_tables(tmp_path):
    values, _ = read_values(read_dataset("py-feat", pyfeat(tmp_path, lost=(1,))))
    assert np.isnan(values).all(axis=(1, 2)).tolist() == [False, True, False]


def test_mediapipe_tables(tmp_path):
    from evenface.data.datasets.sequences import BLENDSHAPES

    assert len(set(BLENDSHAPES)) == 51
    for word in ("calm", "pain"):
        (tmp_path / word).mkdir()
        header = ["frame", "_neutral", *BLENDSHAPES[::-1]]
        rows = [[n, 0.5, *(n + i / 100 for i in range(51))] for n in range(2)]
        lines = [",".join(header), *(",".join(map(str, row)) for row in rows)]
        (tmp_path / word / "p1.csv").write_text("\n".join(lines) + "\n")
    got = read_dataset("mediapipe", tmp_path)
    values, _ = read_values(got)
    np.testing.assert_allclose(values[1, :, 0], 1 + np.arange(51)[::-1] / 100, rtol=1e-6)
    assert guess_dataset(tmp_path).data["source"] == "mediapipe"
    (tmp_path / "calm/p1.csv").write_text("a,b\n1,2\n")
    with refused("mediapipe: a table of blendshapes needs columns such as browDownLeft"):
        read_dataset("mediapipe", tmp_path)
