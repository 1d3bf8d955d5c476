"""Losses and methods from outside the package: Python files and modules that a recipe names."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from evenface.utils.errors import InputError
from evenface.utils.files import digest
from evenface.utils.paths import user_path


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
