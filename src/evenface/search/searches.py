"""A search for the settings of one network: what names it, what it tries next, and when a trial is ended."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenface.errors import InputError
from evenface.files import digest
from evenface.recipes import Recipe
from evenface.recipes.space import Range, ranges, with_settings
from evenface.search.proposals import propose, round_of
from evenface.search.trials import State, Trial, figure_of, hopeless
from evenface.training.schedules import standing
from evenface.training.stacked import MemberSpec

LOOKS = 20
"""How often in a training it is asked whether a trial is hopeless, about."""
FORM = "1"
"""Of what searches are named by; another where the same name would mean another result."""
NO_MATTER: dict[str, Any] = {
    "name": True,
    "about": True,
    "paper": True,
    "deviations": True,
    "seed": True,
    "data": {"root"},
    "protocol": True,
    "search": True,
    "training": {"accelerator", "devices", "nodes", "loggers", "checkpoint_minutes"},
}
"""Of a recipe, what a search does not depend on. Of the protocol matters which rows it gives."""


@dataclass(frozen=True)
class Wanted:
    """What settings are searched for: the networks of a run.

    Parameters
    ----------
    recipe : Recipe
        Of the run; its seed does not count.
    names : tuple of str
        Its networks; each is searched for on its own.
    basis : callable
        Takes a network's name and a recipe; names the prepared data and the loss, as far as it follows from the recipe.
    member : callable
        Takes a network's name and a recipe; gives what is trained.
    file : Path
        SQLite file of the trials.
    """

    recipe: Recipe
    names: tuple[str, ...]
    basis: Callable[[str, Recipe], str]
    member: Callable[[str, Recipe], MemberSpec]
    file: Path


@dataclass
class Search:
    """A search under way.

    Parameters
    ----------
    wanted : Wanted
        What for.
    name : str
        The network.
    key : str
        Names all that its result depends on, but the number of trials.
    ranges : tuple of Range
        What may be tried.
    larger : bool
        Whether larger figures are better.
    done : list of Trial
        Those that have ended, in their order.
    under_way : list of Candidate
        Those of the round that is being trained.
    """

    wanted: Wanted
    name: str
    key: str
    ranges: tuple[Range, ...]
    larger: bool
    done: list[Trial] = field(default_factory=list)
    under_way: list["Candidate"] = field(default_factory=list)

    @property
    def trials(self) -> int:
        """How many are asked for."""
        return self.wanted.recipe.search.trials

    def next_round(self) -> list["Candidate"]:
        """Propose what is still to be tried of the round under way."""
        recipe, number = self.wanted.recipe, len(self.done)
        numbers = round_of(number, recipe.search)
        seed = recipe.search.seed
        before = self.done[: numbers.start]
        proposed = propose(self.ranges, before, numbers, recipe.search, _seed(seed, self.key), larger=self.larger)
        self.under_way = [
            Candidate(self, place, settings, self.wanted.member(self.name, with_settings(recipe, settings, seed=seed)))
            for place, settings in zip(numbers, proposed, strict=True)
            if place >= number
        ]
        return self.under_way


@dataclass
class Candidate:
    """A trial under way.

    Parameters
    ----------
    search : Search
        Whose.
    number : int
        From 0.
    settings : dict of str to float
        What is tried.
    member : MemberSpec
        What is trained.
    curve : list of float
        Figures so far.
    pruned : bool
        Whether it was ended early.
    """

    search: Search
    number: int
    settings: dict[str, float]
    member: MemberSpec
    curve: list[float] = field(default_factory=list)
    pruned: bool = False

    @property
    def looks(self) -> range:
        """Epochs after which it is asked whether it is hopeless, and its last one."""
        epochs = self.member.training.epochs
        every = max(1, epochs // LOOKS) if self.search.wanted.recipe.search.prune else epochs
        return range(epochs, 0, -every)

    def take(self, history: Sequence[Mapping[str, float]]) -> None:
        """Take the figures of further epochs."""
        monitor = f"validation_{self.search.wanted.recipe.training.monitor}"
        self.curve += [row[monitor] for row in history[len(self.curve) :]]

    def hopeless(self) -> bool:
        """Whether it is to be ended, as worse than the median of those that were proposed before it."""
        recipe, training = self.search.wanted.recipe, self.member.training
        stands = standing(self.curve, larger_is_better=self.search.larger, patience=training.patience)
        if self.pruned or not recipe.search.prune or stands.stop or len(self.curve) >= training.epochs:
            return False
        company = [other.curve for other in self.search.under_way if other.number < self.number]
        curves = [trial.curve for trial in self.search.done] + company
        # A tenth of the epochs is given to all, three at least.
        return hopeless(self.curve, curves, max(3, recipe.training.epochs // 10), larger=self.search.larger)

    def trial(self) -> Trial:
        """Give the trial, as it has ended."""
        last = self.search.wanted.recipe.training.checkpoint == "last"
        figure = figure_of(self.curve, larger=self.search.larger, last=last)
        state: State = "pruned" if self.pruned else "complete" if math.isfinite(figure) else "diverged"
        return Trial(self.number, self.settings, tuple(self.curve), figure, state)


def begun(wanted: Wanted, name: str) -> Search:
    """Check what is wanted, and name it by all that its result depends on.

    Losses that are written differently and come to the same for this network are one.
    """
    recipe = wanted.recipe
    over = ranges(recipe)
    lowest = with_settings(recipe, {one.key: one.low for one in over}, seed=recipe.search.seed)
    member = wanted.member(name, lowest)
    if not len(member.validation):
        raise InputError("a search needs validation data to judge by", "Set protocol.validation above 0.")
    tries_losses = any(one.key.startswith(("loss.", "method.")) for one in over)
    left_out = NO_MATTER if tries_losses else {**NO_MATTER, "loss": True, "method": True}
    said = json.dumps(
        [
            recipe.search.model_dump(mode="json", exclude={"trials"}),
            lowest.model_dump(mode="json", exclude=left_out),
            [member.classes, member.one_output],
        ],
        sort_keys=True,
    )
    sides = (member.train, member.targets, member.validation, member.validation_targets)
    rows = [side.astype("<i8").tobytes() for side in sides]
    named = digest(FORM, name, wanted.basis(name, lowest), said, *rows)
    return Search(wanted, name, named, over, larger=recipe.training.monitor != "loss")


def _seed(seed: int, name: str) -> int:
    """Give a seed to each search, so that those of two classes do not begin with the same settings."""
    return int(digest(str(seed), name)[:15], 16)
