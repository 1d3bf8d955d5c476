"""The typer application, its error handling, and the arguments and options that several commands share."""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from evenface.utils import __version__
from evenface.utils.errors import InputError
from evenface.utils.extras import missing
from evenface.utils.files import disk_error
from evenface.utils.progress import SCREEN, printable

RENAMED_COMMANDS = {"transfer": "evenface evaluate RUN --on DATASET"}
_SAMPLE_FACES = {"--faces": "--sample-faces", "--no-faces": "--no-sample-faces"}
_INPUTS = {"--every": "--frame-stride", "--folders": "--folder-type"}
RENAMED_OPTIONS = {
    "app": {"--keep": "--save-uploads"},
    "calibrate": {"--risk": "--max-error-rate"},
    "compare": _SAMPLE_FACES,
    "evaluate": _SAMPLE_FACES,
    "explain": {**_INPUTS, "--orders": "--random-orders"},
    "export": {"--limit": "--max-accuracy-loss"},
    "predict": {**_INPUTS, "--out": "--csv"},
    "prepare": {"--sheets": "--contact-sheets"},
    "stats": {"--margin": "--equivalence-margin", "--overlap": "--test-train-ratio"},
    "train": _SAMPLE_FACES,
}
"""Options that were renamed, by command: the old name is an error that states the new one."""


