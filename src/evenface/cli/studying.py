"""Verbs that set runs side by side, and say what holds."""

import csv
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evenface.cli.base import Faces, Out, Settings, Trust, app, audit, echo, open_page, print_comparison
from evenface.errors import InputError
from evenface.places import user_path


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
    trust_plugins: Trust = False,
) -> None:
    """Say which run is better, and how sure one can be."""
    from evenface import workflows

    result = workflows.compare(runs, out=out, faces=faces, trust_plugins=trust_plugins)
    print_comparison(result)
    if show:
        open_page(result.report)


@app.command()
def studies(name: Annotated[str | None, typer.Argument(help="Print this one whole.")] = None) -> None:
    """List the studies that ship, or print one."""
    from evenface.studies import load_study, shipped_studies

    shipped = shipped_studies()
    if name is not None:
        load_study(name)
        print((shipped.get(name) or user_path(name)).read_text(encoding="utf-8"), end="")
        return
    for known in shipped:
        echo([f"{known:24} {load_study(known).about}"])


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
    trust_plugins: Trust = False,
) -> None:
    """Train the runs of a study side by side, and say which differences are larger than noise.

    Runs that have ended are not trained again; those that were interrupted go on.
    """
    from evenface import workflows
    from evenface.recipes import parse_overrides

    overrides = parse_overrides(settings or [])
    if plan:
        from evenface.studies.plan import Choice
        from evenface.studies.run import described

        echo(described(source, Choice(on, size, protocol, overrides), jobs))
        return
    chosen: dict[str, Any] = {"on": on, "size": size, "protocol": protocol, "jobs": jobs, "executor": executor}
    chosen["trust_plugins"] = trust_plugins
    result = workflows.study(source, out=out, **chosen, **overrides)
    echo([*result.lines, f"report  {result.report}"])
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
    echo(["\n\n".join("\n".join(one.lines()) for one in audits)])
    if any(one.findings for one in audits):
        raise typer.Exit(1)


@app.command()
def stats(
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A row for each value: CSV, TSV or Parquet.")],
    *,
    value: Annotated[str, typer.Option(metavar="COLUMN", help="What was measured.")],
    factors: Annotated[str, typer.Option(metavar="A,B", help="Columns of conditions; one with a comma in quotes.")],
    unit: Annotated[str, typer.Option(metavar="COLUMN[,COLUMN]", help="What was repeated, such as fold or seed,fold.")],
    margin: Annotated[float | None, typer.Option(help="Differences within ± this are of no practical matter.")] = None,
    independent: Annotated[
        bool,
        typer.Option("--independent", help="Take every value as independent, though units stand in several cells."),
    ] = False,
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="n_test / n_train where the unit is a fold, for the corrected resampled t-test; by default "
            "1 / (k - 1) for a column called fold with k values, else 0.",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="A=LEVEL", help="Level that others are compared with; by default the first. Repeatable."),
    ] = None,
    higher: Annotated[
        bool | None,
        typer.Option(
            "--higher-is-better/--lower-is-better", help="Direction of the value; needed unless it is a known metric."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables (CSV) and figures (SVG).")] = None,
) -> None:
    """Test a table of results: variance, differences, equivalence, power, each in words.

    Says over what units, how large each effect is, and which assumptions fail.
    """
    from evenface.files import output_path
    from evenface.statistics.analysis import analyse
    from evenface.statistics.drawing import save_analysis

    columns, units = (
        [name.strip() for name in next(csv.reader([given], skipinitialspace=True))] for given in (factors, unit)
    )
    place = None if out is None else output_path(out, folder=True)
    found = analyse(
        user_path(table),
        value,
        columns,
        units,
        margin=margin,
        kind="between" if independent else None,
        baselines=dict(_level(given, columns) for given in baseline or []),
        higher_is_better=higher,
        overlap=overlap,
    )
    echo(found.lines)
    if place is not None:
        save_analysis(found, place)
        echo([f"tables and figures  {place}"])


def _level(given: str, factors: list[str]) -> tuple[str, str]:
    """Read ``FACTOR=LEVEL``; both may hold an equals sign."""
    for factor in sorted(factors, key=len, reverse=True):
        if given.startswith(f"{factor}="):
            return factor, given.removeprefix(f"{factor}=").strip()
    raise InputError(f"--baseline {given!r} names no factor", f"Such as --baseline {factors[0]}=LEVEL.")
