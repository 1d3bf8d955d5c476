"""The commands: parse, call :mod:`evenface.api`, print."""

import csv
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evenface.cli.base import (
    Figures,
    FolderType,
    Out,
    RunFolder,
    SampleFaces,
    Settings,
    Show,
    Source,
    TrainedModel,
    Trust,
    app,
    audit,
    data,
    echo,
    models,
    note,
    open_address,
    open_page,
    recipe_names,
    study_names,
    weights,
    with_settings,
)
from evenface.utils.errors import InputError
from evenface.utils.files import user_path


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.")] = Path("runs/demo-compared"),
    *,
    show: Show = True,
) -> None:
    """Predict on two images, then train three methods on synthetic people and compare them.

    Takes about two minutes on two cores. The report shows which method is better, on which classes, and the
    uncertainty.
    """
    from evenface import api

    result = api.demo(out, on_message=lambda line: echo([line]))
    echo([*result.lines, f"report  {result.report}", result.next_step])
    if show:
        open_page(result.report)


@app.command()
def doctor() -> None:
    """Print versions, devices and missing packages."""
    from evenface.utils.extras import examine

    for finding in examine():
        echo([f"{finding.name:18} {finding.state}", *([f"{'':18} -> {finding.remedy}"] if finding.remedy else [])])


@app.command()
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="Print this recipe: a shipped one or a YAML file.", autocompletion=recipe_names
        ),
    ] = None,
) -> None:
    """List the shipped recipes, or print one."""
    from evenface.config import dump_recipe, load_recipe, shipped_recipes

    shipped = shipped_recipes()
    if name is None:
        echo(f"{recipe:24} {load_recipe(recipe).about}" for recipe in shipped)
        return
    recipe = load_recipe(name)
    print(shipped[name].read_text(encoding="utf-8") if name in shipped else dump_recipe(recipe), end="")


@models.callback()
def list_models(context: typer.Context) -> None:
    """List models: that of evenface, and known ones of other projects."""
    if context.invoked_subcommand is None:
        from evenface.inference.third_party import list_models as lines_of_models

        echo(lines_of_models())


