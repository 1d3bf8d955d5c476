"""One's own data in one line: what it is, what its imbalance asks for, and whether that is worth it."""

from evenface.auto.candidates import CANDIDATES, named_settings
from evenface.auto.choosing import Choice, choose
from evenface.auto.deciding import Decision, decide
from evenface.auto.looking import Looked, look
from evenface.auto.recipe import own_recipe
from evenface.auto.report import write_report

__all__ = [
    "CANDIDATES",
    "Choice",
    "Decision",
    "Looked",
    "choose",
    "decide",
    "look",
    "named_settings",
    "own_recipe",
    "write_report",
]
