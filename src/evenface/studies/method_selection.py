"""Automatic method selection: compare imbalance methods with ERM on folds of the training set, and recommend one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.config import Recipe, dump_recipe, load_recipe
from evenface.config.recipe import Protocol
from evenface.data.dataset_guess import DatasetGuess, guess_dataset
from evenface.data.imbalance import imbalance_factor
from evenface.data.manifest import TARGET_TASKS, Manifest, attribute_columns
from evenface.data.splits import split_manifest
from evenface.evaluation.bootstrap import Estimate, estimate
from evenface.evaluation.comparison import Comparison, Difference, compare
from evenface.evaluation.formatting import count_units, listed, signed_interval, with_interval
from evenface.evaluation.paired_tests import ALPHA, holm
from evenface.evaluation.predictions import Predictions
from evenface.reporting import report, summaries
from evenface.reporting.page import Page, PageSection, Tile, Verdict, write_page
from evenface.reporting.tables import Row, Table
from evenface.runs import REPORT, Run
from evenface.statistics.assumptions import with_p
from evenface.statistics.t_tests import fold_overlap, resampled_t_test
from evenface.studies.plan import StudyOptions
from evenface.studies.run import StudyResult, run_study
from evenface.training.data import prepare_store, select, split_store
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest, write_json
from evenface.utils.registry import find

ERM = "erm"
CANDIDATES: dict[str, dict[str, Any]] = {
    "logit-adjustment": {"loss": {"name": "logit-adjustment"}},
    "class-balanced": {"loss": {"name": "class-balanced"}},
    "resampling": {"training.sampling": "inverse"},
    "focal": {"loss": {"name": "focal"}},
}
"""Candidates: settings by dotted key. Each changes one thing, and costs no more than ERM."""
EFFECTS = {
    "logit-adjustment": "removes the training prior in the loss (Menon et al., ICLR 2021)",
    "class-balanced": "class weights by effective number (Cui et al., CVPR 2019)",
    "resampling": "draws all classes equally often",
    "focal": "focuses on hard samples (Lin et al., ICCV 2017)",
}
MEASURED = {
    "multilabel": (
        "For action units and other labels no method had a higher average precision than plain training by more than "
        "training noise (study synthetic-units), so none is tried: ERM. A threshold of each label from validation data "
        "raises F1 as much as weights do: training.thresholds=validation."
    ),
    "regression": (
        "For continuous targets no method had a smaller error by level than plain training by more than training noise "
        "(study synthetic-pain), so none is tried: ERM."
    ),
}
"""Reason of the choice for each task of targets, from the studies kept in ``benchmarks/results``."""
TRAINING, CHOSEN, FACTS, STUDY = "training.csv", "recipe.yaml", "choice.json", "choice"
MIN_IMBALANCE = 1.5
"""Imbalance factor below which no candidate is tried."""
FOLDS, MIN_FOLDS = 5, 3
MIN_SAMPLES = 10
"""Training samples that each class must have."""
METRICS = ("balanced_accuracy", "accuracy", "macro_f1", "recall")
FOLDER_OPTIONS = ("subjects", "table", "columns", "classes", "delimiter", "ordered")
"""Options of a source that the table of training samples replaces."""
IMAGES_SEEN = 24_000
"""Images of 48 pixels, or frames of that size, in a training: about a minute of one core."""
EPOCHS = (8, 40)
SIDE = 48


def method_settings(name: str) -> dict[str, Any]:
    """Return the settings of a candidate, a method or a loss by its name."""
    from evenface.losses import LOSSES
    from evenface.methods import METHODS

    if name in CANDIDATES:
        return CANDIDATES[name]
    if name in METHODS:
        return {"method": {"name": name}}
    find("method", name, {**dict.fromkeys(METHODS), **dict.fromkeys(LOSSES), **dict.fromkeys(CANDIDATES)})
    return {"loss": {"name": name}}


# Recipe


def own_recipe(guess: DatasetGuess, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Build a recipe for data without one, sized so that a training on a few thousand images takes about a minute.

    Parameters
    ----------
    guess : DatasetGuess
        Data and its settings, from :func:`evenface.data.dataset_guess.guess_dataset`.
    overrides : mapping, optional
        Settings of the user, by dotted key.
    """
    manifest, data = guess.manifest, guess.data
    pixels = manifest.content != "sequences"
    content: dict[str, Any] = {
        "name": "own",
        "about": "own data, by a small randomly initialised network",
        "data": data,
        "protocol": guess.protocol,
        "network": {"name": "compact_vgg_16", "dropout": 0.3} if pixels else {"name": "recurrent"},
        "optimizer": {"lr": 2e-3, "weight_decay": 0.05} if pixels else {},
        "training": {"epochs": _epochs(guess), "batch_size": 32, "checkpoint": "last"},
    }
    if pixels:
        content["training"] |= {"ema_decay": 0.99, "tta_flip": True}
        content["augment"] = {"rotate": 10, "shift": 0.08, "zoom": 0.1, "brightness": 0.2, "contrast": 0.3}
    settings = {key: value for key, value in (overrides or {}).items() if key not in ("data.source", "data.root")}
    return load_recipe(content, settings)


