"""Alembic's entry: runs on the connection and in the transaction that `rollotape.postgres.migrate` opened."""

from alembic import context

options = context.config.attributes

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", output_buffer=options["output"])
else:
    context.configure(connection=options["connection"], on_version_apply=options["on_version_apply"])

with context.begin_transaction():
    context.run_migrations()
