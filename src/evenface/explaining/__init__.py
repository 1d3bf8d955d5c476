"""Explaining: what in a picture, a clip or a sequence a model's answer rests on, and whether that is so."""

from evenface.explaining.asking import METHODS, explain_samples
from evenface.explaining.base import Explanation, enlarged, overlay

__all__ = ["METHODS", "Explanation", "enlarged", "explain_samples", "overlay"]
