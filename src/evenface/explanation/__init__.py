"""Saliency maps for images, clips and sequences, and tests of their faithfulness."""

from evenface.explanation.explain import METHODS, explain_samples
from evenface.explanation.explanation import Explanation, enlarged, overlay

__all__ = ["METHODS", "Explanation", "enlarged", "explain_samples", "overlay"]
