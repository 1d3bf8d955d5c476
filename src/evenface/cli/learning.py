"""Verbs that look at data, train and test."""

from pathlib import Path
from typing import Annotated, Any

import typer

from evenface.cli.base import Faces, Out, Settings, Show, Source, Trust, app, data, echo, open_page, print_comparison
from evenface.errors import InputError


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
    print_comparison(result)
    if show:
        open_page(result.report)


@app.command()
def doctor() -> None:
    """Print versions, devices, and what is missing."""
    from evenface.doctor import examine

    for finding in examine():
        echo([f"{finding.name:18} {finding.state}", *([f"{'':18} -> {finding.remedy}"] if finding.remedy else [])])


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
        echo([f"{known:24} {load_recipe(known).about}"])


@data.command("check")
def check(recipe: Source, settings: Settings = None, *, out: Out = None) -> None:
    """Look for leaks and flaws.

    People and pictures on both sides, near-duplicates, conflicting labels, missing classes, unreadable files.
    """
    from evenface import workflows
    from evenface.recipes import parse_overrides

    findings = workflows.check_data(recipe, out=out, **parse_overrides(settings or []))
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
    from evenface import workflows
    from evenface.recipes import parse_overrides

    store = workflows.prepare(recipe, sheets=sheets, **parse_overrides(settings or []))
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
    from evenface import reporting, workflows
    from evenface.recipes import parse_overrides

    words = list(settings or [])
    if data is not None and recipe is not None and "=" in recipe:
        words.insert(0, recipe)
        recipe = None
    overrides = parse_overrides(words)
    given: dict[str, Any] = {"out": out, "resume": resume, "faces": faces, "trust_plugins": trust_plugins}
    if data is not None:
        own = workflows.train_own(
            data, method=method or "erm", recipe=recipe, say=lambda line: echo([line]), **given, **overrides
        )
        echo(own.lines)
        return
    if recipe is None:
        raise InputError("say what to train by", "Name a recipe (evenface recipes), or your own data: --data FOLDER.")
    if method is not None:
        raise InputError("--method goes with --data", "With a recipe, say method.name=NAME or loss.name=NAME.")
    run = workflows.train(recipe, **given, **overrides)
    if workflows.is_first_process():
        echo(reporting.screen(run))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    *,
    faces: Faces = True,
    trust_plugins: Trust = False,
) -> None:
    """Compute a run's metrics and report anew.

    Everything is computed from the stored predictions.
    """
    from evenface import reporting, workflows

    evaluated = workflows.evaluate(run, faces=faces, trust_plugins=trust_plugins)
    echo(reporting.screen(evaluated))


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
    from evenface import workflows

    found = workflows.calibrate(run, risk=risk, prior=prior, trust_plugins=trust_plugins)
    echo(found.lines)


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
    merge: Annotated[
        str | None,
        typer.Option(metavar="MAP", help="Classes of the run to join: '{pain: [PA1, PA2, PA3, PA4]}'."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Test on all samples, whatever their side.")] = False,
    out: Out = None,
    faces: Faces = True,
    trust_plugins: Trust = False,
) -> None:
    """Test a run on another data set than it learnt from."""
    from evenface import reporting, workflows
    from evenface.recipes import parse_overrides

    maps = {name: text for name, text in (("classes", classes), ("merge", merge)) if text}
    given = parse_overrides([f"{name}={text}" for name, text in maps.items()])
    chosen: dict[str, Any] = {**given, "everything": everything, "out": out, "faces": faces}
    result = workflows.transfer(run, on, **chosen, trust_plugins=trust_plugins, **parse_overrides(settings or []))
    echo([*reporting.screen(result), *(f"note  {note}" for note in result.facts["notes"])])
