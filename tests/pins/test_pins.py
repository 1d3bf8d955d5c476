"""What users rely on: public names, help texts, files and their keys, predictions of tiny runs.

Each is pinned by a text file beside this one. What changes on purpose is written anew by
``pytest -n 0 tests/pins --regenerate-pins``; the difference then shows in the commit.
"""

import csv
import functools
import importlib
import inspect
import json
import operator
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from golden import STEADIEST, trained
from pydantic import BaseModel
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app

pytestmark = pytest.mark.usefixtures("forked_workers")

FOLDER = Path(__file__).parent
MODULES = [name for name in ef.__all__ if inspect.ismodule(getattr(ef, name))]


def signature(value) -> str:
    """Return the parameters of a function or class with their defaults; ``""`` for other objects."""
    if not callable(value):
        return ""
    try:
        found = inspect.signature(value)
    except ValueError:  # a class written in C has none
        return ""
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    text = str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(" at 0x[0-9a-f]+", "", text)


def public(module) -> list[str]:
    """Return a module's ``__all__``, or else the public functions and classes that it defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def described(name: str, value) -> list[str]:
    """Return a line for a name; for a class, one for each public method and attribute too."""
    if not inspect.isclass(value):
        return [f"{name}{signature(value)}"]
    # The fields of a pydantic model are pinned as keys.
    head = name if issubclass(value, BaseModel) else f"{name}{signature(value)}"
    members = [key for key in sorted(vars(value)) if not key.startswith(("_", "model_"))]
    return [head, *(f"{name}.{key}{signature(getattr(value, key, None))}" for key in members)]


def test_public_names_and_signatures(pinned):
    lines = []
    for module in [ef, *(getattr(ef, name) for name in MODULES)]:
        lines += ["", f"[{module.__name__}]"]
        for name in public(module):
            value = getattr(module, name)
            lines += [name] if inspect.ismodule(value) else described(name, value)
    pinned("names.txt", "\n".join(lines).strip() + "\n")


def test_documented_names_and_signatures(pinned):
    page = (FOLDER.parents[1] / "docs/api.md").read_text("utf-8")
    paths = [path for block in re.findall(r":toctree:.*?\n\n(.*?)```", page, re.DOTALL) for path in block.split()]
    lines = set()
    for path in paths:
        module, _, name = f"evenface.{path}".rpartition(".")
        lines |= set(described(name, getattr(importlib.import_module(module), name)))
    pinned("documented-names.txt", "\n".join(sorted(lines)) + "\n")


def test_keys_of_a_recipe_with_their_defaults(pinned):
    recipe = ef.load_recipe({"name": "name", "data": {"source": "folder"}}).model_dump(mode="json")
    lines = [f"{key}: {json.dumps(functools.reduce(operator.getitem, key.split('.'), recipe))}" for key in keys(recipe)]
    pinned("recipe-keys.txt", "\n".join(lines) + "\n")


def commands(command, *words: str):
    """Iterate over a command and all below it, as the words that call them."""
    yield words
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *words, name)


def test_help_of_every_verb(pinned, request, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    texts = {}
    for words in commands(typer.main.get_command(app)):
        name = "-".join(("evenface", *words))
        done = CliRunner().invoke(app, [*words, "--help"], prog_name="evenface", terminal_width=100)
        assert done.exit_code == 0
        texts[f"{name}.txt"] = done.output
    if request.config.getoption("--regenerate-pins", default=False):
        shutil.rmtree(FOLDER / "help", ignore_errors=True)
    for name, text in texts.items():
        pinned(f"help/{name}", text)
    assert {path.name for path in (FOLDER / "help").iterdir()} == set(texts)


def keys(value, at: str = "", depth: int = 3) -> list[str]:
    """Return the dotted keys of nested mappings down to ``depth``; ``[]`` stands for the items of a list."""
    if depth and isinstance(value, dict) and value:
        return [line for key, below in value.items() for line in keys(below, f"{at}.{key}" if at else key, depth - 1)]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return keys(value[0], f"{at}[]", depth)
    return [at] if at else []


def contents(path: Path) -> list[str]:
    """Return the keys of a JSON or YAML file, the columns of a table; nothing of other files."""
    if path.suffix in (".json", ".yaml"):
        return keys(yaml.safe_load(path.read_text("utf-8")))
    if path.suffix == ".parquet":
        return list(pd.read_parquet(path).columns)
    if path.suffix == ".csv":
        return next(csv.reader(path.read_text("utf-8").splitlines()), [])
    return []


def listing(folder: Path, skip: str = "") -> str:
    """Return each file below a folder with its keys or columns; folders that match ``skip`` by their name alone."""
    lines = []
    for path in sorted(folder.rglob("*")):
        name = re.sub(r"\b[0-9a-f]{6,}\b", "DIGEST", path.relative_to(folder).as_posix())
        if skip and re.match(skip, name):
            if re.fullmatch(skip, name):
                lines.append(f"{name}/")
        elif path.is_file():
            lines += [name, *(f"    {line}" for line in contents(path))]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def run(two_runs):
    return two_runs / "plain"


@pytest.fixture(scope="module")
def image(people_folder):
    return people_folder / "happy/p00-0.png"


def test_files_of_a_run(pinned, run):
    pinned("files-of-run.txt", listing(run))


def test_files_of_a_comparison(pinned, two_runs, tmp_path):
    ef.compare([two_runs / "plain", two_runs / "weighted"], out=tmp_path / "out", sample_faces=False)
    pinned("files-of-comparison.txt", listing(tmp_path / "out"))


def test_inputs_outputs_and_metadata_of_an_exported_file(pinned, plain_file):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(plain_file)
    lines = [path.name for path in sorted(plain_file.parent.iterdir())]
    for kind, values in {"input": model.graph.input, "output": model.graph.output}.items():
        for value in values:
            shape = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
            lines.append(f"{kind} {value.name} {shape}")
    for entry in sorted(model.metadata_props, key=lambda entry: entry.key):
        lines.append(f"metadata {entry.key}")
        lines += [f"    {line}" for line in keys(json.loads(entry.value))] if entry.value.startswith("{") else []
    pinned("files-of-export.txt", "\n".join(lines) + "\n")


def test_files_of_predictions(pinned, run, image, tmp_path):
    ef.predict(image, run, out=tmp_path / "out/predictions.csv", annotate=tmp_path / "out/annotated")
    ef.predict(image, run, out=[tmp_path / "out/predictions.parquet", tmp_path / "out/predictions.json"])
    pinned("files-of-predict.txt", listing(tmp_path / "out"))


def test_files_of_explanations(pinned, run, image, tmp_path):
    ef.explain(image, run, out=tmp_path / "out")
    pinned("files-of-explain.txt", listing(tmp_path / "out"))


def test_files_of_a_study(pinned, small_recipe, tmp_path):
    study = {
        "name": "pair",
        "recipe": str(small_recipe),
        "set": {"training.epochs": 1},
        "factors": {"loss": {"plain": {}, "balanced": {"loss": {"name": "class-balanced"}}}},
        "seeds": 2,
        "baseline": {"loss": "plain"},
    }
    ef.study(study, out=tmp_path / "out", jobs=1)
    pinned("files-of-study.txt", listing(tmp_path / "out", skip=r"runs/[^/]+/[^/]+"))


def test_predictions_of_tiny_runs(request, tmp_path):
    found, path = trained(tmp_path, STEADIEST), FOLDER / "golden.json"
    if request.config.getoption("--regenerate-pins", default=False):
        path.write_text(json.dumps({name: values.round(6).tolist() for name, values in found.items()}, indent=1))
    expected = json.loads(path.read_text())
    assert expected.keys() == found.keys()
    for name, values in found.items():
        # Processors differ by less than 1e-5; another computation differs by far more.
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-4, err_msg=name)
