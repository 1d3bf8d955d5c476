"""Console summaries of runs and comparisons, and the names, warnings, notes and provenance that reports show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.evaluation.bootstrap import estimate
from evenface.evaluation.comparison import Comparison, Difference, MethodPair
from evenface.evaluation.formatting import UNITS, count_units, listed, signed, signed_interval, with_interval
from evenface.evaluation.metric_registry import CLIP, HEADLINE, TARGET_HEADLINE, label
from evenface.evaluation.paired_tests import ALPHA, NOTHING, swap_floor
from evenface.evaluation.summary import measured
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.reporting.published_ceilings import CEILINGS, Ceiling
from evenface.runs import PLACE, REPORT, Run, differing_keys
from evenface.utils.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MAIN = "balanced_accuracy"
"""Metric that a comparison is decided by."""
TRAIN_LOSS = "train_loss"
"""Column of a history: the loss that a method minimises, which differs from method to method."""
MOST_CLASSES = 3
"""Classes that a verdict names."""
FEW_PEOPLE = 20
NARROW = "With so few people the intervals are somewhat too narrow."
ALONE = "All test samples are from one {}: the variation between {} is unknown, so there are no intervals."
CLUSTERED = "The samples of a {} are resampled together, as they are correlated."
UNKNOWN = "The people in the samples are unknown. If some appear often, the intervals are too narrow."
ONE_RUN = "One training run: the variation between seeds is not in the intervals."
LEVELS, CONTINUOUS = ("mae", "qwk", "icc"), ("rmse", "pearson", "ccc", "icc_3_1")
"""Metrics of the console summary, where classes are ordered."""
DRAWN = "drawn, in train"
"""Name beside the splits of the drawn faces, which are counted in the training set too."""
LEAKY = "LEAKY"
"""Prefix of a note on a split with people or clips in both training and test set; see :mod:`evenface.data.splits`."""
WARNING = "WARNING:"
"""Prefix of a note that must be read before any number of a run."""
BY_TARGET = {"multilabel": "target_average_precision", "regression": "ccc"}
"""Metric of each target in the console summary."""
ROUNDING = 1e-9
LONGEST_NAME = 60
FACES_PER_CLASS = 8


# Console summaries


def run_summary(run: Run) -> list[str]:
    """Return the last lines of the console: warnings, metrics, their uncertainty, the report, the next command."""
    return [*run_warnings(run), *metrics_summary(run.metrics), f"report  {run.folder / REPORT}", next_step(run)]


def next_step(run: Run) -> str:
    """Return the line that names the command to go on with."""
    if fused := run.facts.get("fused"):
        return f"next    evenface compare {' '.join(fused['runs'])} {run.folder}"
    content = run.facts.get("content", "stills")
    file = {"stills": "photo.jpg", "clips": "video.mp4"}.get(content, "FILE")
    options = run.facts.get("model", {}).get("options", "")
    return f"next    evenface predict {file} --model {run.facts['run'] if 'on' in run.facts else run.folder}{options}"


def best_method(comparison: Comparison) -> str:
    """Return the method with the largest significant gain in the main metric, or the baseline where there is none."""
    gains = {pair.candidate: pair.overall[pair.main] for pair in comparison.pairs}
    better = [name for name, gain in gains.items() if gain.certain and gain.value > 0]
    return max(better, key=lambda name: gains[name].value) if better else comparison.methods[0].name


def metrics_summary(result: Mapping[str, Any]) -> list[str]:
    """Return the metrics of one run in a few lines; ``result`` is the content of ``metrics.json``."""
    if "per_target" in result:
        return _of_targets(result)
    best, worst = (f"{name} ({recall:.2f})" for name, recall in extreme_recalls(result))
    return [
        "   ".join(f"{label(key)} {with_interval(estimate(result['overall'][key]))}" for key in HEADLINE),
        *_levels(result),
        *_clips(result),
        f"over {count_units(result['units'], result['unit'])}; highest recall: {best}, lowest: {worst}",
        *_chance_note(result),
    ]


def _chance_note(result: Mapping[str, Any]) -> list[str]:
    """Warn of a run that is no better than a constant prediction."""
    if not at_chance(result):
        return []
    missed = result["never_predicted"]
    never = f"; never predicted: {', '.join(missed)}" if missed else ""
    return [f"note    not significantly above chance, a balanced accuracy of {chance_level(result):.3f}{never}"]


def chance_level(result: Mapping[str, Any]) -> float:
    """Return the balanced accuracy of constant predictions: 1 / number of classes in the test data."""
    return 1 / sum(1 for entry in result["per_class"].values() if entry["support"])


def at_chance(result: Mapping[str, Any]) -> bool:
    """Return whether the interval of balanced accuracy contains chance level."""
    low = result["overall"][MAIN]["low"]
    return low is not None and low <= chance_level(result) + ROUNDING


def _of_targets(result: Mapping[str, Any]) -> list[str]:
    keys, each = TARGET_HEADLINE[result["task"]], BY_TARGET[result["task"]]
    values = {name: entry[each]["value"] for name, entry in result["per_target"].items()}
    known = {name: value for name, value in values.items() if value is not None}
    lines = ["   ".join(f"{target_label(key)} {with_interval(estimate(result['overall'][key]))}" for key in keys)]
    if len(values) == 1:
        return [*lines, f"over {count_units(result['units'], result['unit'])}"]
    shown = sorted(known, key=lambda name: known[name])
    ends = [f"{name} ({known[name]:.2f})" for name in (shown[-1], shown[0])] if shown else ["none", "none"]
    what = target_label(each)
    units = count_units(result["units"], result["unit"])
    return [*lines, f"over {units}; highest {what}: {ends[0]}, lowest: {ends[1]}"]


def target_label(name: str) -> str:
    """Return a metric's name for readers who know that it is of targets.

    Examples
    --------
    >>> target_label("macro_target_f1"), target_label("ccc")
    ('macro F1', 'CCC')
    """
    return label(name).removesuffix(" (continuous)")


def extreme_recalls(result: Mapping[str, Any]) -> tuple[tuple[str, float], tuple[str, float]]:
    """Return the classes of highest and lowest recall with their values; of equal ones the first."""
    recalls = {name: entry["recall"]["value"] for name, entry in result["per_class"].items() if entry["support"]}
    best, worst = max(recalls, key=lambda name: recalls[name]), min(recalls, key=lambda name: recalls[name])
    return (best, recalls[best]), (worst, recalls[worst])


def _levels(result: Mapping[str, Any]) -> list[str]:
    if "levels" not in result:
        return []
    lines = {"": LEVELS, "continuous   ": CONTINUOUS}
    return [
        start
        + "   ".join(
            f"{label(key).removesuffix(' (continuous)')} {with_interval(estimate(result['levels'][key]))}"
            for key in keys
        )
        for start, keys in lines.items()
    ]


def _clips(result: Mapping[str, Any]) -> list[str]:
    if "mixed" in result:
        return [mixed_clips(result)]
    if "by_clip" not in result:
        return []
    clips = result["by_clip"]
    entries = {label(key): clips["overall"][key] for key in (MAIN, "accuracy")}
    if "levels" in clips:
        entries[label("mae")] = clips["levels"]["mae"]
    values = "   ".join(f"{name} {with_interval(estimate(entry))}" for name, entry in entries.items())
    return [f"by clip ({clips['samples']:,})   {values}"]


def mixed_clips(result: Mapping[str, Any]) -> str:
    """Explain why there is no result by clip."""
    return f"no result by clip: samples of one clip differ in label or subject, such as those of {result['mixed']}"


def comparison_summary(comparison: Comparison) -> str:
    """Return the last lines of a comparison: values of all methods, then the verdict on each pair."""
    main = comparison.main
    values = [(method.name, with_interval(method.overall[main])) for method in comparison.methods]
    if len(values) == 2:
        lines = [f"{label(main)}   " + "   ".join(f"{name} {value}" for name, value in values)]
        return "\n".join([*lines, verdict(comparison.pairs[0], comparison), *_differences_by_clip(comparison)])
    width = max(len(name) for name, _ in values)
    lines = [label(main), *(f"  {name:<{width}}  {value}" for name, value in values)]
    lines.append(f"difference from {comparison.methods[0].name} over {count_units(comparison.units, comparison.unit)}")
    for pair in comparison.pairs:
        lines.append(f"  {pair.candidate:<{width}}  {signed_interval(pair.overall[main], 3)}: {conclusion(pair)}")
    return "\n".join([*lines, *_differences_by_clip(comparison)])


def verdict(pair: MethodPair, comparison: Comparison) -> str:
    """Return the difference of two methods, its interval, the unit of replication and the conclusion in one line."""
    return f"difference {main_difference(pair, comparison)}: {conclusion(pair)}"


def main_difference(pair: MethodPair, comparison: Comparison) -> str:
    """Return the difference of the main metric, its interval and the number of units."""
    return f"{signed_interval(pair.overall[pair.main], 3)} over {count_units(comparison.units, comparison.unit)}"


def conclusion(pair: MethodPair) -> str:
    """State which method is better and on which classes, or that there is no evidence of a difference.

    Classes are named only where their own difference is significant after Holm's correction.
    """
    main = pair.overall[pair.main]
    up = _largest([d for d in pair.classes if d.certain and d.value > 0])
    down = _largest([d for d in pair.classes if d.certain and d.value < 0])
    if not main.certain:
        parts = [f"better on {up}"] * bool(up) + [f"worse on {down}"] * bool(down)
        return NOTHING + (f"; yet {pair.candidate} is {' and '.join(parts)}" if parts else "")
    if main.value > 0:
        parts = [f"most on {up}"] * bool(up) + [f"worse on {down}"] * bool(down)
    else:
        parts = [f"most on {down}"] * bool(down) + [f"better on {up}"] * bool(up)
    word = "better" if main.value > 0 else "worse"
    return f"{pair.candidate} is {word}; " + (", ".join(parts) or "no single class differs significantly")


def _largest(differences: list[Difference]) -> str:
    ordered = sorted(differences, key=lambda d: -abs(d.value))[:MOST_CLASSES]
    return listed([f"{d.name} ({signed(d.value, 2)})" for d in ordered])


def _differences_by_clip(comparison: Comparison) -> list[str]:
    key = f"{CLIP}{MAIN}"
    pairs = [(pair.candidate, pair.overall[key]) for pair in comparison.pairs if key in pair.overall]
    several = len(comparison.pairs) > 1
    return [
        f"by clip, difference {f'of {name} ' * several}{signed_interval(d, 3)}: "
        + (NOTHING if not d.certain else f"{name} is {'better' if d.value > 0 else 'worse'}")
        for name, d in pairs
    ]


def comparison_uncertainty(comparison: Comparison) -> list[str]:
    """State what the intervals and tests of a comparison are based on, and what they leave out."""
    unit, units = UNITS[comparison.unit], count_units(comparison.units, comparison.unit)
    seeds = [len(method.runs) for method in comparison.methods]
    lines = [
        f"{comparison.level:.0%} intervals from {comparison.resamples:,} bootstrap samples of {units}; "
        f"the unit of replication is the {unit}."
    ]
    if comparison.unit != "samples":
        lines.append(CLUSTERED.format(unit))
    if comparison.unit != "people":
        lines.append(UNKNOWN)
    if max(seeds) > 1:
        runs = f"{seeds[0]}" if len(set(seeds)) == 1 else ", ".join(map(str, seeds))
        lines.append(
            f"Each method is the mean over its training runs ({runs} seeds). The intervals are for these trained "
            "networks; the standard deviation over seeds is listed as well."
        )
    else:
        lines.append(f"Each method is one training run{ONE_RUN.removeprefix('One training run')}")
    if comparison.unit == "people" and comparison.units < FEW_PEOPLE:
        lines.append(NARROW)
    return [*lines, *_corrections(comparison)]


def _corrections(comparison: Comparison) -> list[str]:
    """State the families of Holm's correction, and where so few units cannot reach 0.05 whatever the predictions."""
    pairs, classes = len(comparison.pairs), len(comparison.classes)
    metrics = len(comparison.pairs[0].overall)
    one, many = ("class", "classes") if comparison.each == "recall" else ("target", "targets")
    over = f"over the {pairs} differences of a metric, and " if pairs > 1 else ""
    lines = [
        f"Holm: p is corrected {over}over the {classes} {many} of a method. The {metrics} metrics are not corrected "
        f"for: the verdict is based on {label(comparison.main)} alone. No evidence of a difference is no evidence of "
        "equality."
    ]
    least, units = swap_floor(comparison.units), count_units(comparison.units, comparison.unit)
    if least * pairs > ALPHA:
        family = f" over {pairs} differences" if pairs > 1 else ""
        lines.append(
            f"With {units} no difference can reach p = {ALPHA:g}, however large it is: the smallest possible p is "
            f"{min(1.0, least * pairs):.3g}{family}."
        )
    elif least * classes > ALPHA:
        lines.append(
            f"With {units} no single {one} can reach p = {ALPHA:g}: the smallest possible p over {classes} {many} is "
            f"{least * classes:.3g}."
        )
    return lines


