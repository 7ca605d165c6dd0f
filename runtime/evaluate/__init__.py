"""Evaluation of a finished run against its ground truth: boxes, identities, how soon, and where the time went."""
