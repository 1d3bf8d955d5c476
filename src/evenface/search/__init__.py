"""Hyperparameter search on validation data before training: a Gaussian process and expected improvement."""

from evenface.search.hyperparameter_search import (
    SearchRequest,
    SearchResult,
    StackedTraining,
    run_searches,
    trial_table,
)

__all__ = ["SearchRequest", "SearchResult", "StackedTraining", "run_searches", "trial_table"]