# Names, warnings, notes and provenance of runs


def group_runs(runs: Sequence[Run], names: Sequence[str] | None = None) -> dict[str, list[Run]]:
    """Group runs into methods: those of the same name, or whose recipes differ in the seed only."""
    folders = [run.folder.resolve() for run in runs]
    for folder, run in zip(folders, runs, strict=True):
        if folders.count(folder) > 1:
            raise InputError(f"the run {run.folder} is listed twice", "List each run once.")
    if names is not None and len(names) != len(runs):
        raise InputError(f"{len(runs)} runs need {len(runs)} names, got {len(names)}")
    groups: dict[str, list[Run]] = {}
    for name, run in zip(names or _method_names(runs), runs, strict=True):
        groups.setdefault(name, []).append(run)
    return groups


def _method_names(runs: Sequence[Run]) -> list[str]:
    """Name each run by the settings in which it differs; runs share a name exactly if their settings are equal."""
    trained = [run for run in runs if not run.facts.keys() & {"model", "fused"}]
    names = iter(_names_by_settings(trained) if len(trained) > 1 else [run.recipe.name for run in trained])
    return [_untrained_name(run) or next(names) for run in runs]


def _untrained_name(run: Run) -> str:
    """Return the name of a model file, whose recipe states only how it was tested, or of a fusion; else nothing."""
    if model := run.facts.get("model"):
        return str(model["name"])
    return run.folder.name if "fused" in run.facts else ""


