"""From a folder to a recipe: candidates are tried on folds of the training side; plain training has to be beaten."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.config import Recipe, dump_recipe, load_recipe
from evenface.config.recipe import Protocol
from evenface.data.attributes import attribute_columns
from evenface.data.imbalance import imbalance_factor
from evenface.data.manifest import Manifest
from evenface.data.splits import split_manifest
from evenface.evaluation.bootstrap import Estimate, estimate
from evenface.evaluation.comparison import Comparison, Difference, compare
from evenface.evaluation.formatting import listed, number, signed, with_interval
from evenface.evaluation.paired_tests import ALPHA, holm
from evenface.evaluation.predictions import Predictions
from evenface.reporting import report, summaries
from evenface.reporting.page import Page, PageSection, Tile, Verdict, write_page
from evenface.reporting.tables import Cell, Table
from evenface.runs import REPORT, Run
from evenface.statistics.assumptions import with_p
from evenface.statistics.t_tests import fold_overlap, resampled_t_test
from evenface.studies.dataset_guess import DatasetGuess, guess_dataset
from evenface.studies.plan import StudyOptions as Form
from evenface.studies.run import StudyResult, run_study
from evenface.training import data as assembly
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest, write_json
from evenface.utils.registry import find

BASELINE = "erm"
CANDIDATES: dict[str, dict[str, Any]] = {
    "logit-adjustment": {"loss": {"name": "logit-adjustment"}},
    "class-balanced": {"loss": {"name": "class-balanced"}},
    "resampling": {"training.sampling": "inverse"},
    "focal": {"loss": {"name": "focal"}},
}
"""What is tried: its settings by dotted key. Each changes one thing, and costs no more than plain training."""
WHY = {
    "logit-adjustment": "takes the balance of training out of the loss (Menon et al., ICLR 2021)",
    "class-balanced": "weighs classes by their effective number (Cui et al., CVPR 2019)",
    "resampling": "draws all classes equally often",
    "focal": "attends to hard samples (Lin et al., ICCV 2017)",
}


def named_settings(name: str) -> dict[str, Any]:
    """Give the settings of a method that is named on the command line: a candidate, a method or a loss."""
    from evenface.losses import LOSSES
    from evenface.methods import METHODS

    if name in CANDIDATES:
        return CANDIDATES[name]
    if name in METHODS:
        return {"method": {"name": name}}
    find("method", name, {**dict.fromkeys(METHODS), **dict.fromkeys(LOSSES), **dict.fromkeys(CANDIDATES)})
    return {"loss": {"name": name}}


@dataclass(frozen=True)
class Against:
    """A candidate against plain training."""

    name: str
    value: float
    difference: float
    low: float
    high: float
    p: float
    plain_p: float
    better: int

    @property
    def certain(self) -> bool:
        """Whether it is better by more than noise."""
        return self.low > 0 and self.p <= ALPHA


@dataclass(frozen=True)
class Decision:
    """What is recommended, and what that rests on."""

    plain: float
    folds: int
    against: tuple[Against, ...]

    @property
    def recommended(self) -> Against | None:
        """The best candidate where it is better by more than noise; else none, which is plain training."""
        return self.against[0] if self.against and self.against[0].certain else None


def decide(scores: pd.DataFrame, plain: str) -> Decision:
    """Compare every candidate with plain training, fold by fold.

    Parameters
    ----------
    scores : DataFrame
        Balanced accuracy: a row for each fold of K, a column for each method.
    plain : str
        The column of plain training.

    Notes
    -----
    The corrected resampled t-test of :func:`~evenface.statistics.t_tests.resampled_t_test`. What a fold adds to all
    methods is taken out, and the noise is pooled over all methods: the variance of a difference is twice the residual
    mean square of the two-way table without interaction, with (K - 1)(M - 1) degrees of freedom for M methods. p is by
    Holm's correction over the candidates; intervals hold for all candidates at once (Bonferroni).
    """
    table = scores.to_numpy(dtype=np.float64)
    folds, methods = table.shape
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = float((folds - 1) * (methods - 1))
    pooled, level = (math.sqrt(2 * float((left**2).sum()) / freedom), freedom), 1 - ALPHA / (methods - 1)
    candidates = scores.columns.drop(plain)
    changes = [(scores[name] - scores[plain]).to_numpy(dtype=np.float64) for name in candidates]
    tested = [resampled_t_test(change, fold_overlap(folds), level=level, pooled=pooled) for change in changes]
    corrected = holm(np.array([one.corrected.p for one in tested]))
    found = []
    for name, change, one, p in zip(candidates, changes, tested, corrected, strict=True):
        known = one.difference if not math.isnan(p) else Estimate(one.difference.value)
        ends = (known.value, known.low, known.high, float(p), one.plain.p, int((change > 0).sum()))
        found.append(Against(str(name), float(scores[name].mean()), *ends))
    ranked = sorted(found, key=lambda one: -one.difference)
    return Decision(float(scores[plain].mean()), folds, tuple(ranked))


PASSES = 24_000
"""CaptionedFigures of 48 pixels, or frames of such, that a network sees in training: about a minute of one core."""
EPOCHS = (8, 40)
SIDE = 48


def own_recipe(looked: DatasetGuess, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Make a recipe for data of one's own, sized so that a training on few thousand pictures takes about a minute.

    Parameters
    ----------
    looked : Looked
        What the data are.
    overrides : mapping, optional
        Settings of the user, by dotted key.
    """
    manifest, data = looked.manifest, looked.data
    sides = set(manifest.table["split"].dropna())
    official = "train" in sides and bool(sides - {"train"})
    pixels = manifest.content != "sequences"
    content: dict[str, Any] = {
        "name": "own",
        "about": "data of one's own, by a small network from random weights",
        "data": data,
        "protocol": {"kind": "official" if official else "holdout", "validation": 0.1}
        | ({"duplicates": "drop-test"} if manifest.content == "stills" else {}),
        "network": {"name": "compact_vgg_16", "dropout": 0.3} if pixels else {"name": "recurrent"},
        "optimizer": {"lr": 2e-3, "weight_decay": 0.05} if pixels else {},
        "training": {"epochs": _epochs(looked), "batch_size": 32, "checkpoint": "last"},
    }
    if pixels:
        content["training"] |= {"ema_decay": 0.99, "tta_flip": True}
        content["augment"] = {"rotate": 10, "shift": 0.08, "zoom": 0.1, "brightness": 0.2, "contrast": 0.3}
    wanted = {key: value for key, value in (overrides or {}).items() if key not in ("data.source", "data.root")}
    return load_recipe(content, wanted)


