"""Facial expression, action unit and pain recognition under class imbalance.

>>> import evenface as ef
>>> ef.losses.FocalLoss(gamma=2.0)
FocalLoss(gamma=2.0)
"""

from typing import TYPE_CHECKING, Any

from evenface.utils import __version__
from evenface.utils.torchvision_cpu import install as _install

if TYPE_CHECKING:
    from evenface import evaluation, losses, methods, models, statistics
    from evenface.api import (
        audit_dataset,
        calibrate,
        check_data,
        compare,
        convert_weights,
        cross_validate,
        demo,
        evaluate,
        explain,
        export,
        fuse,
        get_model,
        predict,
        prepare,
        pretrain,
        serve,
        study,
        train,
        train_folder,
    )
    from evenface.config import Recipe, load_recipe
    from evenface.data import imbalance
    from evenface.data.manifest import Manifest
    from evenface.inference.predictor import load
    from evenface.preprocessing.store import Store
    from evenface.runs import Run
    from evenface.utils.errors import InputError

_install()

_MODULES = {
    "evaluation": "evaluation",
    "imbalance": "data.imbalance",
    "losses": "losses",
    "methods": "methods",
    "models": "models",
    "statistics": "statistics",
}
_ORIGINS = {
    "InputError": "utils.errors",
    "Manifest": "data.manifest",
    "Recipe": "config",
    "Run": "runs",
    "Store": "preprocessing.store",
    "load": "inference.predictor",
    "load_recipe": "config",
}
__all__ = [  # noqa: RUF022  functions, then what they return, then modules
    "load",
    "predict",
    "train",
    "train_folder",
    "pretrain",
    "cross_validate",
    "evaluate",
    "get_model",
    "compare",
    "fuse",
    "calibrate",
    "explain",
    "export",
    "serve",
    "study",
    "prepare",
    "check_data",
    "audit_dataset",
    "convert_weights",
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
    "models",
    "statistics",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a part when it is first used, so that importing the package costs nothing."""
    from evenface.utils.extras import require

    if name in _MODULES:
        return require(f"evenface.{_MODULES[name]}")
    if name == "transfer":
        raise AttributeError("evenface.transfer was replaced by evenface.evaluate(run, on=...)")
    if name in __all__:
        return getattr(require(f"evenface.{_ORIGINS.get(name, 'api')}"), name)
    raise AttributeError(f"module 'evenface' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
