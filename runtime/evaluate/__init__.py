"""A finished run judged against its ground truth: boxes, identities, how soon, and what the time went into."""
