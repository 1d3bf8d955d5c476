"""Self-supervised pretraining of a backbone on unlabelled images, whose weights a training starts from."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from evenface.config import Recipe, load_recipe
from evenface.config.recipe import Data
from evenface.data.dataset_guess import DatasetGuess, guess_unlabelled
from evenface.data.manifest import Manifest
from evenface.models.weights import PRETRAINING
from evenface.preprocessing.store import Store
from evenface.runs import (
    AGAIN,
    HISTORY,
    IMAGE_DIGESTS,
    PLACE,
    WEIGHTS,
    Run,
    differing_keys,
    environment,
    is_first_process,
)
from evenface.training.batches import ImageBank, TrainingBatches
from evenface.training.build import build_model, check_recipe
from evenface.training.checkpoint import save_weights
from evenface.training.data import prepare_store
from evenface.training.fabric import choose_accelerator, launch_fabric
from evenface.training.run_records import Logger, build_loggers
from evenface.training.simsiam import SimSiam, full_std
from evenface.training.trainer import CHECKPOINT, LAST, Trainer, keep_freed_memory
from evenface.utils.errors import InputError
from evenface.utils.files import (
    atomic_write,
    digest_file,
    is_vacant,
    lock_folder,
    output_path,
    read_json,
    stale_files,
    user_path,
    write_json_with_digest,
)
from evenface.utils.progress import say
from evenface.utils.tables import html_table

FACTS = "pretraining.json"
COLLAPSED = 0.2
"""Share of the largest standard deviation of the outputs below which they count as collapsed."""
BASE_RATE = 0.05 / 256
"""Learning rate per image of a batch."""
SETTINGS: dict[str, Any] = {
    "name": "pretraining",
    "about": "self-supervised pretraining on images without labels",
    "paper": "Chen and He, Exploring simple Siamese representation learning, CVPR 2021",
    "network": {"name": "compact_vgg_16"},
    "optimizer": {"name": "sgd", "nesterov": False, "weight_decay": 1e-4, "weight_decay_on": "all"},
    "schedule": {"name": "cosine", "warmup_epochs": 0, "min_lr_ratio": 0},
    "training": {"epochs": 100, "batch_size": 256, "checkpoint": "last"},
    "augment": {
        **{"flip": 0.5, "rotate": 10, "shift": 0.1, "zoom": 0.3},
        **{"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "erase": 0.5},
    },
}
IN_USE = {
    *("seed", "data.source", "data.root", "data.size", "data.channels", "data.faces", "optimizer", "schedule"),
    *(f"network.{key}" for key in ("name", "weights", "stem", "norm", "normalise", "gradient_checkpointing")),
    *(f"training.{key}" for key in ("epochs", "batch_size", "start_size", "ema_decay", "precision", "accelerator")),
    *(f"training.{key}" for key in ("devices", "nodes", "checkpoint_minutes", "loggers")),
    *(f"augment.{key}" for key in ("flip", "policy", "operations", "magnitude", "rotate", "shift", "zoom", "shear")),
    *(f"augment.{key}" for key in ("brightness", "contrast", "saturation", "erase", "erase_area")),
}
"""Keys and sections that have an effect, beside the options of a source."""


@dataclass(frozen=True, repr=False)
class Pretraining:
    """Folder of a pretraining.

    Parameters
    ----------
    folder : Path
        It holds ``pretraining.json`` (settings, images, versions), ``weights.safetensors``, ``history.csv`` and
        ``log.txt``.
    """

    folder: Path

    def __repr__(self) -> str:
        return f"<pretraining {self.folder}: {self._summary() if self.finished else 'not finished'}>"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook."""
        return html_table(["pretraining", "result"], [[self.folder, self._summary() if self.finished else ""]])

    @classmethod
    def open(cls, folder: str | Path) -> "Pretraining":
        """Open a pretraining that has ended.

        Raises
        ------
        InputError
            If the folder holds none, or it has not ended.
        """
        opened = cls(user_path(folder))
        if not opened.begun:
            raise InputError(f"{opened.folder} has no {FACTS}", "Give a folder that `evenface pretrain` wrote.")
        if not opened.finished:
            raise InputError(
                f"the pretraining {opened.folder} has not ended", "Run the same command again with --resume."
            )
        return opened

    @classmethod
    @contextmanager
    def claim(cls, folder: str | Path, recipe: Recipe, *, resume: bool) -> "Iterator[Pretraining]":
        """Lock a folder and check that it is free, or holds the pretraining of a recipe that is resumed.

        Raises
        ------
        InputError
            If the folder holds something else, or another process uses it.
        """
        path = output_path(folder, folder=True)
        with lock_folder(path) if is_first_process() else nullcontext():
            claimed = cls(path)
            claimed._check_free(recipe, resume=resume or not is_first_process())
            yield claimed

    def _check_free(self, recipe: Recipe, *, resume: bool) -> None:
        if self.begun:
            if not resume:
                state = "has ended" if self.finished else "has begun"
                raise InputError(
                    f"the pretraining {self.folder} {state} already",
                    "Add --resume to go on with it, or --out for another folder.",
                )
            if different := differing_keys([self.recipe, recipe], ignore=PLACE):
                raise InputError(
                    f"the pretraining {self.folder} was begun with other settings: {', '.join(sorted(different))}",
                    "Use the same ones, or another folder: --out.",
                )
        elif not is_vacant(self.folder):
            raise InputError(f"{self.folder} exists and is no pretraining", "Give another folder: --out.")

    @property
    def begun(self) -> bool:
        """Whether the folder holds a pretraining, finished or not."""
        return (self.folder / FACTS).is_file()

    @property
    def finished(self) -> bool:
        """Whether all epochs were trained."""
        return self.begun and "digests" in self.facts

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Settings, images, versions; in the end also epochs, loss, output standard deviation and digests."""
        return read_json(self.folder / FACTS, "Pretrain again, with another --out.")

    @property
    def recipe(self) -> Recipe:
        """The settings as resolved."""
        return load_recipe(self.facts["recipe"])

    @property
    def weights(self) -> Path:
        """The file of weights.

        Raises
        ------
        InputError
            If it is missing or was changed.
        """
        path = self.folder / WEIGHTS
        if not path.is_file() or digest_file(path) != self.facts["digests"][WEIGHTS]:
            raise InputError(f"{path} is missing, or was changed since it was written", AGAIN)
        return path

    @property
    def collapsed(self) -> bool:
        """Whether the outputs of the last epoch hardly differ between images."""
        return bool(self.facts["output_std"] < COLLAPSED * self.facts["full_std"])

    def _summary(self) -> str:
        facts, recipe = self.facts, self.recipe
        what = f"{recipe.network.name} on {facts['images']:,} images of {recipe.data.size} px"
        return f"{what}, {facts['epochs']} epochs, loss {facts['loss']:.3f}{', collapsed' if self.collapsed else ''}"

    def lines(self) -> list[str]:
        """Return the lines of a console summary."""
        facts, std, most = self.facts, self.facts["output_std"], self.facts["full_std"]
        minutes = facts["training_seconds"] / 60
        warnings = [_collapse_warning(std, most)] if self.collapsed else []
        return [
            *warnings,
            f"pretrained  {self._summary()} (minimum -1), in {minutes:.1f} min",
            f"output std  {std:.4f}; 0 is a collapse, 1/sqrt(d) = {most:.4f} the maximum",
            f"weights     {self.folder / WEIGHTS}",
            f"next        evenface train --start {self.folder} --data FOLDER",
        ]

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write what is known before training.

        Raises
        ------
        InputError
            If it has begun already, on other images.
        """
        if self.begun:
            known, now = ([one["manifest"], Path(one["store"]).name] for one in (self.facts, facts))
            if known != now:
                raise InputError(
                    f"the images of the pretraining {self.folder} have changed since it began",
                    "Start in another folder: --out.",
                )
        for left in stale_files(self.folder):
            if left.suffix != ".lock" and left.name != ".lock":
                left.unlink()
        write_json_with_digest(self.folder / FACTS, facts)

    def end(self, facts: Mapping[str, Any]) -> None:
        """Write what is known in the end, with the digests of the files."""
        digests = {name: digest_file(self.folder / name) for name in (WEIGHTS, HISTORY, IMAGE_DIGESTS)}
        write_json_with_digest(self.folder / FACTS, {**facts, "digests": digests})
        for name in (CHECKPOINT, LAST):
            (self.folder / name).unlink(missing_ok=True)


