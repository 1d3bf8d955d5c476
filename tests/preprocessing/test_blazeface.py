"""MediaPipe's models in ONNX Runtime detect what MediaPipe detects.

``four-made-up-people.json`` holds what mediapipe 0.10.14 itself detects in ``four-made-up-people.jpg``; the slow tests
run that package again, on further pictures too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evenface.preprocessing import blazeface
from evenface.preprocessing.blazeface import FULL_RANGE, SHORT_RANGE, DetectionModel, letterbox, suppress
from evenface.preprocessing.detect_align import Square, cut, find_faces, square_of
from evenface.preprocessing.face_mesh import find_points
from evenface.preprocessing.target import MESH_MARGIN
from evenface.preprocessing.video import open_film

PICTURES = Path(__file__).parents[1] / "pictures"
KNOWN = json.loads((PICTURES / "four-made-up-people.json").read_text("utf-8"))
MODELS = {"short_range": SHORT_RANGE, "full_range": FULL_RANGE}
REFERENCE = os.environ.get("EVENFACE_REFERENCE", "")
"""Python with mediapipe 0.10.14."""


@pytest.fixture(scope="module")
def people() -> Image.Image:
    """Four drawn people with faces of 43 to 105 pixels, two of them tilted."""
    with Image.open(PICTURES / "four-made-up-people.jpg") as file:
        return file.convert("RGB")


def window(picture, corner):
    return picture.crop((*corner, corner[0] + 192, corner[1] + 192))


def mesh_of(view):
    """Landmarks in a picture of 192 × 192 pixels, which is its own crop."""
    return find_points(view, Square((96, 96), 192, 0.0))


def assert_same_detections(found, known, atol):
    """Each known face is found, and no other; both are sorted by score, in which close ones may change places."""
    known = np.array(known).reshape(-1, 17)
    assert len(found) == len(known)
    for face in known:
        nearest = found[np.abs(found[:, 1:5] - face[1:5]).sum(axis=1).argmin()]
        np.testing.assert_allclose(nearest[1:], face[1:], atol=atol)
        assert nearest[0] == pytest.approx(face[0], abs=0.005)


# --- as MediaPipe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_detections_are_those_of_mediapipe(people, name):
    assert_same_detections(MODELS[name](people), KNOWN[name], atol=0.5)


@pytest.mark.parametrize("number", range(len(KNOWN["meshes"])))
def test_landmarks_are_those_of_mediapipe(people, number):
    known = KNOWN["meshes"][number]
    points = mesh_of(window(people, known["corner"]))
    assert points.shape == (468, 3)
    np.testing.assert_allclose(points[:: known["step"]], known["points"], atol=0.5)


def run_mediapipe(pictures, folder):
    """What MediaPipe itself detects."""
    if not REFERENCE:
        pytest.skip("needs EVENFACE_REFERENCE, a Python with tools/mediapipe-reference.txt")
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number}.png")
    script = Path(__file__).parents[2] / "tools" / "mediapipe_reference.py"
    names = [str(folder / f"{number}.png") for number in range(len(pictures))]
    return json.loads(subprocess.run([REFERENCE, str(script), *names], check=True, capture_output=True).stdout)


@pytest.mark.slow
def test_the_known_figures_are_mediapipes(people, tmp_path):
    windows = [window(people, known["corner"]) for known in KNOWN["meshes"]]
    first, *others = run_mediapipe([people, *windows], tmp_path)["pictures"]
    for name in MODELS:
        np.testing.assert_allclose(first[name], KNOWN[name], atol=0.01)
    for known, other in zip(KNOWN["meshes"], others, strict=True):
        np.testing.assert_allclose(other["mesh"][:: known["step"]], known["points"], atol=0.01)


def views_of(picture):
    """A picture, tilted, and smaller."""
    return picture, picture.rotate(17, Image.Resampling.BICUBIC), picture.reduce(3)


@pytest.mark.slow
def test_drawn_people_are_detected_as_by_mediapipe(people, tmp_path):
    compare_with_mediapipe([*views_of(people), people.rotate(-30), people.resize((900, 675))], tmp_path)


@pytest.mark.slow
def test_real_people_are_detected_as_by_mediapipe(real_data, tmp_path):
    film = open_film(str(real_data / "clips" / "single_face.mp4"))
    pictures = [image for _, image in film.frames(range(0, len(film.times), 25))]
    for name in ("single_face.jpg", "multi_face.jpg"):
        with Image.open(real_data / "clips" / name) as file:
            pictures.append(file.convert("RGB"))
    compare_with_mediapipe([view for picture in pictures for view in views_of(picture)], tmp_path)


def compare_with_mediapipe(pictures, folder):
    faces = [find_faces(picture, "mediapipe") for picture in pictures]
    crops = [
        cut(picture, square_of(face, MESH_MARGIN), 192)
        for picture, several in zip(pictures, faces, strict=True)
        for face in several
    ]
    results = run_mediapipe([*pictures, *crops], folder)["pictures"]
    worst = []
    for picture, known in zip(pictures, results, strict=False):
        for name, model in MODELS.items():
            found = model(picture)
            assert len(found) == len(known[name])
            for face in np.array(known[name]).reshape(-1, 17):
                nearest = found[np.abs(found[:, 1:5] - face[1:5]).sum(axis=1).argmin()]
                worst.append(np.abs(nearest[1:] - face[1:]).max() * min(1, model.size / max(picture.size)))
    # A detection at the smallest score is one of the averaged ones for one side and not for the other.
    assert np.quantile(worst, 0.95) < 0.5
    assert max(worst) < 1.5
    off = []
    for crop, known in zip(crops, results[len(pictures) :], strict=True):
        points = mesh_of(crop)
        assert (points is None) == (known["mesh"] is None)
        if points is not None:
            off.append(np.abs(points - known["mesh"]).max())
    assert len(off) >= len(pictures) / 2
    assert np.quantile(off, 0.95) < 0.5
    assert max(off) < 1.0


@pytest.mark.parametrize("name", ["short_range_detector", "full_range_detector", "mesh"])
def test_sums_and_activations_can_be_fused_with_convolutions(name):
    """ONNX Runtime does so for channels in blocks of eight alone, which padding by its Pad would leave."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.shape_inference.infer_shapes(
        onnx.load(Path(blazeface.__file__).parent / "face_models" / f"{name}.onnx")
    ).graph
    sizes = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
    assert not {"Pad", "PRelu"} & {node.op_type for node in graph.node}
    channels = {sizes[node.output[0]][1].dim_value for node in graph.node if node.op_type == "Relu"}
    assert channels
    assert all(number % 8 == 0 for number in channels)


