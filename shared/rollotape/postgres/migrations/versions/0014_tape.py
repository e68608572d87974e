"""Counts of volume-spread events have a generation of their own."""

from rollotape.postgres.migrations import run_file

revision = "0014_tape"
down_revision = "0013_years"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0014_tape.sql")


def downgrade() -> None:
    run_file("0014_tape.down.sql")
