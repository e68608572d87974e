"""Wyckoff events, ranges, own patterns and trades, and the marks from which they are derived."""

from rollotape.postgres.migrations import run_file

revision = "0006_wyckoff"
down_revision = "0005_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0006_wyckoff.sql")


def downgrade() -> None:
    run_file("0006_wyckoff.down.sql")
