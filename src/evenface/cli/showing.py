"""The verb that opens the page."""

from pathlib import Path
from typing import Annotated

import typer

from evenface.cli.base import Trust, app, open_address


@app.command("app")
def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN...]", help="Runs, studies, folders of these, .onnx files; by default runs/."),
    ] = None,
    *,
    host: Annotated[
        str, typer.Option(help="Address to bind to; any but this machine's own needs the token that is shown.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8420,
    keep: Annotated[Path | None, typer.Option(help="Folder for uploads and results; by default none is kept.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open the page in a browser.")] = True,
    trust_plugins: Trust = False,
) -> None:
    """Show runs on a local page, to browse, compare and try on pictures, videos and the camera.

    Ctrl-C ends it. Nothing leaves the machine.
    """
    from evenface import workflows

    def ready(address: str) -> None:
        print(f"page  {address}   (Ctrl-C ends it)", flush=True)
        if show:
            open_address(address)

    workflows.serve(runs or [], host=host, port=port, keep=keep, trust_plugins=trust_plugins, ready=ready)
    print("the page has ended")