def _names_by_settings(runs: Sequence[Run]) -> list[str]:
    keys = differing_keys([run.recipe for run in runs], ignore=("seed", *PLACE))
    different = dict(sorted(keys.items(), key=lambda item: not item[0].endswith(".name")))
    known: dict[str, str] = {}
    names = []
    for index, run in enumerate(runs):
        settings = repr([values[index] for values in different.values()])
        if settings not in known:
            own = {key: values[index] for key, values in different.items() if values[index] is not None}
            if "loss.name" in own:  # the loss of the task, where the recipe has none of its own
                own["loss.name"] = run.facts.get("loss", own["loss.name"])
            parts = [_setting(key, value) for key, value in own.items()]
            short = ", ".join(parts)
            name = short if short and len(short) <= LONGEST_NAME else run.recipe.name
            known[settings] = str(run.folder) if name in known.values() else name
        names.append(known[settings])
    return names


def _setting(key: str, value: object) -> str:
    """Return a setting in short form: a loss, method or network by its own name."""
    section, _, last = key.rpartition(".")
    return str(value) if last == "name" else f"{last} {value}" if section else f"{key} {value}"


def run_title(run: Run) -> str:
    """Return the name of a run's folder; of a cross-dataset evaluation, the names of the run and the data."""
    other = run.facts.get("on")
    name = run.facts["model"]["name"] if "model" in run.facts else Path(run.facts.get("run", "")).name
    return f"{name} on {other['name']}" if other else run.folder.name