class Commands(TyperGroup):
    """Commands whose foreseeable errors are printed as one sentence, with an exit code instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; exit with 2 on invalid input, with 130 on Ctrl-C."""
        if ctx.parent is None:
            SCREEN.quiet = SCREEN.verbose = False
        try:
            return super().invoke(ctx)
        except InputError as error:
            if SCREEN.verbose:
                traceback.print_exception(error)
            raise self._exit(str(error), 2) from None
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "evenface":
                raise
            raise self._exit(str(missing(error.name)), 2) from None
        except KeyboardInterrupt:
            resume = " with --resume" if ctx.invoked_subcommand in ("train", "pretrain") else ""
            raise self._exit(f"interrupted; run the same command again{resume} to continue", 130) from None
        except OSError as error:
            known = disk_error(error, Path(error.filename or "the output"))
            if not isinstance(known, InputError):
                raise
            raise self._exit(str(known), 2) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the called command and add the options of its settings; refuse names that were changed."""
        if replacement := RENAMED_COMMANDS.get(args[0]):
            raise InputError(f"the command {args[0]} was replaced by: {replacement}")
        name, command, rest = super().resolve_command(ctx, args)
        SCREEN.quiet |= bool({"-q", "--quiet"} & set(rest))
        SCREEN.verbose |= bool({"-v", "--verbose"} & set(rest))
        rest = [word for word in rest if word not in ("-q", "--quiet", "-v", "--verbose")]
        for word in rest:
            option = word.partition("=")[0]
            if replacement := RENAMED_OPTIONS.get(str(name), {}).get(option):
                raise InputError(f"the option {option} was renamed to {replacement}")
        return name, complete(command, _PLAIN), rest

    @staticmethod
    def _exit(message: str, code: int) -> typer.Exit:
        print(printable(f"evenface: {message}"), file=sys.stderr)
        return typer.Exit(code)


# Plain help and plain errors: importing rich for them would double the time that --help takes.
_PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "no_args_is_help": True,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(cls=Commands, **{**_PLAIN, "add_completion": True})


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"evenface {__version__}")
        raise typer.Exit


@app.callback()
def evenface(
    *,
    version: Annotated[  # noqa: ARG001  what the callback prints
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results and errors only; also after the command.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Print the run's log, and tracebacks of errors; also after the command."),
    ] = False,
) -> None:
    """Recognise facial expression, action units and pain under class imbalance."""
    SCREEN.quiet |= quiet
    SCREEN.verbose |= verbose


data = typer.Typer(help="Check a dataset before training.", **_PLAIN)
app.add_typer(data, name="data")
models = typer.Typer(
    help="List models: that of evenface, and known ones of other projects.",
    invoke_without_command=True,
    **{**_PLAIN, "no_args_is_help": False},
)
app.add_typer(models, name="models")
weights = typer.Typer(help="Convert weights of other projects.", **_PLAIN)
app.add_typer(weights, name="weights")
audit = typer.Typer(help="Check datasets and published results.", **_PLAIN)
app.add_typer(audit, name="audit")


def recipe_names() -> list[str]:
    """Return the names of shipped recipes, for the completion of a shell."""
    from evenface.config import shipped_recipes

    return list(shipped_recipes())


def study_names() -> list[str]:
    """Return the names of shipped studies, for the completion of a shell."""
    from evenface.studies import shipped_studies

    return list(shipped_studies())


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
TrainedModel = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="Run folder, .onnx file, or name of a model; default the bundled model."
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|DATA",
        help="Name of a shipped recipe, a YAML file, a run folder; or your own data: a folder with one subfolder per "
        "class, or a table.",
        autocompletion=recipe_names,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="key=value", help="Settings that override the recipe, such as optimizer.lr=1e-4."),
]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Output folder.")]
SampleFaces = Annotated[
    bool,
    typer.Option(
        "--sample-faces/--no-sample-faces",
        help="Whether the report shows sample faces; many dataset licences forbid it.",
    ),
]
Figures = Annotated[
    list[str] | None,
    typer.Option(metavar="FORMAT", help="Also write the report's figures to figures/: pdf, svg or png. Repeatable."),
]
Trust = Annotated[
    bool,
    typer.Option("--trust-plugins", help="Execute the plugin files listed in a run or study folder; read them first."),
]
Show = Annotated[bool, typer.Option("--open/--no-open", help="Whether to open the report in a browser.")]
FolderType = Annotated[
    Literal["images", "clips"] | None,
    typer.Option(help="Whether a folder of images is separate images or one clip; default as in training."),
]

OPTIONS = "settings_options"


def with_settings(
    *models: str, leave_out: Sequence[str] = (), flags: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each field of settings models, given as ``module:class``, to a command with ``**settings``.

    The models are imported when the command is called, so that ``evenface --help`` stays fast.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [part for part in inspect.signature(function).parameters.values() if part.kind is not part.VAR_KEYWORD]
        vars(function).update({OPTIONS: (models, leave_out, flags or {}), "__signature__": inspect.Signature(own)})
        function.__annotations__.pop("settings", None)
        return function

    return decorate


def complete(command: Any, typer_options: Mapping[str, Any]) -> Any:
    """Return a command with the options of its settings models."""
    function = getattr(command.callback, "__wrapped__", command.callback)
    if not hasattr(function, OPTIONS):
        return command
    parameters = list(inspect.signature(function).parameters.values())
    models, left_out, flags = getattr(function, OPTIONS)
    for path in models:
        module, _, name = path.partition(":")
        fields = getattr(importlib.import_module(module), name).model_fields
        parameters += [_option(key, field, flags.get(key)) for key, field in fields.items() if key not in left_out]

    def call(**values: Any) -> None:
        function(**values)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.__annotations__ = {part.name: part.annotation for part in parameters}
    keyword_only = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parameters]
    vars(call)["__signature__"] = inspect.Signature(keyword_only)
    single = typer.Typer(**typer_options)
    single.command(command.name)(call)
    return typer.main.get_command(single)


MANY = 1_000_000
"""Upper bounds from here on only catch slips and are not shown."""


def _option(name: str, field: Any, flag: str | None) -> inspect.Parameter:
    """Turn a field of a settings model into an option with its description, default and bounds."""
    bounds = {
        option: getattr(bound, limit)
        for bound in field.metadata
        for option, limit in (("min", "ge"), ("max", "le"))
        if getattr(bound, limit, MANY) != MANY
    }
    help_text = field.description[0].upper() + field.description[1:] + "."
    option = typer.Option(*([flag] if flag else []), help=help_text, **bounds)
    kind = list[str] | None if field.annotation == tuple[str, ...] | None else field.annotation
    annotation: Any = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)


def echo(lines: Iterable[str]) -> None:
    """Print lines; characters of file and class names that could control a terminal are escaped."""
    print(printable("\n".join(lines)), flush=True)


def note(line: str) -> None:
    """Print a line that is no result, unless asked to be quiet."""
    if not SCREEN.quiet:
        echo([line])


def open_page(page: Path) -> None:
    """Open a page in the user's browser if the command runs in a terminal on a machine with a display."""
    open_address(page.resolve().as_uri())


def open_address(address: str) -> None:
    """Open an address in the user's browser if the command runs in a terminal on a machine with a display."""
    display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if display and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(address)
