"""A room imports only what stands below it, and the page of public names lists all of them and no other."""

import ast
import importlib.util
import re
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import evenface as ef
from evenface.losses import LOSSES
from evenface.methods import METHODS

ROOT = Path(ef.__file__).parent
FLOORS = """
cli
workflows
app
explaining exporting auto
studies serving
elsewhere fitting cards
search
training assembly learner reporting calibrating
balance
runs
methods faces
data losses
augment statistics kinds
evaluation synthesis networks imbalance plugins doctor audit
recipes
tabular integrity
workers files registry levels
places ordering filetypes
errors progress torchvision_cpu
"""
FLOOR = {room: -floor for floor, rooms in enumerate(FLOORS.split("\n")) for room in rooms.split()}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"  # gives names of all floors, each when it is asked for
}


def imports(text):
    """Modules of evenface that a text imports, wherever it does."""
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{name}" for name in names]
            names = [name if name.removeprefix("evenface.") in MODULES else str(node.module) for name in inner]
        yield from (name.removeprefix("evenface.") for name in names if name.startswith("evenface."))


IMPORTS = {module: set(imports(path.read_text("utf-8"))) for module, path in MODULES.items()}


def test_imports_are_found_wherever_they_stand():
    text = "from evenface import runs\nif x:\n    import evenface.data.folds\ndef f():\n  from evenface.files import x"
    assert set(imports(text)) == {"runs", "data.folds", "files"}


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_stands_below_it(module):
    room = module.split(".")[0]
    others = {name.split(".")[0] for name in IMPORTS[module]} - {room}
    assert all(FLOOR[other] < FLOOR[room] for other in others), f"{room} must not import {others}"


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter(IMPORTS).prepare()


def test_the_map_of_the_packages_names_all_of_them_and_no_other_in_the_order_of_the_floors():
    text = (ROOT.parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    drawn = text.partition("## Where things are")[2].split("```")[1]
    named = re.findall(r"(?:^|\s)(\w+(?:/|\.py))(?=\s)", drawn)
    packages = {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")}
    modules = {path.name for path in ROOT.glob("*.py") if path.name != "__init__.py"}
    assert sorted(named) == sorted(packages | modules), "CONTRIBUTING.md: where things are"
    floors = [FLOOR[name.removesuffix("/").removesuffix(".py")] for name in named]
    assert floors == sorted(floors, reverse=True), "CONTRIBUTING.md: what is imported stands below"


LISTED = re.findall(r"^   ([A-Za-z_][\w.]*)$", (ROOT.parents[1] / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_name_is_there_and_says_what_it_is(name):
    module, _, last = f"evenface.{name}".rpartition(".")
    assert getattr(importlib.import_module(module), last).__doc__


def test_every_public_name_is_listed():
    own = [name for name in ef.__all__ if not isinstance(getattr(ef, name), ModuleType)]
    classes = [thing for thing in (*LOSSES.values(), *METHODS.values()) if thing.__module__.startswith("evenface.")]
    last = {name.rpartition(".")[2] for name in LISTED}
    assert last >= {*own, *(thing.__name__ for thing in classes)}
    assert {*ef.losses.__all__, *ef.methods.__all__} >= {thing.__name__ for thing in classes}


@pytest.mark.parametrize("name", [name for name in ef.__all__ if name.islower()])
def test_no_room_hides_a_public_function(name):
    room = importlib.util.find_spec(f"evenface.{name}")
    assert isinstance(getattr(ef, name), ModuleType) == (room is not None)
