"""Rollups of whole years, narrower rows, and what is known of each sector, so that no question reads much."""

from rollotape.postgres.migrations import run_file

revision = "0013_years"
down_revision = "0012_users"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0013_years.sql")


def downgrade() -> None:
    run_file("0013_years.down.sql")
