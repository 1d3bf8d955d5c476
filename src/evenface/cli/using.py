"""Verbs that use what was trained."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evenface.cli.base import app


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Pictures, videos, folders, files of numbers.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Table to write, .csv or .parquet.")] = Path("predictions.csv"),
    annotate: Annotated[Path | None, typer.Option(help="Folder for pictures and videos with what was found.")] = None,
    timeline: Annotated[Path | None, typer.Option(help="Figure of probabilities over time, .svg.")] = None,
    faces: Annotated[
        Literal["all", "largest", "none"] | None,
        typer.Option(help="Whose; by default all, or none where the run learnt from pictures as they are."),
    ] = None,
    margin: Annotated[float, typer.Option(help="Around a face, where the run does not say.")] = 0.25,
    every: Annotated[int, typer.Option(metavar="N", help="Look at every N-th frame of videos.")] = 1,
    window: Annotated[float | None, typer.Option(metavar="SECONDS", help="Runs of clips: length of a window.")] = None,
    overlap: Annotated[float, typer.Option(metavar="SHARE", help="Share of a window that the next shows again.")] = 0.0,
    smooth: Annotated[float, typer.Option(metavar="SECONDS", help="Average each face over so long; 0 for none.")] = 0.0,
    prior: Annotated[str | None, typer.Option(help="Balance of classes there: uniform; a=0.5,b=0.5; or estimate.")] = None,
    abstain: Annotated[float | None, typer.Option(help="No label below this probability.")] = None,
    folders: Annotated[
        Literal["pictures", "clips"] | None, typer.Option(help="What a folder of pictures is; by default as the run.")
    ] = None,
    camera: Annotated[int | None, typer.Option(metavar="N", help="A camera, from 0, in place of inputs.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long to look at the camera.")] = None,
    batch: Annotated[int, typer.Option(help="Samples judged at a time.")] = 32,
) -> None:
    """Say what a run says of faces in pictures, videos or a camera.

    Files that are in the table already are not predicted again; Ctrl-C keeps what is done.
    """
    from evenface import workflows

    chosen: dict[str, Any] = {"faces": faces, "margin": margin, "every": every, "window": window, "overlap": overlap}
    chosen |= {"smooth": smooth, "prior": prior, "abstain": abstain, "batch": batch, "folders": folders}
    chosen |= {"camera": camera, "seconds": seconds, "annotate": annotate, "timeline": timeline}
    print("\n".join(workflows.predict(run, inputs or [], out=out, **chosen).lines()))
