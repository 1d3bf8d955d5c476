"""From a recipe to a run folder with weights and predictions."""

from evenface.fitting.pictures import fit_pictures
from evenface.fitting.sequences import fit_together
from evenface.kinds import of_sequences
from evenface.recipes import Recipe
from evenface.runs import Run

__all__ = ["fit", "fit_together"]


def fit(run: Run, recipe: Recipe) -> None:
    """Train, and write weights and predictions."""
    if of_sequences(recipe):
        fit_together([(run, recipe)])
    else:
        fit_pictures(run, recipe)
