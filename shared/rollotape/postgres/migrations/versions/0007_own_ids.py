"""Ids of our own patterns and trades that nobody outside can claim."""

from rollotape.postgres.migrations import run_file

revision = "0007_own_ids"
down_revision = "0006_wyckoff"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0007_own_ids.sql")


def downgrade() -> None:
    run_file("0007_own_ids.down.sql")