def pretrain(data: str | Path, out: str | Path, overrides: Mapping[str, Any], *, resume: bool) -> Pretraining:
    """Pretrain on images; see :func:`evenface.api.pretrain`."""
    folder = output_path(out, folder=True)
    guess = guess_unlabelled(data, overrides)
    recipe = pretraining_recipe(guess, overrides)
    with Pretraining.claim(folder, recipe, resume=resume) as claimed:
        if not claimed.finished:
            for message in guess.messages:
                say(message)
            _fit(claimed, recipe, guess.manifest)
    return Pretraining(folder)


def pretraining_recipe(guess: DatasetGuess, overrides: Mapping[str, Any]) -> Recipe:
    """Return the settings of a pretraining as a recipe.

    Raises
    ------
    InputError
        If a setting is invalid or has no effect.
    """
    given = {key: value for key, value in overrides.items() if key not in ("data.source", "data.root")}
    content = {**SETTINGS, "data": guess.data}
    plain, batch = load_recipe(content), load_recipe(content, given).training.batch_size
    content["optimizer"] = {**SETTINGS["optimizer"], "lr": BASE_RATE * batch}
    recipe = load_recipe(content, given)
    if recipe.modality != "images":
        raise InputError(f"the network {recipe.network.name} is not for images", "Name another: --network NAME.")
    if unused := [key for key in differing_keys([plain, recipe]) if not _in_use(key)]:
        raise InputError(f"{unused[0]} has no effect on pretraining", "Leave it out.")
    return recipe


