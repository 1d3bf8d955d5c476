"""The command line: parses, calls, prints; everything else happens in :mod:`evenface.workflows`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from evenface.errors import InputError
from evenface.files import disk_error


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

    @staticmethod
    def _ended(text: str, code: int) -> typer.Exit:
        print(f"evenface: {text}", file=sys.stderr)
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
Show = Annotated[bool, typer.Option("--open/--no-open", help="Whether to open the report in a browser.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs.")] = Path("runs/demo-compared"),
    *,
    show: Show = True,
) -> None:
    """Train three methods on synthetic people and compare.

    Takes under five minutes on two cores; the report says which is better, for which class, and how sure one can be.
    """
    from evenface import workflows

    result = workflows.demo(out)
    _print_comparison(result)
    if show:
        _open_page(result.report)


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Print this one whole.")] = None) -> None:
    """List the recipes that ship, or print one."""
    from evenface.recipes import dump_recipe, load_recipe, shipped_recipes

    if name is not None:
        recipe = load_recipe(name)
        shipped = shipped_recipes().get(name)
        print(shipped.read_text(encoding="utf-8") if shipped else dump_recipe(recipe), end="")
        return
    for known in shipped_recipes():
        print(f"{known:24} {load_recipe(known).about}")


@data.command("check")
def check(recipe: Source, settings: Settings = None, *, out: Out = None) -> None:
    """Look for leaks and flaws.

    People and pictures on both sides, near-duplicates, conflicting labels, missing classes, unreadable files.
    """
    from evenface import workflows
    from evenface.recipes import parse_overrides

    findings = workflows.check_data(recipe, out=out, **parse_overrides(settings or []))
    print("\n".join(findings.lines()))
    if out is not None:
        print(f"tables  {out}")


@app.command()
def prepare(
    recipe: Source,
    settings: Settings = None,
    *,
    sheets: Annotated[
        Path | None, typer.Option(help="Folder for pictures of what was taken from clips, found in them and cropped.")
    ] = None,
) -> None:
    """Read, convert and resize the faces of a recipe.

    Training does so by itself where it is not done yet; a second call is instant.
    """
    from evenface import workflows
    from evenface.recipes import parse_overrides

    store = workflows.prepare(recipe, sheets=sheets, **parse_overrides(settings or []))
    print("\n".join([store.summary(), *(f"note  {note}" for note in store.manifest.notes), f"store  {store.path}"]))
    if sheets is not None:
        print(f"sheets  {sheets}")


@app.command()
def train(
    recipe: Source,
    settings: Settings = None,
    *,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where this run was interrupted.")] = False,
    faces: Faces = True,
) -> None:
    """Train by a recipe, test, write a run folder."""
    from evenface import reporting, workflows
    from evenface.recipes import parse_overrides

    run = workflows.train(recipe, out=out, resume=resume, faces=faces, **parse_overrides(settings or []))
    if workflows.is_first_process():
        print("\n".join(reporting.screen(run)))


@app.command()
def evaluate(run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")], *, faces: Faces = True) -> None:
    """Compute a run's metrics and report anew.

    Everything is computed from the stored predictions.
    """
    from evenface import reporting, workflows

    print("\n".join(reporting.screen(workflows.evaluate(run, faces=faces))))


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    *,
    risk: Annotated[
        float | None, typer.Option(help="Share of wrong answers that is borne, such as 0.1: finds a threshold.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Classes where it is used: happy=0.5,sad=0.5; or uniform; or estimate."),
    ] = None,
) -> None:
    """Say whether a run's probabilities hold.

    A temperature is fitted on validation data and judged on test data.
    """
    from evenface import workflows

    print("\n".join(workflows.calibrate(run, risk=risk, prior=prior).lines))


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...", help="Run folders; runs that differ in the seed only count as one method."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("runs/comparison"),
    faces: Faces = True,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open the report in a browser.")] = False,
) -> None:
    """Say which run is better, and how sure one can be."""
    from evenface import workflows

    result = workflows.compare(runs, out=out, faces=faces)
    _print_comparison(result)
    if show:
        _open_page(result.report)


@app.command()
def transfer(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    settings: Settings = None,
    *,
    on: Annotated[str, typer.Option(metavar="RECIPE", help="The other data: a recipe, or the name of a source.")],
    classes: Annotated[
        str | None,
        typer.Option(metavar="MAP", help="Its classes by the run's: '{joy: happy, calm: null}'; null leaves out."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Test on all samples, whatever their side.")] = False,
    out: Out = None,
    faces: Faces = True,
) -> None:
    """Test a run on another data set than it learnt from."""
    from evenface import reporting, workflows
    from evenface.recipes import parse_overrides

    given = parse_overrides([f"classes={classes}"])["classes"] if classes else None
    result = workflows.transfer(
        run, on, classes=given, everything=everything, out=out, faces=faces, **parse_overrides(settings or [])
    )
    print("\n".join([*reporting.screen(result), *(f"note  {note}" for note in result.facts["notes"])]))


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
    prior: Annotated[str | None, typer.Option(help="Balance of classes there: uniform, or a=0.5,b=0.5.")] = None,
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


@app.command()
def studies(name: Annotated[str | None, typer.Argument(help="Print this one whole.")] = None) -> None:
    """List the studies that ship, or print one."""
    from evenface.studies import load_study, shipped_studies

    shipped = shipped_studies()
    if name is not None:
        load_study(name)
        print((shipped.get(name) or Path(name)).read_text(encoding="utf-8"), end="")
        return
    for known in shipped:
        print(f"{known:24} {load_study(known).about}")


@app.command()
def study(
    source: Annotated[
        str, typer.Argument(metavar="STUDY", help="Name of a shipped study, a YAML file, or a study's folder.")
    ],
    settings: Settings = None,
    *,
    on: Annotated[str | None, typer.Option(metavar="DATA", help="One of its data sets; the first by default.")] = None,
    size: Annotated[str | None, typer.Option(help="One of its sizes, such as quick; full by default.")] = None,
    protocol: Annotated[
        Literal["honest", "paper"], typer.Option(help="paper follows the paper where that is not honest, and says so.")
    ] = "honest",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; one per GPU, or per processor core, by default.")
    ] = None,
    executor: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Processes of this machine; or a Ray cluster, that at RAY_ADDRESS or one made here."),
    ] = "local",
    out: Out = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be run.")] = False,
) -> None:
    """Train the runs of a study side by side, and say which differences are larger than noise.

    Runs that have ended are not trained again; those that were interrupted go on.
    """
    from evenface import workflows
    from evenface.recipes import parse_overrides

    overrides = parse_overrides(settings or [])
    if plan:
        from evenface.studies.plan import Choice
        from evenface.studies.running import described

        print("\n".join(described(source, Choice(on, size, protocol, overrides), jobs)))
        return
    chosen: dict[str, Any] = {"on": on, "size": size, "protocol": protocol, "jobs": jobs, "executor": executor}
    result = workflows.study(source, out=out, **chosen, **overrides)
    print("\n".join([*result.lines, f"report  {result.report}"]))
    if result.failed:
        failed = "\n".join(f"  {folder}: {why}" for folder, why in result.failed.items())
        raise InputError(f"{len(result.failed)} of {len(result.plan.trainings)} runs failed\n{failed}")


@audit.command("claims")
def claims(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Files of printed numbers, or names of shipped ones: p1 to p5."),
    ],
) -> None:
    """Say which of a paper's printed numbers cannot be, with the arithmetic.

    What rounding explains is not told. Ends with 0 if all can be, with 1 if something cannot.
    """
    from evenface import workflows

    audits = workflows.audit_claims(files)
    print("\n\n".join("\n".join(one.lines()) for one in audits))
    if any(one.findings for one in audits):
        raise typer.Exit(1)


@app.command()
def stats(
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A row for each value: CSV, TSV or Parquet.")],
    *,
    value: Annotated[str, typer.Option(metavar="COLUMN", help="What was measured.")],
    factors: Annotated[
        str, typer.Option(metavar="A,B", help="Columns of conditions; the first level is the baseline.")
    ],
    unit: Annotated[str, typer.Option(metavar="COLUMN[,COLUMN]", help="What was repeated, such as fold or seed,fold.")],
    margin: Annotated[float | None, typer.Option(help="Differences within ± this are of no practical matter.")] = None,
    independent: Annotated[
        bool,
        typer.Option("--independent", help="Take every value as independent, though units stand in several cells."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables (CSV) and figures (SVG).")] = None,
) -> None:
    """Test a table of results: variance, differences, equivalence, power, each in words.

    Says over what units, how large each effect is, and which assumptions fail.
    """
    from evenface.statistics.examine import examine

    columns, units = ([name.strip() for name in given.split(",")] for given in (factors, unit))
    found = examine(table, value, columns, units, margin=margin, kind="between" if independent else None)
    print("\n".join(found.lines))
    if out is not None:
        found.save(out)
        print(f"tables and figures  {out}")


@app.command()
def doctor() -> None:
    """Print versions, devices, and what is missing."""
    from evenface.doctor import examine

    for finding in examine():
        print(f"{finding.name:18} {finding.state}" + (f"\n{'':18} -> {finding.remedy}" if finding.remedy else ""))


def _print_comparison(result: Any) -> None:
    print("\n".join(result.lines))
    print(f"report  {result.report}")


def _open_page(page: Path) -> None:
    """Open a page in the user's browser, where somebody sits before a screen."""
    seen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if seen and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def main() -> None:
    """Run the command line."""
    app(prog_name="evenface")


if __name__ == "__main__":
    main()
