"""Configuration of the documentation, and the tables of recipe keys generated from the code."""

import re
import types
import typing
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import evenface
from evenface.config.recipe import Recipe
from evenface.config.section import OpenSection
from evenface.evaluation.metric_registry import METRICS

HERE = Path(__file__).parent

project = "evenface"
author = "The evenface developers"
copyright = author
version = release = evenface.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_generated", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
add_module_names = False
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = f"evenface {version}"
html_static_path = ["_static"]
html_css_files = ["evenface.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"


# --- the tables of recipe keys ---


def write_recipe_tables():
    """Write a table of keys per section of a recipe; unchanged files are not rewritten."""
    _write("recipe", _table(Recipe, ""))
    for name, info in Recipe.model_fields.items():
        section = _section(info.annotation)
        if section is not None:
            _write(f"recipe-{name}", _table(section, f"{name}."))


def _table(model, prefix):
    lines = ["| key | value | default | meaning |", "|---|---|---|---|", *_rows(model, prefix)]
    if issubclass(model, OpenSection):
        lines.append(f"| `{prefix}…` | | | options of the selected `{prefix}{next(iter(model.model_fields))}` |")
    return "\n".join(lines) + "\n"


def _rows(model, prefix):
    for name, info in model.model_fields.items():
        section = _section(info.annotation)
        if section is None:
            meaning = (info.description or "").replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_kind(info)} | {_default(info)} | {meaning} |"
        elif prefix:
            yield f"| `{prefix}{name}` | section | {_default(info)} | keys below |"
            yield from _rows(section, f"{prefix}{name}.")


def _section(annotation):
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _default(info):
    if info.default is PydanticUndefined:
        return "required"
    if isinstance(info.default, BaseModel):
        return "as below"
    if info.default in (None, "", ()):
        return "none"
    shown = list(info.default) if isinstance(info.default, tuple) else info.default
    return (
        f"`{shown:g}`" if isinstance(shown, float) else f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"
    )


def _kind(info):
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{sign} {getattr(m, key):g}" for m in info.metadata for key, sign in signs.items() if hasattr(m, key)]
    return ", ".join([_named(info.annotation), *bounds])


def _named(annotation):
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _named(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "string or mapping of " + ", ".join(f"`{one.alias or n}`" for n, one in annotation.model_fields.items())
    if origin is typing.Literal:
        return " · ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_named(a) for a in arguments if a is not type(None))
    if origin is tuple:
        return f"list of {_named(arguments[0])}" if arguments[-1] is Ellipsis else f"{len(arguments)} numbers"
    if origin is dict:
        return "mapping of name to number"
    return {str: "string", int: "integer", float: "number", bool: "`true` · `false`"}[annotation]


def _write(name, text):
    path = HERE / "_generated" / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


write_recipe_tables()


# --- the table of metrics, from the registry --------------------------------------------------------------------------


def metric_table():
    """Return a table with a row for each registered metric."""
    lines = ["| name | label | value | range | better | task |", "|---|---|---|---|---|---|"]
    for name, entry in METRICS.items():
        low, high = (f"{bound:g}".replace("inf", "∞") for bound in entry.range)
        better = "higher" if entry.higher_is_better else "lower"
        value = re.sub(r" Shape \(.*?\)\.", "", entry.summary).replace("|", "\\|").replace("``", "`")
        kind = f"{entry.task}, of each class" if entry.per_class else entry.task
        lines.append(f"| `{name}` | {entry.label} | {value} | {low} to {high} | {better} | {kind} |")
    return "\n".join(lines) + "\n"


_write("metrics", metric_table())


# --- formulas as MathML, rendered by the browser without external scripts ---


def _mathml(tex, where, block):
    try:
        # Without the space browsers render "log p" as one word.
        return tex2mathml(tex, as_block=block).replace("<mi>log</mi>", '<mi>log</mi><mspace width="0.17em"/>')
    except MathError as error:
        raise ValueError(f"{where}: cannot convert the formula {tex!r}: {error}") from error


def visit_inline(self, node):
    self.body.append(_mathml(node.astext(), node.source, block=False))
    raise nodes.SkipNode


def visit_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math") + _mathml(node.astext(), node.source, block=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


# --- members that autodoc omits ---


def without_settings(_app, _what, _name, thing, *_rest):
    return ("", None) if isinstance(thing, type) and issubclass(thing, BaseModel) else None


def without_aliases(_app, _what, name, thing, *_rest):
    field = (getattr(thing, "__doc__", None) or "").startswith("Alias for field number")
    return True if field or name == "model_config" else None


def setup(app):
    app.connect("autodoc-process-signature", without_settings)
    app.connect("autodoc-skip-member", without_aliases)
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
