"""Studies: many runs that answer one question, planned, trained side by side, and set out in one table."""

from evenface.studies.loading import load_study, shipped_studies
from evenface.studies.schema import Study

__all__ = ["Study", "load_study", "shipped_studies"]
