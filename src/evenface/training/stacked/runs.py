"""Fit sequence recipes: train the networks of many runs as one stack, and write each run's folder."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from evenface.config import Recipe
from evenface.evaluation.probability_metrics import shares
from evenface.evaluation.target_predictions import AnyPredictions
from evenface.losses import LOSS_SELECTIONS, binary_loss_specs, build_one_vs_rest
from evenface.methods import METHODS
from evenface.methods.base import Method, TargetLink, Task
from evenface.preprocessing.landmarks import mirrored
from evenface.preprocessing.store import Store
from evenface.runs import HISTORY, HISTORY_CLASS, PREDICTIONS, VALIDATION, WEIGHTS, Run
from evenface.training.batches import key
from evenface.training.build import build_loss, build_method, check_recipe, loss_name, sequence_network
from evenface.training.checkpoint import load_state, save_state, save_weights
from evenface.training.class_prior import implied_prior, prior_of_strata
from evenface.training.data import TrainingData, predictions, target_predictions, with_thresholds
from evenface.training.fabric import choose_accelerator
from evenface.training.prediction import monitor_of, score_sequences, shown_metric, target_validation_metrics
from evenface.training.run_records import build_loggers, peak_memory, run_metadata, split_table, start_lines
from evenface.training.stacked.members import MemberSpec, MemberTargets
from evenface.training.stacked.trainer import StackedTrainer
from evenface.training.trainer import CHECKPOINT, LAST, keep_freed_memory
from evenface.training.tuning import SearchRequest, SearchResult, StackedTraining, run_searches, trial_table
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write
from evenface.utils.progress import say
from evenface.utils.tables import escape_csv_table

ALL = "all"
"""Name of the one network of all classes."""
TRIALS, SEARCHED = "search.sqlite", "search.csv"
"""Database and table of the trials of a run's searches."""

Report = Callable[[float], None]


@dataclass(frozen=True)
class NetworkSpec:
    """A network to train: its class or ``all``, what it learns and how, its metadata, and a line on its loss."""

    name: str
    member: MemberSpec
    metadata: dict[str, Any]
    note: str = ""


@dataclass(frozen=True)
class SequenceRun:
    """A run to train: its folder, recipe, data and networks, and the search result of each network, if any."""

    run: Run
    recipe: Recipe
    data: TrainingData
    networks: tuple[NetworkSpec, ...]
    searched: Mapping[str, SearchResult] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Device type to train on."""
        return choose_accelerator(self.recipe.training)

    @property
    def needs_mirror(self) -> bool:
        """Whether sequences are mirrored in training or testing."""
        augment = self.recipe.augment
        return augment.flip > 0 or augment.flip_duplicates or self.recipe.training.tta_flip

    def mirror(self, sequences: Any) -> Any:
        """Mirror sequences ``(..., P, D)`` by the settings of the recipe."""
        data = self.data
        return mirrored(sequences, data.store.points, self.recipe.augment.flip_landmarks, data.middle)


def fit_sequences(
    pairs: Sequence[tuple[Run, Recipe]], *, report: Report | None = None, searches: Path | None = None
) -> None:
    """Train runs of sequences, as many as possible as one, and write each one's weights, predictions and metadata.

    Runs on the same prepared data and of the same task are trained as one; each has its own seed, order, loss, learning
    rate and end, and its result does not depend on the others, to float tolerance. Each keeps its own state in its
    folder, so runs that were interrupted may be resumed with other runs, or alone.
    """
    keep_freed_memory()
    stores: dict[str, Store] = {}
    alike: dict[tuple[str, ...], list[SequenceRun]] = {}
    for run, recipe in pairs:
        if not run.finished:
            prepared = sequence_run(run, recipe, stores)
            baselines = prepared.data.baselines
            baseline = "" if baselines is None else baselines.key
            task = prepared.data.manifest.task
            shared = (str(prepared.data.store.path), prepared.device, recipe.augment.flip_landmarks, baseline, task)
            alike.setdefault(shared, []).append(prepared)
    done, total = 0, sum(len(runs) for runs in alike.values())
    for runs in alike.values():

        def report_share(share: float, before: int = done, count: int = len(runs)) -> None:
            if report is not None:
                report((before + share * count) / total)

        StackedRuns(runs, searches).fit(report_share)
        done += len(runs)


def sequence_run(run: Run, recipe: Recipe, stores: dict[str, Store]) -> SequenceRun:
    """Check a run's recipe, load its data (from ``stores`` if they are there), and specify its networks."""
    check_recipe(recipe)
    choose_accelerator(recipe.training)  # before hours of preparation
    source = recipe.data.model_dump_json()
    data = TrainingData(recipe, stores.get(source))
    data.check()
    stores[source] = data.store
    check_mirror(recipe, data.store.points, data.middle)
    monitor = monitor_of(recipe.training.monitor, data.manifest.task)
    training = recipe.training.model_copy(update={"monitor": monitor})
    recipe = recipe.model_copy(update={"training": training})
    return SequenceRun(run, recipe, data, network_specs(recipe, data))


