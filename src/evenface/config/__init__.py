"""Every setting, declared once: recipes, their loading and validation, shipped recipes."""

from evenface.config.loading import dump_recipe, is_own_data, load_recipe, parse_overrides, shipped_recipes
from evenface.config.recipe import Recipe

__all__ = ["Recipe", "dump_recipe", "is_own_data", "load_recipe", "parse_overrides", "shipped_recipes"]
