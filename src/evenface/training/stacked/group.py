"""Members stacked as one network, few enough to fit in the processor's cache, trained epoch by epoch."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import torch
from torch import Tensor

from evenface.training.stacked.losses import StackedLosses
from evenface.training.stacked.members import DRAWN_STEPS, MemberState
from evenface.training.stacked.network import Buffers, StackedArrays, StackedNetwork, predictions_of
from evenface.training.stacked.optimizers import StackedOptimizer
from evenface.utils.errors import InputError


class SequenceBank:
    """Sequences of all members, and their mirrors, on the device; ``rows`` are sorted."""

    def __init__(
        self, sequences: np.ndarray, mirrored: np.ndarray | None, rows: np.ndarray, device: torch.device
    ) -> None:
        self.rows = rows
        sides = [sequences] if mirrored is None else [sequences, mirrored]
        held = np.empty((len(sides) * len(rows), *sequences.shape[1:]), dtype=np.float32)
        for side, source in enumerate(sides):
            np.take(source, rows, axis=0, out=held[side * len(rows) : (side + 1) * len(rows)], mode="clip")
        self.sequences = torch.from_numpy(held.reshape(*held.shape[:2], -1)).to(device)

    def indices(self, rows: np.ndarray, mirrored: np.ndarray | bool) -> np.ndarray:
        """Return the indices into ``sequences`` of these rows, or of their mirrors."""
        return np.asarray(np.searchsorted(self.rows, rows) + mirrored * len(self.rows), dtype=np.int64)


class StackedGroup:
    """Stacked members at the same epoch, alike in all but widths, data, seed, rates and losses; most steps first."""

    def __init__(self, states: Sequence[MemberState], bank: SequenceBank) -> None:
        self.states, self.bank, self.device = list(states), bank, bank.sequences.device
        first = states[0].member
        shape = states[0].shape.around([state.shape for state in states[1:]])
        self.weights, self.gradients = (StackedArrays(shape, len(states), self.device) for _ in range(2))
        self.optimizer = StackedOptimizer(self.weights, self.gradients, first.optimizer)
        self.losses = StackedLosses(
            [state.member.loss for state in states], first.classes, one_output=first.one_output, device=self.device
        )
        self._written_back = True
        self.sums = torch.tensor([state.loss_sum for state in states], dtype=torch.float64, device=self.device)
        for place, state in enumerate(states):
            self.weights.put(place, state.shape, state.weights)
            for stack, moment in zip(self.optimizer.moments, state.moments, strict=False):
                stack.put(place, state.shape, moment)

    def write_back(self) -> None:
        """Write weights, moments and sums back to the states, where they have changed."""
        if self._written_back:
            return
        for place, (state, total) in enumerate(zip(self.states, self.sums.tolist(), strict=True)):
            state.weights = self.weights.take(place, state.shape)
            state.moments = [stack.take(place, state.shape) for stack in self.optimizer.moments]
            state.loss_sum = total
        self._written_back = True

    @torch.no_grad()
    def run(
        self, epoch: int, paused: Callable[[], bool], advance: Callable[[int], None], diverged: str = "raise"
    ) -> None:
        """Train and validate one epoch, or what is left of it; ``paused`` ends it after a step."""
        states = self.states
        if states[0].epoch > epoch:
            return
        self._written_back = False
        buffers = Buffers(self.weights.shape, len(states), states[0].member.batch, self.device)
        steps = [state.member.steps for state in states]
        batches = EpochBatches(states, self.bank, epoch, self.weights.shape.hidden, self.device)
        for step in range(max(state.step for state in states), steps[0]):
            count = sum(own > step for own in steps)
            self._step(batches, buffers, step, count)
            for state in states[:count]:
                state.step = step + 1
            advance(count)
            if paused():
                return
        self._end_epoch(buffers, diverged)

    def _step(self, batches: "EpochBatches", buffers: Buffers, step: int, count: int) -> None:
        network = batches.network(self.weights, self.gradients, buffers, count)
        network.gather(self.bank.sequences, batches.rows[:count, step])
        logits = network.forward(batches.dropout_mask(step)[:count])
        means, gradient = self.losses(logits, batches.targets[:count, step])
        network.backward(gradient)
        self.sums[:count] += means
        some = self.states[:count]
        counts = [state.epoch * state.member.steps + step + 1 for state in some]
        self.optimizer.step([batches.rate(state, step) for state in some], counts)

    def _end_epoch(self, buffers: Buffers, diverged: str) -> None:
        """Validate, keep the weights of the best epoch so far, and advance to the next epoch."""
        validated = self._validate(buffers)
        for place, (state, total) in enumerate(zip(self.states, self.sums.tolist(), strict=True)):
            member = state.member
            if not np.isfinite(total) and diverged == "raise":
                raise InputError(
                    f"{member.label}: the loss became {total / member.steps} in epoch {state.epoch + 1}",
                    "Try a lower optimizer.lr, or optimizer.clip_norm=5.",
                )
            row = {"epoch": state.epoch + 1, "lr": state.rate(member.steps - 1), "train_loss": total / member.steps}
            if state.validated:
                metrics = member.measured(validated[place, : len(member.validation)])
                row |= {f"validation_{name}": value for name, value in metrics.items()}
            if not np.isfinite(total):
                row |= dict.fromkeys((name for name in row if name.startswith("validation")), np.nan)
                state.ended = state.epoch + 1
            state.history.append(row)
            if state.selects and state.early_stopping().best_epoch == state.epoch:
                state.best = self.weights.take(place, state.shape)
            state.epoch, state.step = state.epoch + 1, 0
        self.sums.zero_()

    def _validate(self, buffers: Buffers) -> np.ndarray:
        """Return predictions (M, V, K) of each member's validation samples, padded to those of who has most."""
        members = [state.member for state in self.states]
        longest = max(len(member.validation) for member in members)
        batch = buffers.sequences.shape[1]
        rows = np.zeros((len(members), -(-longest // batch) * batch), dtype=np.int64)
        mirrored = np.zeros_like(rows)
        for place, member in enumerate(members):
            rows[place, : len(member.validation)] = self.bank.indices(member.validation, False)
            if member.training.tta_flip:
                mirrored[place, : len(member.validation)] = self.bank.indices(member.validation, True)
        predicted = self._predict(buffers, rows)
        mirroring = [place for place, member in enumerate(members) if member.training.tta_flip]
        if mirroring:
            predicted[mirroring] = (predicted[mirroring] + self._predict(buffers, mirrored)[mirroring]) / 2
        return predicted

    def _predict(self, buffers: Buffers, rows: np.ndarray) -> np.ndarray:
        network = StackedNetwork(self.weights, self.gradients, buffers, len(self.states))
        batch, parts = buffers.sequences.shape[1], []
        links = [state.member.predicts.link for state in self.states if state.member.predicts is not None]
        for start in range(0, rows.shape[1], batch):
            index = torch.from_numpy(rows[:, start : start + batch]).to(self.device)
            network.gather(self.bank.sequences, index)
            parts.append(predictions_of(network.forward(None), links).cpu().numpy())
        predicted = np.concatenate(parts, axis=1) if parts else np.empty((len(self.states), 0, 1))
        return np.concatenate([1 - predicted, predicted], axis=-1) if self.losses.one_output else predicted


class EpochBatches:
    """Rows, targets, dropout masks and learning rates of all steps of one epoch, for members of most steps first."""

    def __init__(
        self, states: Sequence[MemberState], bank: SequenceBank, epoch: int, width: int, device: torch.device
    ) -> None:
        self.states, self.epoch, self.device = states, epoch, device
        longest, self.batch = states[0].member.steps, states[0].member.batch
        rows = np.zeros((len(states), longest * self.batch), dtype=np.int64)
        first = states[0].member.targets
        targets = np.zeros((*rows.shape, *first.shape[1:]), dtype=first.dtype)
        for place, state in enumerate(states):
            member = state.member
            places, mirrored = member.order(epoch)
            rows[place, : len(places)] = bank.indices(member.train[places], mirrored)
            targets[place, : len(places)] = member.targets[places]
        shape = (len(states), longest, self.batch)
        self.rows = torch.from_numpy(rows.reshape(shape)).to(device)
        self.targets = torch.from_numpy(targets.reshape(*shape, *first.shape[1:])).to(device)
        self._masks = torch.zeros(len(states), min(longest, DRAWN_STEPS), self.batch, width)
        self._on_device, self._part = self._masks, -1
        self._network: StackedNetwork | None = None
        self._rates = [state.rate(0) if state.member.schedule.name != "cosine" else None for state in states]

    def rate(self, state: MemberState, step: int) -> float:
        """Return a learning rate; only the cosine's changes within an epoch."""
        known = self._rates[self.states.index(state)]
        return state.rate(step) if known is None else known

    def dropout_mask(self, step: int) -> Tensor:
        """Return the dropout masks of a step, scaled, (M, B, Q)."""
        part, place = divmod(step, DRAWN_STEPS)
        if part != self._part:
            self._part = part
            for member, mask in zip([state.member for state in self.states], self._masks, strict=True):
                if member.steps > part * DRAWN_STEPS:
                    drawn = torch.from_numpy(member.dropout_mask(self.epoch, part))
                    mask[: len(drawn), :, : drawn.shape[2]] = drawn
            self._on_device = self._masks.to(self.device)
        return self._on_device[:, place]

    def network(self, weights: StackedArrays, gradients: StackedArrays, buffers: Buffers, count: int) -> StackedNetwork:
        """Return the pass of the first members, the last one's as long as they are as many."""
        if self._network is None or self._network.members != count:
            self._network = StackedNetwork(weights, gradients, buffers, count)
        return self._network


class TrainingThreads:
    """Context with threads that train groups, each on one core."""

    def __init__(self, threads: int) -> None:
        self.before = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))

    def __enter__(self) -> "TrainingThreads":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown()
        # torch applies the last setting to all threads that it has not seen yet.
        torch.set_num_threads(self.before)

    def run(self, work: Callable[[StackedGroup], None], groups: Sequence[StackedGroup]) -> None:
        """Train all groups, and raise the exception of the first that failed."""
        futures = [self.pool.submit(work, group) for group in groups]
        wait(futures)
        for future in futures:
            future.result()