def _epochs(guess: DatasetGuess) -> int:
    """Return the number of epochs that show about :data:`IMAGES_SEEN` images, within limits."""
    cost = 0.05
    if guess.manifest.content != "sequences":
        frames = guess.data.get("clips", {}).get("frames", 1)
        cost = frames * (guess.data["size"] / SIDE) ** 2
    return int(min(max(IMAGES_SEEN / (len(guess.manifest) * cost), EPOCHS[0]), EPOCHS[1]))


# Decision


@dataclass(frozen=True)
class CandidateResult:
    """Comparison of a candidate with ERM over the folds."""

    name: str
    value: float
    difference: float
    low: float
    high: float
    p: float
    p_independent: float
    better: int

    @property
    def certain(self) -> bool:
        """Whether it is better by more than noise."""
        return self.low > 0 and self.p <= ALPHA

    @property
    def estimate(self) -> Difference:
        """Difference in balanced accuracy with its simultaneous interval."""
        return Difference("", self.difference, self.low, self.high, self.p, self.p)


@dataclass(frozen=True)
class Decision:
    """Balanced accuracy of ERM over the folds, and the candidates by falling difference from it."""

    erm: float
    folds: int
    candidates: tuple[CandidateResult, ...]

    @property
    def recommended(self) -> CandidateResult | None:
        """The best candidate if it is better by more than noise; None recommends ERM."""
        return self.candidates[0] if self.candidates and self.candidates[0].certain else None


def decide(scores: pd.DataFrame, baseline: str = ERM) -> Decision:
    """Compare every candidate with the baseline, fold by fold.

    Parameters
    ----------
    scores : DataFrame
        Balanced accuracy: a row for each fold of K, a column for each method.
    baseline : str, default="erm"
        Column of the baseline.

    Notes
    -----
    The corrected resampled t-test of :func:`~evenface.statistics.t_tests.resampled_t_test`. Fold effects common to all
    methods are removed, and the error is pooled over all methods: the variance of a difference is twice the residual
    mean square of the two-way table without interaction, with (K - 1)(M - 1) degrees of freedom for M methods. p is by
    Holm's correction over the candidates; intervals are simultaneous for all candidates (Bonferroni).
    """
    table = scores.to_numpy(dtype=np.float64)
    folds, methods = table.shape
    residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = float((folds - 1) * (methods - 1))
    pooled, level = (math.sqrt(2 * float((residuals**2).sum()) / freedom), freedom), 1 - ALPHA / (methods - 1)
    names = scores.columns.drop(baseline)
    changes = [(scores[name] - scores[baseline]).to_numpy(dtype=np.float64) for name in names]
    tests = [resampled_t_test(change, fold_overlap(folds), level=level, pooled=pooled) for change in changes]
    corrected = holm(np.array([test.corrected.p for test in tests]))
    results = []
    for name, change, test, p in zip(names, changes, tests, corrected, strict=True):
        difference = test.difference if not math.isnan(p) else Estimate(test.difference.value)
        interval = (difference.value, difference.low, difference.high)
        better = int((change > 0).sum())
        results.append(
            CandidateResult(str(name), float(scores[name].mean()), *interval, float(p), test.plain.p, better)
        )
    ranked = sorted(results, key=lambda result: -result.difference)
    return Decision(float(scores[baseline].mean()), folds, tuple(ranked))


def recommendation(decision: Decision) -> tuple[str, str]:
    """State what is recommended, and the difference it is based on."""
    best, several = decision.candidates[0], len(decision.candidates)
    basis = (
        f"balanced accuracy {signed_interval(best.estimate, 3)} compared with ERM over {decision.folds} folds of the "
        f"training set, {with_p(best.p)}" + (f" by Holm over {several} candidates" if several > 1 else "")
    )
    if decision.recommended:
        return f"Recommended: {best.name}.", f"Its difference in {basis}."
    return "Recommended: ERM.", f"No candidate is better by more than noise; the best is {best.name}: {basis}."


