"""``ef.load()`` and what it is called with: every form of an input gives the same answer, and nothing is written."""

import json
import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config.predict import PredictSettings
from evenface.config.recipe import FaceCrop
from evenface.inference import registry, resolve_model
from evenface.inference.face_crops import clip_target, crop_input
from evenface.inference.faces import FEW, json_text
from evenface.inference.input_spec import InputSpec, check_settings, target_for
from evenface.inference.prediction_table import read_rows
from evenface.preprocessing import face_mesh, track_faces
from evenface.preprocessing import image as images
from evenface.preprocessing.detect_align import Face
from evenface.utils.errors import InputError


@pytest.fixture(scope="module")
def file(plain_file):
    """An exported model."""
    return plain_file


@pytest.fixture(scope="module")
def model(file):
    return ef.load(file)


@pytest.fixture
def photo(people_folder, tmp_path, monkeypatch):
    """A picture of the size that the model takes, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes((people_folder / "fear" / "p00-0.png").read_bytes())
    return tmp_path / "photo.png"


def probabilities(faces):
    return np.array([[face.probabilities[name] for name in faces.classes] for face in faces])


def test_every_form_of_an_image_gives_the_same_answer_and_writes_nothing(model, photo):
    expected = probabilities(model(photo))
    assert expected.shape == (1, 3)
    np.testing.assert_allclose(expected.sum(), 1)
    grey = np.asarray(Image.open(photo))
    coloured = np.repeat(grey[:, :, None], 3, axis=2)
    opaque = np.concatenate([coloured, np.full((*grey.shape, 1), 255, np.uint8)], axis=2)
    stored = photo.read_bytes()
    forms = [
        str(photo),
        "photo.png",
        "*.png",
        photo.parent,
        [photo],
        Image.open(photo),
        grey,
        grey[:, :, None],
        coloured,
    ]
    forms += [opaque, stored, bytearray(stored), BytesIO(stored), photo.open("rb"), photo.parent.glob("*.png")]
    for form in forms:
        np.testing.assert_allclose(probabilities(model(form)), expected, atol=1e-6, err_msg=str(type(form)))
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_a_rotated_photo_is_shown_upright(model, photo):
    turned = Image.open(photo).transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[images.ORIENTATION] = 6  # shown after a turn by 90 degrees clockwise
    turned.save("turned.png", exif=exif)
    expected = probabilities(model(photo))
    for form in ("turned.png", Image.open("turned.png"), (photo.parent / "turned.png").read_bytes()):
        np.testing.assert_allclose(probabilities(model(form)), expected, atol=1e-6)


def test_the_frames_of_an_iterator_are_those_of_a_video(model, photo):
    grey = np.asarray(Image.open(photo))
    faces = model(iter([grey, Image.open(photo), photo.read_bytes()]))
    assert [(face.frame, face.end, face.time, face.face) for face in faces] == [(i, i + 1, i / 25, 1) for i in range(3)]
    assert {face.source for face in faces} == {"frames"}
    timed = model((2.0 + i, grey) for i in range(3))
    assert [face.time for face in timed] == [2.0, 3.0, 4.0]
    assert len(model((grey for _ in range(5)), frame_stride=2)) == 3
    with pytest.raises(InputError, match="seen only once"):
        model(iter([grey]), prior="estimate")


def test_lists_keep_their_order_and_name_images_in_memory(model, photo):
    faces = model([np.asarray(Image.open(photo)), photo, Image.open(photo)])
    assert [face.source for face in faces] == ["image 1", str(photo), "image 3"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((4, 4, 3)), "must be uint8, got float64"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(height, width, 3\).*\n.*iter\(array\)"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (7, "object of type int"),
        ({"a": 1}, "object of type dict"),
        ([None], "object of type NoneType"),
        (iter([3]), "object of type int"),
        (iter(()), "the iterator is empty"),
        ([], "no input could be predicted"),
        (b"no picture", "image: not an image: text"),
        ("missing.png", "missing.png: not found"),
    ],
)
def test_what_cannot_be_predicted_on_is_refused_in_a_sentence(model, wrong, message):
    with pytest.raises(InputError, match=message):
        model(wrong)


def test_settings_are_checked(model, photo):
    with pytest.raises(InputError, match=r"unknown key abstane.*\n.*abstain"):
        model(photo, abstane=0.5)
    assert model(photo, abstain=1.0)[0].label == ""


def test_the_result_is_a_sequence_with_a_table_and_a_picture(model, photo, tmp_path):
    faces = model([photo, photo.parent / "missing.png"])
    (face,) = faces
    assert faces[0] is face
    assert face.label == max(face.probabilities, key=face.probabilities.get)
    assert face.probability == max(face.probabilities.values())
    assert faces.skipped == [f"{photo.parent / 'missing.png'}: not found"]
    table = faces.to_pandas()
    assert table["label"].tolist() == [face.label]
    assert [str(table[name].dtype) for name in ("frame", "time", "file")] == ["Int64", "float64", "string"]
    assert json.loads(faces.to_json())[0]["p_fear"] == face.probabilities["fear"]
    ef.predict([photo], model, out=[tmp_path / "t.csv", tmp_path / "t.json"])
    for name in ("t.csv", "t.json"):
        (row,) = read_rows(tmp_path / name)
        assert {key: value for key, value in row.items() if key != "digest"} == faces.rows[0]
    assert repr(faces) == f"<1 face: {face.label} 1>"
    assert repr(replace(faces, load=list)) == "<0 faces>"
    assert repr(face) == f"<face 1 in {photo}: {face.label} {face.probability:.2f}>"
    assert faces.plot().size == Image.open(photo).size
    assert Image.open(BytesIO(faces._repr_png_())).size == faces.plot().size
    assert "<td>photo.png</td>" in faces._repr_html_()
    assert "data:image/png" in faces._repr_html_()
    assert repr(model) == "<model plain: calm, fear, happy>"
    assert "<td>calm, fear, happy</td>" in model._repr_html_()


def test_a_result_read_from_tables_is_the_one_in_memory(model, people_folder, tmp_path):
    folder, out = people_folder / "fear", tmp_path / "t.parquet"
    written, kept = ef.predict(folder, model, out=out), model(folder)
    assert list(written) == list(kept)
    again = ef.predict(folder, model, out=out)
    assert (again.cached, again.files, list(again)) == (36, 36, list(kept))
    pd.testing.assert_frame_equal(written.to_pandas().drop(columns="digest"), kept.to_pandas())


def test_many_images_are_drawn_as_tiles_and_frames_of_an_iterator_are_not(model, people_folder, photo):
    page = model(people_folder / "calm").plot()
    assert page.size == (4 * 32, 3 * 32)
    frames = model(iter([np.asarray(Image.open(photo))]))
    assert frames._repr_png_() is None
    assert "<img" not in frames._repr_html_()
    with pytest.raises(InputError, match="not kept"):
        frames.plot()


def test_names_that_a_page_could_run_are_escaped(model, photo):
    evil = photo.parent / "<img src=x onerror=alert(1)>.png"
    evil.write_bytes(photo.read_bytes())
    assert "<img src=x" not in model(evil)._repr_html_()


# ---- names of models


def test_a_model_is_found_by_file_folder_or_name(file, two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    (tmp_path / "evenface-synthetic.onnx").write_bytes(file.read_bytes())
    for name in (None, "evenface-synthetic"):
        assert resolve_model(name) == tmp_path / "evenface-synthetic.onnx"
    assert resolve_model(str(file)) == file
    assert ef.load(two_runs / "plain").classes == ef.load().classes
    with pytest.raises(InputError, match=r"there is no model 'evenface-syntetic'.*\n.*Did you mean evenface-synthetic"):
        ef.load("evenface-syntetic")
    for missing in ("runs/none", "none.onnx", tmp_path / "none"):
        with pytest.raises(InputError, match="does not exist"):
            ef.load(missing)
    (tmp_path / "evenface-synthetic.onnx").unlink()
    with pytest.raises(InputError, match="missing from this installation"):
        ef.load()


# ---- the command


def test_the_command_prints_each_face_and_then_counts(model, file, photo, people_folder):
    result = CliRunner().invoke(app, ["predict", str(photo), f"--model={file}"])
    (face,) = model(photo)
    first = result.output.splitlines()[0]
    assert first.startswith(f"{photo}  face 1  {face.label} {face.probability:.2f}   1 face in ")
    assert first.endswith(" ms")
    result = CliRunner().invoke(app, ["predict", str(people_folder), f"--model={file}"])
    lines = result.output.splitlines()
    assert lines[0].startswith("216 faces in 216 files in ")
    labels = [face.label for face in model(people_folder)]
    assert len(labels) > FEW
    counts = {line.split()[0]: int(line.split()[1]) for line in lines[1 : 1 + len(set(labels))]}
    assert counts == {label: labels.count(label) for label in set(labels)}
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_the_command_prints_json_alone(model, file, photo):
    result = CliRunner().invoke(app, ["predict", "photo.png", f"--model={file}", "--json", "-"])
    assert result.stdout == json_text(model("photo.png").rows)


def test_the_model_as_first_argument_is_told_the_option(file, two_runs, photo):
    for command in ("predict", "explain"):
        for old in (file, two_runs / "plain"):
            result = CliRunner().invoke(app, [command, str(old), "photo.png"])
            assert result.exit_code == 2
            assert f"evenface {command} INPUT --model {old}" in result.output


# ---- which inputs are crops of a face already


def faces_of(*boxes):
    return [(Face(box, 0.9, ((box[0], box[1]), (box[2], box[1]))), Image.new("RGB", (48, 48), "red")) for box in boxes]


WHOLE, CROPPED = (0, 0, 255), (255, 0, 0)


@pytest.mark.parametrize(
    ("size", "found", "uncropped", "trained_on_crops"),
    [
        ((96, 96), [], [WHOLE], [WHOLE]),
        ((96, 80), [(10, 10, 40, 40)], [WHOLE], [CROPPED]),
        ((96, 60), [], [], []),
        ((97, 97), [], [], []),
        ((200, 200), [(40, 40, 160, 160)], [WHOLE], [CROPPED]),
        ((200, 200), [(40, 40, 155, 155)], [CROPPED], [CROPPED]),
        ((300, 200), [(40, 40, 160, 160)], [CROPPED], [CROPPED]),
        ((200, 200), [(0, 0, 160, 160), (160, 0, 200, 40)], [CROPPED, CROPPED], [CROPPED, CROPPED]),
    ],
)
def test_a_small_square_and_an_image_that_one_face_fills_are_not_cropped(
    monkeypatch, size, found, uncropped, trained_on_crops
):
    monkeypatch.setattr(images, "crop_faces", lambda image, crop, *_: faces_of(*found))
    picture, settings = Image.new("RGB", size, "blue"), PredictSettings()
    for spec, expected in (
        (InputSpec("stills", 48, 3), uncropped),
        (InputSpec("stills", 48, 3, faces=FaceCrop(crop="face")), trained_on_crops),
    ):
        crops = crop_input(picture, target_for(settings, spec), spec, settings)
        assert [tuple(array[0, 24, 24].tolist()) for _, array in crops] == expected
        if spec.crop is None and found and max(size) > 96:
            assert [face.box for face, _ in crops] == found
    clip = InputSpec("clips", 48, 3, 4)
    cropped = clip_target(picture, target_for(settings, clip), clip, settings).crop is not None
    assert cropped == (uncropped != [WHOLE])


def test_faces_that_are_asked_for_are_always_searched_for(monkeypatch):
    monkeypatch.setattr(images, "crop_faces", lambda image, crop, *_: [])
    spec, picture = InputSpec("stills", 48, 3), Image.new("RGB", (48, 48), "blue")
    counts = {}
    for faces in ("all", "largest", "none"):
        settings = PredictSettings(faces=faces)
        counts[faces] = len(crop_input(picture, target_for(settings, spec), spec, settings))
    assert counts == {"all": 0, "largest": 0, "none": 1}


def test_tracking_can_be_turned_off_for_image_models_only():
    off = PredictSettings(tracking=False)
    check_settings(off, InputSpec("stills", 48, 3))
    for kind in ("clips", "sequences"):
        check_settings(PredictSettings(), InputSpec(kind, 48, 3, 4))
        with pytest.raises(InputError, match="for image models only"):
            check_settings(off, InputSpec(kind, 48, 3, 4))


def test_a_video_is_searched_in_each_frame_only_without_tracking(model, monkeypatch):
    """Frames that are one second apart are searched either way."""
    from evenface.preprocessing import detect_align, track_faces

    searched = []
    blank = Image.new("RGB", (320, 240), (120, 120, 120))
    face = detect_align.Face((100.0, 60.0, 200.0, 160.0), 0.9, ((130.0, 90.0), (170.0, 90.0)))

    def find(_, image, known):
        searched.append(image)
        return [] if known else [face]

    monkeypatch.setattr(detect_align.BlazeFace, "beside", find)
    monkeypatch.setattr(track_faces, "detect_mesh", lambda _: np.random.default_rng(0).random((468, 3)))
    counts = {}
    for step, tracking in ((1 / 25, {}), (1 / 25, {"tracking": False}), (1.0, {})):
        searched.clear()
        faces = model(((step * number, blank) for number in range(5)), **tracking)
        assert [one.face for one in faces] == [1] * 5
        counts[step, not tracking] = len(searched)
    assert counts == {(1 / 25, True): 1, (1 / 25, False): 5, (1.0, True): 5}


def test_the_head_pose_of_followed_faces_takes_the_mesh_that_they_have(monkeypatch):
    image = Image.open(Path(__file__).parents[1] / "pictures" / "two-made-up-people.jpg").convert("RGB")
    calls = []
    for module in (track_faces, face_mesh):
        detect = module.detect_mesh
        monkeypatch.setattr(module, "detect_mesh", lambda view, own=detect: calls.append(0) or own(view))
    model = ef.load()

    def film():
        return iter([(number / 25, image.rotate(number / 2)) for number in range(8)])

    plain = model(film()).load()
    count = len(calls)
    posed = model(film(), pose=True).load()
    assert len(calls) == 2 * count > 0
    assert [row["file"] for row in posed] == [row["file"] for row in plain]
    for row in posed:
        box = [row[side] for side in ("left", "top", "right", "bottom")]
        (alone,) = [
            face
            for face in model(image.rotate(row["frame"] / 2), pose=True).load()
            if math.dist(box[:2], (face["left"], face["top"])) < box[2] - box[0]
        ]
        angles = [[one[name] for name in ("yaw", "pitch", "roll")] for one in (row, alone)]
        np.testing.assert_allclose(*angles, atol=4)


def test_the_head_pose_is_printed_where_it_was_asked_for():
    people = Path(__file__).parents[1] / "pictures" / "two-made-up-people.jpg"
    model = ef.load()
    assert "yaw" not in "".join(model(people).lines())
    posed = model(people, pose=True)
    for face, line in zip(posed, posed.lines(), strict=False):
        assert f"{face.probability:.2f}  yaw {face.yaw:3.0f}°  pitch {face.pitch:3.0f}°  roll {face.roll:3.0f}°" in line
        assert f"yaw {face.yaw:3.0f}°" in posed._repr_html_()