def leakage_notes(run: Run) -> list[str]:
    """Return the run's notes on people or clips that are in both training and test set."""
    return [note for note in run.facts["notes"] if note.startswith(LEAKY)]


def warning_notes(run: Run) -> list[str]:
    """Return the run's notes that are warnings: of a leaky split, or of a failed training."""
    return [note for note in run.facts["notes"] if note.startswith((LEAKY, WARNING))]


def run_warnings(run: Run) -> list[str]:
    """Return what must be read before any number of a run: its warning notes, and implausibly good results."""
    ceiling = _exceeded(run)
    return [*warning_notes(run), *([f"{WARNING} {ceiling.warning}"] if ceiling else [])]


def _exceeded(run: Run) -> Ceiling | None:
    """Return the ceiling that accuracy, by sample or by clip, is above without a known overlap of people."""
    recipe = run.facts["on"] if "on" in run.facts else run.facts["recipe"]
    ceiling, predictions = CEILINGS.get(recipe["data"]["source"]), run.results
    if ceiling is None or isinstance(predictions, TargetPredictions) or len(predictions.classes) != ceiling.classes:
        return None
    if ((recipe.get("protocol") or {}).get("imbalance") or {}).get("on") == "all":  # no longer the published test set
        return None
    best = max(measured("accuracy", predictions), np.nan_to_num(measured("clip_accuracy", predictions)))
    if best <= ceiling.accuracy:
        return None
    if predictions.subject is None:
        return ceiling
    sides = run.split
    trained = sides.loc[sides["side"] != "test", "subject"]
    return None if set(predictions.subject) & set(trained) else ceiling