# Selection


@dataclass(frozen=True)
class MethodChoice:
    """The selected method, its recipe, and the study the selection is based on."""

    folder: Path
    recipe: Recipe
    name: str
    counts: dict[str, int]
    decision: Decision | None
    study: StudyResult | None
    messages: tuple[str, ...]


def choose(
    data: str | Path,
    out: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    candidates: Sequence[str] = tuple(CANDIDATES),
    jobs: int | None = None,
    on_message: Callable[[str], None] = lambda _text: None,
) -> MethodChoice:
    """Select a method for own data by cross-validation on the training set; the test set is not used.

    Parameters
    ----------
    data : str or Path
        See :func:`evenface.data.dataset_guess.guess_dataset`.
    out : Path
        Output folder. The same call resumes an interrupted selection.
    overrides : mapping, optional
        Settings by dotted key, for every training.
    candidates : sequence of str
        Methods to compare with ERM: some of :data:`CANDIDATES`, at least one.
    jobs : int, optional
        Parallel trainings; by default one per GPU, or one per processor core.
    on_message : callable
        Receives each message as soon as it is known.

    Raises
    ------
    InputError
        If there is no usable data, too few samples or people, an unknown candidate, or the folder holds another
        selection.
    """
    for candidate in candidates:
        find("candidate", candidate, CANDIDATES)
    if not candidates:
        raise InputError("no candidate to try", f"Name some of {', '.join(CANDIDATES)}, or use --method erm.")
    messages: list[str] = []

    def report_message(text: str) -> None:
        messages.append(text)
        on_message(text)

    guess = guess_dataset(data, overrides)
    for text in guess.messages:
        report_message(text)
    recipe = own_recipe(guess, overrides)
    store = prepare_store(recipe)
    task = select(recipe, store.manifest).task
    if task in TARGET_TASKS:
        if tuple(candidates) != tuple(CANDIDATES):
            raise InputError(f"candidates are compared for classes and levels, not for {task}", "Leave them out.")
        report_message(MEASURED[task])
        return _saved(MethodChoice(out, recipe, ERM, {}, None, None, tuple(messages)))
    split = split_store(recipe, store)
    training = store.manifest.take(np.sort(np.concatenate([split.train, split.validation])))
    counts = dict(zip(training.classes, training.counts().tolist(), strict=True))
    folds = _fold_count(training)
    report_message(_split_message(recipe, training, store.manifest.take(split.test)))
    report_message(f"Training samples: {', '.join(f'{name} {n:,}' for name, n in counts.items())}.")
    final = recipe if _has_validation(recipe, store.manifest) else _without_validation(recipe, overrides or {})
    factor = imbalance_factor(list(counts.values()))
    ratio = _factor(factor)
    if factor < MIN_IMBALANCE:
        report_message(f"{ratio} The classes are balanced, so no imbalance method is tried: ERM.")
        return _saved(MethodChoice(out, final, ERM, counts, None, None, tuple(messages)))
    report_message(f"{ratio} A network may neglect the rare classes.")
    for candidate in candidates:
        on_message(f"Candidate: {candidate}, which {EFFECTS[candidate]}.")
    study = run_study(_study(recipe, training, folds, candidates, out), StudyOptions(), out=out / STUDY, jobs=jobs)
    if study.failed:
        where, why = next(iter(study.failed.items()))
        raise InputError(f"{len(study.failed)} trainings failed; {where}: {why}", "Repeat the command to resume.")
    scores = study.runs.pivot_table(index="fold", columns="method", values="balanced_accuracy")
    decision = decide(scores[[ERM, *candidates]])
    on_message(" ".join(recommendation(decision)))
    name = decision.recommended.name if decision.recommended else ERM
    chosen = load_recipe(final.model_dump(mode="json"), CANDIDATES.get(name, {}))
    return _saved(MethodChoice(out, chosen, name, counts, decision, study, tuple(messages)))


def imbalance_messages(manifest: Manifest, recipe: Recipe) -> tuple[str, ...]:
    """Name ``auto`` where classes are imbalanced and a recipe has no imbalance method."""
    plain = recipe.method.name == "erm" and recipe.loss.name == "cross-entropy" and recipe.training.sampling == "none"
    counts = manifest.counts()
    if not plain or recipe.loss.options or manifest.targets or len(counts) < 2 or counts.min() < MIN_SAMPLES:
        return ()
    if (factor := imbalance_factor(counts)) < MIN_IMBALANCE:
        return ()
    times = FOLDS * (1 + len(CANDIDATES)) + 1
    return (
        f"{_factor(factor)} This training has no imbalance method: --method auto compares {len(CANDIDATES)} by "
        f"cross-validation, in some {times} times the time.",
    )


