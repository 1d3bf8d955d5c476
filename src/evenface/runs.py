"""Run folder: its files and their digests."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from evenface.config import Recipe, dump_recipe, load_recipe
from evenface.evaluation.bootstrap import estimate
from evenface.evaluation.formatting import with_interval
from evenface.evaluation.metric_registry import HEADLINE, label
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions, load_predictions
from evenface.preprocessing.store import Store
from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import (
    LOCK,
    atomic_write,
    digest_file,
    disk_error,
    is_vacant,
    lock_folder,
    output_path,
    read_frame,
    read_json,
    safe_file_name,
    stale_files,
    user_path,
    write_json_with_digest,
    write_parquet,
)
from evenface.utils.progress import SCREEN, say
from evenface.utils.registry import load_plugins
from evenface.utils.tables import html_table

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

RECIPE, FACTS, SPLIT, PREDICTIONS, VALIDATION = (
    "recipe.yaml",
    "run.json",
    "split.parquet",
    "predictions.parquet",
    "validation.parquet",
)
IMAGE_DIGESTS = "image-digests.npy"
"""Digests of the prepared images of a pretraining, in its folder."""
AUXILIARY = "auxiliary.parquet"
"""Predictions of auxiliary targets on the test samples."""
UNRESTRICTED = "unrestricted.parquet"
"""Of a test on other data: the predictions over all classes of the run, of which the others are made."""
METRICS, HISTORY, WEIGHTS, LOG, REPORT = "metrics.json", "history.csv", "weights.safetensors", "log.txt", "report.html"
HISTORY_CLASS = "class"
"""Column of a history of several one-vs-rest networks: whose row it is."""
LASTING = (RECIPE, SPLIT, HISTORY, WEIGHTS, "last.safetensors", "search.csv")
"""Files that nothing changes once a run has ended, beside predictions."""
AGAIN = "Bring back a copy of the run, or train it again."
PLACE = (
    "data.root",
    *(f"training.{key}" for key in ("accelerator", "compile", "devices", "nodes", "loggers", "checkpoint_minutes")),
)
"""Settings for the place of execution, which may change when a run is resumed."""


class _Facts(BaseModel):
    """Types of the entries of ``run.json``; all may be absent in runs of older versions."""

    model_config = ConfigDict(extra="allow")
    recipe: dict[str, Any] | None = None
    files: dict[str, str] = {}
    environment: dict[str, str] = {}
    device: str = ""
    manifest: str = ""
    store: str = ""
    prepared: str = ""
    frames: int = 1
    classes: list[str] = []
    counts: dict[str, list[int]] = {}
    people: dict[str, int | None] = {}
    notes: list[str] = []
    epochs: int = 0
    training_seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """A run folder.

    Parameters
    ----------
    folder : Path
        Path of the run folder. It holds ``recipe.yaml`` (as resolved), ``run.json`` (versions, seed, hashes, counts),
        ``split.parquet``, ``predictions.parquet`` (test), ``validation.parquet``, ``metrics.json``, ``history.csv``,
        ``weights.safetensors`` (selected), ``last.safetensors``, ``log.txt``, ``report.html``,
        ``model-card.md`` and ``tables/``.
    """

    folder: Path

    def __repr__(self) -> str:
        values = ", ".join(f"{label(name)} {value}" for name, value in self._headline())
        return f"<run {self.folder}: {values or ('no metrics' if self.finished else 'not finished')}>"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook."""
        values = {label(name): value for name, value in self._headline()}
        return html_table(["run", *values], [[self.folder, *values.values()]])

    def _headline(self) -> list[tuple[str, str]]:
        """Return the main metrics with their intervals; none of a run that has no metrics, or damaged ones."""
        try:
            overall = self.metrics["overall"]
            return [(name, with_interval(estimate(overall[name]))) for name in HEADLINE]
        except (InputError, KeyError, TypeError):
            return []

    @classmethod
    def open(cls, folder: str | Path, *, trust_plugins: bool = False) -> Run:
        """Open a run that has ended.

        Parameters
        ----------
        folder : str or Path
            The run folder.
        trust_plugins : bool, default=False
            Whether the code that its recipe names under ``plugins`` is run: anybody may have written it. Of a run that
            names none, nothing is ever run.

        Raises
        ------
        InputError
            If the folder is no run, the run has not ended, or it names code and that is not trusted.
        """
        run = cls(user_path(folder))
        if not run.begun:
            raise InputError(
                f"{run.folder} is no run folder: it has no {RECIPE}", "Give a folder that `evenface train` wrote."
            )
        if not run.finished:
            raise InputError(
                f"the run {run.folder} has not ended", f"Go on with it: evenface train {run.folder} --resume"
            )
        check_trust(run.recipe, run.folder, trusted=trust_plugins)
        load_plugins(run.recipe.plugins)
        return run

    @classmethod
    @contextmanager
    def claim(cls, folder: str | Path, recipe: Recipe, *, resume: bool, wait: float = 0) -> Iterator[Run]:
        """Lock a folder and check that it is free for a recipe, or holds the run that is resumed.

        Of several processes that train together, the first one locks the folder for all.

        Raises
        ------
        InputError
            If the folder holds another run, or this one without ``resume``, or something else, or another process
            uses it for longer than ``wait`` seconds.
        """
        folder = output_path(folder, folder=True)
        with lock_folder(folder, wait=wait) if is_first_process() else nullcontext():
            run = cls(folder)
            run._check_free(recipe, resume=resume or not is_first_process())
            yield run

    def _check_free(self, recipe: Recipe, *, resume: bool) -> None:
        folder = self.folder
        if self.begun:
            if not resume:
                state = "has ended" if self.finished else "has begun"
                raise InputError(
                    f"the run {folder} {state} already", "Add --resume to go on with it, or --out for another folder."
                )
            different = differing_keys([self.recipe, recipe], ignore=PLACE)
            if different:
                raise InputError(
                    f"the run {folder} was begun with other settings: {', '.join(sorted(different))}",
                    f"Go on with its own: evenface train {folder} --resume; or give another folder: --out.",
                )
        elif not is_vacant(folder):
            raise InputError(f"{folder} exists and is no run folder", "Give another folder: --out.")

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return (self.folder / RECIPE).is_file()

    @property
    def finished(self) -> bool:
        """Whether the run has its predictions."""
        return (self.folder / PREDICTIONS).is_file() and (self.folder / FACTS).is_file()

    def file(self, name: str) -> Path:
        """Return the path of a file of the run, which is as it was written.

        Raises
        ------
        InputError
            If it is not there, or was changed since the run ended.
        """
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"the run {self.folder} has no {name}", AGAIN)
        known = self.facts.get("digests", {}).get(name) if (self.folder / FACTS).is_file() else None
        if known is not None and known != (self.weights_digest if name == WEIGHTS else digest_file(path)):
            raise InputError(f"{path} is damaged: it is not as it was written (its digest is another)", AGAIN)
        return path

    def verify(self) -> None:
        """Check all files whose digests the run has, also those that are read for no result.

        Raises
        ------
        InputError
            Naming the first that is missing or was changed.
        """
        for name in self.facts.get("digests", {}):
            self.file(name)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe as resolved.

        Raises
        ------
        InputError
            If it has keys of an earlier version; the message has their current names.
        """
        path = self.file(RECIPE)
        try:
            return load_recipe(path)
        except InputError as error:
            hint = f"{error.hint} If an earlier version of evenface wrote this run, train it again.".strip()
            raise InputError(error.message, hint) from None

    @cached_property
    def store(self) -> Store:
        """The prepared samples that the run is of.

        Raises
        ------
        InputError
            If they are not there any more, or what is there is of other samples.
        """
        store = Store.open(str(self.facts["store"]))
        if store.manifest.hash != self.facts["manifest"]:
            raise InputError(f"the store {store.path} holds other samples than those of the run {self.folder}")
        return store

    @property
    def precision(self) -> str:
        """Precision of training: the one chosen for its hardware if the recipe has ``auto``."""
        return str(self.facts.get("precision", self.recipe.training.precision))  # older runs have it in the recipe only

    @property
    def weights(self) -> Path:
        """The file of the selected weights.

        Raises
        ------
        InputError
            If it is not there, as in a fusion of runs, or was changed since the run ended.
        """
        if fused := self.facts.get("fused"):
            hint = f"Use one of them: {', '.join(fused['runs'])}."
            raise InputError(f"{self.folder} is a fusion of runs without weights", hint)
        return self.file(WEIGHTS)

    @cached_property
    def weights_digest(self) -> str:
        """Digest of that file."""
        return digest_file(self.folder / WEIGHTS)

    @cached_property
    def predictions(self) -> Predictions:
        """Predictions of the test samples, with the training samples of each class.

        Raises
        ------
        InputError
            If the run predicts targets that are no classes; see :attr:`results`.
        """
        return _of_classes(self.results, self.folder)

    @cached_property
    def validation(self) -> Predictions | None:
        """Predictions of the validation samples; none where nothing validates."""
        results = self.validation_results
        return None if results is None else _of_classes(results, self.folder)

    @cached_property
    def results(self) -> AnyPredictions:
        """Predictions of the test samples, of classes or of targets."""
        return self._with_training_counts(load_predictions(self.file(PREDICTIONS)))

    @cached_property
    def validation_results(self) -> AnyPredictions | None:
        """Predictions of the validation samples, of classes or of targets; none where nothing validates."""
        there = (self.folder / VALIDATION).is_file() or VALIDATION in self.facts.get("digests", {})
        return self._with_training_counts(load_predictions(self.file(VALIDATION))) if there else None

    @cached_property
    def auxiliary(self) -> TargetPredictions | None:
        """Predictions of the auxiliary targets on the test samples; none where there are no such targets."""
        there = (self.folder / AUXILIARY).is_file() or AUXILIARY in self.facts.get("digests", {})
        return TargetPredictions.load(self.file(AUXILIARY)) if there else None

    def _with_training_counts(self, predictions: AnyPredictions) -> AnyPredictions:
        if isinstance(predictions, TargetPredictions):
            return predictions
        counts = self.facts.get("counts", {}).get("train") if (self.folder / FACTS).is_file() else None
        if counts is None or list(predictions.classes) != self.facts.get("classes"):
            return predictions
        return replace(predictions, training_counts=tuple(counts))

    @property
    def split(self) -> pd.DataFrame:
        """A row per sample: ``sample``, ``label``, ``subject``, ``row`` in the store, ``side``, attributes.

        Faces that were drawn for training (``data.synthetic``) are in the file alone, as they are in no store of the
        run's data.
        """
        split = read_frame(self.file(SPLIT), ("sample", "label", "subject", "row", "side"), AGAIN)
        return split[~split["synthetic"]].drop(columns="synthetic") if "synthetic" in split else split

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Versions, hashes, counts, notes and times."""
        path = self.folder / FACTS
        facts = read_json(path, AGAIN)
        try:
            _Facts.model_validate(facts)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path} is damaged: {where}: {first['msg'].lower()}", AGAIN) from None
        return facts

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Every metric with its interval, as computed from the predictions."""
        return read_json(self.folder / METRICS, f"Recompute it: evenface evaluate {self.folder}")

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        path = self.file(HISTORY)
        try:
            history = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged: it cannot be read as CSV", AGAIN) from error
        if "epoch" not in history:
            raise InputError(f"{path} is damaged: it has no column 'epoch'", AGAIN)
        return history

    def begin(self, facts: Mapping[str, Any], split: pd.DataFrame) -> None:
        """Write what is known before training; the recipe first, as it makes the folder a run.

        Raises
        ------
        InputError
            If the run has begun already, on other data.
        """
        if (self.folder / FACTS).is_file():
            # The store's folder is named by a digest of the images' bytes.
            before, now = (_data_of(known) for known in (self.facts, facts))
            if before != now:
                raise InputError(
                    f"the data of the run {self.folder} has changed since it began",
                    "Start in another folder: --out.",
                )
            if self.facts["environment"] != facts["environment"]:
                self.log(f"resumed in another environment; before: {self.facts['environment']}")
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in stale_files(self.folder):
            if left.name != LOCK:
                left.unlink()
        with atomic_write(self.folder / RECIPE) as temporary:
            temporary.write_text(dump_recipe(load_recipe(facts["recipe"])), encoding="utf-8")
        write_parquet(split, self.folder / SPLIT)
        write_json_with_digest(self.folder / FACTS, facts)

    def end(self, facts: Mapping[str, Any], predictions: Mapping[str, AnyPredictions]) -> None:
        """Write predictions, and what is known in the end with the digests of all files that stay as they are.

        Parameters
        ----------
        facts : mapping
            For ``run.json``.
        predictions : mapping of str to Predictions
            File to what it holds. The test predictions are put in place last: they make the run count as ended.
        """
        digests = {name: digest_file(self.folder / name) for name in LASTING if (self.folder / name).is_file()}
        with ExitStack() as stack:  # left in reverse order
            for name in sorted(predictions, key=lambda name: name != PREDICTIONS):
                temporary = stack.enter_context(atomic_write(self.folder / name))
                predictions[name].save(temporary)
                digests[name] = digest_file(temporary)
            write_json_with_digest(self.folder / FACTS, {**facts, "digests": digests})

    def record(
        self,
        facts: Mapping[str, Any],
        split: pd.DataFrame,
        predictions: Mapping[str, AnyPredictions],
        *,
        recipe: bytes,
        history: bytes = b"epoch\n",
    ) -> None:
        """Write a run whose predictions were made without training; see :meth:`begin` and :meth:`end`.

        The facts come first, so that an interrupted call is known for what it was.
        """
        write_json_with_digest(self.folder / FACTS, facts)
        for name, content in ((RECIPE, recipe), (HISTORY, history)):
            with atomic_write(self.folder / name) as temporary:
                temporary.write_bytes(content)
        write_parquet(split, self.folder / SPLIT)
        self.end(facts, predictions)

    def log(self, text: str) -> None:
        """Add a line with the time to the run's log; show it too if the screen is verbose."""
        if SCREEN.verbose:
            say(text)
        moment = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            with open(self.folder / LOG, "a", encoding="utf-8", opener=_no_link) as file:
                file.write(f"{moment}  {text}\n")
        except OSError as error:
            raise disk_error(error, self.folder / LOG) from error


