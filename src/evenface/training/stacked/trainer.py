"""Train many sequence networks as one stack, each as if it were alone, in a fraction of the time."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from evenface.models.sequence import SequenceNetwork, initialised
from evenface.training.checkpoint import load_state, save_state
from evenface.training.optimizers import EarlyStopping
from evenface.training.run_records import epoch_heading, epoch_line
from evenface.training.stacked.group import SequenceBank, StackedGroup, TrainingThreads
from evenface.training.stacked.members import MemberSpec, MemberState, stackable_groups
from evenface.training.stacked.network import NetworkShape, network_of, predict_networks
from evenface.training.trainer import Interrupt, deferred_interrupt
from evenface.utils.errors import InputError
from evenface.utils.progress import ProgressBar, progress

CHECKPOINT = "together.safetensors"
LARGEST_GROUP = 12
_NO_BAR = ProgressBar(lambda _done: None, lambda _text: None)
_SAVED = ("weights", "moments", "best", "epoch", "step", "loss_sum", "history", "ended")

Which = Literal["selected", "last"]


class StackedTrainer:
    """Train many sequence networks, of any settings, on the same sequences.

    Notes
    -----
    A member's result is a pure function of its settings, seed and data: to the precision of float32 it does not depend
    on the others. Members of equal kind, norm, outputs, batch and optimiser are stacked, few enough at a time that
    what they work on stays near the processor; narrower ones are padded with zeros. Finished ones leave, and the
    rest are stacked again.
    """

    def __init__(
        self,
        members: Sequence[MemberSpec],
        sequences: np.ndarray,
        *,
        mirrored: np.ndarray | None = None,
        folder: Path | None = None,
        minutes: float = 5.0,
        device: torch.device | str = "cpu",
        threads: int | None = None,
        log: Callable[[str], None] | None = None,
        keep: Callable[[], None] | None = None,
        quiet: bool = False,
        diverged: Literal["raise", "end"] = "raise",
        shown: str = "balanced_accuracy",
    ) -> None:
        self.shown = shown
        self.members, self.sequences, self.mirrored = list(members), sequences, mirrored
        self.folder, self.seconds, self.device = folder, 60 * minutes, torch.device(device)
        self.threads = (threads or torch.get_num_threads()) if self.device.type == "cpu" else 1
        self.log = log or (lambda _line: None)
        self.keep = keep or (lambda: None)
        self.quiet, self.diverged = quiet, diverged
        for member in members:
            member.check()
        if mirrored is None and any(member.needs_mirror for member in members):
            raise InputError("members need mirrored sequences, and none were given")
        self.states = [self._start(member) for member in members]
        self._groups: dict[tuple[int, ...], StackedGroup] = {}
        self._bank: SequenceBank | None = None
        self._restored = folder is None

    def fit(self) -> None:
        """Train all members to the end, from the checkpoint if there is one."""
        self.run(max((member.training.epochs for member in self.members), default=0))

    def run(self, until: int) -> None:
        """Train all unfinished members up to an epoch, as :meth:`fit` does to the end."""
        self._restore()
        steps = [(state.member.steps, state.epoch, state.step) for state in self.states]
        limits = [min(until, member.training.epochs) for member in self.members]
        total = sum(own * limit for (own, _, _), limit in zip(steps, limits, strict=True))
        done = sum(own * epoch + step for own, epoch, step in steps)
        self._due = time.monotonic() + self.seconds
        with ExitStack() as stack:
            interrupt = stack.enter_context(deferred_interrupt())
            title = f"training {len(self.members)} networks"
            shown = nullcontext(_NO_BAR) if self.quiet else progress(title, total, done)
            bar = stack.enter_context(shown)
            workers = stack.enter_context(TrainingThreads(self.threads))
            if self._epoch() is not None:
                validated = any(state.validated for state in self.states)
                bar.say(epoch_heading(validated=validated, unit="sequences", metric=self.shown))
            while (epoch := self._epoch()) is not None and epoch < until:
                self._run_epoch(epoch, workers, interrupt, bar)
        self._save()

    def end(self, member: int) -> None:
        """Stop training a member after its current epochs."""
        self.states[member].ended = self.states[member].epoch

    @property
    def share(self) -> float:
        """Share of the training that is done, 0 to 1; a member that has finished early is done."""
        ended = [not state.trains(state.epoch) for state in self.states]
        shares = [state.epoch / state.member.training.epochs for state in self.states]
        return float(np.mean(np.where(ended, 1.0, shares))) if shares else 1.0

    @property
    def histories(self) -> list[list[dict[str, float]]]:
        """Metrics of each member and epoch.

        A row holds ``epoch``, ``lr`` and ``train_loss`` and, where there are validation samples, ``validation_`` and
        each of ``loss``, ``accuracy``, ``balanced_accuracy`` and ``macro_f1``, or what is measured of targets.
        """
        return [state.history for state in self.states]

    def early_stopping(self, member: int) -> EarlyStopping:
        """Return a member's best epoch, and whether its patience has run out."""
        return self.states[member].early_stopping()

    def network(self, member: int, which: Which = "selected") -> SequenceNetwork:
        """Return a member's network: of the epoch that ``training.checkpoint`` selects, or of the last."""
        self._write_back()
        own = self.states[member]
        weights = own.best if which == "selected" and own.best else own.weights
        shape = own.shape
        return network_of(own.member.network, shape.inputs, shape.steps, shape.outputs, weights)

    def predict(self, rows: np.ndarray, which: Which = "selected") -> list[np.ndarray] | np.ndarray:
        """Predict sequences with every member.

        Parameters
        ----------
        rows : ndarray of shape (n,)
            Rows of ``sequences``.
        which : {"selected", "last"}
            As of :meth:`network`.

        Returns
        -------
        ndarray of shape (M, n, C), or list of ndarray of shape (n, C)
            float64; a list where members differ in C. Of classes sigmoids where there is one logit (C = 1), else
            probabilities. Averaged with those of the mirror if the member's ``training.tta_flip`` is set.
        """
        predictions: dict[int, np.ndarray] = {}
        alike = stackable_groups(self.members, range(len(self.members)))
        for some in (
            places[first : first + LARGEST_GROUP] for places in alike for first in range(0, len(places), LARGEST_GROUP)
        ):
            networks = [self.network(place, which) for place in some]
            links = [spec.link for place in some if (spec := self.members[place].predicts) is not None]
            predicted = predict_networks(networks, self.sequences, rows, links=links)
            if self.mirrored is not None and any(self.members[place].training.tta_flip for place in some):
                other = predict_networks(networks, self.mirrored, rows, links=links)
                mirror = np.array([self.members[place].training.tta_flip for place in some])[:, None, None]
                predicted = np.where(mirror, (predicted + other) / 2, predicted)
            predictions |= dict(zip(some, predicted, strict=True))
        values = [predictions[place] for place in range(len(self.states))]
        return np.stack(values) if len({value.shape for value in values}) == 1 else values

    def state(self, indices: Iterable[int] | None = None) -> list[dict[str, Any]]:
        """Return the state of some or all members for exact resuming; see :func:`save_state`."""
        self._write_back()
        chosen = range(len(self.states)) if indices is None else indices
        return [{name: getattr(self.states[place], name) for name in _SAVED} for place in chosen]

    def restore(self, state: Sequence[Mapping[str, Any]], indices: Iterable[int] | None = None) -> None:
        """Restore the :meth:`state` of the same members."""
        places = list(range(len(self.states)) if indices is None else indices)
        if len(places) != len(state) or any(
            {name: value.shape for name, value in self.states[place].weights.items()}
            != {name: value.shape for name, value in saved["weights"].items()}
            for place, saved in zip(places, state, strict=False)
        ):
            raise InputError("the checkpoint is of other networks", "Train in another folder.")
        self._write_back()
        self._groups = {}
        for place, saved in zip(places, state, strict=True):
            for name in _SAVED:
                setattr(self.states[place], name, saved[name])

    def _start(self, member: MemberSpec) -> MemberState:
        _, steps, *rest = self.sequences.shape
        inputs = int(np.prod(rest))
        network = initialised(member.network, inputs, steps, member.outputs, member.weights_seed())
        weights = {name: value.detach().clone() for name, value in network.state_dict().items() if value.ndim}
        return MemberState(member, NetworkShape.of(member.network, inputs, steps, member.outputs), weights)

    def _epoch(self) -> int | None:
        """Return the earliest epoch that some member has not trained."""
        return min((state.epoch for state in self.states if state.trains(state.epoch)), default=None)

    def _run_epoch(self, epoch: int, workers: TrainingThreads, interrupt: Interrupt, bar: ProgressBar) -> None:
        groups, began, failed = self._stacked(epoch), time.monotonic(), False
        states = [state for group in groups for state in group.states]
        count = sum((state.member.steps - state.step) * state.member.batch for state in states)

        def paused() -> bool:
            return failed or interrupt.pressed or time.monotonic() > self._due

        def run(group: StackedGroup) -> None:
            nonlocal failed
            try:
                group.run(epoch, paused, bar, self.diverged)
            except BaseException:
                failed = True
                raise

        workers.run(run, groups)
        if interrupt.pressed or time.monotonic() > self._due:
            self._save()
        if interrupt.pressed:
            raise KeyboardInterrupt
        if all(state.epoch > epoch for state in states):
            self._report_epoch(states, count / (time.monotonic() - began), bar)

    def _report_epoch(self, states: Sequence[MemberState], speed: float, bar: ProgressBar) -> None:
        """Show the mean of the networks that trained in an epoch, and log it."""
        rows = [state.history[-1] for state in states]
        row: dict[str, float] = {"epoch": rows[0]["epoch"], "sequences_per_second": speed}
        for name in ("train_loss", "validation_loss", f"validation_{self.shown}"):
            if values := [each[name] for each in rows if name in each]:
                row[name] = float(np.mean(values))
        best = sum(state.selects and state.early_stopping().best_epoch + 1 == row["epoch"] for state in states)
        mark = "" if not best else "best" if len(self.members) == 1 else f"best for {best} of {len(states)} networks"
        for state in states:
            if not state.trains(state.epoch):
                bar((state.member.training.epochs - state.epoch) * state.member.steps)
        most = max(state.member.training.epochs for state in states)
        text = epoch_line(row, most, unit="sequences", metric=self.shown, best=mark)
        bar.say(text)
        self.log(text)

    def _stacked(self, epoch: int) -> list[StackedGroup]:
        """Return the stacks of members that train in an epoch; unchanged stacks are kept."""
        training = [place for place, state in enumerate(self.states) if state.trains(epoch)]
        wanted = [places for alike in stackable_groups(self.members, training) for places in self._cut(alike)]
        old, self._groups = self._groups, {}
        for places, group in old.items():
            if places not in wanted:
                group.write_back()
        for places in wanted:
            self._groups[places] = old.get(places) or StackedGroup([self.states[i] for i in places], self._sequences())
        return list(self._groups.values())

    def _cut(self, places: list[int]) -> list[tuple[int, ...]]:
        """Split members evenly over threads into groups of similar widths, those with most steps first."""

        def widths(place: int) -> tuple[int, int, int]:
            shape = self.states[place].shape
            return (shape.dense, shape.hidden, shape.top)

        count = -(-len(places) // LARGEST_GROUP) if self.device.type == "cpu" else 1
        count = min(len(places), -(-count // self.threads) * self.threads)
        parts = np.array_split(sorted(places, key=lambda place: (widths(place), place)), count)
        return [tuple(sorted(part.tolist(), key=lambda place: (-self.members[place].steps, place))) for part in parts]

    def _sequences(self) -> SequenceBank:
        if self._bank is None:
            rows = [rows for member in self.members for rows in (member.train, member.validation)]
            mirrored = self.mirrored if any(member.needs_mirror for member in self.members) else None
            self._bank = SequenceBank(self.sequences, mirrored, np.unique(np.concatenate(rows)), self.device)
        return self._bank

    def _write_back(self) -> None:
        for group in self._groups.values():
            group.write_back()

    def _save(self) -> None:
        self._due = time.monotonic() + self.seconds
        if self.folder is not None:
            save_state(self.folder / CHECKPOINT, {"members": self.state()})
        self.keep()

    def _restore(self) -> None:
        if not self._restored and self.folder is not None and (self.folder / CHECKPOINT).is_file():
            self.restore(load_state(self.folder / CHECKPOINT)["members"])
        self._restored = True
