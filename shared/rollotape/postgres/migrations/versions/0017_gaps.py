"""What is missing of the bars that should be there, and how far that has been looked at."""

from rollotape.postgres.migrations import run_file

revision = "0017_gaps"
down_revision = "0016_webhooks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0017_gaps.sql")


def downgrade() -> None:
    run_file("0017_gaps.down.sql")
