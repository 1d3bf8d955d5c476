"""Recipes: one typed YAML file that fixes everything about a run."""
