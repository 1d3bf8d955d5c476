"""From a folder to a recipe: candidates are tried on folds of the training side; plain training has to be beaten."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface import assembly
from evenface.auto.candidates import BASELINE, CANDIDATES, WHY
from evenface.auto.deciding import Decision, decide
from evenface.auto.looking import look
from evenface.auto.recipe import own_recipe
from evenface.data.attributes import attributes_of
from evenface.data.manifest import Manifest
from evenface.data.protocol import split
from evenface.errors import InputError
from evenface.evaluation.formatting import listed, signed
from evenface.files import atomic_write, digest, write_json
from evenface.imbalance import factor
from evenface.recipes import Recipe, dump_recipe, load_recipe
from evenface.recipes.data import Protocol
from evenface.registry import find
from evenface.statistics.assumptions import with_p
from evenface.studies.plan import Choice as Form
from evenface.studies.run import Studied, run_study

TRAINING, CHOSEN, FACTS, STUDY = "training.csv", "recipe.yaml", "choice.json", "choice"
EVEN = 1.5
"""Largest class over smallest below which there is nothing to balance."""
FOLDS, FEWEST_FOLDS = 5, 3
AT_LEAST = 10
"""Training samples that each class must have."""
METRICS = ("balanced_accuracy", "accuracy", "macro_f1", "recall")
LEFT = ("subjects", "table", "columns", "classes", "delimiter", "ordered")
"""Options of a source that a table takes the place of."""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and on what grounds.

    Parameters
    ----------
    folder : Path
        Holds ``training.csv``, ``choice/`` (the study), ``choice.json`` and ``recipe.yaml``.
    recipe : Recipe
        What the final training follows.
    name : str
        The method.
    counts : dict of str to int
        Training samples of each class.
    decision : Decision or None
        None where there was nothing to choose.
    studied : Studied or None
        The study that it rests on.
    said : tuple of str
        What was seen of the data, a sentence each.
    """

    folder: Path
    recipe: Recipe
    name: str
    counts: dict[str, int]
    decision: Decision | None
    studied: Studied | None
    said: tuple[str, ...]