def shared_warnings(runs: Sequence[Run]) -> list[str]:
    """Return the warnings of several runs: the first of each kind, with the number of runs it concerns.

    Splits that leak in the same way are one kind, though they differ in how much.
    """
    kinds: dict[str, list[str]] = {}
    for run in runs:
        for text in run_warnings(run):
            kinds.setdefault(":".join(text.split(":")[:2]), []).append(text)
    lines = []
    for texts in kinds.values():
        about = "" if len(texts) == len(runs) else f" ({len(texts)} of {len(runs)} runs)"
        lines.append(texts[0] + about + (" (as in the first of them)" if len(set(texts)) > 1 else ""))
    return lines


def chance_warnings(comparison: Comparison) -> list[str]:
    """Warn where no method of a comparison of classes is better than constant predictions."""
    chance = 1 / max(1, sum(1 for samples in comparison.support if samples))
    if comparison.main != MAIN or not all(m.overall[MAIN].low <= chance + ROUNDING for m in comparison.methods):
        return []
    return [
        f"{WARNING} no method is significantly above chance, a balanced accuracy of {chance:.3f}: these runs do not "
        "show which method is better"
    ]


def comparable_histories(groups: Mapping[str, Sequence[Run]]) -> dict[str, pd.DataFrame]:
    """Return what the first run of each method logged, without training losses where these are not of one kind."""
    first = {name: runs[0] for name, runs in groups.items()}
    losses = {(run.recipe.method.model_dump_json(), run.recipe.loss.model_dump_json()) for run in first.values()}
    left_out = [TRAIN_LOSS] if len(losses) > 1 else []
    return {name: run.history.drop(columns=left_out, errors="ignore") for name, run in first.items()}