def check_mirror(recipe: Recipe, points: str, middle: float | None) -> None:
    """Check that the data can be mirrored if mirroring is on."""
    wanted = {
        "augment.flip": recipe.augment.flip > 0 and not recipe.augment.flip_duplicates,
        "augment.flip_duplicates": recipe.augment.flip_duplicates,
        "training.tta_flip": recipe.training.tta_flip,
    }
    for setting, asked in wanted.items():
        if asked and points == "openface-aus":
            raise InputError(
                f"{setting}: sequences of action units cannot be mirrored, as they have no left and right",
                _off(setting),
            )
        if asked and middle is None and points != "blendshapes":
            raise InputError(
                f"{setting}: the horizontal centre of the face is unknown for {points} in these files",
                f"Set data.sequences.normalise: position. Or: {_off(setting)}",
            )


def _off(setting: str) -> str:
    return f"Set {setting}: {'0' if setting == 'augment.flip' else 'false'}."


def network_specs(recipe: Recipe, data: TrainingData) -> tuple[NetworkSpec, ...]:
    """Specify the networks of a run."""
    return tuple(network_spec(name, recipe, data) for name in network_names(recipe, data))


def network_names(recipe: Recipe, data: TrainingData) -> tuple[str, ...]:
    """Return the names of a run's networks: its classes where each has a classifier of its own, else ``all``."""
    return data.manifest.classes if METHODS[recipe.method.name].one_vs_rest else (ALL,)


def network_spec(name: str, recipe: Recipe, data: TrainingData) -> NetworkSpec:
    """Specify one network: of all classes, or of one class against the rest."""
    classes, loss, task = data.manifest.classes, recipe.loss, task_of(recipe, data)
    label = classes.index(name) if METHODS[recipe.method.name].one_vs_rest else None
    if label is not None:
        chosen = binary_loss_specs(loss.name, task.counts, classes, **loss.options)[label]
        module, facts, note = build_one_vs_rest([chosen]).losses[0], chosen.facts, str(chosen)
    else:
        module = build_loss(recipe, task)
        facts, note = {"loss": loss_name(recipe, task.kind), **loss.options}, ""
    member = _member(recipe, data, module, label, name)
    if task.link is not None:
        member = replace(member, **_of_targets(data, task.link))
    network = recipe.network.recurrent.model_dump(mode="json")
    return NetworkSpec(name, member, {"seed": member.seed, "network": network, **facts}, note)


def task_of(recipe: Recipe, data: TrainingData) -> Task:
    """Return the training task of a recipe's data."""
    manifest, rows = data.manifest, data.split.train
    targets = manifest.target_values(rows) if manifest.targets else None
    return Task(data.counts, manifest.outputs, recipe.training.batch_size, kind=manifest.task, targets=targets)


