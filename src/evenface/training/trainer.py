"""The training loop: steps, validation, checkpoints, and an exact way back into the middle of all that."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from evenface.errors import InputError
from evenface.files import atomic_write
from evenface.methods.base import Method
from evenface.progress import Bar, progress
from evenface.recipes import Recipe
from evenface.training.augment import augment, to_float
from evenface.training.batches import Batch, Faces, TrainingBatches
from evenface.training.checkpoint import load_state, save_state, save_weights
from evenface.training.inference import figures, predict_rows
from evenface.training.interrupt import Interrupt, deferred_interrupt
from evenface.training.loggers import Logger
from evenface.training.optimizers import build_optimizer
from evenface.training.randomness import seed_step
from evenface.training.schedules import Standing, rate_factor, standing

CHECKPOINT, BEST, LAST, HISTORY = "checkpoint.safetensors", "weights.safetensors", "last.safetensors", "history.csv"


@dataclass
class Position:
    """How far a run has come.

    Parameters
    ----------
    epoch, step : int
        Epoch under way, and steps of it that are done.
    loss_sum : float
        Sum of the step losses of this epoch so far.
    history : list of dict
        One row per epoch that has ended.
    seconds : float
        Time spent on all that.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


class Trainer:
    """Trains one method on one split, resumably.

    Parameters
    ----------
    fabric : Fabric
        Launched: devices, precision and processes.
    method : Method
        Network and loss.
    recipe : Recipe
        All settings.
    faces : Faces
        Pictures by row of the store.
    labels : ndarray of shape (N,)
        Class of every row of the store.
    names : ndarray of shape (N,)
        Sample name of every row of the store, for messages.
    train, validation : ndarray
        Rows that train, and rows that judge; the latter may be empty.
    folder : Path
        Run folder: checkpoint, weights and history are written here.
    log : callable
        Takes lines for the run's log.
    loggers : sequence of Logger
        Further places for the history.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        recipe: Recipe,
        *,
        faces: Faces,
        labels: np.ndarray,
        names: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        folder: Path,
        log: Callable[[str], None],
        loggers: tuple[Logger, ...] = (),
    ) -> None:
        self.fabric, self.method, self.recipe, self.folder = fabric, method, recipe, folder
        self.faces, self.labels, self.names, self.validation = faces, labels, names, validation
        self.log, self.loggers = log, loggers
        self.batches = TrainingBatches(
            faces,
            train,
            labels[train],
            batch_size=recipe.training.batch_size,
            seed=recipe.seed,
            sampling=recipe.training.sampling,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self.optimizer = fabric.setup(method, build_optimizer([method], recipe.optimizer))
        self.position = Position()
        self._saved = time.monotonic()

    def fit(self) -> list[dict[str, float]]:
        """Train to the end, from the checkpoint in the folder where there is one.

        Returns
        -------
        list of dict
            The history, one row per epoch.

        Raises
        ------
        InputError
            If a loss is not finite, or the disk is full.
        KeyboardInterrupt
            After Ctrl-C, with the state saved at the end of the step.
        """
        self._restore()
        self._saved = time.monotonic()
        total = self.recipe.training.epochs * self.batches.steps
        done = self.position.epoch * self.batches.steps + self.position.step
        with ExitStack() as stack:
            interrupt = stack.enter_context(self._interruptible())
            bar = stack.enter_context(progress("training", total, done))
            for logger in self.loggers:
                stack.callback(logger.close)
            while self.position.epoch < self.recipe.training.epochs and not self._standing().stop:
                self._run_epoch(bar, interrupt)
            if interrupt.pressed:
                raise KeyboardInterrupt
        if self.fabric.is_global_zero:
            save_weights(self.folder / LAST, self.method.inference_state(), {"selected": "last"})
            if self.recipe.training.select == "last" or not len(self.validation):
                save_weights(self.folder / BEST, self.method.inference_state(), {"selected": "last"})
        self.fabric.barrier()
        return self.position.history

    def _interruptible(self) -> AbstractContextManager[Interrupt]:
        """Wait for the end of a step on Ctrl-C; several processes would stop at different ones, so they go at once."""
        return deferred_interrupt() if self.fabric.world_size == 1 else nullcontext(Interrupt())

    def _run_epoch(self, bar: Bar, interrupt: Interrupt) -> None:
        position, began = self.position, time.monotonic()
        first = position.step
        self.model.train()
        for batch in self.batches.epoch(position.epoch, start=position.step):
            self.step(batch)
            bar(1)
            if interrupt.pressed:
                self._save()
                raise KeyboardInterrupt
            if time.monotonic() - self._saved > 60 * self.recipe.training.checkpoint_minutes:
                self._save()
        images = (position.step - first) * self.batches.batch_size
        self._close_epoch(bar, images / (time.monotonic() - began))

    def step(self, batch: Batch) -> float:
        """Take the next step of the epoch under way, on its batch, and give the loss.

        Raises
        ------
        InputError
            If the loss is not finite.
        """
        position, recipe = self.position, self.recipe
        step = position.epoch * self.batches.steps + position.step
        factor = rate_factor(recipe.schedule, step, self.batches.steps, recipe.training.epochs, self._losses())
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.optimizer.lr * factor
        seed_step(recipe.seed, position.epoch, position.step, self.fabric.global_rank)
        images = augment(to_float(batch.images), batch.numbers, recipe.augment)
        loss = self.model(images, batch.targets).mean()
        # Over all processes: they must stop together, or those left would wait for the one that went.
        value = float(cast(torch.Tensor, self.fabric.all_reduce(loss.detach(), reduce_op="mean")))
        if not np.isfinite(value):
            raise self._not_finite(value)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if recipe.optimizer.clip_norm is not None:
            self.fabric.clip_gradients(
                self.model, self.optimizer, max_norm=recipe.optimizer.clip_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        position.loss_sum += value
        position.step += 1
        return value

    def _close_epoch(self, bar: Bar, speed: float) -> None:
        position, training = self.position, self.recipe.training
        row = {
            "epoch": position.epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": position.loss_sum / self.batches.steps,
        }
        if len(self.validation):
            self._share_statistics()
            probabilities = predict_rows(self.fabric, self.method, self.faces, self.validation, training.batch_size)
            judged = figures(self.labels[self.validation], probabilities)
            row |= {f"validation_{name}": value for name, value in judged.items()}
        row["images_per_second"] = round(speed, 1)
        position.history.append(row)
        position.epoch, position.step, position.loss_sum = position.epoch + 1, 0, 0.0
        if self.fabric.is_global_zero:
            self._write_epoch(row, bar)
        self._save()

    def _share_statistics(self) -> None:
        """Give all processes the first one's running statistics: those are judged, as those are saved."""
        if self.fabric.world_size > 1:
            for buffer in self.method.buffers():
                torch.distributed.broadcast(buffer, 0)

    def _write_epoch(self, row: dict[str, float], bar: Bar) -> None:
        if (
            len(self.validation)
            and self.recipe.training.select == "best"
            and self._standing().best == self.position.epoch - 1
        ):
            save_weights(
                self.folder / BEST, self.method.inference_state(), {"selected": f"epoch {self.position.epoch}"}
            )
        with atomic_write(self.folder / HISTORY) as temporary:
            pd.DataFrame(self.position.history).to_csv(temporary, index=False)
        for logger in self.loggers:
            logger.log(self.position.epoch, row)
        text = f"epoch {self.position.epoch}/{self.recipe.training.epochs}  loss {row['train_loss']:.4f}"
        if len(self.validation):
            balanced, loss = row["validation_balanced_accuracy"], row["validation_loss"]
            text += f"  validation: balanced accuracy {balanced:.3f}, loss {loss:.4f}"
        text += f"  ({row['images_per_second']:.0f} images/s)"
        bar.say(text)
        self.log(text)

    def _losses(self) -> list[float]:
        name = "validation_loss" if len(self.validation) else "train_loss"
        return [row[name] for row in self.position.history]

    def _standing(self) -> Standing:
        training = self.recipe.training
        if not len(self.validation):
            return Standing(len(self.position.history) - 1, stop=False)
        monitored = [row[f"validation_{training.monitor}"] for row in self.position.history]
        return standing(monitored, larger_is_better=training.monitor != "loss", patience=training.patience)

    def _not_finite(self, value: float) -> InputError:
        first = self.position.step * self.batches.batch_size
        places = self.batches.order(self.position.epoch)[first : first + self.batches.batch_size]
        names = [str(name) for name in self.names[self.batches.rows[places]]]
        what = f"the loss became {value} at epoch {self.position.epoch + 1}, step {self.position.step + 1}"
        self.log(f"{what}, on the samples {' '.join(names)}")
        return InputError(
            f"{what}, on the samples {', '.join(names[:4])}, ...",
            f"All {len(names)} are in {self.folder / 'log.txt'}. "
            "Try a lower optimizer.lr, optimizer.clip_norm=5, or training.precision=32-true.",
        )

    def _save(self) -> None:
        now = time.monotonic()
        self.position.seconds += now - self._saved
        self._saved = now
        if self.fabric.is_global_zero:
            scaler: dict[str, Any] = self.fabric.strategy.precision.state_dict()
            state = {
                "position": asdict(self.position),
                "method": self.method.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": scaler,
            }
            save_state(self.folder / CHECKPOINT, state)

    def _restore(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        state = load_state(path)
        self.position = Position(**state["position"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._lay_out_like_parameters()
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.log(f"resumed at epoch {self.position.epoch + 1}, step {self.position.step + 1}")

    def _lay_out_like_parameters(self) -> None:
        """Give restored moments the memory layout of their parameters, which files do not keep.

        Fused optimisers walk through both in the order of memory: another layout would pair wrong numbers.
        """
        for parameter, moments in self.optimizer.state.items():
            for name, value in moments.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