def _epochs(looked: DatasetGuess) -> int:
    """Give as many epochs as the passes allow, within limits."""
    each = 0.05
    if looked.manifest.content != "sequences":
        frames = looked.data.get("clips", {}).get("frames", 1)
        each = frames * (looked.data["size"] / SIDE) ** 2
    return int(min(max(PASSES / (len(looked.manifest) * each), EPOCHS[0]), EPOCHS[1]))


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
class MethodChoice:
    """What was chosen, and on what grounds."""

    folder: Path
    recipe: Recipe
    name: str
    counts: dict[str, int]
    decision: Decision | None
    studied: StudyResult | None
    said: tuple[str, ...]


def choose(
    data: str | Path,
    out: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    candidates: Sequence[str] = tuple(CANDIDATES),
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> MethodChoice:
    """Choose how to train on data of one's own; the test side is not looked at.

    Parameters
    ----------
    data : str or Path
        See :func:`evenface.studies.dataset_guess.guess_dataset`.
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

    looked = guess_dataset(data, overrides)
    for text in looked.said:
        tell(text)
    recipe = own_recipe(looked, overrides)
    store = assembly.prepare_store(recipe)
    sides = assembly.split_store(recipe, store)
    training = store.manifest.take(np.sort(np.concatenate([sides.train, sides.validation])))
    counts = dict(zip(training.classes, training.counts().tolist(), strict=True))
    folds = _folds(training)
    tell(_divided(recipe, training, store.manifest.take(sides.test)))
    ratio = imbalance_factor(list(counts.values()))
    tell(f"Training samples: {', '.join(f'{name} {n:,}' for name, n in counts.items())}.")
    final = recipe if _own_validation(recipe, store.manifest) else _all_trained_on(recipe, overrides or {})
    if ratio < EVEN:
        tell(f"The largest class is {ratio:.1f} times the smallest: there is nothing to balance. Plain training.")
        return _kept(MethodChoice(out, final, BASELINE, counts, None, None, tuple(said)))
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
    return _kept(MethodChoice(out, chosen, name, counts, decision, studied, tuple(said)))


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
    sides = split_manifest(training, Protocol(kind="kfold", folds=folds, fold=number, validation=0))
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
    columns = ["sample", "path", "start", "end", "label", "subject", "clip", *attribute_columns(training.table)]
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


def _kept(choice: MethodChoice) -> MethodChoice:
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


ROUNDING = 1e-9
TOP = {"balanced_accuracy": "Balanced accuracy", "accuracy": "Accuracy", "macro_f1": "Macro F1"}


def write_report(choice: MethodChoice, run: Run) -> Path:
    """Write the page of a choice and of the run that was trained by it."""
    overall = run.metrics["overall"]
    tiles = tuple(
        Tile(name, number(one.value), f"[{number(one.low)}, {number(one.high)}]")
        for key, name in TOP.items()
        for one in [estimate(overall[key])]
    )
    decision = choice.decision
    even = ("Recommended: plain training.", "The classes are about even, so nothing else was tried.")
    said = verdict(decision) if decision else even
    tested = f"Trained by it on {_trained_on(run)} and tested once: balanced accuracy {_balanced(run)}."
    counts = {"train": list(choice.counts.values())}
    page = Page(
        "choice of a method",
        choice.folder.resolve().name,
        "On the test side, which had no part in the choice",
        tiles,
        (Verdict(*said), Verdict(tested, _guessing(run))),
        _sureness(choice, run),
        choice.said,
        (*_tried(choice, counts), *report.data(counts, None, tuple(choice.counts))),
        {
            "chosen recipe": "recipe.yaml",
            "final run": f"{run.folder.name}/{REPORT}",
            **({"every candidate": f"{STUDY}/{REPORT}"} if decision else {}),
        },
        tuple(summaries.run_warnings(run)),
    )
    return write_page(page, choice.folder / REPORT)


def _guessing(run: Run) -> str:
    """Say so where the test does not tell the result from guessing."""
    known = sum(1 for entry in run.metrics["per_class"].values() if entry["support"])
    low = run.metrics["overall"]["balanced_accuracy"]["low"]
    return "This is not told apart from guessing." if low is not None and low <= 1 / known + ROUNDING else ""


def _trained_on(run: Run) -> str:
    """Say what the final training learnt from: official divisions keep some samples to calibrate on."""
    held = sum(run.facts["counts"]["validation"])
    side = "the whole training side"
    return f"{side} but {held:,} samples, which its probabilities are calibrated on," if held else side


def _balanced(run: Run) -> str:
    return with_interval(estimate(run.metrics["overall"]["balanced_accuracy"]))


def _sureness(choice: MethodChoice, run: Run) -> tuple[str, ...]:
    lines = [f"The test's intervals are over {run.metrics['units']:,} {run.metrics['unit']}."]
    if choice.decision:
        lines = [
            f"The unit of the choice is the fold: {choice.decision.folds} of them, whole people where they are known.",
            "Folds share training samples: intervals and p are those of the corrected resampled t-test (Nadeau and "
            "Bengio 2003), its noise pooled over all methods. The study's own page tests each candidate by its own "
            "spread, so it may find less.",
            "p is corrected over the candidates by Holm; intervals hold for all of them at once (Bonferroni).",
            *lines,
        ]
    return (*lines, "One final training: how much another seed would change is not in the intervals.")


def _tried(choice: MethodChoice, counts: dict[str, list[int]]) -> list[PageSection]:
    """Show every candidate, and the recall of each class over all folds."""
    if choice.decision is None or choice.studied is None:
        return []
    found = choice.decision
    plain: tuple[Cell, ...] = (BASELINE, found.plain, "–", "–", "–", "–", "the baseline")
    rows = [plain]
    for one in found.against:
        change = Difference("", one.difference, one.low, one.high, one.p, one.p)
        better = f"{one.better} of {found.folds}"
        rows.append((one.name, one.value, change, one.p, one.plain_p, better, WHY[one.name]))
    header = (
        "method",
        "balanced accuracy",
        "difference",
        "p, Holm",
        "p, folds as independent",
        "folds better",
        "what it does",
    )
    table = Table("candidates", "Candidates on folds of the training side", header, tuple(rows))
    pooled = _pooled(choice)
    return [
        PageSection(
            "What was tried", "Each was trained on all folds but one and judged on that one, in turn.", tables=(table,)
        ),
        report.classes(pooled, counts),
    ]


def _pooled(choice: MethodChoice) -> Comparison:
    """Join what each candidate said of all folds, each sample by a network that was not trained on it."""
    assert choice.studied is not None
    runs = choice.studied.runs
    folder = choice.studied.folder
    joined = {}
    for name, rows in runs.groupby("method", sort=False):
        parts = [Run(folder / str(one)).predictions for one in rows["folder"]]
        joined[str(name)] = _join(parts)
    return compare(joined, metrics=["balanced_accuracy"])


def _join(parts: list[Predictions]) -> Predictions:
    def whole(name: str) -> np.ndarray | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else np.concatenate(values)

    first = parts[0]
    return Predictions(
        np.concatenate([part.sample for part in parts]),
        whole("subject"),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        first.classes,
        clip=whole("clip"),
        ordered=first.ordered,
        scores=whole("scores"),
    )