def _of_targets(data: TrainingData, link: TargetLink) -> dict[str, Any]:
    """Return what a network that predicts targets has in place of what one of classes has."""
    manifest, train, validation = data.manifest, data.split.train, data.validation

    def encoded(rows: np.ndarray) -> np.ndarray:
        return link.encode(torch.from_numpy(manifest.target_values(rows))).numpy()

    def measure(values: np.ndarray) -> dict[str, float]:
        return target_validation_metrics(target_predictions(manifest, validation, values))

    return {
        "targets": encoded(train),
        "validation_targets": encoded(validation),
        "classes": len(manifest.targets),
        "predicts": MemberTargets(link, manifest.labels[train], measure),
    }


def _member(recipe: Recipe, data: TrainingData, loss: nn.Module, positive: int | None, name: str) -> MemberSpec:
    """Specify how a network trains; a one-vs-rest classifier has a ``positive`` class, which its seed depends on."""
    labels, train, validation = data.manifest.labels, data.split.train, data.validation
    targets = labels if positive is None else (labels == positive).astype(np.int64)
    return MemberSpec(
        seed=recipe.seed if positive is None else key(recipe.seed, "one-vs-all", name),
        train=train,
        targets=targets[train],
        validation=validation,
        validation_targets=targets[validation],
        loss=loss,
        classes=len(data.manifest.classes) if positive is None else 2,
        one_output=positive is not None,
        network=recipe.network.recurrent,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        training=recipe.training,
        flip=recipe.augment.flip,
        added=recipe.augment.flip_duplicates,
        name=name,
    )


class StackedRuns:
    """Runs on the same sequences and device, with the same kind of mirror, that are trained as one."""

    def __init__(self, runs: Sequence[SequenceRun], searches: Path | None = None) -> None:
        self.runs, self.searches = list(runs), searches
        self.sequences = runs[0].data.sequences
        self.mirrored = runs[0].mirror(self.sequences) if any(run.needs_mirror for run in runs) else None
        ends = np.cumsum([len(run.networks) for run in runs]).tolist()
        self.members = [range(end - len(run.networks), end) for run, end in zip(runs, ends, strict=True)]
        self.seconds = [0.0] * len(runs)
        self.shown = shown_metric(runs[0].data.manifest.task)

    def fit(self, report: Report) -> None:
        """Train all runs to their ends, from their checkpoints where there are any, and write their folders."""
        for run in self.runs:
            begin(run, len(self.runs))
        trials = sum(run.recipe.search.trials for run in self.runs)
        searching = trials / (trials + len(self.runs))
        self.runs = search_settings(self.runs, self._trial_trainer, self.searches, lambda s: report(searching * s))
        self.trainer = StackedTrainer(
            [network.member for run in self.runs for network in run.networks],
            self.sequences,
            mirrored=self.mirrored,
            minutes=min(run.recipe.training.checkpoint_minutes for run in self.runs),
            device=self.runs[0].device,
            shown=self.shown,
            log=lambda _line: report(searching + (1 - searching) * self.trainer.share),
            keep=self._save_checkpoints,
        )
        self._load_checkpoints()
        self.since = time.monotonic()
        self.trainer.fit()
        self._count_seconds()
        for run, members, seconds in zip(self.runs, self.members, self.seconds, strict=True):
            end(run, self.trainer, members, seconds, len(self.runs))
        report(1.0)

    def _trial_trainer(self, members: Sequence[MemberSpec]) -> StackedTrainer:
        device = self.runs[0].device
        return StackedTrainer(
            members,
            self.sequences,
            mirrored=self.mirrored,
            device=device,
            quiet=True,
            diverged="end",
            shown=self.shown,
        )

    def _count_seconds(self) -> None:
        """Divide the time since the last call among the runs."""
        now = time.monotonic()
        self.seconds = [seconds + (now - self.since) / len(self.runs) for seconds in self.seconds]
        self.since = now

    def _save_checkpoints(self) -> None:
        self._count_seconds()
        for run, members, seconds in zip(self.runs, self.members, self.seconds, strict=True):
            state = {"networks": self.trainer.state(members), "seconds": seconds}
            save_state(run.run.folder / CHECKPOINT, state)

    def _load_checkpoints(self) -> None:
        for number, (run, members) in enumerate(zip(self.runs, self.members, strict=True)):
            if (path := run.run.folder / CHECKPOINT).is_file():
                state = load_state(path)
                self.trainer.restore(state["networks"], members)
                self.seconds[number] = state["seconds"]
                run.run.log(f"resumed at epoch {1 + max(network['epoch'] for network in state['networks'])}")


