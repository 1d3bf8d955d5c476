"""The training loop: steps, validation, early stopping, checkpoints, and exact resuming at any step."""

import contextlib
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from evenface.config import Recipe
from evenface.methods.base import Method, Stage, StepContext
from evenface.preprocessing.augmentation import augment, resized, to_float
from evenface.runs import HISTORY, WEIGHTS
from evenface.training.batches import Batch, TrainingBatches, seed_stage, seed_step
from evenface.training.checkpoint import lay_out_like_parameters, load_state, save_state, save_weights
from evenface.training.compilation import CompiledForward
from evenface.training.optimizers import EMA, EarlyStopping, build_optimizer, early_stopping, image_side, rate_factor
from evenface.training.prediction import larger_is_better
from evenface.training.run_records import Logger, epoch_heading, epoch_line
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write
from evenface.utils.progress import ProgressBar, progress

CHECKPOINT, LAST = "checkpoint.safetensors", "last.safetensors"
READ_EVERY = 50
"""Steps between two readings of the losses, for which the host waits for the device."""


@dataclass
class TrainerState:
    """Progress of a run: current epoch and step, sum of that epoch's losses that were read, history, seconds spent."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class StageEpochs:
    """Epochs of one stage of a method, ``first`` to before ``end``, and its sampling where it is not the recipe's."""

    index: int
    first: int
    end: int
    sampling: str | None


