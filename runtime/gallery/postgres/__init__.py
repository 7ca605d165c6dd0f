"""The gallery in PostgreSQL with pgvector: a schema of the database for each gallery."""