def search_settings(
    runs: Sequence[SequenceRun],
    trial_trainer: Callable[[Sequence[MemberSpec]], StackedTraining],
    searches: Path | None = None,
    report: Report | None = None,
) -> list[SequenceRun]:
    """Search settings for the runs whose recipes have a search, in parallel, and specify their networks by the best."""
    updated = list(runs)
    searching = [index for index, run in enumerate(runs) if run.recipe.search.trials]
    if not searching:
        return updated
    results = run_searches([_search_request(runs[index], searches) for index in searching], trial_trainer, report)
    for index, searched in zip(searching, results, strict=True):
        run = runs[index]
        networks = tuple(network_spec(name, result.recipe, run.data) for name, result in searched.items())
        updated[index] = replace(run, networks=networks, searched=searched)
        begin(updated[index], len(runs))
    return updated


def _search_request(run: SequenceRun, searches: Path | None) -> SearchRequest:
    data, store = run.data, run.data.store
    baseline = "" if data.baselines is None else f" {data.baselines.key}"

    def member(name: str, recipe: Recipe) -> MemberSpec:
        return network_spec(name, recipe, run.data).member

    def basis(name: str, recipe: Recipe) -> str:
        metadata = network_spec(name, recipe, run.data).metadata
        loss = {key: value for key, value in metadata.items() if key not in ("seed", "network")}
        return f"{store.path.name} {store.manifest.hash}{baseline} {loss}"

    names = network_names(run.recipe, run.data)
    return SearchRequest(run.recipe, names, basis, member, searches or run.run.folder / TRIALS)


def begin(run: SequenceRun, count: int) -> None:
    """Write and log what is known before training; ``count`` runs are trained as one."""
    folder = run.run
    metadata = _metadata(run)
    folder.begin(metadata, split_table(run.data))
    if count == 1:
        many = len(run.networks)
        for line in start_lines(metadata, f"{many} recurrent networks" if many > 1 else "recurrent"):
            say(line)
    with_others = f" with {count - 1} other runs as one" if count > 1 else ""
    folder.log(f"training {run.recipe.name} on {run.device}{with_others}: {run.data.store.summary()}")
    for network in run.networks:
        if network.note:
            folder.log(network.note)
    if run.searched:
        with atomic_write(folder.folder / SEARCHED) as temporary:
            escape_csv_table(trial_table(run.searched)).to_csv(temporary, index=False)
        for name, result in run.searched.items():
            folder.log(f"search for {name}: {result}")


def end(run: SequenceRun, trainer: StackedTrainer, members: Sequence[int], seconds: float, count: int) -> None:
    """Write weights, history and predictions; the predictions last, as they make the run count as ended.

    ``members`` are the run's places in the trainer, ``seconds`` its share of the time, ``count`` how many runs were
    trained as one.
    """
    histories = [trainer.histories[member] for member in members]
    best = [trainer.early_stopping(member).best_epoch + 1 for member in members]
    if run.recipe.training.checkpoint == "last" or not len(run.data.validation):
        best = [len(history) for history in histories]
    _save_weights(run, trainer, members, LAST, "last")
    method = _save_weights(run, trainer, members, WEIGHTS, ", ".join(str(epoch) for epoch in best))
    _write_history(run, histories)
    metadata = _metadata(run)
    for network, rows, epoch in zip(run.networks, histories, best, strict=True):
        metadata["networks"][network.name] = {**network.metadata, "epochs": len(rows), "selected": epoch}
    metadata |= {
        "epochs": max(len(rows) for rows in histories),
        "training_seconds": round(seconds, 3),
        "together": count,
        "peak_memory_mb": peak_memory(),
    }
    run.run.end(metadata, _predict(run, method, trainer.sequences))
    (run.run.folder / CHECKPOINT).unlink(missing_ok=True)
    run.run.log("ended")


