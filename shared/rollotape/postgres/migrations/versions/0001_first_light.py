"""First light: bars in, volume-spread events out."""

from rollotape.postgres.migrations import run_file

revision = "0001_first_light"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0001_first_light.sql")


def downgrade() -> None:
    run_file("0001_first_light.down.sql")
