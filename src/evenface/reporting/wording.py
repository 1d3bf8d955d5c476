"""What a comparison says, in words: the answer first, then how sure."""

from collections.abc import Mapping
from typing import Any

from evenface.evaluation.bootstrap import estimate
from evenface.evaluation.comparison import Comparison, Difference, MethodPair
from evenface.evaluation.formatting import UNITS, listed, signed, units_said, with_interval
from evenface.evaluation.metric_registry import CLIP, HEADLINE, label
from evenface.evaluation.paired_tests import ALPHA, NOTHING, swap_floor

NAMED = 3
FEW_PEOPLE = 20
NARROW = "With so few people the intervals are somewhat too narrow."
ALONE = "All test samples are of one {}: how much others would differ is not known, so there are no intervals."
TOGETHER = "All samples of a {} are drawn together, as they resemble each other."
UNKNOWN = "Whom the samples show is not known. If they show some people often, the intervals are too narrow."
LEVELS, CONTINUOUS = ("mae", "qwk", "icc"), ("rmse", "pearson", "ccc", "icc_3_1")
"""Metrics of the last screen, where classes are ordered."""


def run_screen(result: Mapping[str, Any]) -> str:
    """Write the last screen of one run; ``result`` is what ``metrics_of`` gives."""
    overall, units = result["overall"], units_said(result)
    line = "   ".join(f"{label(key)} {with_interval(estimate(overall[key]))}" for key in HEADLINE)
    found = {name: entry["recall"]["value"] for name, entry in result["per_class"].items() if entry["support"]}
    best, worst = max(found, key=lambda name: found[name]), min(found, key=lambda name: found[name])
    lines = [line, *_levels(result), *_clips(result)]
    return (
        "\n".join(lines)
        + f"\nover {units}; found best: {best} ({found[best]:.2f}), least: {worst} ({found[worst]:.2f})"
    )


def _levels(result: Mapping[str, Any]) -> list[str]:
    """Write how far predictions are from the true level, where classes are ordered."""
    if "levels" not in result:
        return []
    lines = {"": LEVELS, "continuous   ": CONTINUOUS}
    return [
        start + "   ".join(f"{_short(key)} {with_interval(estimate(result['levels'][key]))}" for key in keys)
        for start, keys in lines.items()
    ]


def _short(name: str) -> str:
    return label(name).removesuffix(" (continuous)")


def _clips(result: Mapping[str, Any]) -> list[str]:
    """Write the result by clip, where clips have several samples."""
    if "mixed" in result:
        return [mixed(result)]
    if "by_clip" not in result:
        return []
    clips = result["by_clip"]
    said = [("balanced accuracy", clips["overall"]["balanced_accuracy"]), ("accuracy", clips["overall"]["accuracy"])]
    said += [(label("mae"), clips["levels"]["mae"])] if "levels" in clips else []
    return [f"by clip ({clips['samples']:,})   " + "   ".join(f"{n} {with_interval(estimate(e))}" for n, e in said)]


def mixed(result: Mapping[str, Any]) -> str:
    """Say why there is no result by clip."""
    return f"no result by clip: samples of one clip differ in label or subject, such as those of {result['mixed']}"


def counted(comparison: Comparison) -> str:
    """Say over how many of what: ``40 people`` or ``3,589 samples``."""
    return f"{comparison.units:,} {comparison.unit}"


def difference(pair: MethodPair, comparison: Comparison) -> str:
    """Write the difference of balanced accuracy, its interval and what it rests on."""
    main = pair.overall["balanced_accuracy"]
    return f"{signed(main.value)} [{signed(main.low)}, {signed(main.high)}] over {counted(comparison)}"


def judgement(pair: MethodPair) -> str:
    """Say which method is better and on which classes, or that there is no evidence of a difference.

    Classes are named only where their own difference holds after Holm's correction.
    """
    main = pair.overall["balanced_accuracy"]
    up = _named([d for d in pair.classes if d.certain and d.value > 0])
    down = _named([d for d in pair.classes if d.certain and d.value < 0])
    if not main.certain:
        parts = [f"better on {up}"] * bool(up) + [f"worse on {down}"] * bool(down)
        return NOTHING + (f"; yet {pair.candidate} is {' and '.join(parts)}" if parts else "")
    if main.value > 0:
        parts = [f"most on {up}"] * bool(up) + [f"worse on {down}"] * bool(down)
    else:
        parts = [f"most on {down}"] * bool(down) + [f"better on {up}"] * bool(up)
    word = "better" if main.value > 0 else "worse"
    return f"{pair.candidate} is {word}; " + (", ".join(parts) or "no single class stands out")


