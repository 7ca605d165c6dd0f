"""Data set layouts, one layout a file."""
