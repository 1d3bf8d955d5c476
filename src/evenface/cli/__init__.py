"""Command line: parse, call :mod:`evenface.api`, print."""

import io
import sys

from evenface.cli import commands as _commands  # noqa: F401  registers the verbs
from evenface.cli.base import app


def main() -> None:
    """Run the command line; letters that the screen's encoding lacks are written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="evenface")
