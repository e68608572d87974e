"""Relative strength: sectors in, scores and leaders out."""

from rollotape.postgres.migrations import run, run_file
from rollotape.seed import sectors

revision = "0002_strength"
down_revision = "0001_first_light"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0002_strength.sql")
    run(_insert())


def downgrade() -> None:
    run_file("0002_strength.down.sql")


def _insert() -> str:
    """As text, because a migration may also be printed instead of run."""
    rows = ",\n".join(f"({', '.join(map(_quoted, row))})" for row in sectors())
    return f"INSERT INTO sectors (symbol, name, sector, industry, kind) VALUES\n{rows};\n"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'" if value else "NULL"
