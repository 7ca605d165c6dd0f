"""Training and retrieval evaluation of vehicle re-identification networks."""
