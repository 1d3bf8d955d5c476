"""Verbs that look at data, train and test."""

import csv
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evenface.cli.base import (
    Faces,
    Out,
    Settings,
    Show,
    Source,
    Trust,
    app,
    audit,
    data,
    echo,
    open_address,
    open_page,
    print_comparison,
)
from evenface.cli.settings import with_settings
from evenface.utils.errors import InputError
from evenface.utils.files import user_path


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs.")] = Path("runs/demo-compared"),
    *,
    show: Show = True,
) -> None:
    """Train three methods on synthetic people and compare.

    Takes under five minutes on two cores; the report says which is better, for which class, and how sure one can be.
    """
    from evenface import api

    result = api.demo(out)
    print_comparison(result)
    if show:
        open_page(result.report)


@app.command()
def doctor() -> None:
    """Print versions, devices, and what is missing."""
    from evenface.utils.doctor import examine

    for finding in examine():
        echo([f"{finding.name:18} {finding.state}", *([f"{'':18} -> {finding.remedy}"] if finding.remedy else [])])


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Print this one whole.")] = None) -> None:
    """List the recipes that ship, or print one."""
    from evenface.config import dump_recipe, load_recipe, shipped_recipes

    if name is not None:
        recipe = load_recipe(name)
        shipped = shipped_recipes().get(name)
        print(shipped.read_text(encoding="utf-8") if shipped else dump_recipe(recipe), end="")
        return
    for known in shipped_recipes():
        echo([f"{known:24} {load_recipe(known).about}"])


@data.command("check")
def check(recipe: Source, settings: Settings = None, *, out: Out = None) -> None:
    """Look for leaks and flaws.

    People and pictures on both sides, near-duplicates, conflicting labels, missing classes, unreadable files.
    """
    from evenface import api
    from evenface.config import parse_overrides

    findings = api.check_data(recipe, out=out, **parse_overrides(settings or []))
    echo(findings.lines())
    if out is not None:
        echo([f"tables  {out}"])


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
    from evenface import api
    from evenface.config import parse_overrides

    store = api.prepare(recipe, sheets=sheets, **parse_overrides(settings or []))
    echo([store.summary(), *(f"note  {note}" for note in store.manifest.notes), f"store  {store.path}"])
    if sheets is not None:
        echo([f"sheets  {sheets}"])


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="Name of a shipped recipe, a YAML file, or a run folder."),
    ] = None,
    settings: Settings = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Data of your own: a folder of files for each class, or a table."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A method or loss; auto, with --data, tries some and may recommend one."),
    ] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where this run was interrupted.")] = False,
    faces: Faces = True,
    trust_plugins: Trust = False,
) -> None:
    """Train by a recipe, or on your own data, test, write a run folder."""
    from evenface import api
    from evenface.config import parse_overrides
    from evenface.reporting import summary

    words = list(settings or [])
    if data is not None and recipe is not None and "=" in recipe:
        words.insert(0, recipe)
        recipe = None
    overrides = parse_overrides(words)
    given: dict[str, Any] = {"out": out, "resume": resume, "faces": faces, "trust_plugins": trust_plugins}
    if data is not None:
        own = api.train_own(
            data, method=method or "erm", recipe=recipe, say=lambda line: echo([line]), **given, **overrides
        )
        echo(own.lines)
        return
    if recipe is None:
        raise InputError("say what to train by", "Name a recipe (evenface recipes), or your own data: --data FOLDER.")
    if method is not None:
        raise InputError("--method goes with --data", "With a recipe, say method.name=NAME or loss.name=NAME.")
    run = api.train(recipe, **given, **overrides)
    if api.is_first_process():
        echo(summary.screen(run))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="With --on: settings of the other dataset, as data.root=FOLDER."),
    ] = None,
    *,
    on: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Evaluate on another dataset: name of a source, or a recipe.")
    ] = None,
    class_map: Annotated[
        str | None,
        typer.Option(metavar="MAP", help="With --on: its classes to the run's: '{joy: happy, calm: null}'; null drops."),
    ] = None,
    merge_classes: Annotated[
        str | None,
        typer.Option(metavar="MAP", help="With --on: classes of the run to merge: '{pain: [PA1, PA2, PA3, PA4]}'."),
    ] = None,
    all_samples: Annotated[
        bool, typer.Option("--all-samples", help="With --on: use all its samples instead of its test set.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="With --on: output folder; default on-DATASET in RUN.")] = None,
    faces: Faces = True,
    trust_plugins: Trust = False,
) -> None:
    """Recompute a run's metrics and report, or evaluate it on another dataset.

    Without --on, everything is computed from the stored predictions.
    """
    from evenface import api
    from evenface.config import parse_overrides
    from evenface.reporting import summary

    maps = {"class_map": class_map, "merge_classes": merge_classes}
    given = parse_overrides([f"{name}={text}" for name, text in maps.items() if text])
    given |= {"on": on, "all_samples": all_samples, "out": out, "faces": faces, "trust_plugins": trust_plugins}
    evaluated = api.evaluate(run, **given, **parse_overrides(settings or []))
    echo(summary.screen(evaluated))
    if on is not None:
        echo([f"note  {note}" for note in evaluated.facts["notes"]])


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
    trust_plugins: Trust = False,
) -> None:
    """Say whether a run's probabilities hold.

    A temperature is fitted on validation data and judged on test data.
    """
    from evenface import api

    found = api.calibrate(run, risk=risk, prior=prior, trust_plugins=trust_plugins)
    echo(found.lines)


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
    from evenface import api

    result = api.compare(runs, out=out, faces=faces, trust_plugins=trust_plugins)
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
    from evenface import api
    from evenface.config import parse_overrides

    overrides = parse_overrides(settings or [])
    if plan:
        from evenface.studies.plan import StudyOptions
        from evenface.studies.run import described

        echo(described(source, StudyOptions(on, size, protocol, overrides), jobs))
        return
    chosen: dict[str, Any] = {"on": on, "size": size, "protocol": protocol, "jobs": jobs, "executor": executor}
    chosen["trust_plugins"] = trust_plugins
    result = api.study(source, out=out, **chosen, **overrides)
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
    from evenface import api

    audits = api.audit_claims(files)
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
    from evenface.reporting.statistics import save_analysis
    from evenface.statistics.analysis import analyse
    from evenface.utils.files import output_path

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