# --- parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "shape"), [(40, (90, 60)), (128, (30, 45)), (64, (64, 64)), (50, (7, 1))])
def test_letterboxes_are_bilinear_samples_between_black_borders(size, shape):
    height, width = shape
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)

    def pixel(row, column):
        inside = 0 <= row < height and 0 <= column < width
        return pixels[row, column].astype(float) if inside else np.zeros(3)

    side = max(shape)
    expected = np.zeros((size, size, 3))
    for i in range(size):
        for j in range(size):
            y, x = i * side / size - (side - height) / 2, j * side / size - (side - width) / 2
            top, left = int(np.floor(y)), int(np.floor(x))
            for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
                for column, right in ((left, 1 - (x - left)), (left + 1, x - left)):
                    expected[i, j] += down * right * pixel(row, column)
    # Places are rounded to 1/32 of a pixel.
    np.testing.assert_allclose(letterbox(Image.fromarray(pixels), size), expected, atol=0.5 + 2 * 255 / 64)


def test_boxes_are_decoded_at_the_anchor_of_their_cell():
    """Cells are numbered row by row and have all their anchors in turn; values are in pixels of the input."""
    model = DetectionModel("none", 40, 0.5, ((4, 2), (2, 6)))
    boxes, scores = np.zeros((56, 16), np.float32), np.full(56, -9, np.float32)
    chosen = {2 * (4 * 1 + 3) + 1: (3.5 / 4, 1.5 / 4), 32 + 6 * (2 * 1 + 0) + 5: (0.5 / 2, 1.5 / 2)}
    for index in chosen:
        scores[index] = 2
        boxes[index] = [4, -8, 20, 10, *range(12)]
    found = model.decode(boxes, scores)
    assert found.shape == (2, 17)
    for face, (x, y) in zip(found, chosen.values(), strict=True):
        assert face[0] == pytest.approx(1 / (1 + np.exp(-2)))
        assert face[1:5] == pytest.approx([x + 0.1 - 0.25, y - 0.2 - 0.125, x + 0.1 + 0.25, y - 0.2 + 0.125])
        assert face[5:] == pytest.approx([(x, y)[i % 2] + i / 40 for i in range(12)])


