"""Optional packages: imported when they are first used; a missing one is an error that names the extra to install."""

import importlib
from types import ModuleType
from typing import Any

from evenface.utils.errors import InputError

EXTRAS = {
    "cv2": "camera",
    "fastapi": "app",
    "onnx": "export",
    "python_multipart": "app",
    "pytorch_grad_cam": "explain",
    "uvicorn": "app",
}
"""Extras of packages that predicting does without; all others of these are in ``evenface[train]``."""


def missing(package: str) -> InputError:
    """Return the error for a package that is not installed."""
    name = package.partition(".")[0]
    return InputError(f"{name} is not installed", f"Install it: pip install 'evenface[{EXTRAS.get(name, 'train')}]'")


def require(module: str) -> ModuleType:
    """Import a module; an InputError that names the extra if its package is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error.name or module) from error


class LazyModule(ModuleType):
    """A module that is imported when one of its names is first used."""

    def __getattr__(self, name: str) -> Any:
        """Import the module, and return what it holds under a name."""
        if name.startswith("__"):  # asked by inspection, which must not import anything
            raise AttributeError(name)
        value = getattr(require(self.__name__), name)
        setattr(self, name, value)
        return value
