"""The training loop: steps, validation, checkpoints, and an exact way back into the middle of all that."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from evenface.augment import augment, to_float
from evenface.errors import InputError
from evenface.files import atomic_write
from evenface.methods.base import Method, Moment
from evenface.progress import Bar, progress
from evenface.recipes import Recipe
from evenface.runs import HISTORY, WEIGHTS
from evenface.training.averaging import Average
from evenface.training.batches import Batch, Faces, TrainingBatches
from evenface.training.checkpoint import lay_out_like_parameters, load_state, save_state, save_weights
from evenface.training.inference import figures, predict_rows
from evenface.training.interrupt import Interrupt, deferred_interrupt
from evenface.training.loggers import Logger
from evenface.training.optimizers import build_optimizer
from evenface.training.position import Position
from evenface.training.randomness import seed_stage, seed_step
from evenface.training.schedules import Standing, rate_factor, standing
from evenface.training.stages import Span, spans

CHECKPOINT, LAST = "checkpoint.safetensors", "last.safetensors"


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
        Rows that train, and rows that judge the weights; the latter may be empty.
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
            sampling_beta=recipe.training.sampling_beta,
            random_frames=recipe.augment.frames == "random",
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self.optimizer = fabric.setup(method, build_optimizer([method], recipe.optimizer))
        self._fresh = self.optimizer.state_dict()
        self.average = Average(method, recipe.training.average)
        self.position = Position()
        self._spans = spans(method.stages, recipe.training.epochs)
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
            with self.average.applied():
                save_weights(self.folder / LAST, self.method.inference_state(), {"selected": "last"})
                if self.recipe.training.select == "last" or not len(self.validation):
                    save_weights(self.folder / WEIGHTS, self.method.inference_state(), {"selected": "last"})
        self.fabric.barrier()
        return self.position.history

    def _interruptible(self) -> AbstractContextManager[Interrupt]:
        """Wait for the end of a step on Ctrl-C; several processes would stop at different ones, so they go at once."""
        return deferred_interrupt() if self.fabric.world_size == 1 else nullcontext(Interrupt())

    def _run_epoch(self, bar: Bar, interrupt: Interrupt) -> None:
        position, began, span = self.position, time.monotonic(), self._span()
        first = position.step
        if span.index and position.epoch == span.first and not first:
            self._begin_stage(span)
        self.model.train()
        for batch in self.batches.epoch(
            position.epoch, start=first, sampling=span.sampling, second=self.method.second_sampling
        ):
            self.step(batch)
            bar(1)
            if interrupt.pressed:
                self._save()
                raise KeyboardInterrupt
            if time.monotonic() - self._saved > 60 * self.recipe.training.checkpoint_minutes:
                self._save()
        images = (position.step - first) * self.batches.batch_size * self.faces.frames
        self._close_epoch(bar, images / (time.monotonic() - began))

    def _span(self) -> Span:
        """Give the stage of the epoch under way."""
        return next(span for span in self._spans if self.position.epoch < span.end)

    def _begin_stage(self, span: Span) -> None:
        seed_stage(self.recipe.seed, span.index)
        self.method.begin_stage(span.index)
        # Moments are kept by parameter, but some optimisers count steps by group: both begin anew.
        self.optimizer.load_state_dict(self._fresh)
        self.average.restart()
        self.log(f"stage {span.index + 1} of {len(self._spans)} begins")

    def step(self, batch: Batch) -> float:
        """Take the next step of the epoch under way, on its batch, and give the loss.

        Raises
        ------
        InputError
            If the loss is not finite.
        """
        position, recipe, span = self.position, self.recipe, self._span()
        step = (position.epoch - span.first) * self.batches.steps + position.step
        factor = rate_factor(recipe.schedule, step, self.batches.steps, span.end - span.first, self._losses(span))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.optimizer.lr * factor
        seed_step(recipe.seed, position.epoch, position.step, self.fabric.global_rank)
        images = self._augmented(batch)
        self.method.now = Moment(
            position.epoch,
            position.step,
            recipe.training.epochs,
            self.batches.steps,
            batch.places,
            None if batch.second is None else (self._augmented(batch.second), batch.second.targets),
        )
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
        self.average.update(step)
        position.loss_sum += value
        position.step += 1
        return value

    def _augmented(self, batch: Batch) -> torch.Tensor:
        if batch.images.is_floating_point():  # features, of which there are no pixels to change
            return batch.images
        return augment(to_float(batch.images), batch.numbers, self.recipe.augment)

    def _close_epoch(self, bar: Bar, speed: float) -> None:
        position, training = self.position, self.recipe.training
        row = {
            "epoch": position.epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": position.loss_sum / self.batches.steps,
        }
        if len(self.validation):
            self._share_statistics()
            with self.average.applied():
                probabilities = predict_rows(
                    self.fabric,
                    self.method,
                    self.faces,
                    self.validation,
                    training.batch_size,
                    mirror=training.mirror,
                )
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
            and self.recipe.training.select != "last"
            and self._standing().best == self.position.epoch - 1
        ):
            with self.average.applied():
                save_weights(
                    self.folder / WEIGHTS, self.method.inference_state(), {"selected": f"epoch {self.position.epoch}"}
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

    def _losses(self, span: Span) -> list[float]:
        name = "validation_loss" if len(self.validation) else "train_loss"
        return [row[name] for row in self.position.history[span.first :]]

    def _standing(self) -> Standing:
        """Judge the epochs of the last stage: only its weights are what the method promises."""
        training, first = self.recipe.training, self._spans[-1].first
        if not len(self.validation) or len(self.position.history) <= first:
            return Standing(len(self.position.history) - 1, stop=False)
        monitored = [row[f"validation_{training.monitor}"] for row in self.position.history[first:]]
        found = standing(monitored, larger_is_better=training.monitor != "loss", patience=training.patience)
        return Standing(found.best + first, found.stop)

    def _not_finite(self, value: float) -> InputError:
        first = self.position.step * self.batches.batch_size
        places = self.batches.order(self.position.epoch, self._span().sampling)[first : first + self.batches.batch_size]
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
                "average": self.average.state,
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
        lay_out_like_parameters(self.optimizer)
        self.average.state = state["average"]
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.log(f"resumed at epoch {self.position.epoch + 1}, step {self.position.step + 1}")