def _data_of(facts: Mapping[str, Any]) -> list[str]:
    """Return what identifies the samples of a run, and the faces that were drawn for it."""
    stores = [facts["store"], *([facts["synthetic"]["store"]] if "synthetic" in facts else [])]
    return [facts["manifest"], *(Path(store).name for store in stores)]


def _of_classes(predictions: AnyPredictions, folder: Path) -> Predictions:
    if isinstance(predictions, TargetPredictions):
        raise InputError(
            f"the run {folder} predicts {', '.join(predictions.names)} ({predictions.task}), not classes",
            "This is for runs of classes.",
        )
    return predictions


def check_trust(recipe: Recipe, source: str | Path, *, trusted: bool) -> None:
    """Refuse a recipe of a folder that names code, unless it is trusted."""
    if recipe.plugins and not trusted:
        raise InputError(
            f"{source} names code, which is not run unasked: {', '.join(recipe.plugins)}",
            "Read that code; if you trust it, pass --trust-plugins (in Python: trust_plugins=True).",
        )


def check_source(source: object, recipe: Recipe, overrides: Mapping[str, Any], *, trusted: bool) -> None:
    """Refuse to train by a recipe that a run folder brings and that names code, unless it is trusted.

    A recipe file that is named, or content that is given, is the caller's own, and so is code that is named by the
    setting ``plugins``; a run folder may be anybody's.
    """
    path = _path_of(source)
    if path is None or "plugins" in overrides:
        return
    if path.is_dir() or (path.name == RECIPE and (path.parent / FACTS).exists()):
        check_trust(recipe, str(source), trusted=trusted)


