"""Runs shown on a page, to browse, compare and try."""

from collections.abc import Callable, Sequence
from pathlib import Path

from evenface.errors import InputError
from evenface.files import output_path
from evenface.places import user_path


def serve(
    runs: Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8420,
    keep: str | Path | None = None,
    trust_plugins: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve a page of runs until Ctrl-C.

    Parameters
    ----------
    runs : sequence of str or Path
        Run folders, study folders, folders of these, and ``.onnx`` files; by default the folder ``runs``.
    host : str, default="127.0.0.1"
        Address to bind to. By default nobody else can open the page; on any other address a token is needed, which is
        part of the page's address.
    port : int, default=8420
        0 takes a free one.
    keep : str or Path, optional
        Folder for uploads and results. By default neither is kept.
    trust_plugins : bool, default=False
        Whether code that runs name under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.
    ready : callable, default=print
        Told the address of the page when it can be opened.

    Raises
    ------
    InputError
        If a package is missing, no run that has ended is found, or the port cannot be used.
    """
    from evenface.app.serving import serve as begin
    from evenface.recipes.limits import Limits

    places = [user_path(run) for run in runs] or [Path("runs")]
    if not runs and not places[0].is_dir():
        raise InputError("there is no folder runs here", "Name run folders: evenface app RUN...")
    limits = Limits(trust_plugins=trust_plugins)
    begin(
        places,
        host=host,
        port=port,
        keep=None if keep is None else output_path(keep, folder=True),
        limits=limits,
        ready=ready,
    )