def test_scores_below_the_smallest_and_inverted_boxes_are_no_detections():
    model = DetectionModel("none", 40, 0.6, ((1, 3),))
    boxes = np.tile(np.float32([0, 0, 20, 20, *[0] * 12]), (3, 1))
    boxes[2, 2] = -20
    scores = np.log(np.float32([0.61, 0.59, 0.99]) / (1 - np.float32([0.61, 0.59, 0.99])))
    assert model.decode(boxes, scores)[:, 0] == pytest.approx([0.61], rel=1e-5)


def test_overlapping_detections_become_their_weighted_mean():
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 4, (30, 2)) * 40 + rng.uniform(0, 12, (30, 2))
    found = np.hstack([rng.uniform(0.5, 1, (30, 1)), corners, corners + 30, rng.uniform(0, 200, (30, 12))])

    def same(a, b):
        width, height = (min(a[3 + i], b[3 + i]) - max(a[1 + i], b[1 + i]) for i in (0, 1))
        return width > 0 and height > 0 and width * height / (2 * 900 - width * height) > 0.3

    rest, expected = sorted(found.tolist(), reverse=True), []
    while rest:
        group = [face for face in rest if same(face, rest[0])]
        total = sum(face[0] for face in group)
        means = [sum(face[0] * face[k] for face in group) / total for k in range(1, 17)]
        expected.append([rest[0][0], *means])
        rest = [face for face in rest if face not in group]
    assert 1 < len(expected) < 30
    np.testing.assert_allclose(suppress(found.astype(np.float32)), expected, rtol=1e-5)
    assert suppress(np.zeros((0, 17), np.float32)).shape == (0, 17)


# --- properties ---------------------------------------------------------------------------------------------------


def test_landmarks_move_with_the_picture(people):
    """A larger picture with the face elsewhere, tilted and enlarged, has the landmarks there."""
    face = find_faces(people, "mediapipe")[0]
    points = find_points(people, square_of(face, MESH_MARGIN))
    for scale, angle, shift in ((1.0, 0, (310, 45)), (1.0, 25, (60, 90)), (2.0, -15, (33, 70))):
        large = people.resize((round(people.width * scale), round(people.height * scale)), Image.Resampling.BICUBIC)
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn = np.array([[cos, -sin], [sin, cos]])
        middle = np.array([large.width, large.height]) / 2
        turned = large.rotate(-angle, Image.Resampling.BICUBIC)
        wall = Image.new("RGB", (large.width + 400, large.height + 300), (110, 120, 130))
        wall.paste(turned, shift)
        square = square_of(face, MESH_MARGIN)
        centre = turn @ (np.array(square.centre) * scale - middle) + middle + shift
        moved = find_points(wall, Square(tuple(centre), square.side * scale, square.angle + np.radians(angle)))
        expected = (points[:, :2] * scale - middle) @ turn.T + middle + shift
        off = np.linalg.norm(moved[:, :2] - expected, axis=1) / (face.side * scale)
        assert off.mean() < 0.01
        assert off.max() < 0.04


def test_depths_are_in_the_unit_of_the_picture(people):
    square = square_of(find_faces(people, "mediapipe")[0], MESH_MARGIN)
    points = find_points(people, square)
    x, y = square.centre
    half = find_points(people.reduce(2), Square((x / 2, y / 2), square.side / 2, square.angle))
    assert points[4, 2] < points[:, 2].mean()  # the tip of the nose is nearer
    assert np.ptp(half[:, 2]) == pytest.approx(np.ptp(points[:, 2]) / 2, rel=0.1)


def test_no_landmarks_are_detected_without_a_face(people):
    assert mesh_of(Image.new("RGB", (192, 192), (110, 120, 130))) is None
    assert mesh_of(window(people, (208, 250)).resize((192, 192))) is None


def test_detection_needs_neither_torch_nor_opencv_and_prints_nothing():
    """One session for each model, with one thread, loaded with the first picture."""
    code = (
        "import sys; from PIL import Image; from evenface.preprocessing import blazeface\n"
        "from evenface.preprocessing.detect_align import Square, find_faces\n"
        "from evenface.preprocessing.face_mesh import find_points\n"
        "assert 'onnxruntime' not in sys.modules\n"
        f"picture = Image.open({str(PICTURES / 'four-made-up-people.jpg')!r}).convert('RGB')\n"
        "for _ in range(2): assert len(find_faces(picture, 'mediapipe')) == 4\n"
        "for _ in range(2): assert find_points(picture, Square((103, 149), 192, 0.0)) is not None\n"
        "assert blazeface.session.cache_info().currsize == 3\n"
        "assert blazeface.session('mesh').get_session_options().intra_op_num_threads == 1\n"
        "assert not {'torch', 'cv2', 'mediapipe', 'scipy'} & set(sys.modules), sorted(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
