"""The command line: parses, calls, prints; everything else happens in :mod:`evenface.workflows`."""

import io
import sys

from evenface.cli import learning, showing, studying, using  # noqa: F401  each hangs its verbs on the app
from evenface.cli.base import app


def main() -> None:
    """Run the command line; letters that the screen's encoding lacks are written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="evenface")
