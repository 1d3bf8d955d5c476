"""The house: which package may import which, its bounds, its map in CONTRIBUTING, and its public names."""

import ast
import importlib.util
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest
from syntax import definitions, statements

import evenface as ef
from evenface.losses import LOSSES
from evenface.methods import METHODS

ROOT = Path(ef.__file__).parent
FLOORS = """
cli
api
app
studies explanation
inference
training reporting
methods statistics runs
losses preprocessing evaluation
data models audit
config synthesis
utils
"""
FLOOR = {package: -floor for floor, packages in enumerate(FLOORS.split("\n")) for package in packages.split()}
MOST_PACKAGES, MOST_FLOORS, MOST_ARROWS, MOST_FILES, MOST_LINES = 20, 11, 140, 300, 66_000
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
    if path not in (ROOT / "__init__.py", ROOT / "__main__.py")  # loads names of all floors, each when it is first used
}


def imports(body):
    """Modules of evenface that statements import, wherever they do."""
    for node in statements(body):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{name}" for name in names]
            names = [name if name.removeprefix("evenface.") in MODULES else str(node.module) for name in inner]
        yield from (name.removeprefix("evenface.") for name in names if name.partition(".")[0] == "evenface")


def imports_of(module):
    return set(imports(definitions(MODULES[module])[1:]))


def package_of(module):
    return module.partition(".")[0]


@pytest.fixture(scope="module")
def graph():
    """Modules that each module imports."""
    return {module: imports_of(module) for module in MODULES}


def test_imports_are_found_wherever_they_are():
    text = (
        "from evenface import runs\nif x:\n  import evenface.data.splits\ndef f():\n  from evenface.utils import files"
    )
    assert set(imports(ast.parse(text).body)) == {"runs", "data.splits", "utils.files"}


@pytest.mark.parametrize("module", MODULES)
def test_a_package_imports_only_packages_below_it(module):
    package = package_of(module)
    others = {package_of(name) for name in imports_of(module)} - {package}
    assert "evenface" not in others, "the version is in utils; evenface itself is for users"
    assert all(FLOOR[other] < FLOOR[package] for other in others), f"{package} must not import {others}"


def test_no_module_imports_itself_through_others(graph):
    TopologicalSorter(graph).prepare()


def test_the_house_keeps_its_bounds(graph):
    ends = {(package_of(module), package_of(other)) for module, others in graph.items() for other in others}
    assert len({package_of(module) for module in MODULES}) <= MOST_PACKAGES
    assert len(FLOORS.strip().split("\n")) <= MOST_FLOORS
    assert len({(package, other) for package, other in ends if package != other}) <= MOST_ARROWS
    assert len(FILES) <= MOST_FILES
    assert sum(len(path.read_text("utf-8").splitlines()) for path in FILES) <= MOST_LINES


def test_no_class_name_exists_twice():
    places = defaultdict(list)
    for path in FILES:
        for node in definitions(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def drawn_map():
    """The map of CONTRIBUTING: packages from the top floor down, each with the first line of its docstring."""
    lines = []
    for package in FLOORS.split():
        path = MODULES[package]
        name = f"{package}/" if path.name == "__init__.py" else path.name
        summary = ast.get_docstring(definitions(path)[0]).partition("\n")[0].removesuffix(".")
        lines.append(f"{name:<15} {summary}")
    return "\n".join(lines)


def test_the_map_of_the_packages_is_that_of_the_tree():
    text = (ROOT.parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    shown = text.partition("## Where things are")[2].split("```")[1].strip("\n")
    assert shown == drawn_map(), "copy the map into CONTRIBUTING.md, below 'Where things are'"


LISTED = re.findall(r"^   ([A-Za-z_][\w.]*)$", (ROOT.parents[1] / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_name_exists_and_is_documented(name):
    module, _, last = f"evenface.{name}".rpartition(".")
    assert getattr(importlib.import_module(module), last).__doc__


def test_every_public_name_is_listed():
    own = [name for name in ef.__all__ if not isinstance(getattr(ef, name), ModuleType | str)]
    classes = [thing for thing in (*LOSSES.values(), *METHODS.values()) if thing.__module__.startswith("evenface.")]
    last = {name.rpartition(".")[2] for name in LISTED}
    assert last >= {*own, *(thing.__name__ for thing in classes)}
    assert {*ef.losses.__all__, *ef.methods.__all__} >= {thing.__name__ for thing in classes}


@pytest.mark.parametrize("name", [name for name in ef.__all__ if name.islower() and not name.startswith("_")])
def test_no_package_hides_a_public_function(name):
    hidden = importlib.util.find_spec(f"evenface.{name}") is not None
    assert not hidden or isinstance(getattr(ef, name), ModuleType)
