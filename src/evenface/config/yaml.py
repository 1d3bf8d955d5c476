"""YAML files of recipes and studies: parsing by the core schema of YAML 1.2, and messages of validation errors."""

import difflib
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from evenface.config.renamed import SYNONYMS, VALUES, renamed
from evenface.utils.errors import InputError
from evenface.utils.tables import read_text

Model = TypeVar("Model", bound=BaseModel)


class UniqueKeys:
    """Mixin for a YAML loader: a duplicate key in a mapping, at any depth, is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping after comparing its keys; keys from a merge (``<<``) may be replaced."""
        seen: set[Any] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                continue
            # By value, as in the mapping: 1 and 1.0 are the same key.
            value = key.value if key.tag == "tag:yaml.org,2002:merge" else self.construct_object(key)  # type: ignore[attr-defined]
            if value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value}", key.start_mark)
            seen.add(value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)  # type: ignore[misc]
        return mapping


DEEPEST, MOST = 64, 100_000
"""Maximum nesting depth, and number of values, of a YAML file with all aliases expanded."""


class Bounded:
    """Mixin for a YAML loader: nesting too deep, too many values and recursive aliases are errors."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Compose a node, and check its depth."""
        self._depth += 1
        if self._depth > DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[attr-defined]
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} nested collections", mark)
        try:
            node: yaml.Node = super().compose_node(parent, index)  # type: ignore[misc]
        finally:
            self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document, and check its size with all aliases expanded before constructing objects."""
        node: yaml.Node | None = super().get_single_node()  # type: ignore[misc]
        if node is not None:
            _measure(node, {})
        return node


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return number of values and depth of a node; ``known`` has None for nodes that are being measured."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.composer.ComposerError(None, None, "an alias refers to a node that contains it", node.start_mark)
        return size
    known[id(node)] = None
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
    measured = [_measure(part, known) for part in parts]
    count, depth = 1 + sum(n for n, _ in measured), 1 + max((d for _, d in measured), default=0)
    if count > MOST or depth > DEEPEST:
        problem = f"more than {MOST:,} values" if count > MOST else f"more than {DEEPEST} nested collections"
        raise yaml.composer.ComposerError(None, None, f"{problem}, with aliases expanded", node.start_mark)
    known[id(node)] = (count, depth)
    return count, depth


class _UniqueKeyLoader(Bounded, UniqueKeys, yaml.SafeLoader):
    """Loader for the core schema of YAML 1.2: ``on`` is a string, ``1e-3`` a number."""


_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^([-+]?([0-9]+\.[0-9]*|\.?[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Parse YAML by the core schema of version 1.2."""
    return deepcopy(_parse(text))


@lru_cache(maxsize=128)  # the same recipes are read again for every run, page and check
def _parse(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except (ValueError, OverflowError) as error:  # an invalid date or number
        raise yaml.YAMLError(str(error)) from error


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML file with a mapping; ``what`` is its kind, for messages."""
    try:
        content = parse_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a {what}", f"A {what} is a mapping of keys to values.")
    return content


def not_yaml(path: Path, error: yaml.YAMLError) -> InputError:
    """Return an InputError for a file that is not valid YAML, with the line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}")
    return InputError(f"{path}, line {mark.line + 1}: {problem}", "Correct the line.")


def checked(model: type[Model], values: Mapping[str, Any], origin: str) -> Model:
    """Validate values by a model; an InputError reports the first problem."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explained(error, model, origin) from None


def explained(error: ValidationError, model: type[BaseModel], origin: str) -> InputError:
    """Return an InputError for the first problem of a validation, with the closest valid key.

    ``origin`` is the file, or empty for settings of the command line, whose keys are enough.
    """
    first = error.errors()[0]
    prefix = f"{origin}: " if origin else ""
    where = ".".join(str(part) for part in first["loc"])
    more = error.error_count() - 1
    tail = f" ({more} more like this)" if more else ""
    if first["type"] == "extra_forbidden":
        if new := renamed(".".join(part for part in first["loc"] if isinstance(part, str))):
            return InputError(f"{prefix}the key {where} was renamed to {new}{tail}")
        name, known = str(first["loc"][-1]), _keys_at(model, first["loc"][:-1])
        near = [where.removesuffix(name) + key if key in known else key for key in similar_keys(model, name, known)]
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known here: {', '.join(known)}."
        return InputError(f"{prefix}unknown key {where}{tail}", hint)
    if first["type"] == "missing":
        return InputError(f"{prefix}the key {where} is missing{tail}")
    if first["type"] == "model_type":
        keys = _keys_at(model, first["loc"])
        meant = setting_of_value(model, str(first["input"]), where)
        return InputError(
            f"{prefix}{where} is a section with keys, got {first['input']!r}{tail}",
            f"Did you mean {meant}?"
            if meant
            else f"Write its keys: {', '.join(f'{where}.{key}' for key in keys[:4])}{' ...' * (len(keys) > 4)}.",
        )
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = f", got {given!r}" if isinstance(given, str | int | float) or given is None else ""
    place = f"{prefix}{where}" if where else origin
    return InputError(f"{place}: {message[0].lower()}{message[1:]}{shown}{tail}")


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of a model at a location."""
    kind: Any = model
    for part in location:
        kind = _fields(kind)[str(part)] if _is_model(kind) else get_args(kind)[1 if get_origin(kind) is dict else 0]
        while get_origin(kind) in (Annotated, Union, UnionType):
            kind = next(option for option in get_args(kind) if option is not NoneType)
    return list(_fields(kind))


MOST_ALIKE = 3
"""Keys of one name in several sections that a hint lists."""


def similar_keys(model: type[BaseModel], name: str, known: Sequence[str]) -> list[str]:
    """Return the keys that an unknown one may mean: of this name in sections, of another tool's name, or similar."""
    leaves = _leaves(model)
    same = [key for key in leaves if "." in key and key.rpartition(".")[2] == name]
    if 1 <= len(same) <= MOST_ALIKE:
        return same
    if (own := SYNONYMS.get(name)) in leaves:
        return [own]
    return difflib.get_close_matches(name, known, n=1, cutoff=0.5) or same[:1]


def setting_of_value(model: type[BaseModel], value: str, section: str = "") -> str | None:
    """Return ``key=value`` for a word that is an allowed value of one key (of a section); None for other words."""
    word = VALUES.get(value.lower(), value)
    keys = [
        key
        for key, kind in _leaves(model).items()
        if key.startswith(f"{section}." if section else "") and word in _allowed(kind)
    ]
    return f"{keys[0]}={word}" if len(keys) == 1 else None


def _allowed(kind: Any) -> tuple[Any, ...]:
    """Return the values of a literal type, also of one among others."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(value for option in get_args(kind) for value in _allowed(option)) if get_args(kind) else ()


def _leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return the dotted keys that have a value, with its type."""
    leaves: dict[str, Any] = {}
    for name, kind in _fields(model).items():
        part = _section(kind)
        leaves |= {f"{prefix}{name}": kind} if part is None else _leaves(part, f"{prefix}{name}.")
    return leaves


def _section(kind: Any) -> type[BaseModel] | None:
    """Return the model of a key that is a section, also of an optional one."""
    if _is_model(kind):
        return kind  # type: ignore[no-any-return]
    options = get_args(kind) if get_origin(kind) in (Annotated, Union, UnionType) else ()
    return next((part for part in map(_section, options) if part is not None), None)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
