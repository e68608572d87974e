"""Webhooks: where users want to be told, and what is still to be sent there."""

from rollotape.postgres.migrations import run_file

revision = "0016_webhooks"
down_revision = "0015_entrants"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0016_webhooks.sql")


def downgrade() -> None:
    run_file("0016_webhooks.down.sql")
