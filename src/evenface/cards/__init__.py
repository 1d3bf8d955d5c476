"""The model card of a run: what it learnt from, how well it does on whom, and what it is for."""

from evenface.cards.gathering import card_of
from evenface.cards.writing import CARD, markdown, section

__all__ = ["CARD", "card_of", "markdown", "section"]
