"""The tables of a gallery, version by version, for alembic."""
