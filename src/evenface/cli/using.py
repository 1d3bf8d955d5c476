"""Verbs that use what was trained."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evenface.cli.base import Trust, app, echo

Whose = Annotated[
    Literal["all", "largest", "none"] | None,
    typer.Option(help="Whose; by default all, or none where the run learnt from pictures as they are."),
]
Margin = Annotated[float, typer.Option(help="Around a face, where the run does not say.")]
Every = Annotated[int, typer.Option(metavar="N", help="Look at every N-th frame of videos.")]
Window = Annotated[float | None, typer.Option(metavar="SECONDS", help="Runs of clips: length of a window.")]
Overlap = Annotated[float, typer.Option(metavar="SHARE", help="Share of a window that the next shows again.")]
Folders = Annotated[
    Literal["pictures", "clips"] | None, typer.Option(help="What a folder of pictures is; by default as the run.")
]
Batch = Annotated[int, typer.Option(help="Samples judged at a time.")]


@app.command()
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
    faces: Whose = None,
    margin: Margin = 0.25,
    every: Every = 1,
    window: Window = None,
    overlap: Overlap = 0.0,
    smooth: Annotated[float, typer.Option(metavar="SECONDS", help="Average each face over so long; 0 for none.")] = 0.0,
    prior: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Classes where it is used: happy=0.5,sad=0.5; or uniform; or estimate."),
    ] = None,
    abstain: Annotated[float | None, typer.Option(metavar="P", help="No label below this probability.")] = None,
    folders: Folders = None,
    camera: Annotated[int | None, typer.Option(metavar="N", help="A camera, from 0, in place of inputs.")] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long to look at the camera; else until Ctrl-C.")
    ] = None,
    batch: Batch = 32,
    trust_plugins: Trust = False,
) -> None:
    """Say what a run says of faces in pictures, videos or a camera.

    Files that are in the table already are not predicted again; Ctrl-C keeps what is done.
    """
    from evenface import workflows

    chosen: dict[str, Any] = {"faces": faces, "margin": margin, "every": every, "window": window, "overlap": overlap}
    chosen |= {"smooth": smooth, "prior": prior, "abstain": abstain, "batch": batch, "folders": folders}
    chosen |= {
        "trust_plugins": trust_plugins,
        "camera": camera,
        "seconds": seconds,
        "annotate": annotate,
        "timeline": timeline,
    }
    echo(workflows.predict(run, inputs or [], out=out, **chosen).lines())


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or an exported .onnx file.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Pictures, videos, folders, files of numbers.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("explanations"),
    method: Annotated[
        Literal["gradcam", "cam", "gradients", "occlusion"] | None,
        typer.Option(help="By default gradcam of pictures, occlusion of numbers and of exported files."),
    ] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", metavar="NAME", help="Draw this one; again.")] = None,
    samples: Annotated[int, typer.Option(metavar="N", help="Frames or windows of a video that are explained.")] = 8,
    check: Annotated[bool, typer.Option(help="Hold explanations against random orders.")] = True,
    orders: Annotated[int, typer.Option(metavar="N", help="Random orders of each.")] = 5,
    baseline: Annotated[
        Literal["blur", "mean"], typer.Option(help="What places that are taken out become in the check.")
    ] = "blur",
    faces: Whose = None,
    margin: Margin = 0.25,
    every: Every = 1,
    window: Window = None,
    overlap: Overlap = 0.0,
    folders: Folders = None,
    batch: Batch = 32,
    trust_plugins: Trust = False,
) -> None:
    """Draw what a run's answers rest on, for every class, and check that it matters.

    Maps over faces, bands of frames, points on the face; files that were explained before are not explained again.
    """
    from evenface import workflows

    chosen: dict[str, Any] = {"faces": faces, "margin": margin, "every": every, "window": window, "overlap": overlap}
    chosen |= {"method": method, "classes": classes, "samples": samples, "check": check, "orders": orders}
    chosen |= {"baseline": baseline, "folders": folders, "batch": batch, "trust_plugins": trust_plugins}
    echo(workflows.explain(run, inputs, out=out, **chosen).lines())


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
