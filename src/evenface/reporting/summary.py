"""What is shown of runs: the screen, and what reports need besides predictions, such as names and sample faces."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from evenface.config.modality import of_sequences
from evenface.evaluation.summary import measured
from evenface.reporting.wording import run_screen
from evenface.runs import PLACE, REPORT, Run, differing_keys
from evenface.utils.errors import InputError

LEAKY = "LEAKY"
"""Begins a note of a split that tears people or clips apart; see :mod:`evenface.data.splits`."""
WARNING = "WARNING:"
"""Begins a note that must be read before any number of a run."""
SUSPICIOUS = {"biovid": (5, 0.45)}
"""Source to its number of classes and to an accuracy that no face-only result on people not trained on comes near."""
PUBLISHED = (
    "accuracy on BioVid's five levels is above 45 % on people who were not trained on. Published results of face video "
    "alone, leaving one person out at a time, are 30.8 % (Werner 2016), 31.5 % (Gkikas and Tsiknakis 2023) and 35.4 % "
    "(Gkikas 2024): look for a leak (evenface data check) before believing it"
)
LONGEST_NAME = 60
SHOWN = 8
"""Sample faces of each class."""


def groups(runs: Sequence[Run], names: Sequence[str] | None = None) -> dict[str, list[Run]]:
    """Gather runs into methods: those of the same name, or whose recipes differ in the seed only."""
    places = [run.folder.resolve() for run in runs]
    for place, run in zip(places, runs, strict=True):
        if places.count(place) > 1:
            raise InputError(f"the run {run.folder} is given twice")
    if names is not None and len(names) != len(runs):
        raise InputError(f"{len(runs)} runs need {len(runs)} names, got {len(names)}")
    found: dict[str, list[Run]] = {}
    for name, run in zip(names or _names(runs), runs, strict=True):
        found.setdefault(name, []).append(run)
    return found


def _names(runs: Sequence[Run]) -> list[str]:
    """Name each run by the settings in which it differs; runs of equal settings, and only they, get one name."""
    found = differing_keys([run.recipe for run in runs], ignore=("seed", *PLACE))
    different = dict(sorted(found.items(), key=lambda item: not item[0].endswith(".name")))
    known: dict[str, str] = {}
    named = []
    for place, run in enumerate(runs):
        settings = repr([values[place] for values in different.values()])
        if settings not in known:
            said = [_said(key, values[place]) for key, values in different.items() if values[place] is not None]
            short = ", ".join(said)
            name = short if short and len(short) <= LONGEST_NAME else run.recipe.name
            taken = name in known.values()
            known[settings] = str(run.folder) if taken else name
        named.append(known[settings])
    return named


def _said(key: str, value: object) -> str:
    """Name a setting shortly: a loss, method or network by its own name."""
    section, _, last = key.rpartition(".")
    return str(value) if last == "name" else f"{last} {value}" if section else f"{key} {value}"


def title(run: Run) -> str:
    """Name a run by its folder; a test on other data by the run's folder and that data."""
    other = run.facts.get("on")
    return f"{Path(run.facts['run']).name} on {other['name']}" if other else run.folder.name


def screen(run: Run) -> list[str]:
    """Give the last screen of a run: warnings, the answer, how sure, where to look."""
    return [*warnings(run), *run_screen(run.metrics).splitlines(), f"report  {run.folder / REPORT}"]


def leaks(run: Run) -> list[str]:
    """Give the notes that say that people or clips stand on both sides of the run's split."""
    return [note for note in run.facts["notes"] if note.startswith(LEAKY)]


def warning_notes(run: Run) -> list[str]:
    """Return the run's notes that are warnings: of a leaky split, or of a training that went wrong."""
    return [note for note in run.facts["notes"] if note.startswith((LEAKY, WARNING))]


def warnings(run: Run) -> list[str]:
    """Say what must be read before any number of a run: its warning notes, a result too good for its data."""
    return [*warning_notes(run), *([f"{WARNING} {PUBLISHED}"] if _too_good(run) else [])]


def _too_good(run: Run) -> bool:
    """Whether accuracy, by sample or by clip, is beyond what is known, though no tested person was trained on."""
    source = (run.facts["on"] if "on" in run.facts else run.facts["recipe"])["data"]["source"]
    classes, most = SUSPICIOUS.get(source, (0, 1.0))
    predictions = run.predictions
    if len(predictions.classes) != classes or predictions.subject is None:
        return False
    best = max(measured("accuracy", predictions), np.nan_to_num(measured("clip_accuracy", predictions)))
    sides = run.split
    trained = sides.loc[sides["side"] != "test", "subject"]
    return best > most and not set(predictions.subject) & set(trained)


