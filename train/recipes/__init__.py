"""Recipes: complete trainings as Python functions."""
