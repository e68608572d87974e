"""The history of the schema; the statements are in the `.sql` file beside each revision."""

from pathlib import Path
from typing import Any

from alembic import op
from sqlalchemy.util import await_only

VERSIONS = Path(__file__).parent / "versions"


def run_file(name: str) -> None:
    """Run every statement of `versions/<name>` in the migration's transaction."""
    run((VERSIONS / name).read_text("utf-8"))


def run(statements: str) -> None:
    """Run statements in the migration's transaction, or print them."""
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(statements)
        return
    connection: Any = op.get_bind().connection.driver_connection
    await_only(connection.execute(statements))  # asyncpg itself takes several statements at once
