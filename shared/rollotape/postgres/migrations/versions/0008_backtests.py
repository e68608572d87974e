"""What backtests found, kept with the rules and the bars that they were asked about."""

from rollotape.postgres.migrations import run_file

revision = "0008_backtests"
down_revision = "0007_own_ids"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0008_backtests.sql")


def downgrade() -> None:
    run_file("0008_backtests.down.sql")
