"""What Alembic runs: the migrations, in the transaction that `serving.database.schema.upgrade` has begun."""

from alembic import context

from serving.database.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
context.run_migrations()