def _named(differences: list[Difference]) -> str:
    ordered = sorted(differences, key=lambda d: -abs(d.value))[:NAMED]
    return listed([f"{d.name} ({signed(d.value, 2)})" for d in ordered])


def verdict(pair: MethodPair, comparison: Comparison) -> str:
    """Write one line: difference, interval, what it rests on, judgement."""
    return f"difference {difference(pair, comparison)}: {judgement(pair)}"


def screen(comparison: Comparison) -> str:
    """Write the last screen of a comparison: values of all methods, then a verdict per pair."""
    values = [(m.name, with_interval(m.overall["balanced_accuracy"])) for m in comparison.methods]
    if len(values) == 2:
        head = ["balanced accuracy   " + "   ".join(f"{name} {value}" for name, value in values)]
        return "\n".join([*head, verdict(comparison.pairs[0], comparison), *_by_clip(comparison)])
    width = max(len(name) for name, _ in values)
    lines = ["balanced accuracy", *(f"  {name:<{width}}  {value}" for name, value in values)]
    lines.append(f"difference from {comparison.methods[0].name} over {counted(comparison)}")
    for pair in comparison.pairs:
        main = pair.overall["balanced_accuracy"]
        change = f"{signed(main.value)} [{signed(main.low)}, {signed(main.high)}]"
        lines.append(f"  {pair.candidate:<{width}}  {change}: {judgement(pair)}")
    return "\n".join([*lines, *_by_clip(comparison)])


def _by_clip(comparison: Comparison) -> list[str]:
    """Write the differences by clip, where clips have several samples."""
    key = f"{CLIP}balanced_accuracy"
    found = [(pair.candidate, pair.overall[key]) for pair in comparison.pairs if key in pair.overall]
    several = len(comparison.pairs) > 1
    return [
        f"by clip, difference {f'of {name} ' * several}{signed(d.value)} [{signed(d.low)}, {signed(d.high)}]: "
        + (NOTHING if not d.certain else f"{name} is {'better' if d.value > 0 else 'worse'}")
        for name, d in found
    ]


def sureness(comparison: Comparison) -> list[str]:
    """State what the intervals rest on, what they leave out, and what would mislead."""
    unit = UNITS[comparison.unit]
    seeds = [len(method.runs) for method in comparison.methods]
    lines = [
        f"{comparison.level:.0%} intervals from {comparison.resamples:,} resamples of {counted(comparison)}; "
        f"the unit of replication is the {unit}."
    ]
    if comparison.unit != "samples":
        lines.append(TOGETHER.format(unit))
    if comparison.unit != "people":
        lines.append(UNKNOWN)
    if max(seeds) > 1:
        runs = f"{seeds[0]}" if len(set(seeds)) == 1 else ", ".join(map(str, seeds))
        lines.append(
            f"Each method is the mean over its training runs ({runs} seeds). The intervals are for these trained "
            "networks; the spread over seeds is given beside them."
        )
    else:
        lines.append("Each method is one training run: how much another seed would change is not in the intervals.")
    if comparison.unit == "people" and comparison.units < FEW_PEOPLE:
        lines.append(NARROW)
    return [*lines, *_families(comparison)]


def _families(comparison: Comparison) -> list[str]:
    """State what Holm's correction runs over, and where so few units cannot reach 0.05 whatever the predictions are."""
    pairs, classes = len(comparison.pairs), len(comparison.classes)
    metrics = len(comparison.pairs[0].overall)
    over = f"over the {pairs} differences of a metric, and " if pairs > 1 else ""
    lines = [
        f"Holm: p is corrected {over}over the {classes} classes of a method. The {metrics} metrics are not corrected "
        "for: the verdict rests on balanced accuracy alone. No evidence of a difference is no evidence of equality."
    ]
    least, over = swap_floor(comparison.units), f"With {counted(comparison)}"
    if least * pairs > ALPHA:
        family = f" over {pairs} differences" if pairs > 1 else ""
        lines.append(
            f"{over} no difference can reach p = {ALPHA:g}, however large it is: the least p is "
            f"{min(1.0, least * pairs):.3g}{family}."
        )
    elif least * classes > ALPHA:
        lines.append(f"{over} no single class can reach p = {ALPHA:g}: the least p over {classes} classes is ")
        lines[-1] += f"{least * classes:.3g}."
    return lines
