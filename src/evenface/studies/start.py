"""What the networks of a study start from: a run that is trained before all others."""

from collections.abc import Mapping
from typing import Any

from evenface.errors import InputError
from evenface.recipes import Recipe, load_recipe

START = "start"
"""Value of ``network.weights`` in a study: those of its start."""


def start_recipe(recipe: Recipe, source: str | Mapping[str, Any] | None, study: str) -> Recipe | None:
    """Give the recipe of the run that a run of this recipe starts from; None where it starts from something else.

    Parameters
    ----------
    recipe : Recipe
        Of a run of the study.
    source : str or mapping, optional
        The study's ``start``: a shipped recipe, or content.
    study : str
        Name of the study, for messages.

    Returns
    -------
    Recipe or None
        The start's, with the backbone, the size and the channels that the run has.

    Raises
    ------
    InputError
        If the run shall start from the study's start and there is none.
    """
    if recipe.network.weights != START:
        return None
    if source is None:
        raise InputError(
            f"the study {study} has no start, which network.weights: {START} asks for",
            "Say in the study what to start from, or take random, hub or a file.",
        )
    content = load_recipe(source).model_dump(mode="json")
    for key in ("name", "stem", "norm", "normalise"):
        content["network"][key] = getattr(recipe.network, key)
    content["data"] |= {"size": recipe.data.size, "channels": recipe.data.channels}
    return load_recipe(content)
