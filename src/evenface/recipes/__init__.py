"""Recipes: one typed YAML file that fixes everything about a run."""

from evenface.recipes.loading import dump_recipe, load_recipe, parse_overrides, shipped_recipes
from evenface.recipes.schema import Recipe

__all__ = ["Recipe", "dump_recipe", "load_recipe", "parse_overrides", "shipped_recipes"]
