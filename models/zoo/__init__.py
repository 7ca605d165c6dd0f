"""Bundled students and their model cards."""
