"""What is written into the folder of a run of sequences, before its networks are trained and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch

from evenface import assembly, learner
from evenface.data.protocol import Split
from evenface.errors import InputError
from evenface.evaluation.scores import shares
from evenface.evaluation.sections import CLASS
from evenface.faces.store import Store
from evenface.faces.symmetry import mirrored
from evenface.files import atomic_write, csv_safe
from evenface.fitting.facts import facts_of, peak_memory, sides_of
from evenface.fitting.members import Planned
from evenface.networks.recurrent import SequenceNetwork
from evenface.recipes import Recipe
from evenface.runs import HISTORY, PREDICTIONS, VALIDATION, WEIGHTS, Run
from evenface.search import Found, trial_table
from evenface.training.checkpoint import save_weights
from evenface.training.inference import score_sequences
from evenface.training.loggers import build_loggers
from evenface.training.trainer import CHECKPOINT, LAST

SEARCHED = "search.csv"
"""Every trial of a run's searches."""


@dataclass(frozen=True)
class Job:
    """A run that is to be trained, alone or with others.

    Parameters
    ----------
    run : Run
        Its folder.
    recipe : Recipe
        All settings.
    store : Store
        Its data.
    split : Split
        Who trains, who tests.
    networks : tuple of Planned
        Its networks.
    found : mapping of str to Found
        What was searched for each of them, where anything was.
    """

    run: Run
    recipe: Recipe
    store: Store
    split: Split
    networks: tuple[Planned, ...]
    found: Mapping[str, Found] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Where it is trained; an InputError where there is no such device."""
        asked = self.recipe.training.accelerator
        if asked == "cuda" and not torch.cuda.is_available():
            raise InputError("training.accelerator is cuda, there is no GPU", "Take auto or cpu.")
        return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"

    @property
    def mirrors(self) -> bool:
        """Whether sequences are mirrored in training or testing."""
        augment = self.recipe.augment
        return augment.flip > 0 or augment.added or self.recipe.training.mirror

    def mirror(self, sequences: Any) -> Any:
        """Give the mirror of sequences ``(..., P, D)``, as the recipe says."""
        return mirrored(sequences, self.store.points, self.recipe.augment.mirror, self.store.middle)

    def facts(self) -> dict[str, Any]:
        """Say what the run rests on; all of it known before training."""
        steps, points, numbers = (int(size) for size in self.store.sequences.shape[1:])
        facts = facts_of(self.recipe, self.store, self.split, self.device, steps)
        shape = {"points": self.store.points, "shape": [steps, points, numbers], "middle": self.store.middle}
        if self.recipe.loss.name == "adaptive":
            facts["notes"].append(f"losses by imbalance: {'; '.join(one.said for one in self.networks)}")
        if self.found:
            facts["search"] = {name: one.facts for name, one in self.found.items()}
            told = "; ".join(f"{name}: {one}" for name, one in self.found.items())
            facts["notes"].append(f"settings were searched on the validation data, whose figures flatter: {told}")
        return facts | {"sequences": shape, "networks": {one.name: one.facts for one in self.networks}}

    def begin(self, company: int) -> None:
        """Write what is known before training; ``company`` runs are trained as one."""
        self.run.begin(self.facts(), sides_of(self.store, self.split))
        with_others = f" with {company - 1} other runs as one" if company > 1 else ""
        self.run.log(f"training {self.recipe.name} on {self.device}{with_others}: {self.store.summary()}")
        for one in self.networks:
            if one.said:
                self.run.log(one.said)
        if self.found:
            with atomic_write(self.run.folder / SEARCHED) as temporary:
                csv_safe(trial_table(self.found)).to_csv(temporary, index=False)
            for name, found in self.found.items():
                self.run.log(f"search for {name}: {found}")

    def end(
        self,
        selected: Sequence[SequenceNetwork],
        last: Sequence[SequenceNetwork],
        histories: Sequence[Sequence[dict[str, float]]],
        best: Sequence[int],
        seconds: float,
        company: int,
    ) -> None:
        """Write weights, history and predictions; the predictions last, as they make the run count as ended.

        Parameters
        ----------
        selected, last : sequence of SequenceNetwork
            The networks with the weights that are tested, and with those of the last epoch.
        histories : sequence of list of dict
            Of each network, a row per epoch.
        best : sequence of int
            Of each network, the epoch of the weights that are tested, from 1.
        seconds : float
            Spent on the run; of runs that are trained as one, its share.
        company : int
            How many runs were trained as one.
        """
        folder, classes = self.run.folder, self.store.manifest.classes
        counts = self.store.manifest.counts(self.split.train)
        for name, networks in ((LAST, last), (WEIGHTS, selected)):
            method = learner.sequence_method(self.recipe, networks, counts, classes).eval().to(self.device)
            epochs = "last" if name == LAST else ", ".join(str(epoch) for epoch in best)
            save_weights(folder / name, method.inference_state(), {"selected": f"epochs {epochs}"})
        self._write_history(histories)
        facts = self.facts()
        for one, rows, epoch in zip(self.networks, histories, best, strict=True):
            facts["networks"][one.name] = {**one.facts, "epochs": len(rows), "selected": epoch}
        facts |= {
            "epochs": max(len(rows) for rows in histories),
            "training_seconds": round(seconds, 3),
            "together": company,
            "peak_memory_mb": peak_memory(),
        }
        whole = {}
        mirror = self.mirror if self.recipe.training.mirror else None
        for name, side in ((VALIDATION, self.split.validation), (PREDICTIONS, self.split.test)):
            if len(side):
                said = score_sequences(method, self.store.sequences, side, device=self.device, mirror=mirror)
                scores = said if method.one_vs_rest else None
                whole[name] = assembly.predictions(self.store.manifest, side, shares(said), scores=scores)
        self.run.end(facts, whole)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        self.run.log("ended")

    def _write_history(self, histories: Sequence[Sequence[dict[str, float]]]) -> None:
        """Write a row per epoch, and tell the loggers; of several networks a row per epoch and network."""
        tables = [pd.DataFrame(rows) for rows in histories]
        for one, table in zip(self.networks, tables, strict=True):
            if len(tables) > 1:
                table.insert(0, CLASS, one.name)
        whole = pd.concat(tables, ignore_index=True)
        with atomic_write(self.run.folder / HISTORY) as temporary:
            whole.to_csv(temporary, index=False)
        settings = {"seed": self.recipe.seed}
        for logger in build_loggers(self.recipe.training.loggers, self.run.folder, self.recipe.name, settings):
            for one, rows in zip(self.networks, histories, strict=True):
                start = f"{one.name}/" if len(histories) > 1 else ""
                for row in rows:
                    logger.log(int(row["epoch"]), {f"{start}{name}": value for name, value in row.items()})
            logger.close()
