"""Pictures of synthetic people in the package: small, with one face that is found, drawn by the committed command."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evenface.preprocessing.detect_align import find_faces
from evenface.synthesis.head import FILE

PICTURES = {path.stem: path for path in FILE.with_name("pictures").iterdir()}


def test_there_are_two_small_pictures():
    assert set(PICTURES) == {"happy", "surprise"}
    for path in PICTURES.values():
        assert path.stat().st_size <= 60_000
        with Image.open(path) as image:
            assert image.size == (480, 480)


@pytest.mark.parametrize("name", PICTURES)
def test_the_face_is_found(name):
    pytest.importorskip("onnxruntime")
    with Image.open(PICTURES[name]) as image:
        (face,) = find_faces(image.convert("RGB"), "mediapipe")
    (left, left_row), (right, right_row) = face.eyes
    assert face.box[0] < left < right < face.box[2]
    # About 100 pixels apart in the upper half, as drawn.
    assert right - left == pytest.approx(100, abs=10)
    assert (left_row + right_row) / 2 == pytest.approx(217, abs=10)
    assert face.score > 0.8


@pytest.mark.slow
def test_the_command_draws_the_pictures(tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / "tools" / "draw_pictures.py"
    spec = importlib.util.spec_from_file_location("draw_pictures", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", [str(path), "--out", str(tmp_path)])
    tool.main()
    assert {path.stem for path in tmp_path.iterdir()} == set(PICTURES)
    for name, path in PICTURES.items():
        drawn, stored = (np.asarray(Image.open(file)).astype(int) for file in (tmp_path / f"{name}.jpg", path))
        assert np.abs(drawn - stored).mean() < 0.5
