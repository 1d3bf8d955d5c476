"""Registries: look up and register losses, methods, sources by name, validate options, import plugins."""

import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import SourceFileLoader
from inspect import signature
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar, get_type_hints

from evenface.utils.errors import InputError
from evenface.utils.files import digest, user_path

Item = TypeVar("Item")


class Registry(dict[str, Item]):
    """Items of one kind by name; of a name that there is none of, an InputError has similar ones."""

    def __init__(self, kind: str, items: Mapping[str, Item]) -> None:
        super().__init__(items)
        self.kind = kind

    def __missing__(self, name: str) -> Item:
        raise InputError(f"there is no {self.kind} {name!r}", nearest(name, self))

    def register(self, name: str, item: Item) -> None:
        """Register a class by name; a ValueError if another class has the name."""
        old = self.get(name, item)
        if old is not item and _origin(old) != _origin(item):
            file, own_name = _origin(old)
            raise ValueError(f"there already is a {self.kind} {name!r}: {own_name} of {file}")
        self[name] = item


def find(kind: str, name: str, known: Mapping[str, Item]) -> Item:
    """Return the item of a name; an InputError with similar names if there is none."""
    return Registry(kind, known)[name]


def check_options(
    kind: str, name: str, given: Iterable[str], allowed: Iterable[str], *, beside: Iterable[str] = ("name",)
) -> None:
    """Check that all given options are allowed; ``beside`` are keys of their section, one of which may be meant."""
    allowed = list(allowed)
    for option in given:
        if option not in allowed:
            raise InputError(f"{kind} {name!r} has no option {option!r}", nearest(option, allowed, beside=beside))


def checked_options(kind: str, name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert options to the types that a function or class declares for them.

    Numbers become strings if a string is declared, as YAML parses ``1`` as a number. Numbers must be finite. Options
    without a type hint, or with one that pydantic cannot check, are returned unchanged.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        hints = get_type_hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    except (NameError, TypeError):  # names that are imported for type checkers only
        return dict(options)
    config = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)
    checked = dict(options)
    for option, value in options.items():
        try:
            checked[option] = TypeAdapter(hints.get(option, Any), config=config).validate_python(value)
        except PydanticUserError:
            continue
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise InputError(
                f"{kind} {name!r}: invalid option {option}, got {value!r}: {message[0].lower()}{message[1:]}"
            ) from error
    return checked


def construct(
    kind: str,
    name: str,
    function: Callable[..., Item],
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    more: Iterable[str] = (),
) -> Item:
    """Call a function or class with a user's options, and with arguments that are given by the program.

    Options are checked by :func:`check_options` (``more`` names some that are handled elsewhere) and converted by
    :func:`checked_options`; an error of the call names what was built.
    """
    check_options(kind, name, options, {*signature(function).parameters} - given.keys() | {*more})
    options = checked_options(kind, name, function, options)
    try:
        return function(**options, **given)
    except InputError as error:
        raise InputError(f"{kind} {name!r}: {error.message}", error.hint) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{kind} {name!r}: {error}") from error


def nearest(name: str, known: Iterable[str], show: int = 12, beside: Iterable[str] = ()) -> str:
    """Return a sentence with the names closest to ``name``, or with all that are known if they are few."""
    known = sorted(known)
    close = difflib.get_close_matches(name, [*known, *beside], n=4)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    if not known:
        return "It has none."
    if len(known) <= show:
        return f"Known: {', '.join(known)}."
    return ""


def _origin(item: object) -> tuple[str, str]:
    """Return the file, or else module, that defines a class, and its qualified name."""
    module = str(getattr(item, "__module__", ""))
    return getattr(sys.modules.get(module), "__file__", None) or module, getattr(item, "__qualname__", "")


def load_plugins(names: Iterable[str]) -> None:
    """Import files and modules that register losses and methods, once per process, and again if a file was edited."""
    for name in names:
        if name.endswith(".py"):
            _import_file(user_path(name).resolve())
        else:
            _import_module(name)


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"the plugin {path} does not exist", "Give its path relative to the current folder.")
    # The name is the same in every process, but differs for files of the same name and for edited files.
    name = f"evenface_plugin_{path.stem}_{digest(str(path), path.read_bytes())[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise InputError(f"the plugin {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _plugin_error(path, error) from error


class _SourceLoader(SourceFileLoader):
    """Compiles the file each time: Python's own cache takes a file that was edited within a second for the old one."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _plugin_error(name, error) from error
        raise InputError(
            f"the plugin {name!r} is not installed as a module", "Install it, or give the path of a file ending in .py."
        ) from error
    except Exception as error:
        raise _plugin_error(name, error) from error


def _plugin_error(plugin: Path | str, error: Exception) -> InputError:
    line = error.lineno if isinstance(error, SyntaxError) else _line(plugin, error)
    where = f"the plugin {plugin}" + (f", line {line}" if line else "")
    return InputError(f"{where}: {type(error).__name__}: {error}")


def _line(plugin: Path | str, error: Exception) -> int | None:
    """Return the line of the plugin in a traceback; None for a module, whose file is unknown."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(plugin)]
    return frames[-1].lineno if frames else None
