"""The command line: parses, calls, prints; everything else happens in :mod:`evenface.workflows`."""

from evenface.cli import learning, showing, studying, using  # noqa: F401  each hangs its verbs on the app
from evenface.cli.base import app


def main() -> None:
    """Run the command line."""
    app(prog_name="evenface")
