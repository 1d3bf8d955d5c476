"""The folder of a study: it belongs to one definition."""

from pathlib import Path

import yaml

from evenface.errors import InputError
from evenface.files import atomic_write, is_vacant
from evenface.recipes.reading import read_mapping
from evenface.runs import PLACE, Run, differing_keys
from evenface.studies.plan import Plan

STUDY = "study.yaml"


def claim(plan: Plan, out: Path) -> None:
    """Write what is run into the study's folder, or see that the folder holds the same.

    Raises
    ------
    InputError
        If the folder holds another study, or this one with other settings, or something else.
    """
    runs = {run.folder: run.digest for run in plan.trainings}
    path = out / STUDY
    if path.is_file():
        before = read_mapping(path, "study").get("runs", {})
        if not isinstance(before, dict):
            raise InputError(f"{path} is damaged: runs holds no folders", "Bring back a copy.")
        for folder in before:
            changed = runs.get(folder) != before[folder] and (out / folder).is_dir()
            difference = _difference(plan, out, folder) if changed else None
            if difference:
                raise InputError(
                    f"{out} holds runs of another definition of the study: {difference}",
                    "Go on with the definition as it was, or give another folder: --out.",
                )
    elif not is_vacant(out):
        raise InputError(f"{out} exists and is no study", "Give another folder: --out.")
    chosen = {"on": plan.choice.on, "size": plan.choice.size, "protocol": plan.choice.protocol}
    content = {
        "study": plan.study.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        **chosen,
        "overrides": dict(plan.choice.overrides),
        "runs": runs,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def _difference(plan: Plan, out: Path, folder: str) -> str | None:
    """Say in which settings the run in a folder differs from what is planned there; None if in none.

    Recipes of an older version lack keys that have come since: those have their defaults.
    """
    planned = [run for run in plan.trainings if run.folder == folder]
    if not planned:
        return f"{folder} is no part of this one"
    if not (out / folder / "recipe.yaml").is_file():
        return f"{folder} differs in its settings"
    keys = differing_keys([Run(out / folder).recipe, planned[0].recipe_in(out)], ignore=PLACE)
    return f"{folder} differs in {', '.join(keys)}" if keys else None
