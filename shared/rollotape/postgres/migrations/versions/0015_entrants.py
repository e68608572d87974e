"""Who is in a saved scan, so that somebody who comes into it can be told."""

from rollotape.postgres.migrations import run_file

revision = "0015_entrants"
down_revision = "0014_tape"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0015_entrants.sql")


def downgrade() -> None:
    run_file("0015_entrants.down.sql")
