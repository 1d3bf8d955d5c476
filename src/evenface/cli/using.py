"""Verbs that use what was trained."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evenface.cli.base import Trust, app, echo
from evenface.cli.settings import with_settings

Folders = Annotated[
    Literal["pictures", "clips"] | None,
    typer.Option(help="What a folder of images is: separate images, or the frames of a clip; default as in training."),
]
PREDICT = "evenface.recipes.predict:PredictSettings"
EXPLAIN = "evenface.recipes.explain:ExplainSettings"


@app.command()
@with_settings(PREDICT)
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or an exported .onnx file.")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Pictures, videos, folders, files of numbers.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Table to write, .csv or .parquet.")] = Path("predictions.csv"),
    annotate: Annotated[Path | None, typer.Option(help="Folder for pictures and videos with what was found.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Figure of probabilities over time, .svg, .pdf or .png.")
    ] = None,
    folders: Folders = None,
    camera: Annotated[int | None, typer.Option(metavar="N", help="A camera, from 0, in place of inputs.")] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long to look at the camera; else until Ctrl-C.")
    ] = None,
    trust_plugins: Trust = False,
    **settings: Any,
) -> None:
    """Predict on images, videos or a camera.

    Files that are in the table already are not predicted again; Ctrl-C keeps what is done.
    """
    from evenface import workflows

    places: dict[str, Any] = {"out": out, "annotate": annotate, "timeline": timeline}
    given: dict[str, Any] = {"folders": folders, "camera": camera, "seconds": seconds, "trust_plugins": trust_plugins}
    echo(workflows.predict(run, inputs or [], **places, **given, **settings).lines())


@app.command()
@with_settings(EXPLAIN, PREDICT, leave_out=("seed", "smooth", "prior", "abstain"), flags={"classes": "--class"})
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or an exported .onnx file.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Pictures, videos, folders, files of numbers.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("explanations"),
    folders: Folders = None,
    trust_plugins: Trust = False,
    **settings: Any,
) -> None:
    """Explain predictions with saliency maps, and check them against a random baseline.

    Maps over faces, bands of frames, points on the face; files that were explained before are not explained again.
    """
    from evenface import workflows

    given: dict[str, Any] = {"out": out, "folders": folders, "trust_plugins": trust_plugins}
    echo(workflows.explain(run, inputs, **given, **settings).lines())


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    *,
    out: Annotated[Path | None, typer.Option(help="The file; by default model.onnx in the run folder.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="In 8 bits; what that costs is measured.")] = False,
    tolerance: Annotated[float, typer.Option(help="Largest difference from the run's scores that is borne.")] = 1e-4,
    limit: Annotated[float, typer.Option(help="Largest loss of balanced accuracy that is borne for 8 bits.")] = 0.01,
    trust_plugins: Trust = False,
) -> None:
    """Write a run as one ONNX file, and compare it with the run.

    Both are asked of the run's own test and validation samples; a file that differs is not kept.
    """
    from evenface import workflows

    chosen: dict[str, Any] = {"out": out, "int8": int8, "tolerance": tolerance, "limit": limit}
    echo(workflows.export(run, **chosen, trust_plugins=trust_plugins).lines)