def warned(runs: Sequence[Run]) -> list[str]:
    """Gather the warnings of several runs: each kind once, with how many runs it is about.

    Splits that tear apart in the same way count as one kind, though they differ in how much; the first is shown.
    """
    kinds: dict[str, list[str]] = {}
    for run in runs:
        for text in warnings(run):
            kinds.setdefault(":".join(text.split(":")[:2]), []).append(text)
    shown = []
    for texts in kinds.values():
        about = "" if len(texts) == len(runs) else f" ({len(texts)} of {len(runs)} runs)"
        shown.append(texts[0] + about + (" (as in the first of them)" if len(set(texts)) > 1 else ""))
    return shown


def _data(run: Run) -> str:
    source = run.recipe.data.source
    other = run.facts.get("on")
    tested = f"trained on {source}, tested on {other['data']['source']}" if other else source
    if of_sequences(run.recipe):
        return f"{tested}, {run.facts['prepared']}"
    frames = run.facts.get("frames", 1)
    seen = f", {frames} frames of each" if frames > 1 else ""
    return f"{tested}, {run.recipe.data.size} px, {run.facts['prepared']}{seen}"


def _network(run: Run) -> str:
    network = run.recipe.network
    if of_sequences(run.recipe):
        found = {name: one["network"] for name, one in run.facts["networks"].items()}
        widths = [f"{one['dense']}-{one['hidden']}-{one['top']}" for one in found.values()]
        several = f"{len(found)} of " if len(found) > 1 else ""
        return f"{several}{network.recurrent.kind}, widths {', '.join(dict.fromkeys(widths))}"
    steps = f", {network.temporal.kind} over {network.temporal.over}" if network.temporal.kind != "mean" else ""
    return f"{network.name} ({Path(network.weights).name}){steps}"


def counts(run: Run) -> dict[str, list[int]]:
    """Give samples per class of the sides that have any."""
    return {side: values for side, values in run.facts["counts"].items() if any(values)}


def precision_of(run: Run) -> str:
    """Say in which precision a run was trained, and whether that was chosen by the hardware."""
    return f"{run.precision}, chosen by the hardware" if run.recipe.training.precision == "auto" else run.precision


def facts(runs: Sequence[Run]) -> dict[str, str]:
    """Say how runs were made, for the foot of a report."""

    def each(say: Callable[[Run], object]) -> str:
        return "; ".join(dict.fromkeys(str(say(run)) for run in runs))

    return {
        "recipes": each(lambda run: run.recipe.name),
        "seeds": each(lambda run: run.recipe.seed),
        "data": each(_data),
        "protocol": each(lambda run: run.recipe.protocol.kind),
        "network": each(_network),
        "device": each(lambda run: run.facts["device"]),
        "precision": each(precision_of),
        "training": each(lambda run: f"{run.facts['epochs']} epochs in {run.facts['training_seconds']:.0f} s"),
        "manifest": each(lambda run: run.facts["manifest"]),
        "versions": each(lambda run: ", ".join(f"{name} {v}" for name, v in run.facts["environment"].items())),
    }


def notes(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """Gather what must be known of the runs' protocols besides warnings, and say where their training differs."""
    runs = [run for group in groups.values() for run in group]
    found = list(dict.fromkeys(note for run in runs for note in run.facts["notes"] if note not in warning_notes(run)))
    if any(run.facts["counts"] != runs[0].facts["counts"] for run in runs):
        found.append("the methods did not train on the same counts; those of the first are shown")
    return [*found, *mixed_precision(runs)]


def mixed_precision(runs: Sequence[Run]) -> list[str]:
    """Return a note where runs that are compared were trained in different precisions."""
    found = list(dict.fromkeys(run.precision for run in runs))
    return [f"the runs were trained in different precisions: {', '.join(found)}"] if len(found) > 1 else []


def sample_faces(run: Run) -> dict[str, np.ndarray] | None:
    """Pick some test faces of each class from the store, of clips the middle frame; none where it cannot be used."""
    try:
        images = run.store.images
    except InputError as error:
        run.log(f"the report shows no faces: {error.message}")
        return None
    if images is None:  # sequences of numbers show nobody
        return None
    sides = run.split
    tested = sides[sides["side"] == "test"]
    shown = {}
    for label, name in enumerate(run.facts["classes"]):
        rows = tested[tested["label"] == label].sort_values("sample")["row"].to_numpy()
        if len(rows):
            picked = rows[np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int)]
            shown[name] = np.asarray(images[np.unique(picked), images.shape[1] // 2])
    return shown