def default_folder(source: object, recipe: Recipe, overrides: Mapping[str, Any], *, resume: bool) -> Path:
    """Return the run folder that a recipe comes from, for others ``runs/`` with its name and the overrides; numbered.

    See :func:`numbered_folder`.
    """
    path = _path_of(source)
    if path is None or not Run(path).begun:
        words = [f"{key}={value}".replace(" ", "") for key, value in overrides.items() if key != "data.root"]
        path = Path("runs") / safe_file_name("-".join([recipe.name, *words]))
    return numbered_folder(path, resume=resume)


def numbered_folder(folder: Path, *, resume: bool) -> Path:
    """Return the folder, or with the first number that no finished run has; to resume, the last one that has begun."""
    candidate, last, number = folder, folder, 1
    while Run(candidate).finished:
        number, last = number + 1, candidate
        candidate = folder.with_name(f"{folder.name}-{number}")
    return last if resume and not Run(candidate).begun else candidate


def _path_of(source: object) -> Path | None:
    """Return the path that a recipe was read from, or that has the name of a shipped one; None for content."""
    return Path(source).expanduser() if isinstance(source, str | Path) else None


def is_first_process() -> bool:
    """Return whether this process prints and writes, if several train together."""
    # Set by torchrun, SLURM and Fabric's own launcher.
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o644)


def differing_keys(recipes: list[Recipe], ignore: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """Find the dotted keys in which recipes differ, with each one's value; names and descriptions do not count."""
    flat = [
        _flatten(recipe.model_dump(mode="json", exclude={"name", "about", "paper", "deviations"})) for recipe in recipes
    ]
    keys = sorted({key for one in flat for key in one} - set(ignore))
    rows = {key: [one.get(key) for one in flat] for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def environment() -> dict[str, str]:
    """Return what a result depends on besides the recipe: versions and machine."""
    import timm
    import torch

    from evenface.utils import __version__

    return {
        "evenface": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        "processor": platform.processor() or platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
