"""Bars that somebody deletes by hand are forgotten by whoever has them in memory."""

from rollotape.postgres.migrations import run_file

revision = "0018_deleted_bars"
down_revision = "0017_gaps"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0018_deleted_bars.sql")


def downgrade() -> None:
    run_file("0018_deleted_bars.down.sql")
