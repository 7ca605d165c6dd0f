"""Retrieval protocols of other fields' tables: landmarks with distractors, near-duplicate videos."""