class Trainer:
    """Train one method on one split, resumably."""

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        batches: TrainingBatches,
        recipe: Recipe,
        folder: Path,
        *,
        validate: Callable[[], dict[str, float]] | None = None,
        monitor: str | None = None,
        shown: str = "balanced_accuracy",
        log: Callable[[str], None] = lambda _line: None,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.fabric, self.method, self.batches, self.recipe, self.folder = fabric, method, batches, recipe, folder
        self.validate, self.log, self.loggers = validate, log, loggers
        self.monitor, self.shown = monitor or recipe.training.monitor, shown
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self.optimizer = fabric.setup(method, build_optimizer([method], recipe.optimizer))
        self.compiled = CompiledForward(method.network, recipe.training.compile)
        self._fresh_optimizer = self.optimizer.state_dict()
        self.ema = EMA(method, recipe.training.ema_decay)
        self.stages = stage_epochs(method.stages, recipe.training.epochs)
        self.state = TrainerState()
        self._unread: dict[int, torch.Tensor] = {}
        self._saved = time.monotonic()

    def fit(self) -> list[str]:
        """Train to the end, from the checkpoint in the folder where there is one.

        The method is left with the selected weights. Returns its notes on the training.
        """
        self._load_checkpoint()
        epochs, steps = self.recipe.training.epochs, self.batches.steps
        with ExitStack() as stack:
            interrupt = stack.enter_context(self._interruptible())
            bar = stack.enter_context(progress("training", epochs * steps, self.state.epoch * steps + self.state.step))
            for logger in self.loggers:
                stack.callback(logger.close)
            if self.fabric.is_global_zero and self.state.epoch < epochs:
                validated, measures = self.validate is not None, self.method.measures
                bar.say(epoch_heading(validated=validated, metric=self.shown, measures=measures))
            while self.state.epoch < epochs and not self._early_stopping().stop:
                self._train_epoch(bar, interrupt)
            if interrupt.pressed:
                raise KeyboardInterrupt
        if self.fabric.is_global_zero:
            self._save_weights(LAST, "last")
            if self.recipe.training.checkpoint == "last" or self.validate is None:
                self._save_weights(WEIGHTS, "last")
        self.fabric.barrier()
        notes = self.method.training_notes(len(self.state.history))
        self.method.load_inference_state(load_file(self.folder / WEIGHTS))
        return notes

    def step(self, batch: Batch) -> None:
        """Take the next step of the current epoch without waiting for the device.

        Its loss is read after at most ``READ_EVERY`` steps: an InputError if that is not finite.
        """
        state, stage = self.state, self._stage()
        step = (state.epoch - stage.first) * self.batches.steps + state.step
        self._set_learning_rate(step, stage)
        seed_step(self.recipe.seed, state.epoch, state.step, self.fabric.global_rank)
        self.optimizer.zero_grad(set_to_none=True)
        images, self.method.ctx = self._augmented(batch), self._step_context(batch)
        with self.compiled.applied():
            loss = self.model(images, batch.targets).mean()
        self._unread[state.step] = loss.detach()
        self.fabric.backward(loss)
        self._clip_gradients()
        self.optimizer.step()
        self.ema.update(step)
        state.step += 1
        if len(self._unread) >= READ_EVERY:
            self._read_losses()

    def _train_epoch(self, bar: ProgressBar, interrupt: "Interrupt") -> None:
        state, stage, began = self.state, self._stage(), time.monotonic()
        first, second = state.step, self.method.second_sampling
        if stage.index and state.epoch == stage.first and not first:
            self._begin_stage(stage)
        self.model.train()
        for batch in self.batches.epoch(state.epoch, start=first, sampling=stage.sampling, second=second):
            self._traced_step(batch)
            bar(1)
            if interrupt.pressed:
                self._save_checkpoint()
                raise KeyboardInterrupt
            due = time.monotonic() - self._saved > 60 * self.recipe.training.checkpoint_minutes
            if due and (self.fabric.world_size == 1 or not self._unread):  # processes read losses at the same steps
                self._save_checkpoint()
        self._read_losses()
        images = (state.step - first) * self.batches.batch_size * self.batches.bank.frames
        self._end_epoch(bar, images / (time.monotonic() - began))

    def _set_learning_rate(self, step: int, stage: StageEpochs) -> None:
        name = "train_loss" if self.validate is None else "validation_loss"
        losses = [row[name] for row in self.state.history[stage.first :]]
        factor = rate_factor(self.recipe.schedule, step, self.batches.steps, stage.end - stage.first, losses)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.lr * factor

    def _augmented(self, batch: Batch) -> torch.Tensor:
        if batch.images.is_floating_point():  # features, which have no pixels to change
            return batch.images
        images = augment(to_float(batch.images), batch.numbers, self.recipe.augment)
        start, full, epochs = self.recipe.training.start_size, images.shape[-1], self.recipe.training.epochs
        side = full if start is None else image_side(start, full, self.state.epoch, epochs)
        return images if side == full else resized(images, side)

    def _step_context(self, batch: Batch) -> StepContext:
        epoch, step, epochs = self.state.epoch, self.state.step, self.recipe.training.epochs
        second = None if batch.second is None else (self._augmented(batch.second), batch.second.targets)
        return StepContext(epoch, step, epochs, self.batches.steps, batch.indices, second)

    def _traced_step(self, batch: Batch) -> None:
        """Take a step; where it fails because of a loss that became NaN before, name that one."""
        try:
            self.step(batch)
        except Exception:
            if self.fabric.world_size == 1:
                self._read_losses()
            raise

    def _read_losses(self) -> None:
        """Add the losses of the last steps to the epoch's sum, of all processes together; refuse one not finite."""
        if not self._unread:
            return
        unread, self._unread = self._unread, {}
        losses = self.fabric.all_reduce(torch.stack(list(unread.values())), reduce_op="mean")
        for step, value in zip(unread, cast(torch.Tensor, losses).tolist(), strict=True):
            if not np.isfinite(value):
                self._refuse(step, value)
            self.state.loss_sum += value

    def _refuse(self, step: int, value: float) -> NoReturn:
        """End a training whose loss became NaN or infinite, naming the samples of that step."""
        epoch = self.state.epoch
        names = self.batches.names_of(epoch, step, self._stage().sampling)
        problem = f"the loss became {value} at epoch {epoch + 1}, step {step + 1}"
        self.log(f"{problem}, on the samples {' '.join(names)}")
        raise InputError(
            f"{problem}, on the samples {', '.join(names[:4])}, ...",
            f"All {len(names)} are in {self.folder / 'log.txt'}. "
            "Try a lower optimizer.lr, optimizer.clip_norm=5, or training.precision=32-true.",
        )

    def _clip_gradients(self) -> None:
        if (norm := self.recipe.optimizer.clip_norm) is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=norm, error_if_nonfinite=False)

    def _stage(self) -> StageEpochs:
        return next(stage for stage in self.stages if self.state.epoch < stage.end)

    def _begin_stage(self, stage: StageEpochs) -> None:
        seed_stage(self.recipe.seed, stage.index)
        self.method.begin_stage(stage.index)
        # Moments are kept by parameter, but some optimisers count steps by group: both are reset.
        self.optimizer.load_state_dict(self._fresh_optimizer)
        self.ema.restart()
        self.log(f"stage {stage.index + 1} of {len(self.stages)} begins")

    def _end_epoch(self, bar: ProgressBar, speed: float) -> None:
        state = self.state
        row = {
            "epoch": state.epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": state.loss_sum / self.batches.steps,
            **self.method.end_epoch(),
            **self._validation_metrics(),
            "images_per_second": round(speed, 1),
        }
        state.history.append(row)
        state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
        if self.fabric.is_global_zero:
            if (
                self.validate
                and self.recipe.training.checkpoint != "last"
                and self._early_stopping().best_epoch == state.epoch - 1
            ):
                self._save_weights(WEIGHTS, f"epoch {state.epoch}")
            self._write_history(row, bar)
        self._save_checkpoint()

    def _validation_metrics(self) -> dict[str, float]:
        if self.validate is None:
            return {}
        if self.fabric.world_size > 1:  # the first process's running statistics are saved, so those are validated
            for buffer in self.method.buffers():
                torch.distributed.broadcast(buffer, 0)
        with self.ema.applied():
            return {f"validation_{name}": value for name, value in self.validate().items()}

    def _write_history(self, row: dict[str, float], bar: ProgressBar) -> None:
        with atomic_write(self.folder / HISTORY) as temporary:
            pd.DataFrame(self.state.history).to_csv(temporary, index=False)
        for logger in self.loggers:
            logger.log(self.state.epoch, row)
        line = f"epoch {self.state.epoch}/{self.recipe.training.epochs}  loss {row['train_loss']:.4f}"
        if self.validate:
            name, loss = self.shown, row["validation_loss"]
            line += f"  validation: {name.replace('_', ' ')} {row[f'validation_{name}']:.3f}, loss {loss:.4f}"
        self.log(f"{line}  ({row['images_per_second']:.0f} images/s)")
        selects = self.validate is not None and self.recipe.training.checkpoint != "last"
        best = selects and self._early_stopping().best_epoch == self.state.epoch - 1
        epochs = self.recipe.training.epochs
        measures = self.method.measures
        bar.say(epoch_line(row, epochs, metric=self.shown, measures=measures, best="best" if best else ""))

    def _early_stopping(self) -> EarlyStopping:
        """Return the best epoch of the last stage, the only one that weights are selected in, and whether to stop."""
        training, history, first = self.recipe.training, self.state.history, self.stages[-1].first
        if self.validate is None or len(history) <= first:
            return EarlyStopping(len(history) - 1, stop=False)
        monitored = [row[f"validation_{self.monitor}"] for row in history[first:]]
        better = larger_is_better(self.monitor)
        result = early_stopping(monitored, larger_is_better=better, patience=training.patience)
        return EarlyStopping(result.best_epoch + first, result.stop)

    def _save_weights(self, name: str, selected: str) -> None:
        with self.ema.applied():
            save_weights(self.folder / name, self.method.inference_state(), {"selected": selected})

    def _save_checkpoint(self) -> None:
        self._read_losses()
        now = time.monotonic()
        self.state.seconds += now - self._saved
        self._saved = now
        if self.fabric.is_global_zero:
            state = {
                "trainer": asdict(self.state),
                "method": self.method.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "average": self.ema.state,
            }
            save_state(self.folder / CHECKPOINT, state)

    def _load_checkpoint(self) -> None:
        if (path := self.folder / CHECKPOINT).is_file():
            state = load_state(path)
            self.state = TrainerState(**state["trainer"])
            self.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
            lay_out_like_parameters(self.optimizer)
            self.ema.state = state["average"]
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            self.log(f"resumed at epoch {self.state.epoch + 1}, step {self.state.step + 1}")
        self._saved = time.monotonic()

    def _interruptible(self) -> AbstractContextManager["Interrupt"]:
        """Defer Ctrl-C to the end of a step; several processes would stop at different ones, so they stop at once."""
        return deferred_interrupt() if self.fabric.world_size == 1 else nullcontext(Interrupt())


