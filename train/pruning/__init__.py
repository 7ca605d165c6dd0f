"""Pruning while a student learns: what goes, by a budget or by gradient resetting, and what channels cost."""
