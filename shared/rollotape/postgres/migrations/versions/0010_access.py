"""Owners and successors of keys, and who wrote what."""

from rollotape.postgres.migrations import run_file

revision = "0010_access"
down_revision = "0009_rollups"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0010_access.sql")


def downgrade() -> None:
    run_file("0010_access.down.sql")
