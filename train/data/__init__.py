"""Data sets: records, layouts, splits, sampling, and the pictures of a training."""
