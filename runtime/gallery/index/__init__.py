"""The indexes over a gallery's prototypes, and what keeps them in step with its store."""
