"""Indexes over prototypes, one a file."""
