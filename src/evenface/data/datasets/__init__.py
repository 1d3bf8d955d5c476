"""Dataset readers: each turns an official layout on disk into a manifest."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from evenface.data.manifest import Manifest
from evenface.utils.files import user_path
from evenface.utils.registry import Registry, check_options, checked_options

DATASETS: Registry[str] = Registry(
    "source",
    {
        "affectnet": "affectnet:read",
        "biovid": "biovid:read",
        "ckplus": "ckplus:read",
        "clip-folder": "folder:read_clips",
        "clips": "csv:read_clips",
        "csv": "csv:read",
        "emotion-domestic": "expression_folders:read_emotion_domestic",
        "fer2013": "fer2013:read",
        "ferplus": "fer2013:read_ferplus",
        "folder": "folder:read",
        "landmarks": "sequences:read_landmarks",
        "mmafedb": "expression_folders:read_mmafedb",
        "openface": "sequences:read_openface",
        "pemf": "pemf:read",
        "rafdb": "rafdb:read",
        "ravdess": "ravdess:read",
        "sequences": "sequences:read",
        "synthetic": "synthetic:read",
        "synthetic-clips": "synthetic:read_clips",
        "synthetic-demo": "synthetic:read_demo",
        "unbc": "unbc:read",
    },
)
"""Name of a source, as in ``data.source``, to its reader: module of this package, and function."""


def dataset_reader(name: str) -> Callable[..., Manifest]:
    """Return the function that reads a source; an InputError where there is none of this name."""
    module, _, function = DATASETS[name].partition(":")
    reader: Callable[..., Manifest] = getattr(import_module(f"evenface.data.datasets.{module}"), function)
    return reader


def read_dataset(name: str, root: Path | str, options: Mapping[str, Any] | None = None) -> Manifest:
    """Read a dataset by the name of its source.

    Parameters
    ----------
    name : str
        One of ``DATASETS``.
    root : Path or str
        Folder or file of the dataset; ``~`` is expanded to the home directory.
    options : mapping, optional
        Options of the source, listed in the documentation under *Data*.

    Returns
    -------
    Manifest
        One row per sample.

    Raises
    ------
    InputError
        If the source or an option is unknown, an option has the wrong type, or the files do not have the expected
        layout.
    """
    reader = dataset_reader(name)
    known = [p.name for p in inspect.signature(reader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    check_options("source", name, options or (), known)
    return reader(user_path(root), **checked_options("source", name, reader, options or {}))


def dataset_licence(name: str) -> str:
    """Return the terms of use of a source's data, as far as they are known; an InputError for an unknown source."""
    licence: str | dict[str, str] = dataset_reader(name).__globals__["LICENCE"]
    return licence if isinstance(licence, str) else licence[name]
