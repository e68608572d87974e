"""What closed trades have earned, added up per day, so that no question reads them all."""

from rollotape.postgres.migrations import run_file

revision = "0009_rollups"
down_revision = "0008_backtests"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0009_rollups.sql")


def downgrade() -> None:
    run_file("0009_rollups.down.sql")
