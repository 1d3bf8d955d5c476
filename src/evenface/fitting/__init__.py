"""Fit a recipe: from its data to a run folder with weights and predictions."""

from evenface.fitting.images import fit_images
from evenface.fitting.sequences import fit_sequences
from evenface.kinds import of_sequences
from evenface.recipes import Recipe
from evenface.runs import Run

__all__ = ["fit", "fit_sequences"]


def fit(run: Run, recipe: Recipe) -> None:
    """Train, and write weights, predictions and metadata."""
    if of_sequences(recipe):
        fit_sequences([(run, recipe)])
    else:
        fit_images(run, recipe)