def _factor(factor: float) -> str:
    return f"Imbalance factor (largest class / smallest): {factor:.1f}."


def _fold_count(training: Manifest) -> int:
    """Return the number of folds that the training set allows, or raise an InputError where it allows none."""
    few = [f"{name} has {n}" for name, n in zip(training.classes, training.counts(), strict=True) if n < MIN_SAMPLES]
    if few:
        raise InputError(
            f"too few training samples: {listed(few)}, {MIN_SAMPLES} are needed of each class",
            "Add samples, or leave the class out.",
        )
    table = training.table
    unit = next((name for name in ("subject", "clip") if table[name].notna().all()), "sample")
    units = table.groupby("label")[unit].nunique().reindex(range(len(training.classes)), fill_value=0).to_numpy()
    for folds in range(min(FOLDS, int(units.min())), MIN_FOLDS - 1, -1):
        if all(_has_all_classes(training, folds, number) for number in range(folds)):
            return folds
    name = training.classes[int(units.argmin())]
    plural = {"subject": "people"}.get(unit, f"{unit}s")
    raise InputError(
        f"too few {plural}: {int(units.min())} in the training set are of class {name}, not enough for {MIN_FOLDS} "
        "folds with all classes in each",
        f"Add {plural}, or leave the class out.",
    )


def _has_all_classes(training: Manifest, folds: int, number: int) -> bool:
    """Return whether all classes are in both the training and the test part of a fold."""
    split = split_manifest(training, Protocol(kind="kfold", folds=folds, fold=number, validation=0))
    return all(bool(training.counts(rows).all()) for rows in (split.train, split.test))


def _split_message(recipe: Recipe, training: Manifest, test: Manifest) -> str:
    protocol = recipe.protocol
    official = protocol.kind == "official"
    how = "The official split is used" if official else f"A share of {protocol.test:.0%} is held out as test set"

    def people(part: Manifest) -> str:
        return f" of {part.table['subject'].nunique():,} people" if part.has_subjects else ""

    return (
        f"{how}: {len(training):,} training samples{people(training)}, {len(test):,} test samples{people(test)} that "
        "are used once, at the end."
    )


def _has_validation(recipe: Recipe, manifest: Manifest) -> bool:
    """Return whether the official split has a validation set besides its test set."""
    return recipe.protocol.kind == "official" and {"validation", "test"} <= set(manifest.table["split"].dropna())