Folders = Annotated[
    Literal["pictures", "clips"] | None,
    typer.Option(help="What a folder of images is: separate images, or the frames of a clip; default as in training."),
]
PREDICT = "evenface.config.predict:PredictSettings"
EXPLAIN = "evenface.config.explain:ExplainSettings"


@app.command()
@with_settings(PREDICT)
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or an exported .onnx file.")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Pictures, videos, folders, files of numbers.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Table to write, .csv or .parquet.")] = Path("predictions.csv"),
    annotate: Annotated[Path | None, typer.Option(help="Folder for pictures and videos with what was found.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Figure of probabilities over time, .svg, .pdf or .png.")
    ] = None,
    folders: Folders = None,
    camera: Annotated[int | None, typer.Option(metavar="N", help="A camera, from 0, in place of inputs.")] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long to look at the camera; else until Ctrl-C.")
    ] = None,
    trust_plugins: Trust = False,
    **settings: Any,
) -> None:
    """Predict on images, videos or a camera.

    Files that are in the table already are not predicted again; Ctrl-C keeps what is done.
    """
    from evenface import api

    places: dict[str, Any] = {"out": out, "annotate": annotate, "timeline": timeline}
    given: dict[str, Any] = {"folders": folders, "camera": camera, "seconds": seconds, "trust_plugins": trust_plugins}
    echo(api.predict(run, inputs or [], **places, **given, **settings).lines())


@app.command()
@with_settings(EXPLAIN, PREDICT, leave_out=("seed", "smooth", "prior", "abstain"), flags={"classes": "--class"})
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or an exported .onnx file.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Pictures, videos, folders, files of numbers.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("explanations"),
    folders: Folders = None,
    trust_plugins: Trust = False,
    **settings: Any,
) -> None:
    """Explain predictions with saliency maps, and check them against a random baseline.

    Maps over faces, bands of frames, points on the face; files that were explained before are not explained again.
    """
    from evenface import api

    given: dict[str, Any] = {"out": out, "folders": folders, "trust_plugins": trust_plugins}
    echo(api.explain(run, inputs, **given, **settings).lines())


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    *,
    out: Annotated[Path | None, typer.Option(help="The file; by default model.onnx in the run folder.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="In 8 bits; what that costs is measured.")] = False,
    tolerance: Annotated[float, typer.Option(help="Largest difference from the run's scores that is borne.")] = 1e-4,
    limit: Annotated[float, typer.Option(help="Largest loss of balanced accuracy that is borne for 8 bits.")] = 0.01,
    trust_plugins: Trust = False,
) -> None:
    """Write a run as one ONNX file, and compare it with the run.

    Both are asked of the run's own test and validation samples; a file that differs is not kept.
    """
    from evenface import api

    chosen: dict[str, Any] = {"out": out, "int8": int8, "tolerance": tolerance, "limit": limit}
    echo(api.export(run, **chosen, trust_plugins=trust_plugins).lines)


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
    from evenface import api

    def ready(address: str) -> None:
        print(f"page  {address}   (Ctrl-C ends it)", flush=True)
        if show:
            open_address(address)

    api.serve(runs or [], host=host, port=port, keep=keep, trust_plugins=trust_plugins, ready=ready)
    print("the page has ended")
