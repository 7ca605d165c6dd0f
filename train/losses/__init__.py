"""Losses, one method a file."""
