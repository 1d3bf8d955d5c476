"""Studies: factors, seeds and folds; plan, execution, results; method choice for your own data."""

from evenface.studies.definition import Study, load_study, shipped_studies

__all__ = ["Study", "load_study", "shipped_studies"]
