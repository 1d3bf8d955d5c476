"""What the documentation prints is there: commands, options, settings, recipes, names, links."""

import ast
import importlib
import inspect
import re
import shlex
import textwrap
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from pydantic import BaseModel

import evenface as ef
from evenface.audit import audit
from evenface.cli import app
from evenface.cli.base import complete
from evenface.config import Recipe, load_recipe, parse_overrides, shipped_recipes
from evenface.config.onnx_spec import load_spec
from evenface.data.datasets import DATASETS, dataset_reader
from evenface.losses import LOSSES
from evenface.methods import METHODS
from evenface.studies import load_study
from evenface.studies.definition import Study
from evenface.studies.plan import make_plan

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/methods").glob("*.md")),
]
MINE = {"name": "mine", "data": {"source": "folder", "root": "faces"}}
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def by_name(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    return [textwrap.dedent(body) for _, kind, body in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def printed_commands(page):
    """Every call of evenface in a block of commands or between backticks, as a list of words."""
    lines = [line for body in blocks(page, "") for line in body.splitlines()]
    prose = BLOCK.sub("", page.read_text("utf-8"))
    lines += re.findall(r"`([^`\n]+)`", prose)
    for line in lines:
        words = shlex.split(line.partition("#")[0]) if "evenface " in line else []
        words = list(filter(lambda word: not re.fullmatch(r"[A-Z_]+=\S*", word), words))
        if words and words[0].rpartition("/")[2] == "evenface":
            yield words[1:]


def command_of(words):
    """Find the command that words call, and the words left for it."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        if not words and command.invoke_without_command:
            return command, words
        if words[0].startswith("--"):
            return command, words
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command, words = complete(command.commands[words[0]], {"add_completion": False}), words[1:]
    return command, words


CALLS = [(page, words) for page in PAGES for words in printed_commands(page) if words[0] != "COMMAND"]


def test_commands_are_found_at_all():
    verbs = {words[0] for _, words in CALLS}
    assert verbs >= {"demo", "recipes", "data", "prepare", "train", "evaluate", "compare", "doctor"}


@pytest.mark.parametrize(("page", "words"), CALLS, ids=[f"{by_name(p)}: {' '.join(w)}" for p, w in CALLS])
def test_a_printed_command_exists_with_its_options_and_settings(page, words):
    command, rest = command_of(words)
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= known
    settings = [word for word in rest if "=" in word and not word.startswith(("-", "["))]
    if settings:
        named = rest[0] if rest[0] in shipped_recipes() else MINE
        load_recipe(named, parse_overrides(settings))


def options(command):
    """Every long option of a command and of the commands below it, also of those that settings add."""
    command = complete(command, {"add_completion": False})
    own = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return own.union(*map(options, getattr(command, "commands", {}).values()))


def test_the_reference_has_every_option_and_no_page_names_another():
    known = {name for name in options(typer.main.get_command(app)) if name.startswith("--")}
    named = {page: set(re.findall(r"`(--[a-z0-9-]+)", page.read_text("utf-8"))) for page in PAGES}
    assert known >= {"--csv", "--pose", "--trust-plugins", "--no-tracking"}
    shown = re.findall(r"--[a-z0-9-]+", (ROOT / "docs/command-line.md").read_text("utf-8"))
    positive = [{name.replace("--no-", "--") for name in names} for names in (known, shown)]
    assert sorted(positive[0] - positive[1]) == []
    others = {by_name(page): sorted(names - known - {"--help", "--hostname"}) for page, names in named.items()}
    assert not {page: names for page, names in others.items() if names}


def test_a_wrong_command_would_be_noticed():
    with pytest.raises(AssertionError, match="no command"):
        command_of(["trian", "demo"])


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_says_what_it_is_and_what_it_deviates_from(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert recipe.deviations
    assert all(one.text.strip().endswith(".") for one in recipe.deviations)


YAML = [(page, body) for page in PAGES for body in blocks(page, "yaml")]


@pytest.mark.parametrize(
    ("page", "body"),
    [pytest.param(page, body, id=f"{by_name(page)}-{place}") for place, (page, body) in enumerate(YAML)],
)
def test_recipes_and_parts_of_recipes_in_the_pages_are_valid(page, body, tmp_path):
    if re.search(r"^factors:", body, re.MULTILINE):
        (tmp_path / "study.yaml").write_text(body, encoding="utf-8")
        assert make_plan(load_study(tmp_path / "study.yaml")).runs
        return
    if re.match(r"statistics:", body):
        part = {
            "name": "mine",
            "recipe": "demo",
            "factors": {"a": {"b": {}}},
            "metrics": ["balanced_accuracy", "macro_f1"],
            **yaml.safe_load(body),
        }
        assert Study.model_validate(part).statistics is not None
        return
    if re.search(r"^binaries:", body, re.MULTILINE):
        (tmp_path / "claims.yaml").write_text(body, encoding="utf-8")
        assert audit(tmp_path / "claims.yaml").figures
        return
    if re.match(r"labels:", body):
        assert load_spec(yaml.safe_load(body)).labels
        return
    missing = {key: value for key, value in MINE.items() if not re.search(rf"^{key}:", body, re.MULTILINE)}
    whole = (yaml.safe_dump(missing) if missing else "") + body
    (tmp_path / "recipe.yaml").write_text(whole, encoding="utf-8")
    load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_python_in_the_pages_names_what_there_is(page):
    for body in blocks(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("evenface"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        for dotted in re.findall(r"\bef\.([A-Za-z_.]+)", body):
            thing = ef
            for part in dotted.split("."):
                thing = getattr(thing, part)


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for body in blocks(ROOT / "docs/tutorial.md", "python"):
        exec(body, names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "faces.json", "faces.png"]
    assert len(names["faces"]) >= 14  # a face in each image that was drawn
    assert names["correct"] > 14 / 7 + 3  # far more than by chance
    shown = capsys.readouterr().out
    assert f"{names['correct']} of 14 correct" in shown
    turned = [(posed.yaw, posed.roll) for posed in names["posed"]]
    assert np.abs(np.array(turned) - names["drawn"].poses[:4, [0, 2]]).max() < 10


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_between_pages_resolve(page):
    text = BLOCK.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.is_file(), f"{by_name(page)} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_contents():
    listed = re.findall(r"^([\w-]+)$", "\n".join(blocks(ROOT / "docs" / "index.md", "")), re.MULTILINE)
    tocs = re.findall(r"```\{toctree\}\n(.*?)```", (ROOT / "docs" / "index.md").read_text("utf-8"), re.DOTALL)
    listed += [line for toc in tocs for line in toc.splitlines() if re.fullmatch(r"[\w-]+", line)]
    alone = [page.stem for page in PAGES if page.parent == ROOT / "docs" and page.stem != "index"]
    assert sorted(listed) == sorted(alone)  # methods/index lists its folder by itself


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_targets_of_make_and_modules_that_are_run_exist(page):
    text = page.read_text("utf-8")
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *(line for b in blocks(page, "") for line in b.splitlines())])
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)) <= set(targets)
    for module in re.findall(r"python -m (benchmarks[\w.]*)", code):
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file(), module


def test_the_readme_has_the_section_that_the_doctor_names():
    from evenface.utils import extras

    (named,) = set(re.findall(r"see '(\w+)' in the README", Path(extras.__file__).read_text("utf-8")))
    assert re.search(rf"^#+ {named}$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)


def keys(model, prefix=""):
    for name, info in model.model_fields.items():
        kinds = [
            kind for kind in (info.annotation, *getattr(info.annotation, "__args__", ())) if isinstance(kind, type)
        ]
        section = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if section is None:
            yield prefix + name, info.description
        else:
            yield from keys(section, f"{prefix}{name}.")


def test_every_key_of_a_recipe_is_described():
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    silent = [key for key, description in keys(Recipe) if not description and f"`{key}`" not in page]
    assert not silent, f"describe {silent} in the schema or in docs/recipes.md"


def test_every_section_of_a_recipe_has_its_table():
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    sections = {key.split(".")[0] for key, _ in keys(Recipe) if "." in key}
    assert set(re.findall(r"_generated/recipe-(\w+)\.md", page)) == sections


@pytest.mark.parametrize("name", DATASETS)
def test_every_source_and_its_options_are_in_the_page_on_data(name):
    page = (ROOT / "docs" / "data.md").read_text("utf-8")
    (row,) = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
    options = inspect.signature(dataset_reader(name)).parameters.values()
    for option in options:
        if option.kind is option.KEYWORD_ONLY and option.name != "size":  # a key of every recipe
            assert f"`{option.name}`" in row


def test_every_loss_is_in_the_page_on_losses():
    page = (ROOT / "docs" / "losses.md").read_text("utf-8")
    for name, loss in ef.losses.LOSSES.items():
        if loss.__module__.startswith("evenface."):
            assert f"| `{name}` |" in page


@pytest.mark.parametrize("name", sorted({*METHODS, *LOSSES} - {"erm"}))
def test_every_method_and_loss_has_a_place_in_the_docs(name):
    page = ROOT / "docs/methods" / f"{name}.md"
    assert page.is_file() or f"| `{name}` |" in (ROOT / "docs/losses.md").read_text("utf-8")
