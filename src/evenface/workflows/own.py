"""Training on data of one's own, by a method that is named or chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenface import reporting
from evenface.errors import InputError
from evenface.files import output_path
from evenface.places import user_path
from evenface.recipes import Recipe, load_recipe
from evenface.runs import REPORT, Run, check_source
from evenface.workflows.learning import train

if TYPE_CHECKING:
    from evenface.auto import Choice, Looked

AUTO, MODEL = "auto", "model"


@dataclass(frozen=True)
class Own:
    """What :func:`train_own` made.

    Parameters
    ----------
    run : Run
        The trained and tested run.
    choice : Choice or None
        How its method was chosen; none where it was named.
    lines : list of str
        The screen: the result, where to look.
    report : Path
        The page.
    """

    run: Run
    choice: "Choice | None"
    lines: list[str]
    report: Path


def train_own(
    data: str | Path,
    *,
    method: str = AUTO,
    recipe: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    faces: bool = True,
    candidates: Sequence[str] | None = None,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _text: None,
    trust_plugins: bool = False,
    **overrides: Any,
) -> Own:
    """Train on data of one's own.

    Parameters
    ----------
    data : str or Path
        Folder with a folder of files for each class, or a table; see :func:`evenface.auto.look`.
    method : str, default="auto"
        ``auto`` tries some methods on folds of the training side and takes one only if it is better than plain
        training by more than noise. Else the name of a method or a loss.
    recipe : str, Path or mapping, optional
        Not with ``auto``: a recipe whose data are replaced by these.
    out : str or Path, optional
        Folder; by default ``runs/`` with the names of data and method.
    resume : bool, default=False
        Go on with a run that was interrupted; ``auto`` always does.
    faces : bool, default=True
        Whether the run's report shows sample faces.
    candidates : sequence of str, optional
        What ``auto`` tries.
    jobs : int, optional
        Trainings that ``auto`` does at a time.
    say : callable
        Is given each sentence about the data and the choice as soon as it is known.
    trust_plugins : bool, default=False
        Whether code that the recipe of a run folder names is run; see :func:`evenface.train`.
    **overrides
        Settings by dotted key.

    Raises
    ------
    InputError
        If there is nothing to learn from, too few samples or people, or anything given cannot be used.
    """
    from evenface.auto import CANDIDATES, choose, look, named_settings, own_recipe, write_report

    name = user_path(data).resolve().stem
    folder = output_path(out or Path("runs") / f"{name}-{method}", folder=True)
    if method == AUTO:
        if recipe is not None:
            raise InputError("auto makes a recipe of its own", "Leave the recipe out, or name a method.")
        tried = tuple(CANDIDATES) if candidates is None else tuple(candidates)
        choice = choose(data, folder, overrides, candidates=tried, jobs=jobs, say=say)
        run = train(choice.recipe.model_dump(mode="json"), out=folder / MODEL, resume=True, faces=faces)
        report = write_report(choice, run)
        lines = [*reporting.screen(run)[:-1], f"model   {run.folder}", f"report  {report}"]
        return Own(run, choice, lines, report)
    looked = look(data, overrides)
    for text in looked.said:
        say(text)
    settings = own_recipe(looked, overrides) if recipe is None else _with_data(load_recipe(recipe, overrides), looked)
    check_source(recipe, settings, overrides, trusted=trust_plugins)
    final = load_recipe(settings.model_dump(mode="json"), named_settings(method))
    run = train(final.model_dump(mode="json"), out=folder, resume=resume, faces=faces)
    return Own(run, None, reporting.screen(run), run.folder / REPORT)


def _with_data(recipe: Recipe, looked: "Looked") -> Recipe:
    """Put other data into a recipe; what it says of size, faces and clips stays."""
    content = recipe.model_dump(mode="json")
    form = type(recipe.data).model_fields
    kept = {key: value for key, value in content["data"].items() if key in form}
    content["data"] = kept | {k: v for k, v in looked.data.items() if k in ("source", "root") or k not in form}
    if content["protocol"]["kind"] == "official" and "train" not in set(looked.manifest.table["split"].dropna()):
        content["protocol"]["kind"] = "holdout"
    return load_recipe(content)
