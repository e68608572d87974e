"""What users keep: watchlists, saved scans, and the answers to requests that may be repeated."""

from rollotape.postgres.migrations import run_file

revision = "0012_users"
down_revision = "0011_universes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0012_users.sql")


def downgrade() -> None:
    run_file("0012_users.down.sql")