def _metadata(run: SequenceRun) -> dict[str, Any]:
    """Return what ``run.json`` holds before training."""
    store = run.data.store
    data = run.data
    if data.manifest.targets:
        implied = prior_of_strata(data.counts)
    else:
        implied = implied_prior(run.recipe, data.counts, names=data.manifest.classes)
    metadata = run_metadata(data, implied, run.device)
    if run.recipe.loss.name in LOSS_SELECTIONS:
        metadata["notes"].append(f"losses by imbalance: {'; '.join(network.note for network in run.networks)}")
    if run.searched:
        metadata["search"] = {name: result.facts for name, result in run.searched.items()}
        results = "; ".join(f"{name}: {result}" for name, result in run.searched.items())
        metadata["notes"].append(f"settings were searched on the validation data, whose figures flatter: {results}")
    shape = [int(size) for size in store.sequences.shape[1:]]
    metadata["sequences"] = {"points": store.points, "shape": shape, "middle": store.middle}
    metadata["networks"] = {network.name: network.metadata for network in run.networks}
    return metadata


def _save_weights(run: SequenceRun, trainer: StackedTrainer, members: Sequence[int], name: str, epochs: str) -> Method:
    """Write the networks of the last or of the selected epochs, and return the method with them."""
    networks = [trainer.network(member, "last" if name == LAST else "selected") for member in members]
    network = sequence_network(networks, one_vs_rest=METHODS[run.recipe.method.name].one_vs_rest)
    task = task_of(run.recipe, run.data)
    method = build_method(run.recipe, task.counts, task.names, kind=task.kind, targets=task.targets, network=network)
    method = method.eval().to(run.device)
    save_weights(run.run.folder / name, method.inference_state(), {"selected": f"epochs {epochs}"})
    return method


def _predict(run: SequenceRun, method: Method, sequences: np.ndarray) -> dict[str, AnyPredictions]:
    """Predict validation and test set, each under the name of its file."""
    data = run.data
    predicted: dict[str, AnyPredictions] = {}
    mirror = run.mirror if run.recipe.training.tta_flip else None
    for name, rows in ((VALIDATION, data.split.validation), (PREDICTIONS, data.split.test)):
        if len(rows):
            scores = score_sequences(method, sequences, rows, device=run.device, mirror=mirror)
            if data.manifest.targets:
                predicted[name] = target_predictions(data.manifest, rows, scores)
                continue
            own = scores if method.one_vs_rest else None
            predicted[name] = predictions(data.manifest, rows, shares(scores), scores=own)
    return with_thresholds(predicted) if run.recipe.training.thresholds == "validation" else predicted


def _write_history(run: SequenceRun, histories: Sequence[Sequence[dict[str, float]]]) -> None:
    """Write a row per epoch to the history and the loggers; of several networks, a row per epoch and network."""
    tables = [pd.DataFrame(rows) for rows in histories]
    for network, table in zip(run.networks, tables, strict=True):
        if len(tables) > 1:
            table.insert(0, HISTORY_CLASS, network.name)
    with atomic_write(run.run.folder / HISTORY) as temporary:
        pd.concat(tables, ignore_index=True).to_csv(temporary, index=False)
    recipe = run.recipe
    for logger in build_loggers(recipe.training.loggers, run.run.folder, recipe.name, {"seed": recipe.seed}):
        for network, rows in zip(run.networks, histories, strict=True):
            start = f"{network.name}/" if len(histories) > 1 else ""
            for row in rows:
                logger.log(int(row["epoch"]), {f"{start}{name}": value for name, value in row.items()})
        logger.close()
