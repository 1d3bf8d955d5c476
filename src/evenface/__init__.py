"""Facial expression and pain from uneven classes, with honest evaluation.

>>> import evenface as ef
>>> ef.losses.FocalLoss(gamma=2.0)
FocalLoss()
"""

import importlib
from typing import TYPE_CHECKING, Any

from evenface.torchvision_cpu import install as _install

if TYPE_CHECKING:
    from evenface import evaluation, imbalance, losses, methods, networks, statistics
    from evenface.data.manifest import Manifest
    from evenface.errors import InputError
    from evenface.faces.store import Store
    from evenface.recipes import Recipe, load_recipe
    from evenface.runs import Run
    from evenface.workflows import (
        calibrate,
        check_data,
        compare,
        demo,
        evaluate,
        explain,
        export,
        predict,
        prepare,
        serve,
        study,
        train,
        train_own,
        transfer,
    )

__version__ = "0.1.0"

_install()

_MODULES = ("evaluation", "imbalance", "losses", "methods", "networks", "statistics")
_PLACES = {
    "InputError": "errors",
    "Manifest": "data.manifest",
    "Recipe": "recipes",
    "Run": "runs",
    "Store": "faces.store",
    "calibrate": "workflows",
    "check_data": "workflows",
    "compare": "workflows",
    "demo": "workflows",
    "evaluate": "workflows",
    "explain": "workflows",
    "export": "workflows",
    "load_recipe": "recipes",
    "predict": "workflows",
    "prepare": "workflows",
    "serve": "workflows",
    "study": "workflows",
    "train": "workflows",
    "train_own": "workflows",
    "transfer": "workflows",
}
__all__ = [  # noqa: RUF022  functions, then what they give, then rooms
    "train",
    "train_own",
    "evaluate",
    "compare",
    "transfer",
    "calibrate",
    "predict",
    "explain",
    "export",
    "serve",
    "study",
    "prepare",
    "check_data",
    "demo",
    "load_recipe",
    "InputError",
    "Manifest",
    "Recipe",
    "Run",
    "Store",
    "evaluation",
    "imbalance",
    "losses",
    "methods",
    "networks",
    "statistics",
]


def __getattr__(name: str) -> Any:
    """Import a part when it is first asked for, so that importing the package costs nothing."""
    if name in _MODULES:
        return importlib.import_module(f"evenface.{name}")
    if name in _PLACES:
        return getattr(importlib.import_module(f"evenface.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'evenface' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