def _in_use(key: str) -> bool:
    parts = key.split(".")
    if parts[0] == "data" and parts[1] not in Data.model_fields:  # an option of the source
        return True
    return any(".".join(parts[: end + 1]) in IN_USE for end in range(len(parts)))


def training_rows(manifest: Manifest) -> tuple[np.ndarray, list[str]]:
    """Return the rows to train on, and a note on those of validation and test sets, which are left out."""
    splits = manifest.table["split"]
    held_out = splits.isin(["validation", "test"]).to_numpy(dtype=bool)
    if not held_out.any() or not (splits == "train").any():
        return np.arange(len(manifest)), []
    note = f"{held_out.sum():,} images of validation and test sets are left out"
    return np.flatnonzero(~held_out), [note]


def _enough(images: int, recipe: Recipe) -> None:
    batch = recipe.training.batch_size
    if images < batch:
        raise InputError(
            f"{images:,} images are fewer than a batch of {batch}", f"Add images, or set --batch-size {max(2, images)}."
        )


def _fit(claimed: Pretraining, recipe: Recipe, listed: Manifest) -> None:
    """Prepare the images, train on them and write the weights."""
    check_recipe(recipe)
    precision = claimed.facts["precision"] if claimed.begun else None  # resumed as begun, on other hardware too
    accelerator = choose_accelerator(recipe.training, precision)
    _enough(len(training_rows(listed)[0]), recipe)
    keep_freed_memory()
    method = SimSiam(build_model(recipe, 1), recipe.seed)
    store = prepare_store(recipe, listed)
    store.verify()
    rows, notes = training_rows(store.manifest)
    _enough(len(rows), recipe)
    fabric = launch_fabric(recipe.training, accelerator, precision, uses_all_parameters=True)
    facts = _facts(recipe, fabric, store, method, len(rows), notes)
    if fabric.is_global_zero:
        claimed.begin(facts)
        for line in _start_lines(recipe, facts):
            say(line)
    trainer = _trainer(claimed, recipe, fabric, method, store, rows)
    trainer.fit()
    if fabric.is_global_zero:
        last = trainer.state.history[-1]
        facts |= {
            "epochs": len(trainer.state.history),
            "training_seconds": round(trainer.state.seconds, 1),
            "loss": last["train_loss"],
            "output_std": last["output_std"],
        }
        save_weights(claimed.folder / WEIGHTS, method.inference_state(), {PRETRAINING: _stated(recipe, facts)})
        with atomic_write(claimed.folder / IMAGE_DIGESTS) as temporary, temporary.open("wb") as file:
            np.save(file, np.unique(store.image_digests(rows)))
        claimed.end(facts)
    fabric.barrier()


