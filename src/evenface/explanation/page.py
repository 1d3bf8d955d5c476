"""The page of all explanations, in the style of the reports, and the figure of the curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from evenface.config.explain import ExplainSettings
from evenface.explanation.drawing import KEY
from evenface.explanation.faithfulness import SHARES, Faithfulness
from evenface.explanation.storage import Part, curves_of
from evenface.inference.model import Model
from evenface.reporting.page import CaptionedFigure, CaptionedImage, Page, PageSection, Tile, Verdict, write_page
from evenface.reporting.style import MUTED, colour, panels, save, styled
from evenface.reporting.tables import Table
from evenface.utils.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 60
"""Pictures that the page holds; the others stand beside it."""
CURVES = "deletion-insertion.png"
SURE = {
    "places": "Places that are gone are {how}; a random order is the same map with its places shuffled.",
    "frames": "A frame that is gone gives way to the nearest that is left; the last one stays.",
    "points": "A point that is gone is where it usually is, in the mean of the run's prepared data.",
}
WAYS = {
    "gradcam": "Grad-CAM of the network's last maps. A map says where, not how much: each class has its own scale.",
    "cam": "Class-activation maps of the network's last maps, each class on its own scale from lowest to highest.",
    "gradients": "Integrated gradients from the usual sequence to this one, in units of the logit.",
    "occlusion": "What is lost when something is left out, in units of the logarithm of the probability.",
}


def page_of(
    model: Model,
    made: Sequence[Part],
    checks: Sequence[Faithfulness],
    said: Sequence[str],
    choice: ExplainSettings,
    path: Path,
) -> None:
    """Write the page, and the figure of the curves beside it."""
    sections = [_pictures(path.parent, made)]
    if checks:
        figure = curves_figure(made)
        save(figure, path.parent / CURVES)
        sections.append(_matters(curves_figure(made), checks))
    samples = sum(len(part["samples"]) for part in made)
    how = "blurred" if choice.baseline == "blur" else "grey as the mean of their frame"
    notes = list(said[:20])
    if any(part["truth"] is not None for part in made):
        notes.append("The true class is the name of the folder that a file lies in.")
    if model.form.kind != "stills" or any(len(part["samples"]) == choice.samples for part in made):
        notes.append(
            f"Of videos and files of numbers at most {choice.samples} frames or windows are explained: those where "
            "each class is most probable."
        )
    notes.append("An explanation says what this model's answer rests on, not what a face expresses.")
    page = Page(
        "explanations",
        f"What {model.name} looks at",
        "Better than random orders, area under the curve" if checks else "",
        tuple(
            Tile(f"{one.what}, {way}", f"{gain.value:+.3f}", _interval(gain), 0 if way == "taken out" else 1)
            for one in checks
            for way, gain in (("taken out", one.lower), ("put in", one.higher))
        ),
        tuple(Verdict(f"{one.verdict[0].upper()}{one.verdict[1:]}.", _tail(one)) for one in checks),
        (WAYS[made[0]["method"]], *(SURE[one.what].format(how=how) for one in checks)),
        tuple(notes),
        tuple(sections),
        {
            "model": model.name,
            "classes": ", ".join(model.classes),
            "files": f"{len(made):,}",
            "explained": f"{samples:,}",
            "method": made[0]["method"],
            "random orders": f"{choice.random_orders} of each sample, seed {choice.seed}" if checks else "not checked",
            "evenface": __version__,
        },
        source="the files that are named on it",
    )
    write_page(page, path)


def _interval(gain: Any) -> str:
    return "no interval of one file" if np.isnan(gain.low) else f"95 % interval {gain.low:+.3f} to {gain.high:+.3f}"


def _tail(one: Faithfulness) -> str:
    return (
        f"Taken out first, what is marked leaves an area of {one.deletion:.3f} under the probability, put in first "
        f"{one.insertion:.3f}; random orders {one.random:.3f}."
    )


def _pictures(folder: Path, made: Sequence[Part]) -> PageSection:
    """Show the pictures of the first files."""
    shown = []
    for part in made[:MOST]:
        with Image.open(folder / part["picture"]) as image:
            shown.append(CaptionedImage(image.convert("RGB"), part["file"], part["picture"]))
    text = "The face comes first, then what speaks for each class, from yellow to red."
    if made[0]["samples"][0]["maps"] is None or made[0]["samples"][0]["frames"] is not None:
        text = f"In bands and bars, {KEY}."
    if len(made) > MOST:
        text += f"\nThe first {MOST} of {len(made):,} files; the others stand in the folder pictures."
    return PageSection("Explanations", text, images=tuple(shown))


def _matters(figure: "Figure", checks: Sequence[Faithfulness]) -> PageSection:
    """Show the curves and their areas."""
    rows = tuple(
        (one.what, one.samples, one.units, one.deletion, one.insertion, one.random, one.lower, one.higher)
        for one in checks
    )
    header = ("what", "samples", "files", "taken out", "put in", "random", "out: lower by", "in: higher by")
    table = Table(
        "deletion-insertion",
        "Areas under the curves of the class that was named",
        header,
        rows,
        "Lower is better taken out, higher put in. Intervals by resampling files, 95 %.",
    )
    caption = "Probability of the class that was named, as more and more is taken out, or put in; means over samples."
    text = (
        "If an explanation is right, the probability falls sooner when what it marks goes first, and rises sooner "
        "when that comes first."
    )
    return PageSection("Do they matter?", text, (CaptionedFigure("deletion-insertion", figure, caption),), (table,))


@styled
def curves_figure(made: Sequence[Part]) -> "Figure":
    """Draw mean curves: a row for places, frames and points, as far as there are, deletion left, insertion right."""
    gathered: dict[str, list[Any]] = {}
    for part in made:
        for one in curves_of(part):
            gathered.setdefault(one.what, []).append(one)
    figure, axes = panels(len(gathered), 2, 0.5 + 1.9 * len(gathered), sharex=True, sharey="row")
    for row, (what, several) in enumerate(gathered.items()):
        random = np.mean([one.random.mean(axis=0) for one in several], axis=0)
        own = [np.mean([getattr(one, name) for one in several], axis=0) for name in ("deletion", "insertion")]
        for column, (name, curve, chance) in enumerate(
            (("taken out", own[0], random), ("put in", own[1], random[::-1]))
        ):
            axis = axes[2 * row + column]
            axis.plot(SHARES, chance, color=MUTED, linestyle="--", label="random orders")
            axis.plot(SHARES, curve, color=colour(column), label="what is marked first")
            axis.set_title(f"{what} {name}", loc="left")
            axis.set_ylim(0, 1)
            axis.legend(loc="lower left" if column == 0 and curve[-1] > 0.5 else "best")
    for axis in axes[-2:]:
        axis.set_xlabel("share")
    axes[0].set_ylabel("probability")
    return figure
