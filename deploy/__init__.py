"""Lowering a student and proving the result."""
