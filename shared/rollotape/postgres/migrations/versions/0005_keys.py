"""Keys that let programs ask the gateway from elsewhere."""

from rollotape.postgres.migrations import run_file

revision = "0005_keys"
down_revision = "0004_read_side"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0005_keys.sql")


def downgrade() -> None:
    run_file("0005_keys.down.sql")
