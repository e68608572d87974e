"""Patterns of every source, with the counts that follow from bars."""

from rollotape.postgres.migrations import run_file

revision = "0003_patterns"
down_revision = "0002_strength"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0003_patterns.sql")


def downgrade() -> None:
    run_file("0003_patterns.down.sql")
