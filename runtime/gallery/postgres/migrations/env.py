"""What alembic runs: the missing versions, on the connection and in the transaction of whoever opens the gallery."""

from alembic import context

if hasattr(context, "config"):  # alembic runs this, and nobody imports it
    context.configure(
        connection=context.config.attributes["connection"],
        version_table_schema=context.config.attributes["gallery"],
        transactional_ddl=False,  # the transaction is the caller's
    )
    context.run_migrations()
