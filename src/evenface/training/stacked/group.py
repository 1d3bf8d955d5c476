"""Some members as one network, epoch by epoch: few enough that what they work on stays near the processor."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import torch
from torch import Tensor

from evenface.errors import InputError
from evenface.training.inference import validation_metrics
from evenface.training.stacked.losses import StackedLosses
from evenface.training.stacked.members import DRAWN_STEPS, MemberState
from evenface.training.stacked.network import Buffers, StackedArrays, StackedNetwork, probabilities
from evenface.training.stacked.optimizers import StackedOptimizer


class SequenceBank:
    """All sequences that members ask for, and their mirrors, where the networks run.

    Parameters
    ----------
    sequences : ndarray of shape (N, T, ...)
        All there are.
    mirrored : ndarray of the same shape, or None
        Their mirrors, where they are needed.
    rows : ndarray
        Rows that are needed, sorted.
    device : torch.device
        Where they shall be.
    """

    def __init__(
        self, sequences: np.ndarray, mirrored: np.ndarray | None, rows: np.ndarray, device: torch.device
    ) -> None:
        self.rows = rows
        sides = [sequences] if mirrored is None else [sequences, mirrored]
        held = np.empty((len(sides) * len(rows), *sequences.shape[1:]), dtype=np.float32)
        for side, source in enumerate(sides):
            np.take(source, rows, axis=0, out=held[side * len(rows) : (side + 1) * len(rows)], mode="clip")
        self.sequences = torch.from_numpy(held.reshape(*held.shape[:2], -1)).to(device)

    def places(self, rows: np.ndarray, mirrored: np.ndarray | bool) -> np.ndarray:
        """Give where in ``sequences`` these rows, or their mirrors, stand."""
        return np.asarray(np.searchsorted(self.rows, rows) + mirrored * len(self.rows), dtype=np.int64)


class StackedGroup:
    """Members that are stacked.

    Parameters
    ----------
    tracks : sequence of MemberState
        All at the same epoch; alike in all but widths, data, seed, rates and losses; those of most steps first.
    pool : SequenceBank
        Their sequences.
    """

    def __init__(self, tracks: Sequence[MemberState], pool: SequenceBank) -> None:
        self.tracks, self.pool, self.device = list(tracks), pool, pool.sequences.device
        first = tracks[0].member
        shape = tracks[0].shape.around([track.shape for track in tracks[1:]])
        self.weights, self.gradients = (StackedArrays(shape, len(tracks), self.device) for _ in range(2))
        self.optimizer = StackedOptimizer(self.weights, self.gradients, first.optimizer)
        self.losses = StackedLosses(
            [track.member.loss for track in tracks], first.classes, one_output=first.one_output, device=self.device
        )
        self._settled = True
        self.sums = torch.tensor([track.loss_sum for track in tracks], dtype=torch.float64, device=self.device)
        for place, track in enumerate(tracks):
            self.weights.put(place, track.shape, track.weights)
            for stack, moment in zip(self.optimizer.moments, track.moments, strict=False):
                stack.put(place, track.shape, moment)

    def settle(self) -> None:
        """Write weights, moments and sums back to the tracks, where they have changed."""
        if self._settled:
            return
        for place, (track, total) in enumerate(zip(self.tracks, self.sums.tolist(), strict=True)):
            track.weights = self.weights.take(place, track.shape)
            track.moments = [stack.take(place, track.shape) for stack in self.optimizer.moments]
            track.loss_sum = total
        self._settled = True

    @torch.no_grad()
    def run(
        self, epoch: int, paused: Callable[[], bool], advance: Callable[[int], None], diverged: str = "raise"
    ) -> None:
        """Train and judge one epoch, or what is left of it; ``paused`` ends it after a step.

        Raises
        ------
        InputError
            If a loss is not finite, unless ``diverged`` is ``end``.
        """
        tracks = self.tracks
        if tracks[0].epoch > epoch:
            return
        self._settled = False
        buffers = Buffers(self.weights.shape, len(tracks), tracks[0].member.batch, self.device)
        steps = [track.member.steps for track in tracks]
        walk = EpochBatches(tracks, self.pool, epoch, self.weights.shape.hidden, self.device)
        for step in range(max(track.step for track in tracks), steps[0]):
            count = sum(own > step for own in steps)
            self._step(walk, buffers, step, count)
            for track in tracks[:count]:
                track.step = step + 1
            advance(count)
            if paused():
                return
        self._close(buffers, diverged)

    def _step(self, walk: "EpochBatches", buffers: Buffers, step: int, count: int) -> None:
        network = walk.network(self.weights, self.gradients, buffers, count)
        network.gather(self.pool.sequences, walk.rows[:count, step])
        logits = network.forward(walk.kept(step)[:count])
        means, gradient = self.losses(logits, walk.targets[:count, step])
        network.backward(gradient)
        self.sums[:count] += means
        some = self.tracks[:count]
        counts = [track.epoch * track.member.steps + step + 1 for track in some]
        self.optimizer.step([walk.rate(track, step) for track in some], counts)

    def _close(self, buffers: Buffers, diverged: str) -> None:
        """Judge the epoch, keep the weights that are the best so far, and go to the next epoch."""
        judged = self._judge(buffers)
        for place, (track, total) in enumerate(zip(self.tracks, self.sums.tolist(), strict=True)):
            member = track.member
            if not np.isfinite(total) and diverged == "raise":
                raise InputError(
                    f"{member.label}: the loss became {total / member.steps} in epoch {track.epoch + 1}",
                    "Try a lower optimizer.lr, or optimizer.clip_norm=5.",
                )
            row = {"epoch": track.epoch + 1, "lr": track.rate(member.steps - 1), "train_loss": total / member.steps}
            if track.judged:
                found = validation_metrics(member.validation_targets, judged[place, : len(member.validation)])
                row |= {f"validation_{name}": value for name, value in found.items()}
            if not np.isfinite(total):
                row |= dict.fromkeys((name for name in row if name.startswith("validation")), np.nan)
                track.ended = track.epoch + 1
            track.history.append(row)
            if track.judged and member.training.checkpoint != "last" and track.standing().best == track.epoch:
                track.best = self.weights.take(place, track.shape)
            track.epoch, track.step = track.epoch + 1, 0
        self.sums.zero_()

    def _judge(self, buffers: Buffers) -> np.ndarray:
        """Give probabilities (M, V, K) of each member's validation samples, padded to those of who has most."""
        members = [track.member for track in self.tracks]
        longest = max(len(member.validation) for member in members)
        batch = buffers.sequences.shape[1]
        rows = np.zeros((len(members), -(-longest // batch) * batch), dtype=np.int64)
        mirrored = np.zeros_like(rows)
        for place, member in enumerate(members):
            rows[place, : len(member.validation)] = self.pool.places(member.validation, False)
            if member.training.tta_flip:
                mirrored[place, : len(member.validation)] = self.pool.places(member.validation, True)
        found = self._predict(buffers, rows)
        mirroring = [place for place, member in enumerate(members) if member.training.tta_flip]
        if mirroring:
            found[mirroring] = (found[mirroring] + self._predict(buffers, mirrored)[mirroring]) / 2
        return found

    def _predict(self, buffers: Buffers, rows: np.ndarray) -> np.ndarray:
        network = StackedNetwork(self.weights, self.gradients, buffers, len(self.tracks))
        batch, parts = buffers.sequences.shape[1], []
        for start in range(0, rows.shape[1], batch):
            index = torch.from_numpy(rows[:, start : start + batch]).to(self.device)
            network.gather(self.pool.sequences, index)
            parts.append(probabilities(network.forward(None)).cpu().numpy())
        found = np.concatenate(parts, axis=1) if parts else np.empty((len(self.tracks), 0, 1))
        return np.concatenate([1 - found, found], axis=-1) if self.losses.one_output else found


class EpochBatches:
    """What members meet in the steps of one epoch.

    Parameters
    ----------
    tracks : sequence of MemberState
        Those of most steps first.
    pool : SequenceBank
        Where sequences are.
    epoch : int
        Which.
    width : int
        Q of the widest member.
    device : torch.device
        Where it shall be.
    """

    def __init__(
        self, tracks: Sequence[MemberState], pool: SequenceBank, epoch: int, width: int, device: torch.device
    ) -> None:
        self.tracks, self.epoch, self.device = tracks, epoch, device
        longest, self.batch = tracks[0].member.steps, tracks[0].member.batch
        rows = np.zeros((len(tracks), longest * self.batch), dtype=np.int64)
        targets = np.zeros_like(rows)
        for place, track in enumerate(tracks):
            member = track.member
            places, mirrored = member.order(epoch)
            rows[place, : len(places)] = pool.places(member.train[places], mirrored)
            targets[place, : len(places)] = member.targets[places]
        shape = (len(tracks), longest, self.batch)
        self.rows = torch.from_numpy(rows.reshape(shape)).to(device)
        self.targets = torch.from_numpy(targets.reshape(shape)).to(device)
        self._kept = torch.zeros(len(tracks), min(longest, DRAWN_STEPS), self.batch, width)
        self._part = -1
        self._network: StackedNetwork | None = None
        self._rates = [track.rate(0) if track.member.schedule.name != "cosine" else None for track in tracks]

    def rate(self, track: MemberState, step: int) -> float:
        """Give a learning rate; only the cosine's changes within an epoch."""
        known = self._rates[self.tracks.index(track)]
        return track.rate(step) if known is None else known

    def kept(self, step: int) -> Tensor:
        """Give what the last states are multiplied by, (M, B, Q)."""
        part, place = divmod(step, DRAWN_STEPS)
        if part != self._part:
            self._part = part
            for member, kept in zip([track.member for track in self.tracks], self._kept, strict=True):
                if member.steps > part * DRAWN_STEPS:
                    drawn = torch.from_numpy(member.kept(self.epoch, part))
                    kept[: len(drawn), :, : drawn.shape[2]] = drawn
        return self._kept[:, place].to(self.device)

    def network(self, weights: StackedArrays, gradients: StackedArrays, buffers: Buffers, count: int) -> StackedNetwork:
        """Give the pass of the first members, the last one's as long as they are as many."""
        if self._network is None or self._network.members != count:
            self._network = StackedNetwork(weights, gradients, buffers, count)
        return self._network


class TrainingThreads:
    """Threads that train one chunk after the other, each on one core; a context.

    Parameters
    ----------
    threads : int
        How many.
    """

    def __init__(self, threads: int) -> None:
        self.before = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))

    def __enter__(self) -> "TrainingThreads":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown()
        # The last thread that says so decides for all threads that torch has yet to see.
        torch.set_num_threads(self.before)

    def run(self, work: Callable[[StackedGroup], None], chunks: Sequence[StackedGroup]) -> None:
        """Work through all chunks, and raise what the first that failed raised."""
        futures = [self.pool.submit(work, chunk) for chunk in chunks]
        wait(futures)
        for future in futures:
            future.result()
