"""One of many networks trained as a stack: its specification and its training state."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from evenface.config.recipe import Optimizer, Recurrent, Schedule, Training
from evenface.data.imbalance import draw_samples, sampling_probabilities
from evenface.methods.base import TargetLink
from evenface.training.batches import key, permutation, uniforms
from evenface.training.optimizers import EarlyStopping, early_stopping, rate_factor
from evenface.training.prediction import larger_is_better, validation_metrics
from evenface.training.stacked.network import NetworkShape
from evenface.training.stacked.optimizers import check_optimizer
from evenface.utils.errors import InputError

DRAWN_STEPS = 32
"""Steps whose dropout is drawn at a time."""


@dataclass(frozen=True, eq=False)
class MemberTargets:
    """What a network predicts in place of a class.

    ``strata`` (n,) are the bins by which training samples are drawn; ``measure`` computes validation metrics of values.
    """

    link: TargetLink
    strata: np.ndarray
    measure: Callable[[np.ndarray], dict[str, float]]


@dataclass(frozen=True, eq=False)
class MemberSpec:
    """A network of sequences, its data and its settings; all that is random is a pure function of its own seed.

    Notes
    -----
    As with images, the last, smaller batch of an epoch is dropped, unless it is the only one.
    """

    seed: int
    train: np.ndarray
    targets: np.ndarray
    validation: np.ndarray
    validation_targets: np.ndarray
    loss: nn.Module
    classes: int = 2
    one_output: bool = True
    network: Recurrent = field(default_factory=Recurrent)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    flip: float = 0.0
    added: bool = False
    name: str = ""
    predicts: MemberTargets | None = None

    def check(self) -> None:
        """Refuse settings and data that cannot be trained on."""
        if self.samples < 2:
            raise InputError(f"{self.label} has {self.samples} training samples, at least 2 are needed")
        if self.one_output and self.classes != 2:
            raise InputError(f"{self.label}: one logit is for two classes, not {self.classes}")
        check_optimizer(self.optimizer)
        for unused, setting in (
            (self.training.ema_decay > 0, "training.ema_decay"),
            (self.training.precision not in ("auto", "32-true"), "training.precision"),
            (self.training.devices * self.training.nodes > 1, "training.devices"),
        ):
            if unused:
                raise InputError(f"networks of sequences train without {setting}", f"Leave {setting} out.")

    @property
    def label(self) -> str:
        """Name in messages."""
        return self.name or f"the network of seed {self.seed}"

    @property
    def outputs(self) -> int:
        """Logits of the network."""
        return 1 if self.one_output else self.classes

    @property
    def samples(self) -> int:
        """Training samples of an epoch, including added mirrors."""
        return len(self.train) * (2 if self.added else 1)

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return min(self.training.batch_size, self.samples)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.samples // self.batch

    @property
    def needs_mirror(self) -> bool:
        """Whether mirrored sequences are needed."""
        return self.added or self.flip > 0 or self.training.tta_flip

    def order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the order of an epoch as indices into ``train``, and which are mirrored, both (steps * batch,)."""
        rule = self.training.sampling
        if rule == "none":
            drawn = permutation(self.seed, epoch, self.samples)
        else:
            drawn_by = self.targets if self.predicts is None else self.predicts.strata
            labels = np.tile(drawn_by, 2 if self.added else 1)
            numbers = uniforms(self.seed, "sampling", epoch, self.samples)[:, 0].astype(np.float64)
            drawn = draw_samples(sampling_probabilities(labels, rule, beta=self.training.sampling_beta), numbers)
        drawn = drawn[: self.steps * self.batch]
        if self.added:
            return drawn % len(self.train), drawn >= len(self.train)
        if not self.flip:
            return drawn, np.zeros(len(drawn), dtype=bool)
        return drawn, uniforms(self.seed, "flip", epoch, self.samples)[: len(drawn), 0] < self.flip

    def dropout_mask(self, epoch: int, part: int) -> np.ndarray:
        """Return the dropout mask of the last state: 0, or 1 / (1 - dropout)."""
        share, width = self.network.dropout, self.network.hidden
        steps = min(DRAWN_STEPS, self.steps - part * DRAWN_STEPS)
        if not share:
            return np.ones((steps, self.batch, width), dtype=np.float32)
        numbers = uniforms(self.seed, f"dropout {part}", epoch, steps * self.batch, width)
        scaled: np.ndarray = (numbers >= share).astype(np.float32) / np.float32(1 - share)
        return scaled.reshape(steps, self.batch, width)

    def measured(self, predicted: np.ndarray) -> dict[str, float]:
        """Compute the metrics of predictions (V, K) of the validation samples."""
        if self.predicts is not None:
            return self.predicts.measure(predicted)
        return validation_metrics(self.validation_targets, predicted)

    def weights_seed(self) -> int:
        """Return the seed of the initial weights."""
        return key(self.seed, "weights")


@dataclass
class MemberState:
    """Training state of a member, saved in checkpoints.

    ``best`` are the weights of the best epoch, empty where the last ones are used; ``ended`` is the epoch where
    training was stopped early.
    """

    member: MemberSpec
    shape: NetworkShape
    weights: dict[str, Tensor]
    moments: list[dict[str, Tensor]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    ended: int | None = None

    @property
    def validated(self) -> bool:
        """Whether there are validation samples."""
        return len(self.member.validation) > 0

    @property
    def selects(self) -> bool:
        """Whether the weights of the best epoch are used, not the last ones."""
        return self.validated and self.member.training.checkpoint != "last"

    def early_stopping(self, epoch: int | None = None) -> EarlyStopping:
        """Apply early stopping to the epochs so far, or to those before ``epoch``."""
        history, training = self.history[:epoch], self.member.training
        if not self.validated or not history:
            return EarlyStopping(len(history) - 1, stop=False)
        monitored, better = (
            [row[f"validation_{training.monitor}"] for row in history],
            larger_is_better(training.monitor),
        )
        return early_stopping(monitored, larger_is_better=better, patience=training.patience)

    def trains(self, epoch: int) -> bool:
        """Return whether it trains in an epoch, once the epochs before have ended."""
        if epoch >= self.member.training.epochs or (self.ended is not None and epoch >= self.ended):
            return False
        return not self.early_stopping(epoch).stop

    def rate(self, step: int) -> float:
        """Return the learning rate of a step of the current epoch."""
        member = self.member
        losses = [row["validation_loss" if self.validated else "train_loss"] for row in self.history]
        done = self.epoch * member.steps + step
        factor = rate_factor(member.schedule, done, member.steps, member.training.epochs, losses)
        return member.optimizer.lr * factor


def stackable_groups(members: Sequence[MemberSpec], indices: Iterable[int]) -> list[list[int]]:
    """Group the members at some indices by what must be equal to be stacked."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index in indices:
        member = members[index]
        network, optimizer = member.network, member.optimizer.model_copy(update={"lr": 1.0})
        outputs = (member.classes, member.one_output, member.predicts is None)
        kind = (network.kind, network.norm, *outputs, member.batch, str(optimizer))
        groups.setdefault(kind, []).append(index)
    return list(groups.values())
