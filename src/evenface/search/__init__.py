"""Settings found by a search on validation data, before training: a Gaussian process and expected improvement."""

from evenface.search.lockstep import Found, Trains, found_settings, trial_table
from evenface.search.searches import Wanted

__all__ = ["Found", "Trains", "Wanted", "found_settings", "trial_table"]