def choose(
    data: str | Path,
    out: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    candidates: Sequence[str] = tuple(CANDIDATES),
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Choice:
    """Choose how to train on data of one's own; the test side is not looked at.

    Parameters
    ----------
    data : str or Path
        See :func:`evenface.auto.look`.
    out : Path
        Folder of all that is written. The same call goes on where it was interrupted.
    overrides : mapping, optional
        Settings by dotted key, for every training.
    candidates : sequence of str
        What is tried beside plain training: some of :data:`CANDIDATES`, at least one.
    jobs : int, optional
        Trainings at a time; by default one per GPU, or one per processor core.
    say : callable
        Is given each sentence as soon as it is known.

    Raises
    ------
    InputError
        If there is nothing to learn from, too few samples or people, a candidate is not known, or the folder holds
        another choice.
    """
    _check_candidates(candidates)
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        say(text)

    looked = look(data, overrides)
    for text in looked.said:
        tell(text)
    recipe = own_recipe(looked, overrides)
    store = assembly.prepare_store(recipe)
    sides = assembly.split_store(recipe, store)
    training = store.manifest.take(np.sort(np.concatenate([sides.train, sides.validation])))
    counts = dict(zip(training.classes, training.counts().tolist(), strict=True))
    folds = _folds(training)
    tell(_divided(recipe, training, store.manifest.take(sides.test)))
    ratio = factor(list(counts.values()))
    tell(f"Training samples: {', '.join(f'{name} {n:,}' for name, n in counts.items())}.")
    final = recipe if _own_validation(recipe, store.manifest) else _all_trained_on(recipe, overrides or {})
    if ratio < EVEN:
        tell(f"The largest class is {ratio:.1f} times the smallest: there is nothing to balance. Plain training.")
        return _kept(Choice(out, final, BASELINE, counts, None, None, tuple(said)))
    tell(f"The largest class is {ratio:.1f} times the smallest: a network may well neglect the rare ones.")
    for name in candidates:
        say(f"Tried against plain training: {name}, which {WHY[name]}.")
    studied = run_study(_study(recipe, training, folds, candidates, out), Form(), out=out / STUDY, jobs=jobs)
    if studied.failed:
        where, why = next(iter(studied.failed.items()))
        raise InputError(f"{len(studied.failed)} trainings failed; {where}: {why}", "Say the same again to go on.")
    decision = decide(_scores(studied.runs, [BASELINE, *candidates]), BASELINE)
    say(" ".join(verdict(decision)))
    name = decision.recommended.name if decision.recommended else BASELINE
    chosen = load_recipe(final.model_dump(mode="json"), CANDIDATES.get(name, {}))
    return _kept(Choice(out, chosen, name, counts, decision, studied, tuple(said)))


def _check_candidates(names: Sequence[str]) -> None:
    for name in names:
        find("candidate", name, CANDIDATES)
    if not names:
        raise InputError("no candidate to try", f"Name some of {', '.join(CANDIDATES)}, or method erm.")


def verdict(decision: Decision) -> tuple[str, str]:
    """Say what is recommended, and how sure that is."""
    best, several = decision.against[0], len(decision.against)
    found = f"{signed(best.difference)} [{signed(best.low)}, {signed(best.high)}]"
    basis = f"balanced accuracy {found} against plain training over {decision.folds} folds of the training side"
    corrected = f", {with_p(best.p)}" + (f" by Holm over {several} candidates" if several > 1 else "")
    if decision.recommended:
        return f"Recommended: {best.name}.", f"Its {basis}{corrected}."
    none = "No candidate is better by more than noise"
    return "Recommended: plain training.", f"{none}; the best is {best.name}: {basis}{corrected}."


def _folds(training: Manifest) -> int:
    """Give the number of folds that the training side allows; an InputError where it allows none."""
    few = [f"{name} has {n}" for name, n in zip(training.classes, training.counts(), strict=True) if n < AT_LEAST]
    if few:
        raise InputError(
            f"too few training samples: {listed(few)}, {AT_LEAST} are needed of each class",
            "Add samples, or leave the class out.",
        )
    table = training.table
    unit = next((name for name in ("subject", "clip") if table[name].notna().all()), "sample")
    shown = table.groupby("label")[unit].nunique().reindex(range(len(training.classes)), fill_value=0).to_numpy()
    for folds in range(min(FOLDS, int(shown.min())), FEWEST_FOLDS - 1, -1):
        if all(_whole(training, folds, number) for number in range(folds)):
            return folds
    name = training.classes[int(shown.argmin())]
    what = {"subject": "people"}.get(unit, f"{unit}s")
    raise InputError(
        f"too few {what}: {int(shown.min())} of the training side show {name}, which does not give {FEWEST_FOLDS} "
        "parts with all classes in each",
        f"Add {what}, or leave the class out.",
    )


def _whole(training: Manifest, folds: int, number: int) -> bool:
    """Whether all classes stand on both sides of a fold."""
    sides = split(training, Protocol(kind="kfold", folds=folds, fold=number, validation=0))
    return all(bool(training.counts(rows).all()) for rows in (sides.train, sides.test))


def _divided(recipe: Recipe, training: Manifest, test: Manifest) -> str:
    own = recipe.protocol
    how = "The data's own division is kept" if own.kind == "official" else f"A share of {own.test:.0%} is held out"

    def people(side: Manifest) -> str:
        return f" of {side.table['subject'].nunique():,} people" if side.has_subjects else ""

    return (
        f"{how}: {len(training):,} samples{people(training)} to train on, {len(test):,}{people(test)} to test on once, "
        "at the end."
    )


def _own_validation(recipe: Recipe, manifest: Manifest) -> bool:
    """Whether the data bring samples that validate; without a test side of its own, these are tested on instead."""
    return recipe.protocol.kind == "official" and {"validation", "test"} <= set(manifest.table["split"].dropna())


def _all_trained_on(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """Hold nothing back from the final training, unless the user asks for it."""
    return load_recipe(
        recipe.model_dump(mode="json"), {"protocol.validation": overrides.get("protocol.validation", 0.0)}
    )


def _study(recipe: Recipe, training: Manifest, folds: int, candidates: Sequence[str], out: Path) -> dict[str, Any]:
    """Define the study of all candidates: folds of a table that lists the training side alone."""
    table = _write_table(training, out / TRAINING)
    content = recipe.model_dump(mode="json")
    source = {"stills": "csv", "clips": "clips"}.get(training.content, training.source)
    options = {key: value for key, value in recipe.data.options.items() if key not in LEFT}
    known = {key: value for key, value in content["data"].items() if key in type(recipe.data).model_fields}
    content["data"] = known | (options if training.content == "sequences" else {})
    content["data"] |= {"source": source, "root": str(training.root), "table": str(table)}
    content["data"] |= {"classes": list(training.classes)} | ({"ordered": True} if training.ordered else {})
    content["protocol"] = {"kind": "kfold", "folds": folds, "validation": 0, "by": recipe.protocol.by}
    return {
        "name": STUDY,
        "about": "methods tried on folds of the training side alone; the test side is not in these data",
        "recipe": content,
        "factors": {"method": {BASELINE: {}, **{name: CANDIDATES[name] for name in candidates}}},
        "baseline": {"method": BASELINE},
        "folds": folds,
        "metrics": list(METRICS),
    }


def _write_table(training: Manifest, path: Path) -> Path:
    """List the training samples as a source of tables reads them."""
    columns = ["sample", "path", "start", "end", "label", "subject", "clip", *attributes_of(training.table)]
    table = training.table[columns].copy()
    table["label"] = [training.classes[label] for label in training.labels]
    table = table.dropna(axis="columns", how="all")
    text = table.to_csv(index=False)
    if path.is_file() and digest(path.read_bytes()) != digest(text.encode()):
        raise InputError(f"{path.parent} was begun with other data", "Give another folder: --out.")
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path.resolve()


def _scores(runs: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Set out balanced accuracy by fold and method."""
    table = runs.pivot_table(index="fold", columns="method", values="balanced_accuracy")
    return table[list(names)]


def _kept(choice: Choice) -> Choice:
    """Write the recipe and what it rests on."""
    choice.folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(choice.folder / CHOSEN) as temporary:
        temporary.write_text(dump_recipe(choice.recipe), encoding="utf-8")
    found = choice.decision
    facts: dict[str, Any] = {"method": choice.name, "counts": choice.counts, "said": list(choice.said)}
    if found is not None:
        facts |= {"plain": found.plain, "folds": found.folds, "against": [vars(one) for one in found.against]}
    write_json(choice.folder / FACTS, facts)
    return choice