def _trainer(
    claimed: Pretraining, recipe: Recipe, fabric: Fabric, method: SimSiam, store: Store, rows: np.ndarray
) -> Trainer:
    batches = TrainingBatches(
        ImageBank(np.asarray(store.images), fabric.device),
        rows,
        np.zeros(len(rows), dtype=np.int64),
        store.manifest.table["sample"].to_numpy()[rows],
        batch_size=recipe.training.batch_size,
        seed=recipe.seed,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    main = fabric.is_global_zero
    log = Run(claimed.folder).log if main else lambda _line: None
    loggers: tuple[Logger, ...] = ()
    if main:
        written = build_loggers(recipe.training.loggers, claimed.folder, recipe.name, {"seed": recipe.seed})
        loggers = (CollapseWarning(full_std(method.width)), *written)
    return Trainer(fabric, method, batches, recipe, claimed.folder, log=log, loggers=loggers)


def _facts(
    recipe: Recipe, fabric: Fabric, store: Store, method: SimSiam, images: int, notes: list[str]
) -> dict[str, Any]:
    return {
        "method": "SimSiam",
        "recipe": recipe.model_dump(mode="json"),
        "images": images,
        "full_std": full_std(method.width),
        "device": str(fabric.device),
        "precision": fabric.strategy.precision.precision,
        "environment": environment(),
        "manifest": store.manifest.hash,
        "store": str(store.path),
        "prepared": store.summary(),
        "notes": [*store.manifest.notes, *notes],
    }


def _stated(recipe: Recipe, facts: Mapping[str, Any]) -> str:
    """Return what the file of weights states about its training, as JSON."""
    stated = {key: facts[key] for key in ("method", "images", "epochs")}
    data = {"data": Path(str(recipe.data.root)).name, "source": recipe.data.source, "size": recipe.data.size}
    return json.dumps({**stated, **data, "licence": "unknown", "evenface": facts["environment"]["evenface"]})


def _start_lines(recipe: Recipe, facts: Mapping[str, Any]) -> list[str]:
    training = recipe.training
    return [
        *(f"note      {note}" for note in facts["notes"]),
        f"images    {facts['images']:,} of {recipe.data.size} px, labels are not used",
        f"network   {recipe.network.name}; SimSiam, batches of {training.batch_size}, lr {recipe.optimizer.lr:g}",
        f"collapse  output std is 0 if all images have the same output, {facts['full_std']:.4f} at most",
        f"training  {training.epochs} epochs on {facts['device']} in {facts['precision']}",
    ]


def _collapse_warning(std: float, most: float) -> str:
    return (
        f"warning  the outputs have collapsed: their standard deviation is {std:.4f}, below {COLLAPSED:g} of "
        f"1/sqrt(d) = {most:.4f}; try a lower optimizer.lr or more augmentation"
    )


class CollapseWarning:
    """Warn when the outputs have collapsed, in the first of successive epochs."""

    def __init__(self, most: float) -> None:
        self.most, self.warned = most, False

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Check the output standard deviation of an epoch."""
        collapsed = row["output_std"] < COLLAPSED * self.most
        if collapsed and not self.warned:
            say(f"epoch {epoch}: {_collapse_warning(row['output_std'], self.most)}")
        self.warned = collapsed

    def close(self) -> None:
        """End; nothing was opened."""
