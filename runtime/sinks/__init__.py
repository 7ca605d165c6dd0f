"""Sinks for what a run sees, one a file."""
