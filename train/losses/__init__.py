"""Losses: of labels, of a teacher's outputs, relations and rankings, and of mixed samples."""