def stage_epochs(stages: Sequence[Stage], epochs: int) -> tuple[StageEpochs, ...]:
    """Divide epochs among stages by their shares, each at least one epoch.

    Examples
    --------
    >>> [(stage.first, stage.end) for stage in stage_epochs([Stage(0.9), Stage(0.1)], epochs=5)]
    [(0, 4), (4, 5)]
    """
    if epochs < len(stages):
        raise InputError(f"training.epochs is {epochs}, the method trains in {len(stages)} stages of whole epochs")
    divided, first, share = [], 0, 0.0
    for index, stage in enumerate(stages):
        share += stage.share
        after = len(stages) - 1 - index
        end = min(max(round(share * epochs), first + 1), epochs - after) if after else epochs
        divided.append(StageEpochs(index, first, end, stage.sampling))
        first = end
    return tuple(divided)


class Interrupt:
    """Whether Ctrl-C was pressed."""

    pressed = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Record the first Ctrl-C instead of raising, so that what is saved is whole; the second raises at once.

    Outside the main thread, where Python allows no signal handlers, Ctrl-C stays as it was.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def record(_number: int, _frame: FrameType | None) -> None:
        if interrupt.pressed:
            raise KeyboardInterrupt
        interrupt.pressed = True

    before = signal.signal(signal.SIGINT, record)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def keep_freed_memory() -> bool:
    """Make glibc keep freed blocks for the rest of this process; return whether it took the settings (Linux only).

    Networks free and allocate the same large blocks at every step. By default each is mapped again and every page of it
    faults, which costs a third of the training speed.
    """
    mmap_threshold, trim_threshold = -3, -1
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(mmap_threshold, 1 << 30)) and bool(mallopt(trim_threshold, (1 << 31) - 1))
