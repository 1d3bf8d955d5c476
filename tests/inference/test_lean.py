"""Predicting needs neither PyTorch nor the packages for tables, statistics and figures: they are hidden here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evenface as ef
from evenface.utils.extras import EXTRAS

HIDDEN = ["torch", "torchvision", "timm", "lightning", "lightning_fabric", "pandas", "scipy", "matplotlib", "pyarrow"]
HIDDEN += ["statsmodels", "sklearn", "safetensors", "onnx", "cv2"]
PEOPLE = Path(__file__).parents[1] / "pictures" / "two-made-up-people.jpg"
HIDE = f"""
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {HIDDEN} else PathFinder.find_spec(name, path, target)
    def invalidate_caches(self):
        PathFinder.invalidate_caches()

sys.meta_path = [Without() if finder is PathFinder else finder for finder in sys.meta_path]
"""


def without(code, *words, folder):
    """Run code in a process that finds none of the hidden packages."""
    done = [sys.executable, "-c", HIDE + code, *map(str, words)]
    return subprocess.run(done, capture_output=True, text=True, timeout=300, cwd=folder)


def test_python_predicts_and_draws_without_them(plain_file, tmp_path):
    code = f"""
import evenface as ef
model = ef.load(sys.argv[1])
faces = model(sys.argv[2], pose=True)
late = {{"fastapi", "uvicorn", "typer", "jinja2", "evenface.api", "evenface.training", *{HIDDEN}}} & set(sys.modules)
assert not late, late
faces.plot().save("drawn.png")
faces._repr_html_()
try:
    faces.to_pandas()
except ef.InputError as error:
    assert "evenface[train]" in str(error)
print(faces.to_json())
"""
    done = without(code, plain_file, PEOPLE, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    faces = ef.predict(PEOPLE, plain_file, pose=True)
    found = json.loads(done.stdout)
    assert [row["label"] for row in found] == [face.label for face in faces]
    assert all(abs(row["yaw"]) < 60 for row in found)
    assert (tmp_path / "drawn.png").is_file()


def test_the_command_predicts_and_names_the_extra_of_what_is_missing(plain_file, two_runs, tmp_path):
    code = """
from evenface.cli import app
import sys
for words in sys.argv[1:]:
    try:
        app(words.split("|"), prog_name="evenface")
    except SystemExit as end:
        print("code", end.code, flush=True)
"""
    model = f"--model|{plain_file}"
    calls = {
        f"predict|{PEOPLE}|{model}|--csv|t.csv|--json|t.json|--annotate|drawn": 0,
        f"predict|{PEOPLE}|{model}|--parquet|t.parquet": "pyarrow",
        f"predict|{PEOPLE}|{model}|--timeline|t.svg": "matplotlib",
        f"predict|{PEOPLE}|--model|{two_runs / 'plain'}": "torch",
        f"explain|{PEOPLE}|--random-orders|1": 0,
        "train|demo": "torch",
        f"compare|{two_runs / 'plain'}|{two_runs / 'weighted'}": "pandas",
        "stats|t.csv|--value|a|--factors|b|--unit|c": "pandas",
        f"export|{two_runs / 'plain'}": "torch",
    }
    done = without(code, *calls, folder=tmp_path)
    assert "Traceback" not in done.stderr, done.stderr
    codes = [line for line in done.stdout.splitlines() if line.startswith("code")]
    assert codes == [f"code {0 if expected == 0 else 2}" for expected in calls.values()], done.stderr
    said = [
        f"evenface: {name} is not installed\n  Install it: pip install 'evenface[{EXTRAS[name]}]'\n"
        for name in calls.values()
        if name
    ]
    assert done.stderr.endswith("".join(said))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn", "explanations", "t.csv", "t.json"]
    assert "2 samples explained by occlusion" in done.stdout
    assert "needs matplotlib: pip install 'evenface[train]'" in done.stdout
    found = sorted(path.name for path in (tmp_path / "explanations").iterdir() if path.is_file())
    assert found == ["explanations.csv", "importance.csv", "index.html"]


def test_the_page_lists_and_predicts_without_them(plain_file, tmp_path):
    pytest.importorskip("fastapi")
    code = f"""
from pathlib import Path
from evenface.app.catalogue import Catalogue, model_summary
from evenface.app.predict_job import PredictRequest, predict_upload
from evenface.app.server import create_app
from evenface.config.limits import Limits
from evenface.inference import open_model
catalogue = Catalogue([], lambda: {{"own": Path(sys.argv[1])}})
create_app(catalogue)
(entry,) = catalogue.entries().values()
request = PredictRequest(entry, Path(sys.argv[2]), explain=True)
found = predict_upload(request, open_model(entry.path), Limits(), lambda share: None)
assert len(found["rows"]) == len(found["explained"]) == 2, found
assert not {{*{HIDDEN}}} & set(sys.modules)
print(model_summary(entry).classes)
"""
    done = without(code, plain_file, PEOPLE, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['calm', 'fear', 'happy']\n"


def test_synthetic_people_are_drawn_without_them(tmp_path):
    code = f"""
from evenface.synthesis.images import draw_faces
print(draw_faces(1, people=1, size=32).images.shape)
assert not {{*{HIDDEN}}} & set(sys.modules)
"""
    done = without(code, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "(1, 32, 32, 3)\n"), done.stderr
