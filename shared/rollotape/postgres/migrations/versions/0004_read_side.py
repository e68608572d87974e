"""What the read side needs of the database: an order of its changes."""

from rollotape.postgres.migrations import run_file

revision = "0004_read_side"
down_revision = "0003_patterns"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0004_read_side.sql")


def downgrade() -> None:
    run_file("0004_read_side.down.sql")