@models.command("get")
def get(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model in the list.")]) -> None:
    """Download a model of another project, and verify its size and SHA-256 digest."""
    from evenface import api

    echo([f"model  {api.get_model(name)}", f"next    evenface predict photo.jpg --model {name}"])


@data.command("list")
def list_data(
    name: Annotated[str | None, typer.Argument(metavar="SOURCE", help="Name of a source; default all of them.")] = None,
) -> None:
    """List the sources of data: targets, files needed, owner and terms of use.

    evenface downloads no dataset: it is obtained from its owner.
    """
    from evenface.data.datasets import list_sources

    echo(list_sources([name] if name else []))


@data.command("check")
def check(recipe: Source, settings: Settings = None, *, out: Out = None) -> None:
    """Check a dataset for leakage and label errors.

    Reports subjects and images in more than one set, near-duplicates, conflicting labels, missing classes and
    unreadable files. With --out, every finding is written as CSV.
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
    contact_sheets: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write contact sheets of clips: sampled frames, detected faces, crops."),
    ] = None,
) -> None:
    """Preprocess the data of a recipe into one array: decode, detect faces, crop, resize.

    Training does this itself if necessary. The result is cached.
    """
    from evenface import api
    from evenface.config import parse_overrides

    store = api.prepare(recipe, contact_sheets=contact_sheets, **parse_overrides(settings or []))
    echo([store.summary(), *(f"note  {note}" for note in store.manifest.notes), f"store  {store.path}"])
    if contact_sheets is not None:
        echo([f"contact sheets  {contact_sheets}"])


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE|DATA",
            help="Name of a shipped recipe, a YAML file, a run folder; or your own data, as for --data.",
            autocompletion=recipe_names,
        ),
    ] = None,
    settings: Settings = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Your own data: a folder with one subfolder per class, or a table."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --data: imbalance method or loss; default none (erm). auto: select one by cross-validation, in "
            "some 26 times the time.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Start from the weights and the network of a run folder, of a folder of evenface pretrain, or of the "
            "model evenface-synthetic.",
        ),
    ] = None,
    out: Out = None,
    cv: Annotated[
        str | None,
        typer.Option(
            metavar="K|subjects",
            help="Cross-validate: train every one of K folds, or leave one subject out at a time, and tabulate mean "
            "and interval.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    sample_faces: SampleFaces = True,
    trust_plugins: Trust = False,
) -> None:
    """Train and test a model from a recipe, or on your own data, and write a run folder."""
    from evenface import api
    from evenface.config import is_own_data, parse_overrides
    from evenface.reporting import summaries
    from evenface.runs import is_first_process

    words = list(settings or [])
    if data is None and is_own_data(recipe):
        data, recipe = Path(str(recipe)), None
    if data is not None and recipe is not None and "=" in recipe:
        words.insert(0, recipe)
        recipe = None
    overrides = parse_overrides(words)
    options: dict[str, Any] = {
        "out": out,
        "resume": resume,
        "sample_faces": sample_faces,
        "trust_plugins": trust_plugins,
    }
    if cv is not None:
        overrides = {**(api.start_settings(start) if start else {}), **overrides}
        _cross_validate(cv, data, recipe, method, out, overrides, trust_plugins=trust_plugins)
        return
    if data is not None:
        result = api.train_folder(
            data,
            method=method,
            recipe=recipe,
            start=start,
            on_message=note,
            **options,
            **overrides,
        )
        echo(result.lines)
        return
    if recipe is None:
        raise InputError("no recipe given", "Name a recipe (see evenface recipes), or a folder of your own data.")
    if method is not None:
        raise InputError("--method requires --data", "With a recipe, set method.name=NAME or loss.name=NAME.")
    run = api.train(recipe, start=start, **options, **overrides)
    if is_first_process():
        echo(summaries.run_summary(run))


def _cross_validate(
    cv: str,
    data: Path | None,
    recipe: str | None,
    method: str | None,
    out: Path | None,
    overrides: dict[str, Any],
    *,
    trust_plugins: bool,
) -> None:
    from evenface import api

    if (data is None) == (recipe is None):
        raise InputError("--cv needs a recipe, or your own data", "Name one: evenface train RECIPE --cv 5.")
    if method is not None:
        raise InputError("--method does not apply to --cv", "Set method.name=NAME or loss.name=NAME.")
    folds: Any = "subjects" if cv in ("subjects", "loso") else int(cv) if cv.isdecimal() else None
    if folds is None:
        raise InputError(f"--cv: {cv!r} is no number of folds", "Example: --cv 5, or --cv subjects.")
    result = api.cross_validate(data or str(recipe), folds, out=out, trust_plugins=trust_plugins, **overrides)
    echo([*result.lines, f"report  {result.report}", result.next_step])
    _raise_failed(result)


@app.command()
def pretrain(
    settings: Settings = None,
    *,
    data: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Images at any depth; labels, if there are any, are not used.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images; default 100.")] = None,
    network: Annotated[
        str | None, typer.Option(metavar="NAME", help="Network of images; default compact_vgg_16.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Side of the prepared images; default by the images.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images of a step; default 256.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and augmentation; default 0.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Device; default a GPU if there is one.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted pretraining.")] = False,
) -> None:
    """Pretrain a network on images without labels (SimSiam), as a start for training.

    Start from its weights: evenface train --start FOLDER. The standard deviation of the outputs is shown for each epoch
    and warned of if they collapse.
    """
    from evenface import api
    from evenface.config import parse_overrides
    from evenface.runs import is_first_process

    named: dict[str, Any] = {"epochs": epochs, "network": network, "size": size, "batch_size": batch_size}
    named |= {"seed": seed, "device": device, "resume": resume}
    pretrained = api.pretrain(data, out, **named, **parse_overrides(settings or []))
    if is_first_process():
        echo(pretrained.lines())


@app.command()
def evaluate(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Run folder.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="Settings of the dataset, such as data.root=FOLDER."),
    ] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="In place of a run: an .onnx file, or the name of a model."),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Specification of a model of another project: a YAML file, or a name."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="Evaluate on another dataset: the name of a source, or a recipe."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="Evaluate on your own data: a folder with one subfolder per class, or a table."
        ),
    ] = None,
    class_map: Annotated[
        str | None,
        typer.Option(
            metavar="MAP",
            help="Map classes of the dataset to those of the run: '{joy: happy, calm: null}'; null drops a class.",
        ),
    ] = None,
    merge_classes: Annotated[
        str | None,
        typer.Option(metavar="MAP", help="Classes of the run to merge: '{pain: [PA1, PA2, PA3, PA4]}'."),
    ] = None,
    all_samples: Annotated[
        bool, typer.Option("--all-samples", help="Use all samples instead of the test set.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Output folder; default on-DATASET in RUN.")
    ] = None,
    sample_faces: SampleFaces = True,
    figures: Figures = None,
    trust_plugins: Trust = False,
) -> None:
    """Recompute a run's metrics and report, or evaluate a run or a model file on a dataset.

    Without --on and --data, everything is computed from the stored predictions.
    """
    from evenface import api
    from evenface.config import parse_overrides
    from evenface.reporting import summaries

    words = list(settings or [])
    if run is not None and model is not None and "=" in run:
        words.insert(0, run)
        run = None
    maps = {"class_map": class_map, "merge_classes": merge_classes}
    options = parse_overrides([f"{name}={text}" for name, text in maps.items() if text])
    options |= {"model": model, "spec": spec, "on": on, "data": data, "all_samples": all_samples, "out": out}
    options |= {"sample_faces": sample_faces, "figures": figures or (), "trust_plugins": trust_plugins}
    evaluated = api.evaluate(run, **options, **parse_overrides(words))
    echo(summaries.run_summary(evaluated))
    if on is not None or data is not None:
        echo([f"note  {note}" for note in evaluated.facts["notes"]])


@app.command()
def calibrate(
    run: RunFolder,
    *,
    max_error_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Selective prediction: find the threshold for this maximum error rate, such as 0.1."
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="PRIOR",
            help="Correct for label shift to this class prior: happy=0.5,sad=0.5, or uniform, or estimate.",
        ),
    ] = None,
    trust_plugins: Trust = False,
) -> None:
    """Calibrate a run's probabilities by temperature scaling, and evaluate them.

    The temperature is fitted on validation data and evaluated on test data.
    """
    from evenface import api

    result = api.calibrate(run, max_error_rate=max_error_rate, prior=prior, trust_plugins=trust_plugins)
    echo(result.lines)


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Run folders, the baseline first; runs that differ only in the seed are one method.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.")] = Path("runs/comparison"),
    sample_faces: SampleFaces = True,
    figures: Figures = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open the report in a browser.")] = False,
    trust_plugins: Trust = False,
) -> None:
    """Compare runs statistically on the same test samples.

    Differences have bootstrap confidence intervals and p-values, per metric and per class.
    """
    from evenface import api

    result = api.compare(runs, out=out, sample_faces=sample_faces, figures=figures or (), trust_plugins=trust_plugins)
    echo([*result.lines, f"report  {result.report}", result.next_step])
    if show:
        open_page(result.report)


@app.command()
def fuse(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run folders on the same samples, such as of video and of signals."),
    ],
    *,
    by: Annotated[
        Literal["logits", "features"],
        typer.Option(help="Average the logits, or train a joint linear head on the features of all networks."),
    ] = "logits",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the fused run.")] = Path("runs/fused"),
    sample_faces: SampleFaces = True,
    figures: Figures = None,
    trust_plugins: Trust = False,
) -> None:
    """Fuse the predictions of runs on the same samples (late fusion), and evaluate them as a run."""
    from evenface import api
    from evenface.reporting import summaries

    run = api.fuse(runs, out=out, by=by, sample_faces=sample_faces, figures=figures or (), trust_plugins=trust_plugins)
    echo(summaries.run_summary(run))
    echo([f"note  {note}" for note in run.facts["notes"]])


@app.command()
def studies(
    name: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="Print this study: a shipped one or a YAML file.")
    ] = None,
) -> None:
    """List the shipped studies, or print one."""
    from evenface.studies import load_study, shipped_studies

    shipped = shipped_studies()
    if name is None:
        echo(f"{study:24} {load_study(study).about}" for study in shipped)
        return
    load_study(name)
    print((shipped.get(name) or user_path(name)).read_text(encoding="utf-8"), end="")


@app.command()
def study(
    source: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="Name of a shipped study, a YAML file, or a study folder.",
            autocompletion=study_names,
        ),
    ],
    settings: Settings = None,
    *,
    on: Annotated[
        str | None, typer.Option(metavar="DATASET", help="One of the study's datasets; default the first.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="One of the study's sizes, such as quick; default full.")
    ] = None,
    protocol: Annotated[
        Literal["honest", "paper"],
        typer.Option(
            help="paper: also apply the paper's settings that bias results, marked in the report; honest: without them."
        ),
    ] = "honest",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACTOR=LEVEL,...", help="Train and report only these levels, and the baseline's. Repeatable."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of parallel runs; default one per GPU or processor core.")
    ] = None,
    executor: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Processes on this machine, or a Ray cluster: the one at RAY_ADDRESS, or a local one."),
    ] = "local",
    out: Out = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only print the planned runs.")] = False,
    trust_plugins: Trust = False,
) -> None:
    """Train the runs of a study in parallel and test the differences between them.

    Finished runs are not repeated; interrupted ones are resumed.
    """
    from evenface import api
    from evenface.config import parse_overrides

    overrides, levels = parse_overrides(settings or []), _levels(only or [])
    if plan:
        from evenface.studies.plan import StudyOptions
        from evenface.studies.run import describe_plan

        echo(describe_plan(source, StudyOptions(on, size, protocol, overrides, levels), jobs))
        return
    options: dict[str, Any] = {"on": on, "size": size, "protocol": protocol, "only": levels}
    options |= {"jobs": jobs, "executor": executor}
    result = api.study(source, out=out, trust_plugins=trust_plugins, **options, **overrides)
    echo([*result.lines, f"report  {result.report}", result.next_step])
    _raise_failed(result)


def _levels(given: list[str]) -> dict[str, tuple[str, ...]]:
    """Read ``FACTOR=LEVEL,LEVEL``."""
    levels: dict[str, tuple[str, ...]] = {}
    for text in given:
        factor, _, names = text.partition("=")
        if not factor or not (named := tuple(name.strip() for name in names.split(",") if name.strip())):
            raise InputError(f"--only {text}: expected a factor and its levels", "Write --only method=none,mixup.")
        levels[factor] = (*levels.get(factor, ()), *named)
    return levels


def _raise_failed(result: Any) -> None:
    if result.failed:
        failed = "\n".join(f"  {folder}: {reason}" for folder, reason in result.failed.items())
        raise InputError(f"{len(result.failed)} of {len(result.plan.trainings)} runs failed\n{failed}")


@weights.command("convert")
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Pickled weights of PyTorch: .pth, .pt or .bin.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Output file, .safetensors.")],
    network: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Network, as in network.name; default the ResNet by the shapes in the file."),
    ] = None,
) -> None:
    """Convert pickled weights to a safetensors file for network.weights.

    No code in the file is run. Reports which tensors match the network, which are missing, and which are dropped.
    """
    from evenface import api

    echo(api.convert_weights(file, out, network=network).lines())


@audit.command("claims")
def claims(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="YAML files of printed numbers, or p1 to p5 for those of the reproduced papers."
        ),
    ],
) -> None:
    """Find inconsistent numbers among those that a paper prints, and show the arithmetic.

    Discrepancies that rounding explains are not reported. Exit code 0 if all numbers are consistent, 1 otherwise.
    """
    from evenface import api

    audits = api.audit_claims(files)
    echo(["\n\n".join("\n".join(result.lines()) for result in audits)])
    if any(result.findings for result in audits):
        raise typer.Exit(1)


@audit.command("dataset")
def dataset(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Dataset as distributed: a folder, a table, or a recipe.")
    ],
    settings: Settings = None,
    *,
    official: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="Table of the official release with the columns digest, label and side."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write every finding as CSV.")] = None,
) -> None:
    """Audit a dataset as it is distributed, and state what follows for its use.

    Reports what data check reports, images augmented before the split, and labels that differ from an official release.
    """
    from evenface import api
    from evenface.config import parse_overrides

    result = api.audit_dataset(source, official=official, out=out, **parse_overrides(settings or []))
    echo(result.lines())
    if out is not None:
        echo([f"tables  {out}"])


@app.command()
def stats(
    table: Annotated[Path, typer.Argument(metavar="FILE", help="Table with one row per result: CSV, TSV or Parquet.")],
    *,
    value: Annotated[str, typer.Option(metavar="COLUMN", help="Column of results, such as accuracy.")],
    factors: Annotated[
        str,
        typer.Option(metavar="A,B", help="Columns of compared conditions; quote a name that contains a comma."),
    ],
    unit: Annotated[
        str,
        typer.Option(
            metavar="COLUMN[,COLUMN]", help="Columns of the unit of replication, such as fold, subject or seed,fold."
        ),
    ],
    equivalence_margin: Annotated[
        float | None,
        typer.Option(metavar="X", help="Test equivalence (TOST): differences within ± X count as negligible."),
    ] = None,
    independent: Annotated[
        bool,
        typer.Option("--independent", help="Treat all values as independent, even if a unit occurs in several cells."),
    ] = False,
    test_train_ratio: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            help="n_test / n_train of the corrected resampled t-test if the unit is a fold; default 1 / (k - 1) for a "
            "column named fold with k values, else 0.",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="A=LEVEL", help="Level to compare with; default the first. Repeatable."),
    ] = None,
    higher: Annotated[
        bool | None,
        typer.Option(
            "--higher-is-better/--lower-is-better", help="Direction of the value; required unless it is a known metric."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write tables (CSV) and figures (SVG) to this folder.")
    ] = None,
) -> None:
    """Analyse a table of results: ANOVA, pairwise comparisons, equivalence, power.

    Reports the unit of replication, effect sizes and violated assumptions.
    """
    from evenface.reporting.report import save_analysis
    from evenface.statistics.analysis import analyse
    from evenface.utils.files import output_path

    columns, units = (
        [name.strip() for name in next(csv.reader([names], skipinitialspace=True))] for names in (factors, unit)
    )
    folder = None if out is None else output_path(out, folder=True)
    analysis = analyse(
        user_path(table),
        value,
        columns,
        units,
        margin=equivalence_margin,
        kind="between" if independent else None,
        baselines=dict(_factor_level(text, columns) for text in baseline or []),
        higher_is_better=higher,
        overlap=test_train_ratio,
    )
    echo(analysis.lines)
    if folder is not None:
        save_analysis(analysis, folder)
        echo([f"tables and figures  {folder}"])


def _factor_level(text: str, factors: list[str]) -> tuple[str, str]:
    """Split ``FACTOR=LEVEL``, both of which may contain an equals sign."""
    for factor in sorted(factors, key=len, reverse=True):
        if text.startswith(f"{factor}="):
            return factor, text.removeprefix(f"{factor}=").strip()
    raise InputError(f"--baseline {text!r} names no factor", f"Example: --baseline {factors[0]}=LEVEL.")


PREDICT = "evenface.config.predict:PredictSettings"
EXPLAIN = "evenface.config.explain:ExplainSettings"


@app.command()
@with_settings(PREDICT, flags={"person_baseline": "--baseline"})
def predict(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="Images, videos, folders, feature files.")
    ] = None,
    *,
    model: TrainedModel = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a table, .csv.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a table, .parquet.")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a list, .json; - prints it instead of the summary.")
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write images and videos with boxes and labels drawn in.")
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a figure of probabilities over time: .svg, .pdf or .png.")
    ] = None,
    pain_change: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a pain score of action units over time, less each face's own baseline, .csv.",
        ),
    ] = None,
    folder_type: FolderType = None,
    camera: Annotated[
        int | None, typer.Option(metavar="N", help="Use camera N, counted from 0, instead of inputs.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="X", help="With --camera: duration in seconds; default until Ctrl-C.")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Specification of a model of another project: a YAML file, or a name."),
    ] = None,
    trust_plugins: Trust = False,
    **settings: Any,
) -> None:
    """Predict on images, videos or a camera, and print label and probability of each face.

    Files that are already in an output table are skipped, unless they have changed. Ctrl-C keeps finished files.
    """
    from evenface import api

    tables = {".csv": csv, ".parquet": parquet, ".json": None if json == Path("-") else json}
    for suffix, path in tables.items():
        if path is not None and path.suffix.lower() != suffix:
            raise InputError(f"--{suffix[1:]} {path} must end in {suffix}")
    options: dict[str, Any] = {"out": [path for path in tables.values() if path is not None]}
    options |= {"annotate": annotate, "timeline": timeline, "pain_change": pain_change, "folder_type": folder_type}
    options |= {"camera": camera, "seconds": seconds, "spec": spec, "trust_plugins": trust_plugins}
    faces = api.predict(inputs or [], model, **options, **settings)
    if json == Path("-"):
        print(faces.to_json(), end="")
    else:
        echo(faces.lines())


@app.command()
@with_settings(
    EXPLAIN,
    PREDICT,
    leave_out=("seed", "smooth", "prior", "abstain", "pose", "all_units"),
    flags={"classes": "--class"},
)
def explain(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Images, videos, folders, feature files.")],
    *,
    model: TrainedModel = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.")] = Path("explanations"),
    folder_type: FolderType = None,
    trust_plugins: Trust = False,
    **settings: Any,
) -> None:
    """Explain predictions with saliency maps, and test their faithfulness.

    Images: saliency maps over the face. Clips: also importance per frame. Sequences: importance per frame and per
    landmark or feature.
    Files that are already explained are skipped.
    """
    from evenface import api

    result = api.explain(inputs, model, out=out, folder_type=folder_type, trust_plugins=trust_plugins, **settings)
    echo(result.lines())


@app.command()
def export(
    run: RunFolder,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Output file; default model.onnx in the run folder.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits; the loss of accuracy is measured.")] = False,
    tolerance: Annotated[
        float, typer.Option(metavar="X", help="Maximum allowed difference from the run's scores.")
    ] = 1e-4,
    max_accuracy_loss: Annotated[
        float,
        typer.Option(metavar="X", help="With --int8: maximum allowed loss of balanced accuracy on validation data."),
    ] = 0.01,
    trust_plugins: Trust = False,
) -> None:
    """Export a run to ONNX and verify the file.

    The file is compared with the run on its test and validation samples, and deleted if it differs.
    """
    from evenface import api

    options: dict[str, Any] = {"tolerance": tolerance, "max_accuracy_loss": max_accuracy_loss}
    echo(api.export(run, out=out, int8=int8, trust_plugins=trust_plugins, **options).lines)


@app.command("app")
def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run folders, study folders, folders of these, .onnx files; default runs/.",
        ),
    ] = None,
    *,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to bind to; one other than localhost requires a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")] = 8420,
    save_uploads: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Save uploads and their results to this folder; default not saved."),
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open the page in a browser.")] = True,
    trust_plugins: Trust = False,
) -> None:
    """Open a local web page to browse and compare runs, and to predict on images, videos and the camera.

    Ctrl-C stops the server. Nothing leaves the machine.
    """
    from evenface import api

    def ready(address: str) -> None:
        print(f"page  {address}   (Ctrl-C stops the server)", flush=True)
        if show:
            open_address(address)

    api.serve(runs or [], host=host, port=port, save_uploads=save_uploads, trust_plugins=trust_plugins, ready=ready)
    print("the server has stopped")
