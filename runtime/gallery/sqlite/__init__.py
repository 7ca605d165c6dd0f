"""The gallery in an SQLite file: the only SQL of the product."""
