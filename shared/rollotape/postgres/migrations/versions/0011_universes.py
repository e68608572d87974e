"""Lists of symbols to ask about, and the exchange that each symbol is listed on."""

from rollotape.postgres.migrations import run_file

revision = "0011_universes"
down_revision = "0010_access"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0011_universes.sql")


def downgrade() -> None:
    run_file("0011_universes.down.sql")