def _without_validation(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """Train on the whole training set, unless the user sets a validation share."""
    return load_recipe(
        recipe.model_dump(mode="json"), {"protocol.validation": overrides.get("protocol.validation", 0.0)}
    )


def _study(recipe: Recipe, training: Manifest, folds: int, candidates: Sequence[str], out: Path) -> dict[str, Any]:
    """Define the study of all candidates, on folds of a table that lists the training set only."""
    table = _write_table(training, out / TRAINING)
    content = recipe.model_dump(mode="json")
    source = {"stills": "csv", "clips": "clips"}.get(training.content, training.source)
    options = {key: value for key, value in recipe.data.options.items() if key not in FOLDER_OPTIONS}
    known = {key: value for key, value in content["data"].items() if key in type(recipe.data).model_fields}
    content["data"] = known | (options if training.content == "sequences" else {})
    content["data"] |= {"source": source, "root": str(training.root), "table": str(table)}
    content["data"] |= {"classes": list(training.classes)} | ({"ordered": True} if training.ordered else {})
    content["protocol"] = {"kind": "kfold", "folds": folds, "validation": 0, "by": recipe.protocol.by}
    return {
        "name": STUDY,
        "about": "imbalance methods on folds of the training set; the test set is not in these data",
        "recipe": content,
        "factors": {"method": {ERM: {}, **{name: CANDIDATES[name] for name in candidates}}},
        "baseline": {"method": ERM},
        "folds": folds,
        "metrics": list(METRICS),
    }


def _write_table(training: Manifest, path: Path) -> Path:
    """Write the training samples as a table that sources read."""
    columns = ["sample", "path", "start", "end", "label", "subject", "clip", *attribute_columns(training.table)]
    table = training.table[columns].copy()
    table["label"] = [training.classes[label] for label in training.labels]
    table = table.dropna(axis="columns", how="all")
    text = table.to_csv(index=False)
    if path.is_file() and digest(path.read_bytes()) != digest(text.encode()):
        raise InputError(f"{path.parent} holds a selection on other data", "Use another folder: --out.")
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path.resolve()


def _saved(choice: MethodChoice) -> MethodChoice:
    """Write the recipe and the numbers of the decision."""
    choice.folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(choice.folder / CHOSEN) as temporary:
        temporary.write_text(dump_recipe(choice.recipe), encoding="utf-8")
    facts = {"method": choice.name, "counts": choice.counts, "messages": list(choice.messages)}
    write_json(choice.folder / FACTS, facts | (asdict(choice.decision) if choice.decision else {}))
    return choice


# Report


def write_report(choice: MethodChoice, run: Run) -> Path:
    """Write the page of a selection and of the final run."""
    metrics = run.metrics
    head, tail = (
        recommendation(choice.decision)
        if choice.decision
        else ("Recommended: ERM.", "The classes are balanced, so no imbalance method was tried.")
    )
    value = with_interval(estimate(metrics["overall"]["balanced_accuracy"]))
    held = sum(run.facts["counts"]["validation"])
    training = f"the training set except {held:,} samples for calibration" if held else "the whole training set"
    tested = f"Trained on {training} and tested once: balanced accuracy {value}."
    page = Page(
        "method selection",
        choice.folder.resolve().name,
        "On the test set, which was not used for the selection",
        tuple(Tile.of(name, estimate(metrics["overall"][key])) for key, name in report.TOP),
        (Verdict(head, tail), Verdict(tested, report.AT_CHANCE if summaries.at_chance(metrics) else "")),
        _uncertainty(choice, metrics),
        choice.messages,
        (*_candidates(choice), *report.data({"train": list(choice.counts.values())}, None, tuple(choice.counts))),
        {
            "recipe of the recommended method": CHOSEN,
            "final run": f"{run.folder.name}/{REPORT}",
            **({"study of the candidates": f"{STUDY}/{REPORT}"} if choice.decision else {}),
        },
        tuple(summaries.run_warnings(run)),
    )
    return write_page(page, choice.folder / REPORT)


def _uncertainty(choice: MethodChoice, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    lines = [f"The intervals of the test are over {count_units(metrics['units'], metrics['unit'])}."]
    if choice.decision:
        lines = [
            f"The unit of replication of the selection is the fold: {choice.decision.folds} folds, "
            "subject-independent where subjects are known.",
            "Folds share training samples: intervals and p are those of the corrected resampled t-test (Nadeau and "
            "Bengio 2003), with the error pooled over all methods. The study's own page tests each candidate with its "
            "own error, so it may find fewer differences.",
            "p is corrected over the candidates by Holm; intervals are simultaneous for all of them (Bonferroni).",
            *lines,
        ]
    return (*lines, summaries.ONE_RUN)


def _candidates(choice: MethodChoice) -> list[PageSection]:
    """Show every candidate, and the recall of each class over all folds."""
    decision, study = choice.decision, choice.study
    if decision is None or study is None:
        return []
    rows: list[Row] = [(ERM, decision.erm, "–", "–", "–", "–", "the baseline")]
    for result in decision.candidates:
        better = f"{result.better} of {decision.folds}"
        rows.append(
            (
                *(result.name, result.value, result.estimate, result.p, result.p_independent),
                *(better, EFFECTS[result.name]),
            )
        )
    header = (
        *("method", "balanced accuracy", "difference", "p, Holm", "p, folds as independent"),
        *("folds better", "what it does"),
    )
    table = Table("candidates", "Candidates on folds of the training set", header, tuple(rows))
    text = "Each method was trained on all folds but one and tested on that one, in turn."
    counts = {"train": list(choice.counts.values())}
    return [PageSection("Candidates", text, tables=(table,)), report.classes(_pooled(study), counts)]


def _pooled(study: StudyResult) -> Comparison:
    """Compare the methods on the predictions of all folds, each sample predicted by a network not trained on it."""
    return compare(
        {
            str(name): _concatenated([Run(study.folder / str(folder)).predictions for folder in rows["folder"]])
            for name, rows in study.runs.groupby("method", sort=False)
        },
        metrics=["balanced_accuracy"],
    )


def _concatenated(parts: list[Predictions]) -> Predictions:
    def column(name: str) -> np.ndarray | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else np.concatenate(values)

    first = parts[0]
    return Predictions(
        np.concatenate([part.sample for part in parts]),
        column("subject"),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        first.classes,
        clip=column("clip"),
        ordered=first.ordered,
        scores=column("scores"),
    )
