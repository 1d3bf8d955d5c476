"""The package's metadata: what each extra installs, and what the wheel contains."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from evenface.utils.extras import _PACKAGES, EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRA_PACKAGES = PROJECT["optional-dependencies"]
DATA = (
    "app/page/index.html",
    "config/recipes/demo.yaml",
    "data/datasets/demo-people.zip",
    "inference/bundled/evenface-synthetic.onnx",
    "models/bundled/evenface-synthetic.safetensors",
    "preprocessing/head_reference.npy",
    "synthesis/head.npz",
    "synthesis/pictures/happy.jpg",
    "py.typed",
)


def names(requirements):
    """The names of packages, without versions and extras."""
    return {re.split(r"[\[<>=~!]", requirement)[0] for requirement in requirements}


def test_nothing_heavy_is_installed_for_predicting():
    heavy = {
        "torch",
        "torchvision",
        "timm",
        "lightning-fabric",
        "pandas",
        "pyarrow",
        "scipy",
        "statsmodels",
        "matplotlib",
    }
    assert not names(PROJECT["dependencies"]) & heavy
    assert heavy <= names(EXTRA_PACKAGES["train"])


@pytest.mark.parametrize("extra", _PACKAGES)
def test_doctor_names_the_extra_that_installs_a_package(extra):
    installed = names(EXTRA_PACKAGES[extra] if extra else PROJECT["dependencies"])
    assert {re.split(r"\[", name)[0] for name in _PACKAGES[extra]} <= installed


def test_extras_that_messages_name_exist():
    assert set(EXTRAS.values()) <= set(EXTRA_PACKAGES)
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        named |= set(re.findall(r"evenface\[(\w+)\]", path.read_text("utf-8")))
    assert named <= set(EXTRA_PACKAGES), named


def test_every_extra_is_in_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    assert not [extra for extra in EXTRA_PACKAGES if f"`{extra}`" not in text]


@pytest.mark.slow
def test_the_wheel_answers_in_an_empty_environment(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {f"evenface/{name}" for name in DATA} <= set(archive.namelist())
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, timeout=900)
    before = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink())
    assert before < 420e6
    code = """
import sys
import evenface as ef
from importlib.resources import files
faces = ef.load()(str(files("evenface") / "synthesis/pictures/happy.jpg"))
assert [face.label for face in faces] == ["happy"], faces
ef.explain(str(files("evenface") / "synthesis/pictures/happy.jpg"), out="explanations", random_orders=1)
assert not {"torch", "pandas", "scipy", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([python, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "explanations" / "index.html").is_file()
