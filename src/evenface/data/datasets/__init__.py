"""One file per data set: each turns an official layout on disk into a manifest."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from evenface.data.manifest import Manifest
from evenface.utils.files import user_path
from evenface.utils.registry import check_options, checked_options, find

DATASETS: dict[str, str] = {
    "affectnet": "evenface.data.datasets.affectnet",
    "biovid": "evenface.data.datasets.biovid",
    "ckplus": "evenface.data.datasets.ckplus",
    "clip-folder": "evenface.data.datasets.clip_folder",
    "clips": "evenface.data.datasets.clips",
    "csv": "evenface.data.datasets.csv",
    "emotion-domestic": "evenface.data.datasets.emotion_domestic",
    "fer2013": "evenface.data.datasets.fer2013",
    "ferplus": "evenface.data.datasets.ferplus",
    "folder": "evenface.data.datasets.folder",
    "landmarks": "evenface.data.datasets.landmarks",
    "mmafedb": "evenface.data.datasets.mmafedb",
    "openface": "evenface.data.datasets.openface",
    "pemf": "evenface.data.datasets.pemf",
    "rafdb": "evenface.data.datasets.rafdb",
    "ravdess": "evenface.data.datasets.ravdess",
    "sequences": "evenface.data.datasets.sequences",
    "synthetic": "evenface.data.datasets.synthetic",
    "synthetic-clips": "evenface.data.datasets.synthetic_clips",
    "unbc": "evenface.data.datasets.unbc",
}


def read_dataset(name: str, root: Path | str, options: Mapping[str, Any] | None = None) -> Manifest:
    """Read a data set by the name of its source.

    Parameters
    ----------
    name : str
        One of ``DATASETS``.
    root : Path or str
        Where the data lies; ``~`` stands for the home folder.
    options : mapping, optional
        What the source can be told; see the page of the source.

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        If there is no such source or option, an option has the wrong type, or the data is not laid out
        as the source expects.
    """
    function = import_module(find("source", name, DATASETS)).read
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    check_options("source", name, options or (), known)
    checked = checked_options("source", name, function, options or {})
    manifest: Manifest = function(user_path(root), **checked)
    return manifest


def dataset_licence(name: str) -> str:
    """Say under what terms a source's data is given out, as far as that is known; an InputError for no such source."""
    said: str = import_module(find("source", name, DATASETS)).LICENCE
    return said
