"""Many small sequence networks trained as one: each as if it were alone, in a fraction of the time."""

from evenface.training.stacked.members import MemberSpec
from evenface.training.stacked.trainer import StackedTrainer

__all__ = ["MemberSpec", "StackedTrainer"]
