"""What all verbs share: the command line itself, how it ends, and the arguments that several take."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from evenface.cli.settings import complete
from evenface.utils.errors import InputError
from evenface.utils.files import disk_error
from evenface.utils.progress import printable


RENAMED = {"transfer": "transfer was replaced by evenface evaluate RUN --on DATASET"}
"""What is printed for a verb that was renamed."""


class Verbs(TyperGroup):
    """Commands whose foreseeable failures end in one sentence and an exit code, never in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; 2 for what the user can mend, 130 for Ctrl-C."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise self._ended(str(error), 2) from None
        except KeyboardInterrupt:
            again = " with --resume" if ctx.invoked_subcommand == "train" else ""
            raise self._ended(f"interrupted; say the same again{again} to go on", 130) from None
        except OSError as error:
            told = disk_error(error, Path(error.filename or "the output"))
            if not isinstance(told, InputError):
                raise
            raise self._ended(str(told), 2) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, with the options of its settings."""
        if sentence := RENAMED.get(args[0]):
            raise InputError(sentence)
        name, command, rest = super().resolve_command(ctx, args)
        return name, complete(command, _QUIET), rest

    @staticmethod
    def _ended(text: str, code: int) -> typer.Exit:
        print(printable(f"evenface: {text}"), file=sys.stderr)
        return typer.Exit(code)


# Plain help and plain errors: importing rich for them would double the time that --help takes.
_QUIET: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "no_args_is_help": True,
}
app = typer.Typer(cls=Verbs, help="Facial expression and pain from uneven classes, with honest evaluation.", **_QUIET)
data = typer.Typer(help="Look at data before learning from it.", **_QUIET)
app.add_typer(data, name="data")
audit = typer.Typer(help="Look at what papers print.", **_QUIET)
app.add_typer(audit, name="audit")

Source = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe, a YAML file, or a run folder.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value]...", help="Settings that replace the recipe's, such as optimizer.lr=1e-4."),
]
Out = Annotated[Path | None, typer.Option(help="Folder to write to.")]
Faces = Annotated[
    bool, typer.Option("--faces/--no-faces", help="Whether reports show sample faces; many data licences forbid it.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust-plugins", help="Run the code that a run folder names under plugins; read it before."),
]
Show = Annotated[bool, typer.Option("--open/--no-open", help="Whether to open the report in a browser.")]


def echo(lines: Iterable[str]) -> None:
    """Print lines; what names of files and classes could do to a terminal is written out."""
    print(printable("\n".join(lines)), flush=True)


def print_comparison(result: Any) -> None:
    """Print what a comparison found, and where its page lies."""
    echo([*result.lines, f"report  {result.report}"])


def open_page(page: Path) -> None:
    """Open a page in the user's browser, where somebody sits before a screen."""
    open_address(page.resolve().as_uri())


def open_address(address: str) -> None:
    """Open an address in the user's browser, where somebody sits before a screen."""
    seen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if seen and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(address)