def protocol_notes(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return notes on the runs' protocols besides warnings, and on differences in their training."""
    runs = [run for group in groups.values() for run in group]
    notes = list(dict.fromkeys(note for run in runs for note in run.facts["notes"] if note not in warning_notes(run)))
    if any(run.facts["counts"] != runs[0].facts["counts"] for run in runs):
        notes.append("the methods were trained on different sample counts; those of the first are shown")
    return [*notes, *precision_notes(runs)]


def precision_notes(runs: Sequence[Run]) -> list[str]:
    """Return a note where runs that are compared were trained in different precisions."""
    precisions = list(dict.fromkeys(run.precision for run in runs))
    return [f"the runs were trained in different precisions: {', '.join(precisions)}"] if len(precisions) > 1 else []


def class_counts(run: Run) -> dict[str, list[int]]:
    """Return the samples per class (multi-label: in which a target is present) of the splits that have any."""
    counts = dict(run.facts.get("target_counts", run.facts["counts"]))
    if "synthetic" in run.facts:
        counts = {"train": counts["train"], DRAWN: run.facts["synthetic"]["counts"], **counts}
    return {side: values for side, values in counts.items() if any(values)}


def drawn_faces(run: Run) -> dict[str, int]:
    """Return the number of faces of synthetic people among the training samples of each class that has any."""
    counts = run.facts.get("synthetic", {}).get("counts", [])
    return {name: count for name, count in zip(run.facts["classes"], counts, strict=False) if count}


def counted_names(run: Run) -> list[str]:
    """Return what :func:`class_counts` counts: the classes, the targets of a multi-label task, or the strata."""
    return list(run.facts["targets"] if "target_counts" in run.facts else run.facts["classes"])


def provenance(runs: Sequence[Run]) -> dict[str, str]:
    """Return how runs were made: recipe, data, network, versions."""

    def distinct(describe: Callable[[Run], object]) -> str:
        return "; ".join(dict.fromkeys(str(describe(run)) for run in runs))

    return {
        "recipes": distinct(lambda run: run.recipe.name),
        "seeds": distinct(lambda run: run.recipe.seed),
        "data": distinct(_data),
        "protocol": distinct(lambda run: run.recipe.protocol.kind),
        "network": distinct(_network),
        "device": distinct(lambda run: run.facts["device"]),
        "precision": distinct(_precision),
        "training": distinct(_training),
        "manifest": distinct(lambda run: run.facts["manifest"]),
        "versions": distinct(lambda run: ", ".join(f"{name} {v}" for name, v in run.facts["environment"].items())),
    }


def _training(run: Run) -> str:
    if "model" in run.facts:
        return "not by evenface"
    return f"{run.facts['epochs']} epochs in {run.facts['training_seconds']:.0f} s"


def _data(run: Run) -> str:
    model = run.facts.get("model")
    source = model["training_data"] if model else run.recipe.data.source
    other = run.facts.get("on")
    tested = f"trained on {source}, tested on {other['data']['source']}" if other else source
    if run.recipe.modality == "sequences":
        return f"{tested}, {run.facts['prepared']}"
    frames = run.facts.get("frames", 1)
    per_clip = f", {frames} frames of each" if frames > 1 else ""
    drawn = sum(drawn_faces(run).values())
    added = f", and {drawn:,} drawn faces in the training set" if drawn else ""
    return f"{tested}, {run.recipe.data.size} px, {run.facts['prepared']}{per_clip}{added}"


def _network(run: Run) -> str:
    network = run.recipe.network
    if "model" in run.facts:
        return network.name
    if fused := run.facts.get("fused"):
        return " and ".join(fused["networks"])
    if run.recipe.modality == "sequences":
        networks = [entry["network"] for entry in run.facts["networks"].values()]
        widths = [f"{entry['dense']}-{entry['hidden']}-{entry['top']}" for entry in networks]
        several = f"{len(networks)} of " if len(networks) > 1 else ""
        return f"{several}{network.recurrent.kind}, widths {', '.join(dict.fromkeys(widths))}"
    steps = f", {network.temporal.kind} over {network.temporal.over}" if network.temporal.kind != "mean" else ""
    return f"{network.name} ({Path(network.weights).name}){steps}"


def _precision(run: Run) -> str:
    return f"{run.precision}, chosen by the hardware" if run.recipe.training.precision == "auto" else run.precision


def _shown_samples(run: Run, tested: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Map each class, or each target of a multi-label task, to its test samples."""
    results = run.results
    if isinstance(results, TargetPredictions) and results.task == "multilabel":
        present = zip(results.names, results.targets.T, strict=True)
        return {name: tested[tested["sample"].isin(results.sample[values > 0])] for name, values in present}
    return {name: tested[tested["label"] == index] for index, name in enumerate(run.facts["classes"])}


def sample_faces(run: Run) -> dict[str, np.ndarray] | None:
    """Pick some test faces of each class from the store, of clips the middle frame; None where it cannot be used."""
    try:
        images = run.store.images
    except InputError as error:
        run.log(f"the report shows no faces: {error.message}")
        return None
    if images is None:  # numeric sequences have no images
        return None
    sides = run.split
    tested = sides[sides["side"] == "test"]
    faces = {}
    for name, own in _shown_samples(run, tested).items():
        rows = own.sort_values("sample")["row"].to_numpy()
        if len(rows):
            picked = rows[np.linspace(0, len(rows) - 1, min(FACES_PER_CLASS, len(rows))).round().astype(int)]
            faces[name] = np.asarray(images[np.unique(picked), images.shape[1] // 2])
    return faces
