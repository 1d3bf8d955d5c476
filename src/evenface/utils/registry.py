"""Finding things by the name a user wrote, with the nearest right name when it is wrong."""

import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

from evenface.utils.errors import InputError
from evenface.utils.files import digest, user_path

Thing = TypeVar("Thing")

RENAMED = {("method", "plain"): "erm", ("method", "votes"): "label-distribution"}
"""Former names of registered classes, by kind and name."""


def check_renamed(kind: str, name: str, origin: str = "") -> None:
    """Refuse a former name with an InputError that gives the new one; ``origin`` is the file that has it."""
    new = RENAMED.get((kind, name))
    if new:
        where = f"{origin}: " if origin else ""
        raise InputError(f"{where}the {kind} {name!r} is now called {new!r}", f"Use {kind}.name={new}.")


def find(kind: str, name: str, known: Mapping[str, Thing]) -> Thing:
    """Look ``name`` up among the ``known`` things of a kind."""
    if name not in known:
        check_renamed(kind, name)
        raise InputError(f"there is no {kind} {name!r}", nearest(name, known))
    return known[name]


def register(kind: str, name: str, thing: Thing, known: MutableMapping[str, Thing]) -> None:
    """Make a class known by a name."""
    old = known.get(name, thing)
    if old is not thing and _origin(old) != _origin(thing):
        file, own_name = _origin(old)
        raise ValueError(f"there already is a {kind} {name!r}: {own_name} of {file}")
    known[name] = thing


def check_options(kind: str, name: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse an option that the thing does not have."""
    allowed = list(allowed)
    for option in given:
        if option not in allowed:
            raise InputError(f"{kind} {name!r} has no option {option!r}", nearest(option, allowed))


def checked_options(kind: str, name: str, thing: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Bring options to the types that a function or a class declares for them.

    Words that YAML read as numbers become words again. Numbers must be finite. Options without a type hint, or with one
    that only its author can check, are passed on as they are.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        hints = get_type_hints(thing.__init__ if isinstance(thing, type) else thing)  # type: ignore[misc]
    except (NameError, TypeError):  # names that are there for type checkers only
        return dict(options)
    config = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)
    checked = dict(options)
    for option, value in options.items():
        try:
            checked[option] = TypeAdapter(hints.get(option, Any), config=config).validate_python(value)
        except PydanticUserError:
            continue
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"]
            raise InputError(
                f"{kind} {name!r}: the option {option} cannot be {value!r}: {said[0].lower()}{said[1:]}"
            ) from error
    return checked


def nearest(name: str, known: Iterable[str], show: int = 12) -> str:
    """Give a sentence with the known names closest to ``name``; all of them where none is close and they are few."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=4)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    if not known:
        return "It takes none."
    if len(known) <= show:
        return f"Known: {', '.join(known)}."
    return ""


def _origin(thing: object) -> tuple[str, str]:
    """Say in which file, or else module, a class was written, and its name there."""
    module = str(getattr(thing, "__module__", ""))
    return getattr(sys.modules.get(module), "__file__", None) or module, getattr(thing, "__qualname__", "")


def load_plugins(names: Iterable[str]) -> None:
    """Import what registers further losses and methods, each once in a process, and again where a file was edited."""
    for name in names:
        if name.endswith(".py"):
            _import_file(user_path(name).resolve())
        else:
            _import_module(name)


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no plugin {path}", "Give its path from the folder that you call evenface in.")
    # The same name in every process, another for another file of that name, and for the file once it was edited.
    name = f"evenface_plugin_{path.stem}_{digest(str(path), path.read_bytes())[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"the plugin {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _explained(path, error) from error


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _explained(name, error) from error
        raise InputError(
            f"there is no plugin {name!r}: a module of that name is not installed",
            "Install it, or name a file by its path, ending in .py.",
        ) from error
    except Exception as error:
        raise _explained(name, error) from error


def _explained(plugin: Path | str, error: Exception) -> InputError:
    line = error.lineno if isinstance(error, SyntaxError) else _line(plugin, error)
    where = f"the plugin {plugin}" + (f", line {line}" if line else "")
    return InputError(f"{where}: {type(error).__name__}: {error}")


def _line(plugin: Path | str, error: Exception) -> int | None:
    """Return the line of the plugin in a traceback; None for a module, whose file is unknown."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(plugin)]
    return frames[-1].lineno if frames else None
