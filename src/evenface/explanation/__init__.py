"""Saliency maps for images, clips and sequences, and tests of their faithfulness."""

from evenface.explanation.explanation import METHODS, Explanation, explain_samples
from evenface.reporting.saliency import enlarged, overlay

__all__ = ["METHODS", "Explanation", "enlarged", "explain_samples", "overlay"]
